"""Which device code runs on which GPU: NVIDIA's compute capabilities, AMD's processors and LLVM's generic targets.

Sources: NVIDIA's "CUDA C++ Programming Guide", chapter Compute Capabilities (binary and PTX compatibility, family- and
architecture-specific features); LLVM's "User Guide for AMDGPU Backend" (processors, target ids, generic processors).
Names are never compared by order: gfx1100 code is no older cousin of gfx1101's.
"""

import re
from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from gpuenv.model.facts import Code, DeviceCode

__all__ = [
    "AMD_PROCESSORS",
    "GENERICS",
    "NVIDIA_ARCHITECTURES",
    "Fit",
    "Gpu",
    "fit",
    "has_sramecc",
    "has_xnack",
    "nearest_gpu",
    "parse_gpu",
    "ptx_isa_of",
]

# EF_AMDGPU_MACH of LLVM 22 and of what its main branch has added since; numbers that are left out are reserved.
AMD_PROCESSORS = {
    number: name
    for first, names in (
        (0x20, "gfx600 gfx601 gfx700 gfx701 gfx702 gfx703 gfx704"),
        (0x28, "gfx801 gfx802 gfx803 gfx810 gfx900 gfx902 gfx904 gfx906"),
        (0x30, "gfx908 gfx909 gfx90c gfx1010 gfx1011 gfx1012 gfx1030 gfx1031"),
        (0x38, "gfx1032 gfx1033 gfx602 gfx705 gfx805 gfx1035 gfx1034 gfx90a"),
        (0x40, "gfx940 gfx1100 gfx1013 gfx1150 gfx1103 gfx1036 gfx1101 gfx1102"),
        (0x48, "gfx1200 gfx1250 gfx1151 gfx941 gfx942"),
        (0x4E, "gfx1201 gfx950 gfx1310 gfx9-generic gfx10-1-generic gfx10-3-generic gfx11-generic gfx1152"),
        (0x57, "gfx1154 gfx1153 gfx12-generic gfx1251 gfx12-5-generic gfx1172 gfx1170 gfx1171 gfx9-4-generic"),
        (0x62, "gfx11-7-generic gfx13-generic"),
    )
    for number, name in enumerate(names.split(), first)
}

# Generic target -> its members, each with the generic version from which on the target's code runs on it. A code
# object says its version in e_flags; so far every member has been there from version 1 on, the lowest there is.
GENERICS: dict[str, dict[str, int]] = {
    generic: dict.fromkeys(members.split(), 1)
    for generic, members in {
        "gfx9-generic": "gfx900 gfx902 gfx904 gfx906 gfx909 gfx90c",  # neither gfx908 nor gfx90a
        "gfx9-4-generic": "gfx940 gfx941 gfx942 gfx950",
        "gfx10-1-generic": "gfx1010 gfx1011 gfx1012 gfx1013",
        "gfx10-3-generic": "gfx1030 gfx1031 gfx1032 gfx1033 gfx1034 gfx1035 gfx1036",
        "gfx11-generic": "gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151 gfx1152 gfx1153",
        "gfx12-generic": "gfx1200 gfx1201",
        "gfx12-5-generic": "gfx1250 gfx1251",
    }.items()
}

_SRAMECC = {"gfx906", "gfx908", "gfx90a", "gfx940", "gfx941", "gfx942", "gfx950", "gfx9-4-generic"}
_XNACK = {"gfx801", "gfx810", "gfx900", "gfx902", "gfx904", "gfx909", "gfx90c", "gfx9-generic", "gfx10-1-generic"}
_XNACK |= {*_SRAMECC, *GENERICS["gfx10-1-generic"], *GENERICS["gfx12-5-generic"], "gfx12-5-generic"}


def has_xnack(arch: str) -> bool:
    """Whether code for an AMD processor or generic target can be compiled for page-fault retry on or off."""
    return arch in _XNACK


def has_sramecc(arch: str) -> bool:
    """Whether code for an AMD processor or generic target can be compiled for error correction on or off."""
    return arch in _SRAMECC


_CAPABILITIES = (50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103, 107, 110, 120, 121)
NVIDIA_ARCHITECTURES = tuple(f"sm_{number}" for number in _CAPABILITIES)

# Systems on a chip. NVIDIA promises binary compatibility inside a major version among desktop GPUs only, neither
# between these nor with them.
_TEGRA = {(5, 3), (6, 2), (7, 2), (8, 7), (8, 8), (10, 1), (11, 0)}

# The first major version that code can be made for a family of.
_FIRST_FAMILIES = 10
# Families that are not simply "this minor version and later ones of the same major".
_FAMILIES = {
    (10, 0): {(10, 0), (10, 3)},
    (10, 1): {(10, 1), (11, 0)},  # renamed by CUDA 13
    (10, 3): {(10, 3)},
    (11, 0): {(11, 0)},  # a system on a chip, whose code runs on no other
}

# CUDA's major version -> what its PTX ISA is called, X.Y for CUDA N.0 ("PTX ISA", chapter Release Notes). Each minor
# version of CUDA brought the next one of the ISA, but for 12.6, which brought none.
_PTX_ISA = {10: (6, 3), 11: (7, 0), 12: (8, 0), 13: (9, 0)}
_WITHOUT_ISA = (12, 6)

# What a GPU whose user says nothing of a feature is taken to be set to, as the driver sets it by itself. gfx906 has no
# answer for sramecc: one card of it has such memory, another has not. gfx1250 has xnack on (AMD's registry of targets).
_DEFAULTS = {"xnack": "xnack-", "sramecc": "sramecc+"}
_OWN_DEFAULTS = {("gfx906", "sramecc"): None, ("gfx1250", "xnack"): "xnack+", ("gfx1251", "xnack"): "xnack+"}

_NVIDIA = re.compile(r"sm_([1-9][0-9]?)([0-9])[af]?")
_AMD = re.compile(r"(gfx(?:[1-9][0-9]|[6-9])[0-9a-f][0-9a-f](?:-strict)?)((?::[a-z]+[+-])*)")
_NVIDIA_CODE = re.compile(r"(?:sm|compute)_([1-9][0-9]?)([0-9])([af]?)")


class Fit(IntEnum):
    """How well code serves a GPU; the smaller the better. No fit is None.

    EXACT: made for this very architecture. COMPATIBLE: for an older one of the same major version, or for its family.
    GENERIC: for an LLVM generic target. JIT: PTX, which the driver compiles when the program runs.
    """

    EXACT = 0
    COMPATIBLE = 1
    GENERIC = 2
    JIT = 3


class Gpu(NamedTuple):
    """A GPU to be served. arch: `sm_90`, `gfx90a`. major, minor: compute capability, of NVIDIA's only.

    features: AMD's, sorted, `xnack+`, only those the user stated.
    """

    vendor: Literal["nvidia", "amd"]
    arch: str
    major: int = 0
    minor: int = 0
    features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ":".join((self.arch, *self.features))


def parse_gpu(text: str) -> Gpu | None:
    """`sm_90`, `gfx942` or `gfx90a:sramecc+:xnack-` as a GPU; None for anything else.

    NVIDIA's suffixes belong to code, no GPU has them: `sm_90a` means `sm_90`. Architectures that are not known yet are
    taken at their word; a generic target is no GPU.
    """
    if match := _NVIDIA.fullmatch(text):
        major, minor = int(match[1]), int(match[2])
        return Gpu("nvidia", f"sm_{major}{minor}", major, minor)
    match = _AMD.fullmatch(text)
    if not match:
        return None
    features = tuple(sorted(set(match[2].split(":")[1:])))
    if len({feature[:-1] for feature in features}) < len(features):
        return None  # on and off
    return Gpu("amd", match[1], features=features)


def nearest_gpu(text: str) -> str | None:
    """The known GPU whose name is most like a text that is none, for a hint: `sm90` and `9.0` are like `sm_90`."""
    plain = text.strip().lower()
    digits = re.fullmatch(r"(?:sm|compute|cc)?[ _-]?([0-9]{1,2})\.?([0-9])[af]?", plain)
    if digits and (name := f"sm_{digits[1]}{digits[2]}") in NVIDIA_ARCHITECTURES:
        return name
    name = plain.split(":")[0][:20]
    known = [known for known in (*NVIDIA_ARCHITECTURES, *AMD_PROCESSORS.values()) if parse_gpu(known)]
    near = get_close_matches(name, known, 9, 0.7)
    return max(near, key=lambda known: _alike(known, name)) if near else None


def _alike(one: str, other: str) -> int:
    """How many first characters two names share."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def ptx_isa_of(cuda: str) -> str | None:
    """The newest PTX ISA version that a driver for a CUDA version compiles, `8.7` for `12.8`; None where not known."""
    major, minor = (*_version(cuda), 0)[:2]
    first = _PTX_ISA.get(major)
    if first is None:
        return None
    return f"{first[0]}.{first[1] + minor - ((major, minor) >= _WITHOUT_ISA and major == _WITHOUT_ISA[0])}"


def fit(code: "Code | DeviceCode", gpu: Gpu, *, driver_isa: str | None = None, ptx: bool = True) -> Fit | None:
    """How device code serves a GPU; None where it does not.

    driver_isa: the newest PTX ISA version that the driver compiles, `8.7`; None: whatever the code is written in.
    ptx: does PTX serve at all?

    AMD: the very processor, or a generic target it is a member of; and each feature the code states must be the GPU's
    setting. Where the user states none, that is the driver's own: sramecc on, xnack off (on from gfx1250 on). So
    `gfx90a:xnack+` code does not serve plain `gfx90a`: the loader refuses it unless somebody turns xnack on, and then
    says so here.

    Intermediate code (`lto`) serves nothing by itself: NVIDIA's has to be linked by a library that a program calls for
    it, and AMD's SPIR-V translated by a compiler that need not be installed.
    """
    if code.vendor != gpu.vendor or code.kind == "lto" or (code.kind == "ptx" and not ptx):
        return None
    if gpu.vendor == "amd":
        return _fit_amd(code, gpu)
    return _fit_nvidia(code, gpu, driver_isa)


def _fit_nvidia(code: "Code | DeviceCode", gpu: Gpu, driver_isa: str | None) -> Fit | None:
    match = _NVIDIA_CODE.fullmatch(code.arch)
    if not match:
        return None
    own, there, suffix = (int(match[1]), int(match[2])), (gpu.major, gpu.minor), match[3]
    if code.kind == "ptx":
        if driver_isa and code.isa and _version(code.isa) > _version(driver_isa):
            return None
        return Fit.JIT if _reaches(own, there, suffix) else None
    if own == there:
        return Fit.EXACT
    if suffix == "f":
        return Fit.COMPATIBLE if _reaches(own, there, suffix) else None
    alike = own[0] == there[0] and own < there and not _TEGRA & {own, there}
    return Fit.COMPATIBLE if alike and not suffix else None


def _reaches(own: tuple[int, int], there: tuple[int, int], suffix: str) -> bool:
    """Whether PTX, or code for a family, that is written for one compute capability can serve another."""
    if suffix == "a":
        return own == there
    if suffix == "f":
        if own[0] < _FIRST_FAMILIES:
            return own == there
        return there in _FAMILIES[own] if own in _FAMILIES else own[0] == there[0] and own <= there
    return own <= there


def _fit_amd(code: "Code | DeviceCode", gpu: Gpu) -> Fit | None:
    if code.arch != gpu.arch and gpu.arch not in GENERICS.get(code.arch, ()):
        return None
    stated = {feature[:-1]: feature for feature in gpu.features}
    for feature in code.features:
        name = feature[:-1]
        default = _OWN_DEFAULTS.get((gpu.arch, name), _DEFAULTS.get(name))
        if stated.get(name, default) != feature:
            return None
    return Fit.EXACT if code.arch == gpu.arch else Fit.GENERIC


def _version(text: str) -> tuple[int, ...]:
    """`8.7` as numbers; what is not a number counts as 0."""
    return tuple(int(part) if re.fullmatch("[0-9]{1,9}", part) else 0 for part in text.split("."))
