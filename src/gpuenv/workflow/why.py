"""why: what gpuenv.lock says of a package, a soname, a GPU or a class of runtimes. It solves and fetches nothing."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeAlias

from gpuenv.errors import NotLocked, UsageError
from gpuenv.model.architecture import nearest_gpu, parse_gpu
from gpuenv.model.facts import NativeFacts
from gpuenv.model.filename import is_native
from gpuenv.model.lock import Lock, LockedArtifact, split_key
from gpuenv.model.locked_graph import LockedGraph
from gpuenv.model.rules import RUNTIMES
from gpuenv.model.runtimes import split_soname
from gpuenv.model.why import (
    WhyGpu,
    WhyPackage,
    WhyRuntime,
    WhySoname,
    why_gpu,
    why_package,
    why_runtime,
    why_soname,
)
from gpuenv.workflow.facts import FactsCache
from gpuenv.workflow.locked import asked_key, read_lock, stale_warnings, targets_of
from gpuenv.workflow.project import Project
from gpuenv.workflow.published import PublishedFacts, shipped_providers

__all__ = ["Answer", "NodeKind", "Why", "why"]

NodeKind = Literal["package", "soname", "gpu", "runtime"]
Why: TypeAlias = WhyPackage | WhySoname | WhyGpu | WhyRuntime

_KINDS: dict[str, NodeKind] = {"package": "package", "soname": "soname", "gpu": "gpu", "runtime": "runtime"}
_SONAME = re.compile(r".+\.so(\.|$).*")
_SHOWN = 5
_ALIKE = 0.8  # of sonames, which all begin and end alike
_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD"}


class Answer(NamedTuple):
    """What the lock says of a node, by target; None where a target has nothing of it.

    node: as it is called. unread: for each target the packages on whose facts the lock relies and that nothing at hand
    tells of.
    """

    node: str
    kind: NodeKind
    targets: Mapping[str, Why | None]
    unread: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]


def why(project: Project, node: str, target: str | None = None) -> Answer:
    """Why a node is in the lock. node: `numpy`, `libcublas.so.13`, `sm_90`, `openmp`, with its kind before it or not.

    Raises StaleLock where there is no lock, UsageError for a target that it does not have, NotLocked for a node that no
    target has.
    """
    lock = read_lock(project)
    graphs = _graphs(project, lock, target)
    kind, name = _parsed(node, graphs.values())
    found = {place: _ask(kind, name)(graph) for place, graph in graphs.items()}
    if any(isinstance(one, WhyGpu) and one.locked for one in found.values()):
        found = {place: one if isinstance(one, WhyGpu) and one.locked else None for place, one in found.items()}
    if not any(found.values()):
        raise _not_locked(kind, name, graphs, target)
    warnings = stale_warnings(project, lock)
    return Answer(name, kind, found, {place: graph.unread for place, graph in graphs.items()}, warnings)


def _graphs(project: Project, lock: Lock, target: str | None) -> dict[str, LockedGraph]:
    rules, known = project.manifest.rules.with_known(shipped_providers().optional), _Known(project)
    graphs = {}
    for name, locked in targets_of(lock, target).items():
        artifacts = {package.name: lock.artifacts[package.artifact] for package in locked.packages.values()}
        at_hand = {package: known.facts(artifact) for package, artifact in artifacts.items()}
        facts = {package: found for package, found in at_hand.items() if found is not None}
        graphs[name] = LockedGraph(locked, artifacts, facts, rules, project.manifest.name)
    return graphs


class _Known:
    """Facts that are at hand, each looked for once; a mere question keeps and changes none."""

    def __init__(self, project: Project) -> None:
        self._published = PublishedFacts()
        read, unpacked = FactsCache(project.cache), FactsCache(project.cache / "unpacked")
        self._kept = (read, unpacked, FactsCache(project.cache, stated=True))
        self._found: dict[str, NativeFacts | None] = {}

    def facts(self, artifact: LockedArtifact) -> NativeFacts | None:
        """Those of an artifact, if it may have binaries."""
        if artifact.facts is None and not is_native(artifact.filename):
            return None
        digest = artifact.sha256
        if digest not in self._found:
            kept = (cache.get(digest) for cache in self._kept)
            found = self._published.get(artifact.name, digest) or next((one for one in kept if one is not None), None)
            self._found[digest] = found
        return self._found[digest]


def _parsed(text: str, graphs: Iterable[LockedGraph]) -> tuple[NodeKind, str]:
    """What kind of node a text names, and the node's own name."""
    prefix, _, rest = text.partition(":")
    said = _KINDS.get(prefix) if rest else None
    plain = rest if said else text.strip()
    gpu = parse_gpu(plain)
    if said == "soname" or (said is None and _SONAME.fullmatch(plain)):
        return "soname", plain
    if said == "gpu" or (said is None and gpu):
        if gpu is None:
            near = nearest_gpu(plain)
            raise UsageError(f"`{plain}` is not a GPU architecture", hints=[f"did you mean `{near}`?"] if near else [])
        return "gpu", str(gpu)
    key = asked_key(plain)
    name, _ = split_key(key)
    taken = any(name in graph.packages for graph in graphs)
    if said == "runtime" or (said is None and plain.lower() in RUNTIMES and not taken):
        return "runtime", plain.lower()
    return "package", key


def _ask(kind: NodeKind, name: str) -> "Callable[[LockedGraph], Why | None]":
    gpu = parse_gpu(name)
    if kind == "gpu" and gpu is not None:
        return lambda graph: why_gpu(graph, gpu)
    if kind == "soname":
        return lambda graph: why_soname(graph, name)
    if kind == "runtime":
        return lambda graph: why_runtime(graph, name)
    return lambda graph: why_package(graph, name)


def _not_locked(kind: NodeKind, name: str, graphs: Mapping[str, LockedGraph], target: str | None) -> NotLocked:
    message = f"`{name}` is not in the lock" + (f" for target {target}" if target else "")
    gpu = parse_gpu(name)
    if kind == "gpu" and gpu is not None:
        where = f"target {target}" if target else "no target"
        return NotLocked(message, causes=[f"{where} has {'no' if target else 'a'} GPU of {_VENDORS[gpu.vendor]}'s"])
    unread = sorted({package for graph in graphs.values() for package in graph.unread})
    causes = []
    if unread and kind != "package":
        more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
        causes = [f"no facts at hand of {', '.join(unread[:_SHOWN])}{more}: what they hold is not known"]
    packages = [package for graph in graphs.values() for package in graph.packages.values()]
    if others := sorted({package.name for package in packages if kind == "package" and name in package.instead_of}):
        causes = [f"{', '.join(others)} stands for it, as tool.gpuenv.alternatives says"]
        return NotLocked(message, causes=causes, hints=[f"gpuenv why {other}" for other in others])
    near = _nearest(kind, name, graphs.values())
    return NotLocked(message, causes=causes, hints=[f"did you mean `{near}`?"] if near else [])


def _nearest(kind: NodeKind, name: str, graphs: Iterable[LockedGraph]) -> str | None:
    """The node that was probably meant; a library without its version is one."""
    if kind == "runtime":
        return next(iter(get_close_matches(name, set(RUNTIMES) - {name}, 1)), None)
    sonames = sorted({soname for graph in graphs for soname in graph.sonames})
    stem = split_soname(name)[0]
    if alike := [soname for soname in sonames if split_soname(soname)[0] == stem]:
        return alike[-1]
    if kind == "soname":
        return next(iter(get_close_matches(name, sonames, 1, _ALIKE)), None)
    packages = sorted({package for graph in graphs for package in graph.packages})
    close = get_close_matches(name, [*packages, *RUNTIMES], 1, 0.6)
    return close[0] if close else nearest_gpu(name)
