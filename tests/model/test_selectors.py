"""Which rows of a table are about a target, and which extras they name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.architecture import AMD_PROCESSORS, NVIDIA_ARCHITECTURES, parse_gpu
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.selectors import (
    PLACEHOLDERS,
    Chosen,
    Machine,
    Miss,
    alternatives_on,
    machines,
    nearest_selectors,
    parse_selector,
    siblings,
    template_problem,
    walk,
)
from gpuenv.model.target import PLATFORMS, Target

GPUS = [name for name in (*NVIDIA_ARCHITECTURES, *AMD_PROCESSORS.values()) if parse_gpu(name)]


@pytest.mark.parametrize(
    ("gpu", "levels"),
    [
        ("gfx942", "gfx942 gfx9-4-generic gfx94x gfx9 amd gpu linux-x86_64 linux any"),
        ("gfx90a", "gfx90a gfx90x gfx9 amd gpu linux-x86_64 linux any"),
        ("gfx90a:xnack+", "gfx90a:xnack+ gfx90a gfx90x gfx9 amd gpu linux-x86_64 linux any"),
        ("gfx1151", "gfx1151 gfx11-generic gfx115x gfx11 amd gpu linux-x86_64 linux any"),
        ("gfx1250-strict", "gfx1250-strict gfx1250 gfx12-5-generic gfx125x gfx12 amd gpu linux-x86_64 linux any"),
        ("sm_90", "sm_90 sm_9x nvidia gpu linux-x86_64 linux any"),
        ("sm_120", "sm_120 sm_12x nvidia gpu linux-x86_64 linux any"),
    ],
)
def test_levels(gpu: str, levels: str) -> None:
    """From the architecture to `any`, most specific first, each once."""
    (machine,) = machines(Target("t", gpu=(gpu,)))
    assert machine.levels == tuple(levels.split())
    assert machine.is_gpu


def test_levels_without_gpu() -> None:
    """A target without a GPU has its platform, its system and `any`, whatever level its driver or user space has."""
    (machine,) = machines(Target("t", platform="macos-arm64", glibc=None, macos="14.0"))
    assert (machine.levels, machine.is_gpu) == (("macos-arm64", "macos", "any"), False)


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (Target("t"), {}),
        (Target("t", gpu=("gfx942",), rocm="7.2"), {"gfx": "gfx942", "family": "gfx94x", "rocm_major": "7"}),
        (Target("t", gpu=("gfx90a:xnack+",)), {"gfx": "gfx90a", "family": "gfx90x"}),
        (Target("t", gpu=("sm_90",), cuda="13.0"), {"sm": "sm_90", "family": "sm_9x", "cuda_major": "13"}),
        (Target("t", gpu=("sm_80",), driver="535.104"), {"sm": "sm_80", "family": "sm_8x", "cuda_major": "12"}),
    ],
)
def test_values(target: Target, values: dict[str, str]) -> None:
    """Placeholders have the values that follow from the target's facts, and no others."""
    assert dict(machines(target)[0].values) == values


def test_every_level_may_be_written() -> None:
    """Whatever stands in the levels of a GPU or a platform is a selector in its normal form."""
    for gpu in GPUS:
        for machine in machines(Target("t", gpu=(gpu,))):
            assert [parse_selector(level) for level in machine.levels] == [*machine.levels]
    for platform in PLATFORMS:
        assert parse_selector(platform) == platform


@pytest.mark.parametrize("text", ["", "sm_90a", "gfx", "GFX942", "cuda", "gfx94X", "sm_x", "gfx90a:xnack", "linux-"])
def test_not_a_selector(text: str) -> None:
    """Names of code, of levels and of nothing are no selectors; letters count as they are written."""
    assert parse_selector(text) is None


@pytest.mark.parametrize(
    ("text", "meant"), [("nvida", "nvidia"), ("gfx94X", "gfx94x"), ("GFX942", "gfx942"), ("sm90", "sm_90")]
)
def test_nearest_selector(text: str, meant: str) -> None:
    """What was probably meant, for a hint."""
    assert nearest_selectors(text) == [meant]


MACHINE = Machine("gfx942", ("gfx942", "gfx9", "amd", "any"), {"gfx": "gfx942"}, True)


@pytest.mark.parametrize(
    ("table", "provided", "taken"),
    [
        ({}, {"x"}, None),
        ({"nvidia": ("x",)}, {"x"}, None),
        ({"amd": ("{sm}",), "any": ("x",)}, {"x"}, "any = x"),
        ({"amd": ("{sm}",)}, {"x"}, None),
        ({"any": ("x",), "amd": ("Y_Z",)}, {"x", "y-z"}, "amd = Y_Z"),
        ({"gfx942": ("gone",), "amd": ("x",)}, {"x"}, "amd = x"),
        ({"gfx942": ("gone",), "amd": (), "any": ("x",)}, {"x"}, "any = x"),
        ({"amd": (), "any": ("x",)}, {"x"}, ""),
        ({"amd": ("x", "gone", "x")}, {"x"}, "amd = x"),
        ({"amd": ("device-{gfx}",)}, {"device-gfx942"}, "amd = device-{gfx}"),
    ],
)
def test_walk(table: dict[str, tuple[str, ...]], provided: set[str], taken: str | None) -> None:
    """The first level that names something provided wins; an empty one says none; no level, no answer."""
    found = walk(table, MACHINE, provided, "project")
    assert not isinstance(found, Miss)
    told = found and " ".join(f"{one.selector} = {one.template}" for one in found)
    assert told == (() if taken == "" else taken)


def test_walk_misses() -> None:
    """Levels that name extras of which none is provided are told, most specific first, empty ones among them or not."""
    table = {"any": ("x",), "gfx9": ("device-{gfx}", "{sm}"), "amd": ()}
    assert walk(table, MACHINE, {"y"}, "publisher") == Miss(
        (Chosen("device-gfx942", "publisher", "gfx9", "device-{gfx}"), Chosen("x", "publisher", "any", "x"))
    )


levels = st.sampled_from(MACHINE.levels)
extras = st.sampled_from(["x", "y", "z"])


@given(st.dictionaries(levels, st.lists(extras, max_size=2).map(tuple)), st.sets(extras))
def test_walk_takes_only_what_is_there(table: dict[str, tuple[str, ...]], provided: set[str]) -> None:
    """What is taken is provided, named by one level, and no level above that names anything that is provided."""
    found = walk(table, MACHINE, provided, "project")
    if found is None:
        assert not table
    elif isinstance(found, Miss):
        assert not any(provided & set(named) for named in table.values())
        assert any(table.values())
    elif found:
        (selector,) = {one.selector for one in found}
        above = MACHINE.levels[: MACHINE.levels.index(selector)]
        assert {one.extra for one in found} == provided & set(table[selector])
        assert not any(provided & set(table.get(level, ())) for level in above)
    else:
        first = next(level for level in MACHINE.levels if level in table)
        assert table[first] == ()


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("device-{gfx}", ["device-gfx90a", "device-gfx1250-strict"]),
        ("Device_{sm}", ["device-sm-90"]),
        ("device-{family}", ["device-gfx94x"]),
        ("cuda{cuda_major}", ["cuda13"]),
        ("cuda13", []),
        ("{unknown}", []),
    ],
)
def test_siblings(template: str, found: list[str]) -> None:
    """What a template names on one machine or another; what stands for all of them is not among it."""
    provided = ["device-gfx90a", "device-gfx1250-strict", "device-sm-90", "device-gfx94x", "device-all", "cuda13", "d"]
    assert siblings(template, provided) == found


def test_templates() -> None:
    """A template has the placeholders that there are, and is the name of an extra once they are filled in."""
    assert [template_problem(f"device-{{{field}}}") for field in PLACEHOLDERS] == [None] * 5
    assert template_problem("x-{GFX}") == "`{GFX}` is not a placeholder"
    assert template_problem("-{gfx}") == "`-{gfx}` is not a valid extra"
    assert template_problem("") == "`` is not a valid extra"


def test_alternatives_on_a_target() -> None:
    """The first level of the target that a table has decides; a name that stands for itself has none."""
    other = parse_requirement
    tables = {"a": {"amd": other("b>=1"), "any": other("c")}, "d": {"gfx942": other("d"), "any": other("e")}}
    assert alternatives_on(tables, Target("t", gpu=("gfx942",))) == {"a": other("b>=1")}
    assert alternatives_on(tables, Target("t")) == {"a": other("c"), "d": other("e")}
