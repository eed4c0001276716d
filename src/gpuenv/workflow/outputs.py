"""Files that commands make for people: there in one step and whole, never in place of another file unasked."""

import fcntl
import filecmp
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

from gpuenv.archive.staging import sync_folder
from gpuenv.errors import Occupied
from gpuenv.model.made import State

__all__ = ["write_output"]

Value = TypeVar("Value")

_RANDOM = re.compile(r"[0-9a-f]{12}")


def write_output(path: Path, fill: Callable[[IO[bytes]], Value], *, force: bool = False) -> tuple[State, Value]:
    """Make a file of what `fill` writes; a file of the same bytes stays as it is.

    force: replace one of other bytes, else Occupied is raised. Readers see the old file or the new one, also after a
    power cut. Where anything fails, the old one stays. What killed writers left beside the file goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    with _temporary(path) as (temporary, file):
        value = fill(file)
        file.flush()
        os.fsync(file.fileno())
        there = path.is_symlink() or path.exists()
        if there and path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            return "unchanged", value
        if there and not force:
            raise Occupied(f"{path} exists and holds something else", hints=["to replace it, say --force"])
        temporary.replace(path)
        sync_folder(path.parent)
    return "replaced" if there else "made", value


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside `path`, locked while it is written so that nobody takes it for a leftover."""
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        with temporary.open("xb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if not temporary.exists():
                continue
            try:
                yield temporary, file
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            return


def _sweep(path: Path) -> None:
    """Remove what killed writers of this file left: those that still live hold a lock."""
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and _RANDOM.fullmatch(other.name.rpartition(".")[2]):
            with suppress(OSError), other.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
