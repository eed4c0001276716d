"""What binaries ask, as needs of the graph: sonames that somebody brings, libraries of the machine, device code.

Each wheel is judged once for the target. A wheel that may be used with several major versions of CUDA has several
ways; which one is taken is a node of its own, decided late, when it is known what the environment has anyway.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.answer import Missing
from gpuenv.model.carries import carries, defines
from gpuenv.model.clash import kinds_of, runtimes
from gpuenv.model.demand import HostDemand
from gpuenv.model.distribution import WheelFile
from gpuenv.model.facts import NativeFacts, Vendor
from gpuenv.model.filename import is_native
from gpuenv.model.host_libraries import DRIVER_LIBRARIES, allowed_by, vendor_of
from gpuenv.model.linkage import Linkage, Met, Role, linkage_of_library
from gpuenv.model.linkage import Need as Asked
from gpuenv.model.requirement import Requirement
from gpuenv.model.roles import majors_of
from gpuenv.model.rules import RUNTIME_NAMES, PackageRules, Scan
from gpuenv.model.runtimes import runtime_of
from gpuenv.model.version import distribution_of, parse_version
from gpuenv.solve.device import build_refusal, cuda_level, device_refusal, level_refusal, runtime_name, too_old, ways
from gpuenv.solve.nodes import Candidate, Key, Kind, Need, NotKnownYet
from gpuenv.solve.offers import Offers, admits
from gpuenv.solve.task import Task

__all__ = ["Judgement", "Natives", "Way"]

# Whose, and which major version.
Runtime = tuple[Vendor, int]

_ANY = parse_version("0")


class Wanted(NamedTuple):
    """A soname that distributions bring, and those that may, in the order in which to try them."""

    asked: Asked
    providers: tuple[Requirement, ...]


class Way(NamedTuple):
    """One way to use a wheel on the target. host: what the machine must bring."""

    asked: Linkage
    wanted: tuple[Wanted, ...]
    host: tuple[HostDemand, ...]


class Judgement(NamedTuple):
    """What a wheel's binaries come to on the target.

    refusal: why it does not serve, None if it does. ways: those that serve, newest runtime first, none alike.
    facts: what was looked at; None: the policy asks for none.
    """

    refusal: str | None = None
    ways: tuple[Way, ...] = ()
    facts: NativeFacts | None = None


class Natives:
    """The judge of one solve. offers: the page of a name. needs_of: the needs that one requirement states.

    matters: may a wheel matter to a GPU? claims: the architectures that a variant says it has code for.
    """

    def __init__(
        self,
        task: Task,
        offers: Callable[[str], Offers],
        needs_of: Callable[[Requirement, str], Iterator[Need]],
        matters: Callable[[WheelFile], bool],
        claims: Callable[[WheelFile], tuple[str, ...]],
    ) -> None:
        self._task = task
        self._offers = offers
        self._needs_of = needs_of
        self._matters = matters
        self._claims = claims
        self._known_rules = task.rules.with_known(task.providers.optional)
        self._vendor: Vendor | None = vendor_of(task.target)
        self._judged: dict[str, Judgement] = {}
        self._majors: dict[Key, tuple[str, Judgement]] = {}
        self._sonames: dict[Key, Wanted] = {}
        self._candidates: dict[Key, tuple[Candidate, ...]] = {}
        self._kinds: dict[tuple[str, str], Candidate] = {}
        self._libraries: dict[tuple[str, str], Way | str | None] = {}
        # distributions of which a wheel with device code was looked at
        self._with_code: set[str] = set()
        self.looked_at: set[str] = set()
        self.asked_who_provides = False

    # one wheel

    def judge(self, wheel: WheelFile) -> Judgement:
        """What the wheel comes to; leaves the search if too little is known."""
        if wheel.key not in self._judged:
            judged = self._judge(wheel)
            if judged.refusal and wheel.label:
                judged = judged._replace(refusal=f"as variant {wheel.label} {judged.refusal}")
            self._judged[wheel.key] = judged
        return self._judged[wheel.key]

    def _judge(self, wheel: WheelFile) -> Judgement:
        if refusal := build_refusal(wheel, self._task.target):
            return Judgement(refusal)
        claimed = self._claimed(wheel) if wheel.label else ()
        if not (claimed or self._policy_reads(wheel)):
            return Judgement()
        facts, target, name = self.facts(wheel), self._task.target, distribution_of(wheel.filename)
        if any(found.device_code for found in facts.objects):
            self._with_code.add(name)
        if refusal := level_refusal(facts, target, self._rules(name)):
            return Judgement(refusal, facts=facts)
        found: dict[tuple[object, ...], Way] = {}
        refusals: list[str] = []
        for asked in self._linkages(wheel, facts, name):
            refusal = device_refusal(asked, facts, target, name, claimed)
            way = refusal or too_old(asked, target) or self._way(asked, facts, name)
            if isinstance(way, str):
                refusals.append(way)
            else:
                found.setdefault((way.wanted, way.host), way)
        return Judgement(None if found else refusals[0], tuple(found.values()), facts)

    def _claimed(self, wheel: WheelFile) -> tuple[str, ...]:
        """The architectures that a variant says it has code for, where the policy does not take it at its word."""
        rules, scan = self._rules(distribution_of(wheel.filename)), self._task.rules.scan
        return () if scan is Scan.NONE or rules.gpu_code == "trust" else self._claims(wheel)

    def refused(self, wheel: WheelFile, reason: str) -> bool:
        """Was the wheel judged, and refused for this reason?"""
        judged = self._judged.get(wheel.key)
        return judged is not None and judged.refusal == reason

    def facts(self, wheel: WheelFile) -> NativeFacts:
        """The native facts of a wheel, whatever the policy says; leaves the search if they are not known."""
        known = self._task.catalog.facts.get(wheel.key)
        if known is None:
            raise NotKnownYet(Missing(facts=(wheel,)))
        self.looked_at.add(wheel.key)
        return known

    def _policy_reads(self, wheel: WheelFile) -> bool:
        """Does the policy ask for the wheel's facts? What happens to be known has no say in it.

        A wheel for any machine has no binaries, unless others of its distribution, which were tried before, carry
        device code.
        """
        scan, target = self._task.rules.scan, self._task.target
        if scan is Scan.NONE:
            return False
        if not is_native(wheel.filename):  # bitsandbytes up to 0.42 called itself a wheel for any machine
            return bool(target.gpu) and distribution_of(wheel.filename) in self._with_code
        if scan is Scan.ALL:
            return target.platform.startswith("linux-")
        return bool(target.gpu or target.gpu_code == "forbid") and self._matters(wheel)

    def _linkages(self, wheel: WheelFile, facts: NativeFacts, name: str) -> tuple[Linkage, ...]:
        """Every way to use the wheel, newest runtime first; computed once for all solves of a lock."""
        key = (wheel.key, self._task.target.name)
        if key not in self._task.memo:
            self._task.memo[key] = ways(facts, self._task.target, self._rules(name))
        return self._task.memo[key]

    def _rules(self, name: str) -> PackageRules:
        """The project's exceptions for a package, and those that are known of it."""
        return self._known_rules.of(name)

    def _runtime_of(self, asked: Linkage, facts: NativeFacts) -> Runtime | None:
        """Whose runtime the wheel is used with, and which major: of the target's GPUs, else the newest it is for."""
        if self._vendor and asked.runtime_major is not None:
            return self._vendor, asked.runtime_major
        vendors: tuple[Vendor, ...] = ("nvidia", "amd")
        hosts = [found for found in facts.objects if found.for_host]
        known = {vendor: majors_of(hosts, vendor) for vendor in vendors}
        return next(((vendor, majors[-1]) for vendor, majors in known.items() if majors), None)

    def _way(self, asked: Linkage, facts: NativeFacts, name: str) -> Way | str:
        """What has to be brought for one way; text: why that cannot be."""
        providers = self._all_providers(asked.unmet, self._runtime_of(asked, facts))
        wanted, alone, host = [], [], [_demand(need) for need in asked.hosted]
        for need in asked.unmet:
            rows = providers[need.soname]
            if any(row.name == name for row in rows):
                continue  # another release of it, or another wheel, is said to bring it: it knows what it does
            usable = self._usable(need.soname, rows)
            if usable:
                wanted.append(Wanted(need, usable))
            elif self._must_be_provided(need.soname, rows):
                alone.append(need)
            else:
                host.append(_demand(need))
        return _unprovided(alone) if alone else Way(asked, tuple(wanted), tuple(host))

    def _must_be_provided(self, soname: str, rows: Sequence[Requirement]) -> bool:
        """Is it no business of the machine? Drivers always are the machine's, GPU runtimes never are."""
        if soname in DRIVER_LIBRARIES:
            return False
        managed = rows or runtime_of(soname) or self._task.providers.knows(soname)
        return bool(managed) or self._task.rules.strict_host

    # who provides what

    def _all_providers(self, needs: Iterable[Asked], runtime: Runtime | None) -> dict[str, tuple[Requirement, ...]]:
        """Those that are said to bring each soname; their pages are asked for together."""
        found = {need.soname: self._said(need.soname, runtime) for need in needs}
        names = dict.fromkeys(row.name for rows in found.values() for row in rows)
        if missing := tuple(name for name in names if self._unknown(name)):
            raise NotKnownYet(Missing(pages=missing))
        return found

    def _said(self, soname: str, runtime: Runtime | None) -> tuple[Requirement, ...]:
        """The project's own word if there is one; else what indexes say, then the shipped table."""
        if soname in self._task.rules.providers:
            return self._task.rules.providers[soname]
        catalog = self._task.catalog
        if missing := tuple(index for index in self._task.provides if index not in catalog.provides):
            raise NotKnownYet(Missing(provides=missing))
        self.asked_who_provides = True
        tables = [*(catalog.provides[index] for index in self._task.provides), self._task.providers]
        known = [runtime] if runtime else sorted({one for table in tables for one in table.runtimes(soname)})
        for wanted in ([one for one in known if one == runtime or self._runs(one)], [runtime]):
            rows = dict.fromkeys(row for table in tables for one in wanted[::-1] for row in table.of(soname, one))
            if rows:
                return tuple(rows)
        return ()

    def _runs(self, runtime: Runtime) -> bool:
        """Is a runtime for the target's GPUs, and of a major that its driver runs, or that it wants?"""
        vendor, major = runtime
        level, rocm = cuda_level(self._task.target), self._task.target.rocm
        if vendor == "amd" and rocm:
            level = major if major == int(rocm.partition(".")[0]) else 0
        return vendor == self._vendor and (level is None or major <= level)

    def _unknown(self, name: str) -> bool:
        return name not in self._task.catalog.pages and name not in self._task.sources

    def _usable(self, soname: str, rows: Sequence[Requirement]) -> tuple[Requirement, ...]:
        """Those that can be had; where the project itself names nobody else, whom it names, so that it is told."""
        own = self._task.rules.providers.get(soname, ())
        return tuple(filter(self._exists, rows)) or own

    def _exists(self, row: Requirement) -> bool:
        """Does an index have a version of a provider that may bring the soname? Others may hold the mere name."""
        if row.name in self._task.sources:
            return True
        releases = self._offers(row.name).page.releases
        return any(not row.specifier or admits(row.specifier, release.version) for release in releases)

    def lack(self, need: Need, wheel: WheelFile) -> str | None:
        """What the wheel lacks of the library that a need is about: all of it, or symbol versions; None: nothing."""
        if self._task.rules.scan is Scan.NONE:
            return None
        found = carries(self.facts(wheel), need.carries, self._task.target)
        if found is None:
            return f"has no {need.carries}"
        if missing := defines(found, need.versions):
            return f"has no {', '.join(missing)} in its {need.carries}"
        way = self.library_way(wheel, need.carries)
        return way if isinstance(way, str) else None

    def library_way(self, wheel: WheelFile, soname: str) -> Way | str | None:
        """What a wheel's library that others need asks for itself; text: why that cannot be.

        None where every way to use the wheel says it already: where the library neither sleeps nor was left unread.
        """
        key = wheel.key, soname
        if key not in self._libraries:
            facts, target, name = self.facts(wheel), self._task.target, distribution_of(wheel.filename)
            found, ways = carries(facts, soname, target), self.judge(wheel).ways
            live = [placed.path for way in ways for placed in way.asked.roles if placed.role is Role.LIVE]
            said = found is None or (bool(ways) and live.count(found.path) == len(ways))
            asked = linkage_of_library(facts, target, soname, rules=self._rules(name))
            self._libraries[key] = None if said else self._way(asked, facts, name)
        return self._libraries[key]

    # needs and candidates

    def root_needs(self) -> Iterator[Need]:
        """What the project itself needs (`native`), but for what every machine of the target has."""
        for asked in self._roots():
            if asked.met is Met.HOST:
                continue
            rows = self._all_providers([asked], None)[asked.soname]
            usable = self._usable(asked.soname, rows)
            if usable or self._must_be_provided(asked.soname, rows):
                yield self._need(Wanted(asked, usable), origin="project")

    def root_host(self) -> tuple[HostDemand, ...]:
        """What the project itself needs of the machine."""
        needed = {need.key.name for need in self.root_needs()}
        return tuple(_demand(asked) for asked in self._roots() if asked.soname not in needed)

    def _roots(self) -> Iterator[Asked]:
        policy = allowed_by(self._task.target)
        for soname in sorted(self._task.rules.native):
            if self._task.target.platform.startswith("linux-") and not policy.brought_by(soname):
                met = Met.HOST if policy.hosts(soname) else Met.UNMET
                yield Asked(soname, met, ("`native` of the project",))

    def needs(self, candidate: Candidate, wheel: WheelFile) -> Iterator[Need]:
        """What the binaries of a candidate need of others."""
        judged = self.judge(wheel)
        if len(judged.ways) > 1:
            key = Key(Kind.MAJOR, candidate.key.name, wheel.filename)
            self._majors[key] = (candidate.text, judged)
            yield Need(key)
        elif judged.ways:
            yield from self._needs(candidate.key.name, judged.facts, judged.ways[0])

    def library_needs(self, candidate: Candidate, wheel: WheelFile) -> Iterator[Need]:
        """What a library of a distribution needs of others, where the distribution's own needs leave that out."""
        way = self.library_way(wheel, candidate.key.detail)
        for wanted in way.wanted if isinstance(way, Way) else ():
            yield self._need(wanted)

    def _needs(self, name: str, facts: NativeFacts | None, way: Way) -> Iterator[Need]:
        if facts is not None:
            yield from self._only_ones(name, facts, way)
        for wanted in way.wanted:
            yield self._need(wanted)

    def _only_ones(self, name: str, facts: NativeFacts, way: Way) -> Iterator[Need]:
        """The runtimes that the project wants to have one of: a clash of two is a conflict of two exact needs."""
        kinds = kinds_of(name, runtimes(facts, way.asked)) if self._task.rules.one_runtime else {}
        for runtime, copies in kinds.items():
            if runtime in self._task.rules.one_runtime:
                key = Key(Kind.RUNTIME, runtime)
                for kind, path in copies:
                    one = self._kinds.setdefault((runtime, kind), Candidate(key, _ANY, label=kind))
                    yield Need(key, exact=one, text=f"{RUNTIME_NAMES[runtime]} {kind} ({path})")

    def _need(self, wanted: Wanted, origin: str = "") -> Need:
        asked, providers = wanted
        key = Key(Kind.SONAME, asked.soname, " ".join(map(str, (*providers, *asked.versions))))
        self._sonames[key] = wanted
        return Need(key, text=f"{asked.soname} ({asked.objects[0]})", origin=origin)

    def candidates(self, key: Key, demanded: Collection[Key]) -> Iterator[Candidate]:
        """The candidates of a soname, or of the choice of a major: first what the environment has anyway.

        demanded: the nodes that somebody requires. For a major also those count that may bring other sonames.
        """
        if key not in self._candidates:
            make = self._ways if key.kind is Kind.MAJOR else self._providers
            self._candidates[key] = tuple(make(key))
        there = {one.name for one in demanded if one.kind is Kind.DISTRIBUTION}
        if key.kind is Kind.MAJOR:
            wanted = [self._sonames[one] for one in demanded if one.kind is Kind.SONAME]
            there |= {row.name for one in wanted for row in one.providers}
        return iter(sorted(self._candidates[key], key=lambda one: -len(one.brings & there)))

    def _ways(self, key: Key) -> Iterator[Candidate]:
        version, judged = self._majors[key]
        for way in judged.ways:
            major = way.asked.runtime_major
            label = f"{key.name} {version}" + (f" with {runtime_name(self._vendor, major)}" if major else "")
            providers = frozenset(row.name for wanted in way.wanted for row in wanted.providers)
            needs = tuple(self._needs(key.name, judged.facts, way))
            yield Candidate(key, parse_version(str(major or 0)), label=label, brings=providers, way=way, needs=needs)

    def _providers(self, key: Key) -> Iterator[Candidate]:
        asked, providers = self._sonames[key]
        for row in providers:
            stated = tuple(self._needs_of(row, str(row)))
            needs = (*stated, *(need.of_library(asked.soname) for need in stated if not need.key.detail))
            for need in needs:
                need.carries, need.versions = asked.soname, asked.versions
            yield Candidate(key, _ANY, label=asked.soname, brings=frozenset([row.name]), needs=needs)

    def way_of(self, candidate: Candidate, chosen: Mapping[Key, Candidate]) -> Way | None:
        """The way in which a chosen candidate is used; None where nothing is known of its binaries."""
        judged = self._judged.get(candidate.wheel.key) if candidate.wheel else None
        if judged is None or not judged.ways or candidate.wheel is None:
            return None
        choice = chosen.get(Key(Kind.MAJOR, candidate.key.name, candidate.wheel.filename))
        return choice.way if choice is not None and choice.way is not None else judged.ways[0]


def _demand(asked: Asked) -> HostDemand:
    return HostDemand(asked.soname, asked.objects[0], asked.versions)


def _unprovided(needs: Sequence[Asked]) -> str:
    """What nobody brings, each soname once, with the first binary that needs it."""
    if len(needs) == 1:
        return f"needs {needs[0].soname} ({needs[0].objects[0]}), which no configured index provides"
    by_object: dict[str, list[str]] = defaultdict(list)
    for need in needs:
        by_object[need.objects[0]].append(need.soname)
    listed = "; ".join(f"{', '.join(sonames)} ({path})" for path, sonames in sorted(by_object.items()))
    return f"needs {len(needs)} libraries that no configured index provides: {listed}"
