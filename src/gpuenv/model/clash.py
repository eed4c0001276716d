"""Runtimes of which one process should have one: which kinds of them artifacts load, and where two kinds meet.

Two files of one kind are common and harmless, for the loader takes the first of one SONAME, and copies of libgomp do
not know of each other. Two OpenMP runtimes, two majors of CUDA or two MPIs are a bug that shows late.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.linkage import Linkage, Met, Role
from gpuenv.model.roles import is_vendors, majors_of, ties_of
from gpuenv.model.rules import RUNTIMES
from gpuenv.model.runtimes import ungrafted

__all__ = ["Clash", "Copy", "Kind", "clashes", "kind_order", "kinds_of", "runtimes"]

_OPENMP = ("libgomp", "libiomp5", "libomp")
_STDCXX = "libstdc++"
# libmpi's own version tells the implementation: 12 is the common ABI of MPICH, Intel MPI and MVAPICH
_MPI = {"1": "Open MPI", "12": "MPICH", "20": "Open MPI", "40": "Open MPI"}
_MPI_PARTS = {
    "libmpich": "MPICH", "libmpicxx": "MPICH", "libmpifort": "MPICH",
    "libmpi_cxx": "Open MPI", "libmpi_mpifh": "Open MPI", "libmpi_usempif08": "Open MPI",
}  # fmt: skip

# Of these NVIDIA's own distributions bring libraries that do nothing until somebody needs them.
_MAKERS_OWN = {"cuda", "cudnn", "nccl"}
_MAKERS = ("nvidia-", "cuda-")
# Carried by the artifact, or nobody knows: no witness in a need.
_NO_WITNESS = {Met.OWN, Met.LOADED, Met.ALLOWED}


class Copy(NamedTuple):
    """One kind of a runtime in an artifact: `libgomp`, `13`. path: the copy it carries, or a binary that needs one."""

    kind: str
    path: str


class Kind(NamedTuple):
    """One kind of a runtime in an environment, and who brings or needs it: (distribution, path), sorted."""

    name: str
    witnesses: tuple[tuple[str, str], ...]


class Clash(NamedTuple):
    """A class of runtimes of which an environment has more than one kind; kinds in the order of their names."""

    runtime: str
    kinds: tuple[Kind, ...]


def runtimes(facts: NativeFacts, asked: Linkage) -> Mapping[str, tuple[Copy, ...]]:
    """The kinds of each class of model.rules.RUNTIMES that an artifact's live binaries bring or need.

    One witness a kind, but every copy of libstdc++, which counts only where it is carried. CUDA, cuDNN and NCCL count
    for NVIDIA's GPUs only; an artifact that works with several majors of CUDA has none of its own.
    """
    awake = {placed.path for placed in asked.roles if placed.role is Role.LIVE}
    live = [found for found in facts.objects if found.path in awake]
    nvidia = any(verdict.gpu.vendor == "nvidia" for verdict in asked.verdicts)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    copies = [Copy(_name(one).rpartition("/")[2], one.path) for one in live if ungrafted(_name(one))[0] == _STDCXX]
    for runtime, copy in (*_carried(live), *_needed(asked)):
        if nvidia or runtime not in _MAKERS_OWN:
            found[runtime].setdefault(copy.kind, copy.path)
    if nvidia and len(majors_of((one for one in facts.objects if one.for_host), "nvidia")) == 1:
        # a maker's library that lies there (triton has a profiler) is for whatever the artifact's own binaries are for
        for one in [one for one in live if not is_vendors(one)] or live:
            if len(majors := ties_of(one).majors("nvidia")) == 1:
                found["cuda"].setdefault(str(majors[0]), one.path)
    result = {runtime: tuple(sorted(Copy(*item) for item in kinds.items())) for runtime, kinds in found.items()}
    result |= {_STDCXX: tuple(sorted(copies))} if copies else {}
    return {runtime: result[runtime] for runtime in RUNTIMES if runtime in result}


def clashes(by_distribution: Mapping[str, Mapping[str, tuple[Copy, ...]]]) -> tuple[Clash, ...]:
    """Where the distributions of one environment bring more than one kind of a runtime; in the order of RUNTIMES.

    by_distribution: normalised name -> what `runtimes` says of its artifact. Copies of libstdc++ are of one kind only
    if their names have the same hash.
    """
    found = []
    counted = {name: kinds_of(name, by_distribution[name]) for name in sorted(by_distribution)}
    for runtime in RUNTIMES:
        kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, copies in counted.items():
            for copy in copies.get(runtime, ()):
                kinds[copy.kind].append((name, copy.path))
        if len(kinds) > 1:
            rows = (Kind(kind, tuple(sorted(kinds[kind]))) for kind in sorted(kinds, key=kind_order))
            found.append(Clash(runtime, tuple(rows)))
    return tuple(found)


def kinds_of(name: str, copies: Mapping[str, tuple[Copy, ...]]) -> dict[str, tuple[Copy, ...]]:
    """What of one distribution counts as a kind of its own: unhashed copies of libstdc++ are one each, by their path.

    What NVIDIA's own distributions bring of CUDA does nothing until somebody needs it, and does not count.
    """
    counted = {}
    for runtime, found in copies.items():
        if runtime == _STDCXX:
            found = tuple(one if ungrafted(one.kind)[2] else Copy(f"{name}/{one.path}", one.path) for one in found)
        if runtime not in _MAKERS_OWN or not name.startswith(_MAKERS):
            counted[runtime] = found
    return counted


def kind_order(kind: str) -> tuple[int, str]:
    """The order of kinds: names, then majors by number."""
    return (int(kind) if kind.isdecimal() else 0, kind)


def _name(found: ObjectFacts) -> str:
    return found.soname or found.path.rpartition("/")[2]


def _carried(live: Iterable[ObjectFacts]) -> Iterator[tuple[str, Copy]]:
    for found in live:
        if of := _runtime(_name(found)):
            yield of[0], Copy(of[1], found.path)


def _needed(asked: Linkage) -> Iterator[tuple[str, Copy]]:
    for need in asked.needs:
        if need.met not in _NO_WITNESS and (of := _runtime(need.soname)):
            yield of[0], Copy(of[1], need.objects[0])


def _runtime(soname: str) -> tuple[str, str] | None:
    """The class and the kind of a library, but for CUDA's, whose sonames have to be seen together, and libstdc++."""
    name, version, _ = ungrafted(soname)
    first = version.partition(".")[0]
    if name in _OPENMP:
        return "openmp", name
    if name == "libmpi":
        return ("mpi", _MPI[first]) if first in _MPI else None
    if name in _MPI_PARTS:
        return "mpi", _MPI_PARTS[name]
    if first and (name == "libcudnn" or name.startswith("libcudnn_")):
        return "cudnn", first
    return ("nccl", first) if first and name == "libnccl" else None
