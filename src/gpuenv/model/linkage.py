"""What one artifact's binaries ask of a target: who is live, which sonames nobody brings, which GPUs go without code.

Pure and cheap: the solver asks it for each (artifact, runtime major) that it considers, with facts that are known.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from gpuenv.model.architecture import Gpu, parse_gpu
from gpuenv.model.coverage import Coverage, coverage, served
from gpuenv.model.facts import NativeFacts, ObjectFacts, Vendor
from gpuenv.model.host_libraries import HostPolicy, allowed_by, vendor_of
from gpuenv.model.loader import Binaries, Edge
from gpuenv.model.roles import Placed, Role, Roles, is_vendors, ties_of
from gpuenv.model.target import Target

__all__ = ["Gap", "Lack", "Linkage", "Met", "Need", "Outcome", "Placed", "Role", "Verdict", "linkage", "runtime_majors"]

# Machine of a target -> as the facts name it.
_MACHINES = {"i686": "i386"}


class Met(Enum):
    """Who brings a soname. LOADED: the artifact has it where the needing binary does not look; load order decides."""

    OWN = "own"
    LOADED = "loaded"
    SYSTEM = "system"
    DRIVER = "driver"
    UNMET = "unmet"


class Need(NamedTuple):
    """One soname and the binaries that need it, sorted. versions: symbol versions they want of it, sorted."""

    soname: str
    met: Met
    objects: tuple[str, ...]
    versions: tuple[str, ...] = ()


class Lack(NamedTuple):
    """A symbol version that the target's system library is too old for, and the live binaries that need it."""

    library: str
    version: str
    objects: tuple[str, ...]


class Outcome(Enum):
    """What an artifact's device code means for a GPU.

    SERVED: a live binary has code that runs. NO_CODE: it carries no device code. REFUSED: it carries code for GPUs of
    that vendor, and none that is live runs. OTHER_VENDOR: all its own code is for another vendor's GPUs.
    """

    SERVED = "served"
    NO_CODE = "no code"
    REFUSED = "refused"
    OTHER_VENDOR = "other vendor"


class Gap(NamedTuple):
    """A live binary with code for the GPU in fewer than half of its containers: `served` of `units`."""

    path: str
    served: int
    units: int


class Verdict(NamedTuple):
    """One GPU of the target. coverage: by live binaries together. gaps: worst first."""

    gpu: Gpu
    outcome: Outcome
    coverage: Coverage
    gaps: tuple[Gap, ...]


class Linkage(NamedTuple):
    """What one artifact asks of one target; every tuple in a fixed order.

    roles: of each binary for the host, by path. needs: of the live ones, by soname. optional: unmet sonames that only
    plugins need. lacks: symbol versions. verdicts: in the order of the target's GPUs, none without GPUs.
    runtime_major: of CUDA or ROCm, the one that was looked at; None without GPUs, and where the artifact does not tell.
    """

    roles: tuple[Placed, ...]
    needs: tuple[Need, ...]
    optional: tuple[Need, ...]
    lacks: tuple[Lack, ...]
    verdicts: tuple[Verdict, ...]
    runtime_major: int | None

    @property
    def unmet(self) -> tuple[Need, ...]:
        """Needs that somebody else has to meet: another artifact, or the host."""
        return tuple(need for need in self.needs if need.met is Met.UNMET)

    @property
    def refused(self) -> bool:
        """Is there a GPU of the target for which it carries code of its vendor, but none that runs?"""
        return any(verdict.outcome is Outcome.REFUSED for verdict in self.verdicts)


def linkage(facts: NativeFacts, target: Target, *, runtime_major: int | None = None) -> Linkage:
    """What an artifact asks of a target when it is installed into one site-packages.

    runtime_major: which CUDA or ROCm the environment has; by default the newest that the artifact knows and the target
    allows, or the oldest that it knows. It puts binaries for others to sleep, those only that are opened by name.
    """
    host, vendor = allowed_by(target), vendor_of(target)
    if vendor is None:
        runtime_major = None
    elif runtime_major is None:
        runtime_major = _default_major(runtime_majors(facts, target), target)
    binaries = Binaries(facts, (found for found in facts.objects if _unfit(found, target) is None), host)
    roles = Roles(binaries, vendor, runtime_major)
    live, plugins = roles.numbers(Role.LIVE), roles.numbers(Role.PLUGIN)
    variants = binaries.reached(list(roles.variants)) - set(live)
    needs = _needs(binaries, host, live, shared=roles.shared, by=variants)
    demanded = {need.soname for need in needs}
    wishes = [need for need in _needs(binaries, host, plugins) if need.met is Met.UNMET]
    awake = {binaries.objects[number].path for number in (*live, *variants)}
    return Linkage(
        roles=tuple(sorted((*_placed(binaries, roles), *_unfit_ones(facts, target)), key=lambda placed: placed.path)),
        needs=needs,
        optional=tuple(need for need in wishes if need.soname not in demanded),
        lacks=_lacks(binaries, host, live),
        verdicts=_verdicts(facts, target, awake),
        runtime_major=runtime_major,
    )


def runtime_majors(facts: NativeFacts, target: Target) -> tuple[int, ...]:
    """The majors of CUDA, or of ROCm, that an artifact's binaries may be for, oldest first, whatever the target allows.

    Empty where no binary tells, or the target has no GPU.
    """
    vendor = vendor_of(target)
    if vendor is None:
        return ()
    kinds = {frozenset(ties_of(found).majors(vendor)) for found in facts.objects if _unfit(found, target) is None}
    kinds.discard(frozenset())
    return tuple(sorted({major for kind in kinds if not any(other < kind for other in kinds) for major in kind}))


def _default_major(majors: Sequence[int], target: Target) -> int | None:
    """CUDA: up to what the driver can do; ROCm: the major that the target wants."""
    allowed = [
        major
        for major in majors
        if (not target.cuda or major <= _major(target.cuda)) and (not target.rocm or major == _major(target.rocm))
    ]
    return max(allowed, default=min(majors, default=None))


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _unfit(found: ObjectFacts, target: Target) -> str | None:
    """Why no program of the target can load a file, if so."""
    if not found.for_host:
        return "it is device code"
    if not target.platform.startswith("linux-"):
        return "it is for Linux"
    if found.machine != (machine := _MACHINES.get(target.arch, target.arch)):
        return f"it is for {found.machine}, not for {machine}"
    if found.type not in ("shared", "executable"):
        return "it is no library and no program"
    return "it is debug information" if found.path.endswith(".debug") else None


def _unfit_ones(facts: NativeFacts, target: Target) -> Iterable[Placed]:
    for found in facts.objects:
        if found.for_host and (reason := _unfit(found, target)):
            yield Placed(found.path, Role.ASLEEP, reason)


def _placed(binaries: Binaries, roles: Roles) -> Iterable[Placed]:
    return (Placed(found.path, *roles.why[number]) for number, found in enumerate(binaries.objects))


def _needs(
    binaries: Binaries,
    host: HostPolicy,
    numbers: Iterable[int],
    *,
    shared: Collection[str] = (),
    by: Iterable[int] = (),
) -> tuple[Need, ...]:
    """The needs of some binaries, and those of others that are shared."""
    objects: dict[tuple[str, Met], set[str]] = defaultdict(set)
    versions: dict[tuple[str, Met], set[str]] = defaultdict(set)
    wanted = [(number, None) for number in numbers] + [(number, shared) for number in by]
    for number, only in wanted:
        found = binaries.objects[number]
        for edge in binaries.edges[number]:
            if only is None or edge.soname in only:
                key = edge.soname, _met(edge, host)
                objects[key].add(found.path)
                versions[key].update(found.versions_needed.get(edge.soname, ()))
    return tuple(
        Need(soname, met, tuple(sorted(paths)), tuple(sorted(versions[soname, met])))
        for (soname, met), paths in sorted(objects.items(), key=lambda item: (item[0][0], item[0][1].value))
    )


def _met(edge: Edge, host: HostPolicy) -> Met:
    if edge.to is not None:
        return Met.OWN if edge.own else Met.LOADED
    return {"system": Met.SYSTEM, "driver": Met.DRIVER, None: Met.UNMET}[host.brought_by(edge.soname)]


def _lacks(binaries: Binaries, host: HostPolicy, numbers: Iterable[int]) -> tuple[Lack, ...]:
    lacking: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number in numbers:
        found = binaries.objects[number]
        carried = {edge.soname for edge in binaries.edges[number] if edge.to is not None}
        for library, versions in found.versions_needed.items():
            for version in host.lacks(library, versions) if library not in carried else ():
                lacking[library, version].add(found.path)
    return tuple(Lack(*key, tuple(sorted(paths))) for key, paths in sorted(lacking.items()))


def _verdicts(facts: NativeFacts, target: Target, awake: Collection[str]) -> tuple[Verdict, ...]:
    """How far the artifact serves each GPU of the target.

    Kernels of a package are judged by its own binaries: the maker's libraries that it carries along (triton has CUDA's
    profiler) are its tools, and count where there is nothing else. Loose files of device code refuse nothing, for who
    has them has others or a compiler (numba has a test's, flashinfer some that it would else make).
    """
    gpus = [gpu for gpu in map(parse_gpu, target.gpu) if gpu]
    binaries = [found for found in facts.objects if found.for_host]
    files = [found for found in facts.objects if not found.for_host]
    own = [found for found in binaries if not is_vendors(found)]
    judged = [found for found in own or binaries if found.device_code]
    live = [found for found in judged if found.path in awake]
    return tuple(_verdict(gpu, judged, live, files if judged or not binaries else []) for gpu in gpus)


def _verdict(gpu: Gpu, judged: list[ObjectFacts], live: list[ObjectFacts], files: list[ObjectFacts]) -> Verdict:
    whole = served([*live, *files], gpu)
    vendors: set[Vendor] = {code.vendor for found in judged for code in found.device_code}
    if whole.best is not None:
        outcome = Outcome.SERVED
    elif gpu.vendor in vendors:
        outcome = Outcome.REFUSED
    else:
        own = any(not is_vendors(found) for found in judged)
        outcome = Outcome.OTHER_VENDOR if vendors and own else Outcome.NO_CODE
    gaps = []
    for found in live if outcome is Outcome.SERVED else ():
        part = coverage(found, gpu)
        # makers' libraries are full of kernels for one architecture or two
        if 2 * part.served < part.units and not is_vendors(found):
            gaps.append(Gap(found.path, part.served, part.units))
    gaps.sort(key=lambda gap: (gap.served / gap.units, gap.path))
    return Verdict(gpu, outcome, whole, tuple(gaps))
