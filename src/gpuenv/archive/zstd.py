"""The door to the zstd library: Zstandard frames (RFC 8878), made, and decoded with bounded output and window.

Python 3.14 brings a decoder of its own; for older ones the same module comes from a backport.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import chain

if sys.version_info >= (3, 14):
    from compression.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
    )
else:
    from backports.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
    )

__all__ = [
    "CHUNK",
    "MAGIC",
    "NEAR",
    "WINDOW_LOG",
    "compress_frame",
    "decompress_chunks",
    "decompress_head",
    "frame_length",
    "has_checksum",
]

CHUNK = 1 << 20
MAGIC = b"\x28\xb5\x2f\xfd"
# 128 MiB, what `zstd --long` and LLVM ask for at most. A frame that wants more is refused, for the window is memory.
WINDOW_LOG = 27
_BLOCK = 128 << 10
_CHECKSUM = 4  # of the byte that describes a frame
_ALL: dict[int, int] = {CompressionParameter.enable_long_distance_matching: 1, CompressionParameter.checksum_flag: 1}
# A window of 128 MiB instead of 32 makes a frame 1 to 2 % smaller and twice as slow to unpack. Jobs of 16 MiB are
# packed side by side, which costs 1 %; the bytes do not depend on how many. Level 3 is 2 to 6 % smaller, and packs
# dense CUDA code at 150 MB/s on two cores instead of 210.
_FAST = _ALL | {
    CompressionParameter.compression_level: 2,
    CompressionParameter.window_log: 25,
}
_JOB = 16 << 20
_FAR = {CompressionParameter.window_log: WINDOW_LOG}
NEAR = 31 << 20  # bytes; how far back a frame that is not far finds what it repeats
# levels 20 to 22 take half as long again and twice the memory, for next to nothing with the same window
_BEST = _ALL | {CompressionParameter.compression_level: 19, CompressionParameter.window_log: WINDOW_LOG}


def compress_frame(
    pieces: Iterator[bytes], *, most: int, best: bool, threads: int, far: bool = False
) -> tuple[list[bytes], int, Iterator[bytes] | None]:
    """One frame with a checksum and long-distance matches: its packed bytes, how many went in, and what is left.

    most: how many bytes go in, where there are more; None is left where all did.
    best: one thread, minutes, a window of 128 MiB. Otherwise as many threads as are said, if the library has any, and
    a window of 32 MiB; far: 128.
    """
    options = _BEST if best else _FAST | _FAR if far else _FAST
    side_by_side = CompressionParameter.nb_workers.bounds()[1]
    if side_by_side and not best:
        options = options | {
            CompressionParameter.nb_workers: min(threads, side_by_side),
            CompressionParameter.job_size: _JOB,
        }
    stream = ZstdCompressor(options=options)
    packed, size, left = [], 0, None
    for piece in pieces:
        part = piece if size + len(piece) <= most else piece[: most - size]
        size += len(part)
        if done := stream.compress(part):
            packed.append(done)
        if part is not piece:
            left = chain([piece[len(part) :]], pieces)
            break
    packed.append(stream.flush())
    return packed, size, left


def has_checksum(packed: bytes) -> bool:
    """Does a frame that begins with these bytes end with the checksum of its content (RFC 8878, 3.1.1.1.1)?"""
    return len(packed) > len(MAGIC) and bool(packed[len(MAGIC)] & _CHECKSUM)


def decompress_head(packed: bytes, limit: int) -> bytes | None:
    """The first bytes, `limit` at most, of what a frame holds, of which `packed` is the beginning or all.

    Fewer where the frame or `packed` ends before; None where the frame is damaged or wants too large a window.
    """
    if not packed or limit <= 0:
        return b""
    try:
        return _decoder().decompress(packed, limit)
    except ZstdError:
        return None


def decompress_chunks(read: Callable[[], bytes], limit: int) -> Iterator[bytes | None]:
    """Decompress frame after frame in pieces of at most `CHUNK`; `read` gives packed bytes, b"" at their end.

    Never yields more than `limit` bytes, and b"" where a frame ended; the last value is None where the stream is
    damaged, cut off, wants too large a window, holds more than `limit` bytes, or has something else behind a frame.
    """
    stream, pending, done, begun = _decoder(), read(), 0, False
    while pending or begun:
        try:
            piece = stream.decompress(pending, CHUNK)
        except ZstdError:
            yield None
            return
        done += len(piece)
        if done > limit:
            yield None
            return
        if piece:
            yield piece
        if stream.eof:
            yield b""
            stream, pending, begun = _decoder(), stream.unused_data or read(), False
            continue
        begun, pending = True, b""
        if stream.needs_input:
            pending = read()
            if not pending:
                yield None  # packed bytes ended before the frame did
                return


def frame_length(read: Callable[[], bytes], limit: int) -> int | None:
    """How many packed bytes the first frame takes, told by the headers of its blocks (RFC 8878, 3.1.1).

    Nothing is decoded: what takes no time to say must take none to skip, and four bytes may stand for 128 KiB.
    None where it is no frame, is cut off, wants too large a window, or says that it holds more than `limit` bytes.
    """
    source = _Pieces(read)
    head = source.take(5)
    if len(head) < 5 or head[:4] != MAGIC or head[4] & 8:
        return None
    single, checksum, content = head[4] & 32, head[4] & _CHECKSUM, head[4] >> 6
    window = b"" if single else source.take(1)
    source.take((0, 1, 2, 4)[head[4] & 3])  # the number of a dictionary
    size = source.take((1 if single else 0, 2, 4, 8)[content])
    held = int.from_bytes(size, "little") + (256 if content == 1 else 0)
    wanted = held if single else (8 + (window[0] & 7)) << (window[0] >> 3) + 7 if window else 0
    done = 0
    while held <= limit and done <= limit and wanted <= 1 << WINDOW_LOG:
        header = source.take(3)
        block = int.from_bytes(header, "little")
        kind, length = block >> 1 & 3, block >> 3
        if len(header) < 3 or kind == 3 or length > _BLOCK or not source.skip(1 if kind == 1 else length):
            return None
        done += length if kind < 2 else 0
        if block & 1:
            whole = source.skip(4 if checksum else 0) and done <= limit
            return source.taken if whole else None
    return None


class _Pieces:
    """Bytes that come in pieces. taken: how many were taken or skipped, or were to be before the end came."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.taken = 0
        self._read = read
        self._held = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next few bytes, fewer only at the end."""
        while len(self._held) - self._at < size and (piece := self._read()):
            self._held, self._at = self._held[self._at :] + piece, 0
        data = self._held[self._at : self._at + size]
        self._at += len(data)
        self.taken += size
        return data

    def skip(self, size: int) -> bool:
        """Move on; False where the end came before."""
        self.taken += size
        while (missing := size - (len(self._held) - self._at)) > 0:
            size, self._held, self._at = missing, self._read(), 0
            if not self._held:
                return False
        self._at += size
        return True


def _decoder() -> ZstdDecompressor:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})
