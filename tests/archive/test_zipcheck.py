"""Archives that mean different things to different readers are refused, ordinary ones are not."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pytest

from gpuenv.archive.wheel import open_wheel
from gpuenv.errors import ArchiveError

LOCAL = struct.Struct("<4s5H3L2H")


def plain(*names: str, method: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    """An ordinary archive whose files hold their own names ten times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names or ("a.py", "b.py"):
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name  # ZipInfo cuts names at NUL
            info.compress_type = method
            info.external_attr = mode << 16
            archive.writestr(info, b"" if name.endswith("/") else name.encode("utf-8", "replace") * 10)
    return buffer.getvalue()


def patched(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def central(data: bytes, nth: int = 0) -> int:
    """Where the nth entry of the central directory begins."""
    position = -1
    for _ in range(nth + 1):
        position = data.index(b"PK\x01\x02", position + 1)
    return position


def end(data: bytes) -> int:
    return data.rindex(b"PK\x05\x06")


def moved_directory(data: bytes, by: int, insert_at: int, extra: bytes) -> bytes:
    """Insert bytes before the central directory and keep its offset right."""
    where = end(data)
    (offset,) = struct.unpack_from("<L", data, where + 16)
    data = patched(data, where + 16, struct.pack("<L", offset + by))
    return data[:insert_at] + extra + data[insert_at:]


def hidden_local_entry() -> bytes:
    data = plain("a.py")
    hidden = plain("evil.py")
    body = hidden[: central(hidden)]
    return moved_directory(data, len(body), central(data), body)


def two_records() -> bytes:
    inner = plain("evil.py")
    data = plain("a.py")
    return patched(data, end(data) + 20, struct.pack("<H", len(inner))) + inner


def commented(comment: bytes) -> bytes:
    data = plain("a.py")
    return patched(data, end(data) + 20, struct.pack("<H", len(comment))) + comment


def renamed_locally() -> bytes:
    return patched(plain("a.py"), LOCAL.size, b"b.py")


def other_local_size() -> bytes:
    return patched(plain("a.py"), 22, struct.pack("<L", 41))


def other_local_crc() -> bytes:
    return patched(plain("a.py"), 14, b"\1\2\3\4")


def other_local_method() -> bytes:
    return patched(plain("a.py"), 8, struct.pack("<H", 0))


def both(field_local: int, field_central: int, value: bytes) -> bytes:
    data = plain("a.py")
    return patched(patched(data, field_local, value), central(data) + field_central, value)


def duplicated() -> bytes:
    data = plain("a.py", "b.py")
    return data.replace(b"b.py", b"a.py")


def counted_wrong() -> bytes:
    data = plain("a.py", "b.py")
    return patched(data, end(data) + 8, struct.pack("<HH", 1, 1))


def overlapping() -> bytes:
    data = plain("a.py", "b.py")
    return patched(data, central(data, 1) + 42, struct.pack("<L", 0))


def lying_size() -> bytes:
    data = plain("a.py")
    huge = struct.pack("<L", 1 << 29)
    return patched(patched(data, 22, huge), central(data) + 24, huge)


def bomb() -> bytes:
    data = b"".join([plain("a.py", method=zipfile.ZIP_DEFLATED)])
    huge = struct.pack("<L", 0xFFFFFFF0)
    return patched(patched(data, 22, huge), central(data) + 24, huge)


def two_names() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.py")
        info.extra = struct.pack("<HHBL", 0x7075, 9, 1, 0) + b"b.py"
        archive.writestr(info, b"x")
    return buffer.getvalue()


def false_zip64() -> bytes:
    data = plain("a.py")
    where = end(data)
    (size, offset) = struct.unpack_from("<LL", data, where + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset - 1)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, where, 1)
    return data[:where] + record + locator + data[where:]


def streamed(descriptor: Callable[[bytes], bytes]) -> bytes:
    """An archive written to a pipe: sizes follow each entry in a data descriptor."""

    class Pipe:
        data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

        def flush(self) -> None:
            pass

    pipe = Pipe()
    with zipfile.ZipFile(cast("IO[bytes]", pipe), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"streamed" * 10)
    position = pipe.data.index(b"PK\x07\x08")
    return pipe.data[:position] + descriptor(pipe.data[position : position + 16]) + pipe.data[position + 16 :]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"hello", "end record"),
    "truncated": (lambda: plain()[:-5], "end record"),
    "trailing bytes": (lambda: plain() + b"x", "end record"),
    "prefix": (lambda: b"#!/bin/sh\n" + plain(), "precede"),
    "hidden entry": (hidden_local_entry, "bytes hide"),
    "two end records": (two_records, "two end records"),
    "records in the comment": (lambda: commented(b"PK\x01\x02 hidden"), "comment"),
    "other local name": (renamed_locally, "another name"),
    "other local size": (other_local_size, "another size"),
    "other local checksum": (other_local_crc, "another size or checksum"),
    "other local method": (other_local_method, "another method"),
    "encrypted": (lambda: both(6, 8, struct.pack("<H", 1)), "encrypted"),
    "unknown flags": (lambda: both(6, 8, struct.pack("<H", 0x10)), "do not use"),
    "bzip2": (lambda: plain("a.py", method=zipfile.ZIP_BZIP2), "neither stored nor deflated"),
    "lzma": (lambda: plain("a.py", method=zipfile.ZIP_LZMA), "neither stored nor deflated|do not use"),
    "zstd": (lambda: both(8, 10, struct.pack("<H", 93)), "method 93, zstd"),
    "duplicate": (duplicated, "one file"),
    "duplicate of one letter": (lambda: plain("a", "b").replace(b"b", b"a"), "one file"),
    "wrong count": (counted_wrong, "counts 1 entries"),
    "overlap": (overlapping, "hide or overlap|overlaps the next"),
    "impossible ratio": (lying_size, "decompression bomb"),
    "bomb": (bomb, "decompression bomb"),
    "second name": (two_names, "second name"),
    "contradicting ZIP64": (false_zip64, "ZIP64"),
    "parent": (lambda: plain("a/../../b.py"), "leaves the archive"),
    "absolute": (lambda: plain("/etc/passwd"), "absolute"),
    "drive": (lambda: plain("C:evil.py"), "absolute"),
    "backslash": (lambda: plain("a\\b.py"), "backslash"),
    "newline": (lambda: plain("a\nb.py"), "control characters"),
    "NUL": (lambda: plain("aXb.py").replace(b"aXb.py", b"a\0b.py"), "control characters"),
    "empty part": (lambda: plain("a//b.py"), "empty part"),
    "dot": (lambda: plain("./b.py"), "empty part"),
    "long name": (lambda: plain("a" * 300), "too long"),
    "file above file": (lambda: plain("a", "a/b.py"), "is a file and the directory"),
    "two spellings": (lambda: plain("caf\u00e9.py", "cafe\u0301.py"), "one file"),
    "symbolic link": (lambda: plain("a.py", mode=stat.S_IFLNK | 0o777), "symbolic link"),
    "device": (lambda: plain("a.py", mode=stat.S_IFCHR | 0o666), "not a plain file"),
    "bad descriptor": (lambda: streamed(lambda found: found[:-1] + b"\xff"), "data descriptor"),
    "short descriptor": (lambda: moved_directory(streamed(lambda found: found[:-1]), -1, 0, b""), "data descriptor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    """Each hand-made archive is refused before anything is written, and the message names file and reason."""
    make, reason = REFUSED[case]
    wheel = tmp_path / "evil-1.0-py3-none-any.whl"
    wheel.write_bytes(make())
    with pytest.raises(ArchiveError, match=f"(?s)^evil-1.0-py3-none-any.whl .*({reason})"), open_wheel(wheel):
        pass


def test_names_that_differ_in_case_depend_on_the_file_system(tmp_path: Path) -> None:
    """`A.py` beside `a.py` is fine where both can live, refused where one would overwrite the other."""
    wheel = tmp_path / "cases.whl"
    wheel.write_bytes(plain("A.py", "a.py"))
    with open_wheel(wheel, case_sensitive=True) as archive:
        assert len(archive.members) == 2
    with pytest.raises(ArchiveError, match="one file"):
        open_wheel(wheel, case_sensitive=False)


@pytest.mark.parametrize("make", [lambda found: found, lambda found: found[4:]], ids=["signed", "unsigned"])
def test_streamed_archives_are_read(make: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Data descriptors are accepted with and without their signature."""
    data = streamed(make)
    shift = len(make(b"x" * 16)) - 16
    wheel = tmp_path / "streamed.whl"
    wheel.write_bytes(moved_directory(data, shift, 0, b""))
    with open_wheel(wheel) as archive:
        assert archive.read(archive.members[0]) == b"streamed" * 10


def test_zip64_is_read(tmp_path: Path) -> None:
    """Local ZIP64 sizes, as writers of unknown lengths leave them, are compared and accepted."""
    wheel = tmp_path / "large.whl"
    with zipfile.ZipFile(wheel, "w") as archive, archive.open("a.py", "w", force_zip64=True) as file:
        file.write(b"content")
    with open_wheel(wheel) as opened:
        assert opened.read(opened.members[0]) == b"content"


def test_harmless_comments_and_directories_pass(tmp_path: Path) -> None:
    """An archive's comment, and entries for directories, are no reason to refuse it."""
    wheel = tmp_path / "fine.whl"
    data = plain("a/", "a/b.py", mode=0)
    wheel.write_bytes(patched(data, end(data) + 20, struct.pack("<H", 5)) + b"hello")
    with open_wheel(wheel) as archive:
        assert [member.name for member in archive.members] == ["a/b.py"]


def test_a_directory_of_too_many_entries_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is too long, or holds many more entries than are said to be there, is refused before parsing."""
    wheel = tmp_path / "many.whl"
    names = [f"{number}.py" for number in range(20)]
    data = plain(*names)
    monkeypatch.setattr("gpuenv.archive.zipdirectory.MAX_MEMBERS", 9)
    wheel.write_bytes(data)
    with pytest.raises(ArchiveError, match="it has 20 entries"):
        open_wheel(wheel)
    wheel.write_bytes(patched(data, end(data) + 8, struct.pack("<HH", 1, 1)))
    with pytest.raises(ArchiveError, match="more than 9 entries"):
        open_wheel(wheel)
    monkeypatch.setattr("gpuenv.archive.zipdirectory.MAX_DIRECTORY", 99)
    with pytest.raises(ArchiveError, match="its directory takes"):
        open_wheel(wheel)
