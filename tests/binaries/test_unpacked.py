"""A wheel read where it was unpacked says what the wheel itself says, and costs less."""

from pathlib import Path

import pytest

from gpuenv.archive.tree import FileSource, open_tree, open_tree_from
from gpuenv.binaries.artifact import read_artifact
from gpuenv.binaries.pieces import Pieces
from gpuenv.binaries.unpacked import CheckedWheel, Unpacked
from gpuenv.model.facts import NativeFacts
from tests.support.binaries import bundle, fatbin, library
from tests.support.wheels import make_wheel

LARGE = fatbin(("sass", 90), payload=1 << 20) + bytes(400 << 10) + fatbin(("sass", 80), payload=2 << 20)
SECTIONS = [(".nv_fatbin", LARGE), (".hip_fatbin", bundle("gfx942"))]
FILES = {
    "pkg/__init__.py": b"",
    "pkg/data.bin": b"nothing",
    "pkg/lib/liba.so": library("liba.so.1", ["libc.so.6"], sections=SECTIONS),
    "pkg/lib/libb.so": library("libb.so.1", ["liba.so.1"]),
    "pkg/lib/libb.so.1": library("libb.so.1", ["liba.so.1"]),
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with a large library and two that are one file."""
    return make_wheel(tmp_path, "pkg", files={**FILES})


@pytest.fixture
def folder(wheel: Path, tmp_path: Path) -> Path:
    """What it unpacks to."""
    with open_tree(wheel) as tree:
        for file in tree.files:
            place = tmp_path / "unpacked" / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"".join(file.chunks()))
    return tmp_path / "unpacked"


def read_there(wheel: Path, unpacked: Path, passed: list[int]) -> NativeFacts:
    with open_tree_from(wheel.name, CheckedWheel.open(wheel)) as tree, Unpacked(unpacked) as files:
        tree.files = tuple(files.file(file, file.path) for file in tree.files)
        return read_artifact(tree, "ab" * 32, workers=1, progress=passed.append)


def read_here(wheel: Path, passed: list[int]) -> NativeFacts:
    with open_tree(wheel) as tree:
        return read_artifact(tree, "ab" * 32, workers=1, progress=passed.append)


def test_same_facts(wheel: Path, folder: Path) -> None:
    """Facts and progress are those of the wheel, twins included."""
    there, here = list[int](), list[int]()
    facts = read_there(wheel, folder, there)
    assert facts == read_here(wheel, here)
    assert facts.duplicates == (("pkg/lib/libb.so", "pkg/lib/libb.so.1"),)
    assert {code.arch for code in facts.objects[0].device_code} == {"sm_80", "sm_90", "gfx942"}
    assert sum(there) == sum(here)


def test_payloads_are_not_read(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images inside containers are jumped over: the file's bytes outside of them are read, and little more."""
    asked, jumped = list[int](), list[int]()
    read, jump = FileSource.read, Pieces.jump

    def reading(self: FileSource, offset: int, size: int) -> bytes:
        asked.append(size)
        return read(self, offset, size)

    def jumping(self: Pieces, size: int) -> int:
        jumped.append(size)
        return jump(self, size)

    monkeypatch.setattr(FileSource, "read", reading)
    monkeypatch.setattr(Pieces, "jump", jumping)
    read_there(wheel, folder, [])
    assert sum(jumped) > 2 << 20
    assert sum(asked) < 2 << 20


def test_what_is_not_there_is_read_from_the_wheel(wheel: Path, folder: Path) -> None:
    """A file that is missing, has another size, or is a link is taken from the wheel itself."""
    expected = read_here(wheel, [])
    (folder / "pkg/lib/libb.so").unlink()
    (folder / "pkg/lib/libb.so").symlink_to("libb.so.1")
    (folder / "pkg/lib/libb.so.1").write_bytes(b"\x7fELF")
    (folder / "pkg/lib/liba.so").unlink()
    assert read_there(wheel, folder, []) == expected
