"""NVIDIA's device code: fatbin containers, which architectures are in them, and PTX texts.

NVIDIA publishes no description of the container. What stands here was found by making fatbins with CUDA 13.0, turning
single bits of them and reading what cuobjdump 13.5 then says; see fixtures/binaries/nvidia/README.md.

    container   u32 magic, u16 version (1), u16 size of this header (16), u64 bytes of entries, entries
    entry       u16 kind, u16 version (0x0101), u32 size of this header, u64 bytes of payload, u32 bytes used of a
                compressed payload, u32 place of the options, u16 minor and u16 major version of the code, u32
                architecture, u32 place and u32 size of a name, u64 flags, more that is not needed here
"""

import struct
from functools import lru_cache

from gpuenv.binaries.cubin import cubin_code, lto_code, ptx_code
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, Kind, Unit

__all__ = ["FATBIN_MAGIC", "cubin_code", "lto_code", "ptx_code", "read_fatbin"]

FATBIN_MAGIC = b"\x50\xed\x55\xba"

_CONTAINER = struct.Struct("<4sHHQ")
_ENTRY = struct.Struct("<HHIQ8xHHI8xQ8x")  # its size, 56, is less than what every entry has
_ENTRY_LEAST = 64
_ENTRY_VERSION = 0x0101
# the largest header seen is 280 bytes; the options in it are a command line
_ENTRY_MOST = 1 << 20
# the most images seen in one container are 16
_IMAGES_MOST = 65_536
_ARCHITECTURE_MOST = 9_999

_KINDS: dict[int, tuple[Kind, str]] = {
    1: ("ptx", "compute"),
    2: ("sass", "sm"),
    4: ("sass", "sm"),  # cubins before they were ELF files, never seen
    8: ("lto", "sm"),
    64: ("ptx", "compute"),  # relocatable
    128: ("data", "tile"),  # tile IR, never seen
}
_TABLES = (32, 256)  # an index, entries joined together: no code and no architecture
_COMPRESSED = 0xF000  # 0x2000 is LZ4, 0x8000 Zstandard, the others were never seen
_EXACT = 0x100000  # `a`, which prevails
_FAMILY = 0x200000  # `f`


def read_fatbin(tape: Tape, limit: int) -> Unit | None:
    """The container that starts where the tape stands; afterwards the tape stands behind it.

    limit: bytes of the file from here on. Only headers of entries are read, payloads are skipped. Code: `bytes` is the
    payload's room in the container, without the header; `isa` is given for PTX. What is neither machine code nor PTX
    nor LTO IR is `data`, with an architecture that is no GPU's, `tile_100` or `kind512_100`, so that it serves none.

    None, and the tape is where it was, where this is no container: programs that handle fatbins have the magic, and
    some the whole first half of the header, among their instructions. So the first entry decides, and a container
    without entries, which would say nothing, is none. BinaryError, and the tape is anywhere, where it is a container
    and damaged: it, or an entry, is larger than what is there, or an entry has a header that cannot be.
    """
    start = tape.position
    size = _container_size(tape.peek(_CONTAINER.size + _ENTRY_LEAST))
    if size is None:
        return None
    if size > limit:
        raise BinaryError(f"the fatbin at byte {start:,} says it has {size:,} bytes, the file ends after {limit:,}")
    tape.skip(_CONTAINER.size)
    end, codes = start + size, []
    while (left := end - tape.position) > 0:
        place, head = tape.position, tape.peek(_ENTRY_LEAST)
        if left < _ENTRY_LEAST or len(head) < _ENTRY_LEAST:
            raise BinaryError(f"the fatbin at byte {start:,} ends within the header of an entry, at byte {place:,}")
        kind, _, header, payload, minor, major, arch, flags = _ENTRY.unpack_from(head)
        if not _ENTRY_LEAST <= header <= _ENTRY_MOST or header + payload > left:
            told = f"an entry of the fatbin at byte {start:,} says it has {header:,} + {payload:,} bytes"
            raise BinaryError(f"{told}, {left:,} are left")
        if kind not in _TABLES:
            codes.append(_code(kind, major, minor, arch, payload, flags, place))
        if len(codes) > _IMAGES_MOST:
            raise BinaryError(f"the fatbin at byte {start:,} has more than {_IMAGES_MOST:,} images")
        if tape.skip(header + payload) < header + payload:
            raise BinaryError(f"the fatbin at byte {start:,} says it has {size:,} bytes, the file ends before")
    return Unit(offset=start, size=size, codes=tuple(codes))


def _container_size(head: bytes) -> int | None:
    """The size of the whole container of which these are the first 80 bytes; None: they are not of a container."""
    if len(head) < _CONTAINER.size + _ENTRY_LEAST:
        return None
    magic, version, header, size = _CONTAINER.unpack_from(head)
    if magic != FATBIN_MAGIC or version != 1 or header != _CONTAINER.size or not size:
        return None
    kind, entry_version, entry_header = struct.unpack_from("<HHI", head, header)
    # every known kind is one bit
    one_bit = kind and not kind & (kind - 1)
    if not one_bit or entry_version != _ENTRY_VERSION or not _ENTRY_LEAST <= entry_header <= _ENTRY_MOST:
        return None
    return int(size) + _CONTAINER.size


def _code(kind: int, major: int, minor: int, arch: int, size: int, flags: int, place: int) -> Code:
    if not 0 < arch <= _ARCHITECTURE_MOST:
        raise BinaryError(f"the fatbin's entry at byte {place:,} is for an architecture {arch:,}, which cannot be")
    name, prefix = _KINDS.get(kind) or ("data", f"kind{kind}")
    suffix = "a" if flags & _EXACT else "f" if flags & _FAMILY else ""
    return Code(
        vendor="nvidia",
        kind=name,
        arch=_architecture(prefix, arch, suffix),
        bytes=size,
        isa=f"{major}.{minor}" if name == "ptx" else None,
        compressed=bool(flags & _COMPRESSED),
    )


@lru_cache(maxsize=1024)
def _architecture(prefix: str, number: int, suffix: str) -> str:
    return f"{prefix}_{number}{suffix}"
