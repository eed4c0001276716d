"""A tape gives the bytes of its chunks, wherever the chunks are cut."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.binaries.amd import BUNDLE_MAGIC, CCOB_MAGIC
from gpuenv.binaries.nvidia import FATBIN_MAGIC
from gpuenv.binaries.pieces import Pieces
from gpuenv.binaries.tape import PEEK_LIMIT, Tape
from gpuenv.errors import ArchiveError

CUTS = st.lists(st.binary(max_size=7), max_size=12)


@given(CUTS, st.lists(st.integers(0, 9), max_size=12))
def test_take_and_skip_move_over_the_same_bytes_as_a_file(chunks: list[bytes], steps: list[int]) -> None:
    """However chunks are cut, taking and skipping by turns yields the file's bytes in their places."""
    whole, tape, at = b"".join(chunks), Tape(chunks), 0
    for number, step in enumerate(steps):
        wanted = whole[at : at + step]
        if number % 2:
            assert tape.skip(step) == len(wanted)
        else:
            assert tape.peek(step) == wanted
            assert tape.take(step) == wanted
        at += len(wanted)
        assert tape.position == at


@given(st.lists(st.binary(max_size=5).map(lambda data: bytes(byte % 3 for byte in data)), max_size=30))
def test_find_stops_at_every_occurrence_once(chunks: list[bytes]) -> None:
    """Patterns are found at all their places, in order, also across the cuts."""
    whole, tape = b"".join(chunks), Tape(chunks)
    patterns = (b"\0\1\2", b"\2\2")
    found = []
    while (pattern := tape.find(*patterns)) is not None:
        found.append((tape.position, pattern))
        tape.skip(1)
    assert found == [(at, p) for at in range(len(whole)) for p in patterns if whole.startswith(p, at)]
    assert tape.position == len(whole)


MAGICS = (FATBIN_MAGIC, CCOB_MAGIC, BUNDLE_MAGIC)
# magics, parts of them, and their rare bytes in stretches: some are dense, some lie behind a stretch without any
BITS = st.sampled_from([
    *MAGICS, b"CCO", b"COB", b"CCOCCOB", b"\xed\x55\xba", b"O" * 700, b"\xba" * 5000, b"CO" * 9000, bytes(3000), b"x",
    (b"O" + bytes(150)) * 40, (b"\x55\xba" + bytes(170)) * 40, BUNDLE_MAGIC[:20],
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(BITS, max_size=12), st.integers(1, 40_000))
def test_magics_are_found_as_a_plain_search_finds_them(bits: list[bytes], cut: int) -> None:
    """Whatever rare bytes lie between them, every magic is found, in order, wherever the chunks are cut."""
    whole = b"".join(bits)
    cut = max(cut, len(whole) // 2000)
    tape, found = Tape(whole[at : at + cut] for at in range(0, len(whole), cut)), []
    while (magic := tape.find(*MAGICS)) is not None:
        found.append((tape.position, magic))
        tape.skip(1)
    places = [(match.start(), match[0]) for match in re.finditer(b"|".join(map(re.escape, MAGICS)), whole)]
    assert found == places


@given(st.integers(0, 600_000), st.lists(st.integers(0, 250_000), max_size=6))
def test_jumps_lead_where_reading_would(size: int, steps: list[int]) -> None:
    """With pieces that can be jumped over, skipping and taking yield the bytes that reading all of them yields."""
    whole = (b"%09d" * (size // 9 + 1) % tuple(range(size // 9 + 1)))[:size]
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return whole[offset : offset + length]

    pieces = Pieces(read, size, "file")
    head = next(pieces, b"")
    tape, at = Tape(pieces, head, pieces.jump), 0
    for number, step in enumerate(steps):
        wanted = whole[at : at + step]
        assert (tape.take(step) if number % 2 else tape.skip(step)) == (wanted if number % 2 else len(wanted))
        at += len(wanted)
        assert tape.position == at
    assert sum(asked) <= size


def test_what_is_jumped_over_is_not_read() -> None:
    """Of a long skip only the pieces at both of its ends are read; all of it is told to have passed."""
    size, asked, passed = 64 << 20, list[int](), list[int]()

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return bytes(length)

    pieces = Pieces(read, size, "file")
    pieces.passed = passed.append
    tape = Tape(pieces, next(pieces), pieces.jump)
    assert tape.skip(size - 10) == size - 10
    assert tape.take(100) == bytes(10)
    assert sum(asked) < 64 << 10
    assert sum(passed) == size


def test_a_file_that_became_shorter_is_told() -> None:
    """Bytes that are no longer there end no file silently."""
    with pytest.raises(ArchiveError, match="changed"):
        list(Pieces(lambda offset, size: bytes(size) if offset == 0 else b"", 100_000, "lib.so"))


def test_looking_too_far_ahead_is_a_mistake() -> None:
    """A look ahead is bounded, whatever a file asks for."""
    with pytest.raises(ValueError, match="looked ahead"):
        Tape([b""]).peek(PEEK_LIMIT + 1)
