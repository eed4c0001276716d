"""The search where resolvelib's own would go wrong, and both of its ways."""

import pytest
from resolvelib import ResolutionTooDeep

from gpuenv.errors import NoSolution
from gpuenv.model.distribution import Catalog
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.target import Target
from gpuenv.solve import Task, solve
from gpuenv.solve import search as searching
from gpuenv.solve.nodes import Candidate
from gpuenv.solve.provider import Provider
from gpuenv.solve.resolution import MendedResolution
from gpuenv.solve.search import Dead, Found, search
from tests.support.scenario import World, world_of


def task(world: World, *roots: str) -> Task:
    catalog = Catalog(world.pages, world.metadata, world.direct)
    return Task("app", "", {"project": tuple(map(parse_requirement, roots))}, Target("t"), catalog)


def chosen(found: object) -> dict[str, str]:
    assert isinstance(found, Found)
    return {str(key): candidate.text for key, candidate in found.chosen.items()}


def either_way(world: World, *roots: str) -> list[object]:
    """The outcome with displacing and without."""
    asked = task(world, *roots)
    return [searching._search(asked, Provider(asked), 1000, displacing=displacing) for displacing in (True, False)]


ARRAY = world_of(
    {
        "array": {"1": {}, "2": {}},
        "jit": {"1": {"requires": ["array"]}, "2": {"requires": ["array<2"]}},
    },
    {},
)


def test_later_bound_lowers_an_earlier_choice() -> None:
    """Displacing lowers the bounded package; without it the earlier choice stands and the bounding one gives way."""
    displacing, not_displacing = either_way(ARRAY, "array", "jit")
    assert chosen(displacing) == {"array": "1", "jit": "2"}
    assert chosen(not_displacing) == {"array": "2", "jit": "1"}


def test_readmitted_pin_keeps_its_requirements() -> None:
    """A pin that was displaced for a while still brings what it requires: every need of the answer is met."""
    world = world_of(
        {
            "a": {
                "1": {"requires": ["c[x]", "d!=2"]},
                "2": {"requires": ["d[x]==1"]},
                "3": {"requires": ["d==2", "a"]},
            },
            "b": {"1": {"requires": ["d<3", "b"]}, "2": {"requires": ["b>=2"]}, "3": {"requires": ["a", "a==2"]}},
            "c": {"1": {"requires": ["a", "d>=2", "c<2"]}, "2": {}},
            "d": {
                "1": {"requires": ["d", "b<3; extra == 'x'"], "extras": ["x"]},
                "2": {"requires": ["a<3", "a==1", "c==2"]},
                "3": {"requires": ["d==1", "b"]},
            },
        },
        {},
    )
    for outcome in either_way(world, "a"):
        assert chosen(outcome) == {"a": "2", "d": "1", "d[x]": "1", "b": "2"}


def test_every_version_of_a_culprit_is_tried() -> None:
    """The way back skips no version that might serve, in either way of searching."""
    world = world_of(
        {
            "a": {"1": {"requires": ["d==1", "d[x]==2", "d[x]<3"]}, "2": {"requires": ["b[x]!=2", "d==1"]}, "3": {}},
            "b": {
                "1": {"requires": ["a>3", "c==1"]},
                "2": {"requires": ["b==2; extra == 'x'"], "extras": ["x"]},
                "3": {"requires": ["a[x]<2", "c==2", "a"]},
            },
            "c": {
                "1": {"requires": ["a==1; extra == 'x'"], "extras": ["x"]},
                "2": {"requires": ["c[x]==2", "d[x]>=2", "c<2"]},
                "3": {"requires": ["d[x]>=2", "d", "b!=2"]},
            },
            "d": {
                "1": {"requires": ["c", "b", "a; extra == 'x'", "b==1; extra == 'x'"], "extras": ["x"]},
                "2": {"requires": ["c[x]==1", "a[x]>=2; extra == 'x'", "c==1; extra == 'x'"], "extras": ["x"]},
                "3": {},
            },
        },
        {},
    )
    for outcome in either_way(world, "b>=2", "c", "d<3"):
        assert chosen(outcome) == {"b": "2", "c": "1", "d": "1"}


def test_what_displaces_its_own_reason_is_no_loop() -> None:
    """A requirement that would push out the very version that made it ends in an older version, at once."""
    world = world_of({"x": {"1": {}, "2": {"requires": ["y"]}}, "y": {"1": {"requires": ["x<2"]}}}, {})
    for outcome in either_way(world, "x"):
        assert chosen(outcome) == {"x": "1"}


def test_search_that_runs_in_circles_starts_afresh() -> None:
    """Where displacing takes too long the search that never displaces answers."""
    outcome = search(task(ARRAY, "array", "jit"), rounds=3)
    assert chosen(outcome) == {"array": "2", "jit": "1"}
    with pytest.raises(ResolutionTooDeep):
        search(task(ARRAY, "array", "jit"), rounds=2)


def test_giving_up_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that may not go on any longer says so, and does not say that there is no solution."""
    monkeypatch.setattr(searching, "_ROUNDS", 1)
    monkeypatch.setattr(searching, "_LAST_ROUNDS", 2)
    with pytest.raises(NoSolution, match=r"gave up on target t after 2 rounds of search") as caught:
        solve(task(ARRAY, "array", "jit"))
    assert caught.value.hints == ("narrow the versions of what changes most often with `constraints` in [tool.gpuenv]",)


def test_failure_beside_the_same_pins_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that no choice can save is looked into once, however often the search comes by."""
    world = world_of(
        {
            "bad": {str(number): {"requires": ["root>1"]} for number in range(1, 31)},
            "root": {"1": {}, "2": {}},
            **{f"p{n}": {str(v): {"requires": ["bad"]} if v else {} for v in range(6)} for n in range(6)},
        },
        {},
    )
    outcome = search(task(world, "root<2", *(f"p{n}" for n in range(6))))
    assert chosen(outcome) == {"root": "1", **{f"p{n}": "0" for n in range(6)}}
    assert isinstance(outcome, Found)
    steps = 0
    inner = MendedResolution._with_requirements_of

    def counted(self: MendedResolution, candidate: Candidate) -> object:
        nonlocal steps
        steps += 1
        return inner(self, candidate)

    monkeypatch.setattr(MendedResolution, "_with_requirements_of", counted)
    search(task(world, "root<2", *(f"p{n}" for n in range(6))))
    assert steps < 30 + 6 * 6 + 20


def test_unsolvable_is_dead_with_the_newest_version_as_cause() -> None:
    """The causes that are kept are those of the first failure, which is about the newest versions."""
    world = world_of(
        {"a": {"1": {"requires": ["c>2"]}, "2": {"requires": ["c>3"]}}, "c": {str(n): {} for n in range(1, 5)}}, {}
    )
    outcome = search(task(world, "a", "c<2"))
    assert isinstance(outcome, Dead)
    assert [cause.requirement.text for cause in outcome.causes][:2] == ["c<2", "c>3"]
