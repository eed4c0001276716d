"""Popular wheels: what the rules ask of a target for them, held against what was seen to be true of each.

A page of fixtures/linkage/popular says of one wheel which sonames it really misses (`unmet`), which only plugins do
(`optional`), and which symbol versions its target is too old for (`lacks`). Where the rules still say otherwise, the
page names it (`wrong`): a better rule makes the case fail until the name is taken from the page.
"""

import lzma
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuenv.model.facts import NativeFacts, decode_facts
from gpuenv.model.linkage import Linkage, linkage
from gpuenv.model.target import Target

PAGES = Path(__file__).resolve().parents[2] / "fixtures" / "linkage" / "popular"
TARGETS = {
    "old": Target("old", glibc="2.28"),
    "cpu": Target("cpu", glibc="2.35"),
    "h100": Target("h100", glibc="2.35", gpu=("sm_90",), cuda="13.0"),
    "mi300": Target("mi300", glibc="2.35", gpu=("gfx942",), rocm="7.2"),
}
CHECKED = {"imported", "opened", "read"}  # its modules, its libraries, or no more than its facts


def page(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def facts_of(path: Path) -> NativeFacts:
    facts = decode_facts(lzma.decompress(path.with_name(f"{path.stem}.json.xz").read_bytes()))
    assert facts is not None
    return facts


def wheels() -> Iterator[Any]:
    for path in sorted(PAGES.glob("*.toml")):
        yield pytest.param(path, id=path.stem)


def differences(found: Linkage, case: dict[str, Any]) -> set[str]:
    """What the rules put elsewhere than the page does."""
    lists = (
        ("unmet", {need.soname for need in found.unmet}),
        ("optional", {need.soname for need in found.optional}),
        ("lacks", {lack.version for lack in found.lacks}),
    )
    return {name for key, said in lists for name in said ^ set(case.get(key, []))}


@pytest.mark.parametrize("path", [*wheels()])
def test_popular_wheel(path: Path) -> None:
    """The rules ask for what a popular wheel really misses, but for the mistakes that its page names."""
    facts = facts_of(path)
    for case in page(path)["case"]:
        for name in case["targets"]:
            found = linkage(facts, TARGETS[name])
            assert differences(found, case) == set(case.get("wrong", [])), name
            assert [verdict.outcome.value for verdict in found.verdicts] == case.get("verdicts", []), name
            gaps = [gap for verdict in found.verdicts for gap in verdict.gaps]
            told = [f"{gap.path.rpartition('/')[2]} {gap.served}/{gap.units}" for gap in gaps]
            assert told == case.get("gaps", []), name


def test_pages_are_whole() -> None:
    """Each page has its facts and the other way round, judges every GPU, and says what it shows and how it is known."""
    pages = {path.stem: page(path) for path in PAGES.glob("*.toml")}
    assert pages.keys() == {path.name.removesuffix(".json.xz") for path in PAGES.glob("*.json.xz")}
    for name, said in pages.items():
        targets = [target for case in said["case"] for target in case["targets"]]
        assert len(targets) == len(set(targets)), name
        assert {"cpu", "h100", "mi300"} <= set(targets) <= TARGETS.keys(), name
        assert said["says"].endswith("."), name
        assert said["checked"] in CHECKED, name


def test_false_alarms_stay_few() -> None:
    """Of all that the rules say of the popular wheels, what is known to be wrong stays below one in twenty."""
    wrong = said = 0
    for path in PAGES.glob("*.toml"):
        for case in page(path)["case"]:
            counts = len(case["targets"])
            wrong += counts * len(case.get("wrong", []))
            said += counts * sum(len(case.get(key, [])) for key in ("unmet", "optional", "lacks"))
    assert said > 1000
    assert wrong * 20 < said
