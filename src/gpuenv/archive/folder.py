"""The files of a folder, in an order that is always the same; symbolic links are told and not followed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gpuenv.archive.links import LINKS_LIMIT, is_links, links_of, parse_links
from gpuenv.archive.names import Refused
from gpuenv.archive.parts import File, Link, Tree
from gpuenv.archive.source import FileSource
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.errors import ArchiveError

__all__ = ["read_folder"]


def read_folder(folder: Path) -> Tree:
    """The tree of a folder, folder by folder, each sorted. Devices, sockets and pipes are left out.

    Bytes of a name that are no text appear as `\\xff`. Raises ArchiveError where something cannot be read.
    """
    files: list[File] = []
    links: list[Link] = []
    for entry, path in _walk(folder):
        try:
            if entry.is_symlink():
                links.append(Link(path, _shown(str(Path(entry.path).readlink())), "folder"))
            elif entry.is_file(follow_symlinks=False):
                content = _Content(entry.path, entry.stat(follow_symlinks=False).st_size)
                files.append(File(path, content.size, None, content.read, content.chunks))
        except OSError as error:
            raise ArchiveError(f"{_shown(entry.path)} cannot be read: {error.strerror}") from None
        if len(files) + len(links) > MAX_MEMBERS:
            raise ArchiveError(f"{folder} holds more than {MAX_MEMBERS} files")
    links += _listed(folder, files, links)
    return Tree(folder.absolute().name, "folder", sum(file.size for file in files), tuple(files), links)


def _walk(folder: Path) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """What is in the folder and below it, other than folders; with each its path inside."""
    waiting = [(str(folder), "")]
    while waiting:
        here, inside = waiting.pop()
        below = []
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                path = inside + _shown(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    below.append((entry.path, f"{path}/"))
                else:
                    yield entry, path
        except OSError as error:
            raise ArchiveError(f"{_shown(here)} cannot be read: {error.strerror}") from None
        waiting += reversed(below)


def _listed(folder: Path, files: list[File], links: list[Link]) -> list[Link]:
    pairs = []
    try:
        for file in files:
            if is_links(file.path):
                if file.size > LINKS_LIMIT:
                    raise Refused(f"{file.path!r} is larger than {LINKS_LIMIT} bytes")
                pairs += parse_links(b"".join(file.chunks()), file.path)
    except Refused as refused:
        raise ArchiveError(f"{folder} is refused: {refused}") from None
    return links_of(pairs, [*(file.path for file in files), *(link.path for link in links)]) if pairs else []


class _Content:
    """A file that is opened when it is wanted: a folder may hold more files than may be open at once."""

    def __init__(self, path: str, size: int) -> None:
        self.size = size
        self._path = Path(path)

    def read(self, offset: int, size: int, /) -> bytes:
        with self._open() as source:
            return source.read(offset, size)

    def chunks(self) -> Iterator[bytes]:
        done = 0
        with self._open() as source:
            for piece in source.stream(0, source.size):
                done += len(piece)
                yield piece
        if done != self.size:
            raise ArchiveError(f"{_shown(str(self._path))} changed while it was read")

    def _open(self) -> "contextlib.closing[FileSource]":
        return contextlib.closing(FileSource.open(self._path, _shown(str(self._path)), follow=False))


def _shown(name: str) -> str:
    """Text that can be printed and encoded; Python hides bytes that are no text in characters that cannot."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
