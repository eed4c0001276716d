"""GPU runtimes known by their sonames: whose they are, and of which major versions of CUDA or ROCm.

A library's own version is not its runtime's: libcufft.so.11 is of CUDA 12, libcusparse.so.12 of CUDA 12 and 13. Seen in
NVIDIA's wheels for CUDA 12 and 13, in the needs of cupy, torch, jax and bitsandbytes, and in Debian's and AMD's ROCm.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["NAMES", "Maker", "Tie", "runtime_of", "split_soname", "tie", "ungrafted"]

Maker = Literal["nvidia", "amd", "intel"]
NAMES: dict[Maker, str] = {"nvidia": "CUDA", "amd": "ROCm", "intel": "oneAPI"}

# The version is the runtime's own, whatever follows its first number: libcudart.so.11.0, libcupti.so.11.8.
_CUDA_OWN = (
    "libcudart libcublas libcublasLt libnvblas libnvrtc libnvrtc-builtins libnvJitLink libnvjpeg libcupti libnvvm "
    "libnvfatbin libcudla libcudadevrt libcuinj64 libaccinj64 libnvrtc-static"
)
_NPP = re.compile(r"libnpp[a-z]{1,8}")
_FAMILIES: dict[str, Maker] = {
    "libnpp": "nvidia",
    "libcudnn_": "nvidia",
    "libcufile_": "nvidia",
    "libnvperf_": "nvidia",
    "libnvshmem_": "nvidia",
    "nvshmem_": "nvidia",
    "librocm_sysdeps_": "amd",  # ROCm's own copies of the system's libraries
}

_CUDA: dict[str, dict[str, tuple[int, ...]]] = {
    "libcufft": {"10": (10, 11), "11": (12,), "12": (13,)},
    "libcufftw": {"10": (10, 11), "11": (12,), "12": (13,)},
    "libcusolver": {"10": (10, 11), "11": (11, 12), "12": (13,)},
    "libcusolverMg": {"10": (10, 11), "11": (11, 12), "12": (13,)},
    "libcusparse": {"10": (10,), "11": (11,), "12": (12, 13)},
    "libcurand": {"10": (10, 11, 12, 13)},
    "libcudnn": {"7": (10,), "8": (10, 11, 12), "9": (11, 12, 13)},
}
# Of the maker, with versions that say nothing of the runtime's major: profiling libraries come with libcupti, the last
# four with the driver.
_CUDA_OTHER = (
    "libnccl libcusparseLt libcutensor libcutensorMg libcufile libcheckpoint libpcsamplingutil libnvToolsExt libcudss "
    "libcuda libnvidia-ml libnvcuvid libnvidia-encode"
)

_ROCM_NEW = (7, 10)  # what ROCm 7 brought, ROCm 10 still has: bitsandbytes' library for 10.0 needs libhipblas.so.3
_ROCM: dict[str, dict[str, tuple[int, ...]]] = {
    "libamdhip64": {"5": (5,), "6": (6,), "7": _ROCM_NEW},
    "libhiprtc": {"5": (5,), "6": (6,), "7": _ROCM_NEW},
    "libhiprtc-builtins": {"5": (5,), "6": (6,), "7": _ROCM_NEW},
    "libhipblas": {"0": (5,), "1": (5,), "2": (6,), "3": _ROCM_NEW},
    "libhipblaslt": {"0": (5, 6), "1": _ROCM_NEW},
    "librocblas": {"0": (5,), "3": (5,), "4": (6,), "5": _ROCM_NEW},
    "libhipsparse": {"0": (5,), "1": (6,), "4": _ROCM_NEW},
    "librocsparse": {"0": (5,), "1": (6, *_ROCM_NEW)},
    "libhipsolver": {"0": (5, 6), "1": _ROCM_NEW},
    "libamd_comgr": {"2": (5, 6), "3": (6, *_ROCM_NEW)},
    "librocprofiler-sdk": {"0": (6,), "1": _ROCM_NEW},
    "librocm_smi64": {"5": (5, 6), "6": (6,), "7": (6,), "1": _ROCM_NEW},
    "libamd_smi": {"24": (6,), "25": (6,), "26": (7,), "27": (10,)},
}
_ROCM_OTHER = (
    "libhsa-runtime64 libMIOpen librocsolver librocfft libhipfft libhipfftw librocrand libhiprand librccl "
    "libhipsparselt libhiptensor libroctracer64 libroctx64 librocprofiler64 libhsa-amd-aqlprofile64 libmigraphx "
    "libmigraphx_c libhipdnn_backend librocm_kpack librocm-core librocprofiler-register"
)

# libOpenCL and libze_loader drive other makers' devices too, and say nothing.
_ONEAPI = "libsycl libur_loader libpi_level_zero libmkl_sycl_blas libonemkl_sycl_blas libdnnl_sycl libccl"

_MAKERS: dict[str, Maker] = {
    **dict.fromkeys([*_CUDA_OWN.split(), *_CUDA, *_CUDA_OTHER.split()], "nvidia"),
    **dict.fromkeys([*_ROCM, *_ROCM_OTHER.split()], "amd"),
    **dict.fromkeys(_ONEAPI.split(), "intel"),
}
_OWN_VERSION = frozenset(_CUDA_OWN.split())
_TABLES = {**_CUDA, **_ROCM}
_SONAME = re.compile(r"(.{1,200}?)\.so(?:\.(.{1,50}))?")
_GRAFTED = re.compile(r"(.+?)[-.][0-9a-f]{8}")  # auditwheel's hash: libnvjpeg-1a359ba7.so.13.0.1.86


@lru_cache(4096)
def split_soname(soname: str) -> tuple[str, str]:
    """`libcufft.so.11` as `libcufft` and `11`; the version is empty where there is none."""
    match = _SONAME.fullmatch(soname)
    return (match[1], match[2] or "") if match else (soname, "")


def ungrafted(soname: str) -> tuple[str, str, bool]:
    """A soname split, without the hash of a copy for one wheel alone, and whether it had one.

    `libgomp-24e2ab19.so.1.0.0` as `libgomp`, `1.0.0`, True.
    """
    name, version = split_soname(soname)
    match = _GRAFTED.fullmatch(name)
    return (match[1], version, True) if match else (name, version, False)


@lru_cache(4096)
def runtime_of(soname: str) -> tuple[Maker, tuple[int, ...]] | None:
    """Whose runtime a library is of, and the majors it may be of, none where the soname does not say; else None."""
    name, version, _ = ungrafted(soname)
    maker = _MAKERS.get(name) or next((_FAMILIES[prefix] for prefix in _FAMILIES if name.startswith(prefix)), None)
    if maker is None:
        return None
    first = version.partition(".")[0]
    if name in _OWN_VERSION or _NPP.fullmatch(name):
        return maker, (int(first),) if re.fullmatch("[0-9]{1,2}", first) else ()
    return maker, _TABLES.get(name, {}).get(first, ())


@dataclass(frozen=True, slots=True)
class Tie:
    """What binds a binary to GPU runtimes. by: soname -> majors, for each maker whose runtime it needs or is of."""

    by: dict[Maker, dict[str, tuple[int, ...]]]

    @property
    def makers(self) -> tuple[Maker, ...]:
        """Whose runtimes, sorted."""
        return tuple(sorted(self.by))

    def majors(self, maker: Maker) -> tuple[int, ...]:
        """The majors that all its libraries of one maker have in common; empty where unknown or contradictory."""
        common: set[int] | None = None
        for majors in self.by.get(maker, {}).values():
            if majors:
                common = set(majors) if common is None else common & set(majors)
        return tuple(sorted(common or ()))

    def witness(self, maker: Maker) -> str:
        """The soname that says most of the major: the one with the fewest."""
        return min(self.by[maker].items(), key=lambda item: (not item[1], len(item[1]), item[0]))[0]


def tie(sonames: Iterable[str]) -> Tie:
    """The runtimes that some sonames, own or needed, bind to."""
    found: dict[Maker, dict[str, tuple[int, ...]]] = {}
    for soname in sonames:
        if runtime := runtime_of(soname):
            found.setdefault(runtime[0], {})[soname] = runtime[1]
    return Tie(found)
