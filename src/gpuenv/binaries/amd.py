"""AMD's device code: clang offload bundles, plain and compressed, and single code objects.

Layouts: Clang's documentation "Clang Offload Bundler", and LLVM's "User Guide for AMDGPU Backend", section "Code
Object". All numbers are little-endian.

    bundle      24 bytes of magic, u64 count, then count times: u64 offset, u64 size, u64 length of the id, the id.
                Offsets count from the magic.
    CCOB        4 bytes of magic, u16 version, u16 method (0 zlib, 1 zstd), sizes, u64 hash, then a bundle, compressed.
                Sizes, in version 1: u32 uncompressed; in 2: u32 total, u32 uncompressed; in 3: u64 and u64.
                The total counts the header.
    code object an ELF file with e_machine 224; e_flags say the processor and its features.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from gpuenv.archive import zstd
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.architecture import AMD_PROCESSORS, has_sramecc, has_xnack
from gpuenv.model.facts import Code, Unit

__all__ = ["BUNDLE_MAGIC", "CCOB_MAGIC", "code_object", "read_bundle", "read_compressed"]

BUNDLE_MAGIC = b"__CLANG_OFFLOAD_BUNDLE__"
CCOB_MAGIC = b"CCOB"

# Real bundles have at most some forty images, with ids of some fifty characters.
_COUNT_LIMIT = 4096
_ID_LIMIT = 256
_HEAD = len(BUNDLE_MAGIC) + 8 + 24 + _ID_LIMIT
_TABLE_LIMIT = 1 << 20
_FIRST = 16 << 10
_PACKED = 192 << 10  # enough for the first block of any zstd frame
_PACKED_TABLE = _TABLE_LIMIT + (64 << 10)  # what cannot be packed grows a little
_STEP = 64 << 10  # bundles may be much smaller than what is read to find the end of one

_RATIO = 1 << 16  # zstd packs 128 KiB into four bytes, and no denser

_ID = re.compile(rb"[A-Za-z0-9_]+-[A-Za-z0-9_.]+-[ -~]*")  # offload kind, architecture of the triple, and more
_AMD = re.compile(r"[a-z0-9_]+-amdgcn-")
_TARGET = re.compile(r"[a-z0-9_]+-amdgcn-[^-]*-[^-]*-(?:[^-]*-)?(gfx[0-9a-z][0-9a-z-]*)((?::[a-z0-9-]+[+-])*)")
_SPIRV = re.compile(r"[a-z0-9_]+-spirv(?:64|32)?-amd-.*amdgcnspirv")

_CCOB_SIZES = {1: "<I", 2: "<II", 3: "<QQ"}
_ZLIB, _ZSTD = 0, 1
_METHODS = {_ZLIB: "zlib", _ZSTD: "zstd"}

_EM_AMDGPU = 224
_OSABI_HSA = 64


class _Entry(NamedTuple):
    """A line of a bundle's table. offset: from the bundle's first byte."""

    id: str
    offset: int
    size: int


def read_bundle(tape: Tape, limit: int) -> Unit | None:
    """Read a plain offload bundle; the tape stands at `BUNDLE_MAGIC`, `limit` bytes before the file's end.

    Codes: the images for amdgcn, each with the ISA version its own ELF header says, and `amdgcnspirv` as `lto`; host
    code, other vendors' triples, and empty images (placeholders) are none. Size: up to the end of the last image,
    where the tape then stands.
    None, with the tape where it was, where the magic is only a string (compilers carry it); BinaryError where images
    lie outside the file or over one another.
    """
    start = tape.position
    if not _begins(tape.peek(min(_HEAD, limit))):  # a short look first: the magic may stand there a million times
        return None
    entries = _table(lambda size: tape.peek(min(size, limit)), limit, f"offload bundle at byte {start}")
    if entries is None:
        return None
    codes: dict[_Entry, Code] = {}
    end = _table_end(entries)
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.size:
            _forward(tape, start + entry.offset)
            code = _code(entry, tape.peek(min(entry.size, 64)), compressed=False)
            end = entry.offset + entry.size
            if code:
                codes[entry] = code
    _forward(tape, start + end)
    return Unit(offset=start, size=end, codes=tuple(codes[entry] for entry in entries if entry in codes))


def read_compressed(tape: Tape, limit: int) -> Unit | None:
    """Read a compressed offload bundle of version 1 to 3; the tape stands at `CCOB_MAGIC`, `limit` before the end.

    Only the table at the beginning of what it holds is decompressed, 1 MiB at most, so neither the images nor the
    hash are looked at. Codes are chosen as in a plain bundle; their `bytes` are those the table says, that is before
    compression, for the images of one bundle are compressed together. Size: the stored size of the whole; version 1
    does not say it, so there the stream tells where it ends: zlib's by being decompressed and thrown away.
    The tape then stands behind the bundle. None, with the tape where it was, where the four bytes are no bundle's;
    BinaryError where the sizes lie, the stream is damaged, or the version is newer than 3.
    """
    start = tape.position
    head = tape.peek(min(limit, 64))
    shape = _shape(head, start)
    if shape is None:
        return None
    version, method, begin = shape
    sizes: tuple[int, ...] = struct.unpack_from(_CCOB_SIZES[version], head, 8)
    name, promised = f"compressed offload bundle at byte {start}", sizes[-1]
    if version > 1 and not begin < sizes[0] <= limit:
        raise BinaryError(f"{name} says it has {sizes[0]:,} bytes, there are {limit:,} up to the end of the file")
    total = sizes[0] if version > 1 else limit
    if promised > total * _RATIO:
        raise BinaryError(f"{name} says its {total:,} bytes hold {promised:,}, more than can be")

    def inside(size: int) -> bytes:
        wanted = min(total, begin + (_PACKED if size <= _FIRST else _PACKED_TABLE))
        packed = tape.peek(wanted)
        if len(packed) < wanted:
            raise BinaryError(f"{name} should have {total:,} bytes, the file ends after {len(packed):,} of them")
        data = _unpack(method, packed[begin:], min(size, promised))
        if data is None:
            raise BinaryError(f"{name} cannot be decompressed ({_METHODS[method]})")
        return data

    entries = _table(inside, promised, f"what is in the {name}")
    if entries is None:
        raise BinaryError(f"{name} does not hold an offload bundle")
    codes = tuple(code for entry in entries if entry.size and (code := _code(entry, b"", compressed=True)))
    if version > 1:
        _forward(tape, start + total)
    else:
        total = _measure(tape, method, begin, limit, promised, name)
    return Unit(offset=start, size=total, codes=codes)


def code_object(header: bytes, size: int = 0) -> Code | None:
    """The device code that an amdgcn ELF file is, from its first 64 bytes; `size`: of the file, for `Code.bytes`.

    isa: the code object version, EI_ABIVERSION + 2. A processor that is not known is named by its number,
    `amdgcn-0x5b`; version 2 has no number, `amdgcn`. features: those stated; in version 3 a processor's feature that
    is not on is off, from version 4 on it may be left open. None for other files, among them code for Mesa and PAL
    drivers, which ROCm does not load.
    """
    if len(header) < 64 or header[:7] != b"\x7fELF\x02\x01\x01" or header[7] != _OSABI_HSA:
        return None
    machine, flags = struct.unpack_from("<18xH28xI", header)
    if machine != _EM_AMDGPU:
        return None
    version, number = header[8] + 2, flags & 0xFF
    if version == 2:
        return Code(vendor="amd", kind="code-object", arch="amdgcn", bytes=size, isa="2")
    arch = AMD_PROCESSORS.get(number, f"amdgcn-{number:#04x}")
    if version == 3:
        xnack = 2 + (flags >> 8 & 1) if has_xnack(arch) else 0
        sramecc = 2 + (flags >> 9 & 1) if has_sramecc(arch) else 0
    else:
        xnack, sramecc = flags >> 8 & 3, flags >> 10 & 3
    features = tuple(
        name + "-+"[state - 2] for name, state in (("sramecc", sramecc), ("xnack", xnack)) if state in (2, 3)
    )
    return Code(vendor="amd", kind="code-object", arch=arch, bytes=size, features=features, isa=str(version))


def _table(head: Callable[[int], bytes], limit: int, name: str) -> list[_Entry] | None:
    """The table of a bundle of at most `limit` bytes; `head(n)` gives its first n bytes, fewer only at its end.

    None where there is none.
    """
    data = head(_FIRST)
    if not _begins(data):
        return None
    at = len(BUNDLE_MAGIC) + 8
    (count,) = struct.unpack_from("<Q", data, at - 8)
    if count > _COUNT_LIMIT or at + 24 * count > limit:
        raise BinaryError(f"{name} says it has {count:,} images")
    entries = []
    whole = len(data) < _FIRST
    for number in range(1, count + 1):
        if at + 24 + _ID_LIMIT > len(data) and not whole:
            data, whole = head(_TABLE_LIMIT), True
        if at + 24 > len(data):
            raise BinaryError(f"{name} ends in its table, before image {number} of {count}")
        offset, size, length = struct.unpack_from("<QQQ", data, at)
        raw = data[at + 24 : at + 24 + min(length, _ID_LIMIT)]
        if len(raw) < length or not _ID.fullmatch(raw):
            raise BinaryError(f"{name} has no readable name for image {number} of {count}")
        at += 24 + length
        entries.append(_Entry(raw.decode("ascii"), offset, size))
    _check(entries, at, limit, name)
    return entries


def _begins(data: bytes) -> bool:
    """Whether a table follows the magic: it has entries, and the first has an id like an id."""
    at = len(BUNDLE_MAGIC) + 8
    if not data.startswith(BUNDLE_MAGIC) or len(data) < at + 24:
        return False
    (count,) = struct.unpack_from("<Q", data, at - 8)
    (length,) = struct.unpack_from("<Q", data, at + 16)
    return count > 0 and length <= _ID_LIMIT and bool(_ID.fullmatch(data[at + 24 : at + 24 + length]))


def _check(entries: list[_Entry], begin: int, limit: int, name: str) -> None:
    """Refuse images that lie over the table or one another, or end behind `limit`."""
    behind = begin
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if not entry.size:
            continue
        end = entry.offset + entry.size
        if end > limit:
            raise BinaryError(f"{name} says its image {entry.id} ends after {end:,} bytes, there are {limit:,}")
        if entry.offset < behind:
            raise BinaryError(f"{name} has its image {entry.id} where something else lies")
        behind = end


def _table_end(entries: list[_Entry]) -> int:
    return len(BUNDLE_MAGIC) + 8 + sum(24 + len(entry.id) for entry in entries)


def _code(entry: _Entry, header: bytes, *, compressed: bool) -> Code | None:
    """The device code of an image, by its id, which is what the runtime chooses by; the version is its ELF header's.

    Where the id says no target in clang's words, the header does; where there is none to look at, it is `amdgcn`.
    """
    if _SPIRV.fullmatch(entry.id):
        return Code(vendor="amd", kind="lto", arch="amdgcnspirv", bytes=entry.size, compressed=compressed)
    if not _AMD.match(entry.id):
        return None
    own, stated = code_object(header), _TARGET.fullmatch(entry.id)
    if stated:
        arch, features = stated[1], tuple(sorted(stated[2].split(":")[1:]))
    else:
        arch, features = (own.arch, own.features) if own else ("amdgcn", ())
    return Code("amd", "code-object", arch, entry.size, features, own.isa if own else None, compressed)


def _shape(head: bytes, start: int) -> tuple[int, int, int] | None:
    """(version, method, size of the header) of a compressed bundle; None where these bytes are none."""
    if len(head) < 8 or not head.startswith(CCOB_MAGIC):
        return None
    version, method = struct.unpack_from("<HH", head, 4)
    if version not in _CCOB_SIZES:
        if 3 < version < 32 and method == _ZSTD and zstd.MAGIC in head[16:]:
            raise BinaryError(f"compressed offload bundle at byte {start} is of version {version}, newer than known")
        return None
    begin = 16 + struct.calcsize(_CCOB_SIZES[version])
    payload = head[begin:]
    if method == _ZSTD:
        good = payload.startswith(zstd.MAGIC)
    else:  # RFC 1950: deflate, and a check of the first two bytes
        good = method == _ZLIB and len(payload) > 1 and payload[0] & 15 == 8 and int.from_bytes(payload[:2]) % 31 == 0
    return (version, method, begin) if good else None


def _unpack(method: int, packed: bytes, limit: int) -> bytes | None:
    """The first `limit` bytes of a stream of which `packed` is the beginning; None where it is damaged."""
    if method == _ZSTD:
        return zstd.decompress_head(packed, limit)
    try:
        return zlib.decompressobj().decompress(packed, limit) if limit else b""
    except zlib.error:
        return None


def _measure(tape: Tape, method: int, begin: int, limit: int, promised: int, name: str) -> int:
    """The size of a bundle of version 1: its header, and the stream behind it, which tells its own end."""
    end = tape.position + limit
    _forward(tape, tape.position + begin)
    ahead = 0

    def read() -> bytes:
        nonlocal ahead
        _forward(tape, tape.position + ahead)
        data = tape.peek(min(_STEP, end - tape.position))
        ahead = len(data)
        return data

    start = tape.position
    length = zstd.frame_length(read, promised) if method == _ZSTD else _zlib_length(read, promised)
    if length is None:
        raise BinaryError(f"{name} cannot be decompressed ({_METHODS[method]})")
    _forward(tape, start + length)
    return begin + length


def _zlib_length(read: Callable[[], bytes], limit: int) -> int | None:
    """What `zstd.frame_length` says of zstd, of a zlib stream."""
    stream, packed, done = zlib.decompressobj(), 0, 0
    while not stream.eof:
        pending = stream.unconsumed_tail
        if not pending:
            pending = read()
            packed += len(pending)
        if not pending:
            return None
        try:
            done += len(stream.decompress(pending, zstd.CHUNK))
        except zlib.error:
            return None
        if done > limit:
            return None
    return packed - len(stream.unused_data)


def _forward(tape: Tape, position: int) -> None:
    missing = position - tape.position
    if tape.skip(missing) < missing:
        raise BinaryError(f"device code should go on to byte {position:,}, the file ends after {tape.position:,}")
