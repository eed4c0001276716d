"""`solve(task) -> Solution | Conflict | Missing`: a pure function around resolvelib.

It never fetches and never guesses: what is not in the catalog yet can only yield `Missing`, so that the answer does
not depend on what happened to be cached.
"""

from collections.abc import Collection, Mapping

from resolvelib import BaseReporter, ResolutionImpossible, Resolver
from resolvelib.structs import RequirementInformation

from gpuenv.model.answer import Conflict, Missing, Pin, Solution
from gpuenv.solve.conflict import explain
from gpuenv.solve.nodes import Candidate, Key, Kind, Need
from gpuenv.solve.provider import PYTHON, NotKnownYet, Provider
from gpuenv.solve.task import Task

__all__ = ["solve"]

# resolvelib's own default of 100 is less than a web framework needs.
_MAX_ROUNDS = 200_000


def solve(task: Task) -> Solution | Conflict | Missing:
    """Find one candidate for every node that the task's roots reach, or say why there is none."""
    provider = Provider(task)
    roots = _root_needs(task, provider)
    needs = [need for key in sorted(roots) for need in roots[key]]
    provider.order.seen(needs)
    if task.requires_python:
        needs.insert(0, Need(PYTHON, task.requires_python, text=f"Python {task.requires_python}", origin="project"))
    provider.root_needs = needs
    reporter = _FirstConflict()
    try:
        result = Resolver(provider, reporter).resolve(needs, max_rounds=_MAX_ROUNDS)
    except NotKnownYet as unknown:
        return unknown.missing
    except ResolutionImpossible as impossible:
        return explain(task, provider, reporter.causes or impossible.causes, solve)
    return _solution(task, provider, result.mapping, roots)


class _FirstConflict(BaseReporter[Need, Candidate, Key]):
    """Remembers the first conflict of the search: the one about the newest versions, which people ask about."""

    def __init__(self) -> None:
        self.causes: Collection[RequirementInformation[Need, Candidate]] = ()

    def resolving_conflicts(self, causes: Collection[RequirementInformation[Need, Candidate]]) -> None:
        """Called by resolvelib before it backtracks."""
        self.causes = self.causes or causes


def _root_needs(task: Task, provider: Provider) -> dict[str, list[Need]]:
    return {
        origin: [
            need
            for requirement in sorted(requirements, key=str)
            for need in provider.needs_of(requirement, str(requirement), origin)
        ]
        for origin, requirements in task.roots.items()
    }


def _solution(
    task: Task, provider: Provider, mapping: Mapping[Key, Candidate], roots: Mapping[str, list[Need]]
) -> Solution:
    pins = {}
    warnings = dict(provider.warnings)
    for key, candidate in sorted(mapping.items(), key=lambda item: item[0]):
        if candidate.wheel is None or key.detail:
            continue
        extras = {
            other.detail: _keys(provider.get_dependencies(mapping[other]), without=key.name)
            for other in sorted(mapping)
            if other.name == key.name and other.kind is Kind.DISTRIBUTION and other.detail
        }
        version = str(candidate.version)
        pins[key.name] = Pin(
            key.name, version, candidate.wheel, candidate.index, _keys(provider.get_dependencies(candidate)), extras
        )
        if candidate.wheel.yanked is not None:
            reason = f": {candidate.wheel.yanked}" if candidate.wheel.yanked else ""
            warnings[f"{key.name} {version} was yanked{reason}"] = None
    named = {origin: _keys(needs) for origin, needs in sorted(roots.items())}
    return Solution(pins, named, tuple(warnings))


def _keys(needs: list[Need] | tuple[Need, ...], without: str = "") -> tuple[str, ...]:
    """The distributions that needs name, as keys; `name` is left out beside `name[extra]`, which implies it."""
    keys = {need.key for need in needs if need.key.kind is Kind.DISTRIBUTION and need.key.name != without}
    implied = {key.base for key in keys if key.detail}
    return tuple(sorted(str(key) for key in keys if key not in implied))
