"""Device code, added up: from images and containers as they pass to the few lines that describe an object."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import NamedTuple

from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, DeviceCode, Kind, Unit, Units, Vendor, natural

__all__ = ["Inventory", "Place"]

# Each may cost a kilobyte. cuFFT has 29,341 containers, all of one kind; no library seen has a hundred kinds.
_CONTAINERS_MOST = 1 << 18
_IMAGES_MOST = 1 << 20
_KINDS_MOST = 4096

_Alike = tuple[Vendor, Kind, str, tuple[str, ...], str | None, bool]


class Place(NamedTuple):
    """A named part of a file: bytes from `start` up to `stop` (exclusive)."""

    start: int
    stop: int
    name: str


class Inventory:
    """Counts images that are alike, and containers that hold the same set of them; keeps no image.

    Raises BinaryError for more containers, images or kinds of images than can be meant.
    """

    def __init__(self) -> None:
        self._sums: dict[_Alike, list[int]] = {}  # images and bytes
        self._sets: dict[frozenset[_Alike], frozenset[_Alike]] = {}
        self._units: list[tuple[int, frozenset[_Alike]]] = []
        self._images = 0

    def add(self, unit: Unit) -> None:
        """Count one container."""
        self._images += len(unit.codes)
        if len(self._units) == _CONTAINERS_MOST or self._images > _IMAGES_MOST:
            most = f"{_CONTAINERS_MOST:,} containers of device code, or {_IMAGES_MOST:,} images in them"
            raise BinaryError(f"it has more than {most}")
        alike = frozenset(map(self.add_code, unit.codes))
        self._units.append((unit.offset, self._sets.setdefault(alike, alike)))

    def add_code(self, code: Code) -> _Alike:
        """Count one image that lies in no container."""
        alike = (code.vendor, code.kind, code.arch, code.features, code.isa, code.compressed)
        sums = self._sums.setdefault(alike, [0, 0])
        if len(self._sums) > _KINDS_MOST:
            raise BinaryError(f"it has more than {_KINDS_MOST:,} kinds of device code")
        sums[0] += 1
        sums[1] += code.bytes
        return alike

    def device_code(self) -> tuple[DeviceCode, ...]:
        """What there is, in natural order of architectures."""
        return tuple(starmap(self._line, self._order()))

    def _line(
        self, vendor: Vendor, kind: Kind, arch: str, features: tuple[str, ...], isa: str | None, compressed: bool
    ) -> DeviceCode:
        count, size = self._sums[vendor, kind, arch, features, isa, compressed]
        return DeviceCode(vendor, kind, arch, features, count, size, isa, compressed)

    def units(self, places: Sequence[Place] = ()) -> tuple[Units, ...]:
        """How many containers hold what, by the place they lie in; containers with nothing known in them count too.

        places: sorted, without overlap.
        """
        position = {alike: number for number, alike in enumerate(self._order())}
        starts = [place.start for place in places]
        counts = Counter((_name(places, starts, offset), alike) for offset, alike in self._units)
        found = [Units(tuple(sorted(map(position.__getitem__, alike))), n, name) for (name, alike), n in counts.items()]
        return tuple(sorted(found, key=lambda units: (units.section, -units.count, units.codes)))

    def _order(self) -> Iterable[_Alike]:
        return sorted(self._sums, key=lambda alike: (alike[0], natural(alike[2]), *alike[1:2], *alike[3:4], str(alike)))


def _name(places: Sequence[Place], starts: list[int], offset: int) -> str:
    number = bisect_right(starts, offset) - 1
    return places[number].name if number >= 0 and offset < places[number].stop else ""
