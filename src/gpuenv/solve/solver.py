"""`solve(task) -> Solution | Conflict | Missing`: a pure function.

It never fetches and never guesses: what is not in the catalog yet can only yield `Missing`, so that neither the answer
nor its explanation depends on what happened to be cached.
"""

from collections import defaultdict
from collections.abc import Iterable

from resolvelib import ResolutionTooDeep

from gpuenv.errors import NoSolution
from gpuenv.model.answer import Conflict, Missing, Pin, Solution
from gpuenv.solve.bind import bind
from gpuenv.solve.conflict import explain
from gpuenv.solve.nodes import Kind, Need
from gpuenv.solve.passed import passed_over
from gpuenv.solve.search import Dead, Found, search
from gpuenv.solve.task import Task

__all__ = ["solve"]


def solve(task: Task) -> Solution | Conflict | Missing:
    """Find one candidate for every node that the task's roots reach, or say why there is none.

    Raises NoSolution where the search takes so long that neither can be said.
    """
    try:
        outcome = search(task)
    except ResolutionTooDeep as deep:
        raise NoSolution(
            f"gave up on target {task.target.name} after {deep.round_count} rounds of search",
            hints=["narrow the versions of what changes most often with `constraints` in [tool.gpuenv]"],
        ) from None
    if isinstance(outcome, Missing):
        return outcome
    return explain(outcome) if isinstance(outcome, Dead) else _solution(outcome)


def _solution(found: Found) -> Solution:
    pins = {}
    extras: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    warnings: dict[str, None] = {}
    for key, candidate in sorted(found.chosen.items(), key=lambda item: item[0]):
        if candidate.wheel is None or key.kind is not Kind.DISTRIBUTION:
            continue
        warnings.update(dict.fromkeys(found.provider.warnings_of(candidate, found.chosen)))
        requires = found.provider.get_dependencies(candidate)
        if key.detail:
            extras[key.name][key.detail] = _keys(requires, without=key.name)
            continue
        version = candidate.text
        pins[key.name] = Pin(key.name, version, candidate.wheel, candidate.index, _keys(requires), extras[key.name])
        if candidate.wheel.yanked is not None:
            reason = f": {candidate.wheel.yanked}" if candidate.wheel.yanked else ""
            warnings[f"{key.name} {version} was yanked{reason}"] = None
    bound = bind(found, pins)
    warnings.update(dict.fromkeys(bound.warnings))
    named = {origin: _keys(needs) for origin, needs in sorted(found.roots.items())}
    return Solution(bound.pins, named, tuple(warnings), bound.libraries, bound.host, passed_over(found))


def _keys(needs: Iterable[Need], without: str = "") -> tuple[str, ...]:
    """The distributions that needs name, as keys; `name` is left out beside `name[extra]`, which implies it."""
    keys = {need.key for need in needs if need.key.kind is Kind.DISTRIBUTION and need.key.name != without}
    implied = {key.base for key in keys if key.detail}
    return tuple(sorted(str(key) for key in keys if key not in implied))
