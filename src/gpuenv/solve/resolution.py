"""resolvelib's search, mended where it would lie. The only file that reaches into resolvelib.

resolvelib changes its mind about a pin when a later requirement does not admit it (so numba's `numpy<2.3` lowers an
already chosen numpy, rather than numba). It then forgets what the old pin required, so that a pin that becomes
admissible again stays without its requirements (an answer can be false), and what only the old pin asked for is
searched on (and fails for nothing). Its way back from a failure skips versions that might have served. And two pins
can displace each other forever.

Here a displaced pin is really gone, with everything that only it asked for; the way back is conflict-directed
backjumping, which undoes only what the failure is about and skips nothing; and a search that never displaces, and so
always ends, stands behind.
"""

from collections import deque
from collections.abc import Collection, Mapping
from operator import attrgetter, methodcaller
from typing import Any

from resolvelib import AbstractProvider, BaseReporter
from resolvelib.resolvers import Criterion, RequirementsConflicted, Resolution
from resolvelib.structs import IteratorMapping, RequirementInformation, build_iter_view

from gpuenv.solve.nodes import Candidate, Key, Kind, Need

__all__ = ["Cause", "MendedResolution"]

Cause = RequirementInformation[Need, Candidate]
_Criterion = Criterion[Need, Candidate]
_Criteria = dict[Key, _Criterion]

# How many ways to fail are remembered of a candidate.
_LEARNED = 4


class _Failure(_Criterion):
    """A criterion that failed when a candidate was tried, and the pins that made it fail."""

    def __init__(self, criterion: _Criterion, reasons: frozenset[Candidate]) -> None:
        super().__init__(criterion.candidates, criterion.information, criterion.incompatibilities)
        self.reasons = reasons


class MendedResolution(Resolution[Need, Candidate, Key]):
    """One search. displacing: a later requirement may displace a pin; if not, it conflicts with it.

    State n of the stack holds what the first n decisions left; the last one is a copy to decide on.
    """

    def __init__(
        self,
        provider: AbstractProvider[Need, Candidate, Key],
        reporter: BaseReporter[Any, Any, Any],
        *,
        displacing: bool,
    ) -> None:
        super().__init__(provider, reporter)
        self._displacing = displacing
        self._failed: tuple[Key, list[_Criterion]]
        # Criteria never change, so what was judged once stays judged; resolvelib asks in every round about every pin.
        self._judged: dict[_Criterion, tuple[Candidate, bool]] = {}
        self._learned: dict[Candidate, deque[_Failure]] = {}
        # Why a candidate was given up: the pins without which it might have served.
        self._reasons: dict[Candidate, frozenset[Candidate]] = {}

    @property
    def failures(self) -> dict[Candidate, tuple[Need, ...]]:
        """The candidates that failed, each with the needs on the node that it failed for when it was tried last."""
        return {
            candidate: tuple(cause.requirement for cause in failures[0].information)
            for candidate, failures in self._learned.items()
        }

    # forward

    def _is_current_pin_satisfying(self, name: Key, criterion: _Criterion) -> bool:
        pin = self.state.mapping.get(name)
        if pin is None:
            return False
        judged = self._judged.get(criterion)
        if judged is None or judged[0] is not pin:
            met = all(self._p.is_satisfied_by(cause.requirement, pin) for cause in criterion.information)
            judged = self._judged[criterion] = (pin, met)
        return judged[1]

    def _add_to_criteria(self, criteria: _Criteria, requirement: Need, parent: Candidate | None) -> None:
        """Add a requirement; a candidate that excludes itself conflicts."""
        super()._add_to_criteria(criteria, requirement, parent)
        pin = None if self._displacing else self.state.mapping.get(requirement.key)
        if parent is not None and parent.key == requirement.key:
            pin = parent
        if pin is not None and not self._p.is_satisfied_by(requirement, pin):
            raise RequirementsConflicted(criteria[requirement.key])

    def _get_updated_criteria(self, candidate: Candidate) -> _Criteria:
        """The requirements with those of one more pin; what is known to fail beside these pins fails at once."""
        for failure in self._learned.get(candidate, ()):
            if all(_pinned(self.state.mapping, reason) for reason in failure.reasons):
                raise RequirementsConflicted(failure)
        try:
            return self._with_requirements_of(candidate)
        except RequirementsConflicted as conflict:
            self._learn(candidate, conflict.criterion, self._about(conflict.criterion))
            raise

    def _learn(self, candidate: Candidate, criterion: _Criterion, about: Collection[Key]) -> frozenset[Candidate]:
        """Remember beside which pins a candidate fails, and why; the last few times only."""
        reasons = frozenset(self.state.mapping[key] for key in about if key != candidate.key)
        known = self._learned.setdefault(candidate, deque(maxlen=_LEARNED))
        known.appendleft(_Failure(criterion, reasons))
        return reasons

    def _with_requirements_of(self, candidate: Candidate) -> _Criteria:
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

    def _remove_information_from_criteria(self, criteria: _Criteria, parents: Collection[Key]) -> None:
        """Forget displaced pins, what they required or ruled out, and whatever nothing requires any more."""
        if not parents:
            return
        pins = self.state.mapping
        for key in parents:
            del pins[key]
        needed = _needed(criteria, pins)
        for key in [key for key in criteria if key not in needed]:
            del criteria[key]
            pins.pop(key, None)
        for key, criterion in list(criteria.items()):
            causes = [cause for cause in criterion.information if _stands(cause, pins)]
            refused = [one for one in criterion.incompatibilities if self._holds(one)]
            if len(causes) + len(refused) < len(criterion.information) + len(criterion.incompatibilities):
                # None left is possible: without the requirement a final version may count that no wheel serves, where
                # a pre-release did.
                self._find_anew(criteria, key, causes, refused)

    # and back

    def _attempt_to_pin_criterion(self, name: Key) -> list[_Criterion]:
        if name.kind in (Kind.SONAME, Kind.MAJOR):  # which is best depends on what has been decided since
            criterion = self.state.criteria[name]
            self._find_anew(self.state.criteria, name, list(criterion.information), list(criterion.incompatibilities))
        failures = super()._attempt_to_pin_criterion(name)
        self._failed = (name, failures)
        return failures

    def _backjump(self, causes: list[Cause]) -> bool:
        """Go back to the last pin that the failure is about and give that candidate up; False if there is none."""
        key, failures = self._failed
        failed = failures[0]
        about = self._about(self.state.criteria[key]).union(*map(self._about, failures)) - {key}
        while about:
            decided = {self._decided(one): one for one in about}
            last = max(decided)
            key = decided[last]
            candidate = self.state.mapping[key]
            self._reasons[candidate] = self._learn(candidate, failed, about)
            refused = {other: criterion.incompatibilities for other, criterion in self.state.criteria.items()}
            refused[key] = [*refused[key], candidate]
            del self._states[last:]
            self._push_new_state()
            dead_end = self._refuse(refused)
            if dead_end is None:
                return True
            failed = dead_end
            about = self._about(dead_end) - {_key(dead_end)}
        return False

    def _refuse(self, refused: Mapping[Key, Collection[Candidate]]) -> _Criterion | None:
        """Carry refusals over to the state that was gone back to, as far as their reasons hold; what they exhaust."""
        criteria = self.state.criteria
        for key in [key for key in refused if key in criteria and refused[key]]:
            known = criteria[key].incompatibilities
            more = [one for one in refused[key] if one not in known and self._holds(one)]
            if more:
                found = self._find_anew(criteria, key, list(criteria[key].information), [*known, *more])
                if not found:
                    return criteria[key]
        return None

    def _find_anew(self, criteria: _Criteria, key: Key, causes: list[Cause], refused: list[Candidate]) -> bool:
        """Find the candidates of a node anew; False, and those before stay, where there are none."""
        before = criteria[key].candidates
        criteria[key] = Criterion(before, causes, refused)
        matches = self._p.find_matches(
            identifier=key,
            requirements=IteratorMapping(criteria, methodcaller("iter_requirement")),
            incompatibilities=IteratorMapping(criteria, attrgetter("incompatibilities")),
        )
        candidates = build_iter_view(matches)
        if candidates:
            criteria[key] = Criterion(candidates, causes, refused)
        return bool(candidates)

    def _holds(self, candidate: Candidate) -> bool:
        """Do the reasons to refuse a candidate still hold?"""
        return all(_pinned(self.state.mapping, reason) for reason in self._reasons[candidate])

    def _decided(self, key: Key) -> int:
        """The number of the decision that chose the node's pin."""
        pin = self.state.mapping[key]
        number = len(self._states) - 1
        while self._states[number - 1].mapping.get(key) is pin:
            number -= 1
        return number

    def _about(self, criterion: _Criterion) -> frozenset[Key]:
        """The pins without which the criterion might have other candidates."""
        if isinstance(criterion, _Failure):
            return frozenset(reason.key for reason in criterion.reasons)
        causes = list(criterion.information)
        key = _key(criterion)
        if key.detail and key.base in self.state.criteria:
            causes += self.state.criteria[key.base].information
        found = {cause.parent.key for cause in causes if cause.parent is not None}
        found.add(key)
        found.update(reason.key for refused in criterion.incompatibilities for reason in self._reasons[refused])
        return frozenset(found & self.state.mapping.keys())


def _key(criterion: _Criterion) -> Key:
    return next(iter(criterion.information)).requirement.key


def _stands(cause: Cause, pins: Mapping[Key, Candidate]) -> bool:
    return cause.parent is None or _pinned(pins, cause.parent)


def _pinned(pins: Mapping[Key, Candidate], candidate: Candidate) -> bool:
    return pins.get(candidate.key) is candidate


def _needed(criteria: Mapping[Key, _Criterion], pins: Mapping[Key, Candidate]) -> set[Key]:
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
