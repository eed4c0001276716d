"""A project's history: which view, made from which lock. Generations are what keeps views and objects alive.

<store>/projects/<hash of the project's path>-<name>/root      the project's path
<store>/projects/…/<N>/lock, <N>/view                          the lock's text, a link to the view
"""

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import staging
from gpuenv.errors import StoreError
from gpuenv.view.plan import plain

__all__ = ["Generation", "generations", "record_generation"]


class Generation(NamedTuple):
    """One entry of a project's history. number: counts from 1. view: absolute, perhaps gone."""

    number: int
    view: Path
    lock: str


def record_generation(store: Path, *, project: Path, name: str, view: Path, lock: str) -> int:
    """Enter `view` and its lock's text as the newest generation; return its number.

    Nothing is entered if the newest says the same. Do this before `switch`, so that nothing in use is unrecorded.
    """
    home = _home(store, project, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        _keep_root(home, project)
        while True:
            known = _numbers(home)
            newest = _read(store, home, known[-1]) if known else None
            if newest is not None and (newest.view, newest.lock) == (view, lock):
                return newest.number
            number = known[-1] + 1 if known else 1
            if _enter(store, home, number, view, lock):
                return number
    except OSError as error:
        raise StoreError("cannot record the environment", causes=(f"{error.strerror}: {error.filename}",)) from error


def generations(store: Path, *, project: Path, name: str) -> tuple[Generation, ...]:
    """A project's generations, oldest first."""
    home = _home(store, project, name)
    found = [_read(store, home, number) for number in _numbers(home)]
    return tuple(generation for generation in found if generation is not None)


def _home(store: Path, project: Path, name: str) -> Path:
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
    return store / "projects" / f"{digest}-{plain(name)}"


def _keep_root(home: Path, project: Path) -> None:
    with (
        contextlib.suppress(FileExistsError),
        (home / "root").open("x", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(f"{project}\n")


def _numbers(home: Path) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in os.scandir(home) if entry.name.isdecimal())
    except FileNotFoundError:
        return []


def _read(store: Path, home: Path, number: int) -> Generation | None:
    try:
        target = os.readlink(home / str(number) / "view")  # noqa: PTH115
        return Generation(number, store / "views" / Path(target).name, (home / str(number) / "lock").read_text("utf-8"))
    except FileNotFoundError:
        return None


def _enter(store: Path, home: Path, number: int, view: Path, lock: str) -> bool:
    """Make generation `number`; False if another process took the number."""
    with staging(store / "tmp") as directory:
        made = directory / "generation"
        made.mkdir()
        with (made / "lock").open("x", encoding="utf-8") as file:
            file.write(lock)
            file.flush()
            os.fsync(file.fileno())
        (made / "view").symlink_to(f"../../../views/{view.name}")
        try:
            made.rename(home / str(number))
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
    return True
