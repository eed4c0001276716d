"""Zstandard in several frames with a table of where each lies: the seekable format, version 0.1.0, of zstd's contrib.

The table is a skippable frame at the end, so that every decoder reads the whole as one stream; who knows the table
unpacks frames side by side, or one of them alone.
"""

import struct
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, islice
from typing import NamedTuple

from gpuenv.archive.names import Refused
from gpuenv.archive.source import Read
from gpuenv.archive.zstd import compress_frame

__all__ = ["MOST_IN_FRAME", "Frame", "read_table", "write_frames"]

_SKIPPABLE = 0x184D2A5E
_MAGIC = 0x8F92EAB1
_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")
_MOST = 1 << 16
MOST_IN_FRAME = 1 << 30  # bytes; what they are packed to is in memory, and the table has 32 bits for each size


class Frame(NamedTuple):
    """One frame. start: of its packed bytes in the file, packed: how many; size: what they unpack to."""

    start: int
    packed: int
    size: int


def write_frames(
    write: Callable[[bytes], object],
    contents: Iterable[Callable[[], Iterator[bytes]]],
    *,
    most: int = MOST_IN_FRAME,
    best: bool,
    workers: int,
    far: Collection[int] = (),
) -> tuple[Frame, ...]:
    """Compress contents, several at once, and write them in their order, behind them the table of their frames.

    Each has a frame, or where it is longer than `most` bytes, as many as it takes, all but the last of that many.
    best: take minutes for a few per cent. far: the numbers of contents that repeat what lies further back than `NEAR`.
    Holds in memory the packed bytes of the frames under way (two; best: `workers`), and for each of them what zstd
    needs: best 300 MiB, else 32 MiB and 48 MiB for each worker, 4 at most. The bytes depend on the contents and on the
    zstd library (its version, and whether it has threads), not on `workers`.
    """
    found: list[Frame] = []
    waiting: deque[tuple[int, Future[tuple[list[bytes], int, Iterator[bytes] | None]]]] = deque()
    left = enumerate(contents)
    # while one frame ends, with less to do than there are threads, the next one begins
    at_once, threads = (workers, 1) if best else (min(workers, 2), min(workers, 4))
    with ThreadPoolExecutor(at_once) as pool:

        def begun(number: int, pieces: Iterator[bytes]) -> Future[tuple[list[bytes], int, Iterator[bytes] | None]]:
            return pool.submit(compress_frame, pieces, most=most, best=best, far=number in far, threads=threads)

        while True:
            waiting += [(number, begun(number, content())) for number, content in islice(left, at_once - len(waiting))]
            if not waiting:
                break
            number, future = waiting.popleft()
            packed, size, rest = future.result()
            if rest is not None:
                waiting.appendleft((number, begun(number, rest)))
            length = sum(map(len, packed))
            found.append(Frame(found[-1].start + found[-1].packed if found else 0, length, size))
            for piece in packed:
                write(piece)
    table = b"".join(_ENTRY.pack(frame.packed, frame.size) for frame in found)
    write(_HEAD.pack(_SKIPPABLE, len(table) + _FOOT.size) + table + _FOOT.pack(len(found), 0, _MAGIC))
    return tuple(found)


def read_table(read: Read, total: int) -> tuple[Frame, ...]:
    """The frames of a file of `total` bytes; raises Refused where it has no table, or one that does not cover it."""
    foot = read(max(0, total - _FOOT.size), _FOOT.size)
    if len(foot) < _FOOT.size or _FOOT.unpack(foot)[2] != _MAGIC:
        raise Refused("it has no table of its frames (zstd's seekable format)")
    count, flags, _ = _FOOT.unpack(foot)
    length = count * _ENTRY.size + _FOOT.size
    start = total - _HEAD.size - length
    if flags or not 0 < count <= _MOST or start < 0:
        raise Refused("the table of its frames is damaged, or of a kind that is not read here")
    head, table = read(start, _HEAD.size), read(start + _HEAD.size, length - _FOOT.size)
    if head != _HEAD.pack(_SKIPPABLE, length) or len(table) != length - _FOOT.size:
        raise Refused("the table of its frames is damaged")
    sizes = list(_ENTRY.iter_unpack(table))
    starts = list(accumulate((packed for packed, _ in sizes), initial=0))
    if starts.pop() != start:
        raise Refused("the table of its frames leaves bytes out")
    return tuple(Frame(start, packed, size) for start, (packed, size) in zip(starts, sizes, strict=True))
