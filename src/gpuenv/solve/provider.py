"""Teaches resolvelib what our needs and candidates are; the only file that knows both vocabularies."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from resolvelib import AbstractProvider

from gpuenv.model.answer import Missing
from gpuenv.model.distribution import Catalog, Metadata, WheelFile
from gpuenv.model.filename import version_of
from gpuenv.model.markers import NO_VARIANT, VariantEnvironment
from gpuenv.model.requirement import Requirement, parse_requirement
from gpuenv.model.target import Target
from gpuenv.model.version import distribution_of, parse_version
from gpuenv.solve.defaults import DefaultChoice, Defaults, has_defaults, meant
from gpuenv.solve.device import has_companions, idle_patterns, matters_by_metadata, matters_by_name, remarks
from gpuenv.solve.native import Natives
from gpuenv.solve.nodes import DEFAULTS, Candidate, Key, Kind, Need, NotKnownYet
from gpuenv.solve.offers import Offers, admits, readable
from gpuenv.solve.preference import Order
from gpuenv.solve.replacements import Replacements, short
from gpuenv.solve.task import Task
from gpuenv.solve.variants import VariantJudge

__all__ = ["PYTHON", "Provider"]

PYTHON = Key(Kind.HOST, "python")
_LOOKAHEAD = 50
_SHOWN = 120  # characters of a line that means nothing


class Provider(AbstractProvider[Need, Candidate, Key]):
    """resolvelib's questions answered from a `Task`: pure, lazy, memoised, one instance a solve.

    project_name, target, rules: of the task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.project_name = task.project
        self.target: Target = task.target
        self.rules = task.rules
        self._environment = task.target.marker_environment
        self._offers: dict[str, Offers] = {}
        self._candidates: dict[tuple[Key, str], Candidate] = {}
        self._dependencies: dict[Candidate, tuple[Need, ...]] = {}
        self._constraints: dict[str, list[str]] = defaultdict(list)
        for constraint in task.constraints:
            if constraint.applies(self._environment):
                self._constraints[constraint.name].append(constraint.specifier)
        self._replacements = Replacements(task)
        self._may_default = task.may_default | task.default_extras.keys()
        # distributions that turned out to have default extras, for which their bare requirements have not asked
        self.unasked_defaults: set[str] = set()
        self.defaults = Defaults(task.default_extras, task.target)
        # by distribution, the versions that do not have the extras that a rule asks for, with the reason
        self.without_extras: dict[str, dict[str, str]] = defaultdict(dict)
        self._read: set[str] = set()
        self._fetched: set[str] = set()
        self.variants = VariantJudge(task)
        self.natives = Natives(task, self.offers, self._needs_of_provider, self._matters, self._claims)
        self.order = Order()
        self.root_needs: list[Need] = []

    # what resolvelib asks

    def identify(self, requirement_or_candidate: Need | Candidate) -> Key:
        """The key of a need or candidate."""
        return requirement_or_candidate.key

    def get_preference(self, identifier: Key, *args: Any, **kwargs: Any) -> int:
        """Constant: `narrow_requirement_selection` has already chosen."""
        return 0

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[Key],
        resolutions: Mapping[Key, Candidate],
        candidates: Mapping[Key, Iterator[Candidate]],
        information: Mapping[Key, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> Iterable[Key]:
        """The one node to decide next; `preference.Order` holds the taste."""
        return [self.order.next(identifiers, information, backtrack_causes)]

    def find_matches(
        self,
        identifier: Key,
        requirements: Mapping[Key, Iterator[Need]],
        incompatibilities: Mapping[Key, Iterator[Candidate]],
    ) -> Callable[[], Iterator[Candidate]]:
        """Candidates that meet every need on the node, best first, computed as they are asked for."""
        needs = list(requirements[identifier])
        if identifier.detail and identifier.base in requirements:
            needs += requirements[identifier.base]
        refused = set(incompatibilities[identifier])
        late = identifier.kind in (Kind.SONAME, Kind.MAJOR)
        demanded = tuple(requirements) if late else ()

        def matches() -> Iterator[Candidate]:
            for candidate in self._matches(identifier, needs, demanded):
                if candidate not in refused:
                    yield candidate

        return matches

    def is_satisfied_by(self, requirement: Need, candidate: Candidate) -> bool:
        """Does the candidate meet the need?"""
        if requirement.exact is not None:
            return candidate is requirement.exact
        if requirement.url is not None and candidate.wheel != self.direct(requirement.url):
            return False
        if requirement.specifier and not admits(requirement.specifier, candidate.text):
            return False
        if requirement.any_of and not any(admits(specifier, candidate.text) for specifier in requirement.any_of):
            return False
        return not requirement.carries or (
            candidate.wheel is not None and self.natives.lack(requirement, candidate.wheel) is None
        )

    def get_dependencies(self, candidate: Candidate) -> tuple[Need, ...]:
        """What the candidate alone requires on this target."""
        known = self._dependencies.get(candidate)
        if known is None:
            known = self._dependencies[candidate] = tuple(self._requires(candidate))
            self.order.seen(known)
        return known

    # how it is answered

    def needs_of(
        self,
        requirement: Requirement,
        text: str,
        origin: str = "",
        extra: str = "",
        variant: VariantEnvironment = NO_VARIANT,
        whose: str = "",
    ) -> Iterator[Need]:
        """The needs that one requirement states, after overrides, on this target. whose: the distribution's name."""
        if not requirement.applies(self._environment, extra, variant):
            return
        for stated, words in self._replacements.of(requirement, text, whose):
            instead = requirement.name if stated.name != requirement.name else ""
            details = ["", *stated.extras]
            if not stated.extras and not stated.none and stated.name in self._may_default:
                details.append(DEFAULTS)
            for detail in details:
                key = Key(Kind.DISTRIBUTION, stated.name, detail)
                yield Need(key, stated.specifier, url=stated.url, text=words, origin=origin, instead=instead)

    def _needs_of_provider(self, requirement: Requirement, text: str) -> Iterator[Need]:
        """The needs that whoever brings a library stands for: binaries ask for the library alone, not for extras."""
        return self.needs_of(replace(requirement, none=not requirement.extras), text)

    def offers(self, name: str) -> Offers:
        """The page of a name as the target sees it; leaves the search if the page is not known yet."""
        if name not in self._offers:
            page = self._task.catalog.pages.get(name)
            if page is None:
                raise NotKnownYet(Missing(pages=(name,)))
            target, newer = self._task.target, self._task.exclude_newer
            self._offers[name] = Offers(page, target, newer, self.native_refusal, self.variants)
        return self._offers[name]

    def specifiers(self, name: str, needs: Iterable[Need]) -> list[str]:
        """All version specifiers that bear on a name: the needs' own and the project's constraints."""
        return [need.specifier for need in needs] + self._constraints[name]

    def constraints_on(self, name: str) -> list[str]:
        """The version specifiers of the project's constraints on a name that hold on this target."""
        return [specifier for specifier in self._constraints[name] if specifier]

    def looked_at(self) -> Catalog:
        """The part of the catalog that the search has looked at so far."""
        catalog = self._task.catalog
        return Catalog(
            {name: catalog.pages[name] for name in self._offers},
            {key: catalog.metadata[key] for key in self._read},
            {url: catalog.direct[url] for url in self._fetched},
            {key: catalog.facts[key] for key in self.natives.looked_at},
            catalog.provides if self.natives.asked_who_provides else {},
            {key: catalog.variants[key] for key in self.variants.looked_at},
        )

    def native_refusal(self, wheel: WheelFile) -> str | None:
        """Why a wheel's binaries do not serve the target; leaves the search if that is not known yet."""
        return self.natives.judge(wheel).refusal

    def _matters(self, wheel: WheelFile) -> bool:
        """May the wheel matter to a GPU, by its name or by what it requires?"""
        by_name = matters_by_name(distribution_of(wheel.filename), version_of(wheel.filename), wheel)
        return by_name or matters_by_metadata(self._metadata(wheel))

    def _claims(self, wheel: WheelFile) -> tuple[str, ...]:
        """The architectures that a variant must have code for itself: none where it says that others bring it."""
        claimed = self.variants.claims(wheel)
        return () if claimed and has_companions(self._metadata(wheel), claimed) else claimed

    def seen_dependencies(self) -> Mapping[Candidate, tuple[Need, ...]]:
        """Every candidate whose requirements were asked for, with its needs, in the order of the search."""
        return self._dependencies

    def _matches(self, key: Key, needs: list[Need], demanded: Sequence[Key]) -> Iterator[Candidate]:
        exact = {self._as(key, need.exact) for need in needs if need.exact is not None}
        if exact:
            found: Iterable[Candidate] = exact if len(exact) == 1 else ()
        elif key.kind is Kind.HOST:
            found = self._host(key)
        elif key.kind in (Kind.SONAME, Kind.MAJOR):
            found = self.natives.candidates(key, demanded)
        elif urls := {need.url for need in needs if need.url is not None}:
            found = self._by_url(key, sorted(urls))
        else:
            found = self._by_version(key, needs)
        for candidate in found:
            if all(self.is_satisfied_by(need, candidate) for need in needs if need.key == key):
                if key.detail == DEFAULTS and (reason := self._lacks_extras(candidate, needs)):
                    self.without_extras[key.name][candidate.text] = reason
                    continue
                yield candidate

    def default_choice(self, candidate: Candidate) -> DefaultChoice:
        """The extras that a bare requirement takes of a candidate; leaves the search if they are not known yet."""
        if candidate.wheel is None:
            return DefaultChoice()
        metadata = self._metadata(candidate.wheel, candidate)
        return self.defaults.of(candidate.wheel.key, candidate.key.name, metadata)

    def _lacks_extras(self, candidate: Candidate, needs: Iterable[Need]) -> str | None:
        """Why a candidate does not serve bare requirements, if by its extras, or by a rule that fits no release."""
        choice = self.default_choice(candidate)
        if choice.refusal or not choice.sought:
            return choice.refusal
        name = candidate.key.name
        others = self.offers(name).choices(self.specifiers(name, needs)) if candidate.index is not None else ()
        for release, wheel in others:
            other = self._candidate(candidate.key.base, release.version, wheel, candidate.index)
            if not choice.sought.isdisjoint(self._metadata(wheel, other).extras):
                return None
        return choice.doubt

    def _as(self, key: Key, candidate: Candidate) -> Candidate:
        """The candidate as the node sees it: another extra of the same distribution may be what fixed it."""
        if candidate.key == key:
            return candidate
        return self._candidate(key, candidate.text, candidate.wheel, candidate.index)

    def _host(self, key: Key) -> Iterator[Candidate]:
        if key == PYTHON:
            yield self._candidate(key, self._task.target.python_full, None)

    def _by_url(self, key: Key, urls: list[str]) -> Iterator[Candidate]:
        wheels = {self.direct(url) for url in urls}
        if len(wheels) == 1:
            wheel = wheels.pop()
            version = str(parse_version(version_of(wheel.filename)))
            admitted = all(admits(specifier, version) for specifier in self._constraints[key.name])
            fits = admitted and self._task.target.tag_rank(wheel.tags) is not None
            if fits and not (self.variants.refusal(wheel) or self.native_refusal(wheel)):
                yield self._candidate(key, version, wheel)

    def _by_version(self, key: Key, needs: list[Need]) -> Iterator[Candidate]:
        offers = self.offers(key.name)
        kept, shared = self._task.kept.get(key.name, ()), self._task.shared.get(key.name, ())
        for release, wheel in offers.choices(self.specifiers(key.name, needs), kept, shared):
            yield self._candidate(key, release.version, wheel, offers.page.index)

    def direct(self, url: str) -> WheelFile:
        """The wheel behind a direct URL; leaves the search if it is not known yet."""
        wheel = self._task.catalog.direct.get(url)
        if wheel is None:
            raise NotKnownYet(Missing(direct=(url,)))
        self._fetched.add(url)
        return wheel

    def _candidate(self, key: Key, version: str, wheel: WheelFile | None, index: str | None = None) -> Candidate:
        interned = (key, wheel.url if wheel else version)
        candidate = self._candidates.get(interned)
        if candidate is None:
            base = self._candidate(key.base, version, wheel, index) if key.detail else None
            candidate = Candidate(key, parse_version(version), wheel, index, base=base)
            self._candidates[interned] = candidate
        return candidate

    def _requires(self, candidate: Candidate) -> Iterator[Need]:
        if candidate.wheel is None:
            yield from candidate.needs
            return
        if candidate.key.kind is Kind.LIBRARY:
            yield Need(candidate.key.base, exact=candidate.base)
            yield from self.natives.library_needs(candidate, candidate.wheel)
            return
        metadata = self._metadata(candidate.wheel, candidate)
        extra = candidate.key.detail
        if extra == DEFAULTS:
            yield from self._default_needs(candidate)
            return
        if extra:
            yield Need(candidate.key.base, exact=candidate.base)
        else:
            yield from self._own_needs(candidate, candidate.wheel, metadata)
        yield from self.needs_in(metadata, extra, candidate.wheel)

    def _own_needs(self, candidate: Candidate, wheel: WheelFile, metadata: Metadata) -> Iterator[Need]:
        """What a distribution needs beside the requirements that its metadata lists: for binaries, variant, Python."""
        if has_defaults(metadata) and candidate.key.name not in self._may_default:
            self.unasked_defaults.add(candidate.key.name)
        yield from self.natives.needs(candidate, wheel)
        yield from self.variants.needs(wheel)
        python = metadata.requires_python
        if python and wheel.requires_python is None and readable(python):
            yield Need(PYTHON, python, text=f"Python {python}")

    def _default_needs(self, candidate: Candidate) -> Iterator[Need]:
        """The candidate with its default extras."""
        yield Need(candidate.key.base, exact=candidate.base)
        chosen = {one.extra: one for one in self.default_choice(candidate).extras}
        for extra, one in chosen.items():
            key = Key(Kind.DISTRIBUTION, candidate.key.name, extra)
            yield Need(key, exact=self._as(key, candidate), text=f"{key} (default: {one.why})")

    def needs_in(self, metadata: Metadata, extra: str, wheel: WheelFile) -> Iterator[Need]:
        """What a wheel's metadata requires on this target, without an extra ("") or for one extra alone."""
        variant, whose = self.variants.environment(wheel), distribution_of(wheel.filename)
        for line in metadata.lines(extra):
            yield from self._needs_of_line(line, extra, variant, whose) or ()

    def _needs_of_line(
        self, line: str, extra: str, variant: VariantEnvironment = NO_VARIANT, whose: str = ""
    ) -> list[Need] | None:
        """The needs of a Requires-Dist line; None where it, or its marker, means nothing."""
        try:
            requirement = parse_requirement(line)
            return list(self.needs_of(requirement, short(requirement), extra=extra, variant=variant, whose=whose))
        except ValueError:  # what packaging raises for lines that do not parse and markers that do not compare
            return None

    def warnings_of(self, candidate: Candidate, chosen: Mapping[Key, Candidate]) -> Iterator[str]:
        """What is odd about a candidate that was chosen: an extra that it does not have, lines that mean nothing."""
        if candidate.wheel is None:
            return
        metadata = self._metadata(candidate.wheel, candidate)
        who, extra = f"{candidate.key.name} {candidate.text}", candidate.key.detail
        if extra == DEFAULTS:
            yield from self.default_choice(candidate).warnings
            return
        if extra and extra not in metadata.extras:
            yield f"{who} has no extra `{extra}`{meant(extra, metadata.extras)}"
        if not extra:
            yield from self._variant_warnings(candidate, candidate.wheel)
            yield from self._remarks(candidate, candidate.wheel, chosen)
        for line in metadata.lines(extra):
            if self._needs_of_line(line, extra) is None:
                shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
                yield f"{who} has an unreadable requirement: `{shown}`"

    def _remarks(self, candidate: Candidate, wheel: WheelFile, chosen: Mapping[Key, Candidate]) -> Iterator[str]:
        name, way = candidate.key.name, self.natives.way_of(candidate, chosen)
        facts = self.natives.judge(wheel).facts
        if facts is not None and way is not None:
            yield from (f"{name} {candidate.text}: {remark}" for remark in remarks(facts, way.asked))
            for pattern in idle_patterns(self.rules.of(name), facts):
                yield f"{name} {candidate.text} has no binary {pattern}, which [tool.gpuenv.packages.{name}] is about"

    def _variant_warnings(self, candidate: Candidate, wheel: WheelFile) -> Iterator[str]:
        who, taken = f"{candidate.key.name} {candidate.text}", f"variant {wheel.label}" if wheel.label else "no variant"
        if ignored := self.variants.ignored(wheel):
            yield f"{who}: its variants are not looked at: {ignored}"
        for reason in self.offers(candidate.key.name).unfit(candidate.text) if candidate.index is not None else ():
            yield f"{who} {reason}; {taken} is taken"

    def _metadata(self, wheel: WheelFile, candidate: Candidate | None = None) -> Metadata:
        """A wheel's metadata; where it is not known, a candidate's is asked for with what is likely wanted next."""
        metadata = self._task.catalog.metadata.get(wheel.key)
        if metadata is None:
            raise NotKnownYet(Missing(wheels=(wheel, *(self._lookahead(candidate) if candidate else ()))))
        self._read.add(wheel.key)
        return metadata

    def _lookahead(self, candidate: Candidate) -> Iterator[WheelFile]:
        """Wheels whose metadata is likely wanted next: the more versions of a name were tried, the more."""
        if candidate.index is None:
            return
        offers = self.offers(candidate.key.name)
        known, coming = 0, []
        with contextlib.suppress(NotKnownYet):  # of those before it enough is known
            for release, wheel in offers.choices(self._constraints[candidate.key.name]):
                if wheel.key in self._task.catalog.metadata:
                    known += 1
                elif parse_version(release.version) < candidate.version:
                    coming.append(wheel)
        yield from coming[: min(_LOOKAHEAD, 4 * (known - 1) if known > 1 else 0)]
