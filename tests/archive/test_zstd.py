"""The zstd door: bounded output, bounded window, and nothing but None for damage."""

import sys
from collections.abc import Callable
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from gpuenv.archive.zstd import CHUNK, WINDOW_LOG, decompress_chunks, decompress_head, frame_length

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = bytes(range(256)) * 40
PACKED = zstd.compress(TEXT)


def feed(data: bytes, size: int = 1 << 16) -> Callable[[], bytes]:
    """A `read` over pieces of the data, then b"" for ever."""
    pieces = chain((data[at : at + size] for at in range(0, len(data), size)), iter(lambda: b"", 1))
    return lambda: next(pieces)


def whole(data: bytes, limit: int, size: int = 1 << 16) -> bytes | None:
    """All that comes out, None where the last value says damage."""
    out = list(decompress_chunks(feed(data, size), limit))
    assert None not in out[:-1]
    return None if out and out[-1] is None else b"".join(piece for piece in out if piece)


@given(st.binary(max_size=2000), st.integers(1, 50), st.integers(0, 2500))
def test_frames_come_back(data: bytes, size: int, limit: int) -> None:
    """What was compressed comes back in whatever pieces it is fed, two frames after one another too; a head is one."""
    packed = zstd.compress(data)
    assert whole(packed + packed, 2 * len(data), size) == data + data
    assert decompress_head(packed, limit) == data[:limit]
    assert frame_length(feed(packed + b"behind", size), len(data)) == len(packed)


def test_a_head_needs_no_whole_frame() -> None:
    """The beginning of a long frame gives the beginning of what it holds."""
    data = bytes(range(251)) * 20_000
    packed = zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
    assert decompress_head(packed[: len(packed) // 2], 4096) == data[:4096]
    assert decompress_head(b"", 10) == b""
    assert decompress_head(packed, 0) == b""


def test_cut_off_streams_are_damaged() -> None:
    """A stream that ends inside a frame ends in None, wherever it is cut."""
    for end in range(1, len(PACKED)):
        assert whole(PACKED[:end], len(TEXT)) is None
        assert frame_length(feed(PACKED[:end]), len(TEXT)) is None


def test_more_than_promised_is_damaged() -> None:
    """Not a byte more than the limit comes out, neither of one frame nor of several."""
    assert whole(PACKED, len(TEXT) - 1) is None
    assert whole(PACKED + PACKED, 2 * len(TEXT) - 1) is None
    assert frame_length(feed(PACKED), len(TEXT) - 1) is None


def test_a_bomb_comes_in_chunks() -> None:
    """256 MiB of zeros from a few kB leave in pieces of at most a chunk, and stop at the limit."""
    compressor = zstd.ZstdCompressor()
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush()
    pieces = list(decompress_chunks(feed(bomb), 5 << 20))
    assert pieces[-1] is None
    assert sum(len(piece) for piece in pieces if piece) <= 5 << 20
    assert max(len(piece) for piece in pieces if piece) <= CHUNK
    assert len(decompress_head(bomb, 100) or b"") == 100


def test_a_window_that_is_too_large_is_refused() -> None:
    """A frame that wants more memory than 2 to the 27th is damage; one that wants that much is not."""
    for log, good in ((WINDOW_LOG, True), (WINDOW_LOG + 1, False)):
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
        packed = compressor.compress(b"x" * 100) + compressor.flush()
        assert (decompress_head(packed, 10) is not None) == good
        assert (whole(packed, 100) is not None) == good
        assert (frame_length(feed(packed), 100) is not None) == good


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_flipped_bytes_never_raise(at: int, change: int) -> None:
    """Whatever byte is changed, there is data or None."""
    broken = PACKED[:at] + bytes([PACKED[at] ^ change]) + PACKED[at + 1 :]
    assert len(whole(broken, len(TEXT)) or b"") <= len(TEXT)
    assert len(decompress_head(broken, 100) or b"") <= 100
    assert (frame_length(feed(broken), len(TEXT)) or 0) <= len(PACKED)


def test_other_things_are_damaged() -> None:
    """What is no frame, alone or behind one, ends in None."""
    assert whole(b"no frame at all", 100) is None
    assert whole(PACKED + b"no frame at all", len(TEXT)) is None
    assert decompress_head(b"no frame at all", 100) is None
    assert whole(b"", 0) == b""
