"""What one artifact's binaries ask of a target: who is live, which sonames nobody brings, which GPUs go without code.

Pure and cheap: the solver asks it for each (artifact, runtime major) that it considers, with facts that are known.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from gpuenv.model.architecture import Fit, Gpu, fit, parse_gpu, ptx_isa_of
from gpuenv.model.coverage import Coverage, coverage, served
from gpuenv.model.facts import NativeFacts, ObjectFacts, Vendor
from gpuenv.model.host_libraries import HostPolicy, allowed_by, cuda_of, vendor_of
from gpuenv.model.loader import Binaries, Edge, why_unfit
from gpuenv.model.roles import Placed, Role, Roles, is_vendors, majors_of
from gpuenv.model.rules import PackageRules
from gpuenv.model.target import Target

__all__ = [
    "CpuLack",
    "Gap",
    "Lack",
    "Linkage",
    "Met",
    "Need",
    "Outcome",
    "Placed",
    "Role",
    "Verdict",
    "linkage",
    "runtime_majors",
]

_NO_RULES = PackageRules()
_LEVEL = re.compile(r"x86-64-v([1-9])")


class Met(Enum):
    """Who brings a soname.

    LOADED: the artifact has it where the needing binary does not look; load order decides. HOST: the target says that
    the machine has it. ALLOWED: the project says that it may be missing.
    """

    OWN = "own"
    LOADED = "loaded"
    SYSTEM = "system"
    DRIVER = "driver"
    HOST = "host"
    ALLOWED = "allowed"
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


class CpuLack(NamedTuple):
    """A level of processors beyond the target's, `x86-64-v3`, and the live binaries that need it, sorted by path."""

    level: str
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
    """One GPU of the target. coverage: by live binaries together. gaps: worst first.

    newer_ptx: where it is refused, the PTX ISA that its driver would have to compile to serve it, `9.0`.
    """

    gpu: Gpu
    outcome: Outcome
    coverage: Coverage
    gaps: tuple[Gap, ...]
    newer_ptx: str | None = None


class Linkage(NamedTuple):
    """What one artifact asks of one target; every tuple in a fixed order.

    roles: of each binary for the host, by path. needs: of the live ones, by soname. optional: unmet sonames that only
    plugins need. lacks: symbol versions. verdicts: in the order of the target's GPUs, none without GPUs.
    runtime_major: of CUDA or ROCm, the one that was looked at; None without GPUs, and where the artifact does not tell.
    cpu: levels beyond the target's processor, lowest first. own_code: binaries (files, where it has no binaries) with
    device code for whatever GPU, but for libraries of a GPU's maker; none where the rules trust its device code.
    """

    roles: tuple[Placed, ...]
    needs: tuple[Need, ...]
    optional: tuple[Need, ...]
    lacks: tuple[Lack, ...]
    verdicts: tuple[Verdict, ...]
    runtime_major: int | None
    cpu: tuple[CpuLack, ...] = ()
    own_code: tuple[str, ...] = ()

    @property
    def hosted(self) -> tuple[Need, ...]:
        """Needs that the machine's own libraries meet, as its target says."""
        return tuple(need for need in self.needs if need.met is Met.HOST)

    @property
    def unmet(self) -> tuple[Need, ...]:
        """Needs that somebody else has to meet: another artifact, or the host."""
        return tuple(need for need in self.needs if need.met is Met.UNMET)

    @property
    def refused(self) -> bool:
        """Is there a GPU of the target for which it carries code of its vendor, but none that runs?"""
        return any(verdict.outcome is Outcome.REFUSED for verdict in self.verdicts)


def linkage(
    facts: NativeFacts, target: Target, *, runtime_major: int | None = None, rules: PackageRules = _NO_RULES
) -> Linkage:
    """What an artifact asks of a target when it is installed into one site-packages.

    runtime_major: which CUDA or ROCm the environment has; by default the newest that the artifact knows and the target
    allows, or the oldest that it knows. It puts binaries for others to sleep, those only that are opened by name.
    rules: the project's exceptions for the package.
    """
    host, vendor = allowed_by(target), vendor_of(target)
    awake_by_rule, dormant = _said(facts, rules)
    if vendor is None:
        runtime_major = None
    elif runtime_major is None:
        runtime_major = _default_major(runtime_majors(facts, target, rules=rules), target)
    binaries = Binaries(facts, (found for found in facts.objects if why_unfit(found, target) is None), host)
    roles = Roles(binaries, vendor, runtime_major, live=awake_by_rule, dormant=dormant)
    live, plugins = roles.numbers(Role.LIVE), roles.numbers(Role.PLUGIN)
    variants = roles.reached(roles.variants) - set(live)
    needs = _needs(binaries, rules, live, shared=roles.shared, by=variants)
    demanded = {need.soname for need in needs}
    wishes = [need for need in _needs(binaries, rules, plugins) if need.met is Met.UNMET]
    awake = {binaries.objects[number].path for number in (*live, *variants)}
    judged, files = _judged(facts, dormant)
    return Linkage(
        roles=tuple(sorted((*_placed(binaries, roles), *_unfit_ones(facts, target)), key=lambda placed: placed.path)),
        needs=needs,
        optional=tuple(need for need in wishes if need.soname not in demanded),
        lacks=_lacks(binaries, host, live),
        verdicts=_verdicts(judged, files, awake, target, rules),
        runtime_major=runtime_major,
        cpu=_beyond((binaries.objects[number] for number in live), target),
        own_code=() if rules.gpu_code == "trust" else _own_code(judged or files),
    )


def runtime_majors(facts: NativeFacts, target: Target, *, rules: PackageRules = _NO_RULES) -> tuple[int, ...]:
    """The majors of CUDA, or of ROCm, that an artifact's binaries may be for, oldest first, whatever the target allows.

    Empty where no binary tells, or the target has no GPU. Binaries that rules call dormant do not count.
    """
    vendor = vendor_of(target)
    if vendor is None:
        return ()
    _, dormant = _said(facts, rules)
    usable = (found for found in facts.objects if found.path not in dormant and why_unfit(found, target) is None)
    return majors_of(usable, vendor)


def _said(facts: NativeFacts, rules: PackageRules) -> tuple[frozenset[str], frozenset[str]]:
    """The paths that rules call live, and those of the rest that they call dormant."""
    live = frozenset(found.path for found in facts.objects if _any_matches(found.path, rules.live))
    dormant = frozenset(found.path for found in facts.objects if _any_matches(found.path, rules.dormant))
    return live, dormant - live


def _any_matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


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


def _unfit_ones(facts: NativeFacts, target: Target) -> Iterable[Placed]:
    for found in facts.objects:
        if found.for_host and (reason := why_unfit(found, target)):
            yield Placed(found.path, Role.ASLEEP, reason)


def _placed(binaries: Binaries, roles: Roles) -> Iterable[Placed]:
    return (Placed(found.path, *roles.why[number]) for number, found in enumerate(binaries.objects))


def _needs(
    binaries: Binaries,
    rules: PackageRules,
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
                key = edge.soname, _met(edge, binaries.host, found.path, rules)
                objects[key].add(found.path)
                versions[key].update(found.versions_needed.get(edge.soname, ()))
    return tuple(
        Need(soname, met, tuple(sorted(paths)), tuple(sorted(versions[soname, met])))
        for (soname, met), paths in sorted(objects.items(), key=lambda item: (item[0][0], item[0][1].value))
    )


def _met(edge: Edge, host: HostPolicy, path: str, rules: PackageRules) -> Met:
    if edge.to is not None:
        return Met.OWN if edge.own else Met.LOADED
    by = host.brought_by(edge.soname)
    if by is not None:
        return Met.SYSTEM if by == "system" else Met.DRIVER
    if host.hosts(edge.soname):
        return Met.HOST
    allowed = any(fnmatchcase(edge.soname, one.soname) and fnmatchcase(path, one.objects) for one in rules.missing)
    return Met.ALLOWED if allowed else Met.UNMET


def _lacks(binaries: Binaries, host: HostPolicy, numbers: Iterable[int]) -> tuple[Lack, ...]:
    lacking: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number in numbers:
        found = binaries.objects[number]
        carried = {edge.soname for edge in binaries.edges[number] if edge.to is not None}
        for library, versions in found.versions_needed.items():
            for version in host.lacks(library, versions) if library not in carried else ():
                lacking[library, version].add(found.path)
    return tuple(Lack(*key, tuple(sorted(paths))) for key, paths in sorted(lacking.items()))


def _beyond(live: Iterable[ObjectFacts], target: Target) -> tuple[CpuLack, ...]:
    """Levels that live binaries need and the target's processor need not have.

    A loader picks in `glibc-hwcaps`. Programs count where there is nothing else, for their start is their own affair:
    those of Qt, which come along with its libraries, need x86-64-v2 because of the system that they were made on.
    """
    has = _level(target.cpu) or 1
    every = list(live)
    libraries = [one for one in every if one.type != "executable"]
    found: dict[str, list[str]] = defaultdict(list)
    for one in libraries or every:
        if one.cpu is not None and (_level(one.cpu) or 0) > has and "glibc-hwcaps/" not in one.path:
            found[one.cpu].append(one.path)
    return tuple(CpuLack(level, tuple(sorted(paths))) for level, paths in sorted(found.items()))


def _level(cpu: str | None) -> int | None:
    match = _LEVEL.fullmatch(cpu or "")
    return int(match[1]) if match else None


def _own_code(judged: Iterable[ObjectFacts]) -> tuple[str, ...]:
    return tuple(sorted(found.path for found in judged if found.device_code and not is_vendors(found)))


def _judged(facts: NativeFacts, dormant: Collection[str]) -> tuple[list[ObjectFacts], list[ObjectFacts]]:
    """The binaries whose device code is the artifact's, and the loose files of device code that count.

    Kernels of a package are judged by its own binaries: the maker's libraries that it carries along (triton has CUDA's
    profiler) are its tools, and count where there is nothing else. Loose files of device code refuse nothing, for who
    has them has others or a compiler (numba has a test's, flashinfer some that it would else make).
    """
    binaries = [found for found in facts.objects if found.for_host and found.path not in dormant]
    files = [found for found in facts.objects if not found.for_host and found.path not in dormant]
    own = [found for found in binaries if not is_vendors(found)]
    judged = [found for found in own or binaries if found.device_code]
    return judged, files if judged or not binaries else []


class _Ask(NamedTuple):
    """How device code is judged. isa: the newest PTX ISA that the driver compiles. ptx: does PTX serve at all?"""

    isa: str | None
    ptx: bool
    trusted: bool


def _verdicts(
    judged: list[ObjectFacts],
    files: list[ObjectFacts],
    awake: Collection[str],
    target: Target,
    rules: PackageRules,
) -> tuple[Verdict, ...]:
    """How far the artifact serves each GPU of the target.

    Of a maker's library by itself any PTX counts: cuSPARSELt has for sm_75 little else, in one container, and whoever
    requires it (torch) need not use it there.
    """
    only_makers = bool(judged) and all(map(is_vendors, judged))
    ask = _Ask(None if only_makers else _driver_isa(target), target.ptx and rules.ptx, rules.gpu_code == "trust")
    live = [found for found in judged if found.path in awake]
    return tuple(_verdict(gpu, judged, live, files, ask) for gpu in map(parse_gpu, target.gpu) if gpu)


def _driver_isa(target: Target) -> str | None:
    """The newest PTX ISA that the target's driver compiles; None where that is not known."""
    cuda = cuda_of(target)
    return ptx_isa_of(cuda) if cuda else None


def _verdict(
    gpu: Gpu, judged: list[ObjectFacts], live: list[ObjectFacts], files: list[ObjectFacts], ask: _Ask
) -> Verdict:
    whole = served([*live, *files], gpu, driver_isa=ask.isa, ptx=ask.ptx)
    vendors: set[Vendor] = {code.vendor for found in judged for code in found.device_code}
    if whole.best is not None:
        outcome = Outcome.SERVED
    elif ask.trusted:
        outcome = Outcome.NO_CODE
    elif gpu.vendor in vendors:
        outcome = Outcome.REFUSED
    else:
        own = any(not is_vendors(found) for found in judged)
        outcome = Outcome.OTHER_VENDOR if vendors and own else Outcome.NO_CODE
    gaps = []
    for found in live if outcome is Outcome.SERVED else ():
        part = coverage(found, gpu, driver_isa=ask.isa, ptx=ask.ptx)
        # makers' libraries are full of kernels for one architecture or two
        if 2 * part.served < part.units and not is_vendors(found):
            gaps.append(Gap(found.path, part.served, part.units))
    gaps.sort(key=lambda gap: (gap.served / gap.units, gap.path))
    return Verdict(gpu, outcome, whole, tuple(gaps), _newer_ptx(gpu, live, ask) if outcome is Outcome.REFUSED else None)


def _newer_ptx(gpu: Gpu, live: Iterable[ObjectFacts], ask: _Ask) -> str | None:
    """The oldest PTX ISA of code that would serve a GPU if its driver compiled it."""
    if ask.isa is None or not ask.ptx:
        return None
    isas = {code.isa for found in live for code in found.device_code if code.isa and fit(code, gpu) is Fit.JIT}
    return min(isas, key=_numbers, default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version))
