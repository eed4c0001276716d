"""Laws of the solver on small random worlds, held against a search that tries everything."""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.distribution import Catalog
from gpuenv.model.requirement import Requirement, parse_requirement
from gpuenv.model.target import Target
from gpuenv.model.version import parse_specifier
from gpuenv.solve import Task, solve
from tests.support.scenario import World, gather, world_of

NAMES = ("a", "b", "c", "d")
VERSIONS = ("1", "2", "3")
SPECIFIERS = ("", "", "==1", "==2", ">=2", "<2", "<3", "!=2", ">3")

# name -> version -> "" or an extra -> requirements
Told = Mapping[str, Mapping[str, Mapping[str, list[str]]]]

requirements = st.builds(
    lambda name, extra, specifier: f"{name}{extra}{specifier}",
    st.sampled_from(NAMES),
    st.sampled_from(("", "", "", "[x]", "[y]", "[x,y]")),
    st.sampled_from(SPECIFIERS),
)
releases = st.fixed_dictionaries(
    {"": st.lists(requirements, max_size=2)},
    optional={"x": st.lists(requirements, max_size=2), "y": st.lists(requirements, max_size=1)},
)
worlds = st.fixed_dictionaries(
    {}, optional={name: st.dictionaries(st.sampled_from(VERSIONS), releases, min_size=1) for name in NAMES}
)
asked = st.lists(requirements, min_size=1, max_size=3)

bounded = settings(max_examples=100, deadline=None)


def world(told: Told, *, pre: bool = False) -> World:
    """A world in the words of a story; with `pre` every version 3 is a release candidate."""
    packages: dict[str, dict[str, Any]] = {}
    for name, versions in told.items():
        for version, lines in versions.items():
            by_extra = [f"{line}; extra == '{extra}'" for extra in "xy" for line in lines.get(extra, [])]
            made = f"{version}rc1" if pre and version == "3" else version
            known = [extra for extra in "xy" if extra in lines]
            packages.setdefault(name, {})[made] = {"requires": [*lines[""], *by_extra], "extras": known}
    return world_of(packages, {})


def whole(made: World) -> Catalog:
    """Everything at once, with a page for names that nobody offers."""
    return Catalog({name: made.page(name) for name in NAMES}, made.metadata, {})


def task(roots: list[str], catalog: Catalog, **more: Any) -> Task:
    parsed = tuple(parse_requirement(line) for line in roots)
    return Task("app", "", {"project": parsed}, Target("t"), catalog, **more)


def versions(answer: Solution | Conflict | Missing) -> dict[str, str] | None:
    """The pins as versions, None where there is no solution."""
    assert not isinstance(answer, Missing)
    return {name: pin.version for name, pin in answer.pins.items()} if isinstance(answer, Solution) else None


def broken(told: Told, roots: list[str], choice: Mapping[str, str]) -> bool:
    """Does a choice of versions leave a requirement unmet that is reachable from the roots?"""
    todo, seen = [*roots], set()
    while todo:
        line = todo.pop()
        if line in seen:
            continue
        seen.add(line)
        asked_for: Requirement = parse_requirement(line)
        version = choice.get(asked_for.name)
        if version is None or not parse_specifier(asked_for.specifier).contains(version):
            return True
        told_lines = told[asked_for.name][version]
        todo += told_lines[""] + [line for extra in asked_for.extras for line in told_lines.get(extra, [])]
    return False


def every_choice(told: Told) -> Iterator[dict[str, str]]:
    """All ways to take one version of some of the names."""
    for picked in product(*([None, *told[name]] for name in told)):
        yield {name: version for name, version in zip(told, picked, strict=True) if version is not None}


@bounded
@given(worlds, asked)
def test_solution_exists_exactly_when_trying_everything_finds_one(told: Told, roots: list[str]) -> None:
    """The solver says no only where no choice of versions satisfies everything, and what it picks is satisfied."""
    found = versions(solve(task(roots, whole(world(told)))))
    if found is None:
        assert all(broken(told, roots, choice) for choice in every_choice(told))
    else:
        assert not broken(told, roots, found)


@bounded
@given(worlds, asked)
def test_every_word_of_an_explanation_is_true(told: Told, roots: list[str]) -> None:
    """Each link is a requirement of a version that the link before admits, and what the last ones want is not there."""
    conflict = solve(task(roots, whole(world(told))))
    if not isinstance(conflict, Conflict):
        return
    assert set(conflict.roots) <= {str(parse_requirement(line)) for line in roots}
    assert versions(solve(task(list(conflict.roots), whole(world(told))))) is None
    for chain in conflict.chains:
        assert (chain[0].parent, chain[0].version) == ("app", "")
        assert chain[0].requires in conflict.roots
        for above, below in pairwise(chain):
            name, _, extra = below.parent.removesuffix("]").partition("[")
            asked_for = parse_requirement(above.requires)
            assert asked_for.name == name
            assert not extra or extra in asked_for.extras
            assert parse_specifier(asked_for.specifier).contains(below.version)
            lines = told[name][below.version].get(extra, [])
            assert below.requires in {str(parse_requirement(line)) for line in lines}
    last = [parse_requirement(chain[-1].requires) for chain in conflict.chains]
    assert {requirement.name for requirement in last} == {conflict.subject}
    fitting = [
        version
        for version in told.get(conflict.subject, ())
        if all(parse_specifier(requirement.specifier).contains(version) for requirement in last)
    ]
    assert conflict.known == (conflict.subject in told)
    assert conflict.satisfying == max(fitting, default="")


@bounded
@given(worlds, asked, st.booleans(), st.randoms(use_true_random=False))
def test_order_never_matters(told: Told, roots: list[str], pre: bool, random: Any) -> None:
    """However catalog, roots and mappings are ordered, answer and explanation are the same."""
    catalog = whole(world(told, pre=pre))
    shuffled = Catalog(mixed(catalog.pages, random), mixed(catalog.metadata, random), {})
    again = random.sample(roots, len(roots))
    assert solve(task(again, shuffled)) == solve(task(roots, catalog))


@bounded
@given(worlds, asked, st.booleans())
def test_what_nobody_asks_for_changes_nothing(told: Told, roots: list[str], pre: bool) -> None:
    """Pages and metadata beside the question leave the answer alone."""
    catalog = whole(world(told, pre=pre))
    beside = world({"z": {"1": {"": ["a==1", "b[x]"]}, "2": {"": ["c"]}}})
    more = Catalog({**beside.pages, **catalog.pages}, {**beside.metadata, **catalog.metadata}, {})
    assert solve(task(roots, more)) == solve(task(roots, catalog))


@bounded
@given(worlds, asked, st.booleans())
def test_own_solution_kept_is_the_solution_again(told: Told, roots: list[str], pre: bool) -> None:
    """A solve that prefers the versions of its own answer gives that answer."""
    catalog = whole(world(told, pre=pre))
    answer = solve(task(roots, catalog))
    if isinstance(answer, Solution):
        kept = {name: (pin.version,) for name, pin in answer.pins.items()}
        assert solve(task(roots, catalog, kept=kept)) == answer


@bounded
@given(worlds, asked, st.booleans(), st.sets(st.sampled_from([*NAMES, *(f"{n}-{v}" for n in NAMES for v in VERSIONS)])))
def test_what_is_not_known_yet_never_changes_the_answer(
    told: Told, roots: list[str], pre: bool, cached: set[str]
) -> None:
    """From any part of the catalog the solver asks its way, in the end, to the answer that the whole catalog gives."""
    made = world(told, pre=pre)
    catalog = whole(made)
    part = Catalog(
        {name: page for name, page in catalog.pages.items() if name in cached},
        {
            key: metadata
            for key, metadata in catalog.metadata.items()
            if key.rsplit("/", 1)[1].removesuffix("-py3-none-any.whl").replace("rc1", "") in cached
        },
        {},
    )
    assert gather(task(roots, part), made) == solve(task(roots, catalog))


def mixed(mapping: Mapping[str, Any], random: Any) -> dict[str, Any]:
    """The same mapping in another order."""
    return {key: mapping[key] for key in random.sample(list(mapping), len(mapping))}
