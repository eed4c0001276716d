"""Wheel variants in a solve: which file of a release is taken, what it requires, and what must be known for that."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.index.metadata import parse_metadata
from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.distribution import Catalog, Page, Release, WheelFile
from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts, Units
from gpuenv.model.filename import split_filename
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.rules import NativeRules, PackageRules, Scan
from gpuenv.model.target import Target
from gpuenv.model.variants import Variants, parse_variants
from gpuenv.solve import Task, solve
from tests.support.wheels import Properties, metadata_text, variants_document

CPU = Target("t")
MI300 = Target("t", gpu=("gfx942",), rocm="7.2")
BOTH = Target("t", gpu=("gfx90a", "gfx942"), rocm="7.2")
AMD: Mapping[str, Properties] = {
    "null": {},
    "gfx90a": {"amd": {"gfx_arch": ["gfx90a"]}},
    "gfx942": {"amd": {"gfx_arch": ["gfx942"]}},
    "many": {"amd": {"gfx_arch": ["gfx90a", "gfx942"]}},
}
LEVELS: Mapping[str, Properties] = {"v1": {"x86_64": {"level": ["v1"]}}, "v3": {"x86_64": {"level": ["v3"]}}}


def file(filename: str, **more: Any) -> WheelFile:
    return WheelFile(filename, f"https://files.example/{filename}", **more)


def release(names: Iterable[str], *, version: str = "1.0", listed: bool = True, **more: Any) -> Release:
    """A release of `a`. names: of its wheels, after the version; more: of every wheel."""
    wheels = tuple(file(f"a-{version}-{name}.whl", **more) for name in names)
    return Release(version, wheels, False, file(f"a-{version}-variants.json") if listed else None)


def task(
    *releases: Release,
    labels: Mapping[str, Properties] | None = None,
    target: Target = CPU,
    requires: Mapping[str, tuple[str, ...]] | None = None,
    extras: Mapping[str, tuple[str, ...]] | None = None,
    code: Mapping[str, tuple[str, ...]] | None = None,
    stated: str | None = None,
    roots: tuple[str, ...] = ("a",),
    others: tuple[Page, ...] = (),
    **more: Any,
) -> Task:
    """A task about `a`. requires, extras, code: by label, what its wheel requires, the extras that it has, and the AMD
    processors that it has code for.

    labels: None: they are not known yet. stated: why they cannot be used.
    """
    pages = {page.name: page for page in (Page("a", "main", releases), *others)}
    wheels = [wheel for page in pages.values() for one in page.releases for wheel in one.wheels]
    metadata, facts = {}, {}
    for wheel in wheels:
        name = split_filename(wheel.filename)
        assert name is not None
        has_extras = (extras or {}).get(name.label, ())
        text = metadata_text(name.name, name.version, (requires or {}).get(name.label, ()), has_extras)
        metadata[wheel.key] = parse_metadata(text.encode())
        has = tuple(DeviceCode("amd", "code-object", arch) for arch in (code or {}).get(name.label, ()))
        units = (Units(tuple(range(len(has))), 1),) if has else ()
        binary = ObjectFacts("k.so", 1, "elf", "x86_64", 64, "little", "shared", device_code=has, units=units)
        facts[wheel.key] = NativeFacts(None, 1, objects=(binary,))
    known: dict[str, Variants | str] = {}
    if labels is not None or stated is not None:
        document = stated or parse_variants(variants_document(labels or {}, providers=more.pop("providers", None)))
        known = {one.variants.key: document for one in releases if one.variants is not None}
    catalog = Catalog(pages, metadata, {}, facts, {}, known)
    asked = {"project": tuple(map(parse_requirement, roots))}
    return Task("train", "", asked, target, catalog, **more)


def solved(asked: Task) -> Solution:
    answer = solve(asked)
    assert isinstance(answer, Solution), answer
    return answer


def taken(asked: Task, name: str = "a") -> str:
    """The wheel that is taken, without name and version."""
    return solved(asked).pins[name].wheel.filename.removesuffix(".whl").split("-", 2)[2]


def test_variants_come_before_the_wheel_that_is_none() -> None:
    """The best label is taken, whatever tags others have; null is the last of them; then the wheel without label."""
    names = ["py3-none-any", "py3-none-any-null", "py3-none-any-v1", "cp312-cp312-manylinux_2_17_x86_64"]
    labels = {"null": {}, **LEVELS}

    assert taken(task(release(names), labels=labels)) == "py3-none-any-v1"
    assert taken(task(release(names[:2]), labels=labels)) == "py3-none-any-null"
    assert taken(task(release([names[0], "py3-none-any-v3"]), labels=labels)) == "py3-none-any"


def test_wheels_of_one_label() -> None:
    """Among wheels of one label tags decide, then the build number; a better label with a worse tag comes before."""
    tags = "cp312-cp312-manylinux_2_17_x86_64"
    level = Target("t", cpu="x86-64-v3")
    names = [f"9-{tags}-v3", f"10-{tags}-v3", f"20-{tags}-v1", "30-py3-none-any-v3"]

    assert f"10-{tags}-v3" == taken(task(release(names), labels=LEVELS, target=level))
    assert taken(task(release(names[2:]), labels=LEVELS, target=level)) == "30-py3-none-any-v3"


def test_tags_and_other_filters_come_first() -> None:
    """A variant for another platform, or one that was yanked, is no choice and splits no target."""
    names = ["py3-none-win32-gfx90a", "py3-none-win32-gfx942", "py3-none-any"]

    assert taken(task(release(names), labels=AMD, target=BOTH)) == "py3-none-any"
    yanked = Release("1.0", (file("a-1.0-py3-none-any-v1.whl", yanked=""), file("a-1.0-py3-none-any.whl")), False, None)
    assert taken(task(yanked, labels=LEVELS)) == "py3-none-any"


def test_what_must_be_known() -> None:
    """Labels are asked for only where wheels that fit have some; a label that the file lacks serves nobody."""
    unknown = release(["py3-none-any-v1", "py3-none-any"])

    assert Missing(variants=(file("a-1.0-variants.json"),)) == solve(task(unknown))
    assert taken(task(release(["py3-none-any", "py3-none-win32-v1"]))) == "py3-none-any"
    assert taken(task(unknown, labels={"v3": LEVELS["v3"]})) == "py3-none-any"


def test_what_cannot_be_used() -> None:
    """A file that cannot be used costs the release its variants and is warned of; without the rest it is the reason."""
    answer = solved(task(release(["py3-none-any-v1", "py3-none-any"]), stated="it is no JSON"))
    assert answer.warnings == ("a 1.0: its variants are not looked at: it is no JSON",)

    conflict = solve(task(release(["py3-none-any-v1"]), stated="it is no JSON"))
    assert isinstance(conflict, Conflict)
    assert [one.reason for one in conflict.refusals] == ["has variants of which nothing is known: it is no JSON"]


@pytest.mark.parametrize(
    ("names", "target", "label"),
    [
        (("gfx90a", "gfx942", "many", "null"), MI300, "gfx942"),
        (("gfx90a", "gfx942", "many", "null"), BOTH, "many"),
        (("gfx90a", "null"), MI300, "null"),
    ],
)
def test_gpus(names: tuple[str, ...], target: Target, label: str) -> None:
    """A variant must serve every GPU of a target."""
    code = {"gfx90a": ("gfx90a",), "gfx942": ("gfx942",), "many": ("gfx90a", "gfx942")}
    found = solved(task(release([f"py3-none-any-{name}" for name in names]), labels=AMD, target=target, code=code))

    assert label == found.pins["a"].wheel.label
    assert found.pins["a"].variant is not None
    assert label == found.pins["a"].variant.label


def test_gpus_apart() -> None:
    """Where each GPU has a variant of its own, no other wheel of the release is taken; an older release may serve."""
    new = release(["py3-none-any-gfx90a", "py3-none-any-gfx942", "py3-none-any-null", "py3-none-any"], version="2.0")
    why = (
        "has no variant for all GPUs of the target (gfx90a serves gfx90a, gfx942 serves gfx942): "
        "split it into one target for each"
    )
    conflict = solve(task(new, labels=AMD, target=BOTH))
    assert isinstance(conflict, Conflict)
    assert [why] == [one.reason for one in conflict.refusals]

    found = solved(task(new, release(["py3-none-any"]), labels=AMD, target=BOTH))
    assert found.pins["a"].version == "1.0"
    assert [("2.0", why)] == [(one.version, one.reason) for one in found.passed_over[0].newer]


def test_claims() -> None:
    """A claim without code is not believed: the next variant is taken. Policy, trust and companions stop the check."""
    both = release(["py3-none-any-gfx942", "py3-none-any-many"])
    code = {"many": ("gfx942",)}

    found = solved(task(both, labels=AMD, target=MI300, code=code))
    assert found.pins["a"].wheel.label == "many"
    assert found.warnings == (
        "a 1.0 as variant gfx942 claims gfx942, and carries no code for it; variant many is taken",
    )
    for rules in (NativeRules(scan=Scan.NONE), NativeRules(packages={"a": PackageRules(gpu_code="trust")})):
        assert taken(task(both, labels=AMD, target=MI300, code=code, rules=rules)) == "py3-none-any-gfx942"
    asked = {"gfx942": ('b; "nvidia" in variant_namespaces',)}
    assert taken(task(both, labels=AMD, target=MI300, code=code, requires=asked)) == "py3-none-any-gfx942"


@pytest.mark.parametrize(
    ("extras", "believed"),
    [
        (("device-gfx942", "device-gfx90a"), True),
        (("Device.GFX942", "device_gfx90a"), True),
        (("device-gfx942",), False),
        (("device-gfx90a", "device-all"), False),
    ],
)
def test_claims_that_extras_keep(extras: tuple[str, ...], believed: bool) -> None:
    """A variant with an extra `device-…` for each architecture that it claims is believed: they bring the code."""
    both = release(["py3-none-any-many", "py3-none-any"])
    asked = task(both, labels=AMD, target=MI300, extras={"many": extras})

    assert (taken(asked) == "py3-none-any-many") is believed


def test_claims_are_no_business_of_other_targets() -> None:
    """Without a GPU nothing is claimed, and no binary is looked at."""
    asked = task(release(["py3-none-any-v1"]), labels=LEVELS)
    object.__setattr__(asked, "catalog", Catalog(**{**fields(asked.catalog), "facts": {}}))

    assert taken(asked) == "py3-none-any-v1"


def fields(catalog: Catalog) -> dict[str, Any]:
    return {name: getattr(catalog, name) for name in catalog.__struct_fields__}


def test_markers() -> None:
    """Requirements with a marker for variants are those of the wheel that is taken, as the target supports it."""
    b = Page("b", "main", (Release("1.0", (file("b-1.0-py3-none-any.whl"),)),))
    lines = (
        'b; "amd :: gfx_arch :: gfx942" in variant_properties',
        'c; "amd :: gfx_arch :: gfx90a" in variant_properties',
    )
    asked = task(release(["py3-none-any-many"]), labels=AMD, target=MI300, requires={"many": lines}, others=(b,))

    assert {"a", "b"} == solved(asked).pins.keys()
    plain = task(release(["py3-none-any"]), requires={"": ('c; variant_label != ""',)})
    assert {"a"} == solved(plain).pins.keys()


@pytest.mark.parametrize(
    ("asked", "label", "version"),
    [("b", "b2", "2.1"), ("b<2", "b1", "1.5"), ("b<1", "", "0.9"), ("b==2.0", "b2", "2.0")],
)
def test_built_against(asked: str, label: str, version: str) -> None:
    """What a variant was built against is required; where that cannot be, the next variant is tried, then the rest."""
    versions = ("2.1", "2.0", "1.5", "0.9")
    b = Page("b", "main", tuple(Release(one, (file(f"b-{one}-py3-none-any.whl"),)) for one in versions))
    labels = {f"b{one}": {"abi_dependency": {"b": [str(one)]}} for one in (1, 2)}
    builtin = {"abi_dependency": {"builtin": "abi_dependency"}}
    wheels = release(["py3-none-any-b1", "py3-none-any-b2", "py3-none-any"])
    found = solved(task(wheels, labels=labels, providers=builtin, roots=("a", asked), others=(b,)))

    assert (label, version) == (found.pins["a"].wheel.label, found.pins["b"].version)


def test_the_order_of_a_page_means_nothing() -> None:
    """Any order of the wheels gives the same choice."""
    names = [f"py3-none-any{label}" for label in ("", "-null", "-gfx90a", "-gfx942", "-many")]
    code = {"gfx942": ("gfx942",), "many": ("gfx942",)}
    turned = [names[place:] + names[:place] for place in range(len(names))]

    assert {"py3-none-any-gfx942"} == {taken(task(release(one), labels=AMD, target=MI300, code=code)) for one in turned}


def test_what_was_yanked_comes_last() -> None:
    """Who names a version gets a wheel of it that was not yanked, whatever its label; else one that was (PEP 592)."""
    plain, variant = file("a-1.0-py3-none-any.whl"), file("a-1.0-py3-none-any-v1.whl", yanked="")
    listed = file("a-1.0-variants.json")

    some = task(Release("1.0", (variant, plain), False, listed), labels=LEVELS, roots=("a==1.0",))
    assert taken(some) == "py3-none-any"
    alone = task(Release("1.0", (variant,), False, listed), labels=LEVELS, roots=("a==1.0",))
    assert taken(alone) == "py3-none-any-v1"


def test_variants_that_are_gone() -> None:
    """Variants of which every wheel was yanked part no target; one that serves some GPUs alone does."""
    known = release(["py3-none-any-gfx90a", "py3-none-any-gfx942", "py3-none-any-null"])
    gone = [file(wheel.filename, yanked="") for wheel in known.wheels]
    none = Release("1.0", (*gone[:2], known.wheels[2]), False, known.variants)
    one = Release("1.0", (gone[0], *known.wheels[1:]), False, known.variants)

    assert taken(task(none, labels=AMD, target=BOTH)) == "py3-none-any-null"
    conflict = solve(task(one, labels=AMD, target=BOTH))
    assert isinstance(conflict, Conflict)
    assert "(nothing serves gfx90a, gfx942 serves gfx942)" in conflict.refusals[0].reason


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "1-", "10-", "9-"]),
            st.sampled_from(
                ["py3-none-any", "cp312-cp312-manylinux_2_17_x86_64", "cp312-abi3-linux_x86_64", "py3-none-win32"]
            ),
            st.sampled_from(["", "-null", "-v1", "-v3", "-v4", "-unknown"]),
        ),
        min_size=1,
        unique=True,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_choice_is_the_order_of_the_standard(names: list[tuple[str, str, str]]) -> None:
    """First the label by its place, then the tags, then the build number; what does not fit counts for nothing."""
    target = Target("t", cpu="x86-64-v3")
    labels = {"null": {}, **LEVELS, "v4": {"x86_64": {"level": ["v4"]}}}
    order = ["-v3", "-v1", "-null", ""]
    fitting = [
        ((order.index(label), rank, -int(build.rstrip("-") or -1)), f"{build}{tags}{label}")
        for build, tags, label in names
        if label in order and (rank := target.tag_rank(tags)) is not None
    ]
    asked = task(release(["".join(name) for name in names]), labels=labels, target=target)

    if fitting:
        assert min(fitting)[1] == taken(asked)
    else:
        assert isinstance(solve(asked), Conflict)
