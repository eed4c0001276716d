"""Where an archive's bytes come from: any part of them on request, or a stretch of them in order."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from gpuenv.errors import ArchiveError

__all__ = ["PIECE", "FileSource", "Read", "Source", "reader", "window"]

# offset, size -> bytes, shorter only at the end; may be called from several threads at once. Who reads from a
# SparseFile (archive/ranges.py) lets its MissingRange pass.
Read = Callable[[int, int], bytes]

PIECE = 256 << 10
_MOST = 1 << 30  # bytes that one call of the system is asked for


class Source(Protocol):
    """The bytes of one artifact; every method may be called from several threads at once."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def distant(self) -> bool:
        """Does each read cost so much that fewer and larger ones are better?"""

    def read(self, offset: int, size: int, /) -> bytes:
        """The bytes at `offset`, fewer than `size` only at the end."""

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` (exclusive), in pieces of at most 1 MiB; fewer only at the end."""

    def close(self) -> None:
        """Let go of it; streams under way end with an error."""


class FileSource:
    """An open file on this machine. Raises ArchiveError where it cannot be read."""

    distant = False

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.size = os.fstat(fd).st_size
        self._fd = fd

    @classmethod
    def open(cls, path: Path, name: str | None = None, *, follow: bool = True) -> "FileSource":
        """Open a regular file; whatever else it is, nothing waits for it. follow: it may be a symbolic link."""
        name = path.name if name is None else name
        try:
            # a pipe that nobody writes to would be waited for
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
            fd = os.open(path, flags)
        except (OSError, ValueError) as error:
            raise ArchiveError(f"{name} cannot be opened: {_words(error)}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ArchiveError(f"{name} is not a file")
        return cls(name, fd)

    def read(self, offset: int, size: int, /) -> bytes:
        """See Source.read."""
        try:
            return os.pread(self._fd, min(size, _MOST), offset)
        except OSError as error:
            raise ArchiveError(f"{self.name} cannot be read: {_words(error)}") from None

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        """See Source.stream."""
        while start < stop and (data := self.read(start, min(PIECE, stop - start))):
            start += len(data)
            yield data

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def reader(fd: int) -> Read:
    """Read an open file, with the errors of the operating system."""
    pread = os.pread
    return lambda offset, size: pread(fd, size, offset)


def window(read: Read, start: int, size: int) -> Read:
    """A part of a file as if it were the whole."""
    return lambda offset, wanted: read(start + offset, min(wanted, size - offset)) if offset < size else b""


def _words(error: Exception) -> str:
    return error.strerror or "unknown reason" if isinstance(error, OSError) else "its name cannot be used"
