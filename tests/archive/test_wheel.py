"""Unpacking: content, modes and times as they should be, and nothing that its own checksums deny."""

import hashlib
import struct
import zipfile
from pathlib import Path

import pytest

from gpuenv.archive.inflate import CHUNK
from gpuenv.archive.unpacking import Placed
from gpuenv.archive.wheel import open_wheel
from gpuenv.errors import ArchiveError

NOISE = hashlib.shake_256(b"noise").digest(CHUNK)
LARGE = NOISE * 3 + b"\0" * CHUNK + b"tail"
FILES = {"empty.py": b"", "small.py": b"x = 1\n" * 20, "exact.bin": b"a" * CHUNK, "large.bin": LARGE}


def written(folder: Path, method: int) -> Path:
    wheel = folder / "files.whl"
    with zipfile.ZipFile(wheel, "w", method) as archive:
        for name, content in FILES.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = (0o755 if name == "small.py" else 0o644) << 16
            archive.writestr(info, content)
    return wheel


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("workers", [1, 3])
def test_unpack_writes_what_was_packed(method: int, workers: int, tmp_path: Path) -> None:
    """Content, digests, first bytes, modes and times are right for empty, small, chunk-sized and large files."""
    with open_wheel(written(tmp_path, method)) as archive:
        places = [Placed(member, f"deep/down/{member.name}", member.executable) for member in archive.members]
        out = tmp_path / "out"
        out.mkdir()
        results = archive.unpack(out, places, mtime=1_000_000_000, workers=workers)
    for place, result in zip(places, results, strict=True):
        content = FILES[place.member.name]
        file = out / place.path
        assert file.read_bytes() == content
        assert result.sha256 == hashlib.sha256(content).digest()
        assert result.head == content[:4]
        assert file.stat().st_mode & 0o777 == (0o555 if place.member.name == "small.py" else 0o444)
        assert file.stat().st_mtime == 1_000_000_000


@pytest.mark.parametrize("name", ["small.py", "large.bin"])
def test_packed_bytes_that_changed_are_refused(name: str, tmp_path: Path) -> None:
    """A flipped bit in a small or a large file is found by its checksum."""
    wheel = written(tmp_path, zipfile.ZIP_STORED)
    data = bytearray(wheel.read_bytes())
    data[data.index(FILES[name][:50]) + 20] ^= 1
    wheel.write_bytes(data)
    with open_wheel(wheel) as archive, pytest.raises(ArchiveError, match=f"{name}.*does not match its checksum"):
        archive.unpack(tmp_path, [Placed(m, f"out-{m.name}", False) for m in archive.members], mtime=0)


@pytest.mark.parametrize(("name", "size"), [("small.py", 119), ("small.py", 121), ("large.bin", len(LARGE) - 1)])
def test_output_beyond_the_declared_size_stops(name: str, size: int, tmp_path: Path) -> None:
    """A file that inflates to another size than declared, in both headers, is refused and never written whole."""
    wheel = written(tmp_path, zipfile.ZIP_DEFLATED)
    wheel.write_bytes(wheel.read_bytes().replace(struct.pack("<L", len(FILES[name])), struct.pack("<L", size)))
    with open_wheel(wheel) as archive, pytest.raises(ArchiveError, match="longer or shorter"):
        archive.unpack(tmp_path, [Placed(m, f"out-{m.name}", False) for m in archive.members], mtime=0)
    assert not (tmp_path / f"out-{name}").exists() or (tmp_path / f"out-{name}").stat().st_size <= size


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file or link that is already in the place is refused, not followed."""
    target = tmp_path / "target"
    (tmp_path / "small.py").symlink_to(target)
    with open_wheel(written(tmp_path, zipfile.ZIP_STORED)) as archive:
        member = next(member for member in archive.members if member.name == "small.py")
        with pytest.raises(ArchiveError, match="overwrite"):
            archive.unpack(tmp_path, [Placed(member, "small.py", False)], mtime=0)
    assert not target.exists()
