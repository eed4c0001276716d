"""Wheels as bundles: the same files, and the links that ZIP lost where they are asked for."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from gpuenv.archive.bundled import SymbolicLink, open_bundle
from gpuenv.archive.tree import open_tree
from gpuenv.archive.unpacking import Placed
from gpuenv.binaries.artifact import read_artifact
from gpuenv.bundle.repack import bundle_name, bundled_facts, repack
from gpuenv.errors import ArchiveError
from gpuenv.model.facts import decode_facts
from tests.support.binaries import library
from tests.support.bundles import make_bundle
from tests.support.wheels import make_wheel

LIBRARY = b"\x7fELF" + bytes(range(256)) * 500
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "",
    "demo/lib/libdemo.so": LIBRARY,
    "demo/lib/libdemo.so.1": LIBRARY,
    "demo/lib/libdemo.so.1.2.3": LIBRARY,
    "demo/lib/libdemo.so.10": LIBRARY,
    "demo/lib/libother.so": b"other" + LIBRARY,
    "demo/lib/libother.so.1": LIBRARY,
    "demo/elsewhere/libdemo.so.1": LIBRARY,
    "demo-1.0.data/scripts/tool": "#!python\n",
}


def wheel(folder: Path) -> Path:
    return make_wheel(folder, "demo", files=FILES, tags="py3-none-linux_x86_64", executable=["demo/lib/libdemo.so.1"])


def test_a_bundle_holds_the_files_of_its_wheel(tmp_path: Path) -> None:
    """Names, bytes and executable bits are those of the wheel, and its digest is the bundle's origin."""
    made = wheel(tmp_path)
    path = make_bundle(made)
    assert path.name == "demo-1.0-py3-none-linux_x86_64.whl.tar.zst" == bundle_name(made.name)
    with zipfile.ZipFile(made) as archive:
        before = {
            info.filename: (archive.read(info), bool(info.external_attr >> 16 & 0o100)) for info in archive.infolist()
        }
    (tmp_path / "out").mkdir()
    with open_bundle(path) as bundle:
        places = [Placed(member, member.name, member.executable) for member in bundle.members]
        bundle.unpack(tmp_path / "out", places, mtime=400000000)
        assert bundle.links == ()
        assert bundle.origin == {"filename": made.name, "sha256": hashlib.sha256(made.read_bytes()).hexdigest()}
    after = {place.path: ((tmp_path / "out" / place.path).read_bytes(), place.member.executable) for place in places}
    assert after == before


def test_lost_links_are_found_by_name_and_bytes(tmp_path: Path) -> None:
    """A library with the same bytes as one whose name goes on becomes a link to it, in the same folder alone."""
    with open_bundle(make_bundle(wheel(tmp_path), restore_links=True)) as bundle:
        assert set(bundle.links) == {
            SymbolicLink("demo/lib/libdemo.so", "libdemo.so.1"),
            SymbolicLink("demo/lib/libdemo.so.1", "libdemo.so.1.2.3"),
        }
        left = {member.name for member in bundle.members if member.name.startswith("demo/lib/")}
    assert left == {
        f"demo/lib/{name}" for name in ("libdemo.so.1.2.3", "libdemo.so.10", "libother.so", "libother.so.1")
    }


def test_a_wheel_repacked_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """A bundle is a function of its wheel."""
    made = wheel(tmp_path)
    out = [io.BytesIO(), io.BytesIO()]
    for one in out:
        repack(made, one.write, sha256="0" * 64)
    assert out[0].getvalue() == out[1].getvalue()


def test_a_damaged_wheel_gives_no_bundle(tmp_path: Path) -> None:
    """What does not match its checksum is not packed again."""
    made = wheel(tmp_path)
    data = bytearray(made.read_bytes())
    with zipfile.ZipFile(made) as archive:
        data[archive.getinfo("demo/lib/libother.so").header_offset + 60] ^= 1
    made.write_bytes(data)
    with pytest.raises(ArchiveError, match="is refused"):
        repack(made, io.BytesIO().write, sha256="0" * 64)


def test_facts_are_those_of_the_bundle(tmp_path: Path) -> None:
    """What the wheel's facts say of files that are links now is said of links, as if the bundle itself were read."""
    binary = library("libdemo.so.1", ["libc.so.6"])
    names = ("libdemo.so", "libdemo.so.1", "libdemo.so.1.2", "copy")
    made = make_wheel(tmp_path, "demo", files={f"demo/{name}": binary for name in names}, tags="py3-none-linux_x86_64")
    with open_tree(made) as tree:
        facts = read_artifact(tree, "0" * 64)
    assert len(facts.duplicates[0]) == 4
    for links in (False, True):
        path = tmp_path / bundle_name(made.name)
        with path.open("wb") as file:
            repack(made, file.write, sha256="0" * 64, facts=facts, restore_links=links)
        with open_bundle(path) as bundle, open_tree(path) as tree:
            stated, found = decode_facts(bundle.native or b""), read_artifact(tree, None)
            size = sum(member.size for member in bundle.members)
            assert bundle.origin.get("links") == ("restored" if links else None)
        assert stated is not None
        for key in ("objects", "symlinks", "duplicates", "damaged", "sha256"):
            assert getattr(stated, key) == getattr(found, key)
        assert stated.size == size
    assert bundled_facts(facts, (), 1).objects == facts.objects


def test_progress_tells_every_byte(tmp_path: Path) -> None:
    """What is told adds up to the bytes of all files that are packed."""
    told: list[int] = []
    repacked = repack(wheel(tmp_path), io.BytesIO().write, sha256="0" * 64, progress=told.append)
    assert sum(told) == repacked.files > 0


def test_links_of_a_wheel_stay_links(tmp_path: Path) -> None:
    """Entries of a ZIP that are symbolic links are links of the bundle, and no files; they are no restored ones."""
    made = wheel(tmp_path)
    entry = zipfile.ZipInfo("demo/lib/link.so", (1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(entry, "libdemo.so")
    path = make_bundle(made)
    with open_bundle(path) as bundle:
        assert bundle.links == (SymbolicLink("demo/lib/link.so", "libdemo.so"),)
        assert "links" not in bundle.origin
        assert "demo/lib/link.so" not in {member.name for member in bundle.members}
