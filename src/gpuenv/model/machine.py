"""The machine that something is to run on, as found, and what it lacks for a target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `packaging` is slow to import, and whoever has a Target has it already
    from gpuenv.model.target import Target

__all__ = ["CUDA_DRIVERS", "Machine", "cuda_of_driver", "lacks"]

# The least NVIDIA driver for Linux that runs programs of a CUDA major version (CUDA compatibility documentation).
CUDA_DRIVERS = {13: "580", 12: "525.60.13", 11: "450.80.02"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine offers. platform: as in `model.target.PLATFORMS`. libc and system versions: `major.minor`.

    gpus: one architecture for each GPU kind, `sm_90` or `gfx942`, sorted. nvidia_driver: `580.65.06`.
    """

    platform: str
    glibc: str | None = None
    musl: str | None = None
    macos: str | None = None
    gpus: tuple[str, ...] = ()
    nvidia_driver: str | None = None

    @property
    def cuda(self) -> int | None:
        """The highest CUDA major version that the driver runs."""
        return cuda_of_driver(self.nvidia_driver) if self.nvidia_driver else None


def cuda_of_driver(driver: str) -> int | None:
    """The highest CUDA major version that an NVIDIA driver runs; None if it is older than all we know."""
    return max((cuda for cuda, least in CUDA_DRIVERS.items() if _numbers(driver) >= _numbers(least)), default=None)


def lacks(machine: Machine, target: "Target") -> tuple[str, ...]:
    """What the machine lacks for the target, one phrase each; empty: it fits."""
    if machine.platform != target.platform:
        return (f"the target is for {target.platform}, this machine is {machine.platform}",)
    return (*_libc(machine, target), *_gpu(machine, target), *_driver(machine, target))


def _libc(machine: Machine, target: "Target") -> list[str]:
    missing = []
    for name, label in (("glibc", "glibc"), ("musl", "musl"), ("macos", "macOS")):
        wanted, have = getattr(target, name), getattr(machine, name)
        if wanted and not have:
            missing.append(f"the target needs {label} {wanted}, this machine has none")
        elif wanted and _numbers(have) < _numbers(wanted):
            missing.append(f"the target needs {label} {wanted}, this machine has {have}")
    return missing


def _gpu(machine: Machine, target: "Target") -> list[str]:
    """A target may serve several architectures; a machine needs one of them."""
    if not target.gpu or target.cpu_fallback or set(machine.gpus) & set(target.gpu):
        return []
    have = ", ".join(machine.gpus) if machine.gpus else "no GPU"
    return [f"the target is for {' or '.join(target.gpu)}, this machine has {have}"]


def _driver(machine: Machine, target: "Target") -> list[str]:
    if not (target.driver or target.cuda) or (target.cpu_fallback and machine.nvidia_driver is None):
        return []
    have = machine.nvidia_driver
    if have is None:
        return [f"the target needs an NVIDIA driver for CUDA {target.cuda or target.driver}, this machine has none"]
    if target.driver and _numbers(have) < _numbers(target.driver):
        return [f"the target needs NVIDIA driver {target.driver}, this machine has {have}"]
    wanted = int(target.cuda.split(".")[0]) if target.cuda else 0
    if wanted > (machine.cuda or 0):
        least = CUDA_DRIVERS.get(wanted)
        needed = f" (driver {least} or newer)" if least else ""
        return [f"the target needs CUDA {target.cuda}{needed}, this machine has driver {have}"]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
