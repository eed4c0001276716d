"""From resolvelib's causes to the smallest Conflict worth telling.

First the root requirements are reduced to the fewest that still conflict (some are left out; what still fails without
them is not about them). Then every demand of the search's first conflict is followed upward, by the shortest way,
to the project; first, because it is about the newest versions, which is what people ask about.
"""

import contextlib
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import replace

from resolvelib import ResolutionTooDeep

from gpuenv.model.answer import Conflict, Demand, Refusal
from gpuenv.model.filename import version_of
from gpuenv.model.host_libraries import vendor_of
from gpuenv.model.requirement import Requirement
from gpuenv.model.version import Version, parse_version
from gpuenv.solve.nodes import DEFAULTS, Candidate, Key, Kind, Need, NotKnownYet
from gpuenv.solve.offers import Offers, admits, describe, named_versions
from gpuenv.solve.provider import Provider
from gpuenv.solve.search import Cause, Dead, search
from gpuenv.solve.task import Task

__all__ = ["explain"]

# How much longer than the search that failed its explanation may take, in rounds.
_PATIENCE = 10
_LEAST_ROUNDS = 2_000
_VERBS = {Kind.SONAME: "needs", Kind.RUNTIME: "needs"}


def explain(dead: Dead) -> Conflict:
    """The conflict of the fewest roots."""
    dead = _smallest(dead)
    task, provider = dead.task, dead.provider
    demands = _demands(dead.causes)
    subject = demands[0].requirement.key.base
    upward = _Upward(task, provider)
    chains = dict.fromkeys(upward.chain(cause.requirement, cause.parent) for cause in demands)
    conflict = Conflict(
        target=task.target.name,
        subject=str(subject),
        chains=tuple(chains),
        known=True,
        newest="",
        refusals=(),
        provides=task.target.python_full if subject.kind is Kind.HOST else "",
        roots=tuple(str(requirement) for _, requirement in _roots(task)),
        vendor=vendor_of(task.target) or "",
    )
    if subject.kind is Kind.SONAME:
        return replace(conflict, subject=subject.name, known=False, soname=True)
    if subject.kind is not Kind.DISTRIBUTION:
        return conflict
    needs = [cause.requirement for cause in demands]
    if urls := sorted({need.url for need in needs if need.url}):
        return _with_urls(conflict, provider, needs, urls)
    return _with_versions(conflict, provider, subject.name, needs)


def _smallest(dead: Dead) -> Dead:
    """The same conflict with roots left out, in ever smaller parts, as long as there is none without them.

    Only what the failed search looked at counts: a root whose part cannot be shown from that stays. So the smallest
    conflict is the same however much else the catalog holds, and explaining never needs a fetch.
    """
    task = replace(dead.task, catalog=dead.provider.looked_at())
    patience = _PATIENCE * dead.rounds + _LEAST_ROUNDS
    roots = _roots(task)
    dead = _still_dead(task, roots, patience) or dead
    step = len(roots)
    while step:
        for start in range(0, len(roots), step)[::-1]:
            rest = roots[:start] + roots[start + step :]
            smaller = _still_dead(task, rest, patience)
            patience -= smaller.rounds if smaller else dead.rounds + 1
            if patience <= 0:
                return dead
            if smaller:
                dead, roots = smaller, rest
        step //= 2
    return dead


def _roots(task: Task) -> list[tuple[str, Requirement]]:
    """Every root requirement with its origin, in an order that no shuffling changes."""
    return sorted(
        {(origin, requirement) for origin, requirements in task.roots.items() for requirement in requirements}, key=str
    )


def _still_dead(task: Task, roots: list[tuple[str, Requirement]], rounds: int) -> Dead | None:
    fewer: dict[str, tuple[Requirement, ...]] = {}
    for origin, requirement in roots:
        fewer[origin] = (*fewer.get(origin, ()), requirement)
    try:
        outcome = search(replace(task, roots=fewer), rounds)
    except ResolutionTooDeep:
        return None
    return outcome if isinstance(outcome, Dead) else None


def _demands(causes: Collection[Cause]) -> list[Cause]:
    """The demands on one node that cannot be met together.

    The node is the one that the newest version tried (whose causes come first) fails for; of each parent only the
    newest version's demands count, for its versions are alternatives. That `name[extra]` wants the very `name` it
    extends is left out where something else is to be told: who asks for the extra asks for the name.
    """
    subject = next(iter(causes)).requirement.key.base
    demands = [cause for cause in causes if cause.requirement.key.base == subject]
    newest: dict[Key, Version] = {}
    for cause in demands:
        if cause.parent is not None:
            key = cause.parent.key
            newest[key] = max(newest.get(key, cause.parent.version), cause.parent.version)
    demands = [cause for cause in demands if cause.parent is None or cause.parent.version == newest[cause.parent.key]]
    return [cause for cause in demands if cause.requirement.exact is None] or demands


def _with_urls(conflict: Conflict, provider: Provider, needs: Sequence[Need], urls: Sequence[str]) -> Conflict:
    """What the URLs hold: wheels for other targets, two different wheels, or a version that is not admitted."""
    refusals = []
    for url in urls:
        wheel = provider.direct(url)
        version = version_of(wheel.filename)
        if provider.target.tag_rank(wheel.tags) is None:
            refusals.append(Refusal(version, f"is not for {describe(provider.target)} (only {wheel.tags})"))
        elif reason := (
            provider.variants.refusal(wheel)
            or provider.native_refusal(wheel)
            or provider.without_extras[needs[0].key.name].get(str(parse_version(version)))
        ):
            refusals.append(Refusal(version, reason))
        elif len(urls) == 1:
            refusals.append(Refusal(version, f"is what {url} holds"))
    limits = _limits(provider, needs[0].key.name, [refusal.version for refusal in refusals])
    return replace(conflict, refusals=tuple(refusals), chains=conflict.chains + limits)


def _with_versions(conflict: Conflict, provider: Provider, name: str, needs: Sequence[Need]) -> Conflict:
    """What the index has of the subject, and how far it is from what is demanded."""
    offers = provider.offers(name)
    offers.settle()
    releases = offers.page.releases
    stated = [need.specifier for need in needs if need.specifier]
    admitted = [r.version for r in releases if all(admits(specifier, r.version) for specifier in stated)]
    limits = _limits(provider, name, admitted)
    specifiers = provider.specifiers(name, needs)
    lacking = _lacking(provider, offers, specifiers, needs)
    served = (release.version for release, _ in offers.choices(specifiers) if release.version not in lacking)
    return replace(
        conflict,
        chains=conflict.chains + limits,
        known=bool(releases),
        newest=releases[0].version if releases else "",
        refusals=(*offers.refusals(specifiers), *lacking.values()),
        satisfying=next(served, ""),
        nearest=_nearest(offers, [*dict.fromkeys(stated + provider.constraints_on(name) if limits else stated)]),
    )


def _lacking(
    provider: Provider, offers: Offers, specifiers: Sequence[str], needs: Sequence[Need]
) -> dict[str, Refusal]:
    """The versions that would do, but for a library that they do not have, or for the default extras."""
    wanted, without = [need for need in needs if need.carries], provider.without_extras[offers.page.name]
    found = {}
    for release, wheel in offers.choices(specifiers) if wanted or without else ():
        if release.version in without:
            found[release.version] = Refusal(release.version, without[release.version])
        for need in wanted:
            with contextlib.suppress(NotKnownYet):  # the search did not come to it
                if lack := provider.natives.lack(need, wheel):
                    found[release.version] = Refusal(release.version, lack)
    return found


def _limits(provider: Provider, name: str, versions: Sequence[str]) -> tuple[tuple[Demand, ...], ...]:
    """The project's constraints that exclude one of the versions."""
    return tuple(
        (Demand("tool.gpuenv.constraints", "", f"{name}{specifier}"),)
        for specifier in provider.constraints_on(name)
        if not all(admits(specifier, version) for version in versions)
    )


def _nearest(offers: Offers, specifiers: Sequence[str]) -> tuple[str, ...]:
    """For one specifier the versions right below and above what it names; for several the best of each."""
    if len(specifiers) != 1:
        best = (next(offers.choices([specifier]), None) for specifier in specifiers)
        return tuple(sorted({choice[0].version for choice in best if choice}, key=parse_version, reverse=True))
    found: dict[str, None] = {}
    served = [release.version for release, _ in offers.choices(())]
    for bound in named_versions(specifiers[0]):
        below = [version for version in served if parse_version(version) < bound]
        above = [version for version in served if parse_version(version) > bound]
        found.update(dict.fromkeys([*below[:1], *above[-1:]]))
    return tuple(sorted(found, key=parse_version))


def _demand(parent: Candidate, need: Need, tried: int = 1) -> Demand:
    """One link of a chain, from a candidate to what it needs."""
    if parent.key.kind is Kind.SONAME:
        return Demand(parent.label, "", need.text, tried, "is provided by")
    if parent.key.detail == DEFAULTS:
        return Demand(parent.key.name, parent.text, need.text, tried, "takes")
    key = parent.key.base if parent.key.kind is Kind.LIBRARY else parent.key
    who, version = (parent.label, "") if key.kind is Kind.MAJOR else (str(key), parent.text)
    return Demand(who, version, need.text, tried, _VERBS.get(need.key.kind, "requires"))


class _Upward:
    """Who asked for a node: the edges that the search has seen, followed from a demand up to the project."""

    def __init__(self, task: Task, provider: Provider) -> None:
        self._project = task.project
        self._provider = provider
        self._askers: dict[Key, list[tuple[Candidate, Need]]] = defaultdict(list)
        for candidate, needs in provider.seen_dependencies().items():
            for need in needs:
                if need.exact is None or (candidate.key.detail == DEFAULTS and need.key.detail):
                    self._askers[need.key].append((candidate, need))
        self._roots = provider.root_needs

    def chain(self, need: Need, parent: Candidate | None) -> tuple[Demand, ...]:
        """Demands from the project down to `need`."""
        if parent is None:
            return (self._stated(need),)
        above = self._above(parent)
        tried = {
            asker.version
            for asker, other in self._askers[need.key]
            if asker.key == parent.key and other.text == need.text
        }
        return (*above, _demand(parent, need, max(1, len(tried))))

    def _stated(self, need: Need) -> Demand:
        who = self._project if need.origin in ("", "project") else f"{self._project} ({need.origin.replace(':', ' ')})"
        return Demand(who, "", need.text, verb=_VERBS.get(need.key.kind, "requires"))

    def _above(self, parent: Candidate) -> tuple[Demand, ...]:
        """The shortest way from the project to a candidate, breadth first upward."""
        todo: deque[tuple[Candidate, tuple[Demand, ...]]] = deque([(parent, ())])
        seen = {parent.key}
        while todo:
            child, below = todo.popleft()
            keys = {child.key, Key(Kind.DISTRIBUTION, child.key.name)} if not child.key.detail else {child.key}
            for root in self._roots:
                if root.key in keys and self._provider.is_satisfied_by(root, child):
                    return (self._stated(root), *below)
            for key in sorted(keys):
                for asker, need in self._askers[key]:
                    if asker.key not in seen and self._provider.is_satisfied_by(need, child):
                        seen.add(asker.key)
                        # which major is used is told by whoever is used with it
                        demand = () if need.key.kind is Kind.MAJOR else (_demand(asker, need),)
                        todo.append((asker, (*demand, *below)))
        return ()
