"""Why something is in a lock: what the locked graph of one target says of a node of it.

A node is a package, a soname, a GPU or a class of runtimes. Nothing here solves or reads: facts are those at hand.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from gpuenv.model.architecture import Fit, Gpu, parse_gpu
from gpuenv.model.carries import carries
from gpuenv.model.clash import Kind, clashes, kind_order, runtimes
from gpuenv.model.coverage import full_name
from gpuenv.model.facts import NativeFacts, Vendor, natural
from gpuenv.model.host_libraries import allowed_by, vendor_of
from gpuenv.model.linkage import Met, Need, linkage
from gpuenv.model.lock import LockedArtifact, split_key
from gpuenv.model.locked_graph import NATIVE, Link, LockedGraph
from gpuenv.model.verdict import Gap, Outcome, Verdict

__all__ = [
    "Brings",
    "NeedsIt",
    "Serves",
    "Supply",
    "WhyGpu",
    "WhyPackage",
    "WhyRuntime",
    "WhySoname",
    "why_gpu",
    "why_package",
    "why_runtime",
    "why_soname",
]


@dataclass(frozen=True, slots=True)
class WhyPackage:
    """A package of a lock. chain: the shortest from the project. others: everybody else who depends on it directly.

    runtime: the `CUDA 13` that its binaries are used with, `ROCm 7`, or None. unread: those who need sonames of it and
    whose facts are not at hand. default_extras: those that bare requirements took, with the rules that chose them.
    instead_of: the names that were required and for which it stands.
    """

    artifact: LockedArtifact
    chain: tuple[Link, ...]
    others: tuple[Link, ...]
    runtime: tuple[Vendor, int] | None
    unread: tuple[str, ...]
    default_extras: Mapping[str, str] = field(default_factory=dict)
    instead_of: tuple[str, ...] = ()


# Who meets a need: another package, the needing one, the target's system or driver, the machine's own libraries; it
# may be missing, as the project says; or the lock does not say.
Supply = Literal["package", "itself", "system", "driver", "machine", "allowed", "unknown"]
_SUPPLIES: dict[Met, Supply] = {
    Met.OWN: "itself",
    Met.LOADED: "itself",
    Met.SYSTEM: "system",
    Met.DRIVER: "driver",
    Met.HOST: "machine",
    Met.ALLOWED: "allowed",
    Met.UNMET: "unknown",
}


class NeedsIt(NamedTuple):
    """A package, or the project, whose binaries need a soname. binaries: none where its facts are not at hand.

    versions: symbol versions wanted. supply, by: who meets the need; by is a package. plugin: it is only for binaries
    that are opened where what they need happens to be.
    """

    package: str
    version: str
    binaries: tuple[str, ...]
    versions: tuple[str, ...]
    supply: Supply
    by: str | None = None
    plugin: bool = False


class Brings(NamedTuple):
    """A package with a library for others. path: in its wheel, None where its facts are not at hand."""

    package: str
    version: str
    path: str | None


@dataclass(frozen=True, slots=True)
class WhySoname:
    """A soname on one target. libc: what the target's system is, `glibc 2.28`."""

    needs: tuple[NeedsIt, ...]
    brings: tuple[Brings, ...]
    libc: str


class Serves(NamedTuple):
    """How the device code of a package serves a GPU.

    best: None where nothing of it runs. by: the architectures that serve, each with its fit. units: containers with
    code for the GPU, of: all for its vendor. gaps: binaries with code in fewer than half of theirs, worst first.
    has: the architectures that it has code for, whatever runs. newer_ptx: the PTX ISA that the driver does not compile.
    refused: it alone keeps the GPU from being served. own: there is other code than that of the maker's libraries.
    """

    package: str
    version: str
    outcome: Outcome
    best: Fit | None
    by: tuple[tuple[str, Fit], ...]
    units: int
    of: int
    gaps: tuple[Gap, ...]
    has: tuple[str, ...]
    newer_ptx: str | None
    refused: bool
    own: bool


@dataclass(frozen=True, slots=True)
class WhyGpu:
    """A GPU on one target. locked: the target is for it; else the answer is what would be."""

    gpu: Gpu
    locked: bool
    packages: tuple[Serves, ...]

    @property
    def served(self) -> bool:
        """Does every package with device code serve it, or may do without?"""
        return not any(package.refused for package in self.packages)


@dataclass(frozen=True, slots=True)
class WhyRuntime:
    """A class of runtimes on one target. clash: its kinds should not meet in one process."""

    kinds: tuple[Kind, ...]
    clash: bool


def why_package(graph: LockedGraph, key: str) -> WhyPackage | None:
    """Why a package, or one with an extra (`fastapi[standard]`), is in the lock; None: it is not."""
    name, extra = split_key(key)
    if name not in graph.packages or (extra and extra not in graph.packages[name].extras):
        return None
    chain = _chain(graph, key)
    direct = [link for link in graph.every_link() if _leads(link, key)]
    others = tuple(sorted(link for link in direct if link not in chain[-1:]))
    package, vendor = graph.packages[name], vendor_of(graph.target)
    needing = {link.by for link in (*chain, *others) if link.sonames and link.binary is None}
    return WhyPackage(
        artifact=graph.artifacts[name],
        chain=chain,
        others=others,
        runtime=(vendor, package.runtime) if vendor and package.runtime is not None else None,
        unread=tuple(sorted(needing)),
        default_extras=package.default_extras,
        instead_of=package.instead_of,
    )


def _leads(link: Link, key: str) -> bool:
    return link.on == key or link.on.partition("[")[0] == key


def _chain(graph: LockedGraph, goal: str) -> tuple[Link, ...]:
    """The shortest chain of links from the project; of several the first, requirements before sonames."""
    todo: deque[tuple[Link, ...]] = deque((link,) for link in graph.roots())
    seen: set[str] = set()
    while todo:
        chain = todo.popleft()
        on = chain[-1].on
        if _leads(chain[-1], goal):
            return chain
        if on not in seen:
            seen.add(on)
            todo.extend((*chain, link) for link in graph.links(on))
    return ()


def why_soname(graph: LockedGraph, soname: str) -> WhySoname | None:
    """Who needs a soname and who brings it; None where nobody is known to do either."""
    needs = [*_project_needs(graph, soname)]
    for name in sorted(graph.packages):
        needs += _needs(graph, name, soname)
    named = {need.by for need in needs if need.by}
    brings = []
    for name in sorted({*named, *graph.known}):
        found = carries(graph.facts[name], soname, graph.target) if name in graph.facts else None
        if found is not None or name in named:
            brings.append(Brings(name, graph.version(name), found.path if found else None))
    if not needs and not brings:
        return None
    return WhySoname(tuple(needs), tuple(brings), allowed_by(graph.target).libc)


def _project_needs(graph: LockedGraph, soname: str) -> Iterator[NeedsIt]:
    for provider, sonames in graph.locked.libraries.items():
        if soname in sonames:
            yield NeedsIt(graph.project, "", (NATIVE,), (), "package", provider)
    for demand in graph.locked.host:
        if demand.soname == soname:
            yield NeedsIt(graph.project, "", (NATIVE,), demand.versions, "machine")


def _needs(graph: LockedGraph, name: str, soname: str) -> Iterator[NeedsIt]:
    """What one package's binaries need of a soname: as the lock binds it, with details from its facts."""
    package, version = graph.packages[name], graph.version(name)
    providers = [provider for provider, sonames in package.libraries.items() if soname in sonames]
    demands = [demand for demand in package.host if demand.soname == soname]
    asked = graph.linkage(name) if name in graph.facts else None
    live = [need for need in asked.needs if need.soname == soname] if asked else []
    bound = [need for need in live if need.met in (Met.UNMET, Met.HOST)] or [Need(soname, Met.UNMET, ())]
    for provider in providers:
        yield NeedsIt(name, version, bound[0].objects, bound[0].versions, "package", provider)
    for demand in demands:
        objects, versions = bound[0].objects or (demand.by,), bound[0].versions or demand.versions
        yield NeedsIt(name, version, objects, versions, "machine")
    for need in live:
        if not (providers or demands) or need not in bound:
            yield NeedsIt(name, version, need.objects, need.versions, _SUPPLIES[need.met])
    for need in asked.optional if asked else ():
        if need.soname == soname:
            yield NeedsIt(name, version, need.objects, need.versions, "unknown", plugin=True)


def why_gpu(graph: LockedGraph, gpu: Gpu) -> WhyGpu | None:
    """How far the packages with device code serve a GPU; None where the target has no GPU of its vendor.

    gpu: without features stands for the target's own of the same name, whatever theirs.
    """
    if vendor_of(graph.target) != gpu.vendor:
        return None
    own = [one for one in map(parse_gpu, graph.target.gpu) if one is not None]
    same = [one for one in own if one == gpu or (not gpu.features and one.arch == gpu.arch)]
    asked = same[0] if same else gpu
    packages = tuple(found for name in graph.known for found in _serves(graph, name, asked))
    return WhyGpu(asked, bool(same), packages)


def _serves(graph: LockedGraph, name: str, gpu: Gpu) -> Iterator[Serves]:
    facts, rules, target = graph.facts[name], graph.rules(name), replace(graph.target, gpu=(str(gpu),))
    if not any(found.device_code for found in facts.objects):
        return
    major, wanted = graph.packages[name].runtime, graph.locked.wanted(name)
    asked = linkage(facts, target, runtime_major=major, rules=rules, wanted=wanted)
    verdict = asked.verdicts[0]
    # what carries tools with code, and no code of its own, compiles what it runs
    if verdict.outcome is Outcome.NO_CODE and rules.gpu_code != "trust":
        return
    yield Serves(
        package=name,
        version=graph.version(name),
        outcome=verdict.outcome,
        best=verdict.coverage.best,
        by=verdict.coverage.by,
        units=verdict.coverage.served,
        of=verdict.coverage.units,
        gaps=verdict.gaps,
        has=_architectures(facts),
        newer_ptx=verdict.newer_ptx,
        refused=_refused(verdict, graph, name),
        own=bool(asked.own_code),
    )


def _refused(verdict: Verdict, graph: LockedGraph, name: str) -> bool:
    """As a solve has it: what may fall back to the CPU does."""
    other = verdict.outcome is Outcome.OTHER_VENDOR and not graph.target.falls_back(name)
    return other or verdict.outcome is Outcome.REFUSED


def _architectures(facts: NativeFacts) -> tuple[str, ...]:
    codes = [code for found in facts.objects for code in found.device_code]
    whole = [code for code in codes if code.kind != "lto"]  # which serves nothing by itself
    return tuple(sorted({full_name(code) for code in whole or codes}, key=natural))


def why_runtime(graph: LockedGraph, runtime: str) -> WhyRuntime | None:
    """The kinds of a class of runtimes (`openmp`) that packages bring or need, and who; None where nobody does."""
    found = {name: runtimes(graph.facts[name], graph.linkage(name)) for name in graph.known}
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, by_class in found.items():
        for copy in by_class.get(runtime, ()):
            kinds.setdefault(copy.kind, []).append((name, copy.path))
    if not kinds:
        return None
    rows = tuple(Kind(kind, tuple(sorted(kinds[kind]))) for kind in sorted(kinds, key=kind_order))
    clash = any(one.runtime == runtime for one in clashes(found))
    return WhyRuntime(rows, clash)
