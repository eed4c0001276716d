"""Tar archives of every dialect are read, and those that mean different things to different readers refused."""

import gzip
import os
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.archive import packed as packing
from gpuenv.archive.names import Refused
from gpuenv.archive.tar import BLOCK, SeekCursor, StreamCursor, is_header, read_entries
from gpuenv.archive.tree import open_tree
from gpuenv.errors import ArchiveError
from tests.archive.support import NOISE, entry, packed, seen, tar_of

END = bytes(2 * BLOCK)
LONG = "/".join(["folder" * 12] * 6)


def header(
    name: bytes = b"a",
    size: int = 0,
    kind: bytes = b"0",
    link: bytes = b"",
    *,
    number: bytes = b"",
    magic: bytes = b"ustar\00000",
    prefix: bytes = b"",
) -> bytes:
    """One header with a right checksum, whatever else is wrong with it. number: the field of the size as it stands."""
    numbers = struct.pack("8s8s8s12s12s8s", b"644", b"0", b"0", number or b"%011o" % size, b"0", b" " * 8)
    block = name.ljust(100, b"\0") + numbers + kind + link.ljust(100, b"\0") + magic.ljust(88, b"\0")
    block = (block + prefix).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def extended(data: bytes, kind: bytes = b"x") -> bytes:
    return header(b"ext", len(data), kind) + padded(data)


def record(text: bytes) -> bytes:
    """A pax record with its own length before it."""
    length = len(text) + 2
    while len(b"%d %s\n" % (length, text)) != length:
        length += 1
    return b"%d %s\n" % (length, text)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_dialects(form: int, tmp_path: Path) -> None:
    """Names that fit, that need a prefix or an extension, folders and a leading `./` are read as they were written."""
    names = ["./short", LONG[:200]]
    more: list[tarfile.TarInfo | tuple[str, bytes]] = []
    if form != tarfile.USTAR_FORMAT:
        names += [LONG, "caf\u00e9"]
        more = [entry("link", tarfile.SYMTYPE, LONG), ("end", b"1")]
    folders = [entry("./", tarfile.DIRTYPE), entry("x", tarfile.DIRTYPE)]
    data = tar_of(*folders, *((name, b"1") for name in names), *more, form=form)
    _, files, links = seen(tmp_path / "x.tar", data)
    assert list(files) == [name.removeprefix("./") for name in names] + (["end"] if more else [])
    assert [link.target for link in links] == ([LONG] if more else [])


def test_numbers_in_base_256(tmp_path: Path) -> None:
    """Sizes that programs wrote for large files are understood."""
    data = header(number=b"\x80" + bytes(10) + b"\5") + padded(b"12345") + END
    assert seen(tmp_path / "x.tar", data)[1] == {"a": b"12345"}


def test_old_headers(tmp_path: Path) -> None:
    """Headers without a magic, kind NUL, folders by a slash, and prefixes that are none, are read."""
    data = header(b"a/", kind=b"\0", magic=b"") + header(b"a/b", 1, b"\0", magic=b"", prefix=b"no") + padded(b"1")
    data += header(b"c", 1, magic=b"ustar  ", prefix=b"no") + padded(b"2") + header(b"d", 1, prefix=b"p") + padded(b"3")
    assert seen(tmp_path / "x.tar", data + END)[1] == {"a/b": b"1", "c": b"2", "p/d": b"3"}


def test_size_of_an_extension(tmp_path: Path) -> None:
    """A size in an extended header replaces that of the header."""
    data = extended(record(b"size=5") + record(b"mtime=1.5")) + header(size=1) + padded(b"12345") + END
    assert seen(tmp_path / "x.tar", data)[1] == {"a": b"12345"}


REFUSED: dict[str, tuple[bytes, str]] = {
    "control characters": (header(b"a\nb") + END, "control characters"),
    "parent": (header(b"../a") + END, "leaves"),
    "absolute": (header(b"/a") + END, "absolute"),
    "backslash": (header(b"a\\b") + END, "backslash"),
    "no text": (header(b"a\xff") + END, "not UTF-8"),
    "no name": (header(b"") + END, "without a name"),
    "long name": (extended(b"a" * 3000, b"L") + header() + END, "too long"),
    "twice": (header() + header() + END, "comes twice"),
    "two spellings": (header("caf\u00e9".encode()) + header("cafe\u0301".encode()) + END, "one file"),
    "file above file": (header(b"a") + header(b"a/b") + END, "is a file and the directory"),
    "character device": (header(kind=b"3") + END, "is a device"),
    "block device": (header(kind=b"4") + END, "is a device"),
    "pipe": (header(kind=b"6") + END, "is a pipe"),
    "old sparse file": (header(kind=b"S") + END, "is a sparse file"),
    "sparse file": (extended(record(b"GNU.sparse.major=1")) + header() + END, "sparse file"),
    "divided file": (header(kind=b"M") + END, "divided"),
    "unknown kind": (header(kind=b"Z") + END, "of a kind"),
    "folder with content": (header(b"a/", 5, b"5") + padded(b"12345") + END, "and has content"),
    "link with content": (header(b"a", 5, b"2", b"b") + padded(b"12345") + END, "and has content"),
    "link to nothing": (header(kind=b"2") + END, "empty"),
    "link with control characters": (header(kind=b"2", link=b"\x1b[2J") + END, "control characters"),
    "same name for all": (extended(record(b"path=b"), b"g") + header() + END, "all entries the same path"),
    "two names": (extended(b"b\0", b"L") + extended(record(b"path=c")) + header() + END, "say the same thing"),
    "huge long name": (header(b"ext", 1 << 30, b"L") + END, "at most 65536"),
    "huge extension": (header(b"ext", number=b"\x80" + b"\1" * 11) + END, "in the middle of entry"),
    "huge pax header": (header(b"ext", 1 << 30, b"x") + END, "at most 1048576"),
    "pax length too long": (extended(b"99 path=b\n") + header() + END, "malformed"),
    "pax length too short": (extended(b"3 path=b\n") + header() + END, "malformed"),
    "pax without length": (extended(b"path=b\n") + header() + END, "malformed"),
    "pax length zero": (extended(b"0 a=b\n") + header() + END, "malformed"),
    "pax without value": (extended(b"8 path_\n") + header() + END, "malformed"),
    "pax size": (extended(record(b"size=-1")) + header() + END, "says that an entry has"),
    "size no number": (header(number=b"12345678x") + END, "where a number should be"),
    "negative size": (header(number=b"\xff" * 12) + END, "where a number should be"),
    "second header damaged": (header() + b"x" * BLOCK + END, "no tar header at byte"),
    "header cut off": (header() + header(b"b")[:100], "no tar header at byte"),
    "no end": (header(), "cut off"),
    "content cut off": (header(size=9000) + b"x" * 600, "in the middle of entry 'a'"),
    "extension cut off": (extended(record(b"path=" + b"b" * 999))[:700], "in the middle of an extended header"),
    "bytes behind the end": (header() + END + header(b"b") + END, "bytes hide"),
}


@pytest.mark.parametrize("packed_as", ["", "gzip"])
@pytest.mark.parametrize("case", REFUSED)
def test_hostile_archives_are_refused(case: str, packed_as: str, tmp_path: Path) -> None:
    """Each hand-made archive is refused, plain and packed, and the message names file and reason."""
    data, reason = REFUSED[case]
    first = extended(record(b"comment=x")) + header(b"first")
    with pytest.raises(ArchiveError, match=rf"(?s)^x\.tar is refused: .*{reason}"):
        seen(tmp_path / "x.tar", packed(first + data, packed_as))


def test_archive_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """A plain tar whose end vanishes after its header was read does not give a shorter file."""
    path = tmp_path / "x.tar"
    path.write_bytes(header(size=len(NOISE)) + padded(NOISE) + END)
    with open_tree(path) as tree:
        file = next(iter(tree.files))
        os.truncate(path, 1 << 20)
        with pytest.raises(ArchiveError, match="in the middle of entry 'a'"):
            list(file.chunks())


def test_content_that_ends_early_is_found_while_it_is_read(tmp_path: Path) -> None:
    """A large file that is cut off ends with an error, packed or not."""
    data = header(size=len(NOISE)) + NOISE[: 6 << 17]
    for packed_as in ("", "gzip"):
        with pytest.raises(ArchiveError, match="in the middle of entry 'a'"):
            seen(tmp_path / "x.tar", packed(data, packed_as))


@pytest.mark.parametrize("packed_as", ["gzip", "xz", "zstd"])
def test_bombs_stop(packed_as: packing.Packing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to far more than it is gets refused at the limit, read or skipped."""
    monkeypatch.setattr(packing, "RATIO_MATTERS_FROM", 1 << 20)
    data = packed(header(size=4 << 20) + bytes(4 << 20) + END, packed_as)
    with pytest.raises(ArchiveError, match=r"bomb|unpacks to more than"):
        seen(tmp_path / "x.tar", data)
    given = 0
    with pytest.raises(Refused, match=r"bomb|unpacks to more than"):
        for piece in packing.unpacked(packed_as, [data], len(data)):
            given += len(piece)
    assert given <= 1 << 20


def test_endless_extensions_are_no_recursion() -> None:
    """Long names of long names, a hundred thousand of them, are refused and not descended into."""
    cursor = StreamCursor([extended(b"a\0", b"L") * 100, extended(b"a\0", b"K") * 100_000])
    with pytest.raises(Refused, match="say the same thing"):
        list(read_entries(cursor, 1 << 30))


def test_many_records_are_read_in_one_pass() -> None:
    """A header full of the shortest records takes as long as its bytes."""
    data = extended(b"4 =\n"[:4] * 200_000)
    assert [one.path for one in read_entries(StreamCursor([data, header(), END]), 1)] == ["a"]


def test_streams_in_any_pieces() -> None:
    """How a stream is cut into pieces changes nothing."""
    data = tar_of(("a", NOISE[:5000]), ("b", b""), ("c", NOISE[:512]))
    expected = [("a", NOISE[:5000]), ("b", b""), ("c", NOISE[:512])]
    for size in (1, 7, 511, 512, 513, 4096, len(data)):
        for cursor in (
            StreamCursor(data[at : at + size] for at in range(0, len(data), size)),
            SeekCursor(lambda offset, wanted: data[offset : offset + wanted], len(data)),
        ):
            assert [(one.path, cursor.take(one.size)) for one in read_entries(cursor, 1 << 20)] == expected


SEED = tar_of(("a", b"1"), entry("l", tarfile.SYMTYPE, "a"), (LONG, b"2"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=4), st.booleans())
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], mend: bool) -> None:
    """Whatever bytes change, with checksums put right again or not, nothing but a refusal comes of it."""
    data = bytearray(SEED)
    for at, value in changes:
        data[at] = value
    for start in range(0, len(data) - BLOCK, BLOCK) if mend else ():
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + BLOCK])
    try:
        for one in read_entries(StreamCursor([bytes(data)]), 1 << 20):
            assert one.path
    except Refused:
        pass


def test_noise_is_no_header() -> None:
    """Random blocks, and empty ones, are not taken for tar archives."""
    assert not any(is_header(NOISE[at : at + BLOCK]) for at in range(300))
    assert not is_header(bytes(BLOCK))
    assert not is_header(b"")
    assert is_header(header(b"\xc3\xa9"))
    assert not is_header(header(b"\xc3\xa9").replace(b"\xc3", b"\xc4"))


def members(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("gzip", members(b"a" * 5, b"", b"b"), b"aaaaab"),
        ("gzip", members(b"a") + bytes(1000), b"a"),
        ("gzip", members(b"a") + b"b", None),
        ("gzip", members(NOISE)[:-1], None),
        ("gzip", members(b"a")[:-5] + b"\0" + members(b"a")[-4:], None),
        ("gzip", b"", None),
        ("xz", packed(b"a", "xz") * 2 + bytes(8), b"aa"),
        ("xz", packed(b"a", "xz") + b"bbbb", None),
        ("xz", packed(NOISE, "xz")[:-1], None),
        ("xz", b"", None),
        ("zstd", packed(b"a", "zstd") * 2, b"aa"),
        ("zstd", packed(NOISE, "zstd")[:-1], None),
    ],
)
@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_packed_streams(kind: packing.Packing, data: bytes, expected: bytes | None, size: int) -> None:
    """Streams that follow each other are one, filling zeros are none; all else behind them, and cuts, are refused."""

    def unpacked() -> bytes:
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        return b"".join(packing.unpacked(kind, pieces, len(data)))

    if expected is None:
        with pytest.raises(Refused, match=f"its {kind} stream"):
            unpacked()
    else:
        assert unpacked() == expected


def test_large_windows_are_refused() -> None:
    """An xz stream that wants more memory than is granted is refused before it gets it."""
    data = bytearray(packed(b"a", "xz"))
    # the size of the dictionary is one byte of the block's header (xz format 3.1), whose checksum is put right again
    stop = 12 + (data[12] + 1) * 4
    data[data.index(b"\x21\x01", 12) + 2] = 36  # 1 GiB
    data[stop - 4 : stop] = struct.pack("<L", zlib.crc32(data[12 : stop - 4]))
    with pytest.raises(Refused, match="its xz stream"):
        list(packing.unpacked("xz", [bytes(data)], 100))
