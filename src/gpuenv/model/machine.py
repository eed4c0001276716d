"""The machine that something is to run on, as found, and what it lacks for a target."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:  # `packaging` is slow to import, and whoever has a Target has it already
    from gpuenv.model.target import Target

__all__ = [
    "CUDA_DRIVERS",
    "Device",
    "Machine",
    "Wanted",
    "compare",
    "cuda_level_of_driver",
    "cuda_of_driver",
    "lacks",
]

# The least NVIDIA driver for Linux that runs programs of a CUDA major version (CUDA compatibility documentation).
CUDA_DRIVERS = {13: "580", 12: "525.60.13", 11: "450.80.02"}

_LEVEL = re.compile(r"x86-64-v(\d)")

# Driver branch -> the CUDA version that came with it (CUDA Toolkit release notes): the newest whose PTX it compiles.
_BRANCHES = {
    450: "11.0", 455: "11.1", 460: "11.2", 465: "11.3", 470: "11.4", 495: "11.5", 510: "11.6", 515: "11.7", 520: "11.8",
    525: "12.0", 530: "12.1", 535: "12.2", 545: "12.3", 550: "12.4", 555: "12.5", 560: "12.6", 565: "12.7", 570: "12.8",
    575: "12.9", 580: "13.0", 590: "13.1",
}  # fmt: skip


class Device(NamedTuple):
    """One GPU. number: its index among those of its vendor, as the vendor's tools count.

    arch: `sm_90`, `gfx942`, None if unknown. learnt: what said so.
    """

    vendor: Literal["nvidia", "amd"]
    number: int
    arch: str | None
    name: str | None = None
    learnt: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine offers. platform: as in `model.target.PLATFORMS`. libc and system versions: `major.minor`.

    gpus: one architecture for each GPU kind, `sm_90` or `gfx942`, sorted. nvidia_driver: `580.65.06`.
    devices: every single GPU, NVIDIA's first. cuda_level: the CUDA version that the driver runs, `13.0`.
    cpu: `x86-64-v3`, or the name of another architecture. rocm: the ROCm installed for the whole machine.
    amd_driver: an amdgpu driver installed apart from the kernel. learnt: fact -> the file, tool or variable it is from.
    """

    platform: str
    glibc: str | None = None
    musl: str | None = None
    macos: str | None = None
    gpus: tuple[str, ...] = ()
    nvidia_driver: str | None = None
    devices: tuple[Device, ...] = ()
    cuda_level: str | None = None
    cpu: str | None = None
    rocm: str | None = None
    amd_driver: str | None = None
    learnt: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def cuda(self) -> int | None:
        """The highest CUDA major version that the driver runs."""
        if self.cuda_level:
            return _numbers(self.cuda_level)[0]
        return cuda_of_driver(self.nvidia_driver) if self.nvidia_driver else None


def cuda_of_driver(driver: str) -> int | None:
    """The highest CUDA major version that an NVIDIA driver runs; None if it is older than all we know."""
    return max((cuda for cuda, least in CUDA_DRIVERS.items() if _numbers(driver) >= _numbers(least)), default=None)


def cuda_level_of_driver(driver: str) -> str | None:
    """The CUDA version that a driver's branch came with; the newest known for a newer driver, None if too old."""
    if cuda_of_driver(driver) is None:
        return None
    branch = _numbers(driver)[0]
    return _BRANCHES[max(known for known in _BRANCHES if known <= branch)]


class Wanted(NamedTuple):
    """One thing that a target wants of a machine. has: what the machine has. lack: what is missing; None: nothing."""

    what: str
    has: str
    lack: str | None = None


def lacks(machine: Machine, target: "Target") -> tuple[str, ...]:
    """What the machine lacks for the target, one phrase each; empty: it fits."""
    return tuple(wanted.lack for wanted in compare(machine, target) if wanted.lack)


def compare(machine: Machine, target: "Target") -> tuple[Wanted, ...]:
    """Everything that the target wants, and what of it the machine has; of another platform nothing else is asked."""
    if machine.platform != target.platform:
        lack = f"the target is for {target.platform}, this machine is {machine.platform}"
        return (Wanted(f"platform {target.platform}", machine.platform, lack),)
    platform = Wanted(f"platform {target.platform}", machine.platform)
    return (
        platform,
        *_libc(machine, target),
        *_gpu(machine, target),
        *_driver(machine, target),
        *_cpu(machine, target),
    )


def _libc(machine: Machine, target: "Target") -> list[Wanted]:
    found = []
    for name, label in (("glibc", "glibc"), ("musl", "musl"), ("macos", "macOS")):
        wanted, have = getattr(target, name), getattr(machine, name)
        lack = None
        if wanted and not have:
            lack = f"the target needs {label} {wanted}, this machine has none"
        elif wanted and _numbers(have) < _numbers(wanted):
            lack = f"the target needs {label} {wanted}, this machine has {have}"
        if wanted:
            found.append(Wanted(f"{label} {wanted}", have or "none", lack))
    return found


def _gpu(machine: Machine, target: "Target") -> list[Wanted]:
    """A target may serve several architectures; a machine needs one of them."""
    wanted = {_plain(gpu) for gpu in target.gpu}
    if not wanted:
        return []
    have = ", ".join(machine.gpus) or ("an unknown GPU" if machine.devices else "no GPU")
    what = " or ".join(target.gpu)
    served = target.cpu_fallback is True or wanted & set(machine.gpus)
    return [Wanted(f"GPU {what}", have, None if served else f"the target is for {what}, this machine has {have}")]


def _plain(gpu: str) -> str:
    """The GPU that an architecture of code is for: `sm_90` for `sm_90a`, `gfx90a` for `gfx90a:xnack+`."""
    return re.sub(r"(?<=^sm_)(\d+)[af]$", r"\1", gpu.partition(":")[0])


def _driver(machine: Machine, target: "Target") -> list[Wanted]:
    if not (target.driver or target.cuda):
        return []
    have = machine.nvidia_driver
    what = f"NVIDIA driver {target.driver}" if target.driver else f"CUDA {target.cuda}"
    what += f" and CUDA {target.cuda}" if target.driver and target.cuda else ""
    if have is None and machine.cuda_level is None:
        lack = f"the target needs an NVIDIA driver for CUDA {target.cuda or target.driver}, this machine has none"
        return [Wanted(what, "no NVIDIA driver", None if target.cpu_fallback is True else lack)]
    has = f"driver {have}" if have else f"a driver for CUDA {machine.cuda_level}"
    if target.cpu_fallback is True and machine.cuda is None:
        return [Wanted(what, has)]
    return [Wanted(what, has, _driver_lack(machine, target, has))]


def _driver_lack(machine: Machine, target: "Target", has: str) -> str | None:
    have = machine.nvidia_driver
    if target.driver and have and _numbers(have) < _numbers(target.driver):
        return f"the target needs NVIDIA driver {target.driver}, this machine has {have}"
    if target.driver and not have and (cuda_of_driver(target.driver) or 0) > (machine.cuda or 0):
        return f"the target needs NVIDIA driver {target.driver}, this machine has {has}"
    wanted = int(target.cuda.split(".")[0]) if target.cuda else 0
    if wanted > (machine.cuda or 0):
        least = CUDA_DRIVERS.get(wanted)
        needed = f" (driver {least} or newer)" if least else ""
        return f"the target needs CUDA {target.cuda}{needed}, this machine has {has}"
    return None


def _cpu(machine: Machine, target: "Target") -> list[Wanted]:
    """Levels of x86-64 are ordered; other words are compared as they are. What is not known lacks nothing."""
    if not target.cpu:
        return []
    level, have = (_LEVEL.fullmatch(text or "") for text in (target.cpu, machine.cpu))
    served = int(have[1]) >= int(level[1]) if level and have else machine.cpu in (None, target.cpu)
    lack = None if served else f"the target needs a CPU of {target.cpu}, this machine has {machine.cpu}"
    return [Wanted(f"CPU {target.cpu}", machine.cpu or "unknown", lack)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
