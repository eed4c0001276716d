"""What commands for publishers made: bundles, wheels, an index."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

__all__ = ["Made", "MadeIndex", "State"]

State = Literal["made", "replaced", "unchanged"]


@dataclass(frozen=True, slots=True)
class Made:
    """One file and what it was made of. bytes, was: sizes of both. links: of a bundle, restored ones or all."""

    path: PurePath
    source: PurePath
    sha256: str
    bytes: int
    was: int
    links: int
    state: State


@dataclass(frozen=True, slots=True)
class MadeIndex:
    """A static index. projects, files, sonames: how many it has. written, removed: what changed, as paths.

    warnings: what installers will not take as it is meant.
    """

    path: PurePath
    projects: int
    files: int
    sonames: int
    written: tuple[PurePath, ...]
    removed: tuple[PurePath, ...]
    warnings: tuple[str, ...] = ()
