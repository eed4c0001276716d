"""Bundles on pages and in folders stand beside wheels."""

import hashlib
from pathlib import Path

from gpuenv.model.distribution import Metadata, WheelFile
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.bundles import make_bundle
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_wheel

NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(60_000))  # 1.9 MB that do not compress


def bundle(folder: Path) -> Path:
    made = make_wheel(folder, "foo", requires=["bar>=1"], files={"foo/data.bin": NOISE}, tags="py3-none-linux_x86_64")
    path = make_bundle(made)
    made.unlink()
    return path


def test_a_folder_lists_bundles_with_their_tags_and_metadata(tmp_path: Path) -> None:
    """Name, version, tags and requirements of a bundle are found as a wheel's are."""
    made = bundle(tmp_path / "bundles")
    index = Index("folder", str(made.parent), folder=True)
    page = ask(tmp_path, lambda client: client.page("foo", index))
    assert page is not None
    (release,) = page.releases
    (file,) = release.wheels
    assert (release.version, file.filename, file.tags, file.is_bundle) == (
        "1.0",
        made.name,
        "py3-none-linux_x86_64",
        True,
    )
    assert file.sha256 == hashlib.sha256(made.read_bytes()).hexdigest()
    assert ask(tmp_path, lambda client: client.metadata(file, index)).requires == ("bar>=1",)


def test_metadata_of_a_bundle_is_read_from_its_ends(server: SimpleServer, tmp_path: Path) -> None:
    """The table at the end and the first frame say it: two requests, and a fraction of the bytes."""
    made = bundle(tmp_path / "bundles")
    server.add(made, metadata=False)
    server.cache_control = "no-store"
    page = ask(tmp_path / "elsewhere", lambda client: client.page("foo", index_of(server)))
    assert page is not None
    wheel: WheelFile = page.releases[0].wheels[0]
    server.requests.clear()
    found: Metadata = ask(tmp_path, lambda client: client.metadata(wheel, index_of(server)))
    assert found.requires == ("bar>=1",)
    ranges = [request.headers["range"] for request in server.requests]
    assert len(ranges) == 2
    assert ranges[1].startswith("bytes=0-")
