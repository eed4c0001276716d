"""AMD's GPUs: what the KFD driver lists, the driver's version where it has one, and the ROCm that is installed.

KFD is the compute half of Linux' amdgpu driver. Each node of its topology, CPUs too, has a file of "name value" lines.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gpuenv.host.files import numbered, text
from gpuenv.model.machine import Device

__all__ = ["AMD_DRIVER", "KFD", "amd_devices", "amd_driver", "gfx_name", "rocm_version"]

KFD = "sys/class/kfd/kfd/topology/nodes"
AMD_DRIVER = "sys/module/amdgpu/version"
_VENDOR = 4098  # 0x1002, AMD's PCI vendor
_LINE = re.compile(r"^(\w+) (\d{1,20})$", re.MULTILINE)
_UNNAMED = {"", "ip discovery"}  # what the driver calls GPUs that describe themselves


def amd_devices(root: Path) -> tuple[Device, ...]:
    """Every AMD GPU, in the order of KFD's nodes, which is HIP's. Nodes that this process may not read do not count."""
    found: list[Device] = []
    for node in numbered(root / KFD):
        folder = root / KFD / node
        values = {name: int(number) for name, number in _LINE.findall(text(folder / "properties"))}
        arch = gfx_name(values.get("gfx_target_version", 0))
        if arch is None or values.get("simd_count") == 0 or values.get("vendor_id", _VENDOR) != _VENDOR:
            continue
        name = _product(root, folder, values.get("drm_render_minor", 0))
        found.append(Device("amd", len(found), arch, name, f"/{KFD}/{node}"))
    return tuple(found)


def gfx_name(number: int) -> str | None:
    """KFD's number as LLVM's name: 90010 is gfx90a. Minor version and stepping are hexadecimal digits there."""
    major, minor, stepping = number // 10000, number // 100 % 100, number % 100
    if not 6 <= major <= 99 or minor > 15 or stepping > 15:
        return None
    return f"gfx{major}{minor:x}{stepping:x}"


def _product(root: Path, folder: Path, render: int) -> str | None:
    """The name on the board where it says one, else the chip's (`vega20`)."""
    board = text(root / f"sys/class/drm/renderD{render}/device/product_name").strip() if render else ""
    name = board or text(folder / "name").strip()
    return None if name in _UNNAMED else "".join(char for char in name if char.isprintable())[:80]


def amd_driver(root: Path) -> str | None:
    """The version of an amdgpu driver installed apart from the kernel (`6.12.12`); the kernel's own has none."""
    found = re.match(r"\d+(\.\d+)+", text(root / AMD_DRIVER))
    return found[0] if found else None


def rocm_version(environ: Mapping[str, str], root: Path) -> tuple[str, str] | None:
    """The ROCm that is installed for all of the machine, and the file that says so."""
    for folder in (environ.get("ROCM_PATH", ""), "/opt/rocm"):
        path = f"{folder.rstrip('/')}/.info/version"
        found = re.match(r"\d+\.\d+(\.\d+)?", text(root / path.lstrip("/"))) if folder.startswith("/") else None
        if found:
            return found[0], path
    return None
