"""Files that commands make for people: there in one step and whole, never in place of another file unasked."""

import contextlib
import filecmp
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from gpuenv.errors import Occupied
from gpuenv.model.made import State

__all__ = ["write_output"]

Value = TypeVar("Value")


def write_output(path: Path, fill: Callable[[IO[bytes]], Value], *, force: bool = False) -> tuple[State, Value]:
    """Make a file of what `fill` writes; a file of the same bytes stays as it is.

    force: replace one of other bytes, else Occupied is raised. Readers see the old file or the new one, also after a
    power cut. Where anything fails, the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with temporary.open("xb") as file:
            value = fill(file)
            file.flush()
            os.fsync(file.fileno())
        there = path.is_symlink() or path.exists()
        if there and path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            return "unchanged", value
        if there and not force:
            raise Occupied(f"{path} exists and holds something else", hints=["to replace it, say --force"])
        temporary.replace(path)
        _settle(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return "replaced" if there else "made", value


def _settle(folder: Path) -> None:
    """Have the folder's names on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
