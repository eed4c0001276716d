"""Bytes that pass once, forward: how device code is read out of half a gigabyte that nobody holds."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

__all__ = ["PEEK_LIMIT", "Tape"]

PEEK_LIMIT = 4 << 20
# A single byte is looked for ten times faster than a word. Of the bytes of the magics these are rare in libraries:
# some 1,200 and 600 bytes lie between them in those of scipy and pyarrow, except in stretches of text.
_RARE = b"\xbaO"
_SHORT = 8  # longer patterns are passed quickly as they are
# Where there are fewer bytes than that between rare ones, as these many looks tell, looking at each takes longer than
# looking for the word, which is then done for a stretch.
_DENSE, _LOOKS, _STRETCH = 160, 32, 16 << 10
_FAR = 64 << 10  # what is nearer is read about as fast as it is jumped over


class Tape:
    """A file read once from its first byte to its last, with a look ahead.

    chunks: its bytes, in pieces of any length; `head` comes before them. jump: leaves out that many bytes of the chunks
    still to come, and returns how many that were. position: of the next byte.
    """

    def __init__(self, chunks: Iterable[bytes], head: bytes = b"", jump: Callable[[int], int] | None = None) -> None:
        self.position = 0
        self._chunks: Iterator[bytes] = iter(chunks)
        self._jump = jump
        self._held = head
        self._start = 0  # the position of the first byte of `_held`
        self._known: dict[bytes, int] = {}  # where a pattern comes next, as far as `_held` tells

    def peek(self, size: int) -> bytes:
        """The next `size` bytes (at most 4 MiB), fewer only at the end, without moving."""
        if size > PEEK_LIMIT:
            raise ValueError("more than may be looked ahead")
        at = self.position - self._start
        if len(self._held) - at < size:
            self._fill(size)
            at = 0
        return self._held[at : at + size]

    def take(self, size: int) -> bytes:
        """The next `size` bytes (at most 4 MiB), fewer only at the end; the tape moves behind them."""
        data = self.peek(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        """Move by `size` bytes, however many; returns by how many it moved, fewer only at the end."""
        begin, target = self.position, self.position + size
        while (missing := target - self._start - len(self._held)) > 0:
            self.position = self._start + len(self._held)
            if self._jump and missing > _FAR:
                moved = self._jump(missing)
                self.position += moved
                self._hold(b"")
                if moved < missing:
                    return self.position - begin
            elif not self._bring():
                return self.position - begin
        self.position = target
        return size

    def find(self, *patterns: bytes) -> bytes | None:
        """Move to the next occurrence of one of a few short patterns and return it; None: move to the end."""
        longest = max(map(len, patterns))
        while True:
            where, pattern = min((self._place(pattern), pattern) for pattern in patterns)
            end = self._start + len(self._held)
            if where < end:
                self.position = where
                return pattern
            # what may be the first part of a pattern stays
            self.position = max(self.position, end - longest + 1)
            if not self._bring_behind(patterns, longest - 1):
                self.position = end
                return None

    def _place(self, pattern: bytes) -> int:
        """Where a pattern comes next; the end of what is held, if it does not."""
        known = self._known.get(pattern, -1)
        if known < self.position:
            found = _search(self._held, pattern, self.position - self._start)
            known = self._known[pattern] = self._start + (found if found >= 0 else len(self._held))
        return known

    def _bring(self) -> bool:
        """Bring one more chunk; False at the end."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        rest = self._held[self.position - self._start :]
        self._hold(rest + chunk if rest else chunk)
        return True

    def _bring_behind(self, patterns: Iterable[bytes], reach: int) -> bool:
        """The same, but without the rest, which saves a copy of the chunk, where no pattern begins in it.

        reach: bytes of the chunk up to which such a pattern may go.
        """
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        rest = self._held[self.position - self._start :]
        seam = rest + chunk[:reach]
        if len(chunk) < reach or any(pattern in seam for pattern in patterns):
            self._hold(rest + chunk)
        else:
            self.position += len(rest)
            self._hold(chunk)
        return True

    def _fill(self, size: int) -> None:
        parts = [self._held[self.position - self._start :]]
        have = len(parts[0])
        while have < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        self._hold(b"".join(parts))

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._start = self.position
        self._known.clear()


def _search(data: bytes, pattern: bytes, start: int) -> int:
    """What `data.find(pattern, start)` says, sooner."""
    before = _rare(pattern)
    if not before:
        return data.find(pattern, start)
    find, rare, ahead = data.find, pattern[before], pattern[before - 1]
    while start < len(data):
        at, begin = start + before - 1, start
        for _ in range(_LOOKS):
            at = find(rare, at + 1)
            if at < 0:
                return -1
            if data[at - 1] == ahead and data.startswith(pattern, at - before):
                return at - before
        start = at - before + 1
        if start - begin < _LOOKS * _DENSE:
            stop = start + _STRETCH
            found = find(pattern, start, stop + len(pattern) - 1)
            if found >= 0:
                return found
            start = stop
    return -1


@cache
def _rare(pattern: bytes) -> int:
    """The place of a rare byte in a short pattern; 0 if there is none behind the first."""
    return max(0, *map(pattern.find, _RARE)) if len(pattern) <= _SHORT else 0
