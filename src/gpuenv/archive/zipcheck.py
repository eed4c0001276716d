"""Is this ZIP file (APPNOTE 6.3) the same archive for every reader?

Readers differ: some believe the central directory, some the local headers, some the last end record, some the first.
An archive is accepted only where all of them must see the same members: one end record, members without gaps from
the first byte to the central directory, and local headers that repeat what the directory says.
"""

import stat
import struct
import zipfile
from typing import NamedTuple

from gpuenv.archive.names import Refused, check_clashes, check_name
from gpuenv.archive.source import Read
from gpuenv.archive.zipdirectory import read_directory

__all__ = ["Listed", "Member", "Refused", "list_members", "place", "read_members"]

MAX_TOTAL = 128 << 30
MAX_RATIO = 200
RATIO_MATTERS_FROM = 1 << 30
DEFLATE_LIMIT = 1032  # deflate cannot pack better than this
DEFLATE_SLACK = 1 << 10

_LOCAL = struct.Struct("<4s5H3L2H")
_UNICODE_PATH, _ZIP64 = 0x7075, 0x0001
_DESCRIPTOR, _UTF8, _KNOWN_FLAGS = 0x0008, 0x0800, 0x080E
_ZSTD = 93
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class Member(NamedTuple):
    """One file of the archive. offset: of its packed bytes. method: 0 stored, 8 deflated. Sizes in bytes.

    link: its content is the target of a symbolic link.
    """

    name: str
    size: int
    packed: int
    crc: int
    method: int
    executable: bool
    offset: int
    link: bool = False


class Listed(NamedTuple):
    """A file as the directory lists it, its local header not looked at: the member's offset is that of the header.

    stop: where what follows it begins.
    """

    member: Member
    info: zipfile.ZipInfo
    stop: int


def read_members(read: Read, total: int, *, case_sensitive: bool, links: bool = False) -> tuple[Member, ...]:
    """Every file of a ZIP archive of `total` bytes, in directory order; raises Refused.

    case_sensitive: names that differ only in case are two files where the result will live. links: entries may be
    symbolic links (with the mode of Unix in their attributes).
    """
    infos, stops = _entries(read, total)
    offsets = [_place(read, info, stop) for info, stop in zip(infos, stops, strict=True)]
    _check_entries(infos, case_sensitive=case_sensitive, links=links)
    return tuple(
        _member(info, offset) for info, offset in zip(infos, offsets, strict=True) if not info.filename.endswith("/")
    )


def list_members(read: Read, total: int, *, case_sensitive: bool, links: bool = False) -> tuple[Listed, ...]:
    """The same from the directory alone, for whom each read is dear: `place` checks the rest, file by file."""
    infos, stops = _entries(read, total)
    _check_entries(infos, case_sensitive=case_sensitive, links=links)
    return tuple(
        Listed(_member(info, info.header_offset), info, stop)
        for info, stop in zip(infos, stops, strict=True)
        if not info.filename.endswith("/")
    )


def place(read: Read, listed: Listed) -> Member:
    """Check the local header of one file, and that nothing hides behind it; raises Refused."""
    return _member(listed.info, _place(read, listed.info, listed.stop))


def _member(info: zipfile.ZipInfo, offset: int) -> Member:
    mode = info.external_attr >> 16
    return Member(
        info.filename,
        info.file_size,
        info.compress_size,
        info.CRC,
        info.compress_type,
        bool(mode & 0o111),
        offset,
        stat.S_ISLNK(mode),
    )


def _entries(read: Read, total: int) -> tuple[list[zipfile.ZipInfo], list[int]]:
    """The entries of the directory, and of each where the next one or the directory begins."""
    infos, directory = read_directory(read, total)
    _check_sizes(infos, total)
    return infos, _stops(infos, directory)


def _check_sizes(infos: list[zipfile.ZipInfo], total: int) -> None:
    declared = sum(info.file_size for info in infos)
    if declared > MAX_TOTAL or (declared > RATIO_MATTERS_FROM and declared > MAX_RATIO * total):
        raise Refused(f"it would unpack to {declared} bytes from {total}: a decompression bomb")


def _check_entries(infos: list[zipfile.ZipInfo], *, case_sensitive: bool, links: bool) -> None:
    for info in infos:
        _check_entry(info, links=links)
    check_clashes([info.filename for info in infos], case_sensitive=case_sensitive)


def _check_entry(info: zipfile.ZipInfo, *, links: bool) -> None:
    """One directory entry by itself: kind, method, flags, name."""
    name = info.orig_filename
    if info.flag_bits & ~_KNOWN_FLAGS:
        kind = "encrypted" if info.flag_bits & 0x2041 else "written with ZIP features that wheels do not use"
        raise Refused(f"entry {name!r} is {kind}")
    if info.compress_type not in _METHODS:
        method = "93, zstd: pip cannot install it" if info.compress_type == _ZSTD else info.compress_type
        raise Refused(f"entry {name!r} is neither stored nor deflated (method {method})")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise Refused(f"entry {name!r} is stored with two different sizes")
    if info.file_size > DEFLATE_LIMIT * info.compress_size + DEFLATE_SLACK:
        raise Refused(f"entry {name!r} declares more bytes than deflate can pack: a decompression bomb")
    kind_bits = stat.S_IFMT(info.external_attr >> 16)
    directory = name.endswith("/")
    if kind_bits == stat.S_IFLNK and not links:
        raise Refused(f"entry {name!r} is a symbolic link; wheels hold none")
    if kind_bits not in (0, stat.S_IFDIR if directory else stat.S_IFREG) and (kind_bits != stat.S_IFLNK or directory):
        raise Refused(f"entry {name!r} is not a plain file")
    if directory and info.file_size:
        raise Refused(f"entry {name!r} is a directory with content")
    check_name(name)


def _stops(infos: list[zipfile.ZipInfo], directory: int) -> list[int]:
    """Of each entry, where the next one or the directory begins.

    With `_place`: entries follow each other without gap or overlap, from byte 0 to the directory; nothing hides.
    """
    if not infos and directory:
        raise Refused("bytes hide before its directory")
    stops = [directory] * len(infos)
    position, before = 0, -1
    for number in sorted(range(len(infos)), key=lambda number: infos[number].header_offset):
        offset = infos[number].header_offset
        if (before < 0 and offset) or (before >= 0 and offset <= position) or offset >= directory:
            raise Refused(
                f"entry {infos[number].orig_filename!r} does not follow the one before it: bytes hide or overlap"
            )
        if before >= 0:
            stops[before] = offset
        position, before = offset, number
    return stops


def _place(read: Read, info: zipfile.ZipInfo, stop: int) -> int:
    """Check an entry's local header and what follows its packed bytes; return where these begin."""
    offset = _check_local_header(read, info)
    after = offset + info.compress_size
    if info.flag_bits & _DESCRIPTOR:
        _check_descriptor(read, info, after, stop - after)
    elif stop != after:
        raise Refused(f"bytes hide after entry {info.orig_filename!r}, or it overlaps the next one")
    return offset


def _check_local_header(read: Read, info: zipfile.ZipInfo) -> int:
    """Check one local header (APPNOTE 4.3.7) and return the offset behind it."""
    name = info.orig_filename
    raw_name = name.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    header = read(info.header_offset, _LOCAL.size + len(raw_name) + 512)
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
        extra = read(info.header_offset + begin, extra_length)
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


def _check_descriptor(read: Read, info: zipfile.ZipInfo, offset: int, length: int) -> None:
    """Check the data descriptor (APPNOTE 4.3.9): with or without signature, with sizes of 4 or 8 bytes."""
    true = (info.CRC, info.compress_size, info.file_size)
    record = read(offset, length) if length in (12, 16, 20, 24) else b""
    if length in (16, 24) and record.startswith(b"PK\x07\x08"):
        record = record[4:]
    forms = {12: "<3L", 20: "<LQQ"}
    if len(record) not in forms or struct.unpack(forms[len(record)], record) != true:
        raise Refused(f"entry {info.orig_filename!r} has a data descriptor that contradicts the directory")
