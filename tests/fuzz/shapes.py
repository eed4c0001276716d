"""Right frames around arbitrary bytes, so that a fuzzer need not guess checksums and sizes to get inside."""

import gzip
import io
import lzma
import struct
import sys
import warnings
import zipfile
import zlib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["bundle", "ccob", "fatbin", "kpack", "lto", "packed", "ptx", "tar", "zipped"]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def fatbin(data: bytes) -> bytes:
    """A container with the given entries; a first odd byte puts some other bytes before it."""
    before, entries = bytes(data[0] % 9) if data else b"", data[1:]
    return b"\x50\xed\x55\xba" + struct.pack("<HHQ", 1, 16, len(entries)) + entries + before


def bundle(data: bytes) -> bytes:
    """A plain offload bundle, from its number of images on."""
    return b"__CLANG_OFFLOAD_BUNDLE__" + data


def ccob(data: bytes) -> bytes:
    """A compressed bundle of version 1 to 3 with right sizes. First byte: version and method; 8 more: what is added
    to its total, what to the size it promises; then the bundle, its magic too."""
    if len(data) < 9:
        return b"CCOB" + data
    version, method = data[0] % 3 + 1, data[0] // 3 % 2
    more, promise = struct.unpack_from("<bb", data, 1)
    whole = data[9:]
    body = zstd.compress(whole) if method else zlib.compress(whole)
    begin = 16 + (4, 8, 16)[version - 1]
    sizes = (begin + len(body) + more, len(whole) + promise)
    form, values = {1: ("<I", sizes[1:]), 2: ("<II", sizes), 3: ("<QQ", sizes)}[version]
    try:
        head = b"CCOB" + struct.pack("<HH", version, method) + struct.pack(form, *values) + bytes(8)
    except struct.error:
        return b"CCOB" + data
    return head + body + (b"\0" * data[3] + ccob(data[9:40]) if data[4] & 1 else b"")


def kpack(data: bytes) -> bytes:
    """An archive whose table of contents the bytes are."""
    return b"KPAK" + struct.pack("<IQ", 1, 16) + data


def lto(data: bytes) -> bytes:
    """An NVVM container from its versions on."""
    return b"\xed\x43\x4e\x7f" + data


def ptx(data: bytes) -> bytes:
    """A PTX text behind a comment."""
    return b"//\n.version " + data


def tar(data: bytes) -> bytes:
    """A tar archive: every header gets its right checksum, and the end its mark."""
    blocks = bytearray(data + bytes(-len(data) % 512))
    at = 0
    while at < len(blocks):
        if any(blocks[at : at + 512]):
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
        digits = bytes(blocks[at + 124 : at + 136]).strip(b" \0")
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
        at += 512 + -(-size // 512) * 512
    return bytes(blocks) + bytes(1024)


def packed(data: bytes) -> bytes:
    """A tar archive packed with gzip, xz or zstd as the first byte says, cut or repeated as the second says."""
    if len(data) < 3:
        return data
    how, harm, inner = data[0] % 3, data[1], tar(data[2:])
    if how == 0:
        made = gzip.compress(inner, 1, mtime=0)
    elif how == 1:
        made = lzma.compress(inner, preset=0)
    else:
        made = zstd.compress(inner, 1)
    if harm & 1:
        made = made[: len(made) * (harm >> 1) // 127]
    if harm & 2:
        made += bytes(harm >> 2)
    if harm & 4:
        made += made
    return made


class _Pipe(io.BytesIO):
    """What cannot go back, so that sizes follow each member."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise OSError


def zipped(data: bytes) -> bytes:
    """A ZIP archive of a few members, then damaged as the rest of the bytes says.

    A member: flags, length of the name, u16 length of the content, name, content. Flags: 1 deflated, 2 a symbolic
    link, 4 with ZIP64 sizes, 8 (of the first) all with data descriptors; 16: damage follows, u16 places and values.
    """
    made, at, flags = _Pipe() if data and data[0] & 8 else io.BytesIO(), 0, 0
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "w") as archive:
        while at + 4 <= len(data):
            flags, name_size, size = struct.unpack_from("<BBH", data, at)
            if flags & 16:
                break
            name = data[at + 4 : at + 4 + name_size].decode("utf-8", "ignore")
            content = data[at + 4 + name_size : at + 4 + name_size + size]
            at += 4 + name_size + size
            info = zipfile.ZipInfo(name or "x", _LONG_AGO)
            info.create_system = 3
            info.external_attr = (0o120777 if flags & 2 else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if flags & 1 else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=bool(flags & 4)) as member:
                member.write(content)
    whole = bytearray(made.getvalue())
    for place in range(at + 1, len(data) - 2, 3):
        if flags & 16:
            # counted from the end, where directory and end record lie
            where, value = struct.unpack_from("<HB", data, place)
            whole[-1 - where % len(whole)] = value
    return bytes(whole)
