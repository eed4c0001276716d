"""A file of which only some ranges are here, and how to read one small member of a ZIP through it.

Whoever reads past what is here learns which bytes are missing, fetches them and reads again: the parsing stays with
`zipfile`, the fetching with the caller.
"""

import io
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable

from gpuenv.errors import ArchiveError, NoSuchMember

__all__ = ["MissingRange", "SmallMember", "SparseFile"]

MEMBER_LIMIT = 16 << 20
# a local header repeats the name and may bring extra fields of its own
_HEADER = 30 + 1024


class MissingRange(Exception):
    """The bytes from `start` up to `stop` (exclusive) are needed and not here."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(f"bytes {start} to {stop} are not here")
        self.start = start
        self.stop = stop


class SparseFile(io.RawIOBase):
    """A readable, seekable file of a known size, made of the ranges added so far."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.held = 0
        self._starts: list[int] = []
        self._parts: list[bytes] = []
        self._at = 0

    def add(self, start: int, data: bytes) -> None:
        """Put bytes in their place. Ranges may touch and overlap; they must agree with the file's size."""
        if not data:
            return
        if start < 0 or start + len(data) > self.size:
            raise ValueError("a range outside the file")
        self.held += len(data)
        where = bisect_right(self._starts, start)
        self._starts.insert(where, start)
        self._parts.insert(where, data)

    def need(self, start: int, stop: int) -> None:
        """Raise MissingRange unless all bytes from `start` to `stop` (cut at the file's end) are here."""
        self.slice(start, min(stop, self.size))

    def slice(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, which lie inside; raises MissingRange for the first ones missing."""
        found = []
        at = start
        while at < stop:
            # of the parts that begin at or before this byte, one that reaches beyond it
            last = bisect_right(self._starts, at)
            holder = next((n for n in range(last - 1, -1, -1) if self._starts[n] + len(self._parts[n]) > at), None)
            if holder is None:
                raise MissingRange(at, min([stop, *self._starts[last : last + 1]]))
            part = self._parts[holder][at - self._starts[holder] : stop - self._starts[holder]]
            found.append(part)
            at += len(part)
        return b"".join(found)

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file."""
        stop = self.size if size is None or size < 0 else min(self.size, self._at + size)
        data = self.slice(self._at, stop)
        self._at = max(self._at, stop)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, as files do; seeking before the start is an OSError."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise OSError("seek before the start")
        self._at = at
        return at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True


class SmallMember:
    """The one member of a ZIP whose name is `wanted`. Its place is looked up once, however often bytes are missing."""

    def __init__(self, file: io.RawIOBase | io.BufferedIOBase, wanted: Callable[[str], bool]) -> None:
        self._file = file
        self._wanted = wanted
        self._found: tuple[zipfile.ZipFile, zipfile.ZipInfo] | None = None

    def read(self) -> bytes:
        """Its bytes, their CRC checked.

        Raises MissingRange for a SparseFile that does not hold enough, ArchiveError for a damaged archive, for no such
        member, for several, and for one above 16 MiB.
        """
        try:
            if self._found is None:
                self._found = self._find()
            archive, info = self._found
            if isinstance(self._file, SparseFile):
                # ask for the whole member at once, not for a header and then its data
                start = info.header_offset
                self._file.need(start, start + _HEADER + len(info.orig_filename) + info.compress_size)
            with archive.open(info) as member:
                return member.read(MEMBER_LIMIT)
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            NotImplementedError,
            EOFError,
            struct.error,
            zlib.error,
        ) as error:
            raise ArchiveError(f"the archive cannot be read: {error}") from None

    def _find(self) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
        archive = zipfile.ZipFile(self._file)
        found = [info for info in archive.infolist() if self._wanted(info.filename)]
        if len(found) != 1:
            raise NoSuchMember(f"the archive has {len(found) or 'no'} members where exactly one is needed")
        info = found[0]
        if max(info.file_size, info.compress_size) > MEMBER_LIMIT:
            raise ArchiveError(f"{info.filename} is too large")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"{info.filename} is packed in a way that wheels are not")
        return archive, info
