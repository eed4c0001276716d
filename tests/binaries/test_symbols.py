"""Symbols that start a module are found by the place of their names as they are found entry by entry."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.elfheader import ElfFile
from gpuenv.binaries.symbols import entries_begun
from tests.support.binaries import library

FORM = struct.Struct("<IBBHQQ")
LIBRARY = library("libx.so")
FILE = ElfFile(lambda at, size: LIBRARY[at : at + size], len(LIBRARY))

NUMBERS = st.sampled_from([0, 1, 7, 8, 256, 0x01000000, 0x07000000])
ENTRIES = st.builds(FORM.pack, st.integers(0, 200), st.just(0x12), st.just(0), st.just(1), NUMBERS, NUMBERS)


@pytest.mark.parametrize("names", [1, 2, 12])
@given(st.lists(ENTRIES, max_size=30), st.integers(0, 9))
def test_every_entry_is_found(names: int, entries: list[bytes], gap: int) -> None:
    """However many such names there are, and whatever else in the table looks like the place of one."""
    strings, table = (b"\0" * gap + b"PyInit_x\0") * names, b"".join(entries)
    expected = [fields for fields in FILE.form.symbol.iter_unpack(table) if strings.startswith(b"PyInit", fields[0])]
    assert sorted(entries_begun(FILE, strings, table)) == sorted(expected)
