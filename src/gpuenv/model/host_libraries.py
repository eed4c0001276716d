"""What a wheel may expect from the machine: sonames and symbol versions of its libc, and the libraries of drivers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

from gpuenv.model.architecture import parse_gpu
from gpuenv.model.facts import Vendor
from gpuenv.model.machine import cuda_level_of_driver
from gpuenv.model.manylinux import LIBRARIES, VERSIONS
from gpuenv.model.runtimes import runtime_of
from gpuenv.model.target import Target

__all__ = ["DRIVER_LIBRARIES", "MANYLINUX_LIBRARIES", "HostPolicy", "allowed_by", "brought_by", "cuda_of", "vendor_of"]

# The program interpreter is no library of the policies, but binaries that ask it for symbols name it like one.
_LOADERS = {
    "x86_64": "ld-linux-x86-64.so.2",
    "i686": "ld-linux.so.2",
    "aarch64": "ld-linux-aarch64.so.1",
    "ppc64le": "ld64.so.2",
    "s390x": "ld64.so.1",
    "riscv64": "ld-linux-riscv64-lp64d.so.1",
}
_OTHER_LOADERS = {"ld-linux-armhf.so.3"}  # of machines that no target is

# PEP 656 promises musl's libc; the policy of its tool adds zlib. musl has its own word for i686.
_MUSL_NAMES = {"i686": "x86"}
_MUSL_LOADERS = {"i686": "i386"}
_MUSL_LIBRARIES = ("libz.so.1",)

# PEP 513, 571, 599, 600 and the policies of their tool: what the newest manylinux systems have.
MANYLINUX_LIBRARIES = frozenset(
    {name for names in LIBRARIES.values() for name in names} | {*_LOADERS.values()} | _OTHER_LOADERS
)

# What comes with a GPU's kernel driver, and must be as old or new as it: never from a wheel. AMD's kernel driver brings
# no library at all: libamdhip64 and libhsa-runtime64 are of ROCm, which wheels carry.
_DRIVERS: dict[Vendor, frozenset[str]] = {
    "nvidia": frozenset({
        "libcuda.so.1", "libcudadebugger.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1",
        "libnvidia-nvvm.so.4", "libnvidia-opticalflow.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1",
        "libnvidia-fbc.so.1", "libnvoptix.so.1", "libnvidia-api.so.1",
    }),
    "amd": frozenset(),
}  # fmt: skip
DRIVER_LIBRARIES = frozenset().union(*_DRIVERS.values())

_NEWER_THAN_ALL = "9999"  # a driver

# What a library of the policies needs itself is wherever that is.
_COME_WITH = {"libxcb.so.1": "libX11.so.6"}

_NUMBERED = re.compile(r"(.{1,60}?)_([0-9]{1,9}(?:\.[0-9]{1,9}){0,8})")

# Every glibc has it, and no number says which symbols are in it.
_PRIVATE = "GLIBC_PRIVATE"


def brought_by(soname: str) -> Literal["system", "driver"] | None:
    """Who has a soname that no wheel has to bring, on whatever target; musl's libc counts as the system's."""
    if soname in MANYLINUX_LIBRARIES or soname.startswith(("libc.musl-", "ld-musl-")):
        return "system"
    return "driver" if soname in DRIVER_LIBRARIES else None


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What one target has before anything is installed.

    system, driver: sonames. newest: family of symbol versions -> the newest of it, as numbers (`GLIBC` -> 2, 28).
    words: symbol versions that end in no number. libc: `glibc 2.28`, for messages. allowed: sonames (patterns) that the
    machine has besides; runtime: whose GPU runtime lies in folders of it, None for nobody's.
    """

    libc: str
    system: frozenset[str]
    driver: frozenset[str] = frozenset()
    newest: dict[str, tuple[int, ...]] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    allowed: tuple[str, ...] = ()
    runtime: Vendor | None = None

    def brought_by(self, soname: str) -> Literal["system", "driver"] | None:
        """Who on the target has a soname; None where nobody does."""
        if soname in self.system:
            return "system"
        return "driver" if soname in self.driver else None

    def provides(self, soname: str) -> bool:
        """Does the target have the library?"""
        return soname in self.system or soname in self.driver

    def hosts(self, soname: str) -> bool:
        """Does the target say that the machine has a library of its own, which no libc and no driver brings?"""
        if any(fnmatchcase(soname, pattern) for pattern in self.allowed):
            return True
        found = runtime_of(soname) if self.runtime else None
        return found is not None and found[0] == self.runtime

    def lacks(self, soname: str, versions: Iterable[str]) -> tuple[str, ...]:
        """Those symbol versions of a system library that the target's is too old for, oldest first.

        Of libraries that the target does not have, and of families that its policy knows nothing of, nothing is said.
        """
        if soname not in self.system:
            return ()
        return tuple(sorted((version for version in versions if self._too_old_for(version)), key=_order))

    def _too_old_for(self, version: str) -> bool:
        family, numbers = _split(version)
        if numbers:
            return numbers > self.newest.get(family, numbers)
        known = self.newest.keys() | {"GLIBC_ABI"}
        return version not in self.words and version != _PRIVATE and family in known


def vendor_of(target: Target) -> Vendor | None:
    """Whose GPUs the target has; None where it has none."""
    return next((gpu.vendor for gpu in map(parse_gpu, target.gpu) if gpu), None)


def cuda_of(target: Target) -> str | None:
    """The highest CUDA version that the target's driver runs, `12.8`; None where it does not say.

    Nor is it known of a driver of the newest branch that we know, which may be of one that came later.
    """
    if target.cuda is not None or target.driver is None:
        return target.cuda
    found = cuda_level_of_driver(target.driver)
    return None if found == cuda_level_of_driver(_NEWER_THAN_ALL) else found


def allowed_by(target: Target) -> HostPolicy:
    """What the target's libc promises, and its GPU's driver where it has one.

    By libc: glibc's symbol versions reach up to the very release; those of libstdc++ and others up to the newest that
    the last manylinux policy not newer than it promises. Targets without an ELF system have nothing. Of a folder among
    the target's `host_libraries` it is known only that its GPUs' runtime may lie there.
    """
    vendor = vendor_of(target)
    policy = _policy(target.platform, target.arch, target.glibc, target.musl, vendor)
    if not target.host_libraries:
        return policy
    folders = any("/" in entry for entry in target.host_libraries)
    sonames = tuple(entry for entry in target.host_libraries if "/" not in entry)
    return replace(policy, allowed=sonames, runtime=vendor if folders else None)


@cache
def _policy(platform: str, machine: str, glibc: str | None, musl: str | None, vendor: Vendor | None) -> HostPolicy:
    driver = _DRIVERS[vendor] if vendor else frozenset()
    if not platform.startswith("linux-"):
        return HostPolicy(libc="no ELF system", system=frozenset())
    if musl:
        libc = f"libc.musl-{_MUSL_NAMES.get(machine, machine)}.so.1"
        loader = f"ld-musl-{_MUSL_LOADERS.get(machine, machine)}.so.1"
        return HostPolicy(f"musl {musl}", frozenset({"libc.so", libc, loader, *_MUSL_LIBRARIES}), driver)
    major, minor = _glibc(glibc or "2.28")
    names_of, versions_of = sorted(LIBRARIES), sorted(VERSIONS.get(machine, ()))
    system = {name for number in names_of if number <= max(minor, names_of[0]) for name in LIBRARIES[number]}
    newest: dict[str, tuple[int, ...]] = {}
    words: set[str] = set()
    for number in versions_of:
        if number <= max(minor, versions_of[0]):
            for version in VERSIONS[machine][number].split():
                family, numbers = _split(version)
                if numbers:
                    newest[family] = numbers
                else:
                    words.add(version)
    newest["GLIBC"] = (major, minor)
    if machine in _LOADERS:
        system.add(_LOADERS[machine])
    system |= {soname for soname, owner in _COME_WITH.items() if owner in system}
    return HostPolicy(f"glibc {major}.{minor}", frozenset(system), driver, newest, frozenset(words))


def _glibc(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def _split(version: str) -> tuple[str, tuple[int, ...]]:
    """`GLIBCXX_3.4.24` as family and numbers; a name that ends in no number has none: `GLIBC_ABI`, from _DT_RELR."""
    if match := _NUMBERED.fullmatch(version):
        return match[1], tuple(map(int, match[2].split(".")))
    return ("GLIBC_ABI" if version.startswith("GLIBC_ABI_") else version.partition("_")[0]), ()


def _order(version: str) -> tuple[str, tuple[int, ...], str]:
    return *_split(version), version
