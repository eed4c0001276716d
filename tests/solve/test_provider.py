"""What the solver sees of a task: needs after overrides and sources, candidates, and what it asks for."""

from typing import Any

from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.distribution import Catalog
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.target import Target
from gpuenv.solve import Task, solve
from gpuenv.solve.provider import Provider
from tests.support.scenario import World, world_of

URL = "https://files.example/a-1.5-py3-none-any.whl"


def task(*roots: str, catalog: Catalog, **more: Any) -> Task:
    return Task("app", "", {"project": tuple(map(parse_requirement, roots))}, Target("t"), catalog, **more)


def stated(text: str, **more: Any) -> list[tuple[str, str, str | None, str]]:
    """Key, specifier, URL and words of the needs that a requirement becomes."""
    provider = Provider(task(catalog=Catalog({}, {}, {}), **more))
    return [(str(n.key), n.specifier, n.url, n.text) for n in provider.needs_of(parse_requirement(text), text)]


def test_extras_are_needs_beside_the_name() -> None:
    """Asking for extras asks for the name too, under the same specifier."""
    assert stated("a[x,y]>=1") == [
        ("a", ">=1", None, "a[x,y]>=1"),
        ("a[x]", ">=1", None, "a[x,y]>=1"),
        ("a[y]", ">=1", None, "a[x,y]>=1"),
    ]


def test_override_says_who_speaks() -> None:
    """An override replaces the specifier, adds its extras, and is named in the words of the need."""
    words = "a==2 (as tool.gpuenv.overrides says)"
    found = stated("a[x]<2", overrides=(parse_requirement("a==2"),))
    assert found == [("a", "==2", None, words), ("a[x]", "==2", None, words)]


def test_source_holds_for_overrides_too() -> None:
    """A source by URL says where from, an override which versions: both count."""
    found = stated("a<2", overrides=(parse_requirement("a>=2"),), sources={"a": URL})
    assert found == [("a", ">=2", URL, f"a>=2 (as tool.gpuenv.overrides says) (from {URL})")]


def test_constraint_also_limits_a_url() -> None:
    """A wheel by URL that a constraint excludes is no solution."""
    world = world_of({}, {URL: {}})
    catalog = Catalog({}, world.metadata, world.direct)
    constraints = (parse_requirement("a<1"),)
    answer = solve(task(f"a @ {URL}", catalog=catalog, constraints=constraints))
    assert isinstance(answer, Conflict)
    assert isinstance(solve(task(f"a @ {URL}", catalog=catalog)), Solution)


def world() -> World:
    requires = {f"{number}.0": {"requires": ["b>=9"]} for number in range(1, 61)}
    return world_of({"a": requires, "b": {"1.0": {}}}, {})


def test_page_then_metadata_is_asked_for() -> None:
    """The first thing that is not known ends the solve with its name."""
    made = world()
    assert solve(task("a", catalog=Catalog({}, {}, {}))) == Missing(pages=("a",))
    answer = solve(task("a", catalog=Catalog({"a": made.page("a")}, {}, {})))
    assert isinstance(answer, Missing)
    assert [wheel.filename for wheel in answer.wheels] == ["a-60.0-py3-none-any.whl"]
    url = f"a @ {URL}"
    assert solve(task(url, catalog=Catalog({}, {}, {}))) == Missing(direct=(URL,))


def test_more_failures_ask_for_more_at_once() -> None:
    """The more versions of a name were looked at in vain, the more are asked for together, all of them older."""
    made = world()
    pages = {"a": made.page("a"), "b": made.page("b")}
    metadata: dict[str, Any] = {}
    asked = []
    for _ in range(10):
        answer = solve(task("a", catalog=Catalog(pages, dict(metadata), {})))
        if not isinstance(answer, Missing):
            break
        asked.append(len(answer.wheels))
        metadata.update({wheel.key: made.metadata[wheel.key] for wheel in answer.wheels})
    assert isinstance(answer, Conflict)
    assert asked[0] == 1 and asked == sorted(asked[:-1]) + asked[-1:] and sum(asked) == 60


def test_lookahead_needs_are_never_part_of_the_answer() -> None:
    """What was asked for in advance does not change which version is chosen."""
    made = world_of({"a": {"1.0": {}, "2.0": {}}}, {})
    only = Catalog({"a": made.page("a")}, {k: m for k, m in made.metadata.items() if "a-2.0" in k}, {})
    assert solve(task("a", catalog=only)) == solve(task("a", catalog=Catalog({"a": made.page("a")}, made.metadata, {})))
