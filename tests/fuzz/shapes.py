"""Right frames around arbitrary bytes, so that a fuzzer need not guess checksums and sizes to get inside."""

import gzip
import io
import json
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

__all__ = ["bundle", "bundled", "ccob", "fatbin", "kpack", "lto", "packed", "ptx", "tar", "zipped"]

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


_ROW, _NEW_FRAME, _WORDS, _DAMAGE = 1, 2, 4, 8


def bundled(data: bytes) -> bytes:
    """A bundle (`.whl.tar.zst`) of a few entries in frames with a right table, then damaged as the rest says.

    An entry: flags, kind (of tar), length of the name, u16 length of the content, name, content (of a link: where it
    leads; of an extended header: its records). Links go into the last frame. Flags: 1 it is not in the list of
    contents, 2 a frame begins before it, 4 the content is the list of contents, 8 damage follows: u16 places counted
    from the end, values.
    """
    frames, rows, links = [b""], [[]], []  # type: list[bytes], list[list[object]], list[object]
    at, flags, said, end = 0, 0, None, b""
    while at + 5 <= len(data):
        flags, kind, name_size, size = struct.unpack_from("<BcBH", data, at)
        if flags & _DAMAGE:
            break
        name, content = data[at + 5 : at + 5 + name_size], data[at + 5 + name_size : at + 5 + name_size + size]
        at += 5 + name_size + size
        if flags & _WORDS:
            said = content
            continue
        if flags & _NEW_FRAME:
            frames.append(b"")
            rows.append([])
        text, listed = name.decode("utf-8", "replace"), not flags & _ROW
        if kind in b"12":
            end += tar(_header(name, kind, 0, content))[:-1024]
            links += [[text, content.decode("utf-8", "replace")]] if listed else []
        else:
            frames[-1] += tar(_header(name, kind, len(content), b"") + content + bytes(-len(content) % 512))[:-1024]
            rows[-1] += [[text, len(content)]] if listed else []
    about = {"bundle": 1, "links": links, "frames": rows}
    said = json.dumps(about).encode() if said is None else said
    frames[0] = tar(_header(b"x-1.dist-info/bundle.json", b"0", len(said), b"") + said)[:-1024] + frames[0]
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    packed = [(zstd.compress(plain, options=checked), len(plain)) for plain in [*frames, end + bytes(1024)]]
    table = b"".join(struct.pack("<II", len(one), size) for one, size in packed)
    head = struct.pack("<II", 0x184D2A5E, len(table) + 9)
    whole = bytearray(
        b"".join(one for one, _ in packed) + head + table + struct.pack("<IBI", len(packed), 0, 0x8F92EAB1)
    )
    for place in range(at + 5, len(data) - 2, 3):
        where, value = struct.unpack_from("<HB", data, place)
        whole[-1 - where % len(whole)] = value
    return bytes(whole)


def _header(name: bytes, kind: bytes, size: int, target: bytes) -> bytes:
    """A tar header without its checksum. The longest names do not fit: what does not fit is cut off."""
    text = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % 0
    return (text + b" " * 8 + kind + target[:100].ljust(100, b"\0") + b"ustar\00000").ljust(512, b"\0")
