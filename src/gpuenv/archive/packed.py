"""Streams that gzip (RFC 1952), xz or zstd packed, unpacked a piece at a time and never beyond what is believable."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from isal.isal_zlib import decompressobj

from gpuenv.archive.inflate import CHUNK, Damaged
from gpuenv.archive.names import Refused
from gpuenv.archive.zipcheck import MAX_RATIO, MAX_TOTAL, RATIO_MATTERS_FROM

__all__ = ["Packing", "most_unpacked", "packing_of", "unpacked"]

Packing = Literal["gzip", "xz", "zstd"]

_MAGIC: dict[bytes, Packing] = {b"\x1f\x8b\x08": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_XZ_MEMORY = 136 << 20  # bytes; `xz -9` asks for 65 MiB, and twice as much is the most that is granted

# Each stream takes a decoder, an empty one too. Programs that pack side by side put at least 64 KiB into each.
_STREAMS, _LEAST = 1000, 4096


def packing_of(head: bytes) -> Packing | None:
    """How a file that begins with these bytes is packed; None: it is not, or in a way that is not read here."""
    return next((packing for magic, packing in _MAGIC.items() if head.startswith(magic)), None)


def most_unpacked(packed: int) -> int:
    """How many bytes may come out of so many; more is a decompression bomb."""
    return min(MAX_TOTAL, max(RATIO_MATTERS_FROM, MAX_RATIO * packed))


def unpacked(packing: Packing, pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Unpack a stream of `size` packed bytes in pieces of at most 1 MiB.

    Raises Refused where it is damaged, cut off, followed by something else, or a bomb.
    """
    source = iter(pieces)
    limit, done, ended = most_unpacked(size), 0, 0
    for piece in _streams(packing, lambda: next(source, b""), limit):
        if piece is None:
            raise Refused(f"its {packing} stream is damaged, cut off, or unpacks to more than {limit} bytes")
        ended += not piece
        if ended > _STREAMS + done // _LEAST:
            raise Refused(f"it is more than {_STREAMS} {packing} streams in a row with next to nothing in them")
        done += len(piece)
        if done > limit:
            raise Refused(f"it would unpack to more than {limit} bytes from {size}: a decompression bomb")
        if piece:
            yield piece


def _streams(packing: Packing, read: Callable[[], bytes], limit: int) -> Iterator[bytes | None]:
    """Pieces, b"" where a stream ended, None where it is damaged."""
    if packing == "zstd":
        # who unpacks no zstd does without that library
        from gpuenv.archive.zstd import decompress_chunks

        return decompress_chunks(read, limit)
    return _gzip(read) if packing == "gzip" else _xz(read)


def _gzip(read: Callable[[], bytes]) -> Iterator[bytes | None]:
    """Members one after the other, then perhaps zero bytes, as tapes are filled up."""
    pending, stream = b"", decompressobj(31)
    while True:
        pending = pending or read()
        try:
            piece: bytes = stream.decompress(pending, CHUNK)
        except Damaged:
            yield None
            return
        if piece:
            yield piece
        elif not pending and not stream.eof:
            yield None  # packed bytes ended before the stream did
            return
        if not stream.eof:
            pending = stream.unconsumed_tail
            continue
        yield b""
        pending, stream = _after(stream.unused_data, read), decompressobj(31)
        if not pending:
            return


def _xz(read: Callable[[], bytes]) -> Iterator[bytes | None]:
    """Streams one after the other, between and behind them zero bytes."""
    try:
        import lzma
    except ImportError:
        raise Refused("it is packed with xz, which this Python was built without") from None
    pending, stream = read(), lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
    while True:
        try:
            piece = stream.decompress(pending, CHUNK)
        except lzma.LZMAError:
            yield None
            return
        if piece:
            yield piece
        if stream.eof:
            yield b""
            pending = _after(stream.unused_data, read)
            if not pending:
                return
            stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
            continue
        pending = b""
        if stream.needs_input:
            pending = read()
            if not pending:
                yield None
                return


def _after(rest: bytes, read: Callable[[], bytes]) -> bytes:
    """What follows a stream, without the zero bytes before it."""
    while not (rest := rest.lstrip(b"\0")):
        rest = read()
        if not rest:
            break
    return rest
