"""Bytes that pass once, forward: how device code is read out of half a gigabyte that nobody holds."""

from collections.abc import Iterable, Iterator

__all__ = ["PEEK_LIMIT", "Tape"]

PEEK_LIMIT = 4 << 20


class Tape:
    """A file read once from its first byte to its last, with a look ahead.

    chunks: its bytes, in pieces of any length. position: of the next byte.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.position = 0
        self._chunks: Iterator[bytes] = iter(chunks)
        self._held = b""
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
        while self._start + len(self._held) < target:
            self.position = self._start + len(self._held)
            if not self._bring():
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
            if not self._bring():
                self.position = end
                return None

    def _place(self, pattern: bytes) -> int:
        """Where a pattern comes next; the end of what is held, if it does not."""
        known = self._known.get(pattern, -1)
        if known < self.position:
            found = self._held.find(pattern, self.position - self._start)
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
