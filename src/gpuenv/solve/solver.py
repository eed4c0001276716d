"""`solve(task) -> Solution | Conflict | Missing`: a pure function.

It never fetches and never guesses: what is not in the catalog yet can only yield `Missing`, so that neither the answer
nor its explanation depends on what happened to be cached.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from resolvelib import ResolutionTooDeep

from gpuenv.errors import NoSolution
from gpuenv.model.answer import Conflict, Missing, Pin, Solution
from gpuenv.model.selectors import Chosen
from gpuenv.solve.bind import bind
from gpuenv.solve.conflict import explain
from gpuenv.solve.nodes import DEFAULTS, Key, Kind, Need
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
    defaults, instead = _defaults(found), _instead(found)
    extras: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    warnings: dict[str, None] = {}
    for key, candidate in sorted(found.chosen.items(), key=lambda item: item[0]):
        if candidate.wheel is None or key.kind is not Kind.DISTRIBUTION:
            continue
        warnings.update(dict.fromkeys(found.provider.warnings_of(candidate, found.chosen)))
        requires = found.provider.get_dependencies(candidate)
        if key.detail:
            if key.detail != DEFAULTS:
                extras[key.name][key.detail] = _keys(requires, defaults, without=key.name)
            continue
        version, taken = candidate.text, defaults.get(key.name, ())
        required = _keys(requires, defaults)
        pins[key.name] = Pin(
            key.name,
            version,
            candidate.wheel,
            candidate.index,
            required,
            extras[key.name],
            default_extras=taken,
            instead_of=instead.get(key.name, ()),
            variant=found.provider.variants.chosen(candidate.wheel),
        )
        if candidate.wheel.yanked is not None:
            reason = f": {candidate.wheel.yanked}" if candidate.wheel.yanked else ""
            warnings[f"{key.name} {version} was yanked{reason}"] = None
    bound = bind(found, pins)
    warnings.update(dict.fromkeys(bound.warnings))
    named = {origin: _keys(needs, defaults) for origin, needs in sorted(found.roots.items())}
    return Solution(bound.pins, named, tuple(warnings), bound.libraries, bound.host, passed_over(found))


def _defaults(found: Found) -> dict[str, tuple[Chosen, ...]]:
    """The extras that bare requirements take, by distribution; those that take none are left out."""
    chosen = {
        key.name: found.provider.default_choice(candidate).extras
        for key, candidate in found.chosen.items()
        if key.detail == DEFAULTS and key.kind is Kind.DISTRIBUTION
    }
    return {name: extras for name, extras in chosen.items() if extras}


def _instead(found: Found) -> dict[str, tuple[str, ...]]:
    """The names that were required and for which a distribution stands, by that distribution."""
    names: dict[str, set[str]] = defaultdict(set)
    stated = [found.provider.get_dependencies(candidate) for candidate in found.chosen.values()]
    for needs in (*found.roots.values(), *stated):
        for need in needs:
            if need.instead:
                names[need.key.name].add(need.instead)
    return {name: tuple(sorted(required)) for name, required in names.items()}


def _keys(needs: Iterable[Need], defaults: Mapping[str, Iterable[Chosen]], without: str = "") -> tuple[str, ...]:
    """The distributions that needs name, as keys; `name` is left out beside `name[extra]`, which implies it.

    defaults: the extras that a bare requirement on a name takes.
    """
    keys = {need.key for need in needs if need.key.kind is Kind.DISTRIBUTION and need.key.name != without}
    for bare in [key for key in keys if key.detail == DEFAULTS]:
        keys.remove(bare)
        keys |= {Key(Kind.DISTRIBUTION, bare.name, one.extra) for one in defaults.get(bare.name, ())}
    implied = {key.base for key in keys if key.detail}
    return tuple(sorted(str(key) for key in keys if key not in implied))
