"""Objects that are known to be damaged: `<store>/damaged/<key>`, left by `verify`, taken away by what makes them whole.

Cheap to import and to ask: a sync with nothing to do asks, too.
"""

import contextlib
import os
from pathlib import Path

__all__ = ["damaged_keys", "is_damaged", "mark", "unmark"]


def damaged_keys(store: Path) -> frozenset[str]:
    """The keys of all objects with a mark. Costs one directory that is mostly not there."""
    try:
        return frozenset(os.listdir(f"{store}/damaged"))  # noqa: PTH208
    except OSError:
        return frozenset()


def is_damaged(store: Path, key: str) -> bool:
    """Has this object a mark?"""
    return os.path.lexists(f"{store}/damaged/{key}")


def mark(store: Path, key: str) -> None:
    """Say that the object is damaged, so that nobody is given it; raises OSError where the store cannot be written."""
    path = store / "damaged" / key
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir()
    path.touch()


def unmark(store: Path, key: str) -> None:
    """Take the mark away, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        (store / "damaged" / key).unlink()
    with contextlib.suppress(OSError):  # other marks are left, or there never was one
        (store / "damaged").rmdir()
