"""Gathers what a solve will ask for: pages and metadata, outward from what is asked, in parallel, for all targets.

The solver is pure and stops at what it does not know. To keep such rounds few, a scout runs ahead for every target:
the page of each name that is seen, then the metadata of its likely candidate, then the names that this requires.
What a scout fetches in vain costs time and changes nothing. A failure of such a guess counts only once a solve
really needs what failed.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field

from gpuenv.errors import GpuenvError, TooLarge
from gpuenv.index import IndexClient
from gpuenv.model.answer import Missing
from gpuenv.model.demand import Learnt
from gpuenv.model.distribution import Catalog, Metadata, Page, WheelFile
from gpuenv.model.facts import NativeFacts
from gpuenv.model.manifest import Index
from gpuenv.model.progress import Progress
from gpuenv.model.providers import NO_PROVIDERS, ProviderTable
from gpuenv.model.variants import BadVariants, Variants, parse_variants
from gpuenv.model.version import distribution_of
from gpuenv.solve import Scout, Task
from gpuenv.workflow.facts import WheelFacts
from gpuenv.workflow.route import Routes

__all__ = ["GATHERING", "Gatherer", "first_page"]

GATHERING = "index pages and metadata"


@dataclass
class _Known:
    """What was gathered so far. Pages by the route that led to them, so that targets with one route share them."""

    pages: dict[tuple[tuple[str, ...], str], Page] = field(default_factory=dict)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    direct: dict[str, WheelFile] = field(default_factory=dict)
    facts: dict[str, NativeFacts] = field(default_factory=dict)
    provides: dict[str, ProviderTable] = field(default_factory=dict)
    variants: dict[str, Variants | str] = field(default_factory=dict)
    failed: dict[str, GpuenvError] = field(default_factory=dict)


class Gatherer:
    """Fills catalogs through an index client; one for all targets of a lock."""

    def __init__(self, client: IndexClient, routes: Routes, facts: WheelFacts, progress: Progress) -> None:
        self._client = client
        self._routes = routes
        self._facts = facts
        self.progress = progress
        self._known = _Known()
        self._pages: dict[str, dict[str, Page]] = {}

    def catalog(self, target: str) -> Catalog:
        """What is known for a target; the same mappings grow as more is gathered."""
        known = self._known
        pages = self._pages.setdefault(target, {})
        return Catalog(pages, known.metadata, known.direct, known.facts, known.provides, known.variants)

    async def ahead(self, tasks: Iterable[Task]) -> None:
        """Gather outward from the roots of every task."""
        wave = _Wave(self, tasks)
        for name in wave.targets:
            wave.follow_roots(name)
        await wave.finish()

    async def fill(self, task: Task, missing: Missing) -> None:
        """Gather what a solve lacked, and outward from there; raises what kept the first of it from being had."""
        self._known.failed.clear()  # what failed before is asked for again, and may come this time
        wave = _Wave(self, [task])
        for name in missing.pages:
            wave.want_page(task.target.name, name)
        for place, wheel in enumerate(missing.wheels):
            wave.want_metadata(task.target.name, wheel, follow=place == 0)
        for url in missing.direct:
            wave.want_direct(url)
        for wheel in missing.facts:
            wave.want_facts(task.target.name, wheel, read=True)
        for index in missing.provides:
            wave.want_provides(task.target.name, index)
        for file in missing.variants:
            wave.want_variants(task.target.name, file)
        await wave.finish()
        wanted = [
            *missing.pages,
            *missing.direct,
            *missing.provides,
            *(wheel.key for wheel in (*missing.wheels[:1], *missing.facts, *missing.variants)),
        ]
        for key in wanted:
            if key in self._known.failed:
                raise self._known.failed[key]

    # one thing each

    async def page(self, target: str, name: str) -> Page:
        """The page of the first index that knows the name; a page without releases if none does."""
        route = self._routes.of(name, target)
        key = (tuple(index.name for index in route), name)
        if key not in self._known.pages:
            self._known.pages[key] = await first_page(self._client, route, name)
        page = self._pages.setdefault(target, {})[name] = self._known.pages[key]
        return page

    async def metadata(self, wheel: WheelFile, index: str | None) -> Metadata:
        """The metadata of a wheel."""
        found = await self._client.metadata(wheel, self._routes.by_name.get(index or ""))
        self._known.metadata[wheel.key] = found
        return found

    async def facts(self, wheel: WheelFile, index: str | None, *, read: bool) -> bool:
        """The native facts of a wheel, if they are known, stated or may be read; are they in the catalog now?"""
        if wheel.key not in self._known.facts:
            found, route = self._facts.known(wheel), self._routes.by_name.get(index or "")
            if found is None:
                found = await self._facts.said(wheel, route, self._client)
            if found is None and read:
                found = await asyncio.to_thread(self._facts.read, wheel, route)
            if found is None:
                return False
            self._known.facts[wheel.key] = found
        return True

    def learnt(self, wheel: WheelFile) -> Learnt:
        """How the facts of a wheel were learnt."""
        return self._facts.learnt(wheel)

    async def provides(self, index: str) -> None:
        """What an index says of who provides which soname; most say nothing."""
        if index not in self._known.provides:
            found = await self._client.provides(self._routes.by_name[index])
            self._known.provides[index] = found or NO_PROVIDERS

    async def variants(self, file: WheelFile, index: str | None) -> None:
        """What labels stand for, or why that cannot be used: a wrong file costs a release its variants, no more."""
        if file.key not in self._known.variants:
            try:
                data = await self._client.variants(file, self._routes.by_name.get(index or ""))
                self._known.variants[file.key] = _read_variants(file, data)
            except TooLarge as error:
                self._known.variants[file.key] = f"{file.filename} cannot be used: {error.message}"

    async def direct(self, url: str) -> WheelFile:
        """The wheel behind a URL."""
        wheel = self._known.direct[url] = await self._client.direct(url)
        return wheel

    def failed(self, key: str, error: GpuenvError) -> None:
        """Remember a failure until a solve needs what failed."""
        self._known.failed[key] = error


async def first_page(client: IndexClient, route: Iterable[Index], name: str) -> Page:
    """The page of the first index that knows a name; a page without releases if none does."""
    found: Page | None = None
    for index in route:
        found = await client.page(name, index)
        if found is not None and found.releases:
            break
    return found or Page(name, "", ())


def _read_variants(file: WheelFile, data: bytes | None) -> Variants | str:
    name = f"the variant.json of {file.filename}" if file.label else file.filename
    if data is None:
        return f"{name} is not there"
    try:
        return parse_variants(data, file.label or None)
    except BadVariants as error:
        return f"{name} cannot be used: {error}"


class _Wave:
    """One run outward: a set of fetches that start further fetches, until nothing new is seen."""

    def __init__(self, gatherer: Gatherer, tasks: Iterable[Task]) -> None:
        self._gatherer = gatherer
        self._scouts = {task.target.name: Scout(task) for task in tasks}
        self._running: deque[asyncio.Task[None]] = deque()
        self._wanted: set[tuple[str, str]] = set()

    @property
    def targets(self) -> Iterable[str]:
        """The names of the wave's targets."""
        return self._scouts

    def follow_roots(self, target: str) -> None:
        """Begin with what the project asks for."""
        self._turn(target, self._scouts[target].roots())

    def want_page(self, target: str, name: str) -> None:
        """Fetch a page, then go on from its likely candidate."""
        if self._new(target, name):
            self._start(name, self._page(target, name))

    def want_metadata(self, target: str, wheel: WheelFile, *, follow: bool = True) -> None:
        """Fetch metadata, then (if asked to) go on with what it requires."""
        if self._new(target if follow else "", wheel.key):
            self._start(wheel.key, self._metadata(target, wheel, follow))

    def want_facts(self, target: str, wheel: WheelFile, *, read: bool = False) -> None:
        """Get native facts, then go on. read: also by reading the wheel, which costs too much for a guess."""
        if self._new(f"{target} {read}", f"facts {wheel.key}"):
            self._start(wheel.key, self._wheel_facts(target, wheel, read))

    def want_provides(self, target: str, index: str) -> None:
        """Ask an index who provides what, then go on."""
        if self._new(target, f"provides {index}"):
            self._start(index, self._provides(target, index))

    def want_variants(self, target: str, file: WheelFile) -> None:
        """Find out what labels stand for, then go on."""
        if self._new(target, f"variants {file.key}"):
            self._start(file.key, self._variants(target, file))

    def want_direct(self, url: str) -> None:
        """Fetch the wheel behind a URL."""
        if self._new("", url):
            self._start(url, self._direct(url))

    async def finish(self) -> None:
        """Until nothing runs any more; on a failure that is not a GpuenvError everything else is stopped."""
        try:
            while self._running:
                await self._running.popleft()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _new(self, target: str, key: str) -> bool:
        if (target, key) in self._wanted:
            return False
        self._wanted.add((target, key))
        return True

    def _start(self, key: str, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except GpuenvError as error:
                self._gatherer.failed(key, error)
            self._gatherer.progress.advance(GATHERING)

        self._running.append(asyncio.get_running_loop().create_task(guarded()))

    async def _page(self, target: str, name: str) -> None:
        await self._gatherer.page(target, name)
        self._turn(target, self._scouts[target].page_came(name))

    async def _metadata(self, target: str, wheel: WheelFile, follow: bool) -> None:
        catalog = self._gatherer.catalog(target)
        if wheel.key not in catalog.metadata:
            name = distribution_of(wheel.filename)
            await self._gatherer.metadata(wheel, self._scouts[target].index_of(name))
        if follow:
            self._turn(target, self._scouts[target].metadata_came(wheel))

    async def _wheel_facts(self, target: str, wheel: WheelFile, read: bool) -> None:
        index = self._scouts[target].index_of(distribution_of(wheel.filename))
        if await self._gatherer.facts(wheel, index, read=read):
            self._turn(target, self._scouts[target].facts_came(wheel))

    async def _provides(self, target: str, index: str) -> None:
        await self._gatherer.provides(index)
        self._turn(target, self._scouts[target].provides_came())

    async def _variants(self, target: str, file: WheelFile) -> None:
        index = self._scouts[target].index_of(distribution_of(file.filename))
        await self._gatherer.variants(file, index)
        self._turn(target, self._scouts[target].variants_came(file))

    async def _direct(self, url: str) -> None:
        wheel = await self._gatherer.direct(url)
        for target in self._scouts:
            self.want_metadata(target, wheel)

    def _turn(self, target: str, missing: Missing) -> None:
        """A scout saw something: fetch what it wants next."""
        for name in missing.pages:
            self.want_page(target, name)
        for wheel in missing.wheels:
            self.want_metadata(target, wheel)
        for url in missing.direct:
            self.want_direct(url)
        for wheel in missing.facts:
            self.want_facts(target, wheel, read=self._scouts[target].reads_ahead)
        for index in missing.provides:
            self.want_provides(target, index)
        for file in missing.variants:
            self.want_variants(target, file)
