"""The search for one task: resolvelib's, mended where it would lie.

resolvelib changes its mind about a pin when a later requirement does not admit it (so numba's `numpy<2.3` lowers an
already chosen numpy, rather than numba). It then forgets what the old pin required, and three things go wrong: a pin
that becomes admissible again stays without its requirements, so that an answer can be false; what only the old pin
asked for is searched on and can fail for nothing; and two pins can displace each other forever. Here a displaced pin
is really gone, with everything that only it asked for, and a search that goes on for too long starts afresh in a
stricter way that never displaces, which is slower to find new versions but always ends.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter, methodcaller

from resolvelib import BaseReporter, ResolutionImpossible, ResolutionTooDeep
from resolvelib.resolvers import Criterion, RequirementsConflicted, Resolution
from resolvelib.structs import IteratorMapping, RequirementInformation, build_iter_view

from gpuenv.model.answer import Missing
from gpuenv.solve.nodes import Candidate, Key, Need
from gpuenv.solve.provider import PYTHON, NotKnownYet, Provider
from gpuenv.solve.task import Task

__all__ = ["Cause", "Dead", "Found", "search"]

Cause = RequirementInformation[Need, Candidate]

# A web framework takes some hundreds of rounds; what takes this many displaces in circles, or is truly hard.
_ROUNDS = 10_000
_STRICT_ROUNDS = 200_000


@dataclass(frozen=True, slots=True)
class Found:
    """Every need is met. chosen: what the roots reach, by key. roots: needs by `project`, `extra:X`, `group:X`."""

    provider: Provider
    chosen: Mapping[Key, Candidate]
    roots: Mapping[str, list[Need]]


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing meets every need. causes: of the first conflict, the one about the newest versions."""

    task: Task
    provider: Provider
    causes: Collection[Cause]
    rounds: int


def search(task: Task, rounds: int | None = None) -> Found | Dead | Missing:
    """Search for candidates that meet every need; raises ResolutionTooDeep after so many rounds."""
    try:
        return _search(task, rounds or _ROUNDS, strict=False)
    except ResolutionTooDeep:
        return _search(task, rounds or _STRICT_ROUNDS, strict=True)


def _search(task: Task, rounds: int, *, strict: bool) -> Found | Dead | Missing:
    provider = Provider(task)
    roots = _root_needs(task, provider)
    needs = [need for key in sorted(roots) for need in roots[key]]
    provider.order.seen(needs)
    if task.requires_python:
        needs.insert(0, Need(PYTHON, task.requires_python, text=f"Python {task.requires_python}", origin="project"))
    provider.root_needs = needs
    watch = _Watch()
    try:
        state = _Mended(provider, watch, strict=strict).resolve(needs, max_rounds=rounds)
    except NotKnownYet as unknown:
        return unknown.missing
    except ResolutionImpossible as impossible:
        return Dead(task, provider, watch.causes or impossible.causes, watch.rounds)
    return Found(provider, _reachable(provider, needs, state.mapping), roots)


def _root_needs(task: Task, provider: Provider) -> dict[str, list[Need]]:
    return {
        origin: [
            need
            for requirement in sorted(requirements, key=str)
            for need in provider.needs_of(requirement, str(requirement), origin)
        ]
        for origin, requirements in task.roots.items()
    }


def _reachable(provider: Provider, roots: Iterable[Need], pins: Mapping[Key, Candidate]) -> dict[Key, Candidate]:
    """The pins that the roots need, each need checked once more: a wrong answer must never become a lock."""
    found: dict[Key, Candidate] = {}
    todo = list(roots)
    while todo:
        need = todo.pop()
        candidate = pins[need.key]
        if not provider.is_satisfied_by(need, candidate):
            raise AssertionError(f"the search left {need} unmet by {candidate}")
        if need.key not in found:
            found[need.key] = candidate
            todo += provider.get_dependencies(candidate)
    return found


class _Watch(BaseReporter[Need, Candidate, Key]):
    """Remembers the first conflict of the search, and how long it took."""

    def __init__(self) -> None:
        self.causes: Collection[Cause] = ()
        self.rounds = 0

    def starting_round(self, index: int) -> None:
        """Called by resolvelib once a round."""
        self.rounds = index + 1

    def resolving_conflicts(self, causes: Collection[Cause]) -> None:
        """Called by resolvelib before it backtracks."""
        self.causes = self.causes or causes


class _Mended(Resolution[Need, Candidate, Key]):
    """resolvelib's search with the three mends that the module's docstring tells of."""

    def __init__(self, provider: Provider, reporter: _Watch, *, strict: bool) -> None:
        super().__init__(provider, reporter)
        self._strict = strict

    def _add_to_criteria(
        self, criteria: dict[Key, Criterion[Need, Candidate]], requirement: Need, parent: Candidate | None
    ) -> None:
        """Add a requirement; a candidate that excludes itself conflicts, and in strict mode so does an excluded pin."""
        super()._add_to_criteria(criteria, requirement, parent)
        key = requirement.key
        pin = parent if parent is not None and parent.key == key else self.state.mapping.get(key)
        if pin is not None and (self._strict or pin is parent) and not self._p.is_satisfied_by(requirement, pin):
            raise RequirementsConflicted(criteria[key])

    def _get_updated_criteria(self, candidate: Candidate) -> dict[Key, Criterion[Need, Candidate]]:
        """The requirements with those of one more pin; one that displaces its own reason to be there conflicts."""
        criteria = super()._get_updated_criteria(candidate)
        pins = self.state.mapping
        displaced = [
            need.key
            for need in self._p.get_dependencies(candidate)
            if need.key in pins and not self._p.is_satisfied_by(need, pins[need.key])
        ]
        if displaced:
            left = {key: pin for key, pin in pins.items() if key not in displaced}
            if candidate.key not in _needed(criteria, {**left, candidate.key: candidate}):
                raise RequirementsConflicted(criteria[displaced[0]])
        return criteria

    def _remove_information_from_criteria(
        self, criteria: dict[Key, Criterion[Need, Candidate]], parents: Collection[Key]
    ) -> None:
        """Forget displaced pins, what they required, and whatever nothing requires any more."""
        if not parents:
            return
        pins = self.state.mapping
        for key in parents:
            del pins[key]
        needed = _needed(criteria, pins)
        for key in [key for key in criteria if key not in needed]:
            del criteria[key]
            pins.pop(key, None)
        for key, criterion in criteria.items():
            left = [cause for cause in criterion.information if _stands(cause, pins)]
            if len(left) < len(criterion.information):
                criteria[key] = Criterion(criterion.candidates, left, criterion.incompatibilities)
                self._widen(criteria, key)

    def _widen(self, criteria: dict[Key, Criterion[Need, Candidate]], key: Key) -> None:
        """Find the candidates anew after a requirement went."""
        criterion = criteria[key]
        candidates = build_iter_view(
            self._p.find_matches(
                identifier=key,
                requirements=IteratorMapping(criteria, methodcaller("iter_requirement")),
                incompatibilities=IteratorMapping(criteria, attrgetter("incompatibilities")),
            )
        )
        # Without the requirement a final version may count that no wheel serves, where a pre-release was admitted.
        if candidates:
            criteria[key] = Criterion(candidates, criterion.information, criterion.incompatibilities)


def _stands(cause: Cause, pins: Mapping[Key, Candidate]) -> bool:
    return cause.parent is None or pins.get(cause.parent.key) is cause.parent


def _needed(criteria: Mapping[Key, Criterion[Need, Candidate]], pins: Mapping[Key, Candidate]) -> set[Key]:
    """The nodes that the roots reach through pins."""
    required: dict[Key | None, list[Key]] = {}
    for key, criterion in criteria.items():
        for cause in criterion.information:
            if _stands(cause, pins):
                required.setdefault(cause.parent.key if cause.parent else None, []).append(key)
    found: set[Key] = set()
    todo = list(required.get(None, ()))
    while todo:
        key = todo.pop()
        if key not in found:
            found.add(key)
            todo += required.get(key, ())
    return found
