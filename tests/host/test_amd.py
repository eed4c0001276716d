"""AMD's GPUs from KFD's topology, and the ROCm beside them."""

from pathlib import Path

import pytest

from gpuenv.host.amd import KFD, amd_devices, amd_driver, gfx_name, rocm_version
from tests.host.machines import put


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (90500, "gfx950"),
        (90006, "gfx906"),
        (90012, "gfx90c"),
        (80003, "gfx803"),
        (100306, "gfx1036"),
        (110000, "gfx1100"),
        (110501, "gfx1151"),
        (120001, "gfx1201"),
        (120500, "gfx1250"),
        (0, None),
        (10, None),
        (91600, None),
        (90016, None),
        (10**18, None),
    ],
)
def test_names(number: int, name: str | None) -> None:
    """KFD's numbers become LLVM's names, with hexadecimal digits; what cannot be a GPU has none."""
    assert gfx_name(number) == name


@pytest.mark.parametrize(
    ("lines", "there"),
    [
        ("simd_count 440\ngfx_target_version 90010\nvendor_id 4098\n", True),
        ("gfx_target_version 90010\n", True),
        ("simd_count 0\ngfx_target_version 90010\n", False),
        ("simd_count 440\ngfx_target_version 90010\nvendor_id 4318\n", False),
        ("simd_count 440\ngfx_target_version 0\n", False),
        ("simd_count 440\n", False),
        ("gfx_target_version 9999999999999999999999999999\n", False),
        ("\x00\xff gfx_target_version\n", False),
        ("", False),
    ],
)
def test_nodes(lines: str, there: bool, tmp_path: Path) -> None:
    """A node is a GPU if it computes, is AMD's and has an architecture; damaged files are none."""
    put(tmp_path, f"{KFD}/1/properties", lines)
    assert bool(amd_devices(tmp_path)) == there


def test_order_of_nodes(tmp_path: Path) -> None:
    """Nodes are counted as numbers, and what is no node is passed over."""
    for node, number in (("2", 90402), ("10", 90010), ("1", 0), ("x", 90006)):
        put(tmp_path, f"{KFD}/{node}/properties", f"simd_count 4\ngfx_target_version {number}\n")
    put(tmp_path, f"{KFD}/3/name", "no properties")
    found = amd_devices(tmp_path)
    assert [(one.number, one.arch, one.learnt) for one in found] == [
        (0, "gfx942", f"/{KFD}/2"),
        (1, "gfx90a", f"/{KFD}/10"),
    ]


@pytest.mark.parametrize(
    ("board", "chip", "name"),
    [
        ("AMD Instinct MI210\n", "aldebaran\n", "AMD Instinct MI210"),
        ("\n", "aldebaran\n", "aldebaran"),
        (None, "ip discovery\n", None),
        (None, None, None),
        (None, "a\x1b[2Jb", "a[2Jb"),
    ],
)
def test_product_names(board: str | None, chip: str | None, name: str | None, tmp_path: Path) -> None:
    """The board's name where it has one, else the chip's where that says something."""
    put(tmp_path, f"{KFD}/1/properties", "simd_count 4\ngfx_target_version 90010\ndrm_render_minor 129\n")
    if board is not None:
        put(tmp_path, "sys/class/drm/renderD129/device/product_name", board)
    if chip is not None:
        put(tmp_path, f"{KFD}/1/name", chip)
    assert amd_devices(tmp_path)[0].name == name


@pytest.mark.parametrize(
    ("text", "version"), [("7.2.0-93\n", "7.2.0"), ("6.4.1", "6.4.1"), ("7.0", "7.0"), ("x", None)]
)
def test_rocm(text: str, version: str | None, tmp_path: Path) -> None:
    """ROCm's version file, of ROCM_PATH before that of /opt/rocm; a relative ROCM_PATH does not count."""
    put(tmp_path, "opt/rocm/.info/version", "5.7.1-1\n")
    put(tmp_path, "apps/rocm/.info/version", text)
    said = rocm_version({"ROCM_PATH": "/apps/rocm/"}, tmp_path)
    assert said == ((version, "/apps/rocm/.info/version") if version else ("5.7.1", "/opt/rocm/.info/version"))
    assert rocm_version({"ROCM_PATH": "apps/rocm"}, tmp_path) == ("5.7.1", "/opt/rocm/.info/version")
    assert rocm_version({}, tmp_path / "none") is None


def test_driver(tmp_path: Path) -> None:
    """Only a driver installed apart from the kernel has a version."""
    assert amd_driver(tmp_path) is None
    put(tmp_path, "sys/module/amdgpu/version", "6.12.12\n")
    assert amd_driver(tmp_path) == "6.12.12"
