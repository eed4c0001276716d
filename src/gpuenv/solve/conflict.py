"""From resolvelib's causes to the smallest Conflict worth telling.

First the root requirements are reduced to the fewest that still conflict (each is left out in turn; what still fails
without it is not about it). Then every demand of the search's first conflict is followed upward, by the shortest way,
to the project; first, because it is about the newest versions, which is what people ask about.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from gpuenv.model.answer import Conflict, Demand, Missing, Refusal, Solution
from gpuenv.model.requirement import Requirement
from gpuenv.solve.nodes import Candidate, Key, Kind, Need
from gpuenv.solve.offers import Offers, describe
from gpuenv.solve.provider import NotKnownYet, Provider
from gpuenv.solve.task import Task

__all__ = ["explain"]

_MOST_ROOTS = 40
_MOST_REFUSALS = 20


def explain(
    task: Task,
    provider: Provider,
    causes: Collection[Any],
    solve: Callable[[Task], Solution | Conflict | Missing],
) -> Conflict:
    """The conflict of the fewest roots; `solve` is asked again for every root that is left out."""
    if smaller := _smaller(task, solve):
        return smaller
    subject = _subject(causes)
    demands = [cause for cause in causes if cause.requirement.key.base == subject]
    upward = _Upward(task, provider)
    chains = tuple(dict.fromkeys(upward.chain(cause.requirement, cause.parent) for cause in demands))
    needs = [cause.requirement for cause in demands]
    known, newest, refusals = _supply(provider, subject, needs)
    roots = tuple(str(requirement) for requirements in task.roots.values() for requirement in requirements)
    provides = task.target.python_full if subject.kind is Kind.HOST else ""
    limits = [Demand("tool.gpuenv.constraints", "", f"{c.name}{c.specifier}") for c in _constraints(task, subject)]
    chains += tuple((limit,) for limit in limits)
    return Conflict(task.target.name, str(subject), chains, known, newest, refusals, provides, roots)


def _smaller(task: Task, solve: Callable[[Task], Solution | Conflict | Missing]) -> Conflict | None:
    """The conflict that remains with one root requirement less, if there is one (and so on, recursively)."""
    if sum(len(requirements) for requirements in task.roots.values()) > _MOST_ROOTS:
        return None
    for origin, requirements in task.roots.items():
        for left_out in requirements:
            rest = tuple(r for r in requirements if r is not left_out)
            answer = solve(replace(task, roots={**task.roots, origin: rest}))
            if isinstance(answer, Conflict):
                return answer
    return None


def _subject(causes: Collection[Any]) -> Key:
    """The node that the demands disagree about: the one most causes name (the first, if several)."""
    votes: dict[Key, int] = defaultdict(int)
    for cause in causes:
        votes[cause.requirement.key.base] += 1
    return max(votes, key=lambda key: votes[key])


def _constraints(task: Task, subject: Key) -> Iterable[Requirement]:
    return (c for c in task.constraints if c.name == subject.name and subject.kind is Kind.DISTRIBUTION)


def _supply(provider: Provider, subject: Key, needs: list[Need]) -> tuple[bool, str, tuple[Refusal, ...]]:
    """Does any index know the subject, its newest version, and what of it the target refuses."""
    if subject.kind is not Kind.DISTRIBUTION:
        return True, "", ()
    if urls := [need.url for need in needs if need.url]:
        return True, "", _refused_urls(provider, urls)
    try:
        offers: Offers = provider.offers(subject.name)
    except NotKnownYet:
        return True, "", ()
    releases = offers.page.releases
    refusals = offers.refusals(provider.specifiers(subject.name, needs))
    return bool(releases), releases[0].version if releases else "", refusals[:_MOST_REFUSALS]


def _refused_urls(provider: Provider, urls: list[str]) -> tuple[Refusal, ...]:
    wheels = [provider.direct(url) for url in urls]
    target = provider.target
    return tuple(
        Refusal(wheel.filename.split("-")[1], f"is not for {describe(target)} (only {wheel.tags})")
        for wheel in wheels
        if target.tag_rank(wheel.tags) is None
    )


class _Upward:
    """Who asked for a node: the edges that the search has seen, followed from a demand up to the project."""

    def __init__(self, task: Task, provider: Provider) -> None:
        self._project = task.project
        self._askers: dict[Key, list[tuple[Candidate, Need]]] = defaultdict(list)
        for candidate, needs in provider.seen_dependencies().items():
            for need in needs:
                if need.exact is None:
                    self._askers[need.key].append((candidate, need))
        self._roots = provider.root_needs

    def chain(self, need: Need, parent: Candidate | None) -> tuple[Demand, ...]:
        """Demands from the project down to `need`."""
        if parent is None:
            return (self._stated(need),)
        above = self._above(parent)
        tried = {asker.version for asker, _ in self._askers[need.key] if asker.key == parent.key}
        return (*above, Demand(str(parent.key), str(parent.version), need.text, max(1, len(tried))))

    def _stated(self, need: Need) -> Demand:
        who = self._project if need.origin in ("", "project") else f"{self._project} ({need.origin.replace(':', ' ')})"
        return Demand(who, "", need.text)

    def _above(self, parent: Candidate) -> tuple[Demand, ...]:
        """The shortest way from the project to a candidate, breadth first upward."""
        todo: deque[tuple[Candidate, tuple[Demand, ...]]] = deque([(parent, ())])
        seen = {parent.key}
        while todo:
            child, below = todo.popleft()
            keys = {child.key, Key(Kind.DISTRIBUTION, child.key.name)} if not child.key.detail else {child.key}
            for root in self._roots:
                if root.key in keys:
                    return (self._stated(root), *below)
            for key in sorted(keys):
                for asker, need in self._askers[key]:
                    if asker.key not in seen:
                        seen.add(asker.key)
                        demand = Demand(str(asker.key), str(asker.version), need.text)
                        todo.append((asker, (demand, *below)))
        return ()
