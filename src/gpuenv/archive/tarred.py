"""The files of a tar archive, packed or plain, one after the other: whoever wants one takes it as it passes."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import IO, Protocol

from gpuenv.archive.links import LINKS_LIMIT, check_listed, is_links, links_of, parse_links
from gpuenv.archive.names import Refused, check_clashes
from gpuenv.archive.packed import Packing, most_unpacked, packing_of, unpacked
from gpuenv.archive.parts import File, Link, Tree
from gpuenv.archive.source import PIECE, Source, window
from gpuenv.archive.tar import BLOCK, Cursor, Entry, SeekCursor, StreamCursor, is_header, read_entries
from gpuenv.errors import ArchiveError, StoreError

__all__ = ["nested_tar", "packed_tar", "plain_tar"]

_HELD = 1 << 20  # bytes of a file that are kept in memory; larger ones wait on the disk


def plain_tar(name: str, source: Source) -> Tree | None:
    """The tree of a tar archive that is not packed; None: it is none."""
    if not is_header(source.read(0, BLOCK)):
        return None
    cursor = SeekCursor(source.read, source.size)
    links: list[Link] = []
    files = _files(name, "", cursor, source.size, links, lambda entry: _Part(name, source, cursor.position, entry))
    return Tree(name, "tar", source.size, files, links, close=source.close)


def packed_tar(name: str, source: Source, packing: Packing) -> Tree | None:
    """The tree of a packed tar archive; None: something else is packed. Raises ArchiveError where it is damaged."""
    pieces = unpacked(packing, source.stream(0, source.size), source.size)
    cursor = StreamCursor(_told(name, pieces))
    if not is_header(cursor.peek(BLOCK)):
        return None
    links: list[Link] = []
    limit = most_unpacked(source.size)
    files = _files(name, "", cursor, limit, links, lambda entry: _Spool(name, cursor, entry))
    return Tree(name, "tar", source.size, files, links, close=source.close)


def nested_tar(name: str, file: File) -> Tree:
    """The tree of a tar archive that is a file of another; its paths begin with that file's, and `!/`.

    Nothing is read before its files are iterated over, and only then ArchiveError raised where it is none.
    """
    links: list[Link] = []
    return Tree(name, "tar", file.size, _nested(name, file, links), links)


def _nested(name: str, file: File, links: list[Link]) -> Iterator[File]:
    first = next(file.chunks(), b"")
    packing = packing_of(first)
    pieces = unpacked(packing, file.chunks(), file.size) if packing else file.chunks()
    cursor = StreamCursor(_told(f"{name}: {file.path}", pieces))
    limit = most_unpacked(file.size)
    yield from _files(name, file.path + "!/", cursor, limit, links, lambda entry: _Spool(name, cursor, entry))


def _told(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except Refused as refused:
        raise ArchiveError(f"{name} is refused: {refused}") from None


class _Content(Protocol):
    """The content of one entry."""

    def read(self, offset: int, size: int, /) -> bytes: ...
    def chunks(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


def _files(
    name: str, inside: str, cursor: Cursor, limit: int, links: list[Link], open_content: Callable[[Entry], _Content]
) -> Iterator[File]:
    """The files in order; links are put into `links`. inside: what every path begins with."""
    names: dict[str, None] = {}
    pairs: list[tuple[str, str]] = []
    listed = 0
    try:
        for entry in read_entries(cursor, limit):
            key = f"{entry.path}/" if entry.kind == "folder" else entry.path
            if key in names and entry.kind != "folder":
                raise Refused(f"entry {key!r} comes twice")
            names[key] = None
            if entry.kind == "link":
                links.append(Link(inside + entry.path, entry.target, "tar"))
            if entry.kind != "file":
                continue
            with contextlib.closing(open_content(entry)) as content:
                if is_links(entry.path):
                    listed += entry.size
                    check_listed(listed)
                    pairs += parse_links(_small(entry, content), entry.path)
                yield File(inside + entry.path, entry.size, None, content.read, content.chunks)
        check_clashes(list(names), case_sensitive=True)
    except Refused as refused:
        where = f"{name}: {inside.removesuffix('!/')}" if inside else name
        raise ArchiveError(f"{where} is refused: {refused}") from None
    there = [path.removesuffix("/") for path in names]
    links += [Link(inside + link.path, link.target, link.source) for link in links_of(pairs, there)]


def _small(entry: Entry, content: _Content) -> bytes:
    if entry.size > LINKS_LIMIT:
        raise Refused(f"entry {entry.path!r} is larger than {LINKS_LIMIT} bytes")
    return b"".join(content.chunks())


class _Part:
    """Content that can be read where it lies."""

    def __init__(self, name: str, source: Source, start: int, entry: Entry) -> None:
        self._name = name
        self._source = source
        self._start = start
        self._entry = entry
        self.read = window(source.read, start, entry.size)

    def chunks(self) -> Iterator[bytes]:
        done = 0
        for piece in self._source.stream(self._start, self._start + self._entry.size):
            done += len(piece)
            yield piece
        if done != self._entry.size:
            raise ArchiveError(f"{self._name} is refused: it ends in the middle of entry {self._entry.path!r}")

    def close(self) -> None:
        """Nothing was opened."""


class _Spool:
    """Content of a stream, taken from it as far as it is wanted: into memory, or if it is large into a file."""

    def __init__(self, name: str, cursor: Cursor, entry: Entry) -> None:
        self._name = name
        self._cursor = cursor
        self._entry = entry
        self._lock = Lock()
        self._held = 0
        self._small = b""
        self._file: IO[bytes] | None = None
        self._closed = False

    def read(self, offset: int, size: int, /) -> bytes:
        size = min(size, self._entry.size - offset)
        if size <= 0:
            return b""
        with self._lock:
            if self._closed:
                raise RuntimeError("a file of a tar archive is read after the next one was asked for")
            self._reach(offset + size)
            if self._file is None:
                return self._small[offset : offset + size]
            return os.pread(self._file.fileno(), size, offset)

    def chunks(self) -> Iterator[bytes]:
        for offset in range(0, self._entry.size, PIECE):
            yield self.read(offset, PIECE)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _reach(self, stop: int) -> None:
        if self._held >= stop:
            return
        if self._entry.size <= _HELD:
            self._small = self._take(self._entry.size)
            return
        try:
            self._file = self._file or tempfile.TemporaryFile(prefix="gpuenv-", buffering=0)  # noqa: SIM115 - closed by close
            while self._held < stop:
                data = memoryview(self._take(min(_HELD, self._entry.size - self._held)))
                while data:
                    data = data[self._file.write(data) :]
        except OSError as error:
            raise StoreError(
                f"{self._entry.path} of {self._name} cannot be unpacked into a temporary file",
                causes=[error.strerror or "unknown reason"],
                hints=["set TMPDIR to a folder with more room"],
            ) from None

    def _take(self, size: int) -> bytes:
        data = self._cursor.take(size)
        self._held += len(data)
        if len(data) < size:
            raise ArchiveError(f"{self._name} is refused: it ends in the middle of entry {self._entry.path!r}")
        return data
