"""What a solution says of default extras and alternatives: keys, rules, names. The stories are in fixtures."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.index.metadata import parse_metadata
from gpuenv.manifest.decode import decode
from gpuenv.model.answer import Pin, Solution
from gpuenv.model.distribution import Catalog
from gpuenv.model.selectors import Chosen
from gpuenv.solve import Scout, Task
from gpuenv.solve.nodes import DEFAULTS, Key, Kind
from gpuenv.solve.provider import Provider
from gpuenv.solve.search import Found, search
from tests.solve.test_scenarios import STORIES
from tests.support.scenario import Story, gather, read_story, task_of, world_of

FOLDER = STORIES[0].parent


def task(story: Story, target: str) -> Task:
    """The question that a story asks for one of its targets, with nothing known yet."""
    return task_of(story, story.manifest.targets[target], story.kept)


def solution(name: str, target: str = "default") -> Solution:
    """What a story of fixtures/scenarios gets for one of its targets."""
    story = read_story(FOLDER / f"{name}.toml")
    found = gather(task(story, target), story.world)
    assert isinstance(found, Solution)
    return found


def rules(pin: Pin) -> dict[str, list[str]]:
    """The rules that chose the default extras of a pin."""
    found: dict[str, list[str]] = {}
    for one in pin.default_extras:
        found.setdefault(one.extra, []).append(one.why)
    return found


def test_keys_are_what_was_taken() -> None:
    """A bare requirement stands with the extras that it got, wherever it stood; without any it stands bare."""
    found = solution("defaults-rocm", "mi300")
    assert found.roots == {"project": ("train-lib",)}
    assert found.pins["train-lib"].requires == ("torch[device-gfx942]",)
    assert found.pins["torch"].requires == ("rocm[libraries]",)
    assert found.pins["torch"].extras == {"device-gfx942": ("amd-torch-device-gfx942", "rocm[device-gfx942]")}
    assert sorted(found.pins["rocm"].extras) == ["device-gfx942", "libraries"]
    assert rules(found.pins["torch"]) == {"device-gfx942": ["project, amd = device-{gfx}"]}
    assert rules(found.pins["rocm"]) == {}, "nobody required it bare"
    assert solution("defaults-none").roots == {"project": ("a",)}
    assert solution("defaults-bare").roots == {"project": ("a[x]",)}


def test_rules_of_each_source() -> None:
    """Who chose an extra is told with the selector and the template, of Default-Extra with its name alone."""
    assert rules(solution("defaults-of-the-publisher", "mi300").pins["k"]) == {"x": ["publisher, amd = x"]}
    assert rules(solution("defaults-of-the-publisher", "cpu").pins["k"]) == {"z": ["Default-Extra"]}
    assert rules(solution("defaults-gpus-by-two-sources", "mixed").pins["k"]) == {
        "device-all": ["project, gfx90a = device-all"],
        "device-gfx942": ["publisher, amd = device-{gfx}"],
    }
    assert Chosen("x", "Default-Extra").why == "Default-Extra"


def test_named_and_default() -> None:
    """Where one names an extra and another requires the distribution bare, each key is what was taken there."""
    found = solution("defaults-bare-somewhere")
    assert found.roots == {"project": ("a[y]", "d")}
    assert found.pins["d"].requires == ("a[x]",)
    assert rules(found.pins["a"]) == {"x": ["Default-Extra"]}


def test_cycle_ends_in_itself() -> None:
    """What a default extra brings requires its distribution with that extra again."""
    found = solution("defaults-cycle")
    assert found.pins["a"].extras == {"x": ("b",)}
    assert found.pins["b"].requires == ("a[x]",)


def test_instead_of() -> None:
    """A pin says for which names it stands; where nothing was exchanged it says nothing."""
    assert solution("alternatives", "h100").pins["onnxruntime-gpu"].instead_of == ("onnxruntime",)
    assert solution("alternatives", "cpu").pins["onnxruntime"].instead_of == ()
    assert solution("alternatives-in-a-row", "mi300").pins["c"].instead_of == ("a",)


def test_nothing_is_asked_of_others() -> None:
    """Distributions without default extras have no node for them, those of which the search learns of get one."""
    assert with_defaults("diamond") == set()
    assert with_defaults("defaults-named") == set()
    assert with_defaults("defaults-found-late") == {"a"}


def solved(name: str, target: str = "default") -> Found:
    """How the search for a story ends that knows everything from the start."""
    story = read_story(FOLDER / f"{name}.toml")
    catalog = Catalog(story.world.pages, story.world.metadata, story.world.direct, story.world.facts)
    found = search(replace(task(story, target), catalog=catalog))
    assert isinstance(found, Found)
    return found


def with_defaults(name: str) -> set[str]:
    """The distributions of a story whose default extras the last search of it asks for."""
    found = solved(name)
    seen = [found.provider.root_needs, *found.provider.seen_dependencies().values()]
    return {need.key.name for needs in seen for need in needs if need.key.detail == DEFAULTS}


def test_releases_without_the_extras_are_not_looked_into() -> None:
    """Which release has the default extras is known first: what one without them requires is nobody's business."""
    found = solved("defaults-older-release", "mi300")
    looked_into = {str(candidate.key) for candidate in found.provider.seen_dependencies() if candidate.text == "2.0"}
    assert found.chosen[Key(Kind.DISTRIBUTION, "k")].text == "1.0"
    assert looked_into == set()


def test_scout_follows_default_extras() -> None:
    """Once metadata is there, what its default extras require is gathered without a search that misses it."""
    story = read_story(FOLDER / "defaults-bare.toml")
    known = Catalog({"a": story.world.page("a")}, story.world.metadata, {})
    scout = Scout(replace(task(story, "default"), catalog=known))
    assert scout.roots().pages == ("b",)


NAMES = "abcd"
requirements = st.sampled_from([f"{name}{extras}" for name in NAMES for extras in ("", "[]", "[x]", "[x,y]")])
packages = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {
                "default-extra": st.sets(st.sampled_from("xyz")).map(sorted),
                "requires": st.lists(requirements, max_size=2),
                "x": st.lists(requirements, max_size=2),
                "y": st.lists(requirements, max_size=2),
            }
        )
        for name in NAMES
    }
)


def played(roots: list[str], told: dict[str, dict[str, list[str]]]) -> Solution:
    """What such packages come to for such roots."""
    world = {
        name: {
            "1.0": {
                "extras": ["x", "y"],
                "default-extra": package["default-extra"],
                "requires": [
                    *package["requires"],
                    *(f"{line}; extra == '{extra}'" for extra in "xy" for line in package[extra]),
                ],
            }
        }
        for name, package in told.items()
    }
    manifest = decode(f"[project]\nname = 'app'\ndependencies = {roots}\n")
    story = replace(read_story(STORIES[0]), manifest=manifest, world=world_of(world, {}))
    found = gather(task_of(story, manifest.targets["default"], {}), story.world)
    assert isinstance(found, Solution)
    return found


@given(st.lists(requirements, max_size=3), packages)
@settings(max_examples=60, deadline=None)
def test_default_extras_are_those_that_one_could_have_named(
    roots: list[str], told: dict[str, dict[str, list[str]]]
) -> None:
    """Default extras come to the same as a world without them whose bare requirements name them."""

    def named(line: str) -> str:
        extras = [extra for extra in told[line]["default-extra"] if extra != "z"] if line in told else []
        return f"{line}[{','.join(extras)}]" if extras else line

    spelt = {
        name: {key: [*map(named, lines)] if key != "default-extra" else [] for key, lines in package.items()}
        for name, package in told.items()
    }
    found, expected = played(roots, told), played([*map(named, roots)], spelt)
    assert found.roots == expected.roots
    assert {name: (pin.requires, pin.extras) for name, pin in found.pins.items()} == {
        name: (pin.requires, pin.extras) for name, pin in expected.pins.items()
    }


def test_default_extra_in_metadata() -> None:
    """Default-Extra is read as Provides-Extra is; the keyword says whether the publisher says more elsewhere."""
    plain = parse_metadata(b"Name: a\nVersion: 1\nDefault-Extra: My_X\nDefault-Extra: my.x\nDefault-Extra: y\n")
    assert (plain.default_extras, plain.default_extras_by) == (("my-x", "y"), None)
    for keywords in ("gpuenv-default-extras", "gpu,gpuenv-default-extras", "gpu gpuenv-default-extras"):
        assert parse_metadata(f"Name: a\nKeywords: {keywords}\n".encode()).default_extras_by == ()
    assert parse_metadata(b"Name: a\nKeywords: gpuenv-default-extras-not\n").default_extras_by is None


@pytest.mark.parametrize("count", [2, 40])
def test_searches_do_not_grow_with_the_number_of_distributions(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many distributions have default extras, the search begins anew once; nested ones need one more."""
    begun = []
    before = Provider.__init__

    def counted(self: Provider, task: Task) -> None:
        begun.append(task.may_default)
        before(self, task)

    monkeypatch.setattr(Provider, "__init__", counted)
    packages = {
        f"p{place}": {"1.0": {"extras": ["x"], "default-extra": ["x"], "requires": [f"q{place}; extra == 'x'"]}}
        for place in range(count)
    }
    packages |= {f"q{place}": {"1.0": {}} for place in range(count)}
    packages["q0"] = packages["p0"] | {"1.0": {**packages["p0"]["1.0"], "requires": []}}
    world = world_of(packages, {})
    manifest = decode(f"[project]\nname = 'app'\ndependencies = {[f'p{place}' for place in range(count)]}\n")
    story = replace(read_story(STORIES[0]), manifest=manifest, world=world)
    catalog = Catalog(world.pages, world.metadata, {}, world.facts)
    found = search(replace(task_of(story, manifest.targets["default"], {}), catalog=catalog))
    assert isinstance(found, Found)
    assert len(begun) == 3
    assert begun[-1] == {*(f"p{place}" for place in range(count)), "q0"}


releases = st.fixed_dictionaries(
    {
        "extras": st.just(["x", "y"]),
        "default-extra": st.sets(st.sampled_from("xyz")).map(sorted),
        "requires": st.lists(
            st.tuples(requirements, st.sampled_from(["", ">=2", "<2"]), st.sampled_from(["", "x", "y"])).map(
                lambda parts: f"{parts[0]}{parts[1]}" + (f"; extra == '{parts[2]}'" if parts[2] else "")
            ),
            max_size=3,
        ),
    }
)


@given(
    st.lists(requirements, min_size=1, max_size=3),
    st.fixed_dictionaries({name: st.dictionaries(st.sampled_from(["1.0", "2.0"]), releases) for name in NAMES}),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["x", "y", "z"]), max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_the_answer_does_not_depend_on_when_they_are_learnt(
    roots: list[str], told: dict[str, dict[str, dict[str, list[str]]]], rules: dict[str, str]
) -> None:
    """Whether default extras are found one by one or known from the start, versions and conflicts are the same."""
    tables = "".join(f'{name} = {{ any = ["{extra}"] }}\n' for name, extra in rules.items())
    manifest = decode(f"[project]\nname = 'app'\ndependencies = {roots}\n[tool.gpuenv.default-extras]\n{tables}")
    story = replace(read_story(STORIES[0]), manifest=manifest, world=world_of(told, {}))
    asked = task_of(story, manifest.targets["default"], {})
    found = gather(asked, story.world)  # which compares what it finds with the answer for the whole world
    everybody = gather(replace(asked, may_default=frozenset(NAMES)), story.world)
    assert isinstance(found, Solution) == isinstance(everybody, Solution)
    if isinstance(found, Solution) and isinstance(everybody, Solution):
        assert {name: pin.version for name, pin in found.pins.items()} == {
            name: pin.version for name, pin in everybody.pins.items()
        }
