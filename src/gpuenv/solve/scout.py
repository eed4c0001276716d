"""Runs ahead of a solve: from what is known, which pages and metadata will be asked for next?

A Scout guesses that each name is solved by its first choice under the specifiers seen so far. It only ever names
things to gather; no answer depends on it.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gpuenv.model.answer import Missing
from gpuenv.model.distribution import WheelFile
from gpuenv.model.rules import Scan
from gpuenv.model.version import distribution_of, normal_name
from gpuenv.solve.nodes import Kind, Need, NotKnownYet
from gpuenv.solve.provider import Provider
from gpuenv.solve.task import Task

__all__ = ["Scout"]


@dataclass
class _Seen:
    """What was seen of one name: the specifiers on it, the extras asked for, the likely wheel."""

    specifiers: dict[str, None] = field(default_factory=dict)
    extras: dict[str, None] = field(default_factory=dict)
    likely: WheelFile | None = None


@dataclass
class _Wanted:
    """What to gather next."""

    pages: dict[str, None] = field(default_factory=dict)
    wheels: dict[str, WheelFile] = field(default_factory=dict)
    direct: dict[str, None] = field(default_factory=dict)
    facts: dict[str, WheelFile] = field(default_factory=dict)
    provides: dict[str, None] = field(default_factory=dict)
    variants: dict[str, WheelFile] = field(default_factory=dict)

    def add(self, missing: Missing) -> None:
        """Everything but pages, of which not all are wanted."""
        self.wheels.update({wheel.key: wheel for wheel in missing.wheels})
        self.facts.update({wheel.key: wheel for wheel in missing.facts})
        self.provides.update(dict.fromkeys(missing.provides))
        self.variants.update({file.key: file for file in missing.variants})

    def missing(self) -> Missing:
        """The same as what a solve lacks."""
        return Missing(
            tuple(self.pages),
            tuple(self.wheels.values()),
            tuple(self.direct),
            tuple(self.facts.values()),
            tuple(self.provides),
            tuple(self.variants.values()),
        )


class Scout:
    """One target's guesses; every method returns what to gather next."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._provider = Provider(task)
        self._seen: dict[str, _Seen] = {}
        self._followed: set[tuple[str, str]] = set()
        self._waiting: dict[str, set[str]] = defaultdict(set)
        self._todo: deque[Need] = deque()

    def roots(self) -> Missing:
        """What the roots ask for."""
        for origin, requirements in self._task.roots.items():
            for requirement in requirements:
                self._todo.extend(self._provider.needs_of(requirement, "", origin))
        return self._go()

    def page_came(self, name: str) -> Missing:
        """The page of a name is in the catalog."""
        return self._go([name, *sorted(self._waiting.pop(name, ()))])

    def provides_came(self) -> Missing:
        """What the indexes say of who provides what is in the catalog."""
        return self._go(sorted(self._waiting.pop("", ())))

    def variants_came(self, file: WheelFile) -> Missing:
        """What labels stand for is in the catalog. file: of a release, or a wheel that says it of itself."""
        return self._go([distribution_of(file.filename)])

    def metadata_came(self, wheel: WheelFile) -> Missing:
        """The metadata of a wheel is in the catalog."""
        name = distribution_of(wheel.filename)
        self._seen.setdefault(name, _Seen()).likely = wheel
        return self._go([name])

    def facts_came(self, wheel: WheelFile) -> Missing:
        """The native facts of a wheel are in the catalog."""
        return self._go([distribution_of(wheel.filename)])

    @property
    def reads_ahead(self) -> bool:
        """May wheels be read for a guess? Where every native wheel is read, most guesses will be needed."""
        return self._task.rules.scan is Scan.ALL

    def index_of(self, name: str) -> str | None:
        """The index that a name's page came from, None if it has none."""
        page = self._task.catalog.pages.get(normal_name(name))
        return page.index if page else None

    def _go(self, names: Iterable[str] = ()) -> Missing:
        wanted = _Wanted()
        changed = deque(names)
        while changed or self._todo:
            while self._todo:
                self._note(self._todo.popleft(), changed, wanted.direct)
            if changed:
                self._advance(changed.popleft(), wanted)
        return wanted.missing()

    def _note(self, need: Need, changed: deque[str], direct: dict[str, None]) -> None:
        """Remember a need; a name whose picture changed is looked at again."""
        if need.key.kind is not Kind.DISTRIBUTION:
            return
        if need.url is not None:
            direct[need.url] = None
            return
        seen = self._seen.setdefault(need.key.name, _Seen())
        before = len(seen.specifiers) + len(seen.extras)
        seen.specifiers[need.specifier] = None
        seen.extras[need.key.detail] = None
        if len(seen.specifiers) + len(seen.extras) != before:
            changed.append(need.key.name)

    def _advance(self, name: str, wanted: _Wanted) -> None:
        seen = self._seen.setdefault(name, _Seen())
        try:
            offers = self._provider.offers(name)
            kept = self._task.kept.get(name, ())
            specifiers = self._provider.specifiers(name, ()) + list(seen.specifiers)
            choice = next(offers.choices(specifiers, kept), None)
            if choice is not None:
                seen.likely = choice[1]
        except NotKnownYet as unknown:
            wanted.add(unknown.missing)
            # what came from a URL needs no page of its own, but those of who may bring its sonames
            needed = [page for page in unknown.missing.pages if page != name or seen.likely is None]
            wanted.pages.update(dict.fromkeys(needed))
            for page in (*needed, *([""] if unknown.missing.provides else [])):
                self._waiting[page].add(name)
        if seen.likely is None:
            return
        metadata = self._task.catalog.metadata.get(seen.likely.key)
        if metadata is None:
            wanted.wheels[seen.likely.key] = seen.likely
            return
        for extra in [*seen.extras, *self._provider.defaults.likely(name, seen.likely, metadata)]:
            if (seen.likely.key, extra) not in self._followed:
                try:
                    self._todo.extend(tuple(self._provider.needs_in(metadata, extra, seen.likely)))
                except NotKnownYet as unknown:
                    wanted.add(unknown.missing)
                    return
                self._followed.add((seen.likely.key, extra))
