"""What a project says of native code: what it needs, whom it believes, and its exceptions for single packages."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, NamedTuple

from gpuenv.model.requirement import Requirement

__all__ = ["RUNTIMES", "RUNTIME_NAMES", "AllowedMissing", "NativeRules", "PackageRules", "Scan"]

# Classes of runtimes of which one process should have one (design: "One graph").
RUNTIME_NAMES = {
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "libstdc++": "libstdc++",
    "mpi": "MPI",
    "nccl": "NCCL",
    "openmp": "OpenMP",
}
RUNTIMES = tuple(RUNTIME_NAMES)


class Scan(StrEnum):
    """Which wheels a lock reads.

    GPU: for targets with a GPU, those that may matter to one. ALL: every native wheel. NONE: no wheel.
    """

    GPU = "gpu"
    ALL = "all"
    NONE = "none"


class AllowedMissing(NamedTuple):
    """Sonames (a pattern, fnmatch) that some binaries of a package (a pattern for their paths) may lack."""

    soname: str
    objects: str = "*"


@dataclass(frozen=True, slots=True)
class PackageRules:
    """The exceptions for one package.

    missing: what its binaries may lack. live, dormant: binaries (patterns for their paths) that are loaded, or never.
    gpu_code: `trust` asks for no device code. ptx: does PTX, which a driver compiles, serve a GPU?
    link_mode: how environments hold its files (`symlink`, `hardlink`, `copy`), None: as those of all others.
    unfold: its directories are never one link. bind: how its binaries get to libraries of others that their own paths
    do not reach. These three are about environments: a lock does not depend on them.
    """

    missing: tuple[AllowedMissing, ...] = ()
    live: tuple[str, ...] = ()
    dormant: tuple[str, ...] = ()
    gpu_code: Literal["check", "trust"] = "check"
    ptx: bool = True
    link_mode: str | None = None
    unfold: bool = False
    bind: Literal["preload", "runpath"] = "preload"


_NO_RULES = PackageRules()


@dataclass(frozen=True, slots=True)
class NativeRules:
    """`[tool.gpuenv]` as far as it is about native code.

    native: sonames that the project itself needs. strict_host: what nobody provides is refused, not demanded of the
    machine. one_runtime: classes of RUNTIMES of which an environment must have one. providers: who brings a soname,
    before all other sources. packages: exceptions, by normalised name.
    """

    native: tuple[str, ...] = ()
    scan: Scan = Scan.GPU
    strict_host: bool = False
    one_runtime: frozenset[str] = frozenset()
    providers: Mapping[str, tuple[Requirement, ...]] = field(default_factory=dict)
    packages: Mapping[str, PackageRules] = field(default_factory=dict)

    def of(self, name: str) -> PackageRules:
        """The exceptions for a package."""
        return self.packages.get(name, _NO_RULES)

    def with_known(self, optional: Mapping[str, tuple[AllowedMissing, ...]]) -> "NativeRules":
        """With what is known of packages beside: libraries that their binaries do without."""
        known = {name: replace(self.of(name), missing=(*self.of(name).missing, *optional[name])) for name in optional}
        return replace(self, packages={**self.packages, **known})
