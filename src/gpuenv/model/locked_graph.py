"""The locked graph of one target: what depends on what, by metadata and by soname, with the facts that are at hand."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from gpuenv.model.facts import NativeFacts
from gpuenv.model.linkage import Linkage, linkage
from gpuenv.model.lock import PROJECT, LockedArtifact, LockedPackage, LockedTarget, split_key
from gpuenv.model.rules import NativeRules, PackageRules

__all__ = ["NATIVE", "Link", "LockedGraph"]

# What stands for a binary where the project itself needs a soname.
NATIVE = "`native` in tool.gpuenv"


class Link(NamedTuple):
    """One step of a chain: somebody depends on a package.

    by: a key (`cuda-toolkit[cublas]`), or the project, with its group or extra: `train (group test)`. version: of it,
    "" for the project. on: a key. sonames: what its binaries need of the package, none where metadata requires it.
    binary: the first that needs the first of them; None where that is not known. note: the rule that chose the extra of
    `on`, or what `on` stands for.
    """

    by: str
    version: str
    on: str
    sonames: tuple[str, ...] = ()
    binary: str | None = None
    note: str = ""


class LockedGraph:
    """One target of a lock, with the facts of its packages as far as they are at hand.

    artifacts, facts: by package; rules: the project's; project: its name.
    """

    def __init__(
        self,
        locked: LockedTarget,
        artifacts: Mapping[str, LockedArtifact],
        facts: Mapping[str, NativeFacts],
        rules: NativeRules,
        project: str,
    ) -> None:
        self.locked = locked
        self.target = locked.target
        self.packages: Mapping[str, LockedPackage] = locked.packages
        self.artifacts = artifacts
        self.facts = facts
        self.project = project
        self._rules = rules
        self._linkages: dict[str, Linkage] = {}

    def version(self, name: str) -> str:
        """The version of a package."""
        return self.artifacts[name].version

    def rules(self, name: str) -> PackageRules:
        """The project's exceptions for a package."""
        return self._rules.of(name)

    def linkage(self, name: str) -> Linkage:
        """What a package whose facts are at hand asks of the target."""
        if name not in self._linkages:
            major = self.packages[name].runtime
            facts, rules = self.facts[name], self.rules(name)
            wanted = self.locked.wanted(name)
            self._linkages[name] = linkage(facts, self.target, runtime_major=major, rules=rules, wanted=wanted)
        return self._linkages[name]

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The packages whose facts are at hand, sorted."""
        return tuple(sorted(self.facts))

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """The packages on whose facts the lock relies, and whose facts are not at hand, sorted."""
        relied = (name for name, artifact in self.artifacts.items() if artifact.facts is not None)
        return tuple(sorted(name for name in relied if name not in self.facts))

    @cached_property
    def sonames(self) -> tuple[str, ...]:
        """Every soname that anybody needs, or brings for others, as far as is known; sorted."""
        found = set(self._bound())
        for name in self.known:
            asked = self.linkage(name)
            found |= {need.soname for need in (*asked.needs, *asked.optional)}
            found |= {one.soname for one in self.facts[name].objects if one.soname and one.python is None}
        return tuple(sorted(found))

    def _bound(self) -> Iterator[str]:
        """What the lock says that somebody needs of others, or of the machine."""
        by_package = ((package.libraries, package.host) for package in self.packages.values())
        for libraries, host in ((self.locked.libraries, self.locked.host), *by_package):
            yield from (soname for sonames in libraries.values() for soname in sonames)
            yield from (demand.soname for demand in host)

    def links(self, key: str) -> Iterator[Link]:
        """What a key depends on: first what its metadata requires, then whose libraries it needs."""
        name, extra = split_key(key)
        package, version = self.packages[name], self.version(name)
        for required in package.extras.get(extra, ()) if extra else ():
            yield self._requires(key, version, required)
        yield from (self._requires(name, version, required) for required in package.requires)
        for provider, sonames in package.libraries.items():
            yield Link(name, version, provider, sonames, self.binary(name, sonames[0]))

    def roots(self) -> Iterator[Link]:
        """What the project, its extras and its groups depend on."""
        for root in sorted(self.locked.roots, key=lambda root: (root != PROJECT, root)):
            who = self.project if root == PROJECT else f"{self.project} ({root.replace(':', ' ')})"
            yield from (self._requires(who, "", key) for key in self.locked.roots[root])
        for provider, sonames in self.locked.libraries.items():
            yield Link(self.project, "", provider, sonames, NATIVE)

    def _requires(self, by: str, version: str, on: str) -> Link:
        """A requirement that metadata states, with what the project's rules made of it."""
        name, extra = split_key(on)
        package, notes = self.packages[name], []
        if extra in package.default_extras:
            notes.append(f"default: {package.default_extras[extra]}")
        if package.instead_of:
            notes.append(f"instead of {', '.join(package.instead_of)}, as tool.gpuenv.alternatives says")
        return Link(by, version, on, note="; ".join(notes))

    def every_link(self) -> Iterator[Link]:
        """All dependencies, each once."""
        keys = [*self.packages, *(f"{one.name}[{extra}]" for one in self.packages.values() for extra in one.extras)]
        found = [*self.roots(), *(link for key in sorted(keys) for link in self.links(key))]
        return iter(dict.fromkeys(found))

    def binary(self, name: str, soname: str) -> str | None:
        """The first binary of a package that needs a soname, live ones first; None where that is not known."""
        if name not in self.facts:
            return None
        for need in self.linkage(name).needs:
            if need.soname == soname:
                return need.objects[0]
        return next((one.path for one in self.facts[name].objects if soname in one.needed), None)
