"""AMD's `.kpack` archives: device code that was split off its host libraries, by its table of contents.

The format is public as code (ROCm's `shared/kpack`), not as a specification; what is read here is the part that its
own reader needs. Little-endian: "KPAK", u32 version (1), u64 offset of the table; the images; the table up to the end
of the file. The table is one MessagePack map. Of its keys we use `gfx_arches`, the targets of the archive;
`compression_scheme`, `none` or a name; and `toc`, library -> target -> {`original_size`, …}, in the first archives
{`size`, …}.
"""

import re
import struct
from collections.abc import Callable

import msgspec

from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code

__all__ = ["KPACK_MAGIC", "read_kpack"]

KPACK_MAGIC = b"KPAK"
_HEADER = 16
# Some hundred bytes an image; a table of this size unpacks to a hundred times as much memory at the worst.
_TABLE_LIMIT = 2 << 20
_TARGET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,39})((?::[a-z0-9-]{1,40}[+-]){0,8})")


class _Image(msgspec.Struct, gc=False):
    original_size: int = 0
    size: int = 0


class _Table(msgspec.Struct, gc=False):
    gfx_arches: list[str] = []
    compression_scheme: str = "none"
    toc: dict[str, dict[str, _Image]] = {}


_decoder = msgspec.msgpack.Decoder(_Table)


def read_kpack(read: Callable[[int, int], bytes], size: int) -> tuple[Code, ...]:
    """The device code of a `.kpack` file of `size` bytes; `read(offset, size)` gives bytes of it, fewer at its end.

    One code of kind `data` for each image, in the table's order, with the bytes it had before compression, for the
    table does not say how many are stored. A target the archive is said to be for and has no image of comes last, with
    0 bytes. BinaryError where the header lies or the table is not as described above.
    """
    header = read(0, _HEADER)
    if len(header) < _HEADER or not header.startswith(KPACK_MAGIC):
        raise BinaryError("not a kpack archive: it does not begin with KPAK")
    version, begin = struct.unpack_from("<IQ", header, 4)
    if version != 1:
        raise BinaryError(f"kpack archive of version {version}, only 1 is known")
    if not _HEADER <= begin < size:
        raise BinaryError(f"kpack archive says its table is at byte {begin:,}, the file has {size:,} bytes")
    if size - begin > _TABLE_LIMIT:
        raise BinaryError(f"kpack archive has a table of {size - begin:,} bytes, more than is read ({_TABLE_LIMIT:,})")
    table = _decode(read(begin, size - begin))
    packed = table.compression_scheme != "none"
    codes = [
        _code(target, image.original_size or image.size, packed)
        for targets in table.toc.values()
        for target, image in targets.items()
    ]
    there = {(code.arch, code.features) for code in codes}
    stated = [_code(target, 0, packed) for target in table.gfx_arches]
    return (*codes, *(code for code in stated if (code.arch, code.features) not in there))


def _decode(data: bytes) -> _Table:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BinaryError("kpack archive has a table of contents that cannot be read") from None


def _code(target: str, size: int, packed: bool) -> Code:
    match = _TARGET.fullmatch(target)
    if not match or not 0 <= size < 1 << 48:
        raise BinaryError("kpack archive has an image without a readable target or size")
    features = tuple(sorted(match[2].split(":")[1:]))
    return Code(vendor="amd", kind="data", arch=match[1], bytes=size, features=features, compressed=packed)
