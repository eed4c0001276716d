"""An artifact's facts: every binary in it, in whatever it is packed, read side by side."""

import tarfile
import threading
from pathlib import Path
from typing import Literal

import pytest

from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import bytes_to_read, read_artifact, read_objects
from gpuenv.errors import ArchiveError
from gpuenv.model.facts import NativeFacts, ObjectFacts, Symlink
from tests.support.binaries import fatbin, library
from tests.support.wheels import make_wheel

FILES: dict[str, bytes] = {
    "pkg/__init__.py": b"",
    "pkg/lib/liba.so.1": library("liba.so.1", ["libc.so.6"], sections=[(".nv_fatbin", fatbin(("sass", 90)))]),
    "pkg/lib/liba.so": library("liba.so.1", ["libc.so.6"], sections=[(".nv_fatbin", fatbin(("sass", 90)))]),
    "pkg/lib/libb.so": library("libb.so", ["liba.so.1"], sections=[(".nv_fatbin", fatbin(("sass", 80)) * 9)]),
    "pkg/notes.txt": b"libraries",
    "pkg/kernels/x_gfx942.co": b"opaque",
}


def facts_of(path: Path, workers: int | None = None) -> NativeFacts:
    with open_tree(path) as tree:
        return read_artifact(tree, "ab" * 32, workers=workers)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with three libraries, two of which are one file that lost its link."""
    return make_wheel(tmp_path, "pkg", files={**FILES})


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_wheel(wheel: Path, workers: int) -> None:
    """Objects come sorted by path, however many workers read; the same bytes under two names are told."""
    facts = facts_of(wheel, workers)
    assert [found.path for found in facts.objects] == [
        "pkg/kernels/x_gfx942.co",
        "pkg/lib/liba.so",
        "pkg/lib/liba.so.1",
        "pkg/lib/libb.so",
    ]
    assert facts.duplicates == (("pkg/lib/liba.so", "pkg/lib/liba.so.1"),)
    assert (facts.sha256, facts.size) == ("ab" * 32, wheel.stat().st_size)
    assert facts.damaged == ()


def test_every_form_tells_the_same(wheel: Path, tmp_path: Path) -> None:
    """A wheel, the folder it unpacks to, and tars of that folder have the same objects."""
    folder = tmp_path / "tree"
    with open_tree(wheel) as tree:
        for file in tree.files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).write_bytes(b"".join(file.chunks()))
    modes: tuple[Literal["w", "w:gz", "w:xz"], ...] = ("w", "w:gz", "w:xz")
    for mode in modes:
        with tarfile.open(tmp_path / f"tree.tar{mode[1:].replace(':', '.')}", mode) as tar:
            tar.add(folder, ".")
    expected = facts_of(wheel)
    for name in ("tree", "tree.tar", "tree.tar.gz", "tree.tar.xz"):
        facts = facts_of(tmp_path / name)
        assert (facts.objects, facts.duplicates) == (expected.objects, expected.duplicates), name


def test_links(tmp_path: Path) -> None:
    """Symbolic links of a folder are told and not followed."""
    folder = tmp_path / "tree"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "liba.so.1").write_bytes(FILES["pkg/lib/liba.so.1"])
    (folder / "lib" / "liba.so").symlink_to("liba.so.1")
    facts = facts_of(folder)
    assert facts.symlinks == (Symlink("lib/liba.so", "liba.so.1", "folder"),)
    assert [found.path for found in facts.objects] == ["lib/liba.so.1"]


def test_one_damaged_binary_does_not_hide_the_others(tmp_path: Path) -> None:
    """A file that lies is named, with what is wrong; the rest is told all the same."""
    cut = FILES["pkg/lib/libb.so"][:-70]
    wheel = make_wheel(tmp_path, "pkg", files={**FILES, "pkg/lib/libcut.so": cut})
    facts = facts_of(wheel)
    assert [damage.path for damage in facts.damaged] == ["pkg/lib/libcut.so"]
    assert facts.damaged[0].problem
    assert len(facts.objects) == 4


def test_damaged_archive(wheel: Path) -> None:
    """An archive whose bytes changed is refused as a whole."""
    data = bytearray(wheel.read_bytes())
    at = data.find(b"pkg/lib/libb.so") + 60
    data[at] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(ArchiveError):
        facts_of(wheel)


def test_small_ones_first_and_no_more_than_asked(tmp_path: Path) -> None:
    """Whoever stops asking stops the reading: a large library behind is not read to its end."""
    large = library("liblarge.so", sections=[(".data", bytes(16 << 20))])
    wheel = make_wheel(tmp_path, "pkg", files={**FILES, "pkg/lib/liblarge.so": large})
    passed = 0
    with open_tree(wheel) as tree:

        def progress(amount: int) -> None:
            nonlocal passed
            passed += amount

        total = bytes_to_read(tree)
        findings = read_objects(tree, workers=1, progress=progress)
        first = next(findings).facts
        findings.close()  # type: ignore[attr-defined]
    assert isinstance(first, ObjectFacts)
    assert first.path == "pkg/kernels/x_gfx942.co"
    assert total is not None
    assert passed < 1 << 20 < total
    assert threading.active_count() == 1


def test_progress_adds_up(wheel: Path) -> None:
    """The bytes that passed are the bytes that were announced, but for those files that are no binaries."""
    amounts: list[int] = []
    with open_tree(wheel) as tree:
        total = bytes_to_read(tree)
        read_artifact(tree, None, progress=amounts.append)
    assert total is not None
    assert sum(amounts) == total
