"""kpack archives: their table of contents, and hostile ones."""

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.kpack import KPACK_MAGIC, read_kpack
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code

TABLE: dict[str, Any] = {
    "format_version": 1,
    "group_name": "torch",
    "gfx_arch_family": "gfx9",
    "gfx_arches": ["gfx90a", "gfx90a:xnack+", "gfx942"],
    "compression_scheme": "zstd-per-kernel",
    "zstd_offset": 64,
    "zstd_size": 100,
    "toc": {
        "lib/libone.so": {
            "gfx90a": {"type": "hsaco", "ordinal": 0, "original_size": 1000},
            "gfx90a:xnack+": {"type": "hsaco", "ordinal": 1, "original_size": 2000},
        },
        "lib/libtwo.so": {"gfx90a": {"type": "hsaco", "ordinal": 2, "original_size": 3000}},
    },
}


def archive(table: object, version: int = 1, begin: int = 192) -> bytes:
    """A kpack archive whose images are zeros."""
    header = struct.pack("<4sIQ", KPACK_MAGIC, version, begin)
    return header.ljust(begin, b"\0") + msgspec.msgpack.encode(table)


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """`read` over bytes."""
    return lambda offset, size: data[offset : offset + size]


def read(data: bytes) -> tuple[Code, ...]:
    """All codes of an archive in memory."""
    return read_kpack(reader(data), len(data))


def test_images_and_targets_without_one() -> None:
    """Each image is a code with its features and its size, and a target without an image comes last."""
    assert read(archive(TABLE)) == (
        Code("amd", "data", "gfx90a", 1000, (), None, True),
        Code("amd", "data", "gfx90a", 2000, ("xnack+",), None, True),
        Code("amd", "data", "gfx90a", 3000, (), None, True),
        Code("amd", "data", "gfx942", 0, (), None, True),
    )


def test_an_older_table() -> None:
    """The first archives state offset and size of images that are not compressed."""
    table = {"gfx_arches": ["gfx942"], "toc": {"a": {"gfx942": {"offset": 64, "size": 7}}}}
    assert read(archive(table)) == (Code("amd", "data", "gfx942", 7),)
    assert read(archive({})) == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin"),
        (b"KPAK\1\0\0\0", "does not begin"),
        (b"PACK" + bytes(60), "does not begin"),
        (archive(TABLE, version=2), "version 2"),
        (struct.pack("<4sIQ", KPACK_MAGIC, 1, 1 << 60), "says its table is at byte 1,152,921,504,606,846,976"),
        (struct.pack("<4sIQ", KPACK_MAGIC, 1, 3) + bytes(9), "says its table is at byte 3"),
        (struct.pack("<4sIQ", KPACK_MAGIC, 1, 16) + bytes(3 << 20), "more than is read"),
        (archive([]), "cannot be read"),
        (archive({"toc": {"a": 1}}), "cannot be read"),
        (archive({"gfx_arches": [b"\xff"]}), "cannot be read"),
        (archive({"gfx_arches": ["gfx\n942"]}), "without a readable target"),
        (archive({"toc": {"a": {"gfx942": {"original_size": -1}}}}), "without a readable target"),
        (archive({"toc": {"a": {"gfx942": {"original_size": 1 << 60}}}}), "without a readable target"),
        (archive(TABLE)[:192] + b"\x91" * 100_000, "cannot be read"),
        (archive(TABLE)[:192] + b"\x81\xa1x" + b"\x91" * 100_000, "cannot be read"),
        (archive(TABLE)[:192] + b"\xdf\xff\xff\xff\xff", "cannot be read"),
    ],
)
def test_what_lies_is_refused(data: bytes, words: str) -> None:
    """Wrong magic, version, offset, size, types, names and endless nesting are errors in words."""
    with pytest.raises(BinaryError, match=words):
        read(data)


def test_cut_off_archives_are_refused() -> None:
    """An archive that ends anywhere before its end is an error and nothing else."""
    data = archive(TABLE)
    for end in range(len(data)):
        with pytest.raises(BinaryError):
            read(data[:end])


@given(st.integers(0, 500), st.integers(0, 255))
def test_changed_bytes_give_codes_or_an_error(at: int, value: int) -> None:
    """Whatever byte is changed, there are codes or a BinaryError."""
    data = bytearray(archive(TABLE))
    data[at % len(data)] = value
    try:
        assert all(code.vendor == "amd" for code in read(bytes(data)))
    except BinaryError as error:
        assert "kpack" in error.message
