"""An installed tree as it lies on a disk: its files, links and folders, and nothing that could not be packed."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.names import Refused, check_name, check_target
from gpuenv.archive.source import FileSource
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.errors import ArchiveError

__all__ = ["FoundFile", "FoundLink", "FoundTree", "chunks_of", "read_part", "read_tree"]

_SHOWN = 10
_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class FoundFile(NamedTuple):
    """A file of a tree. path: inside it. place: where it is read. executable: its owner may execute it."""

    path: str
    size: int
    executable: bool
    place: Path


class FoundLink(NamedTuple):
    """A symbolic link of a tree. target: as it says."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class FoundTree:
    """A tree. folder: where it lies, absolute. files, links: sorted by path. folders: paths of all, without the top."""

    folder: Path
    files: tuple[FoundFile, ...]
    links: tuple[FoundLink, ...]
    folders: frozenset[str]


def read_tree(folder: Path, exclude: Sequence[str] = ()) -> FoundTree:
    """What a folder holds. exclude: patterns (fnmatch) of paths that are left out, with all below them.

    Links are not followed. Raises ArchiveError that names what is neither file, folder nor link, what cannot be read,
    and names that no archive can have.
    """
    files: list[FoundFile] = []
    links: list[FoundLink] = []
    folders: set[str] = set()
    refused: list[str] = []
    for path, place in _walk(folder, exclude, folders, refused):
        try:
            mode, size = _look(path, place)
            if stat.S_ISLNK(mode):
                link = FoundLink(path, os.readlink(place))  # noqa: PTH115 - text, not a path made of it
                check_target(*link)
                links.append(link)
            else:
                files.append(FoundFile(path, size, bool(mode & stat.S_IXUSR), Path(place)))
        except (Refused, ArchiveError) as problem:
            refused.append(str(problem))
        except OSError as error:
            refused.append(f"{path!r} cannot be read: {error.strerror}")
        if len(files) + len(links) > MAX_MEMBERS:
            raise ArchiveError(f"{folder} holds more than {MAX_MEMBERS} files")
    if refused:
        more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
        hint = "leave it out: --exclude PATTERN"
        raise ArchiveError(f"{folder} cannot be packed", causes=[*sorted(refused)[:_SHOWN], *more], hints=[hint])
    return FoundTree(folder.absolute(), tuple(sorted(files)), tuple(sorted(links)), frozenset(folders))


def chunks_of(file: FoundFile) -> Iterator[bytes]:
    """A file's bytes, in pieces of at most 1 MiB; raises ArchiveError where it changed since the tree was read."""
    done = 0
    with closing(FileSource.open(file.place, file.path, follow=False)) as source:
        for piece in source.stream(0, source.size):
            done += len(piece)
            yield piece
    if done != file.size:
        raise ArchiveError(f"{file.path} changed while it was read")


def read_part(file: FoundFile, offset: int, size: int) -> bytes:
    """Some of a file's bytes, fewer at its end; raises ArchiveError."""
    with closing(FileSource.open(file.place, file.path, follow=False)) as source:
        return source.read(offset, size)


def _walk(folder: Path, exclude: Sequence[str], folders: set[str], refused: list[str]) -> Iterator[tuple[str, str]]:
    """Path and place of all that is no folder; fills `folders`, and `refused` with what cannot be read, in words."""
    waiting = [(str(folder), "")]
    while waiting:
        here, inside = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = list(found)
        except OSError as error:
            if not inside:
                raise ArchiveError(f"{folder} cannot be read: {error.strerror}") from None
            refused.append(f"{inside[:-1]!r} cannot be read: {error.strerror}")
            continue
        for entry in entries:
            path = inside + entry.name
            if any(fnmatchcase(path, pattern.rstrip("/")) for pattern in exclude):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(path)
                waiting.append((entry.path, f"{path}/"))
            else:
                yield path, entry.path


def _look(path: str, place: str) -> tuple[int, int]:
    """Mode and size of what may be packed."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Refused(f"{os.fsencode(path)!r} has a name that is not UTF-8") from None
    check_name(path)
    found = os.lstat(place)
    kind = next((words for test, words in _KINDS if test(found.st_mode)), None)
    if kind is not None:
        raise Refused(f"{path!r} is {kind}")
    if stat.S_ISREG(found.st_mode) and not os.access(place, os.R_OK, follow_symlinks=False):
        raise Refused(f"{path!r} cannot be read: Permission denied")
    return found.st_mode, found.st_size
