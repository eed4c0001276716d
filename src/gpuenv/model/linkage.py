"""What one artifact's binaries ask of a target: who is live, which sonames nobody brings, which GPUs go without code.

Pure and cheap: the solver asks it for each (artifact, runtime major) that it considers, with facts that are known.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from gpuenv.model.carries import carries
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.host_libraries import HostPolicy, allowed_by, vendor_of
from gpuenv.model.loader import Binaries, Edge, why_unfit
from gpuenv.model.roles import Placed, Role, Roles, majors_of
from gpuenv.model.rules import PackageRules
from gpuenv.model.target import Target
from gpuenv.model.verdict import Outcome, Verdict, judged_binaries, own_code, verdicts

__all__ = [
    "CpuLack",
    "Lack",
    "Linkage",
    "Met",
    "Need",
    "Placed",
    "Role",
    "linkage",
    "linkage_of_library",
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
    """A symbol version that the target's system library is too old for, and the live binaries that need it.

    sure: one of them is loaded without any doubt, or nothing that may be opened by name is better.
    """

    library: str
    version: str
    objects: tuple[str, ...]
    sure: bool = True


class CpuLack(NamedTuple):
    """A level of processors beyond the target's, `x86-64-v3`, and the live binaries that need it, sorted by path."""

    level: str
    objects: tuple[str, ...]


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
    facts: NativeFacts,
    target: Target,
    *,
    runtime_major: int | None = None,
    rules: PackageRules = _NO_RULES,
    wanted: Iterable[str] = (),
) -> Linkage:
    """What an artifact asks of a target when it is installed into one site-packages.

    runtime_major: which CUDA or ROCm the environment has; by default the newest that the artifact knows and the target
    allows, or the oldest that it knows. It puts binaries for others to sleep, those only that are opened by name.
    rules: the project's exceptions for the package. wanted: the sonames that it brings for live binaries of others.
    """
    host, vendor = allowed_by(target), vendor_of(target)
    awake_by_rule, dormant = _said(facts, rules)
    if vendor is None:
        runtime_major = None
    elif runtime_major is None:
        runtime_major = _default_major(runtime_majors(facts, target, rules=rules), target)
    binaries = Binaries(facts, (found for found in facts.objects if why_unfit(found, target) is None), host)
    needed = {found.path for soname in wanted if (found := carries(facts, soname, target)) is not None}
    roles = Roles(binaries, vendor, runtime_major, live=awake_by_rule, dormant=dormant, wanted=needed)
    live, plugins = roles.numbers(Role.LIVE), roles.numbers(Role.PLUGIN)
    variants = roles.reached(roles.variants) - set(live)
    needs = _needs(binaries, rules, live, shared=roles.shared, by=variants)
    demanded = {need.soname for need in needs}
    wishes = [need for need in _needs(binaries, rules, plugins) if need.met is Met.UNMET]
    awake = {binaries.objects[number].path for number in (*live, *variants)}
    judged, files = judged_binaries(facts, dormant)
    return Linkage(
        roles=tuple(sorted((*_placed(binaries, roles), *_unfit_ones(facts, target)), key=lambda placed: placed.path)),
        needs=needs,
        optional=tuple(need for need in wishes if need.soname not in demanded),
        lacks=_lacks(binaries, host, live, roles.certain),
        verdicts=verdicts(judged, files, awake, target, rules),
        runtime_major=runtime_major,
        cpu=_beyond((binaries.objects[number] for number in live), target),
        own_code=() if rules.gpu_code == "trust" else own_code(judged or files),
    )


def linkage_of_library(facts: NativeFacts, target: Target, soname: str, *, rules: PackageRules = _NO_RULES) -> Linkage:
    """What one library that an artifact has for others asks of a target, with all of the artifact that it loads.

    Only the needs are looked at. They are the same whatever GPUs the target has: who needs the library is live.
    """
    binaries = Binaries(
        facts, (found for found in facts.objects if why_unfit(found, target) is None), allowed_by(target)
    )
    first, (_, dormant) = carries(facts, soname, target), _said(facts, rules)
    paths = [found.path for found in binaries.objects]
    never = {number for number, path in enumerate(paths) if path in dormant}
    loaded = binaries.reached([paths.index(first.path)] if first else [], but=never)
    return Linkage((), _needs(binaries, rules, sorted(loaded)), (), (), (), None)


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


def _lacks(
    binaries: Binaries, host: HostPolicy, numbers: Collection[int], certain: Collection[int]
) -> tuple[Lack, ...]:
    lacking: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number in numbers:
        found = binaries.objects[number]
        carried = {edge.soname for edge in binaries.edges[number] if edge.to is not None}
        for library, versions in found.versions_needed.items():
            for version in host.lacks(library, versions) if library not in carried else ():
                lacking[library, version].add(number)
    hopeless = len(set().union(*lacking.values())) == len(numbers)
    return tuple(
        Lack(
            *key, tuple(binaries.objects[number].path for number in sorted(by)), hopeless or not by.isdisjoint(certain)
        )
        for key, by in sorted(lacking.items())
    )


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
