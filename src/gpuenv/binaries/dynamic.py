"""The dynamic section of an ELF file, found as the loader finds it: through segments and addresses, not sections.

System V gABI, chapter 5; symbol versions as in the Linux Standard Base.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from gpuenv.binaries.elfheader import PT_DYNAMIC, ElfFile, Names
from gpuenv.errors import BinaryError

__all__ = [
    "Dynamic",
    "Strings",
    "Tag",
    "Versions",
    "paths",
    "read_dynamic",
    "read_strings",
    "read_text",
    "read_together",
]

_DYNAMIC_LIMIT = 1 << 20
_STRINGS_LIMIT = 128 << 20  # libtensorflow_cc.so.2 has 79 MiB; of a stream they are in memory twice for a moment
_PAGE = 0x1000
_VERSIONS_LIMIT = 1 << 20
_TEXT_LIMIT = 64 << 10
_GAP = 64 << 10  # what may be read for nothing to save a read
_LARGE = 8 << 20  # what is larger is read by itself, so that nothing is copied


class Tag:
    """Numbers of the entries that are read, d_tag."""

    NEEDED, HASH, STRTAB, SYMTAB, STRSZ, SONAME, RPATH, RUNPATH = 1, 4, 5, 6, 10, 14, 15, 29
    GNU_HASH, FLAGS_1 = 0x6FFFFEF5, 0x6FFFFFFB
    VERDEF, VERDEFNUM, VERNEED, VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


# entries that hold the address of a table: PLTGOT, RELA, REL, JMPREL, the arrays, RELR, VERSYM, and those above
_TABLES = frozenset({3, 4, 5, 6, 7, 17, 23, 25, 26, 32, 36, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE})


class Dynamic:
    """The entries of a dynamic section up to DT_NULL, in order."""

    def __init__(self, tags: tuple[tuple[int, int], ...]) -> None:
        self.tags = tags
        self._last = dict(tags)
        self._tables = sorted({value for tag, value in tags if tag in _TABLES})

    def get(self, tag: int) -> int | None:
        """The value of a tag; of several entries the last counts, as with the loader."""
        return self._last.get(tag)

    def extent(self, file: ElfFile, address: int, limit: int, what: str) -> tuple[int, int]:
        """Offset and size of a table whose size stands nowhere.

        It ends where another table begins, at the end of its segment, or after `limit` bytes: all that is in it, and
        perhaps something that is not.
        """
        offset, size = file.place(address, what)
        following = next((table - address for table in self._tables if table > address), size)
        return offset, min(size, following, limit)


class Versions(NamedTuple):
    """Symbol versions. needed: library -> names, sorted. defined: in the file's order, without the file's own name."""

    needed: dict[str, tuple[str, ...]]
    defined: tuple[str, ...]


class Strings(NamedTuple):
    """The dynamic string table and the versions, which lie beside it."""

    names: Names
    versions: Versions


def read_dynamic(file: ElfFile) -> Dynamic | None:
    """The dynamic section; None where there is none (static and relocatable files, debug information).

    It ends with DT_NULL or with its segment; one of more than a MiB raises BinaryError.
    """
    segment = file.last_segment(PT_DYNAMIC)
    if segment is None or not segment.size:
        return None
    try:
        offset, held = file.place(segment.address, "dynamic section")
        size = min(segment.size, held)
    except BinaryError:
        offset, size = segment.offset, segment.size  # outside of what is mapped, as in some static files
    form = file.form.dynamic
    size = min(size, _DYNAMIC_LIMIT) // form.size * form.size
    tags = []
    for tag, value in form.iter_unpack(file.at(offset, size, "dynamic section")):
        if not tag:
            break
        tags.append((tag, value))
    else:
        if size == _DYNAMIC_LIMIT:
            raise BinaryError("its dynamic section takes more than a MiB")
    return Dynamic(tuple(tags))


def read_strings(file: ElfFile, dynamic: Dynamic) -> Strings:
    """The string table as a whole, and the versions; one read where they lie together, as linkers put them."""
    address = dynamic.get(Tag.STRTAB)
    if address is None:
        if {tag for tag, _ in dynamic.tags} & {Tag.NEEDED, Tag.SONAME, Tag.RPATH, Tag.RUNPATH, Tag.VERNEED, Tag.VERDEF}:
            raise BinaryError("its dynamic section names no string table")
        return Strings(Names(b""), Versions({}, ()))
    places = [_string_place(file, dynamic, address)]
    for tag in (Tag.VERNEED, Tag.VERDEF):
        where = dynamic.get(tag)
        what = "table of symbol versions"
        places.append((0, 0) if where is None else dynamic.extent(file, where, _VERSIONS_LIMIT, what))
    strings, needed, defined = read_together(file, places, "dynamic string table or symbol versions")
    names = Names(strings)
    order = "<" if file.header.endian == "little" else ">"
    return Strings(
        names,
        Versions(
            _needed(names, needed, order, dynamic.get(Tag.VERNEEDNUM)),
            _defined(names, defined, order, dynamic.get(Tag.VERDEFNUM)),
        ),
    )


def read_text(file: ElfFile, dynamic: Dynamic, offset: int) -> str:
    """One name of the string table, of at most 64 KiB, without reading the others."""
    address = dynamic.get(Tag.STRTAB)
    if address is None:
        raise BinaryError("its dynamic section names no string table")
    at, size = _string_place(file, dynamic, address)
    return Names(file.at(at + offset, min(max(size - offset, 0), _TEXT_LIMIT), "dynamic string table")).get(0)


def read_together(file: ElfFile, places: list[tuple[int, int]], what: str) -> list[bytes]:
    """The bytes at several (offset, size), read at once where little lies between them."""
    runs: list[list[int]] = []
    for start, stop in sorted((offset, offset + size) for offset, size in places if size):
        last = runs[-1] if runs else [0, -_GAP - 1]
        if start - last[1] <= _GAP and max(stop - start, last[1] - last[0]) <= _LARGE:
            last[1] = max(last[1], stop)
        else:
            runs.append([start, stop])
    parts = [(start, stop, file.at(start, stop - start, what)) for start, stop in runs]

    def cut(at: int, size: int) -> bytes:
        start, data = next((start, data) for start, stop, data in parts if start <= at and at + size <= stop)
        return data[at - start : at - start + size]

    return [cut(at, size) if size else b"" for at, size in places]


def paths(text: str) -> tuple[str, ...]:
    """The parts of a DT_RPATH or DT_RUNPATH, as ld.so takes it: none of an empty one, but "" for an empty part."""
    return tuple(text.split(":")) if text else ()


def _string_place(file: ElfFile, dynamic: Dynamic, address: int) -> tuple[int, int]:
    what = "dynamic string table"
    size = dynamic.get(Tag.STRSZ)
    if size is None:
        return dynamic.extent(file, address, _STRINGS_LIMIT, what)
    offset, held = file.place(address, what)
    # A kernel maps whole pages of a file: what a segment's last page holds behind its end is there too (patchelf
    # leaves such programs, and they run).
    if size > held + -(offset + held) % _PAGE:
        raise BinaryError(f"its {what} of {size:,} bytes ends beyond its segment")
    if size > _STRINGS_LIMIT:
        raise BinaryError(f"its {what} takes more than {_STRINGS_LIMIT >> 20} MiB")
    return offset, size


class _Chains:
    """Walks the linked entries of one table of versions: inside the table, and only as often as it has room for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data) // 8  # no entry is smaller

    def walk(self, at: int, form: struct.Struct, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Position and fields of each entry; the last field says how far the next one is, 0 that there is none."""
        for _ in range(count):
            self._left -= 1
            if self._left < 0 or at + form.size > len(self._data):
                raise BinaryError("its symbol versions lie beyond their table")
            fields = form.unpack_from(self._data, at)
            yield at, fields
            if not fields[-1]:
                return
            at += fields[-1]


def _needed(names: Names, data: bytes, order: str, count: int | None) -> dict[str, tuple[str, ...]]:
    """Elfxx_Verneed {version, count, file, aux, next} and Elfxx_Vernaux {hash, flags, other, name, next}."""
    chains, found = _Chains(data), dict[str, set[str]]()
    for at, (_, versions, file, aux, _) in _entries(chains, data, struct.Struct(order + "HHIII"), count):
        there = found.setdefault(names.get(file), set())
        there.update(names.get(one[3]) for _, one in chains.walk(at + aux, struct.Struct(order + "IHHII"), versions))
    return {library: tuple(sorted(found[library])) for library in sorted(found)}


def _defined(names: Names, data: bytes, order: str, count: int | None) -> tuple[str, ...]:
    """Elfxx_Verdef {version, flags, index, count, hash, aux, next} and Elfxx_Verdaux {name, next}."""
    chains, found = _Chains(data), dict[str, None]()
    for at, (_, flags, _, versions, _, aux, _) in _entries(chains, data, struct.Struct(order + "HHHHIII"), count):
        if not flags & 1:  # VER_FLG_BASE: the library's own name
            # the first is the name, further ones are what it inherits from
            own = next(chains.walk(at + aux, struct.Struct(order + "II"), min(versions, 1)), None)
            if own:
                found[names.get(own[1][0])] = None
    return tuple(found)


def _entries(
    chains: _Chains, data: bytes, form: struct.Struct, count: int | None
) -> Iterator[tuple[int, tuple[int, ...]]]:
    return chains.walk(0, form, len(data) if count is None else min(count, len(data)))
