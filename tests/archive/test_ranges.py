"""A file of which only some ranges are here."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from gpuenv.archive.ranges import MEMBER_LIMIT, MissingRange, SmallMember, SparseFile
from gpuenv.errors import ArchiveError
from tests.support.wheels import make_wheel


def is_metadata(name: str) -> bool:
    return name.endswith("METADATA")


def test_ranges_are_read_where_they_belong() -> None:
    """Bytes come back from their offsets, across parts that touch or overlap, and end at the file's end."""
    file = SparseFile(10)
    file.add(6, b"6789")
    file.add(2, b"234")
    file.add(4, b"456")
    file.seek(2)
    assert file.read(3) == b"234"
    assert file.read() == b"56789"
    assert file.read(1) == b""


def test_missing_range_is_named() -> None:
    """Reading past what is here names the hole, up to the next byte that is here."""
    file = SparseFile(10)
    file.add(0, b"01")
    file.add(6, b"67")
    with pytest.raises(MissingRange) as caught:
        file.read(8)
    assert (caught.value.start, caught.value.stop) == (2, 6)


def test_ranges_outside_the_file_are_refused() -> None:
    """A server cannot make the file longer than it said."""
    with pytest.raises(ValueError, match="outside"):
        SparseFile(4).add(2, b"234")


def test_member_is_read_with_few_ranges(tmp_path: Path) -> None:
    """The member of a large archive needs its end, its directory and the member, not the rest."""
    noise = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(9000))
    data = make_wheel(tmp_path, "big", files={"big/data.bin": noise, "big/__init__.py": ""}).read_bytes()
    file = SparseFile(len(data))
    asked = 0
    while True:
        try:
            body = SmallMember(file, is_metadata).read()
            break
        except MissingRange as missing:
            asked += 1
            start, stop = missing.start, min(len(data), max(missing.stop, missing.start + 4096))
            file.add(start, data[start:stop])
    assert body.startswith(b"Metadata-Version: 2.1\nName: big\n")
    assert asked <= 4
    assert file.held < 20_000


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    """No end record, a damaged member and a member of the wrong number are ArchiveErrors."""
    data = bytearray(make_wheel(tmp_path, "foo", stored=True).read_bytes())
    with pytest.raises(ArchiveError, match="cannot be read"):
        SmallMember(io.BytesIO(bytes(data[:-30])), is_metadata).read()
    data[data.index(b"Name: foo")] = ord("X")
    with pytest.raises(ArchiveError, match="CRC"):
        SmallMember(io.BytesIO(bytes(data)), is_metadata).read()
    with pytest.raises(ArchiveError, match="no members"):
        SmallMember(io.BytesIO(bytes(data)), lambda name: name == "elsewhere").read()


def test_large_members_are_refused() -> None:
    """A member that unpacks to more than the limit is not unpacked."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.dist-info/METADATA", bytes(MEMBER_LIMIT + 1))
    with pytest.raises(ArchiveError, match="too large"):
        SmallMember(packed, is_metadata).read()
