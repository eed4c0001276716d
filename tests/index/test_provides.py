"""`provides.json`: from servers and folders, remembered like pages, and nothing in it believed unread."""

import json
from pathlib import Path

import pytest

from gpuenv.errors import NetworkError, OfflineError
from gpuenv.index import provides
from gpuenv.index.provides import read_provides
from gpuenv.model.manifest import Index
from gpuenv.model.providers import ProviderTable
from tests.index.support import ask, index_of
from tests.support.simple_server import Fault, SimpleServer

PATH = "/simple/provides.json"
BODY = json.dumps({"version": 1, "sonames": {"libfoo.so.3": ["Foo_Libs", "foo>=3"]}}).encode()


def serve(server: SimpleServer, body: bytes = BODY, **headers: str) -> None:
    said = {"Content-Type": "application/json", "Cache-Control": "max-age=600"}
    server.overrides[PATH] = (200, said | {name.replace("_", "-"): value for name, value in headers.items()}, body)


def names(table: ProviderTable | None) -> list[str]:
    return [str(one) for one in table.of("libfoo.so.3")] if table else []


def test_table_is_read_once_and_remembered(server: SimpleServer, tmp_path: Path) -> None:
    """The table lies next to the projects; within one session and while fresh it is asked for once."""
    serve(server)

    for _ in range(2):
        table = ask(tmp_path, lambda client: client.provides(index_of(server)))
        assert names(table) == ["foo-libs", "foo>=3"]
        assert table and table.digest.startswith("sha256:") and len(table.digest) == 71
    assert server.paths == [PATH]
    assert names(ask(tmp_path, lambda client: client.provides(index_of(server)), offline=True)) == [
        "foo-libs",
        "foo>=3",
    ]


def test_index_without_table(server: SimpleServer, tmp_path: Path) -> None:
    """404 is an answer, and remembered like one of a page; so is a web page that says that there is nothing."""
    for _ in range(2):
        assert ask(tmp_path, lambda client: client.provides(index_of(server))) is None
    assert server.paths == [PATH]
    serve(server, b"<html>nothing here</html>", Content_Type="text/html; charset=utf-8")
    assert ask(tmp_path, lambda client: client.provides(index_of(server)), refresh=True) is None


def test_stale_table_is_asked_about(server: SimpleServer, tmp_path: Path) -> None:
    """A stale table is asked about with its ETag; 304 brings the kept one back, `refresh` asks at once."""
    serve(server, Cache_Control="max-age=0", ETag='"one"')
    ask(tmp_path, lambda client: client.provides(index_of(server)))
    server.overrides[PATH] = (304, {"ETag": '"one"'}, b"")
    assert names(ask(tmp_path, lambda client: client.provides(index_of(server)))) == ["foo-libs", "foo>=3"]
    assert server.requests[1].headers["if-none-match"] == '"one"'
    serve(server, BODY.replace(b"foo>=3", b"foo>=4"))
    assert names(ask(tmp_path, lambda client: client.provides(index_of(server)), refresh=True))[1] == "foo>=4"


def test_login_and_retries_are_those_of_pages(server: SimpleServer, tmp_path: Path) -> None:
    """A login in the index's URL is sent, and a busy server is asked again; no message shows the login."""
    server.users["ann"] = "secret"
    server.faults.append(Fault(PATH, times=2, status=503))
    serve(server)
    index = Index("local", server.url.replace("://", "://ann:secret@"))
    assert names(ask(tmp_path, lambda client: client.provides(index))) == ["foo-libs", "foo>=3"]
    serve(server, b"{")
    with pytest.raises(NetworkError) as caught:
        ask(tmp_path, lambda client: client.provides(index), refresh=True)
    assert "secret" not in str(caught.value)


def test_offline_without_table(server: SimpleServer, tmp_path: Path) -> None:
    """Offline, what was never asked for is an OfflineError, as it is for pages."""
    with pytest.raises(OfflineError):
        ask(tmp_path, lambda client: client.provides(index_of(server)), offline=True)


@pytest.mark.parametrize("folder", [True, False])
def test_folders_have_tables(tmp_path: Path, folder: bool) -> None:
    """A folder of wheels and a simple index on this disk have the file in themselves, or have none."""
    place = tmp_path / "wheels"
    place.mkdir()
    index = Index("here", "wheels", folder=True) if folder else Index("here", place.as_uri())
    assert ask(tmp_path, lambda client: client.provides(index)) is None
    (place / "provides.json").write_bytes(BODY)
    assert names(ask(tmp_path, lambda client: client.provides(index))) == ["foo-libs", "foo>=3"]
    (place / "provides.json").write_bytes(b"[]")
    with pytest.raises(NetworkError, match='index "here" has no usable provides'):
        ask(tmp_path, lambda client: client.provides(index))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "not the JSON"),
        (b"\xff", "not the JSON"),
        (b"[" * 100_000, "not the JSON"),
        (b'{"sonames": {}}', "not the JSON"),
        (b'{"version": "1", "sonames": {}}', "not the JSON"),
        (b'{"version": 1}', "not the JSON"),
        (b'{"version": 1, "sonames": {}, "more": 1}', "not the JSON"),
        (b'{"version": 1, "sonames": {"libfoo.so": "foo"}}', "not the JSON"),
        (b'{"version": 2, "names": []}', "version 2, and this gpuenv reads version 1"),
        (b'{"version": 0, "sonames": {}}', "version 0"),
        (b'{"version": 1, "sonames": {"../libfoo.so": ["foo"]}}', "is no soname"),
        (b'{"version": 1, "sonames": {"": ["foo"]}}', "is no soname"),
        (b'{"version": 1, "sonames": {"lib\\u001b[31m.so": ["foo"]}}', "is no soname"),
        (b'{"version": 1, "sonames": {"libfoo.so": []}}', "not a list of 1 to 64"),
        (b'{"version": 1, "sonames": {"libfoo.so": ["-r evil"]}}', "is no requirement"),
        (b'{"version": 1, "sonames": {"libfoo.so": ["foo @ https://index.example/foo.whl"]}}', "a URL or a marker"),
        (b'{"version": 1, "sonames": {"libfoo.so": ["foo; sys_platform == \'linux\'"]}}', "a URL or a marker"),
    ],
)
def test_hostile_tables_are_refused(server: SimpleServer, tmp_path: Path, body: bytes, cause: str) -> None:
    """Whatever an index serves instead of a table, the error names the index and says what is wrong."""
    serve(server, body)
    with pytest.raises(NetworkError, match='index "local" has no usable provides') as caught:
        ask(tmp_path, lambda client: client.provides(index_of(server)))
    assert cause in caught.value.causes[0]
    assert "\x1b" not in caught.value.causes[0]


def test_tables_are_bounded(server: SimpleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than the limit are not taken, from a server or a folder, nor more rows than a table may have."""
    monkeypatch.setattr(provides, "PROVIDES_LIMIT", 1 << 20)
    serve(server, b" " * (2 << 20))
    with pytest.raises(NetworkError, match="more than 1 MiB"):
        ask(tmp_path, lambda client: client.provides(index_of(server)))
    (tmp_path / "provides.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(NetworkError) as caught:
        ask(tmp_path, lambda client: client.provides(Index("here", ".", folder=True)))
    assert "more than 1 MiB" in caught.value.causes[0]
    monkeypatch.undo()
    rows = {f"libfoo.so.{number}": ["foo"] for number in range(50_001)}
    with pytest.raises(ValueError, match="50001 sonames, more than 50000"):
        read_provides(json.dumps({"version": 1, "sonames": rows}).encode())


@pytest.mark.parametrize("status", [206, 418])
def test_odd_answers_are_errors(server: SimpleServer, tmp_path: Path, status: int) -> None:
    """An index that answers oddly is not taken for one without a table."""
    server.overrides[PATH] = (status, {}, b"")
    with pytest.raises(NetworkError, match='index "local"'):
        ask(tmp_path, lambda client: client.provides(index_of(server)))
