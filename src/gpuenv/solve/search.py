"""The search for one task: what it starts from, which way it takes, what it ends in."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from resolvelib import BaseReporter, ResolutionImpossible, ResolutionTooDeep

from gpuenv.model.answer import Missing
from gpuenv.solve.nodes import Candidate, Key, Need, NotKnownYet
from gpuenv.solve.provider import PYTHON, Provider
from gpuenv.solve.resolution import Cause, MendedResolution
from gpuenv.solve.task import Task

__all__ = ["Cause", "Dead", "Found", "search"]

# A web framework takes some hundreds of rounds; what takes this many displaces in circles, or is truly hard.
_ROUNDS = 10_000
_LAST_ROUNDS = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """Every need is met. chosen: what the roots reach, by key. roots: needs by `project`, `extra:X`, `group:X`.

    failures: of candidates that were tried and given up, the needs on the node that failed then.
    """

    provider: Provider
    chosen: Mapping[Key, Candidate]
    roots: Mapping[str, list[Need]]
    failures: Mapping[Candidate, tuple[Need, ...]]


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing meets every need. causes: of the first conflict, the one about the newest versions."""

    task: Task
    provider: Provider
    causes: Collection[Cause]
    rounds: int


def search(task: Task, rounds: int | None = None) -> Found | Dead | Missing:
    """Search for candidates that meet every need; raises ResolutionTooDeep after so many rounds.

    Where distributions turn out to have default extras the search begins anew, with nodes for all of them: as often as
    default extras bring such distributions in turn, however many there are.
    """
    while True:
        provider = Provider(task)
        outcome: Found | Dead | Missing | None = None
        try:
            outcome = _search(task, provider, rounds or _ROUNDS, displacing=True)
        except ResolutionTooDeep:
            if not provider.unasked_defaults:
                provider = Provider(task)
                outcome = _search(task, provider, rounds or _LAST_ROUNDS, displacing=False)
        # what is missing comes first: which names have default extras must not depend on what is known already
        if outcome is not None and (isinstance(outcome, Missing) or not provider.unasked_defaults):
            return outcome
        task = replace(task, may_default=task.may_default | provider.unasked_defaults)


def _search(task: Task, provider: Provider, rounds: int, *, displacing: bool) -> Found | Dead | Missing:
    try:
        roots = _root_needs(task, provider)
    except NotKnownYet as unknown:
        return unknown.missing
    needs = [need for key in sorted(roots) for need in roots[key]]
    provider.order.seen(needs)
    if task.requires_python:
        needs.insert(0, Need(PYTHON, task.requires_python, text=f"Python {task.requires_python}", origin="project"))
    provider.root_needs = needs
    watch = _Watch()
    resolution = MendedResolution(provider, watch, displacing=displacing)
    try:
        state = resolution.resolve(needs, max_rounds=rounds)
    except NotKnownYet as unknown:
        return unknown.missing
    except ResolutionImpossible as impossible:
        return Dead(task, provider, watch.causes or impossible.causes, watch.rounds)
    return Found(provider, _reachable(provider, needs, state.mapping), roots, resolution.failures)


def _root_needs(task: Task, provider: Provider) -> dict[str, list[Need]]:
    roots = {
        origin: [
            need
            for requirement in sorted(requirements, key=str)
            for need in provider.needs_of(requirement, str(requirement), origin)
        ]
        for origin, requirements in task.roots.items()
    }
    if task.rules.native:
        roots["project"] = [*roots.get("project", ()), *provider.natives.root_needs()]
    return roots


def _reachable(provider: Provider, roots: Iterable[Need], pins: Mapping[Key, Candidate]) -> dict[Key, Candidate]:
    """The pins that the roots need, each need checked once more: a wrong answer must never become a lock."""
    found: dict[Key, Candidate] = {}
    todo = list(roots)
    while todo:
        need = todo.pop()
        candidate = pins[need.key]
        if candidate.key != need.key or not provider.is_satisfied_by(need, candidate):
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
