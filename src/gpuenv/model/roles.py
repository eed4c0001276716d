"""Which binaries of an artifact a target's programs load, and which only lie there: live, asleep, plugin.

Live is what an importable module reaches by NEEDED, be it of another artifact. The rest is opened by name at run time,
or never: it is judged by what it needs. Where no module can be imported, as in packages that call libraries by ctypes,
each may be opened.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Set
from enum import Enum
from functools import cached_property, reduce
from operator import and_
from typing import NamedTuple

from gpuenv.model.facts import ObjectFacts, Vendor
from gpuenv.model.host_libraries import DRIVER_LIBRARIES
from gpuenv.model.loader import Binaries
from gpuenv.model.runtimes import NAMES, Maker, Tie, runtime_of, split_soname, tie

__all__ = ["Placed", "Role", "Roles", "is_vendors", "majors_of", "ties_of"]

_SHOWN = 3  # sonames in a reason
_RULE = "tool.gpuenv.packages"


class Role(Enum):
    """LIVE: loaded, or may be at any time. ASLEEP: never, on this target. PLUGIN: where what it needs happens to be."""

    LIVE = "live"
    ASLEEP = "asleep"
    PLUGIN = "plugin"


class Placed(NamedTuple):
    """The role of one binary, and why in one sentence."""

    path: str
    role: Role
    reason: str


def ties_of(found: ObjectFacts) -> Tie:
    """The GPU runtimes that one binary needs or is a part of."""
    return tie((*found.needed, *([found.soname] if found.soname else [])))


def majors_of(objects: Iterable[ObjectFacts], vendor: Vendor) -> tuple[int, ...]:
    """The majors of one vendor's runtime that some binaries may be for between them, oldest first."""
    kinds = {frozenset(ties_of(found).majors(vendor)) for found in objects}
    kinds.discard(frozenset())
    return tuple(sorted({major for kind in kinds if not any(other < kind for other in kinds) for major in kind}))


def is_vendors(found: ObjectFacts) -> bool:
    """Is it a library of a GPU's maker, whatever package carries it?"""
    return bool(found.soname and runtime_of(found.soname))


class Roles:
    """The roles of the binaries of one artifact. vendor, major: the target's GPUs and the runtime in question.

    live, dormant: paths of those of which it is said that they are loaded, or never are. wanted: of libraries that
    live binaries of other artifacts need, or the project itself.
    """

    def __init__(
        self,
        binaries: Binaries,
        vendor: Vendor | None,
        major: int | None,
        *,
        live: Collection[str] = (),
        dormant: Collection[str] = (),
        wanted: Collection[str] = (),
    ) -> None:
        self._binaries = binaries
        self._vendor = vendor
        self._major = major
        self._numbers = range(len(binaries.objects))
        # libraries that a maker ships by themselves are for others to need: they sleep when nobody does, not before
        self._only_vendors = all(is_vendors(found) for found in binaries.objects)
        self.why: dict[int, tuple[Role, str]] = {}
        self._said = {number for number in self._numbers if binaries.objects[number].path in live}
        self._never = {number for number in self._numbers if binaries.objects[number].path in dormant} - self._said
        self._wanted = {number for number in self._numbers if binaries.objects[number].path in wanted} - self._never
        self.modules = {number for number in self._numbers if binaries.objects[number].python} - self._never
        # binaries that exclude each other -> the versions of a library for which each is
        self.variants: dict[int, tuple[str, ...]] = {}
        # what each of those that exclude each other needs
        self.shared: set[str] = set()
        # live without any doubt: what modules and others reach, and what the rules call live
        self.certain: frozenset[int] = frozenset()
        self._decide()

    def numbers(self, role: Role) -> list[int]:
        """The binaries of one role."""
        return [number for number in self._numbers if self.why[number][0] is role]

    def reached(self, numbers: Iterable[int]) -> set[int]:
        """Those that are loaded with any of some binaries, themselves included, but for those that never are."""
        return self._binaries.reached(numbers, but=self._never)

    def unmet(self, numbers: Iterable[int]) -> set[str]:
        """Sonames that some binaries need and that neither the artifact nor the host has."""
        return {soname for number in numbers for soname in self._unmet[number]}

    @cached_property
    def _unmet(self) -> list[frozenset[str]]:
        host = self._binaries.host
        return [
            frozenset(edge.soname for edge in edges if edge.to is None and not host.provides(edge.soname))
            for edges in self._binaries.edges
        ]

    @cached_property
    def _asked(self) -> list[frozenset[str]]:
        """For each binary what is unmet of all that are loaded with it; equal ones are one."""
        names = sorted(self.unmet(self._numbers))
        places = {name: place for place, name in enumerate(names)}
        own = [sum(1 << places[name] for name in unmet) for unmet in self._unmet]
        gathered = self._binaries.gathered(own, but=self._never)
        sets = {bits: frozenset(names[place] for place in _places(bits)) for bits in set(gathered)}
        return [sets[bits] for bits in gathered]

    @cached_property
    def _bound(self) -> int:
        """Those that need a library of a GPU runtime, as bits."""
        bound = (number for number in self._numbers if any(map(runtime_of, self._unmet[number])))
        return sum(1 << number for number in bound)

    @cached_property
    def _closures(self) -> list[int]:
        """For each binary those that are loaded with it, as bits."""
        return self._binaries.gathered([1 << number for number in self._numbers], but=self._never)

    def _decide(self) -> None:
        self._put(self._said, Role.LIVE, f"{_RULE} says that it is loaded")
        self._put(self._never, Role.ASLEEP, f"{_RULE} says that it is never loaded")
        self._put(self._wanted, Role.LIVE, "another package, or the project, needs it")
        tops = [number for number in self._tops() if number not in self._never]
        self.variants = self._exclusive(tops)
        modules = self.modules - self.variants.keys()
        always = self.reached(modules)
        self._put(modules, Role.LIVE, "it is a Python module")
        self._put(always, Role.LIVE, "a Python module needs it")
        always |= self.reached(self._said | self._wanted)
        self._put(always, Role.LIVE, "a library that is loaded needs it")
        self.certain = frozenset(always)
        others, there = [number for number in tops if number not in self.why], self.unmet(always)
        for number in others:
            if reason := self._asleep(number, there):
                self.why[number] = Role.ASLEEP, reason
        awake = [number for number in others if number not in self.why]
        self._variants([number for number in {*self._said, *self._wanted, *awake} if number in self.variants])
        self._plugins([number for number in awake if number not in self.why], always)
        self._followers()

    def _tops(self) -> list[int]:
        """Those that nothing else needs, and one of each circle that nothing else needs."""
        loaders = self._binaries.loaders
        tops = [number for number in self._numbers if not loaders[number] or number in self.modules]
        seen = self._binaries.reached(tops)
        for number in self._numbers:
            if number not in seen:
                tops.append(number)
                seen |= self._binaries.reached([number])
        return tops

    def _exclusive(self, tops: Collection[int]) -> dict[int, tuple[str, ...]]:
        """Tops that need several versions of one library between them, each one version: of such, one is opened."""
        versions: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        several = Counter(name for name, version in map(split_soname, self.unmet(self._numbers)) if version)
        if max(several.values(), default=0) < 2:
            return {}
        for top in tops:
            for soname in self._asked[top]:
                name, version = split_soname(soname)
                if version:
                    versions[name][top].add(soname)
        found: dict[int, set[str]] = defaultdict(set)
        for by_top in versions.values():
            wanted = {frozenset(sonames) for sonames in by_top.values()}
            if len(wanted) > 1 and all(len(sonames) == 1 for sonames in wanted):
                for top, sonames in by_top.items():
                    found[top] |= sonames
        return {top: tuple(sorted(sonames)) for top, sonames in found.items()}

    def _asleep(self, top: int, there: Set[str]) -> str | None:
        """Why a binary is not opened on this target, if so: its runtime is another maker's, or of another major.

        Device code alone puts nothing to sleep: xgboost carries NVIDIA's, needs no library of CUDA, and runs on a CPU.
        Nor do libraries of a runtime that the artifact brings along (torchvision), or that modules load in any case.
        """
        if self._only_vendors:
            return None
        for number in (top, *_places(self._closures[top] & self._bound & ~(1 << top))):
            soname = self._binaries.objects[number].soname
            ties = tie([*(self._unmet[number] - there), *([soname] if soname and number == top else [])])
            if not ties.makers:
                continue
            if self._vendor is None or self._vendor not in ties.makers:
                maker: Maker = ties.makers[0]
                return f"{ties.witness(maker)} is of {NAMES[maker]}, for which the target has no GPU"
            majors = ties.majors(self._vendor)
            if majors and self._major is not None and self._major not in majors:
                name, which = NAMES[self._vendor], " or ".join(map(str, majors))
                return f"{ties.witness(self._vendor)} is of {name} {which}, not of {name} {self._major}"
        return None

    def _variants(self, tops: Collection[int]) -> None:
        """What is awake of those that exclude each other: plugins, but what all of them need is live."""
        for top in self.variants.keys() - set(tops):
            del self.variants[top]
        for group in _groups(self.variants):
            kinds = {self.variants[top] for top in group}
            if len(kinds) == 1:
                for top in group:
                    del self.variants[top]
                continue
            loaded: dict[tuple[str, ...], int] = defaultdict(int)
            asked: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for top in group:
                loaded[self.variants[top]] |= self._closures[top]
                asked[self.variants[top]] |= self._asked[top]
            common = _places(reduce(and_, loaded.values()))
            self._put(common, Role.LIVE, "each of several binaries, of which one is opened, needs it")
            self.shared |= set.intersection(*asked.values())
            for top in group:
                self._put([top], Role.PLUGIN, f"one of several is opened; this one is for {_some(self.variants[top])}")

    def _plugins(self, tops: Collection[int], always: Collection[int]) -> None:
        """Live or plugin, by needs: a plugin asks for more than the heart of the artifact does.

        The heart is what modules reach and what carries device code; without modules, also whatever asks for nothing
        that most do not ask for. Needs of the target's GPU runtime make no plugin.
        """
        coded = sum(1 << number for number in self._numbers if self._has_own_code(number))
        core = {top for top in tops if top in self.modules or self._closures[top] & coded}
        if not self.modules:
            # a maker's libraries are needed one by one, the others are there for those that nothing needs
            voters = self.reached(tops) if self._only_vendors else set(tops)
            lacking = {number: self._lacking(number) for number in voters}
            counts = Counter(name for names in lacking.values() for name in names)
            common = {name for name, count in counts.items() if 2 * count > len(voters)}
            core |= {number for number, names in lacking.items() if names <= common}
        heart = {*always, *self.reached(core)}
        asked = self.unmet(heart)
        for top in tops:
            if (extra := self._lacking(top) - asked) and heart:
                reason = f"no Python module needs it, and nothing else needs {_some(sorted(extra))}"
                self.why[top] = Role.PLUGIN, reason
            else:
                self.why[top] = Role.LIVE, "it may be opened by name"
        self._put(heart, Role.LIVE, "it may be opened by name")

    def _lacking(self, number: int) -> set[str]:
        """What a binary would need of others, but for the GPU runtime."""
        return {name for name in self._asked[number] if not self._is_runtime(name)}

    def _has_own_code(self, number: int) -> bool:
        found = self._binaries.objects[number]
        return not is_vendors(found) and any(code.vendor == self._vendor for code in found.device_code)

    def _is_runtime(self, soname: str) -> bool:
        runtime = runtime_of(soname)
        if runtime is None or soname in DRIVER_LIBRARIES:
            return False
        return self._only_vendors or runtime[0] == self._vendor

    def _followers(self) -> None:
        """What is needed by others only has the most wakeful role among theirs."""
        for role, reason in (
            (Role.LIVE, "a library that may be opened needs it"),
            (Role.PLUGIN, "only plugins need it"),
            (Role.ASLEEP, "only sleeping binaries need it"),
        ):
            starts = [number for number, (given, _) in self.why.items() if given is role]
            # what never is loaded still is what needs others
            found = self._binaries.reached(starts) if role is Role.ASLEEP else self.reached(starts)
            self._put(found, role, reason)

    def _put(self, numbers: Iterable[int], role: Role, reason: str) -> None:
        for number in numbers:
            self.why.setdefault(number, (role, reason))


def _groups(variants: dict[int, tuple[str, ...]]) -> list[list[int]]:
    """Those that exclude each other, together: they have a library in common, in whatever version."""
    groups: list[tuple[set[str], list[int]]] = []
    for number, sonames in sorted(variants.items()):
        names, members = {split_soname(soname)[0] for soname in sonames}, [number]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names, members = names | group[0], [*group[1], *members]
        groups.append((names, members))
    return [members for _, members in groups]


def _places(bits: int) -> Iterator[int]:
    """Which bits are set, the lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _some(sonames: Collection[str]) -> str:
    shown = list(sonames)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(sonames) - _SHOWN} more" if len(sonames) > _SHOWN else "")
