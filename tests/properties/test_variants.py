"""Laws of the order of variants and of merging their files; uv's and variantlib's choices beside ours."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import cmp_to_key
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.model.variant_choice import declared, rank, served_apart, why_not
from gpuenv.model.variants import BadVariants, Property, Supported, Variants, merge, parse_property, parse_variants
from tests.properties.variants_oracles import against_uv, against_variantlib, machines, made_case, made_free

NAMESPACES, FEATURES, VALUES = ("amd", "b", "c"), ("f", "g"), ("1", "2", "3")

bounded = settings(max_examples=150, deadline=None)
some_values = st.lists(st.sampled_from(VALUES), min_size=1, unique=True)
Said = dict[str, dict[str, dict[str, list[str]]]]  # label -> namespace -> feature -> values
wheels = st.dictionaries(
    st.sampled_from(NAMESPACES),
    st.dictionaries(st.sampled_from(FEATURES), some_values, min_size=1),
    min_size=1,
    max_size=3,
)
labels = st.dictionaries(st.sampled_from(("p", "q", "r", "s", "t")), wheels, max_size=5)
orders = st.permutations(NAMESPACES)


@st.composite
def supported(draw: st.DrawFn) -> Supported:
    """A machine that supports some features of some namespaces, in any order."""
    found = []
    for namespace in draw(st.lists(st.sampled_from(NAMESPACES), unique=True)):
        features = draw(st.lists(st.sampled_from(FEATURES), unique=True, min_size=1))
        found.append((namespace, tuple((feature, tuple(draw(some_values))) for feature in features)))
    return tuple(found)


def variants(said: Said, order: Sequence[str], *, null: bool = True) -> Variants:
    """The file that says so, read."""
    document = {
        "$schema": "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json",
        "default-priorities": {"namespace": list(order)},
        "variants": said | ({"null": {}} if null else {}),
    }
    return parse_variants(json.dumps(document).encode())


def as_the_standard_tells(found: Variants, machine: Supported) -> list[str]:
    """The order of PEP 825, by its steps: filter, best values, sort keys, and two wheels compared at a time."""
    known = {(ns, feature): values for ns, features in machine for feature, values in features}
    places = {ns: [feature for feature, _ in features] for ns, features in machine}
    keyed: dict[str, list[tuple[int, int, int]]] = {}
    for label, properties in found.labels.items():
        best: dict[tuple[str, str], int | None] = {}
        for ns, feature, value in properties:
            values = known.get((ns, feature), ())
            place = values.index(value) if value in values else None
            old = best.get((ns, feature))
            best[ns, feature] = place if old is None else old if place is None else min(old, place)
        if None not in best.values():
            keyed[label] = sorted(
                (found.namespaces.index(ns), places[ns].index(feature), place)
                for (ns, feature), place in best.items()
                if place is not None
            )

    def compare(one: str, other: str) -> int:
        for mine, theirs in zip(keyed[one], keyed[other], strict=False):
            if mine != theirs:
                return -1 if mine < theirs else 1
        if len(keyed[one]) != len(keyed[other]):
            return -1 if len(keyed[one]) > len(keyed[other]) else 1
        return (one > other) - (one < other)

    return sorted(keyed, key=cmp_to_key(compare))


@bounded
@given(labels, orders, supported())
def test_the_order_is_that_of_the_standard(said: Said, order: list[str], machine: Supported) -> None:
    """For one machine the labels stand as the standard's algorithm puts them."""
    found = variants({label: wheel for label, wheel in said.items() if wheel}, order)
    assert rank(found, [machine]) == as_the_standard_tells(found, machine)


@bounded
@given(labels, orders, st.lists(supported(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_all_machines_are_served(said: Said, order: list[str], made: list[Supported], chance: random.Random) -> None:
    """What serves several machines is what serves each; their order means nothing; the rest has a reason."""
    found = variants(said, order)
    ranked = rank(found, made)
    assert set(ranked) == set.intersection(*(set(rank(found, [machine])) for machine in made))
    assert ranked[-1] == "null"
    assert rank(found, chance.sample(made, len(made))) == ranked
    assert {label for label in found.labels if why_not(found, label, made)} == found.labels.keys() - ranked
    for label in ranked:
        seen = declared(found, label, made)
        assert {one[:2] for one in seen.properties} == {one[:2] for one in found.labels[label]}
        assert set(seen.properties) <= set(found.labels[label])


@bounded
@given(labels, orders, st.lists(supported(), min_size=1, max_size=3))
def test_targets_are_split_where_that_helps(said: Said, order: list[str], made: list[Supported]) -> None:
    """Asked to split, each machine that is named a variant gets one with code for GPUs, which all together did not."""
    found = variants(said, order)
    apart = served_apart(found, made)
    for_gpus = {label for label, wheel in found.labels.items() if any(one.namespace == "amd" for one in wheel)}
    together = for_gpus & set(rank(found, made))
    alone = [[label for label in rank(found, [machine]) if label in for_gpus] for machine in made]
    assert apart == (() if together or not any(alone) else tuple((mine or [""])[0] for mine in alone))


@bounded
@given(labels, orders, st.integers(0, 3), st.integers(0, 3))
def test_files_of_wheels_make_the_file_of_the_release(said: Said, order: list[str], one: int, other: int) -> None:
    """Merged in any order, wheels' own files are the release's; merging is symmetric, and does nothing twice."""
    whole = variants(said, order)
    parts = [variants({label: wheel}, order, null=False) for label, wheel in said.items()]
    merged = variants({}, order)
    for part in parts:
        assert merge(merged, part) == merge(part, merged)
        merged = merge(part, merged)
    assert merged == merge(merged, merged) == merge(merged, whole) == whole
    short, long = variants({}, order[: max(one, 1)]), variants({}, order[: max(other, 1)])
    assert merge(short, long).namespaces == max(short.namespaces, long.namespaces, key=len)


names = st.text("az09_", min_size=1)


@bounded
@given(st.builds(Property, names, names, st.text("az09_.", min_size=1)), st.sampled_from(["::", " :: ", "\t::  "]))
def test_properties_are_text_and_back(found: Property, separator: str) -> None:
    """A property reads as itself, whatever blanks stand around `::`."""
    assert parse_property(separator.join(found)) == parse_property(str(found)) == found


KEYS = st.sampled_from(("$schema", "variants", "default-priorities", "namespace", "providers", "a", "null")) | st.text()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@bounded
@given(anything, st.binary())
def test_anything_is_read_or_refused(said: object, data: bytes) -> None:
    """Any bytes are variants or are refused with a message that can be printed."""
    for given_bytes in (json.dumps(said).encode(), data):
        try:
            assert parse_variants(given_bytes).namespaces
        except BadVariants as error:
            assert str(error).isprintable()


@pytest.fixture(scope="module")
def oracles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has uv and variantlib."""
    venv = tmp_path_factory.mktemp("oracles") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    asked = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv==0.13.9", "variantlib==0.2.2"]
    subprocess.run(asked, check=True, timeout=300, capture_output=True)
    return venv / "bin"


@pytest.mark.live
def test_variantlib_orders_alike(oracles: Path) -> None:
    """Of a hundred releases variantlib has the same order, but for optional lists, which it takes unasked."""
    chance = random.Random(825)  # noqa: S311 - no secret
    free = [made_free(chance, f"free{n}") for n in range(100)]
    lists = [(made_case(chance, f"list{n}", vendored=()), None) for n in range(100)]
    assert against_variantlib(oracles / "python", free) == (100, [])
    same, differences = against_variantlib(oracles / "python", lists)
    assert same > 50
    assert {one.reason for one in differences} == {"takes optional lists unasked"}


@pytest.mark.live
def test_uv_chooses_alike(oracles: Path, tmp_path: Path) -> None:
    """Of fifteen releases uv takes the same wheel on each of four machines, optional lists left out as by us."""
    chance = random.Random(825)  # noqa: S311 - no secret
    cases = [made_case(chance, f"made{n}") for n in range(15)]
    assert against_uv(oracles / "uv", tmp_path, cases, machines(chance, 4)) == (60, [])
