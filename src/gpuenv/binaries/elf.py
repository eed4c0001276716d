"""What an ELF file says of itself: what it is, what it needs, what it offers (System V gABI, Linux Standard Base).

A reader of our own: docs/decisions/0010-own-elf-reader.md.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gpuenv.archive.source import Read
from gpuenv.binaries.dynamic import Tag, paths, read_dynamic, read_strings, read_text
from gpuenv.binaries.elfheader import (
    MAGIC,
    PT_DYNAMIC,
    PT_GNU_PROPERTY,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
    ElfFile,
    Header,
    Section,
    read_header,
)
from gpuenv.binaries.symbols import init_symbols
from gpuenv.errors import BinaryError

__all__ = ["MAGIC", "Elf", "Section", "origin_paths", "ranges_of", "read_elf"]

_TYPES = {0: "none", 1: "relocatable", 2: "executable", 3: "shared", 4: "core"}
# by number, then by (number, bits), then by (number, byte order)
_MACHINES: dict[int | tuple[int, int | str], str] = {
    2: "sparc", 3: "i386", 8: "mips", 20: "ppc", (21, "little"): "ppc64le", (21, "big"): "ppc64", (22, 32): "s390",
    (22, 64): "s390x", 40: "arm", 43: "sparc64", 50: "ia64", 62: "x86_64", 183: "aarch64", 190: "cuda", 224: "amdgpu",
    (243, 32): "riscv32", (243, 64): "riscv64", 247: "bpf", (258, 32): "loongarch32", (258, 64): "loongarch64",
}  # fmt: skip
_ET_DYN = 3
_DF_1_PIE = 0x08000000
_PF_X = 1
_INTERPRETER_LIMIT = 4096
_NAMES_BEFORE = 64 << 10  # linkers put the names of sections right before the table of sections
_SMALL_SEGMENT, _ALL_SEGMENTS = 4 << 20, 8 << 20
# Linux extensions to the gABI: a note of properties, and the one that lists the levels of x86-64 that are needed
_X86_64 = 62
_PROPERTY_NOTE = 5
_ISA_NEEDED = 0xC0008002
_NOTES_LIMIT = 64 << 10
_RELATIVE = ("$ORIGIN", "${ORIGIN}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """The facts of one ELF file.

    machine: `x86_64`, `cuda`, …, or `em-N`; machine_number: e_machine. type: `relocatable`, `shared`, `executable`,
    `core`, `none`, or `et-N`; a position-independent executable is `executable` where its linker marked it (DF_1_PIE),
    as all have done since 2016, else `shared` with an interpreter. osabi, abi_version: EI_OSABI, EI_ABIVERSION.
    flags: e_flags. rpath, runpath: split at colons, "" for an empty part, which the loader takes for the current
    folder. versions_needed: library -> symbol versions, both sorted. versions_defined: in the file's order, without the
    base version. executable_stack: a PT_GNU_STACK header asks for it. cpu: the level of x86-64 without which the loader
    refuses the file, `x86-64-v3`; None: the first, or it does not say. init_symbols: exported ones that begin with
    `PyInit_` or `PyInitU_`, sorted. sections: in the file's order, without SHT_NULL.

    Text that is not UTF-8 has U+FFFD in it; control characters stay.
    """

    bits: Literal[32, 64]
    endian: Literal["little", "big"]
    machine: str
    machine_number: int
    type: str
    osabi: int
    abi_version: int
    flags: int
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    versions_needed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    versions_defined: tuple[str, ...] = ()
    interpreter: str | None = None
    executable_stack: bool = False
    cpu: str | None = None
    init_symbols: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


def read_elf(read: Read, size: int) -> Elf:
    """Read the ELF file of `size` bytes behind `read(offset, size)`.

    What concerns the loader comes from the segments, never from the sections, which may be gone. Files without a
    dynamic section (static, relocatable, cubins, separate debug information) have empty values there. A few whole
    tables are asked for, the larger ones last, never code or data; what `read` raises passes through, so that a caller
    can bring the missing bytes and call again. Raises BinaryError for what is no ELF file, is cut off, or is damaged.
    """
    file = ElfFile(read, size)
    header = file.header
    sections, debug = file.sections()
    linked: dict[str, Any] = {}
    if not debug:  # else its segments are those of another file
        file.check_loads()
        linked = {"interpreter": _interpreter(file), "cpu": _cpu(file), **_linked(file)}
    stack = file.last_segment(PT_GNU_STACK)
    own: dict[str, Any] = {
        "bits": header.bits,
        "endian": header.endian,
        "machine": _machine(header),
        "machine_number": header.machine,
        "type": _TYPES.get(header.type, f"et-{header.type}"),
        "osabi": header.osabi,
        "abi_version": header.abi_version,
        "flags": header.flags,
        "executable_stack": stack is not None and bool(stack.flags & _PF_X),
        "sections": sections,
    }
    return Elf(**{**own, **linked})


def ranges_of(head: bytes, size: int) -> list[tuple[int, int]]:
    """What `read_elf` will probably ask for, as (start, stop), told by the first bytes of a file of `size` bytes.

    For readers to which a file's bytes come once: the table of sections with its names, the dynamic section, and small
    segments, where some tools put tables that they enlarge. At most 13 MiB; nothing for what is no ELF file.
    """
    try:
        header = read_header(head)
    except BinaryError:
        return []
    found = []
    if header.section_size == header.form.section.size:
        stop = header.sections_at + max(header.section_count, 1) * header.section_size
        found.append((max(header.sections_at - _NAMES_BEFORE, 0), stop))
    try:
        segments = ElfFile(lambda at, length: head[at : at + length], size).segments
    except BinaryError:
        segments = ()  # their table lies farther on
    left = _ALL_SEGMENTS
    for segment in segments:
        if segment.type in (PT_DYNAMIC, PT_LOAD, PT_NOTE, PT_GNU_PROPERTY) and segment.size <= min(
            _SMALL_SEGMENT, left
        ):
            left -= segment.size
            found.append((segment.offset, segment.offset + segment.size))
    return [(start, min(stop, size)) for start, stop in found if start < min(stop, size)]


def origin_paths(file: Path) -> tuple[str, ...]:
    """The `$ORIGIN` entries of DT_RPATH and DT_RUNPATH (System V gABI; ld.so(8)), in order.

    Empty for whatever is no ELF file, has no dynamic section, or is damaged. Reads little, whatever the file's size.
    """
    with file.open("rb") as stream:

        def read(offset: int, size: int) -> bytes:
            stream.seek(offset)
            return stream.read(size)

        if read(0, 4) != MAGIC:
            return ()
        try:
            elf = ElfFile(read, stream.seek(0, 2))
            dynamic = read_dynamic(elf)
            if dynamic is None:
                return ()
            values = [value for tag in (Tag.RPATH, Tag.RUNPATH) if (value := dynamic.get(tag)) is not None]
            found = dict.fromkeys(path for value in values for path in paths(read_text(elf, dynamic, value)))
            return tuple(path for path in found if path.startswith(_RELATIVE))
        except (BinaryError, OSError):
            return ()


def _linked(file: ElfFile) -> dict[str, Any]:
    """What the dynamic section says: fields of Elf."""
    dynamic = read_dynamic(file)
    if dynamic is None:
        return {}
    names, versions = read_strings(file, dynamic)

    def text(tag: int) -> str | None:
        value = dynamic.get(tag)
        return None if value is None else names.get(value)

    fields: dict[str, Any] = {
        "soname": text(Tag.SONAME),
        "needed": tuple(names.get(value) for tag, value in dynamic.tags if tag == Tag.NEEDED),
        "rpath": paths(text(Tag.RPATH) or ""),
        "runpath": paths(text(Tag.RUNPATH) or ""),
        "versions_needed": versions.needed,
        "versions_defined": versions.defined,
        "init_symbols": init_symbols(file, dynamic, names),
    }
    if file.header.type == _ET_DYN and (dynamic.get(Tag.FLAGS_1) or 0) & _DF_1_PIE:
        fields["type"] = "executable"
    return fields


def _machine(header: Header) -> str:
    number = header.machine
    keys = (number, (number, header.bits), (number, header.endian))
    return next((_MACHINES[key] for key in keys if key in _MACHINES), f"em-{number}")


def _interpreter(file: ElfFile) -> str | None:
    """PT_INTERP: a path and its terminator. The kernel takes the first."""
    segment = next((segment for segment in file.segments if segment.type == PT_INTERP), None)
    if segment is None or not segment.size:
        return None
    if segment.size > _INTERPRETER_LIMIT:
        raise BinaryError(f"the name of its interpreter takes {segment.size:,} bytes")
    text = file.at(segment.offset, segment.size, "interpreter's name")
    return text.partition(b"\0")[0].decode("utf-8", "replace")


def _cpu(file: ElfFile) -> str | None:
    """The highest level in GNU_PROPERTY_X86_ISA_1_NEEDED, as ld.so takes it; notes that are cut off say nothing."""
    if file.header.machine != _X86_64 or file.header.bits != 64:
        return None
    kinds = {segment.type for segment in file.segments}
    kind = PT_GNU_PROPERTY if PT_GNU_PROPERTY in kinds else PT_NOTE
    for segment in file.segments:
        fits = segment.size <= _NOTES_LIMIT and segment.offset + segment.size <= file.size
        if segment.type == kind and segment.alignment == 8 and fits:
            for needed in _levels(file.at(segment.offset, segment.size, "notes")):
                return f"x86-64-v{min(needed.bit_length(), 4)}" if needed > 1 else None
    return None


def _levels(notes: bytes) -> Iterator[int]:
    """The levels needed, as bits from the first on, of each note of properties that states them.

    Elf64_Nhdr {namesz, descsz, type}, the name, properties {type, datasz, data}, each padded to 8 bytes.
    """
    at = 0
    while at + 16 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        begin = at + 12 + (name_size + 3) // 4 * 4
        stop = min(begin + size, len(notes))
        if kind == _PROPERTY_NOTE and notes[at + 12 : at + 16] == b"GNU\0" and name_size == 4:
            while begin + 12 <= stop:
                what, length, value = struct.unpack_from("<III", notes, begin)
                if what == _ISA_NEEDED and length == 4:
                    yield value
                begin += 8 + (length + 7) // 8 * 8
        at = (at + 12 + (name_size + 3) // 4 * 4 + size + 7) // 8 * 8
