"""Bundles: written the same from the same, read back whole, and refused where they lie."""

import hashlib
import io
import json
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import SymbolicLink, open_bundle
from gpuenv.archive.frames import write_frames
from gpuenv.archive.unpacking import Placed
from gpuenv.archive.zstd import decompress_chunks
from gpuenv.errors import ArchiveError

INFO = "demo-1.0.dist-info"
NOISE = bytes(range(256)) * 4096 * 20  # 20 MiB
FILES = {
    f"{INFO}/METADATA": b"Name: demo\n",
    f"{INFO}/RECORD": b"",
    "demo/__init__.py": b"",
    "demo/lib/libdemo.so.1.2": b"\x7fELF" + NOISE,
    "demo/lib/copy of it": b"\x7fELF" + NOISE,
    "demo/data/ünï.txt": "schön".encode(),
    "demo/" + "long/" * 60 + "name.txt": b"deep",
    "demo-1.0.data/scripts/run": b"#!/bin/sh\n",
}
LINKS = (SymbolicLink("demo/lib/libdemo.so", "libdemo.so.1"), SymbolicLink("demo/lib/libdemo.so.1", "libdemo.so.1.2"))


def content(path: str, data: bytes) -> Content:
    return Content(path, len(data), "scripts/" in path, lambda: pieces(data))


def pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + 100_000] for start in range(0, len(data), 100_000))


def bundle(files: dict[str, bytes] = FILES, links: tuple[SymbolicLink, ...] = LINKS, **options: object) -> bytes:
    out = io.BytesIO()
    write: Callable[..., object] = write_bundle
    write(out.write, INFO, [content(path, data) for path, data in files.items()], links, **options)
    return out.getvalue()


def unpacked(data: bytes) -> bytes:
    left = iter([data])
    return b"".join(piece or b"" for piece in decompress_chunks(lambda: next(left, b""), 1 << 30))


def test_any_reader_of_tar_and_zstd_sees_the_same_files_and_links() -> None:
    """A bundle is a plain tar in plain zstd: nothing in it needs gpuenv to be read."""
    with tarfile.open(fileobj=io.BytesIO(unpacked(bundle()))) as tar:
        members = {member.name: member for member in tar.getmembers()}
        found = {name: tar.extractfile(member).read() for name, member in members.items() if member.isfile()}  # type: ignore[union-attr]
    contents = found.pop(f"{INFO}/bundle.json")
    assert found == FILES
    assert {(name, member.linkname) for name, member in members.items() if member.issym()} == set(LINKS)
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {
        (0, 0, "", 315619200)
    }
    assert [name for name, member in members.items() if member.isfile() and member.mode & 0o100] == [
        "demo-1.0.data/scripts/run"
    ]
    assert json.loads(contents)["links"] == [list(link) for link in LINKS]


def test_the_same_files_give_the_same_bytes() -> None:
    """Neither the order of files nor the number of workers is in a bundle."""
    backwards = dict(reversed(FILES.items()))
    assert bundle(workers=1) == bundle(backwards, tuple(reversed(LINKS)), workers=4)


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    """Contents, executable bits and digests of all files come back; what nobody placed is left out."""
    path = tmp_path / "demo.whl.tar.zst"
    origin = {"filename": "demo-1.0-py3-none-any.whl", "sha256": "0" * 64}
    path.write_bytes(bundle(origin=origin, native=b'{"schema": 1}'))
    with open_bundle(path) as opened:
        assert opened.native == b'{"schema": 1}'
        assert {member.name: member.size for member in opened.members} == {n: len(d) for n, d in FILES.items()}
        assert set(opened.links) == set(LINKS)
        assert opened.origin == origin
        metadata = next(member for member in opened.members if member.name.endswith("METADATA"))
        assert opened.read(metadata) == FILES[f"{INFO}/METADATA"]
        places = [
            Placed(member, f"x/{number}", member.executable)
            for number, member in enumerate(opened.members)
            if member is not metadata
        ]
        (tmp_path / "root").mkdir()
        written = opened.unpack(tmp_path / "root", places, mtime=400000000)
    for place, one in zip(places, written, strict=True):
        file = tmp_path / "root" / place.path
        assert file.read_bytes() == FILES[place.member.name]
        assert one.head == FILES[place.member.name][:4]
        assert file.stat().st_mode & 0o777 == (0o555 if "scripts/" in place.member.name else 0o444)
        assert file.stat().st_mtime == 400000000
    assert len(list((tmp_path / "root" / "x").iterdir())) == len(FILES) - 1


def test_a_flipped_byte_is_never_unpacked(tmp_path: Path) -> None:
    """Where a byte differs a bundle is refused, or the same comes out of it; where it is cut off it is refused."""
    small = {**FILES, "demo/lib/libdemo.so.1.2": os.urandom(3000), "demo/lib/copy of it": os.urandom(200)}
    data = bundle(small)
    path = tmp_path / "demo.whl.tar.zst"
    for number, at in enumerate(range(0, len(data), 13)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        _unpacks(path, tmp_path / str(number), small)
        path.write_bytes(data[:at])
        with pytest.raises(ArchiveError), open_bundle(path):
            pass


def _unpacks(path: Path, root: Path, files: dict[str, bytes]) -> bool:
    root.mkdir()
    try:
        with open_bundle(path) as opened:
            places = [Placed(member, str(number), False) for number, member in enumerate(opened.members)]
            opened.unpack(root, places, mtime=400000000)
    except ArchiveError as error:
        assert "is refused" in error.message
        return False
    found = {place.member.name: (root / place.path).read_bytes() for place in places}
    assert found == files
    return True


def test_files_of_hostile_names_are_refused(tmp_path: Path) -> None:
    """Absolute paths, ways out, control characters, one file twice, a file that is a folder, a file below a link."""
    for names in (
        ["/etc/passwd"],
        ["../outside"],
        ["a/../../b"],
        ["a\nb"],
        ["a/./b"],
        ["a", "a/b"],
        ["demo/lib/libdemo.so/below a link"],
    ):
        path = tmp_path / "demo.whl.tar.zst"
        path.write_bytes(bundle({**dict.fromkeys(FILES, b"x"), **dict.fromkeys(names, b"!")}))
        with pytest.raises(ArchiveError, match="is refused"):
            open_bundle(path)


def rewritten(change: Callable[[Any], object], files: dict[str, bytes] = FILES) -> bytes:
    """A bundle whose list of contents was changed, and nothing else."""
    with tarfile.open(fileobj=io.BytesIO(unpacked(bundle(files)))) as tar:
        blocks = []
        for member in tar.getmembers():
            data = tar.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if member.name.endswith("bundle.json"):
                said = json.loads(data)
                data = json.dumps(change(said) or said).encode()
            member.size = len(data)
            blocks.append((member.name, member.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)))
    linked = [block for name, block in blocks if name.endswith((".so", ".so.1"))]
    first = [block for name, block in blocks if name.startswith(INFO)]
    others = [block for _, block in blocks if block not in linked and block not in first]
    parts = [b"".join(first), b"".join(others), b"".join(linked) + bytes(1024)]
    out = io.BytesIO()
    write_frames(out.write, [partial(pieces, part) for part in parts], best=False, workers=1)
    return out.getvalue()


LIES: dict[str, Callable[[Any], object]] = {
    "a file less": lambda said: said["frames"][1].pop(),
    "a file more": lambda said: said["frames"][1].append(["demo/more", 0]),
    "another order": lambda said: said["frames"][1].reverse(),
    "another size": lambda said: said["frames"][1][0].__setitem__(1, 5),
    "another name": lambda said: said["frames"][1][0].__setitem__(0, "demo/other"),
    "a negative size": lambda said: said["frames"][1][0].__setitem__(1, -1),
    "a size of another kind": lambda said: said["frames"][1][0].__setitem__(1, True),
    "a frame more": lambda said: said["frames"].append([]),
    "a link less": lambda said: said["links"].pop(),
    "a link elsewhere": lambda said: said["links"][0].__setitem__(1, "libdemo.so.1.2"),
    "another version": lambda said: {**said, "bundle": 2},
    "no links": lambda said: {key: value for key, value in said.items() if key != "links"},
    "a list": lambda said: [said],
}


def test_a_file_too_large_for_a_frame_goes_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed once; whatever reads tar and zstd sees one file, and so does an unpacking; others are around it."""
    monkeypatch.setattr("gpuenv.archive.bundle._MOST", 3 << 20)
    data = bundle()
    path = tmp_path / "demo.whl.tar.zst"
    path.write_bytes(data)
    with open_bundle(path) as opened:
        frames = json.loads(opened._facts[f"{INFO}/bundle.json"])["frames"]
        places = [Placed(member, str(number), False) for number, member in enumerate(opened.members)]
        digests = opened.unpack(tmp_path, places, mtime=400000000)
    goes_on = [now for now, behind in pairwise(frames) if now and not behind]
    assert [row[0] for group in goes_on for row in group] == ["demo/lib/copy of it", "demo/lib/libdemo.so.1.2"]
    assert frames.count([]) == 2 * 6
    for place, digest in zip(places, digests, strict=True):
        assert (tmp_path / place.path).read_bytes() == FILES[place.member.name]
        assert digest.sha256 == hashlib.sha256(FILES[place.member.name]).digest()
    with tarfile.open(fileobj=io.BytesIO(unpacked(data))) as tar:
        for name, held in FILES.items():
            assert tar.extractfile(name).read() == held  # type: ignore[union-attr]
    assert {bundle(workers=workers) for workers in (1, 4)} == {data}


@pytest.mark.parametrize("size", [(3 << 20) - 512, (3 << 20) - 511, (6 << 20) - 512, (6 << 20) - 511])
def test_a_large_file_fills_frames_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """With its header and what fills its last block a file takes just the frames that are listed."""
    monkeypatch.setattr("gpuenv.archive.bundle._MOST", 3 << 20)
    files = {f"{INFO}/RECORD": b"", "large": NOISE[:size]}
    path = tmp_path / "demo.whl.tar.zst"
    path.write_bytes(bundle(files, ()))
    assert _unpacks(path, tmp_path / "root", files)
    with open_bundle(path) as opened:
        assert len(opened._table) - 2 == -(-(size + 512) // (3 << 20))


LIMITS = {
    "MAX_MEMBERS": (9, "at most 9 entries, and this one would have 11"),
    "MOST_FACTS": (4000, "at most 4000 bytes of metadata"),
    "MAX_TOTAL": (1 << 20, "at most 1048576 bytes of files"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_no_reader_would_accept_is_not_begun(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """More files, metadata or bytes than readers accept: refused before the first byte is written."""
    most, message = LIMITS[limit]
    monkeypatch.setattr(f"gpuenv.archive.bundle.{limit}", most)
    wrote: list[bytes] = []
    with pytest.raises(ArchiveError, match=message):
        write_bundle(wrote.append, INFO, [content(path, data) for path, data in FILES.items()], LINKS)
    assert not wrote


def test_what_would_pass_for_a_bomb_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that pack to next to nothing make no bundle that its reader takes for a decompression bomb."""
    monkeypatch.setattr("gpuenv.archive.packed.RATIO_MATTERS_FROM", 1 << 20)
    with pytest.raises(ArchiveError, match="would be refused as a decompression bomb"):
        bundle({f"{INFO}/RECORD": b"", "zeros": bytes(5 << 20)}, ())


@pytest.mark.parametrize("lie", LIES)
def test_what_a_bundle_says_of_itself_must_be_true(tmp_path: Path, lie: str) -> None:
    """The list in the first frame and the entries of all frames agree in names, order, sizes and links."""
    small = {name: data[:1000] for name, data in FILES.items()}
    path = tmp_path / "demo.whl.tar.zst"
    path.write_bytes(rewritten(lambda said: None, small))
    assert _unpacks(path, tmp_path / "true", small)
    path.write_bytes(rewritten(lambda said: _changed(LIES[lie], said), small))
    assert not _unpacks(path, tmp_path / "lie", small)


def _changed(change: Callable[[Any], object], said: Any) -> object:
    found = change(said)
    return found if isinstance(found, list) or (isinstance(found, dict) and "frames" in found) else None


def test_a_bundle_that_unpacks_to_far_too_much_is_refused(tmp_path: Path) -> None:
    """The table's sizes are compared with the file's before anything is decoded."""
    path = tmp_path / "demo.whl.tar.zst"
    data = bytearray(bundle({**FILES, "zeros": bytes(1 << 20)}))
    count = struct.unpack("<IBI", data[-9:])[0]
    struct.pack_into("<I", data, len(data) - 9 - 8 * count + 12, 0xFFFFFFFF)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="bomb"):
        open_bundle(path)
    out = io.BytesIO()
    write_frames(out.write, [lambda: iter([bytes(1 << 20)] * 300)], best=False, workers=1)
    path.write_bytes(out.getvalue())
    with pytest.raises(ArchiveError, match="more than facts may have"):
        open_bundle(path)


def test_other_streams_of_zstd_are_no_bundles(tmp_path: Path) -> None:
    """A tar that zstd packed without a table of frames is refused by name of what it lacks."""
    path = tmp_path / "demo.whl.tar.zst"
    path.write_bytes(bundle()[:-30])
    with pytest.raises(ArchiveError, match="no table of its frames"):
        open_bundle(path)
