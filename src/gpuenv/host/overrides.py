"""Environment variables that say what a machine is, instead of what would be found: gpuenv's own and other tools'.

The first of a row that is set counts, those after it are not even read. It is decoded strictly: what is no such value
is a UsageError that names the variable.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gpuenv.errors import UsageError

__all__ = [
    "AMD_GPUS",
    "CPU",
    "CUDA",
    "GLIBC",
    "GPUS",
    "MUSL",
    "NVIDIA_GPUS",
    "ROCM",
    "VARIABLES",
    "Said",
    "said_gpus",
    "said_text",
]

GPUS = ("GPUENV_OVERRIDE_GPU",)
NVIDIA_GPUS = ("NV_VARIANT_PROVIDER_FORCE_SM_ARCH",)
AMD_GPUS = ("ROCM_BOOTSTRAP_FORCE_GFX_ARCH", "AMD_VARIANT_PROVIDER_FORCE_GFX_ARCH", "UV_AMD_GPU_ARCHITECTURE")
CUDA = (
    "GPUENV_OVERRIDE_CUDA_DRIVER",
    "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION",
    "UV_CUDA_DRIVER_VERSION",
    "CONDA_OVERRIDE_CUDA",
)
GLIBC = ("GPUENV_OVERRIDE_GLIBC", "CONDA_OVERRIDE_GLIBC")
MUSL = ("GPUENV_OVERRIDE_MUSL",)
CPU = ("GPUENV_OVERRIDE_CPU",)
ROCM = ("GPUENV_OVERRIDE_ROCM",)
VARIABLES = (*GPUS, *NVIDIA_GPUS, *AMD_GPUS, *CUDA, *GLIBC, *MUSL, *CPU, *ROCM)

_DRIVER = (r"\d{3,4}(\.\d{1,3}){0,2}", "NVIDIA driver version", "580.65.06")
_LEVEL = (r"\d{1,2}(\.\d{1,2})?", "CUDA version", "12.8")
_GLIBC = (r"\d\.\d{1,2}(\.\d{1,3})?", "glibc version", "2.28")
_CPU = (r"x86-64-v[1-4]|[a-z][a-z0-9_]{2,15}", "CPU level", "x86-64-v3")
_SM = (r"\d{1,2}\.\d", "compute capability", "9.0")

# variable -> (what its text must match, what that is called, an example)
_FORMS = {
    "GPUENV_OVERRIDE_CUDA_DRIVER": _DRIVER,
    "UV_CUDA_DRIVER_VERSION": _DRIVER,
    "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": _LEVEL,
    "CONDA_OVERRIDE_CUDA": _LEVEL,
    "GPUENV_OVERRIDE_GLIBC": _GLIBC,
    "CONDA_OVERRIDE_GLIBC": _GLIBC,
    "GPUENV_OVERRIDE_MUSL": (r"1\.\d{1,2}(\.\d{1,3})?", "musl version", "1.2"),
    "GPUENV_OVERRIDE_CPU": _CPU,
    "GPUENV_OVERRIDE_ROCM": (r"\d{1,2}\.\d{1,2}(\.\d{1,3})?", "ROCm version", "7.2"),
    "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": _SM,
}


class Said(NamedTuple):
    """What a variable says. text: None where it says that there is none."""

    variable: str
    text: str | None

    @property
    def is_cuda_level(self) -> bool:
        """Is it the CUDA version that a driver runs, and not the driver's own version?"""
        return _FORMS[self.variable] is _LEVEL


def said_text(environ: Mapping[str, str], names: tuple[str, ...]) -> Said | None:
    """What the first of these variables that is set says, None if none is.

    Our own say `none`, conda's say nothing at all (an empty value) where the machine has no such thing; any other empty
    variable counts as not set. Raises UsageError.
    """
    found = _first(environ, names)
    if found is None or found.text is None:
        return found
    pattern, what, example = _FORMS[found.variable]
    if not re.fullmatch(pattern, found.text, re.ASCII):
        said = _shown(found.text)
        raise UsageError(f"{found.variable} is `{said}`, which is no {what}", hints=[f"for example {example}"])
    return found


def said_gpus(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """The variable that counts, and the architectures that it names: in its order, with repetitions; None if not set.

    Raises UsageError.
    """
    if names == NVIDIA_GPUS:
        said = said_text(environ, names)
        return (said.variable, (f"sm_{(said.text or '').replace('.', '')}",)) if said else None
    found = _first(environ, names)
    if found is None:
        return None
    if found.text is None:
        return found.variable, ()
    words = [word for word in re.split(r"[\s,]+", found.text) if word] or [found.text]
    return found.variable, tuple(_architecture(found.variable, word) for word in words)


def _architecture(variable: str, word: str) -> str:
    """`gfx90a:xnack+` is gfx90a here: what a feature is set to is a matter of the process, not of the machine.

    So is `gfx1250-strict`, a way to compile for gfx1250.
    """
    from gpuenv.model.architecture import nearest_gpu, parse_gpu

    gpu = parse_gpu(word)
    if gpu is None or (variable not in GPUS and gpu.vendor != "amd"):
        near = nearest_gpu(word) if gpu is None else None
        example = "sm_90, gfx942" if variable in GPUS else "gfx942"
        what = "GPU architecture" if variable in GPUS else "AMD GPU architecture"
        raise UsageError(
            f"{variable} names `{_shown(word)}`, which is no {what}",
            hints=[f"did you mean `{near}`?" if near else f"for example {example}"],
        )
    return gpu.arch.removesuffix("-strict")


def _shown(text: str) -> str:
    """A value as one line of a message: without control characters, and not without end."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if len(plain) <= 60 else f"{plain[:60]}…"


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> Said | None:
    for name in names:
        if name not in environ:
            continue
        text = environ[name].strip()
        if text == "none" and name.startswith("GPUENV_"):
            return Said(name, None)
        if text:
            return Said(name, text)
        if name.startswith("CONDA_"):
            return Said(name, None)
    return None
