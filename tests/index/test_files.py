"""Metadata by the ladder, direct URLs, downloads."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from gpuenv.errors import ArchiveError, IntegrityError, NetworkError, OfflineError, UsageError
from gpuenv.index import IndexClient
from gpuenv.model.distribution import Metadata, WheelFile
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.simple_server import Fault, SimpleServer
from tests.support.wheels import make_wheel

NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(100_000))  # 3.2 MB that do not compress


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def big_wheel(folder: Path) -> Path:
    return make_wheel(folder, "foo", requires=["bar>=1"], files={"foo/data.bin": NOISE})


def offered(server: SimpleServer, folder: Path, **options: object) -> WheelFile:
    """The wheel as the page of the server shows it."""
    server.cache_control = "no-store"
    page = ask(folder / "elsewhere", lambda client: client.page("foo", index_of(server)))
    assert page
    server.requests.clear()
    return page.releases[0].wheels[0]


def metadata(folder: Path, server: SimpleServer, wheel: WheelFile) -> Metadata:
    return ask(folder, lambda client: client.metadata(wheel, index_of(server)))


def test_metadata_file_is_the_first_step(server: SimpleServer, tmp_path: Path) -> None:
    """Where the index offers a metadata file, one request brings it, and none is needed ever after."""
    server.add(big_wheel(tmp_path))
    wheel = offered(server, tmp_path)
    for _ in range(2):
        assert metadata(tmp_path, server, wheel).requires == ("bar>=1",)
    assert server.paths == [f"/files/{wheel.filename}.metadata"]


def test_ranges_are_the_second_step(server: SimpleServer, tmp_path: Path) -> None:
    """Without a metadata file the archive's end is read, in few requests and few bytes; nothing is kept for sync."""
    server.add(big_wheel(tmp_path), metadata=False)
    wheel = offered(server, tmp_path)
    assert metadata(tmp_path, server, wheel).requires == ("bar>=1",)
    first = wheel.size - 32768 if wheel.size else -1
    assert [request.headers["range"] for request in server.requests] == [f"bytes={first}-{first + 32767}"]
    assert not (tmp_path / "cache" / "wheels-v1").exists()


def test_member_far_from_the_end_costs_one_more_request(server: SimpleServer, tmp_path: Path) -> None:
    """A METADATA that lies before the wheel's data is fetched by its own range."""
    late = make_wheel(tmp_path, "foo", files={})
    with zipfile.ZipFile(late, "a") as archive:
        archive.writestr("foo/data.bin", NOISE)
    server.add(late, metadata=False)
    assert metadata(tmp_path, server, offered(server, tmp_path)).name == "foo"
    assert len(server.requests) == 2


@pytest.mark.parametrize("broken", ["ranges", "suffix_ranges"])
def test_whole_wheel_is_the_last_step(server: SimpleServer, tmp_path: Path, broken: str) -> None:
    """Where ranges do not work the wheel comes whole, and is kept for sync, which then needs no network."""
    path = big_wheel(tmp_path)
    server.sizes = False
    server.add(path, metadata=False)
    wheel = offered(server, tmp_path)
    setattr(server, broken, False)
    assert metadata(tmp_path, server, wheel).requires == ("bar>=1",)
    client = IndexClient(cache_dir=tmp_path / "cache", project_dir=tmp_path)
    kept = client.cached_wheel(sha256(path))
    assert kept and kept.read_bytes() == path.read_bytes()
    asked = len(server.requests)
    fetch(server, tmp_path, path, tmp_path / "out.whl")
    assert len(server.requests) == asked


def test_a_kept_wheel_is_hashed_before_it_is_handed_out(server: SimpleServer, tmp_path: Path) -> None:
    """A wheel that rotted in the cache, or was changed there, is removed and fetched again."""
    path = big_wheel(tmp_path)
    server.sizes = server.ranges = False
    server.add(path, metadata=False)
    metadata(tmp_path, server, offered(server, tmp_path))
    client = IndexClient(cache_dir=tmp_path / "cache", project_dir=tmp_path)
    kept = client.cached_wheel(sha256(path))
    assert kept
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert client.cached_wheel(sha256(path)) is None
    assert not kept.exists()


def test_promised_metadata_that_is_missing_is_no_end(server: SimpleServer, tmp_path: Path) -> None:
    """An index that promises a metadata file and has none makes the ladder go on."""
    server.add(big_wheel(tmp_path), metadata=False, core_metadata=True)
    assert metadata(tmp_path, server, offered(server, tmp_path)).requires == ("bar>=1",)
    assert len(server.requests) == 2


def test_metadata_is_verified(server: SimpleServer, tmp_path: Path) -> None:
    """A metadata file of another digest, and metadata of another distribution, are IntegrityErrors."""
    server.add(make_wheel(tmp_path, "foo"), core_metadata={"sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="not what the index says"):
        metadata(tmp_path, server, offered(server, tmp_path))
    server.add(make_wheel(tmp_path, "foo", metadata="Name: evil\nVersion: 1.0\n"), metadata=False)
    with pytest.raises(IntegrityError, match="another distribution"):
        metadata(tmp_path, server, offered(server, tmp_path))


def test_a_wheel_that_is_none_is_an_archive_error(server: SimpleServer, tmp_path: Path) -> None:
    """Bytes that are no archive fail at the last step with the wheel's name."""
    (tmp_path / "foo-1.0-py3-none-any.whl").write_bytes(b"not a zip" * 999)
    server.add(tmp_path / "foo-1.0-py3-none-any.whl", metadata=False)
    with pytest.raises(ArchiveError, match=r"foo-1\.0-py3-none-any\.whl"):
        metadata(tmp_path, server, offered(server, tmp_path))


def test_folder_metadata_needs_no_server(tmp_path: Path) -> None:
    """A wheel in a folder is read in place, offline too."""
    make_wheel(tmp_path / "wheels", "foo", requires=["bar"])
    index = Index("here", "wheels", folder=True)

    async def read(client: IndexClient) -> Metadata:
        page = await client.page("foo", index)
        assert page
        return await client.metadata(page.releases[0].wheels[0], index)

    assert ask(tmp_path, read, offline=True).requires == ("bar",)


def test_metadata_offline_is_an_offline_error(server: SimpleServer, tmp_path: Path) -> None:
    """Metadata that no cache holds is not asked for offline."""
    server.add(make_wheel(tmp_path, "foo"))
    wheel = offered(server, tmp_path)
    with pytest.raises(OfflineError):
        ask(tmp_path, lambda client: client.metadata(wheel, None), offline=True)
    assert server.requests == []


def test_direct_url_with_a_digest_is_not_downloaded(server: SimpleServer, tmp_path: Path) -> None:
    """A stated digest is believed; the size is asked for without taking the file; the URL keeps no login."""
    path = big_wheel(tmp_path)
    url = server.add(path)
    written = url.replace("//", "//me:pw@") + f"#sha256={sha256(path)}"
    wheel = ask(tmp_path, lambda client: client.direct(written))
    assert wheel == WheelFile(path.name, url, sha256(path), path.stat().st_size)
    assert [request.headers["range"] for request in server.requests] == ["bytes=0-0"]
    assert "authorization" in server.requests[0].headers


def test_direct_url_without_a_digest_is_downloaded_once(server: SimpleServer, tmp_path: Path) -> None:
    """Without a digest the wheel is downloaded and kept; the next session asks only whether it changed."""
    path = big_wheel(tmp_path)
    url = server.add(path)
    for _ in range(2):
        wheel = ask(tmp_path, lambda client: client.direct(url))
        assert (wheel.sha256, wheel.size) == (sha256(path), path.stat().st_size)
    assert len(server.requests) == 2
    assert "if-none-match" in server.requests[1].headers
    assert sorted(item.name for item in (tmp_path / "cache" / "wheels-v1").iterdir()) == [f"{wheel.sha256}.whl"]


def test_direct_paths_are_wheels_too(tmp_path: Path) -> None:
    """Paths relative to the project and `file:` URLs give digests and absolute URLs; a change is noticed."""
    path = make_wheel(tmp_path / "sub dir", "foo")
    for text in (f"sub dir/{path.name}", path.as_uri()):
        wheel = ask(tmp_path, lambda client, text=text: client.direct(text))  # type: ignore[misc]
        assert wheel == WheelFile(path.name, path.as_uri(), sha256(path), path.stat().st_size)
    make_wheel(tmp_path / "sub dir", "foo", requires=["more"])
    assert ask(tmp_path, lambda client: client.direct(path.as_uri())).sha256 == sha256(path) != wheel.sha256


@pytest.mark.parametrize("url", ["https://index.example/foo-1.0.tar.gz", "git+https://index.example/foo", "foo"])
def test_direct_urls_must_be_wheels(tmp_path: Path, url: str) -> None:
    """Anything but a wheel is refused before anyone is asked."""
    with pytest.raises(UsageError):
        ask(tmp_path, lambda client: client.direct(url))


def test_indexes_without_digests_are_completed(server: SimpleServer, tmp_path: Path) -> None:
    """A page that states neither digest nor size yields both on demand, and keeps the other facts."""
    path = big_wheel(tmp_path)
    server.style, server.digests = "html", False
    server.add(path, requires_python=">=3.9")
    wheel = offered(server, tmp_path)
    assert (wheel.sha256, wheel.size) == (None, None)
    full = ask(tmp_path, lambda client: client.complete(wheel, index_of(server)))
    assert (full.sha256, full.size, full.requires_python) == (sha256(path), path.stat().st_size, ">=3.9")


def test_size_is_asked_for_once(server: SimpleServer, tmp_path: Path) -> None:
    """A digest has one size: where the index states none, it is learned once, and later sessions need no request."""
    path = big_wheel(tmp_path)
    server.style = "html"
    server.add(path)
    wheel = offered(server, tmp_path)
    sizes = [ask(tmp_path, lambda client: client.complete(wheel, index_of(server))).size for _ in range(2)]
    assert sizes == [path.stat().st_size] * 2
    assert [request.headers["range"] for request in server.requests] == ["bytes=0-0"]


def test_reading_by_ranges_tells_the_size(server: SimpleServer, tmp_path: Path) -> None:
    """Metadata read from the archive's end says how long the file is, so that nobody has to ask again."""
    path = big_wheel(tmp_path)
    server.style = "html"
    server.add(path, metadata=False)
    wheel = offered(server, tmp_path)
    metadata(tmp_path, server, wheel)
    server.requests.clear()
    assert ask(tmp_path, lambda client: client.complete(wheel, index_of(server))).size == path.stat().st_size
    assert not server.requests


def fetch(
    server: SimpleServer, folder: Path, path: Path, into: Path, *, wrong: str = "", size: int | None = None
) -> list[int]:
    """Download the wheel and return what progress said."""
    said: list[int] = []

    async def download(client: IndexClient) -> None:
        await client.download(
            f"{server.root}/files/{path.name}",
            sha256=wrong or sha256(path),
            size=path.stat().st_size if size is None else size,
            index=index_of(server),
            into=into,
            progress=said.append,
        )

    ask(folder, download)
    return said


def left(into: Path) -> list[str]:
    return sorted(item.name for item in into.parent.iterdir())


def test_download_appears_whole(server: SimpleServer, tmp_path: Path) -> None:
    """The file appears under its name alone, and progress adds up to its size."""
    path, into = big_wheel(tmp_path), tmp_path / "out" / "foo.whl"
    server.add(path)
    assert sum(fetch(server, tmp_path, path, into)) == path.stat().st_size
    assert into.read_bytes() == path.read_bytes()
    assert left(into) == ["foo.whl"]


@pytest.mark.parametrize("reset", [True, False])
def test_broken_download_continues(server: SimpleServer, tmp_path: Path, reset: bool) -> None:
    """After a reset or an early end the rest is asked for by range, guarded by the validator of the first answer."""
    path, into = big_wheel(tmp_path), tmp_path / "out" / "foo.whl"
    server.add(path)
    server.faults = [Fault(path.name, times=2, reset=reset, truncate=not reset, after=1_400_000)]
    assert sum(fetch(server, tmp_path, path, into)) == path.stat().st_size
    assert into.read_bytes() == path.read_bytes()
    last = server.requests[-1].headers
    assert last["range"] != "bytes=0-" and last["if-range"].startswith('"')


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("validator", ['"stale"', ""])
def test_part_of_another_file_starts_over(server: SimpleServer, tmp_path: Path, ranges: bool, validator: str) -> None:
    """A part that does not belong to the file, known by its validator or by the digest, is thrown away."""
    path, into = big_wheel(tmp_path), tmp_path / "out" / "foo.whl"
    server.add(path)
    server.ranges = ranges
    into.parent.mkdir()
    (into.parent / "foo.whl.part").write_bytes(b"x" * 1000)
    (into.parent / "foo.whl.part.validator").write_text(validator)
    assert sum(fetch(server, tmp_path, path, into)) == path.stat().st_size
    assert into.read_bytes() == path.read_bytes()
    assert left(into) == ["foo.whl"]


def test_earlier_part_is_continued(server: SimpleServer, tmp_path: Path) -> None:
    """A part that an earlier run left is hashed and continued, not fetched again; a complete one needs no request."""
    path, into = big_wheel(tmp_path), tmp_path / "out" / "foo.whl"
    server.add(path)
    into.parent.mkdir()
    for kept in (2_000_000, path.stat().st_size):
        (into.parent / "foo.whl.part").write_bytes(path.read_bytes()[:kept])
        fetch(server, tmp_path, path, into)
        assert into.read_bytes() == path.read_bytes()
    assert [request.headers["range"] for request in server.requests] == ["bytes=2000000-"]


@pytest.mark.parametrize(("wrong", "more"), [("0" * 64, 0), ("", 1), ("", -1)])
def test_wrong_files_are_integrity_errors(server: SimpleServer, tmp_path: Path, wrong: str, more: int) -> None:
    """Digest and size are compared, the error shows both values, and nothing stays behind."""
    path, into = big_wheel(tmp_path), tmp_path / "out" / "foo.whl"
    server.add(path)
    with pytest.raises(IntegrityError, match=r"foo\.whl") as caught:
        fetch(server, tmp_path, path, into, wrong=wrong, size=path.stat().st_size + more)
    assert [cause.split()[0] for cause in caught.value.causes] == ["expected", "seen"]
    assert left(into) == []


def test_vanished_files_are_network_errors(server: SimpleServer, tmp_path: Path) -> None:
    """A file that the index took away is named, with its index."""
    path = make_wheel(tmp_path, "foo")
    with pytest.raises(NetworkError, match=r'index "local" is not there any more \(404\)'):
        fetch(server, tmp_path, path, tmp_path / "out" / "foo.whl")


def test_local_files_are_copied_and_verified(tmp_path: Path) -> None:
    """`file:` URLs and paths relative to a folder index are copied, with the same checks."""
    path = make_wheel(tmp_path / "wheels", "foo")
    index = Index("here", "wheels", folder=True)

    def get(url: str, digest: str, into: str) -> None:
        ask(
            tmp_path,
            lambda client: client.download(
                url, sha256=digest, size=path.stat().st_size, index=index, into=tmp_path / "out" / into
            ),
            offline=True,
        )

    get(path.name, sha256(path), "a.whl")
    get(path.as_uri(), sha256(path), "b.whl")
    with pytest.raises(IntegrityError):
        get(path.name, "0" * 64, "c.whl")
    with pytest.raises(NetworkError, match="cannot read"):
        get("gone.whl", sha256(path), "d.whl")
    assert left(tmp_path / "out" / "a.whl") == ["a.whl", "b.whl"]


def test_locked_files_are_found_again(server: SimpleServer, tmp_path: Path) -> None:
    """A file that moved is found on its page asked anew, by name and digest."""
    path = make_wheel(tmp_path / "old", "foo")
    server.add(path)
    index = index_of(server)
    ask(tmp_path, lambda client: client.page("foo", index))
    moved = f"{server.root}/moved/{path.name}"
    server.add(path, url=moved)
    assert ask(tmp_path, lambda client: client.locate("foo", path.name, sha256(path), index)) == moved
    assert ask(tmp_path, lambda client: client.locate("foo", path.name, "0" * 64, index)) is None
    assert ask(tmp_path, lambda client: client.locate("bar", path.name, sha256(path), index)) is None


def test_wheels_of_an_unwritable_cache_still_serve(server: SimpleServer, tmp_path: Path) -> None:
    """Where the cache cannot be written, a wheel that must come whole goes to a temporary place."""
    (tmp_path / "cache").write_text("in the way")
    server.ranges = False
    server.add(big_wheel(tmp_path), metadata=False)
    assert metadata(tmp_path, server, offered(server, tmp_path)).requires == ("bar>=1",)
