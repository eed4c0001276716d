"""Which conflict is told: the fewest roots, chains that are true, and only what the failed search saw."""

from typing import Any

from gpuenv.model.answer import Conflict, Demand, Solution
from gpuenv.model.distribution import Catalog
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.target import Target
from gpuenv.solve import Task, solve
from tests.support.scenario import World, world_of


def conflict(packages: dict[str, dict[str, Any]], *roots: str, **more: Any) -> Conflict:
    answer = answer_of(world_of(packages, {}), *roots, **more)
    assert isinstance(answer, Conflict)
    return answer


def answer_of(world: World, *roots: str, **more: Any) -> object:
    pages = {name: world.page(name) for name in (*world.pages, "nowhere", "elsewhere")}
    parsed = {"project": tuple(map(parse_requirement, roots))}
    return solve(Task("app", "", parsed, Target("t"), Catalog(pages, world.metadata, {}), **more))


PLAIN: dict[str, dict[str, Any]] = {f"p{number}": {"1.0": {}} for number in range(60)}


def test_only_the_roots_that_conflict_are_left() -> None:
    """Of many requirements those two remain without which the others have a solution."""
    packages = {**PLAIN, "a": {"1.0": {"requires": ["c>=2"]}}, "c": {"1.0": {}, "2.0": {}}}
    found = conflict(packages, "a", "c<2", *PLAIN)
    assert found.roots == ("a", "c<2")
    assert found.chains == (
        (Demand("app", "", "c<2"),),
        (Demand("app", "", "a"), Demand("a", "1.0", "c>=2")),
    )
    without = world_of(packages, {})
    assert isinstance(answer_of(without, "a", *PLAIN), Solution)
    assert isinstance(answer_of(without, "c<2", *PLAIN), Solution)


def test_one_of_two_conflicts_is_told() -> None:
    """Two mistakes at once: one is told whole, the other one not at all."""
    assert conflict({}, "nowhere", "elsewhere").roots in (("nowhere",), ("elsewhere",))


def test_only_versions_that_require_the_same_are_counted() -> None:
    """`tried` counts versions with this very requirement, not others that failed in another way."""
    packages: dict[str, dict[str, Any]] = {
        "a": {"1.0": {"requires": ["c>=3"]}, "2.0": {"requires": ["c>=2"]}, "3.0": {"requires": ["c>=2"]}},
        "c": {"1.0": {}, "2.0": {}, "3.0": {}},
    }
    assert conflict(packages, "a", "c<2").chains[1][-1] == Demand("a", "3.0", "c>=2", 2)


def test_shortest_way_up_is_told() -> None:
    """Where several ways lead to a demand, the one with the fewest steps counts."""
    packages: dict[str, dict[str, Any]] = {
        "long": {"1.0": {"requires": ["step"]}},
        "step": {"1.0": {"requires": ["mid"]}},
        "short": {"1.0": {"requires": ["mid"]}},
        "mid": {"1.0": {"requires": ["nowhere"]}},
    }
    found = conflict(packages, "short")
    assert [demand.parent for demand in found.chains[0]] == ["app", "short", "mid"]
    assert [demand.parent for demand in conflict(packages, "long").chains[0]] == ["app", "long", "step", "mid"]


def test_constraint_is_told_only_where_it_excludes_something() -> None:
    """A constraint on the subject that all its versions satisfy has no part in the conflict."""
    packages: dict[str, dict[str, Any]] = {"c": {"1.0": {}, "2.0": {}}}
    wide, narrow = parse_requirement("c<9"), parse_requirement("c<2")
    assert conflict(packages, "c>=3", constraints=(wide,)).chains == ((Demand("app", "", "c>=3"),),)
    assert conflict(packages, "c>=2", constraints=(wide, narrow)).chains == (
        (Demand("app", "", "c>=2"),),
        (Demand("tool.gpuenv.constraints", "", "c<2"),),
    )


def test_nearest_versions_stand_beside_what_is_asked_for() -> None:
    """For one demand the neighbours of the version it names; for two the newest that each admits; all usable."""
    packages: dict[str, dict[str, Any]] = {
        "c": {"1.0": {}, "2.0": {}, "2.2": {"wheels": ["cp312-cp312-win32"]}, "3.0": {}, "4.0": {}}
    }
    assert conflict(packages, "c==2.5").nearest == ("2.0", "3.0")
    assert conflict(packages, "c>4").nearest == ("3.0",)
    assert conflict(packages, "c<2", "c>2.5").nearest == ("4.0", "1.0")
    assert conflict(packages, "c===none").nearest == ()


def test_what_else_is_known_does_not_change_what_is_told() -> None:
    """Metadata beyond what the search looked at leaves the explanation alone."""
    packages: dict[str, dict[str, Any]] = {
        "a": {"1.0": {"requires": ["c>=2"]}, "2.0": {"requires": ["c>=2"]}},
        "b": {"1.0": {"requires": ["c<1"]}},
        "c": {"1.0": {}, "2.0": {}},
    }
    less = world_of(packages, {})
    more = world_of({**packages, "elsewhere": {"1.0": {"requires": ["c<2"]}}}, {})
    assert answer_of(less, "a", "b", "c<2") == answer_of(more, "a", "b", "c<2")


def test_target_is_the_subject_where_it_lacks_something() -> None:
    """A Python that the target does not have ends in what the target brings."""
    found = conflict({"a": {"1.0": {"metadata-requires-python": ">=3.13"}}}, "a")
    assert (found.subject, found.provides) == ("host:python", "3.12.0")
    assert found.chains[0][-1] == Demand("a", "1.0", "Python >=3.13")


def test_group_is_named_as_who_asks() -> None:
    """A demand of a group or an extra of the project says which."""
    roots = {"project": (parse_requirement("c<2"),), "group:dev": (parse_requirement("c>=2"),)}
    world = world_of({"c": {"1.0": {}, "2.0": {}}}, {})
    answer = solve(Task("app", "", roots, Target("t"), Catalog(world.pages, world.metadata, {})))
    assert isinstance(answer, Conflict)
    assert {chain[0].parent for chain in answer.chains} == {"app", "app (group dev)"}
