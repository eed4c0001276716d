"""gpuenv.lock as values: artifacts once, targets that refer to them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gpuenv.model.demand import HostDemand, Learnt
from gpuenv.model.filename import stem_of
from gpuenv.model.target import Target
from gpuenv.model.wheel_variant import WheelVariant

__all__ = ["PROJECT", "Lock", "LockedArtifact", "LockedIndex", "LockedPackage", "LockedTarget", "split_key"]

# The root that is neither an extra nor a group; `native` in tool.gpuenv counts as of it.
PROJECT = "project"


def split_key(key: str) -> tuple[str, str]:
    """A key, `fastapi[standard]`, as name and extra; "" for the package alone."""
    name, _, extra = key.removesuffix("]").partition("[")
    return name, extra


@dataclass(frozen=True, slots=True)
class LockedArtifact:
    """One wheel or bundle: where it came from and what its bytes are.

    index: the name of an index, None for a direct URL. url: absolute, without credentials; for a folder, the path
    of the file relative to the folder. sha256: lower-case hex, always there. size: bytes. facts: how the native facts
    that the lock relies on were learnt, None where it relies on none. origin: the sha256 of the wheel that a bundle
    says it was and whose files it installs, as it said when it was locked; None where it names none. variant: what the
    wheel must say it is; None for one that is no variant.
    """

    filename: str
    name: str
    version: str
    index: str | None
    url: str
    sha256: str
    size: int
    facts: Learnt | None = None
    origin: str | None = None
    variant: WheelVariant | None = None

    @property
    def wheel(self) -> "LockedArtifact | None":
        """The wheel that serves where its bundle is not to be had, with URL and size of the bundle; None: none does."""
        if self.origin is None or self.index is None:
            return None
        return replace(self, filename=f"{stem_of(self.filename)}.whl", sha256=self.origin, origin=None)


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One distribution of one target: its artifact (by file name) and what it requires there.

    requires: keys (`numpy`, `fastapi[standard]`), sorted. extras: the same for each extra that was asked for.
    libraries, host, runtime: as `model.answer.Pin` has them. default_extras: those that bare requirements took, each
    with the rule that chose it. instead_of: the names that were required and for which it stands.
    """

    name: str
    artifact: str
    requires: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: tuple[HostDemand, ...] = ()
    runtime: int | None = None
    default_extras: Mapping[str, str] = field(default_factory=dict)
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LockedTarget:
    """The solution for one target.

    roots: what was asked for, as keys: under `project`, `extra:NAME` and `group:NAME`. libraries, host: what the
    project itself needs.
    """

    target: Target
    roots: Mapping[str, tuple[str, ...]]
    packages: Mapping[str, LockedPackage]
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: tuple[HostDemand, ...] = ()

    def wanted(self, name: str) -> frozenset[str]:
        """The sonames that binaries of other packages, or the project itself, need of a package."""
        bound = (self.libraries, *(package.libraries for package in self.packages.values()))
        return frozenset(soname for libraries in bound for soname in libraries.get(name, ()))

    def reachable(self, roots: Iterable[str]) -> tuple[LockedPackage, ...]:
        """The packages that the named roots need, sorted by name."""
        return tuple(self.packages[key] for key in sorted(self.keys(roots)) if "[" not in key)

    def keys(self, roots: Iterable[str]) -> frozenset[str]:
        """The keys that the named roots need, with what the project's own binaries need; each also without extra."""
        seen: set[str] = set()
        todo = [key for root in roots for key in self.roots.get(root, ())]
        todo += self.libraries
        while todo:
            key = todo.pop()
            if key in seen:
                continue
            seen.add(key)
            name, extra = split_key(key)
            package = self.packages[name]
            todo += (name, *package.extras.get(extra, ())) if extra else (*package.requires, *package.libraries)
        return frozenset(seen)


@dataclass(frozen=True, slots=True)
class LockedIndex:
    """An index that artifacts came from. location: None for the default index, whatever a machine calls it."""

    name: str
    location: str | None
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Lock:
    """A decoded gpuenv.lock.

    inputs: what the manifest said, as plain TOML values (`lock.freshness.inputs_of`).
    exclude_newer: the instant that was used, or None. providers: the digest of the shipped table of providers, where
    it was asked; None where it was not.
    """

    inputs: Mapping[str, object]
    exclude_newer: str | None
    indexes: tuple[LockedIndex, ...]
    artifacts: Mapping[str, LockedArtifact]
    targets: Mapping[str, LockedTarget]
    providers: str | None = None

    def environment(self, locked: LockedTarget, packages: Iterable[LockedPackage]) -> str:
        """The digest over what decides the installed bytes: the Python tag and the digest of every artifact."""
        digests = sorted(self.artifacts[package.artifact].sha256 for package in packages)
        minor = "{}.{}".format(*locked.target.python_minor) + ("t" if locked.target.free_threaded else "")
        text = "\n".join(["gpuenv environment 1", minor, *digests])
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
