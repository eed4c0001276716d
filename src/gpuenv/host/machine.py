"""Find out what this machine is: platform, libc, CPU, GPUs and their drivers. Cheap where there is no GPU."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gpuenv.host import overrides
from gpuenv.host.amd import AMD_DRIVER, amd_devices, amd_driver, rocm_version
from gpuenv.host.cpu import CPUINFO, cpu_level
from gpuenv.host.libc import glibc, musl, musl_loader
from gpuenv.host.nvidia import Found, Nvml, Query, look
from gpuenv.host.overrides import said_gpus, said_text
from gpuenv.model.machine import Device, Machine, cuda_level_of_driver

__all__ = ["detect"]

_ARCHITECTURES = {"amd64": "x86_64", "i386": "i686", "i586": "i686", "arm64": "aarch64"}
_DRIVERS = "the table of drivers and CUDA versions"


def detect(
    environ: Mapping[str, str], root: Path = Path("/"), *, nvml: Nvml | None = None, query: Query | None = None
) -> Machine:
    """What this machine offers. The variables of `host.overrides` replace what would be found.

    root: where `proc`, `dev`, `sys` and `opt` are looked for. nvml, query: what asks NVIDIA's driver, by default NVML
    and `nvidia-smi`. Raises UsageError if a variable does not say what it should.
    """
    system = os.uname()
    learnt: dict[str, str] = {"platform": "uname"}
    if system.sysname == "Darwin":
        devices = _gpus(environ, root, Found(), learnt)
        learnt |= {"macos": "the system", "cpu": "uname"}
        return Machine(
            platform=f"macos-{system.machine}",
            macos=_macos(),
            gpus=_kinds(devices),
            devices=devices,
            cpu=system.machine,
            learnt=learnt,
        )
    architecture = _ARCHITECTURES.get(system.machine, system.machine)
    nvidia = _nvidia(environ, root, nvml, query, learnt)
    devices = _gpus(environ, root, nvidia, learnt)
    libc = _libc(environ, root, architecture, learnt)
    return Machine(
        platform=f"linux-{architecture}",
        glibc=libc.get("glibc"),
        musl=libc.get("musl"),
        gpus=_kinds(devices),
        nvidia_driver=nvidia.driver,
        devices=devices,
        cuda_level=nvidia.cuda,
        cpu=_noted(environ, overrides.CPU, learnt, "cpu", cpu_level(root, architecture), f"/{CPUINFO}"),
        rocm=_noted(environ, overrides.ROCM, learnt, "rocm", *(rocm_version(environ, root) or (None, ""))),
        amd_driver=_noted(environ, (), learnt, "amd_driver", amd_driver(root), f"/{AMD_DRIVER}"),
        learnt=learnt,
    )


def _noted(
    environ: Mapping[str, str], names: tuple[str, ...], learnt: dict[str, str], fact: str, found: str | None, by: str
) -> str | None:
    """What a variable says, else what was found; notes where it is from."""
    said = said_text(environ, names)
    if said is not None:
        learnt[fact] = said.variable
        return said.text
    if found is not None:
        learnt[fact] = by
    return found


def _libc(environ: Mapping[str, str], root: Path, architecture: str, learnt: dict[str, str]) -> dict[str, str | None]:
    """A machine has one C library: where musl is said to be there, glibc is not."""
    if said_text(environ, overrides.GLIBC) is None and (said := said_text(environ, overrides.MUSL)):
        learnt["musl"] = said.variable
        return {"musl": said.text}
    version = _noted(environ, overrides.GLIBC, learnt, "glibc", glibc(), "the C library")
    if version:
        return {"glibc": version}
    own = musl(root, architecture)
    return {"musl": _noted({}, (), learnt, "musl", own, f"/{musl_loader(architecture)}")}


def _nvidia(
    environ: Mapping[str, str], root: Path, nvml: Nvml | None, query: Query | None, learnt: dict[str, str]
) -> Found:
    """NVIDIA's GPUs and driver, as found and as variables say."""
    said = said_text(environ, overrides.CUDA)
    forced = said_gpus(environ, overrides.GPUS) or said_gpus(environ, overrides.NVIDIA_GPUS)
    if said is not None and (forced is not None or said.text is None):
        found = Found()  # nothing is left to find out
    else:
        found = look(environ, root, devices=forced is None, nvml=nvml, query=query)
    if said is not None:
        version = said.text if said.text is None or "." in said.text else f"{said.text}.0"
        driver, level = (None, version) if said.is_cuda_level else (said.text, None)
        found = Found(found.devices, driver, said.variable, level, said.variable)
    if found.driver and found.cuda is None:
        found = found._replace(cuda=cuda_level_of_driver(found.driver), cuda_by=_DRIVERS)
    for fact, value, by in (("nvidia_driver", found.driver, found.driver_by), ("cuda", found.cuda, found.cuda_by)):
        if by and (value or said is not None):
            learnt[fact] = by
    return found


def _gpus(environ: Mapping[str, str], root: Path, nvidia: Found, learnt: dict[str, str]) -> tuple[Device, ...]:
    """Every GPU, NVIDIA's first: as `GPUENV_OVERRIDE_GPU` says, else a vendor's as its variable says, or as found."""
    everything = said_gpus(environ, overrides.GPUS)
    if everything is not None:
        variable, archs = everything
        learnt["gpus"] = variable
        return (*_said_devices(variable, archs, "nvidia"), *_said_devices(variable, archs, "amd"))
    of_nvidia, of_amd = said_gpus(environ, overrides.NVIDIA_GPUS), said_gpus(environ, overrides.AMD_GPUS)
    return (
        *(_said_devices(*of_nvidia, "nvidia") if of_nvidia is not None else nvidia.devices),
        *(_said_devices(*of_amd, "amd") if of_amd is not None else amd_devices(root)),
    )


def _said_devices(variable: str, archs: tuple[str, ...], vendor: Literal["nvidia", "amd"]) -> tuple[Device, ...]:
    own = [arch for arch in archs if arch.startswith("sm_") == (vendor == "nvidia")]
    return tuple(Device(vendor, number, arch, None, variable) for number, arch in enumerate(own))


def _kinds(devices: tuple[Device, ...]) -> tuple[str, ...]:
    return tuple(sorted({device.arch for device in devices if device.arch}))


def _macos() -> str | None:
    import platform

    return ".".join(platform.mac_ver()[0].split(".")[:2]) or None
