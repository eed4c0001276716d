"""The symbols by which Python starts an extension module, out of a table that may have a hundred thousand others."""

import struct
import sys
from array import array
from collections.abc import Iterator

from gpuenv.binaries.dynamic import Dynamic, Tag, read_together
from gpuenv.binaries.elfheader import ElfFile, Names
from gpuenv.errors import BinaryError

__all__ = ["entries_begun", "init_symbols"]

_PREFIX = b"PyInit"
_PREFIXES = ("PyInit_", "PyInitU_")
_EXPORTED = {1, 2, 10}  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_HIDDEN = {1, 2}  # STV_INTERNAL, STV_HIDDEN
_SEVERAL = 8  # a module has one such name, or a few; its place is found faster in the table's bytes than entry by entry
_LIMIT = 64 << 20
_FOUND_LIMIT = 1 << 16
_WIDE_HASH = {22, 0x9026}  # s390x and Alpha: 64 bits for each word of DT_HASH


def init_symbols(file: ElfFile, dynamic: Dynamic, names: Names) -> tuple[str, ...]:
    """Defined and exported dynamic symbols that begin with `PyInit_` or `PyInitU_` (PEP 489), sorted.

    The table is read only where its string table has such a name at all. No field says how long it is: DT_GNU_HASH
    or DT_HASH tell, and without them it goes up to the next table.
    """
    address = dynamic.get(Tag.SYMTAB)
    if address is None or _PREFIX not in names.data:
        return ()
    found = set()
    for name, info, other, section in entries_begun(file, names.data, _table(file, dynamic, address)):
        if section and info >> 4 in _EXPORTED and other & 3 not in _HIDDEN:
            found.add(name)
            if len(found) > _FOUND_LIMIT:
                raise BinaryError(f"it has more than {_FOUND_LIMIT:,} symbols that begin with PyInit")
    texts = {names.get(name) for name in found}
    return tuple(sorted(text for text in texts if text.startswith(_PREFIXES)))


def entries_begun(file: ElfFile, strings: bytes, table: bytes) -> Iterator[tuple[int, ...]]:
    """The entries of a symbol table (name, info, other, section) whose names begin with `PyInit`, in no order."""
    form = file.form.symbol
    if strings.count(_PREFIX) > _SEVERAL:
        yield from (entry for entry in form.iter_unpack(table) if strings.startswith(_PREFIX, entry[0]))
        return
    name = strings.find(_PREFIX)
    while name >= 0:
        wanted = name.to_bytes(4, "little" if file.header.endian == "little" else "big")  # st_name comes first
        at = table.find(wanted)
        while at >= 0:
            inside = at % form.size
            if not inside:
                yield form.unpack_from(table, at)
            at = table.find(wanted, at - inside + form.size)
        name = strings.find(_PREFIX, name + 1)


def _table(file: ElfFile, dynamic: Dynamic, address: int) -> bytes:
    """The bytes of the symbol table, whole entries."""
    what, size = "symbol table", file.form.symbol.size
    places = [dynamic.extent(file, address, _LIMIT, what)]
    tag = next((tag for tag in (Tag.GNU_HASH, Tag.HASH) if dynamic.get(tag) is not None), None)
    hashes = dynamic.get(tag) if tag else None
    if hashes is not None:
        places.append(dynamic.extent(file, hashes, _LIMIT, "table of symbol hashes"))
    symbols, *rest = read_together(file, places, what)
    if not rest:
        return symbols[: len(symbols) // size * size]
    count = _gnu_count(file, rest[0]) if tag == Tag.GNU_HASH else _count(file, rest[0])
    if count * size > len(symbols):
        offset, held = file.place(address, what)
        if count * size > min(held, _LIMIT):
            raise BinaryError(f"its symbol table says it has {count:,} entries, more than there is room for")
        return file.at(offset, count * size, what)
    return symbols[: count * size]


def _count(file: ElfFile, table: bytes) -> int:
    """Of DT_HASH {buckets, chains, …}: there is a chain entry for each symbol."""
    order = "<" if file.header.endian == "little" else ">"
    wide = file.header.bits == 64 and file.header.machine in _WIDE_HASH
    form = struct.Struct(order + ("QQ" if wide else "II"))
    if len(table) < form.size:
        raise _short()
    _, count = form.unpack_from(table)
    return int(count)


def _gnu_count(file: ElfFile, table: bytes) -> int:
    """Of DT_GNU_HASH {buckets, first symbol, bloom words, shift, …}: behind the last symbol of the last chain."""
    order = "<" if file.header.endian == "little" else ">"
    if len(table) < 16:
        raise _short()
    buckets, first, bloom, _ = struct.unpack_from(order + "4I", table)
    start = 16 + bloom * (file.header.bits // 8)
    chains = start + 4 * buckets
    if chains > len(table):
        raise _short()
    starts = _words(table[start:chains], file.header.endian)
    last = max(starts, default=0)
    if last < first:
        return int(first)  # nothing is exported
    rest = _words(table[chains + 4 * (last - first) : len(table) // 4 * 4], file.header.endian)
    # the lowest bit marks the end of a chain
    length = next((number for number, value in enumerate(rest) if value & 1), None)
    if length is None:
        raise _short()
    return last + length + 1


def _words(data: bytes, endian: str) -> "array[int]":
    words = array("I", data)
    if endian != sys.byteorder:
        words.byteswap()
    return words


def _short() -> BinaryError:
    return BinaryError("its table of symbol hashes is shorter than it says")
