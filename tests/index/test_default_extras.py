"""The publisher's default extras come with the metadata, from a file that is read only where METADATA announces it."""

import hashlib
from pathlib import Path

import pytest

from gpuenv.model.default_extras import FILE, KEYWORD
from gpuenv.model.distribution import Metadata
from tests.index.support import ask, index_of
from tests.support.bundles import make_bundle
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_wheel

NOISE = hashlib.shake_256(b"noise").digest(256 << 10)
TABLE = b'{"version": 1, "default-extras": {"amd": ["device-{gfx}"], "any": []}}'
SAID = (("amd", ("device-{gfx}",)), ("any", ()))


def published(folder: Path, data: bytes | None = TABLE, keywords: str = f"gpu,{KEYWORD}") -> Path:
    metadata = f"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nKeywords: {keywords}\nProvides-Extra: device-gfx942\n"
    files: dict[str, bytes | str] = {f"foo-1.0.dist-info/{FILE}": data} if data is not None else {}
    return make_wheel(folder, "foo", files={"foo/data.bin": NOISE, **files}, metadata=metadata)


def metadata_of(server: SimpleServer, folder: Path) -> Metadata:
    """What a fresh client is told of the only file."""
    page = ask(folder, lambda client: client.page("foo", index_of(server)))
    assert page is not None
    wheel = page.releases[0].wheels[0]
    server.requests.clear()
    found: Metadata = ask(folder, lambda client: client.metadata(wheel, index_of(server)))
    return found


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("bundled", [True, False])
def test_they_come_by_ranges(server: SimpleServer, tmp_path: Path, beside: bool, bundled: bool) -> None:
    """Whether METADATA lies beside the file or in it, of wheels and bundles, once, and never with the whole file."""
    wheel = published(tmp_path / "made")
    path = make_bundle(wheel) if bundled else wheel
    server.add(path, metadata=beside)
    found = metadata_of(server, tmp_path)
    assert found.default_extras_by == SAID
    assert found.extras == ("device-gfx942",)
    assert not (tmp_path / "cache" / "wheels-v1").exists()
    assert len(server.requests) <= 4
    assert metadata_of(server, tmp_path) == found
    assert server.requests == []


def test_without_the_keyword_nobody_asks(server: SimpleServer, tmp_path: Path) -> None:
    """A wheel whose METADATA does not announce the file costs what it always cost, and has no such table."""
    server.add(published(tmp_path / "made", keywords="gpu,gpuenv-default-extras-not"))
    assert metadata_of(server, tmp_path).default_extras_by is None
    assert [path.rpartition(".")[2] for path in server.paths] == ["metadata"]


def test_a_server_without_ranges_serves_them_too(server: SimpleServer, tmp_path: Path) -> None:
    """Then the whole wheel comes."""
    server.ranges = False
    server.add(published(tmp_path / "made"))
    assert metadata_of(server, tmp_path).default_extras_by == SAID


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_bad_file_is_told_with_the_metadata(server: SimpleServer, tmp_path: Path, beside: bool, ranges: bool) -> None:
    """What is wrong with it comes in its place, remembered as it would be: whether it counts is not known here."""
    server.ranges = ranges
    server.add(published(tmp_path / "made", b'{"version": 7}'), metadata=beside)
    found = metadata_of(server, tmp_path)
    assert found.default_extras_by == f"{FILE}, which cannot be read: its version is 7, and 1 is the only one known"
    assert found.extras == ("device-gfx942",)
    assert metadata_of(server, tmp_path) == found
    assert server.requests == []


@pytest.mark.parametrize("bundled", [True, False])
def test_a_file_that_is_announced_and_not_there(server: SimpleServer, tmp_path: Path, bundled: bool) -> None:
    """What the keyword promises is missing: that is seen without the whole file."""
    wheel = published(tmp_path / "made", None)
    server.add(make_bundle(wheel) if bundled else wheel)
    assert metadata_of(server, tmp_path).default_extras_by == f"{FILE}, which is not there"
    assert not (tmp_path / "cache" / "wheels-v1").exists()
