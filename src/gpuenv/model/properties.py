"""Which properties of wheel variants a target supports: from what it says, never from the machine that locks.

Vocabularies and orders are those of the providers: `nvidia-variant-provider` 0.0.1 and the levels of `x86_64` and
`aarch64` as uv 0.13.9 has them built in, `rocm-bootstrap` 0.3.0 (`gfx_arch`), `amd-variant-provider` (`rocm_version`)
and `provider-variant-x86-64` 0.0.1 (instructions). No vocabulary names LLVM's generic targets: a value of a property
cannot have a hyphen (PEP 825).
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.model.architecture import Gpu, parse_gpu
from gpuenv.model.host_libraries import cuda_of
from gpuenv.model.machine import cuda_level_of_driver
from gpuenv.model.target import Target

if TYPE_CHECKING:
    from gpuenv.model.variants import Supported

__all__ = ["Told", "supported_properties", "with_told"]

Features = tuple[tuple[str, tuple[str, ...]], ...]

# The CUDA versions that the provider's bounds run over, and how many it lists at most.
_OLDEST_CUDA, _NEWEST_CUDA, _NEWEST_MINOR = 11, 15, 20
_MOST_BOUNDS = 1024
_OLDEST_CAPABILITY = (5, 0)

# Level -> the instructions that it adds, best first, of those that the provider knows.
_INSTRUCTIONS = {
    4: ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"),
    3: ("avx2", "avx", "bmi2", "bmi1", "abm", "f16c", "fma", "movbe", "xsave"),
    2: ("sse4_2", "sse4_1", "ssse3", "sse3", "cx16", "lahf_lm", "popcnt"),
    1: ("sse2", "sse", "mmx"),
}
_OLDEST_ARM = "8a"

# gfx1250-strict is a way to compile for gfx1250, and has no name of its own among the values.
_STRICT = "-strict"

# Properties of one vendor's GPUs say nothing of a target with the other's.
_FOREIGN = {"amd": "sm_", "nvidia": "gfx"}


class Told(NamedTuple):
    """What a plugin of a distribution says that a machine supports: properties of one namespace, best first."""

    package: str
    namespace: str
    properties: tuple[str, ...]


def supported_properties(target: Target) -> "tuple[Supported, ...]":
    """What each GPU of the target supports, in the order of `target.gpu`; one answer for a target without GPU.

    A namespace of which nothing is known is left out. What the target states in `properties` every GPU supports: of a
    feature these values come first, in the order written, then those that follow from the rest of the target.
    """
    gpus = [parse_gpu(text) for text in target.gpu] or [None]
    return tuple(_with_stated(target, _computed(target, gpu)) for gpu in gpus)


def with_told(target: Target, told: Iterable[Told]) -> Target:
    """The target with the properties that do not follow from it anyway; a feature that says more is taken whole."""
    known = {
        f"{namespace} :: {feature} :: {value}"
        for machine in supported_properties(target)
        for namespace, features in machine
        for feature, values in features
        for value in values
    }
    gpu = target.gpu[0] if target.gpu else ""
    given = [text for one in told if not gpu.startswith(_FOREIGN.get(one.namespace, "-")) for text in one.properties]
    more = {_feature(text) for text in given if text not in known}
    return replace(target, properties=tuple(dict.fromkeys(text for text in given if _feature(text) in more)))


def _feature(text: str) -> str:
    return text.rpartition(" :: ")[0]


def _computed(target: Target, gpu: Gpu | None) -> dict[str, Features]:
    vendor = gpu.vendor if gpu else None
    return {
        "nvidia": _nvidia(target, gpu) if vendor != "amd" else (),
        "amd": _amd(target, gpu) if vendor != "nvidia" else (),
        "x86_64": _x86(target) if target.arch == "x86_64" else (),
        "aarch64": (("version", (_OLDEST_ARM,)),) if target.arch in ("aarch64", "arm64") else (),
    }


def _with_stated(target: Target, computed: dict[str, Features]) -> "Supported":
    found = {namespace: dict(features) for namespace, features in computed.items()}
    own: dict[tuple[str, str], list[str]] = {}
    for text in target.properties:
        namespace, feature, value = text.split(" :: ")
        own.setdefault((namespace, feature), []).append(value)
    for (namespace, feature), values in own.items():
        features = found.setdefault(namespace, {})
        features[feature] = tuple(dict.fromkeys((*values, *features.get(feature, ()))))
    return tuple((namespace, tuple(features.items())) for namespace, features in found.items() if features)


def _nvidia(target: Target, gpu: Gpu | None) -> Features:
    cuda = cuda_of(target)
    least = cuda or (cuda_level_of_driver(target.driver) if target.driver else None)
    lower, upper = _bounds(least) if least else ((), ())
    if cuda is None:  # the driver is newer than any we know: so may be its CUDA
        upper = ()
    features = {"cuda_version_lower_bound": lower, "cuda_version_upper_bound": upper, "sm_arch": ()}
    if gpu and (gpu.major, gpu.minor) >= _OLDEST_CAPABILITY:
        real = [f"{gpu.major}{minor}_real" for minor in range(gpu.minor, -1, -1)]
        features["sm_arch"] = (*real, *([f"{gpu.major}0_virtual"] if target.ptx else []))
    return tuple((name, values) for name, values in features.items() if values)


@cache
def _bounds(cuda: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lower bounds that a CUDA version keeps, and the upper ones, which it lies below; best first, none twice."""
    major, minor = (int(part) for part in cuda.split("."))
    older = range(major - 1, _OLDEST_CUDA - 1, -1)
    newer = range(_NEWEST_CUDA, major, -1)
    lower = (*_of_major(major, minor), *(text for m in older for text in _of_major(m, _NEWEST_MINOR)))
    upper = (
        *(text for m in newer for text in _of_major(m, _NEWEST_MINOR)),
        *(f"{major}.{m}" for m in range(_NEWEST_MINOR, minor, -1)),
    )
    if len(lower) > _MOST_BOUNDS:
        return (), ()
    return (lower if major >= _OLDEST_CUDA else ()), (upper if major <= _NEWEST_CUDA else ())


def _of_major(major: int, minor: int) -> Iterable[str]:
    """`12.4`, `12.3`, … `12.0`, `12`."""
    return (*(f"{major}.{m}" for m in range(minor, -1, -1)), str(major))


def _amd(target: Target, gpu: Gpu | None) -> Features:
    """The very processor, without features: xnack and sramecc are no part of the values. ROCm as `7.2`."""
    arch = (("gfx_arch", (gpu.arch.removesuffix(_STRICT),)),) if gpu else ()
    rocm = (("rocm_version", (".".join(target.rocm.split(".")[:2]),)),) if target.rocm else ()
    return (*arch, *rocm)


def _x86(target: Target) -> Features:
    level = int(target.cpu.rpartition("v")[2]) if target.cpu else 1
    levels = range(level, 0, -1)
    instructions = (name for number in levels for name in _INSTRUCTIONS[number])
    return (("level", tuple(f"v{number}" for number in levels)), *((name, ("on",)) for name in instructions))
