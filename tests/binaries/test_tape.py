"""A tape gives the bytes of its chunks, wherever the chunks are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.tape import PEEK_LIMIT, Tape

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


def test_looking_too_far_ahead_is_a_mistake() -> None:
    """A look ahead is bounded, whatever a file asks for."""
    with pytest.raises(ValueError, match="looked ahead"):
        Tape([b""]).peek(PEEK_LIMIT + 1)
