"""NVIDIA's device code that is a file of its own: cubins, PTX texts, LTO IR.

Which bits and records say what was found by compiling one kernel with ptxas and NVRTC of CUDA 11.8 to 13.5 for many
architectures, and by reading what cuobjdump and nvdisasm 13.5 say of the results.
"""

import re
import struct
from collections.abc import Iterator

from gpuenv.archive.source import Read
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code

__all__ = ["EM_CUDA", "NVVM_MAGIC", "cubin_code", "lto_code", "ptx_code"]


EM_CUDA = 190
NVVM_MAGIC = b"\xed\x43\x4e\x7f"

_SECTION = struct.Struct("<4xI16xQQ24x")  # of ELF64: type, offset, size
_SHT_NOTE = 7
_SHT_COMPAT = 0x70000086  # .nv.compat
_TABLE_MOST = 16 << 20  # bytes: 262,144 sections
_NOTES_MOST = 64 << 10  # bytes; the largest seen were 332
_NOTES_READ = 64  # sections; three were seen
_SCALARS_MOST = 1024  # bytes; the most seen were 20
# ABI 8 is that of CUDA 13, and of 12.9 for sm_100 and later
_ABI_8 = 8
_EXACT_7, _EXACT_8 = 0x800, 0x8  # `a` in e_flags; CUDA 13 leaves it unset and writes a record
_SUFFIXED_FROM = 90
# a command line in .note.nv.tkinfo, each of its notes begins with this
_TOOL = b"\x0c\0\0\0", b"\xd0\x07\0\0NVIDIA Corp\0"
_FOR_FAMILY = re.compile(rb"(?<![^\s\0])(?:-arch|--gpu-name)[ =]sm_(\d{2,4})f(?![^\s\0])")


def cubin_code(read: Read, size: int) -> Code:
    """The architecture of a cubin: an ELF file with e_machine 190, whose `size` becomes `bytes`.

    read: offset, size -> bytes, fewer only at the end; asked for the header and, from sm_90 in files of ABI 8, for the
    section table and one or two sections. What it raises comes through.

    `a` stands in e_flags or in .nv.compat. `f` stands only in the command line that the compiler noted down in
    .note.nv.tkinfo, and a cubin without it is for the plain architecture; cuobjdump never says `f` of a cubin.
    BinaryError where this is no cubin, or one whose tables lie beyond its end.
    """
    head = read(0, 64)
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[5] != 1 or head[18:20] != EM_CUDA.to_bytes(2, "little"):
        raise BinaryError("the file is no cubin: not an ELF file for NVIDIA GPUs")
    wide, abi = head[4] == 2, head[8]
    (flags,) = struct.unpack_from("<I", head, 48 if wide else 36)
    arch = flags >> 8 & 0xFF if abi >= _ABI_8 else flags & 0xFF
    if not arch:
        raise BinaryError("the cubin does not say for which architecture it is")
    exact = bool(flags & (_EXACT_8 if abi >= _ABI_8 else _EXACT_7)) and arch >= _SUFFIXED_FROM
    suffix = "a" if exact else ""
    if not exact and wide and abi >= _ABI_8 and arch >= _SUFFIXED_FROM:
        suffix = _noted_suffix(read, head, size, arch)
    return Code(vendor="nvidia", kind="sass", arch=f"sm_{arch}{suffix}", bytes=size)


def _noted_suffix(read: Read, head: bytes, size: int, arch: int) -> str:
    """What .nv.compat and the command lines say."""
    family = False
    for number, (kind, offset, length) in enumerate(_noted(read, head, size)):
        if number == _NOTES_READ:
            break
        data = read(offset, min(length, _NOTES_MOST))
        if kind == _SHT_COMPAT:
            if _compat_exact(data):
                return "a"
        elif data.startswith(_TOOL[0]) and data[8:24] == _TOOL[1]:
            family = family or any(int(found) == arch for found in _FOR_FAMILY.findall(data))
    return "f" if family else ""


def _noted(read: Read, head: bytes, size: int) -> Iterator[tuple[int, int, int]]:
    """Type, offset and size of the sections that are notes or .nv.compat."""
    if len(head) < 64:
        raise BinaryError("the cubin ends within its header")
    (table,) = struct.unpack_from("<Q", head, 40)
    entry, count = struct.unpack_from("<HH", head, 58)
    if not table:
        return
    if count == 0 and table + 64 <= size:  # too many for the header: the first section says how many
        (count,) = struct.unpack_from("<Q", read(table, 64).ljust(64, b"\0"), 32)
    if entry != _SECTION.size or count * entry > _TABLE_MOST or table + count * entry > size:
        raise BinaryError(f"the cubin says its {count:,} sections are listed at byte {table:,}, it has {size:,} bytes")
    data = read(table, count * entry)
    for kind, offset, length in _SECTION.iter_unpack(data[: len(data) // entry * entry]):
        if kind in (_SHT_NOTE, _SHT_COMPAT):
            if offset + length > size:
                raise BinaryError(f"a section of the cubin reaches to byte {offset + length:,}, it has {size:,} bytes")
            yield kind, offset, length


def _compat_exact(data: bytes) -> bool:
    """Whether .nv.compat has the record that the code uses what only this very architecture has.

    Records: u8 form, u8 tag; form 2: one byte and padding, form 3: two bytes, form 4: u16 size and as many bytes.
    """
    at = 0
    while at + 4 <= len(data):
        form, tag, low, high = data[at : at + 4]
        if tag == 9 and form == 2:
            return low == 1
        at += 4 + (low + 256 * high if form == 4 else 0)
    return False


_BLANK = rb"(?>\s+|//[^\n]*|/\*.*?\*/)"
_PTX = re.compile(
    rb"%b*+\.version%b++([0-9]{1,3})\.([0-9]{1,3})%b++\.target%b++sm_([1-9][0-9]{1,3}[af]?)(?=[\s,/;])"
    % (_BLANK, _BLANK, _BLANK, _BLANK),
    re.DOTALL,
)


def ptx_code(text: bytes) -> Code | None:
    """What the first directives of a PTX text say (PTX ISA, 11.1); None where it does not begin as PTX does.

    text: all of it or its head; `bytes` is its length. Comments may stand anywhere between.
    """
    found = _PTX.match(text)
    if found is None:
        return None
    major, minor, arch = int(found[1]), int(found[2]), found[3].decode("ascii")
    return Code(vendor="nvidia", kind="ptx", arch=f"compute_{arch}", bytes=len(text), isa=f"{major}.{minor}")


def lto_code(head: bytes) -> Code | None:
    """What the head of an LTO IR file (`nvcc -ltoir`, NVRTC) says; None where it is none.

    `bytes` is the length of what was given. The file is an NVVM container: u32 magic, four u16 versions, u16 size of
    the header (24), u16, u32 end of the scalar fields, u32 end of the others; a scalar field is u16 tag, u16 value:
    1 is ten times the architecture, 32 says `a`, 99 ends them. `f` is not in it, and sm_110 has its old number, 101.
    """
    if len(head) < 24 or not head.startswith(NVVM_MAGIC):
        return None
    start, _, end = struct.unpack_from("<HHI", head, 12)
    scalars = head[start : min(end, start + _SCALARS_MOST)]
    fields = dict(struct.iter_unpack("<HH", scalars[: len(scalars) & ~3]))
    arch, rest = divmod(fields.get(1, 0), 10)
    if start < 24 or not arch or rest:
        return None
    return Code(vendor="nvidia", kind="lto", arch=f"sm_{arch}{'a' if fields.get(32) else ''}", bytes=len(head))
