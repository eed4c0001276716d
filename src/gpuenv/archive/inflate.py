"""The door to the inflate library: raw deflate (RFC 1951) and CRC-32, two to six times faster than zlib's."""

from collections.abc import Callable, Iterator

from isal import isal_zlib
from isal.isal_zlib import crc32, decompressobj

__all__ = ["CHUNK", "Damaged", "crc32", "inflate", "inflate_chunks"]

CHUNK = 1 << 20
Damaged: type[Exception] = vars(isal_zlib)["error"]  # its stubs call the class an instance


def inflate(packed: bytes, size: int) -> bytes | None:
    """Inflate a whole stream that says it holds `size` bytes; None where it is damaged, longer or shorter."""
    stream = decompressobj(-15)
    try:
        data: bytes = stream.decompress(packed, size + 1)
        if len(data) == size and not stream.eof:
            data += stream.decompress(stream.unconsumed_tail, 1)
    except Damaged:
        return None
    return data if len(data) == size and stream.eof and not stream.unused_data else None


def inflate_chunks(read: Callable[[], bytes], size: int) -> Iterator[bytes | None]:
    """Inflate in pieces of at most `CHUNK`; `read` gives packed bytes, b"" at their end.

    Never yields more than `size` bytes; the last value is None where the stream is damaged, longer or shorter.
    """
    stream = decompressobj(-15)
    done = 0
    pending = b""
    while not stream.eof:
        pending = pending or read()
        try:
            piece: bytes = stream.decompress(pending, CHUNK)
        except Damaged:
            yield None
            return
        if not piece and not pending and not stream.eof:
            yield None  # packed bytes ended before the stream did
            return
        pending = stream.unconsumed_tail
        done += len(piece)
        if done > size:
            yield None
            return
        if piece:
            yield piece
    if done != size or stream.unused_data or read():
        yield None
