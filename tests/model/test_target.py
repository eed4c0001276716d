"""Which wheels fit a target, by the same tags in the same order as packaging's, for machines that are not here."""

import os
import sys

import pytest
from packaging import tags

from gpuenv.model.requirement import evaluate_marker
from gpuenv.model.target import PLATFORMS, Target

CASES = [
    ("py3-none-any", Target("t"), True),
    ("py2.py3-none-any", Target("t"), True),
    ("py2-none-any", Target("t"), False),
    ("cp312-cp312-manylinux_2_28_x86_64", Target("t"), True),
    ("cp312-cp312-manylinux_2_29_x86_64", Target("t"), False),
    ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", Target("t"), True),
    ("cp312-cp312-manylinux1_x86_64", Target("t"), True),
    ("cp312-cp312-manylinux1_aarch64", Target("t", platform="linux-aarch64"), False),
    ("cp312-cp312-manylinux2014_aarch64", Target("t", platform="linux-aarch64"), True),
    ("cp312-cp312-linux_x86_64", Target("t"), True),
    ("cp311-cp311-manylinux_2_28_x86_64", Target("t"), False),
    ("cp311-abi3-manylinux_2_28_x86_64", Target("t"), True),
    ("cp313-abi3-manylinux_2_28_x86_64", Target("t"), False),
    ("cp313-cp313-manylinux_2_28_x86_64", Target("t", python="3.13t"), False),
    ("cp313-cp313t-manylinux_2_28_x86_64", Target("t", python="3.13t"), True),
    ("cp312-abi3-manylinux_2_28_x86_64", Target("t", python="3.13t"), False),
    ("py3-none-any", Target("t", python="3.13t"), True),
    ("cp312-cp312-musllinux_1_1_x86_64", Target("t", glibc=None, musl="1.2"), True),
    ("cp312-cp312-musllinux_1_3_x86_64", Target("t", glibc=None, musl="1.2"), False),
    ("cp312-cp312-manylinux_2_17_x86_64", Target("t", glibc=None, musl="1.2"), False),
    ("cp312-cp312-musllinux_1_1_x86_64", Target("t"), False),
    ("cp312-cp312-win_amd64", Target("t", platform="windows-x86_64", glibc=None), True),
    ("cp312-cp312-win_arm64", Target("t", platform="windows-arm64", glibc=None), True),
    ("cp312-cp312-win32", Target("t", platform="windows-x86_64", glibc=None), False),
    ("cp312-cp312-macosx_11_0_arm64", Target("t", platform="macos-arm64", glibc=None, macos="14.0"), True),
    ("cp312-cp312-macosx_11_0_universal2", Target("t", platform="macos-arm64", glibc=None, macos="14.0"), True),
    ("cp312-cp312-macosx_15_0_arm64", Target("t", platform="macos-arm64", glibc=None, macos="14.0"), False),
    ("cp312-cp312-macosx_10_9_x86_64", Target("t", platform="macos-x86_64", glibc=None, macos="14.0"), True),
    ("cp312-cp312-macosx_11_0_arm64", Target("t", platform="macos-x86_64", glibc=None, macos="14.0"), False),
    ("pp310-pypy310_pp73-manylinux_2_28_x86_64", Target("t", python="3.10"), False),
]


@pytest.mark.parametrize(("tag", "target", "fits"), CASES)
def test_fits(tag: str, target: Target, fits: bool) -> None:
    """A wheel's tags fit a target exactly where the platform tag specifications say so."""
    assert (target.tag_rank(tag) is not None) == fits


@pytest.mark.skipif(not os.confstr("CS_GNU_LIBC_VERSION"), reason="this machine has no glibc")
def test_the_running_interpreter() -> None:
    """A target that describes this interpreter ranks every tag as packaging ranks it for the interpreter itself.

    Plain `linux_*` tags aside: versions of packaging put them first or last.
    """
    glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1]
    platform = f"linux-{os.uname().machine}"
    if platform not in PLATFORMS:
        pytest.skip(f"{platform} is no platform of gpuenv's")
    threads = "t" if not getattr(sys, "_is_gil_enabled", lambda: True)() else ""
    target = Target("here", platform=platform, python="{}.{}".format(*sys.version_info[:2]) + threads, glibc=glibc)
    every = [str(tag) for tag in tags.sys_tags()]
    assert [tag for tag in every if target.tag_rank(tag) is None] == []
    wanted = [tag for tag in every if "-linux_" not in tag]
    found = {tag: target.tag_rank(tag) for tag in wanted}
    assert sorted(wanted, key=lambda tag: found[tag] or 0) == wanted


@pytest.mark.parametrize("python", ["3.9", "3.12", "3.13t"])
@pytest.mark.parametrize("platform", [name for name in PLATFORMS if name.startswith("linux-")])
def test_order_on_every_linux(platform: str, python: str) -> None:
    """Own ABI before stable ABI before none, newer glibc before older, and platforms before any."""
    target = Target("t", platform=platform, python=python)
    arch = platform.partition("-")[2]
    minor = python.rstrip("t").replace(".", "")
    own = f"cp{minor}-cp{minor}{'t' if python.endswith('t') else ''}"
    ordered = [f"{own}-manylinux_2_28_{arch}", f"{own}-manylinux_2_17_{arch}", f"{own}-linux_{arch}"]
    ordered += [] if python.endswith("t") else [f"cp{minor}-abi3-manylinux_2_28_{arch}", f"cp38-abi3-linux_{arch}"]
    ordered += [f"cp{minor}-none-linux_{arch}", f"py3-none-manylinux_2_17_{arch}", "py3-none-any"]
    ranks = [target.tag_rank(tag) for tag in ordered if tag != f"cp{minor}-none-linux_{arch}"]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: rank or 0)
    assert len(set(ranks)) == len(ranks)


def test_compressed_tags_take_their_best() -> None:
    """A triple with several tags ranks as the best of them."""
    target = Target("t")
    both = target.tag_rank("cp312-cp312-manylinux_2_17_x86_64.manylinux_2_28_x86_64")
    assert both == target.tag_rank("cp312-cp312-manylinux_2_28_x86_64")


@pytest.mark.parametrize(
    ("marker", "target", "holds"),
    [
        ("python_version >= '3.12'", Target("t"), True),
        ("python_full_version >= '3.12.4'", Target("t"), False),
        ("python_full_version >= '3.12.4'", Target("t", python="3.12.4"), True),
        ("sys_platform == 'linux' and platform_machine == 'x86_64'", Target("t"), True),
        ("sys_platform == 'win32' or os_name == 'nt'", Target("t"), False),
        ("platform_system == 'Windows'", Target("t", platform="windows-x86_64", glibc=None), True),
        ("platform_machine == 'aarch64'", Target("t", platform="linux-aarch64"), True),
        ("implementation_name == 'pypy'", Target("t"), False),
        ("extra == 'fast'", Target("t"), False),
        ("platform_release >= '5'", Target("t"), False),
    ],
)
def test_markers(marker: str, target: Target, holds: bool) -> None:
    """Markers see the target, never this machine; what a target does not say is empty."""
    assert evaluate_marker(marker, target.marker_environment) == holds


def test_extras_in_markers() -> None:
    """One extra at a time."""
    assert evaluate_marker("extra == 'fast'", Target("t").marker_environment, "fast")
