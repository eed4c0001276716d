"""Files that commands make for people: whole or not there, several only together, none in place of another unasked."""

import fcntl
import filecmp
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Generic, NamedTuple, TypeVar

from gpuenv.archive.staging import sync_folder
from gpuenv.errors import Occupied
from gpuenv.model.made import State

__all__ = ["write_output", "write_outputs"]

Value = TypeVar("Value")

_RANDOM = re.compile(r"[0-9a-f]{12}")


class _Aside(NamedTuple, Generic[Value]):
    """A file that is written and not yet in its place."""

    path: Path
    temporary: Path
    state: State
    value: Value


def write_output(path: Path, fill: Callable[[IO[bytes]], Value], *, force: bool = False) -> tuple[State, Value]:
    """Make a file of what `fill` writes; a file of the same bytes stays as it is. See write_outputs."""
    return write_outputs([(path, fill)], force=force)[0]


def write_outputs(
    wanted: Iterable[tuple[Path, Callable[[IO[bytes]], Value]]], *, force: bool = False
) -> list[tuple[State, Value]]:
    """Make files of what functions write, none before all are written; a file of the same bytes stays as it is.

    force: replace those of other bytes, else Occupied is raised. Readers see an old file or a new one, also after a
    power cut. Where anything fails, all stays as it was; who is killed while files are renamed may leave some old.
    What killed writers left beside the files goes.
    """
    with ExitStack() as stack:
        aside = [_aside(stack, path, fill, force=force) for path, fill in wanted]
        new = [one for one in aside if one.state != "unchanged"]
        for one in new:
            one.temporary.replace(one.path)
        for folder in sorted({one.path.parent for one in new}):
            sync_folder(folder)
    return [(one.state, one.value) for one in aside]


def _aside(stack: ExitStack, path: Path, fill: Callable[[IO[bytes]], Value], *, force: bool) -> "_Aside[Value]":
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary, file = stack.enter_context(_temporary(path))
    value = fill(file)
    file.flush()
    os.fsync(file.fileno())
    if not path.is_symlink() and not path.exists():
        return _Aside(path, temporary, "made", value)
    if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
        return _Aside(path, temporary, "unchanged", value)
    if path.is_dir():
        raise Occupied(f"{path} is a folder")
    if not force:
        raise Occupied(f"{path} exists and holds something else", hints=["to replace it, say --force"])
    return _Aside(path, temporary, "replaced", value)


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
