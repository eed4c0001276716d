"""A cheap name for what a machine is: while it stays the same, so does the choice of a target.

Reads a handful of small files and runs nothing, so that a sync with nothing to do need not ask a driver.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from gpuenv.host.overrides import VARIABLES

__all__ = ["fingerprint"]

_FILES = ("proc/driver/nvidia/version", "sys/module/nvidia/version", "sys/module/amdgpu/version")
_FOLDERS = ("proc/driver/nvidia/gpus", "sys/class/kfd/kfd/topology/nodes", "usr/lib/wsl/lib")


def fingerprint(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """A digest of platform, C library, drivers, GPUs and the variables that override them."""
    system = os.uname()
    seen = [system.sysname, system.machine, _libc()]
    seen += [f"{name}={environ[name]}" for name in VARIABLES if name in environ]
    seen += [_text(f"{root}/{name}") for name in _FILES]
    for name in _FOLDERS:
        seen += _names(f"{root}/{name}")
    # in a container, devices may be all there is to see
    seen += [name for name in _names(f"{root}/dev") if name.startswith("nvidia")]
    return hashlib.sha256("\0".join(seen).encode("utf-8", "replace")).hexdigest()[:16]


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def _names(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path))
    except OSError:
        return []
