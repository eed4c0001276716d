"""Is this ZIP file (APPNOTE 6.3) the same archive for every reader?

Readers differ: some believe the central directory, some the local headers, some the last end record, some the first.
An archive is accepted only where all of them must see the same members: one end record, members without gaps from
the first byte to the central directory, and local headers that repeat what the directory says.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Member", "Refused", "read_members"]

MAX_MEMBERS = 1_000_000
MAX_TOTAL = 128 << 30
MAX_RATIO = 200
RATIO_MATTERS_FROM = 1 << 30
DEFLATE_LIMIT = 1032  # deflate cannot pack better than this
DEFLATE_SLACK = 1 << 10

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_UNICODE_PATH, _ZIP64 = 0x7075, 0x0001
_DESCRIPTOR, _UTF8, _KNOWN_FLAGS = 0x0008, 0x0800, 0x080E
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class Refused(Exception):
    """The archive is damaged or means different things to different readers; the text says why."""


class Member(NamedTuple):
    """One file of the archive. offset: of its packed bytes. method: 0 stored, 8 deflated. Sizes in bytes."""

    name: str
    size: int
    packed: int
    crc: int
    method: int
    executable: bool
    offset: int


class _End(NamedTuple):
    entries: int
    offset: int
    size: int


def read_members(fd: int, *, case_sensitive: bool) -> tuple[Member, ...]:
    """Every file of the ZIP archive behind `fd`, in directory order; raises Refused.

    case_sensitive: names that differ only in case are two files where the result will live.
    """
    total = os.fstat(fd).st_size
    end = _end_record(fd, total)
    infos = _directory(fd)
    if len(infos) != end.entries:
        raise Refused(f"its end record counts {end.entries} entries, its directory holds {len(infos)}")
    if end.entries > MAX_MEMBERS:
        raise Refused(f"it has {end.entries} entries; at most {MAX_MEMBERS} are accepted")
    _check_sizes(infos, total)
    offsets = _check_local_headers(fd, infos, end.offset)
    for info in infos:
        _check_entry(info)
    _check_clashes([info.filename for info in infos], case_sensitive=case_sensitive)
    return tuple(
        Member(
            info.filename,
            info.file_size,
            info.compress_size,
            info.CRC,
            info.compress_type,
            bool(info.external_attr >> 16 & 0o111),
            offsets[number],
        )
        for number, info in enumerate(infos)
        if not info.filename.endswith("/")
    )


def _end_record(fd: int, total: int) -> _End:
    """The one end of central directory record, with its ZIP64 companions (APPNOTE 4.3.14 to 4.3.16)."""
    start = max(0, total - _END.size - 0xFFFF)
    tail = os.pread(fd, total - start, start)
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
    locator = os.pread(fd, _LOCATOR.size, position - _LOCATOR.size) if position >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        position, end = _end_record_64(fd, position - _LOCATOR.size, locator, end)
    elif 0xFFFFFFFF in (offset, size):
        raise Refused("its ZIP64 record is missing")
    if end.offset + end.size != position:
        raise Refused("its directory does not lie right before its end record: bytes precede or divide the archive")
    return end


def _end_record_64(fd: int, position: int, locator: bytes, short: _End) -> tuple[int, _End]:
    _, disk, offset, disks = _LOCATOR.unpack(locator)
    if disk or disks != 1 or offset + _END64.size != position:
        raise Refused("its ZIP64 locator does not point at the record before it")
    record = os.pread(fd, _END64.size, offset)
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


def _directory(fd: int) -> list[zipfile.ZipInfo]:
    try:
        with os.fdopen(os.dup(fd), "rb") as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise Refused(f"its directory cannot be read: {error}") from error


def _check_sizes(infos: list[zipfile.ZipInfo], total: int) -> None:
    declared = sum(info.file_size for info in infos)
    if declared > MAX_TOTAL or (declared > RATIO_MATTERS_FROM and declared > MAX_RATIO * total):
        raise Refused(f"it would unpack to {declared} bytes from {total}: a decompression bomb")


def _check_entry(info: zipfile.ZipInfo) -> None:
    """One directory entry by itself: kind, method, flags, name."""
    name = info.orig_filename
    if info.flag_bits & ~_KNOWN_FLAGS:
        kind = "encrypted" if info.flag_bits & 0x2041 else "written with ZIP features that wheels do not use"
        raise Refused(f"entry {name!r} is {kind}")
    if info.compress_type not in _METHODS:
        raise Refused(f"entry {name!r} is neither stored nor deflated (method {info.compress_type})")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise Refused(f"entry {name!r} is stored with two different sizes")
    if info.file_size > DEFLATE_LIMIT * info.compress_size + DEFLATE_SLACK:
        raise Refused(f"entry {name!r} declares more bytes than deflate can pack: a decompression bomb")
    kind_bits = stat.S_IFMT(info.external_attr >> 16)
    if kind_bits == stat.S_IFLNK:
        raise Refused(f"entry {name!r} is a symbolic link; wheels hold none")
    directory = name.endswith("/")
    if kind_bits not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
        raise Refused(f"entry {name!r} is not a plain file")
    if directory and info.file_size:
        raise Refused(f"entry {name!r} is a directory with content")
    _check_name(name)


def _check_name(name: str) -> None:
    if _CONTROL.search(name):
        raise Refused(f"entry {name!r} has control characters in its name")
    if "\\" in name:
        raise Refused(f"entry {name!r} has a backslash in its name")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Refused(f"entry {name!r} is an absolute path")
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        raise Refused(f"entry {name!r} leaves the archive")
    if "" in parts or "." in parts:
        raise Refused(f"entry {name!r} has an empty part in its name")
    if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 2048:
        raise Refused(f"entry {name[:80]!r}… has a name that is too long")


def _check_clashes(names: list[str], *, case_sensitive: bool) -> None:
    """No two entries may be one file: the same name, one below the other, or equal but for spelling.

    Unicode has several spellings of one text (UAX 15), and some file systems keep one of them.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = name if name.isascii() else unicodedata.normalize("NFC", name)
        key = key if case_sensitive else unicodedata.normalize("NFC", key.casefold())
        if (other := seen.setdefault(key.removesuffix("/"), name)) is not name:
            raise Refused(f"entries {other!r} and {name!r} are one file")
    for key, name in seen.items():
        for parent in _parents(key):
            above = seen.get(parent)
            if above is not None and not above.endswith("/"):
                raise Refused(f"entry {above!r} is a file and the directory of {name!r}")


def _parents(key: str) -> Iterable[str]:
    position = key.rfind("/")
    while position > 0:
        yield key[:position]
        position = key.rfind("/", 0, position)


def _check_local_headers(fd: int, infos: list[zipfile.ZipInfo], directory: int) -> list[int]:
    """Compare each local header with the directory; return where each entry's packed bytes begin.

    Entries must follow each other without gap or overlap, from byte 0 to the directory: nothing hides between them.
    """
    order = sorted(range(len(infos)), key=lambda number: infos[number].header_offset)
    offsets = [0] * len(infos)
    position = 0
    for rank, number in enumerate(order):
        info = infos[number]
        if info.header_offset != position:
            raise Refused(f"entry {info.orig_filename!r} does not follow the one before it: bytes hide or overlap")
        offsets[number] = _check_local_header(fd, info)
        after = offsets[number] + info.compress_size
        last = rank + 1 == len(order)
        position = directory if last else infos[order[rank + 1]].header_offset
        if info.flag_bits & _DESCRIPTOR:
            _check_descriptor(fd, info, after, position - after)
        elif position != after:
            raise Refused(f"bytes hide after entry {info.orig_filename!r}, or it overlaps the next one")
    if not infos and directory:
        raise Refused("bytes hide before its directory")
    return offsets


def _check_local_header(fd: int, info: zipfile.ZipInfo) -> int:
    """Check one local header (APPNOTE 4.3.7) and return the offset behind it."""
    name = info.orig_filename
    raw_name = name.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    header = os.pread(fd, _LOCAL.size + len(raw_name) + 512, info.header_offset)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise Refused(f"entry {name!r} has no local header")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(header)
    if header[_LOCAL.size : _LOCAL.size + name_length] != raw_name:
        raise Refused(f"entry {name!r} has another name in its local header")
    if flags != info.flag_bits or method != info.compress_type:
        raise Refused(f"entry {name!r} has another method or other flags in its local header")
    begin = _LOCAL.size + name_length
    extra = header[begin : begin + extra_length]
    if len(extra) < extra_length:
        extra = os.pread(fd, extra_length, info.header_offset + begin)
    if _UNICODE_PATH in (fields := _extra_fields(extra, name)) or _UNICODE_PATH in _extra_fields(info.extra, name):
        raise Refused(f"entry {name!r} has a second name")
    said = (crc, *_local_sizes(size, packed, fields.get(_ZIP64), name))
    true = (info.CRC, info.file_size, info.compress_size)
    deferred = flags & _DESCRIPTOR and all(one in (0, other) for one, other in zip(said, true, strict=True))
    if said != true and not deferred:
        raise Refused(f"entry {name!r} has another size or checksum in its local header")
    return int(info.header_offset + begin + extra_length)


def _extra_fields(extra: bytes, name: str) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind in fields and kind == _ZIP64:
            raise Refused(f"entry {name!r} has two ZIP64 records")
        fields[kind] = extra[4 : 4 + length]
        if len(fields[kind]) != length:
            raise Refused(f"entry {name!r} has a broken extra field")
        extra = extra[4 + length :]
    return fields


def _local_sizes(size: int, packed: int, zip64: bytes | None, name: str) -> tuple[int, int]:
    if 0xFFFFFFFF not in (size, packed):
        return size, packed
    values = list(struct.unpack(f"<{len(zip64) // 8}Q", zip64[: len(zip64) // 8 * 8])) if zip64 else []
    if len(values) < (size == 0xFFFFFFFF) + (packed == 0xFFFFFFFF):
        raise Refused(f"entry {name!r} has no ZIP64 sizes")
    size = values.pop(0) if size == 0xFFFFFFFF else size
    packed = values.pop(0) if packed == 0xFFFFFFFF else packed
    return size, packed


def _check_descriptor(fd: int, info: zipfile.ZipInfo, offset: int, length: int) -> None:
    """Check the data descriptor (APPNOTE 4.3.9): with or without signature, with sizes of 4 or 8 bytes."""
    true = (info.CRC, info.compress_size, info.file_size)
    record = os.pread(fd, length, offset) if length in (12, 16, 20, 24) else b""
    if length in (16, 24) and record.startswith(b"PK\x07\x08"):
        record = record[4:]
    forms = {12: "<3L", 20: "<LQQ"}
    if len(record) not in forms or struct.unpack(forms[len(record)], record) != true:
        raise Refused(f"entry {info.orig_filename!r} has a data descriptor that contradicts the directory")
