"""A file with random access as a row of chunks, of which a reader may jump over what it need not see."""

from collections.abc import Callable, Iterator
from typing import Self

from gpuenv.archive.source import PIECE, Read
from gpuenv.errors import ArchiveError

__all__ = ["FIRST", "Pieces"]

FIRST = 16 << 10  # most files are known by their first bytes, and behind a jump a header is looked at
_GROWTH = 4


class Pieces(Iterator[bytes]):
    """The `size` bytes behind `read`, from the first on, in chunks of 16 KiB that grow to 256 KiB.

    name: of the file. passed: is told how many bytes went by, also of those jumped over. Raises ArchiveError where the
    file became shorter.
    """

    def __init__(self, read: Read, size: int, name: str) -> None:
        self.passed: Callable[[int], None] = lambda amount: None
        self._read = read
        self._size = size
        self._name = name
        self._at = 0
        self._length = FIRST

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._at >= self._size:
            raise StopIteration
        data = self._read(self._at, min(self._length, self._size - self._at))
        if not data:
            raise ArchiveError(f"{self._name} changed while it was read")
        self._length = min(self._length * _GROWTH, PIECE)
        self._move(len(data))
        return data

    def jump(self, size: int) -> int:
        """Leave out the next `size` bytes; returns how many that were, fewer only at the end."""
        moved = min(size, self._size - self._at)
        self._length = FIRST
        self._move(moved)
        return moved

    def _move(self, amount: int) -> None:
        self._at += amount
        self.passed(amount)
