"""Which node is decided next, and which build of a version is preferred."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resolvelib.structs import RequirementInformation

from gpuenv.model.distribution import Release
from gpuenv.model.target import Target
from gpuenv.model.version import parse_version
from gpuenv.solve.nodes import Candidate, Key, Kind, Need
from gpuenv.solve.preference import Accelerator, Order, accelerator_of, by_preference


def key(name: str, extra: str = "") -> Key:
    return Key(Kind.DISTRIBUTION, name, extra)


def asked(*needs: Need) -> dict[Key, Iterator[Any]]:
    return {need.key: iter([RequirementInformation(need, None)]) for need in needs}


def following(order: Order, *needs: Need, causes: Any = ()) -> str:
    return order.next([need.key for need in needs], asked(*needs), causes).name


def test_what_leaves_no_choice_comes_first() -> None:
    """The target's own facts, then URLs, then pins, then everything else."""
    host = Need(Key(Kind.HOST, "python"), ">=3")
    url, pin, wide = Need(key("url"), url="https://files.example/u.whl"), Need(key("pin"), "==1.0"), Need(key("wide"))
    order = Order()
    order.seen([wide, pin, url, host])
    assert following(order, wide, pin, url, host) == "python"
    assert following(order, wide, pin, url) == "url"
    assert following(order, wide, pin) == "pin"


def test_wildcard_is_no_pin() -> None:
    """`==1.*` leaves a choice."""
    order = Order()
    wide, wildcard = Need(key("wide"), ">=1"), Need(key("wildcard"), "==1.*")
    order.seen([wide, wildcard])
    assert following(order, wildcard, wide) == "wide"


def test_first_discovered_comes_first_not_the_first_in_the_alphabet() -> None:
    """What the project names is decided before what its dependencies need."""
    order = Order()
    order.seen([Need(key("z"))])
    order.seen([Need(key("a"))])
    assert following(order, Need(key("a")), Need(key("z"))) == "z"


def test_trouble_moves_forward() -> None:
    """A node that a conflict was about, or whose requirement made it, is decided earlier; one conflict counts once."""
    order = Order()
    first, second, third = Need(key("first")), Need(key("second")), Need(key("third"))
    order.seen([first, second, third])
    maker = Candidate(key("third"), parse_version("1"), None)
    causes = [RequirementInformation(second, maker)]
    assert following(order, first, second, third, causes=causes) == "second"
    assert following(order, first, third, causes=causes) == "third"
    again = [RequirementInformation(third, None)]
    assert following(order, first, second, third, causes=again) == "third"


# builds of one version

CPU = Target("cpu")
H100 = Target("h100", gpu=("sm_90",), cuda="12.8")
MI300 = Target("mi300", gpu=("gfx942",), rocm="7.2")


def ordered(target: Target, *locals_: str) -> list[str]:
    """The local versions of one release in the order of preference; "" for the release without one."""
    found = by_preference([Release(f"2.12.0+{text}" if text else "2.12.0", ()) for text in locals_], target)
    return [release.version.partition("+")[2] for release in found]


@pytest.mark.parametrize(
    ("local", "found"),
    [
        ("cu128", Accelerator("nvidia", (12, 8))),
        ("cu92", Accelerator("nvidia", (9, 2))),
        ("cu102", Accelerator("nvidia", (10, 2))),
        ("cu1310", Accelerator("nvidia", (13, 10))),
        ("cu12", Accelerator("nvidia", (12,))),
        ("cu12torch2.6cxx11abifalse", Accelerator("nvidia", (12,))),
        ("cuda12.8", Accelerator("nvidia", (12, 8))),
        ("cuda12.cudnn89", Accelerator("nvidia", (12,))),
        ("cu118.with.pypi.cudnn", Accelerator("nvidia", (11, 8))),
        ("pt26cu124", Accelerator("nvidia", (12, 4))),
        ("rocm7.0", Accelerator("amd", (7, 0))),
        ("rocm7.10.0rc1", Accelerator("amd", (7, 10, 0))),
        ("rocm10", Accelerator("amd", (10,))),
        ("rocm57", Accelerator("amd", (5, 7))),
        ("git1234.rocm6.2", Accelerator("amd", (6, 2))),
        ("rocmsdk20250807", Accelerator("amd")),
        ("cpu.cxx11.abi", Accelerator("cpu")),
        ("xpu", Accelerator("intel")),
        ("g1a2b3c", None),
        ("cudnn89", None),
        ("computecanada", None),
        ("", None),
    ],
)
def test_accelerators_of_local_versions(local: str, found: Accelerator | None) -> None:
    """The marks that builds for CUDA, ROCm, oneAPI and processors have in real indexes."""
    assert accelerator_of(local) == found


def test_levels_are_numbers() -> None:
    """ROCm 10 is newer than ROCm 7, which PEP 440's order does not know."""
    assert parse_version("2.12.0+rocm10.0") < parse_version("2.12.0+rocm7.0")
    new = Target("t", gpu=("gfx942",), rocm="10.0")
    assert ordered(new, "", "rocm7.0", "rocm10.0", "rocm7.10", "rocm7.9") == [
        "rocm10.0", "rocm7.10", "rocm7.9", "rocm7.0", "",
    ]  # fmt: skip


def test_for_nvidia() -> None:
    """Highest CUDA that the driver runs first; no mark; CPU; newer CUDA, the nearest first; then others."""
    every = ("", "cpu", "cu118", "cu126", "cu128", "cu129", "cu130", "rocm7.2", "xpu", "g1234")
    best = ["cu128", "cu126", "cu118", "g1234", "", "cpu", "cu129", "cu130"]
    assert ordered(H100, *every) == [*best, "xpu", "rocm7.2"]
    by_driver = Target("t", gpu=("sm_90",), driver="570.86")
    assert ordered(by_driver, *every) == ordered(H100, *every)
    for unlimited in (Target("t", gpu=("sm_90",)), Target("t", gpu=("sm_90",), driver="900.1")):
        assert ordered(unlimited, *every)[:3] == ["cu130", "cu129", "cu128"]


def test_for_amd() -> None:
    """Up to the wanted ROCm, patch releases of it included; newer ones after builds for processors."""
    every = ("", "cpu", "cu130", "rocm6.4", "rocm7.2", "rocm7.2.1", "rocm7.3", "rocmsdk20250807")
    best = ["rocm7.2.1", "rocm7.2", "rocm6.4", "rocmsdk20250807", "", "cpu", "rocm7.3", "cu130"]
    assert ordered(MI300, *every) == best


def test_for_processors() -> None:
    """Builds for processors, then plain ones, then those for GPUs."""
    assert ordered(CPU, "", "cu130", "cpu", "rocm7.2", "g1234") == ["cpu", "g1234", "", "rocm7.2", "cu130"]


def test_public_versions_come_first() -> None:
    """A newer public version without the mark comes before an older one with it; equal public versions are one."""
    versions = ["2.13.0", "2.12.0+cu128", "2.12.0", "2.12+cu126", "2.12.0a1+cu128"]
    found = by_preference([Release(version, ()) for version in versions], H100)
    assert [release.version for release in found] == [
        "2.13.0", "2.12.0+cu128", "2.12+cu126", "2.12.0", "2.12.0a1+cu128",
    ]  # fmt: skip


_LOCALS = st.sampled_from(["", "cpu", "cu118", "cu128", "cu130", "cu12", "rocm6.4", "rocm7.2", "rocm10.0", "xpu", "g1"])
_VERSIONS = st.builds(
    lambda public, local: f"{public}+{local}" if local else public,
    st.sampled_from(["1.0", "1.0.1", "2.0", "2.0rc1", "2.0.post1", "1!0.5"]),
    _LOCALS,
)
_TARGETS = st.sampled_from([CPU, H100, MI300, Target("any", gpu=("sm_90",)), Target("any", gpu=("gfx942",))])


@given(st.lists(_VERSIONS, unique=True, max_size=12), _TARGETS, st.randoms(use_true_random=False))
def test_the_order_is_total(versions: list[str], target: Target, rng: random.Random) -> None:
    """Nothing is lost, the page's own order does not matter where there are marks, and public versions fall."""
    releases = [Release(version, ()) for version in sorted(versions, key=parse_version, reverse=True)]
    found = by_preference(releases, target)
    assert sorted(release.version for release in found) == sorted(versions)
    publics = [parse_version(release.version.partition("+")[0]) for release in found]
    assert publics == sorted(publics, reverse=True)
    if any("+" in version for version in versions):
        rng.shuffle(releases)
        assert by_preference(releases, target) == found
    else:
        assert found == releases


@given(st.lists(_VERSIONS, unique=True, min_size=2, max_size=12), _TARGETS)
def test_each_build_keeps_its_place(versions: list[str], target: Target) -> None:
    """Of two builds the better one is so whatever other builds there are."""
    found = by_preference([Release(version, ()) for version in versions], target)
    for number, better in enumerate(found):
        for worse in found[number + 1 :]:
            if "+" in better.version + worse.version:
                assert by_preference([worse, better], target) == [better, worse]
