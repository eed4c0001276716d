"""Find out what this machine is: platform, libc, GPUs and their driver. Cheap where there is no GPU."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gpuenv.errors import UsageError
from gpuenv.model.machine import Machine

__all__ = ["GLIBC", "GPU", "NVIDIA_DRIVER", "detect"]

GLIBC = "GPUENV_OVERRIDE_GLIBC"
GPU = "GPUENV_OVERRIDE_GPU"
NVIDIA_DRIVER = "GPUENV_OVERRIDE_CUDA_DRIVER"

_ARCHITECTURES = {"amd64": "x86_64", "i386": "i686", "i586": "i686", "arm64": "aarch64"}
_GPU = re.compile(r"(sm_\d+[af]?|gfx[0-9a-f]{3,})\Z")
_VERSION = re.compile(r"\d+(\.\d+)*\Z")

Query = Callable[[Mapping[str, str]], str]


def detect(environ: Mapping[str, str], root: Path = Path("/"), *, query: Query | None = None) -> Machine:
    """What this machine offers. Environment variables `GPUENV_OVERRIDE_*` replace what would be found.

    root: where `proc`, `dev` and `sys` are looked for. query: what asks the NVIDIA driver, by default `nvidia-smi`.
    Raises UsageError if a variable does not say what it should.
    """
    system = os.uname()
    if system.sysname == "Darwin":
        return Machine(platform=f"macos-{system.machine}", macos=_macos(), gpus=_override_gpus(environ) or ())
    architecture = _ARCHITECTURES.get(system.machine, system.machine)
    glibc = _override(environ, GLIBC) or _glibc()
    driver, gpus = _nvidia(environ, root, query or _nvidia_smi)
    overridden = _override_gpus(environ)
    return Machine(
        platform=f"linux-{architecture}",
        glibc=glibc,
        musl=None if glibc else _musl(root, architecture),
        gpus=tuple(sorted({*gpus, *_amd(root)})) if overridden is None else overridden,
        nvidia_driver=_override(environ, NVIDIA_DRIVER) or driver,
    )


def _override(environ: Mapping[str, str], variable: str) -> str | None:
    text = environ.get(variable, "").strip()
    if text and not _VERSION.match(text):
        raise UsageError(f"{variable} is {text!r}, which is no version")
    return text or None


def _override_gpus(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """`sm_90,gfx942`; `none` for a machine without GPU; None where the variable is not set."""
    text = environ.get(GPU, "").strip()
    if not text:
        return None
    names = [name for name in re.split(r"[\s,]+", text) if name and name != "none"]
    for name in names:
        if not _GPU.match(name):
            raise UsageError(
                f"{GPU} names {name!r}, which is no GPU architecture", hints=("for example sm_90, gfx942",)
            )
    return tuple(sorted(set(names)))


def _glibc() -> str | None:
    """The version of the running C library, None if it is not glibc."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None
    found = re.match(r"glibc (\d+\.\d+)", text or "")
    return found[1] if found else None


def _musl(root: Path, architecture: str) -> str | None:
    """The version of musl: its loader holds the text that it would print (`musl libc … Version 1.2.5`)."""
    loader = root / "lib" / f"ld-musl-{architecture}.so.1"
    try:
        found = re.search(rb"\0(1\.\d{1,2})\.\d{1,2}(?:-git[^\0]*)?\0", loader.read_bytes())
    except OSError:
        return None
    return found[1].decode() if found else None


def _macos() -> str | None:
    import platform

    return ".".join(platform.mac_ver()[0].split(".")[:2]) or None


def _nvidia(environ: Mapping[str, str], root: Path, query: Query) -> tuple[str | None, tuple[str, ...]]:
    """Driver version and compute capabilities. Nothing is run unless the kernel module or a device is there."""
    module = root / "proc/driver/nvidia/version"
    try:
        text = module.read_text("utf-8", "replace")
    except OSError:
        text = ""
    if not text and not (root / "dev/nvidiactl").exists():
        return None, ()
    found = re.search(r"Kernel Module\D*?(\d+\.\d+(?:\.\d+)?)", text) or re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", text)
    driver = found[1] if found else None
    if _override_gpus(environ) is not None and driver:
        return driver, ()
    gpus = set()
    for line in query(environ).splitlines():
        capability, _, said = (part.strip() for part in line.partition(","))
        if re.match(r"\d+\.\d+\Z", capability):
            gpus.add(f"sm_{capability.replace('.', '')}")
            driver = driver or (said if _VERSION.match(said) else None)
    return driver, tuple(sorted(gpus))


def _nvidia_smi(environ: Mapping[str, str]) -> str:
    """`9.0, 580.65.06` for each GPU; empty where the tool is missing or fails."""
    import subprocess

    command = ["nvidia-smi", "--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _amd(root: Path) -> tuple[str, ...]:
    """The architectures that the KFD driver lists: `gfx_target_version 90010` is gfx90a; CPUs have 0."""
    found = set()
    for file in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        try:
            match = re.search(r"^gfx_target_version (\d+)$", file.read_text("ascii", "replace"), re.MULTILINE)
        except OSError:
            continue
        if match and (number := int(match[1])):
            found.add(f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}")
    return tuple(sorted(found))
