"""The frame of an ELF file: its header, its segments as the loader maps them, and the table of its sections.

System V gABI, chapters 4 and 5, with the extended numbering of both tables.
"""

import struct
from typing import NamedTuple

from gpuenv.archive.source import Read
from gpuenv.errors import BinaryError

__all__ = [
    "MAGIC",
    "PT_DYNAMIC",
    "PT_GNU_PROPERTY",
    "PT_GNU_STACK",
    "PT_INTERP",
    "PT_LOAD",
    "PT_NOTE",
    "ElfFile",
    "Form",
    "Header",
    "Names",
    "Section",
    "Segment",
    "read_header",
]

MAGIC = b"\x7fELF"
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_GNU_STACK, PT_GNU_PROPERTY = 1, 2, 3, 4, 0x6474E551, 0x6474E553
_SHF_ALLOC = 2
_SECTION_TYPES = {
    0: "NULL", 1: "PROGBITS", 2: "SYMTAB", 3: "STRTAB", 4: "RELA", 5: "HASH", 6: "DYNAMIC", 7: "NOTE", 8: "NOBITS",
    9: "REL", 11: "DYNSYM", 14: "INIT_ARRAY", 15: "FINI_ARRAY", 16: "PREINIT_ARRAY", 17: "GROUP", 18: "SYMTAB_SHNDX",
    19: "RELR", 0x6FFFFFF5: "GNU_ATTRIBUTES", 0x6FFFFFF6: "GNU_HASH", 0x6FFFFFFD: "VERDEF", 0x6FFFFFFE: "VERNEED",
    0x6FFFFFFF: "VERSYM",
}  # fmt: skip

_HEAD = 1024  # the header, most program header tables and names of interpreters come with the first read
_ENTRIES_LIMIT = 1 << 18
_NAMES_LIMIT = 64 << 20
_TEXT_LIMIT = 32 << 20  # of all names together, for they may overlap
_NAME_LIMIT = 256 << 10  # of one, which a person may have to read


class Form(NamedTuple):
    """The layouts of one class and byte order. `symbol` yields name, info, other, section."""

    header: struct.Struct
    segment: struct.Struct
    section: struct.Struct
    dynamic: struct.Struct
    symbol: struct.Struct


class Header(NamedTuple):
    """The ELF header, in numbers, where the tables are, and the layouts that follow from it."""

    bits: int
    endian: str
    osabi: int
    abi_version: int
    type: int
    machine: int
    flags: int
    segments_at: int
    segment_size: int
    segment_count: int
    sections_at: int
    section_size: int
    section_count: int
    names: int
    form: Form


class Segment(NamedTuple):
    """A program header. offset, size: in the file, in bytes; address: where it is mapped, a multiple of `alignment`."""

    type: int
    flags: int
    offset: int
    address: int
    size: int
    alignment: int = 1


class Section(NamedTuple):
    """A section header.

    type: SHT_… without those letters, `PROGBITS`, or a hexadecimal number. offset, size: of its bytes in the file, size
    0 for NOBITS, which has none there.
    """

    name: str
    type: str
    offset: int
    size: int


def _forms(order: str) -> tuple[Form, Form]:
    made = (
        ("HHIIIIIHHHHHH", "8I", "10I", "II", "I8xBBH"),
        ("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "QQ", "IBBH16x"),
    )
    small, large = (Form(*(struct.Struct(order + text) for text in texts)) for texts in made)
    return small, large


_FORMS = {1: _forms("<"), 2: _forms(">")}


class Names:
    """A string table. What is taken out of one file is bounded, for names may overlap."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._end = data.rfind(b"\0")
        self._left = _TEXT_LIMIT
        self._known: dict[int, str] = {}

    def get(self, offset: int) -> str:
        """The name at an offset, U+FFFD for what is not UTF-8; raises BinaryError where the table does not hold it."""
        name = self.find(offset)
        if name is None:
            raise BinaryError("a name in it lies beyond its string table")
        return name

    def find(self, offset: int) -> str | None:
        """The same, but None where the table does not hold it."""
        known = self._known.get(offset)
        if known is not None or offset > self._end:
            return known
        end = self.data.index(b"\0", offset)
        if end - offset > _NAME_LIMIT:
            raise BinaryError(f"a name in it takes {end - offset:,} bytes")
        self._left -= end - offset
        if self._left < 0:
            raise BinaryError(f"the names in it take more than {_TEXT_LIMIT >> 20} MiB")
        name = self._known[offset] = self.data[offset:end].decode("utf-8", "replace")
        return name


class ElfFile:
    """An ELF file of `size` bytes behind a `read`: every place is checked before it is read.

    Raises BinaryError for what is no ELF file, and for a table or a part that lies beyond the file's end.
    """

    def __init__(self, read: Read, size: int) -> None:
        self.size = size
        self._read = read
        self._head = b""
        self._head = self.at(0, min(size, _HEAD), "header")
        self.header = read_header(self._head)
        self.form = self.header.form
        self.segments = self._segments()
        self._loads = [segment for segment in self.segments if segment.type == PT_LOAD]

    def at(self, offset: int, size: int, what: str) -> bytes:
        """Exactly these bytes of the file. what: their name, for the error when the file does not hold them."""
        stop = offset + size
        if stop > self.size:
            raise BinaryError(f"its {what} lies beyond its end: up to byte {stop:,}, the file has {self.size:,}")
        if stop <= len(self._head):
            return self._head[offset:stop]
        data = self._read(offset, size)
        if len(data) != size:
            raise BinaryError(f"it ends within its {what}")
        return data

    def place(self, address: int, what: str) -> tuple[int, int]:
        """Where in the file the byte of a mapped address lies, and how many bytes of its segment begin with it."""
        # of segments that overlap the last wins, as with the loader
        for segment in reversed(self._loads):
            inside = address - segment.address
            if 0 <= inside < segment.size:
                return segment.offset + inside, segment.size - inside
        raise BinaryError(f"its {what} lies in no segment: address {address:#x}")

    def last_segment(self, type_: int) -> Segment | None:
        """The last segment of a type, which is the one that counts for the loader."""
        return next((segment for segment in reversed(self.segments) if segment.type == type_), None)

    def sections(self) -> tuple[tuple[Section, ...], bool]:
        """The sections, and whether the file is but the debug information of another.

        Such a file has the other's headers and nothing behind them: all that would be mapped is SHT_NOBITS or a note.
        A section beyond the end raises BinaryError. Without a table, or with entries of another size (the loader never
        looks), there are no sections.
        """
        header, form = self.header, self.form.section
        if not header.sections_at or header.section_size != form.size:
            return (), False
        count = header.section_count or self._extended("size")
        table = self._table(header.sections_at, count, form.size, "section header table")
        names = self._section_names(table)
        found, mapped, hollow = [], False, False
        for name_at, number, flags, _, offset, size, *_ in form.iter_unpack(table):
            kind = _SECTION_TYPES.get(number) or f"{number:#x}"
            if kind == "NULL":
                continue
            # nothing but words depends on a name
            name, empty = names.find(name_at) or "", kind == "NOBITS"
            if not empty and offset + size > self.size:
                raise BinaryError(
                    f"its section {name[:80] or 'without a name'} ends at byte {offset + size:,} of {self.size:,}"
                )
            found.append(Section(name, kind, offset, 0 if empty else size))
            if flags & _SHF_ALLOC and size:
                hollow |= empty
                mapped |= kind not in ("NOBITS", "NOTE")
        return tuple(found), hollow and not mapped

    def check_loads(self) -> None:
        """Raise BinaryError unless the file holds all that the loader maps of it."""
        for segment in self._loads:
            stop = segment.offset + segment.size
            if stop > self.size:
                raise BinaryError(f"a segment of it ends at byte {stop:,}, the file after {self.size:,}")

    def _segments(self) -> tuple[Segment, ...]:
        header, form = self.header, self.form.segment
        count = header.segment_count
        if count == 0xFFFF:
            count = self._extended("info")
        if not header.segments_at or not count:
            return ()
        if header.segment_size != form.size:
            raise BinaryError(f"its program headers have {header.segment_size} bytes instead of {form.size}")
        rows = form.iter_unpack(self._table(header.segments_at, count, form.size, "program header table"))
        if header.bits == 64:
            return tuple(
                Segment(kind, flags, at, address, size, by) for kind, flags, at, address, _, size, _, by in rows
            )
        return tuple(Segment(kind, flags, at, address, size, by) for kind, at, address, _, size, _, flags, by in rows)

    def _table(self, offset: int, count: int, size: int, what: str) -> bytes:
        if count > _ENTRIES_LIMIT:
            raise BinaryError(f"its {what} says it has {count:,} entries, more than {_ENTRIES_LIMIT:,}")
        return self.at(offset, count * size, what)

    def _extended(self, field: str) -> int:
        """A number too large for the header: it stands in the first entry of the section header table."""
        header, form = self.header, self.form.section
        if not header.sections_at or header.section_size != form.size:
            raise BinaryError("its header says that numbers stand in a section header table, and there is none")
        row = form.unpack(self.at(header.sections_at, form.size, "section header table"))
        number: int = row[{"size": 5, "link": 6, "info": 7}[field]]
        return number

    def _section_names(self, table: bytes) -> Names:
        number, form = self.header.names, self.form.section
        if number == 0xFFFF:
            number = self._extended("link")
        if not 0 < number < len(table) // form.size:
            return Names(b"")
        _, kind, _, _, offset, size, *_ = form.unpack_from(table, number * form.size)
        if _SECTION_TYPES.get(kind) != "STRTAB":
            return Names(b"")
        if size > _NAMES_LIMIT:
            raise BinaryError(f"its section names take more than {_NAMES_LIMIT >> 20} MiB")
        return Names(self.at(offset, size, "table of section names"))


def read_header(head: bytes) -> Header:
    """The header out of a file's first 64 bytes or more; raises BinaryError for what is none."""
    if head[:4] != MAGIC:
        raise BinaryError("it is no ELF file")
    if len(head) < 6 or head[4] not in (1, 2) or head[5] not in _FORMS:
        raise BinaryError("its ELF header says neither 32 nor 64 bits, or no byte order")
    form = _FORMS[head[5]][head[4] - 1]
    if len(head) < 16 + form.header.size:
        raise BinaryError("it ends within its ELF header")
    kind, machine, _, _, segments_at, sections_at, flags, _, *tables = form.header.unpack_from(head, 16)
    segment_size, segment_count, section_size, section_count, names = tables
    return Header(
        bits=32 * head[4],
        endian="little" if head[5] == 1 else "big",
        osabi=head[7],
        abi_version=head[8],
        type=kind,
        machine=machine,
        flags=flags,
        segments_at=segments_at,
        segment_size=segment_size,
        segment_count=segment_count,
        sections_at=sections_at,
        section_size=section_size,
        section_count=section_count,
        names=names,
        form=form,
    )
