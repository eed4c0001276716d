"""Small values: interpreters, plans, locked graphs, differences."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.difference import Change, difference
from gpuenv.model.interpreter import Interpreter
from gpuenv.model.lock import Lock, LockedArtifact, LockedPackage, LockedTarget
from gpuenv.model.plan import Installed, Plan
from gpuenv.model.target import Target
from gpuenv.model.wheel_variant import WheelVariant


@pytest.mark.parametrize(
    ("version", "threads", "python", "serves"),
    [
        ("3.12.1", False, "3.12", True),
        ("3.12.1", False, "3.12.1", True),
        ("3.12.1", False, "3.12.0", True),
        ("3.12.1", False, "3.12.2", False),
        ("3.13.1", False, "3.12", False),
        ("3.1.2", False, "3.12", False),
        ("3.13.1", True, "3.13t", True),
        ("3.13.1", True, "3.13", False),
        ("3.13.1", False, "3.13t", False),
        ("3.13.0", True, "3.13.1t", False),
    ],
)
def test_interpreters_serve_targets(version: str, threads: bool, python: str, serves: bool) -> None:
    """Same minor, same threading, at least the patch that the target names; CPython only."""
    assert Interpreter("/p", version, threads, "CPython", "PATH").serves(python) == serves
    assert not Interpreter("/p", version, threads, "PyPy", "PATH").serves(python)


names = st.sampled_from("abcdef")
packages = st.dictionaries(names, st.tuples(st.sampled_from(["1", "2"]), st.sampled_from(["x", "y"])))


def artifact(name: str, version: str, sha256: str) -> LockedArtifact:
    """A wheel."""
    return LockedArtifact(f"{name}-{version}-py3-none-any.whl", name, version, "default", "u", name + sha256, 1)


@given(packages, packages, st.sets(st.tuples(names, st.sampled_from("xy")).map("".join)))
def test_plans(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]], stored: set[str]) -> None:
    """Taking away what goes and putting in what comes leads from present to wanted; only what is missing is fetched."""
    present = {name: Installed(name, version, name + sha256) for name, (version, sha256) in before.items()}
    wanted = {name: artifact(name, *rest) for name, rest in after.items()}
    plan = Plan.between(present, wanted, stored)
    result = {name: one for name, one in present.items() if one not in plan.remove} | {i.name: i for i in plan.install}
    assert {name: (one.version, one.sha256) for name, one in result.items()} == {
        name: (one.version, one.sha256) for name, one in wanted.items()
    }
    assert {one.sha256 for one in plan.fetch} == {one.sha256 for one in wanted.values()} - stored
    assert plan.kept + len(plan.install) == len(wanted)
    assert set(plan.install).isdisjoint(present.values())
    again = Plan.between(result, wanted, stored | {one.sha256 for one in plan.fetch})
    assert again.empty
    assert again.kept == len(wanted)
    for part in (plan.install, plan.remove, plan.fetch):
        assert [one.name for one in part] == sorted(one.name for one in part)


keys = st.one_of(names, names.map("{}[x]".format))
graphs = st.fixed_dictionaries({n: st.tuples(st.lists(keys, max_size=3), st.lists(keys, max_size=2)) for n in "abcdef"})


@given(graphs, st.lists(keys, max_size=3), st.lists(keys, max_size=3))
def test_reachable_is_the_least_closure(
    graph: dict[str, tuple[list[str], list[str]]], one: list[str], two: list[str]
) -> None:
    """What is reached from two roots is what is reached from each; it is closed, cycles included."""
    made = {
        name: LockedPackage(name, "", tuple(requires), {"x": tuple(extra)}) for name, (requires, extra) in graph.items()
    }
    locked = LockedTarget(Target("t"), {"project": tuple(one), "group:g": tuple(two)}, made)
    both = {package.name for package in locked.reachable(["project", "group:g"])}
    first = {package.name for package in locked.reachable(["project"])}
    second = {package.name for package in locked.reachable(["group:g"])}
    assert both == first | second
    assert {key[0] for key in one} <= first
    assert all(key[0] in first for name in first for key in graph[name][0])
    assert locked.reachable([]) == locked.reachable(["group:unknown"]) == ()


def test_extras_are_followed_only_where_asked() -> None:
    """`a[x]` brings what the extra needs, `a` does not."""
    made = {
        "a": LockedPackage("a", "", ("b",), {"x": ("c",)}),
        "b": LockedPackage("b", "", (), {}),
        "c": LockedPackage("c", "", (), {}),
    }
    locked = LockedTarget(Target("t"), {"project": ("a",), "extra:x": ("a[x]",)}, made)
    assert [one.name for one in locked.reachable(["project"])] == ["a", "b"]
    assert [one.name for one in locked.reachable(["extra:x"])] == ["a", "b", "c"]


def lock(**targets: dict[str, str]) -> Lock:
    """A lock with these versions."""
    artifacts = {f"{n}-{v}": artifact(n, v, "x") for each in targets.values() for n, v in each.items()}
    made = {
        t: LockedTarget(Target(t), {}, {n: LockedPackage(n, f"{n}-{v}", (), {}) for n, v in each.items()})
        for t, each in targets.items()
    }
    return Lock({}, None, (), artifacts, made)


def test_difference() -> None:
    """Added, removed and changed packages, target by target, sorted; a target that is gone loses all."""
    before = lock(one={"a": "1", "b": "1", "c": "1"}, gone={"a": "1"})
    now = lock(one={"a": "1", "b": "2", "d": "1"}, new={"a": "1"})
    assert difference(before, now) == (
        Change("gone", "a", "1", ""),
        Change("new", "a", "", "1"),
        Change("one", "b", "1", "2"),
        Change("one", "c", "1", ""),
        Change("one", "d", "", "1"),
    )
    assert difference(now, now) == ()
    assert difference(None, lock(x={"a": "1"})) == (Change("x", "a", "", "1"),)


def test_difference_of_variants() -> None:
    """The same version as another variant is a change that names both."""
    before, now = lock(one={"a": "1", "b": "1"}), lock(one={"a": "1", "b": "1"})
    variant = replace(now.artifacts["a-1"], variant=WheelVariant("gfx942", ()))
    now = replace(now, artifacts={**now.artifacts, "a-1": variant})
    assert difference(before, now) == (Change("one", "a", "1", "1 (gfx942)"),)
    assert difference(now, now) == ()
