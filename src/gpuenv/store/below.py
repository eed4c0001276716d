"""What a view takes from base stores, and what of that they lost. Cheap to import: every sync above a base asks."""

import os
from collections.abc import Mapping
from pathlib import Path

from gpuenv.store.marks import damaged_keys

__all__ = ["bases_of", "lost"]


def bases_of(marker: Mapping[str, object]) -> dict[Path, tuple[str, ...]]:
    """The base stores that a view takes objects from, each with their keys. marker: as `switch.current` has it."""
    places = marker.get("elsewhere")
    found: dict[Path, list[str]] = {}
    for key, folder in sorted(places.items()) if isinstance(places, dict) else ():
        found.setdefault(Path(str(folder)).parent.parent, []).append(str(key))
    return {base: tuple(keys) for base, keys in found.items()}


def lost(marker: Mapping[str, object]) -> dict[Path, tuple[str, ...]]:
    """Of `bases_of`, what is gone from there by now, or known to be damaged.

    Costs one listing for each base, and one of its marks.
    """
    found = {}
    for base, keys in bases_of(marker).items():
        there = _listed(base) - damaged_keys(base)
        if gone := tuple(key for key in keys if key not in there):
            found[base] = gone
    return found


def _listed(base: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(base / "objects"))  # noqa: PTH208 - names are enough
    except OSError:
        return frozenset()
