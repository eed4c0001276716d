"""A project's history: which view, made from which lock. Generations are what keeps views and objects alive.

<store>/projects/<hash of the project's path>-<name>/root      the project's path
<store>/projects/…/mount                                       the mount point that the project lies on
<store>/projects/…/<N>/lock, <N>/view, <N>/gpuenv.json         the lock's text, a link to the view, the view's marker
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import staging, sync_folder
from gpuenv.errors import StoreError
from gpuenv.view.plan import plain
from gpuenv.view.switch import MARKER, current, linked_view

__all__ = ["Generation", "History", "generations", "histories", "present", "record_generation"]


class Generation(NamedTuple):
    """One entry of a project's history.

    number: counts from 1. view: absolute, perhaps gone. made: seconds since 1970. folder: where the entry lies.
    """

    number: int
    view: Path
    lock: str
    made: float
    folder: Path

    @property
    def marker(self) -> dict[str, object]:
        """What the view's marker said when the entry was made, or says now; empty where neither can be read."""
        return current(self.folder) or current(self.view) or {}


class History(NamedTuple):
    """All generations of one project, oldest first. root, mount: None where the store does not say."""

    folder: Path
    root: Path | None
    mount: Path | None
    generations: tuple[Generation, ...]


def record_generation(store: Path, *, project: Path, name: str, view: Path, lock: str) -> int:
    """Enter `view` and its lock's text as the newest generation; return its number.

    Nothing is entered if the newest says the same, or if `.venv` holds this already: after a rollback, the generation
    it went to. Do this before `switch`, so that nothing in use is unrecorded.
    """
    home = _home(store, project, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        _keep(store, home / "root", str(project))
        _keep(store, home / "mount", _mount_point(project))
        held = linked_view(project / ".venv") == view
        while True:
            known = _numbers(home)
            for number in reversed(known if held else known[-1:]):
                found = _read(store, home, number)
                if found is not None and (found.view, found.lock) == (view, lock):
                    return number
            number = known[-1] + 1 if known else 1
            if _enter(store, home, number, view, lock):
                return number
    except OSError as error:
        raise StoreError.refused("cannot record the environment", error, store) from error


def generations(store: Path, *, project: Path, name: str) -> tuple[Generation, ...]:
    """A project's generations, oldest first."""
    return tuple(_entries(store, _home(store, project, name)))


def histories(store: Path) -> tuple[History, ...]:
    """Every project's history, by folder; raises StoreError where one cannot be read."""
    try:
        return tuple(
            History(home, _said(home / "root"), _said(home / "mount"), tuple(_entries(store, home)))
            for home in _homes(store)
        )
    except OSError as error:
        causes = (f"{error.strerror}: {error.filename}",)
        raise StoreError("cannot read what projects keep in the store", causes=causes) from error


def present(known: Sequence[Generation], view: Path | None, lock: str | None) -> Generation | None:
    """Which generation an environment is, by its view; of several with this view the newest, better with this lock."""
    found = [entry for entry in known if view is not None and entry.view.name == view.name]
    return max(found, key=lambda entry: (entry.lock == lock, entry.number), default=None)


def _home(store: Path, project: Path, name: str) -> Path:
    """The folder of a project's history: the one it has, whatever name it had then, or a new one."""
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
    with contextlib.suppress(FileNotFoundError):
        known = sorted(entry for entry in os.listdir(store / "projects") if entry.startswith(f"{digest}-"))  # noqa: PTH208
        if known:
            return store / "projects" / known[0]
    return store / "projects" / f"{digest}-{plain(name)}"


def _homes(store: Path) -> list[Path]:
    try:
        with os.scandir(store / "projects") as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _mount_point(project: Path) -> str:
    path = os.path.realpath(project)
    while not os.path.ismount(path):
        path = os.path.dirname(path)  # noqa: PTH120 - realpath gives text
    return path


def _keep(store: Path, file: Path, text: str) -> None:
    """Make a file hold this line; whoever reads it sees the old or the new one."""
    if _said(file) != Path(text):
        with staging(store / "tmp") as directory:
            _write_durably(directory / file.name, f"{text}\n")
            (directory / file.name).rename(file)


def _said(file: Path) -> Path | None:
    """The path that a file of a history holds."""
    try:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    return Path(text.removesuffix("\n")) if text.endswith("\n") else None


def _numbers(home: Path) -> list[int]:
    try:
        with os.scandir(home) as entries:
            return sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
    except FileNotFoundError:
        return []


def _entries(store: Path, home: Path) -> Iterator[Generation]:
    for number in _numbers(home):
        found = _read(store, home, number)
        if found is not None:
            yield found


def _read(store: Path, home: Path, number: int) -> Generation | None:
    folder = home / str(number)
    try:
        target = os.readlink(folder / "view")  # noqa: PTH115
        text = (folder / "lock").read_bytes().decode("utf-8", "replace")
        return Generation(number, store / "views" / Path(target).name, text, folder.stat().st_mtime, folder)
    except FileNotFoundError:
        return None


def _enter(store: Path, home: Path, number: int, view: Path, lock: str) -> bool:
    """Make generation `number`; False if another process took the number."""
    with staging(store / "tmp") as directory:
        made = directory / "generation"
        made.mkdir()
        _write_durably(made / "lock", lock)
        if marker := current(view):
            _write_durably(made / MARKER, json.dumps(marker, ensure_ascii=False, indent=1) + "\n")
        (made / "view").symlink_to(f"../../../views/{view.name}")
        try:
            made.rename(home / str(number))
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
    sync_folder(home)
    return True


def _write_durably(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
