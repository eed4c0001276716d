"""The end of a ZIP file (APPNOTE 4.3.12 to 4.3.16): its one end record, and the directory right before it."""

import io
import re
import struct
import zipfile
from typing import NamedTuple

from gpuenv.archive.names import Refused
from gpuenv.archive.source import Read

__all__ = ["MAX_MEMBERS", "read_directory"]

MAX_MEMBERS = 1_000_000
MAX_DIRECTORY = 256 << 20  # bytes

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")


class _End(NamedTuple):
    entries: int
    offset: int
    size: int


def read_directory(read: Read, total: int) -> tuple[list[zipfile.ZipInfo], int]:
    """The entries of a ZIP file of `total` bytes, and where its directory begins; raises Refused."""
    end = _end_record(read, total)
    if end.entries > MAX_MEMBERS:
        raise Refused(f"it has {end.entries} entries; at most {MAX_MEMBERS} are accepted")
    if end.size > MAX_DIRECTORY:
        raise Refused(f"its directory takes {end.size} bytes; at most {MAX_DIRECTORY} are accepted")
    infos = _listed(read, total, end)
    if len(infos) != end.entries:
        raise Refused(f"its end record counts {end.entries} entries, its directory holds {len(infos)}")
    return infos, end.offset


def _tail_start(total: int) -> int:
    """Where the end record begins at the earliest."""
    return max(0, total - _END.size - 0xFFFF)


def _end_record(read: Read, total: int) -> _End:
    """The one end of central directory record, with its ZIP64 companions (APPNOTE 4.3.14 to 4.3.16)."""
    start = _tail_start(total)
    tail = read(start, total - start)
    found = [
        match.start()
        for match in re.finditer(b"PK\x05\x06", tail)
        if match.start() + _END.size <= len(tail)
        and match.start() + _END.size + _END.unpack_from(tail, match.start())[-1] == len(tail)
    ]
    if not found:
        raise Refused("it does not end with a ZIP end record: truncated, or bytes follow it")
    if len(found) > 1:
        raise Refused("it has two end records: another ZIP file hides in its comment")
    position = start + found[0]
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(tail, found[0])
    if b"PK" in tail[len(tail) - comment :][:comment]:
        raise Refused("its comment holds ZIP records")
    if disk or first_disk or here != count:
        raise Refused("it is one part of a divided archive")
    end = _End(count, offset, size)
    locator = read(position - _LOCATOR.size, _LOCATOR.size) if position >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        position, end = _end_record_64(read, position - _LOCATOR.size, locator, end)
    elif 0xFFFFFFFF in (offset, size):
        raise Refused("its ZIP64 record is missing")
    if end.offset + end.size != position:
        raise Refused("its directory does not lie right before its end record: bytes precede or divide the archive")
    return end


def _end_record_64(read: Read, position: int, locator: bytes, short: _End) -> tuple[int, _End]:
    _, disk, offset, disks = _LOCATOR.unpack(locator)
    if disk or disks != 1 or offset + _END64.size != position:
        raise Refused("its ZIP64 locator does not point at the record before it")
    record = read(offset, _END64.size)
    if len(record) != _END64.size:
        raise Refused("its ZIP64 record is missing")
    signature, length, _, _, disk, first_disk, here, count, size, start = _END64.unpack(record)
    if signature != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk or here != count:
        raise Refused("its ZIP64 record is malformed")
    long = _End(count, start, size)
    for small, large, marker in zip(short, long, (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True):
        if small not in (large, marker):
            raise Refused("its ZIP64 record contradicts its end record")
    return offset, long


class _Tail(io.BytesIO):
    """The end of a file, for a reader that believes to have all of it and looks at the end only."""

    def __init__(self, data: bytes, start: int) -> None:
        super().__init__(data)
        self._start = start

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset < self._start:
            raise zipfile.BadZipFile("it lies somewhere else")
        return super().seek(offset - (self._start if whence == io.SEEK_SET else 0), whence) + self._start

    def tell(self) -> int:
        return super().tell() + self._start


def _listed(read: Read, total: int, end: _End) -> list[zipfile.ZipInfo]:
    start = min(end.offset, _tail_start(total))
    data = read(start, total - start)
    # each entry becomes a large object: what lies about their number is found before
    if data.count(b"PK\x01\x02") > 2 * MAX_MEMBERS:
        raise Refused(f"its directory holds more than {MAX_MEMBERS} entries")
    try:
        with zipfile.ZipFile(_Tail(data, start)) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise Refused(f"its directory cannot be read: {error}") from error
