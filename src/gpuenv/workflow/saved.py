"""What default extras spare: the bytes that all extras which the same rules could have named would have brought.

Only rules with placeholders for architectures count (`device-{gfx}`), for these extras are there to be taken together,
and only files that nothing else brings. What they would bring in turn is not looked at: the real figure is no smaller.
"""

import asyncio
from collections.abc import Iterator, Mapping

from gpuenv.errors import GpuenvError
from gpuenv.index import IndexClient
from gpuenv.model.answer import Pin, Solution
from gpuenv.model.distribution import Metadata, WheelFile
from gpuenv.model.requirement import Requirement, parse_requirement
from gpuenv.model.selectors import siblings
from gpuenv.model.target import Target
from gpuenv.solve.offers import Offers
from gpuenv.workflow.gather import first_page
from gpuenv.workflow.route import Routes

__all__ = ["may_save", "saved"]

# What a distribution is not asked for: its name, and an extra that others of its kind have taken the place of.
_Extra = tuple[str, str]
_ARCHITECTURES = ("{gfx}", "{sm}", "{family}")


def may_save(pin: Pin) -> list[str]:
    """The rules with a placeholder for architectures that chose an extra of a distribution."""
    templates = dict.fromkeys(one.template for one in pin.default_extras)
    return [template for template in templates if any(field in template for field in _ARCHITECTURES)]


async def saved(
    client: IndexClient,
    routes: Routes,
    targets: Mapping[str, Target],
    solutions: Mapping[str, Solution],
    exclude_newer: str | None,
) -> dict[str, int]:
    """The bytes spared, by target; targets that spare none are left out, as are those where a size is not known."""
    found = {}
    for name, solution in solutions.items():
        if any(map(may_save, solution.pins.values())):
            sizes = await _Spared(client, routes, targets[name], solution, exclude_newer).sizes()
            if sizes:
                found[name] = sum(sizes)
    return found


class _Spared:
    """The files that one target does without."""

    def __init__(
        self, client: IndexClient, routes: Routes, target: Target, solution: Solution, exclude_newer: str | None
    ) -> None:
        self._client = client
        self._routes = routes
        self._target = target
        self._pins = solution.pins
        self._exclude_newer = exclude_newer

    async def sizes(self) -> list[int]:
        """The size of each; none at all where one is not known."""
        try:
            others = await self._others()
            found = await asyncio.gather(*(self._size(requirement) for requirement in others.values()))
        except GpuenvError:  # the lock is made; what it spares need not be known
            return []
        known = [size for size in found if size is not None]
        return [] if len(known) < len(found) else known

    async def _others(self) -> dict[str, Requirement]:
        """The first requirement on each distribution that only extras which were not taken ask for."""
        metadata: dict[str, Metadata] = {}
        todo: list[_Extra] = []
        for pin in self._pins.values():
            if templates := may_save(pin):
                metadata[pin.name] = await self._metadata(pin)
                named = [extra for template in templates for extra in siblings(template, metadata[pin.name].extras)]
                todo += [(pin.name, extra) for extra in named if extra not in pin.extras]
        found: dict[str, Requirement] = {}
        seen = set()
        while todo:
            name, extra = key = todo.pop()
            if key in seen:
                continue
            seen.add(key)
            if name not in metadata:
                metadata[name] = await self._metadata(self._pins[name])
            for requirement in self._required(metadata[name], extra):
                if requirement.name not in self._pins:
                    found.setdefault(requirement.name, requirement)
                    continue
                taken = self._pins[requirement.name].extras
                todo += [(requirement.name, one) for one in requirement.extras if one not in taken]
        return found

    def _required(self, metadata: Metadata, extra: str) -> Iterator[Requirement]:
        for line in metadata.by_extra.get(extra, ()):
            try:
                requirement = parse_requirement(line)
                holds = requirement.applies(self._target.marker_environment, extra)
            except ValueError:  # such a line, or its marker, means nothing
                continue
            if holds:
                yield requirement

    async def _metadata(self, pin: Pin) -> Metadata:
        return await self._client.metadata(pin.wheel, self._routes.by_name.get(pin.index or ""))

    async def _size(self, requirement: Requirement) -> int | None:
        """The size of the file that a requirement would bring: 0 if no release serves the target, None: not known."""
        route = self._routes.of(requirement.name, self._target.name)
        page = await first_page(self._client, route, requirement.name)
        choice = next(Offers(page, self._target, self._exclude_newer).choices([requirement.specifier]), None)
        if choice is None:
            return 0
        wheel: WheelFile = choice[1]
        if wheel.size is None and wheel.sha256 is not None:  # without a digest it would have to be downloaded
            wheel = await self._client.complete(wheel, self._routes.by_name.get(page.index))
        return wheel.size
