"""Files behind URLs: the parts that are read come here, and servers that lie or fail are told apart."""

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpuenv.archive.tree import open_tree_from
from gpuenv.errors import ArchiveError, GpuenvError, IntegrityError, NetworkError, OfflineError, UsageError
from gpuenv.index import parts
from gpuenv.index.remote import RemoteFile, open_remote
from tests.support.simple_server import Fault, SimpleServer
from tests.support.wheels import make_wheel

NOISE = hashlib.shake_256(b"noise").digest(6 << 20)
ELF = b"\x7fELF" + NOISE[:5000]


@contextmanager
def opened(url: str, folder: Path, *, offline: bool = False, cache: bool = False) -> Iterator[RemoteFile]:
    environ = {"HOME": str(folder), "GPUENV_HTTP_TIMEOUT": "2"}
    cache_dir = folder / "cache" if cache else None
    with open_remote(url, offline=offline, environ=environ, cache_dir=cache_dir) as file:
        yield file


def offered(server: SimpleServer, folder: Path, data: bytes = NOISE, name: str = "lib.so") -> str:
    path = folder / name
    path.write_bytes(data)
    return server.add(path)


def many(folder: Path) -> Path:
    """A wheel with one small library among modules that do not compress."""
    files: dict[str, bytes | str] = {f"pkg/m{n:03}.py": NOISE[n * 9000 :][:9000] for n in range(400)}
    files["pkg/_native.so"] = ELF
    files |= {f"pkg/z{n:03}.py": NOISE[n * 9000 :][:9000] for n in range(200)}
    return make_wheel(folder, "many", files=files)


def test_one_small_member_costs_two_requests(server: SimpleServer, tmp_path: Path) -> None:
    """Of five megabytes of modules only the directory and the one library come, its header together with its bytes."""
    wheel = many(tmp_path)
    url = server.add(wheel)
    with opened(url, tmp_path) as remote, open_tree_from(remote.name, remote) as tree:
        assert (tree.kind, tree.parallel, tree.size) == ("zip", True, wheel.stat().st_size)
        file = next(file for file in tree.files if file.path.endswith(".so"))
        assert b"".join(file.chunks()) == ELF
        assert remote.received < 150_000
    assert len(server.requests) == 2
    assert server.requests[0].headers["range"] == f"bytes=-{parts.TAIL}"


def test_directory_beyond_the_tail_is_asked_for_once(server: SimpleServer, tmp_path: Path) -> None:
    """A directory longer than what came first costs one request more."""
    path = tmp_path / "long.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1500):
            archive.writestr(f"{'d' * 100}/{number:04}", b"")
        archive.writestr("x.so", NOISE[:100])
    with opened(server.add(path, metadata=False), tmp_path) as remote, open_tree_from(remote.name, remote) as tree:
        assert len(list(tree.files)) == 1501
    assert len(server.requests) == 2


def test_any_part_can_be_read(server: SimpleServer, tmp_path: Path) -> None:
    """Parts in any order, across what is held already, beyond the end, and from several threads, are right."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        assert (remote.name, remote.size, remote.distant, remote.sha256) == ("lib.so", TOTAL, True, None)
        spans = [(100_000, 10), (0, 200_000), (TOTAL - 5, 50), (TOTAL, 1), (50, 3 << 20), (5 << 20, 1 << 20)]
        with ThreadPoolExecutor(4) as pool:
            for (offset, size), data in zip(
                spans * 4, pool.map(lambda span: remote.read(*span), spans * 4), strict=True
            ):
                assert data == NOISE[offset : offset + size]


def test_neighbours_come_together(server: SimpleServer, tmp_path: Path) -> None:
    """Small reads beside each other are one request."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        assert [remote.read(at, 100) for at in range(1000, 2000, 100)] == [
            NOISE[n : n + 100] for n in range(1000, 2000, 100)
        ]
    assert len(server.requests) == 2


def test_what_is_kept_is_bounded(server: SimpleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are forgotten when too many are held, and asked for again."""
    monkeypatch.setattr("gpuenv.index.remote.KEPT", 200_000)
    with opened(offered(server, tmp_path), tmp_path) as remote:
        for at in [0, 1 << 20, 2 << 20, 0, 1 << 20]:
            assert remote.read(at, 50_000) == NOISE[at : at + 50_000]
        assert remote._source._held.held <= 200_000  # type: ignore[union-attr]
    assert len(server.requests) > 4


def test_streams_read_ahead_and_small_at_first(server: SimpleServer, tmp_path: Path) -> None:
    """A stream gives all bytes in small pieces; who looks at its beginning only has not asked for megabytes."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        pieces = list(remote.stream(1000, TOTAL + 9))
        assert b"".join(pieces) == NOISE[1000:]
        assert max(map(len, pieces)) <= 1 << 20
        before = remote.received
        assert next(remote.stream(0, TOTAL)) == NOISE[: 512 << 10]
        assert remote.received - before == 512 << 10


def test_server_without_parts_sends_the_file_once(server: SimpleServer, tmp_path: Path) -> None:
    """Where no ranges are served the file comes whole, once, is read from the disk, and its digest is known."""
    server.ranges = False
    with opened(offered(server, tmp_path), tmp_path) as remote:
        assert not remote.distant
        assert remote.sha256 == hashlib.sha256(NOISE).hexdigest()
        asked = len(server.requests)
        assert remote.read(5, 100) == NOISE[5:105]
        assert b"".join(remote.stream(0, remote.size)) == NOISE
    assert asked == len(server.requests) == 2


def test_server_without_suffix_ranges(server: SimpleServer, tmp_path: Path) -> None:
    """Where the last bytes cannot be asked for, the size is asked for first."""
    server.suffix_ranges = False
    with opened(offered(server, tmp_path), tmp_path) as remote:
        assert remote.read(TOTAL - 9, 9) == NOISE[-9:]
    assert [request.headers["range"] for request in server.requests][1:] == [
        "bytes=0-0",
        f"bytes={TOTAL - parts.TAIL}-{TOTAL - 1}",
    ]


@pytest.mark.parametrize("size", [0, 1, 100])
def test_tiny_files(size: int, server: SimpleServer, tmp_path: Path) -> None:
    """Files shorter than what is asked for, also empty ones, are read."""
    with opened(offered(server, tmp_path, NOISE[:size]), tmp_path) as remote:
        assert remote.size == size
        assert remote.read(0, 1000) == b"".join(remote.stream(0, size)) == NOISE[:size]


def test_digest_of_the_fragment(server: SimpleServer, tmp_path: Path) -> None:
    """A stated digest is offered, compared where the file comes whole, and refused where it is none."""
    url = offered(server, tmp_path)
    other = "0" * 64
    with opened(f"{url}#sha256={other.upper()}&egg=x", tmp_path) as remote:
        assert remote.sha256 == other
    server.ranges = False
    with (
        pytest.raises(IntegrityError, match="not the file that is expected"),
        opened(f"{url}#sha256={other}", tmp_path),
    ):
        pass
    with pytest.raises(UsageError, match="not a SHA-256"), opened(f"{url}#sha256=abc", tmp_path):
        pass


def test_cached_wheel_needs_no_network(server: SimpleServer, tmp_path: Path) -> None:
    """A wheel that the index client downloaded whole before is read from its cache, also offline."""
    digest = hashlib.sha256(ELF).hexdigest()
    held = tmp_path / "cache" / "wheels-v1" / f"{digest}.whl"
    held.parent.mkdir(parents=True)
    held.write_bytes(ELF)
    with opened(f"{server.root}/files/a.whl#sha256={digest}", tmp_path, offline=True, cache=True) as remote:
        assert (remote.name, remote.read(0, 4)) == ("a.whl", b"\x7fELF")
    assert not server.requests


def test_offline_asks_nobody(server: SimpleServer, tmp_path: Path) -> None:
    """Offline, a URL is refused before any request."""
    with pytest.raises(OfflineError), opened(offered(server, tmp_path), tmp_path, offline=True):
        pass
    assert not server.requests


def test_logins_stay_out_of_messages(server: SimpleServer, tmp_path: Path) -> None:
    """A URL's login is used, and shown by no error."""
    server.users = {"ann": "s3cret"}
    url = offered(server, tmp_path).replace("http://", "http://ann:s3cret@")
    with opened(url, tmp_path) as remote:
        assert remote.read(0, 4) == NOISE[:4]
    with pytest.raises(NetworkError) as caught, opened(url.replace("lib.so", "none.so"), tmp_path):
        pass
    assert caught.value.message == f"{server.root}/files/none.so is not there (404)"


def test_redirects_are_followed(server: SimpleServer, tmp_path: Path) -> None:
    """A URL that leads elsewhere is read there, and keeps its own name."""
    url = offered(server, tmp_path)
    server.redirects["/latest/x.so"] = url
    with opened(f"{server.root}/latest/x.so", tmp_path) as remote:
        assert (remote.name, remote.read(0, 4)) == ("x.so", NOISE[:4])


def changed(server: SimpleServer, path: Path) -> None:
    path.write_bytes(b"x" * TOTAL)


def shortened(server: SimpleServer, path: Path) -> None:
    path.write_bytes(NOISE[:100])


def gone(server: SimpleServer, path: Path) -> None:
    server.files.clear()


def whole_now(server: SimpleServer, path: Path) -> None:
    server.ranges = False


def answers(said: str, body: bytes, status: int = 206) -> object:
    def answer(server: SimpleServer, path: Path) -> None:
        server.overrides["/files/lib.so"] = (status, {"Content-Range": said}, body)

    return answer


TOTAL = len(NOISE)
LIES = {
    "another file": (changed, IntegrityError, "changed while it was read"),
    "shorter file": (shortened, IntegrityError, "changed while it was read"),
    "no file": (gone, IntegrityError, "changed while it was read"),
    "no parts any more": (whole_now, NetworkError, "not given part by part any more"),
    "other part": (answers(f"bytes 7-8/{TOTAL}", b"xx"), NetworkError, "came as bytes 7 to 9 where 0 to 65536"),
    "too few bytes": (answers(f"bytes 0-65535/{TOTAL}", b"xx"), NetworkError, "not given part by part any more"),
    "other size": (answers("bytes 0-65535/70000", NOISE[:65536]), IntegrityError, "changed while it was read"),
    "no size": (answers("bytes 0-65535/*", NOISE[:65536]), NetworkError, "not given part by part any more"),
    "nonsense": (answers("bytes 9-1/3", b""), NetworkError, "not given part by part any more"),
    "endless": (answers(f"bytes 0-65535/{TOTAL}", NOISE), NetworkError, "answered with more than"),
}


@pytest.mark.parametrize("case", LIES)
def test_servers_that_change_their_mind(case: str, server: SimpleServer, tmp_path: Path) -> None:
    """Whatever a server sends instead of the bytes asked for is told in words, by reads and by streams."""
    lie, kind, message = LIES[case]
    url = offered(server, tmp_path)
    with opened(url, tmp_path) as remote:
        lie(server, tmp_path / "lib.so")  # type: ignore[operator]
        with pytest.raises(kind, match=message):
            remote.read(0, 10)
        with pytest.raises(GpuenvError):
            list(remote.stream(0, 3 << 20))


def test_broken_connections_are_mended(server: SimpleServer, tmp_path: Path) -> None:
    """A part that breaks off, and a busy server, are asked again; a long answer is continued where it broke off."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        server.faults = [Fault("lib.so", truncate=True, after=500), Fault("lib.so", status=503)]
        server.faults += [Fault("lib.so", reset=True)]
        stream = remote.stream(0, TOTAL)
        found = next(stream)
        server.faults = [Fault("lib.so", truncate=True, after=3 << 20), Fault("lib.so", truncate=True, after=100)]
        assert found + b"".join(stream) == NOISE
        assert len(server.requests) == 8
        assert remote.received < TOTAL + parts.TAIL + 1000


def test_long_answers_that_always_break_off_come_to_an_end(server: SimpleServer, tmp_path: Path) -> None:
    """A server that gives a few bytes each time is not asked for ever."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        stream = remote.stream(0, TOTAL)
        next(stream)
        server.faults = [Fault("lib.so", times=99, truncate=True, after=100)]
        with pytest.raises(NetworkError, match="did not answer usefully"):
            list(stream)
    assert len(server.requests) < 10


@pytest.mark.parametrize("case", ["another file", "shorter file", "no file", "no parts any more"])
def test_long_answers_are_compared_too(case: str, server: SimpleServer, tmp_path: Path) -> None:
    """A file that changes between the first bytes of a stream and the rest is told."""
    lie, kind, message = LIES[case]
    with opened(offered(server, tmp_path), tmp_path) as remote:
        stream = remote.stream(0, TOTAL)
        next(stream)
        lie(server, tmp_path / "lib.so")  # type: ignore[operator]
        with pytest.raises(kind, match=message):
            next(stream)


def test_streams_may_be_left_half_way(server: SimpleServer, tmp_path: Path) -> None:
    """A stream that nobody reads on disturbs no other, nor the end."""
    with opened(offered(server, tmp_path), tmp_path) as remote:
        left = remote.stream(0, TOTAL)
        assert next(left) + next(left) == NOISE[: 3 << 19]
        for _ in range(20):
            begun = remote.stream(0, TOTAL)
            assert next(begun) + next(begun) == NOISE[: 3 << 19]
        assert b"".join(remote.stream(9, TOTAL)) == NOISE[9:]
    with pytest.raises(NetworkError, match="closed while it was read"):
        list(left)


def test_silent_servers_are_not_waited_for(
    server: SimpleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops talking is an error after the usual time."""
    monkeypatch.setattr("gpuenv.index.http.RETRIES", 0)
    url = offered(server, tmp_path)
    with open_remote(url, environ={"HOME": str(tmp_path), "GPUENV_HTTP_TIMEOUT": "0.2"}) as remote:
        server.faults = [Fault("lib.so", times=9, wait=1.0)]
        with pytest.raises(NetworkError) as caught:
            remote.read(0, 10)
    assert caught.value.causes == ("it did not answer in time",)


def test_closing_ends_what_waits(server: SimpleServer, tmp_path: Path) -> None:
    """Closing a file while another thread waits for it ends that wait with an error, and no thread stays behind."""
    with ThreadPoolExecutor(1) as pool:
        with opened(offered(server, tmp_path), tmp_path) as remote:
            server.faults = [Fault("lib.so", wait=1.5)]
            waiting = pool.submit(remote.read, 0, 10)
            while len(server.requests) < 2:
                time.sleep(0.01)
        with pytest.raises(NetworkError, match="closed while it was read"):
            waiting.result()
    with pytest.raises(NetworkError, match="closed while it was read"):
        remote.read(0, 10)
    assert all(thread.name != "gpuenv-remote" for thread in threading.enumerate())


def test_only_http_is_remote(tmp_path: Path) -> None:
    """Other URLs, and what does not answer at all, are refused in words."""
    with pytest.raises(UsageError, match="not a URL"), opened("ftp://index.example/x", tmp_path):
        pass
    with pytest.raises(NetworkError), opened("http://127.0.0.1:9/x.whl", tmp_path):
        pass


def test_damage_far_away_is_an_archive_error(server: SimpleServer, tmp_path: Path) -> None:
    """A distant wheel whose local header contradicts its directory is refused when that file is read."""
    wheel = many(tmp_path)
    data = wheel.read_bytes()
    where = data.index(b"pkg/_native.so")
    wheel.write_bytes(data[:where] + b"pkg/_nativf.so" + data[where + 14 :])
    with opened(server.add(wheel), tmp_path) as remote, open_tree_from(remote.name, remote) as tree:
        files = {file.path: file for file in tree.files}
        assert b"".join(files["pkg/m000.py"].chunks()) == NOISE[:9000]
        with pytest.raises(ArchiveError, match="another name in its local header"):
            list(files["pkg/_native.so"].chunks())


def test_what_only_ends_like_an_archive_is_one_file(server: SimpleServer, tmp_path: Path) -> None:
    """A program with an archive behind it is one file, far away as on this machine."""
    wheel = make_wheel(tmp_path, "behind")
    url = offered(server, tmp_path, ELF + wheel.read_bytes(), "setup.bin")
    with opened(url, tmp_path) as remote, open_tree_from(remote.name, remote) as tree:
        assert (tree.kind, [file.path for file in tree.files]) == ("file", ["setup.bin"])
