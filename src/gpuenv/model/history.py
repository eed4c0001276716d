"""What a project's environment was, what keeps things in the store, and what went: as values."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from gpuenv.model.difference import Change

__all__ = ["Collected", "Entry", "Keeper", "Kept", "RolledBack"]


class Entry(NamedTuple):
    """A generation. packages: None where nothing says what it held. changes: against the one before.

    made: seconds since 1970. whole: its view is there. present: it is what `.venv` is.
    """

    number: int
    made: float
    target: str
    environment: str
    packages: int | None
    changes: tuple[Change, ...]
    view: PurePath
    whole: bool
    present: bool


class RolledBack(NamedTuple):
    """What a rollback came to. before: None where `.venv` was no generation. switched: `.venv` led elsewhere.

    rebuilt: the view was gone and was made again. lock: what became of gpuenv.lock: `written`, `same`, `kept` as asked,
    or `unknown`: left alone, because no generation has what it says.
    """

    number: int
    before: int | None
    target: str
    changes: tuple[Change, ...]
    switched: bool
    rebuilt: bool
    lock: str
    warnings: tuple[str, ...] = ()


class Keeper(NamedTuple):
    """Why something stays in the store.

    kind: `generation` (of a project, by number), `link` (a project's `.venv`), `process`, or `use` (by a sync).
    because: of a generation `newest`, `present`, `recent`, `unreachable`.
    """

    kind: str
    project: str = ""
    number: int = 0
    because: str = ""
    pid: int = 0
    program: str = ""


class Kept(NamedTuple):
    """What keeps one thing. kind: `object`, `view`, `generation`, or an area of the store such as `tmp`."""

    kind: str
    name: str
    keepers: tuple[Keeper, ...]


class Collected(NamedTuple):
    """What `gc` removed, by kind: `generations`, `views`, `artifacts`, `objects`, `downloads`, `leftovers`.

    removed: paths relative to the store. freed: bytes. left: names in its trash of what could not be deleted.
    """

    removed: Mapping[str, tuple[str, ...]]
    freed: Mapping[str, int]
    left: tuple[str, ...] = ()
