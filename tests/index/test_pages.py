"""Pages through the HTTP cache and from folders."""

import asyncio
from pathlib import Path

import pytest

from gpuenv.errors import NetworkError, OfflineError
from gpuenv.index import IndexClient, pages
from gpuenv.model.distribution import Page
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_wheel


def versions(page: Page | None) -> list[str]:
    return [release.version for release in page.releases] if page else []


@pytest.mark.parametrize("style", ["json", "html"])
@pytest.mark.parametrize("absolute", [True, False])
def test_page_is_read_in_both_spellings(server: SimpleServer, tmp_path: Path, style: str, absolute: bool) -> None:
    """JSON and HTML, absolute and relative links, zipped: the same page, under its normalised name."""
    server.style, server.absolute_urls, server.zipped = style, absolute, True
    url = server.add(make_wheel(tmp_path, "foo_bar", "2.0"), requires_python=">=3.9", yanked="bad")
    server.add(make_wheel(tmp_path, "foo_bar", "10.0"))
    page = ask(tmp_path, lambda client: client.page("Foo.Bar", index_of(server)))
    assert page and versions(page) == ["10.0", "2.0"]
    wheel = page.releases[1].wheels[0]
    assert (wheel.url, wheel.requires_python, wheel.yanked) == (url, ">=3.9", "bad")
    assert server.paths == ["/simple/foo-bar/"]


def test_unknown_names_are_none_and_remembered(server: SimpleServer, tmp_path: Path) -> None:
    """A 404 is an answer, and is believed as long as a page would be."""
    for _ in range(2):
        assert ask(tmp_path, lambda client: client.page("nothing", index_of(server))) is None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("control", "etag", "asked"),
    [
        ("max-age=600", True, 1),
        ("max-age=0", True, 2),
        ("no-cache", True, 2),
        ("no-store", True, 2),
        (None, True, 2),
        (None, False, 1),
    ],
)
def test_pages_are_believed_as_long_as_the_server_says(
    server: SimpleServer, tmp_path: Path, control: str | None, etag: bool, asked: int
) -> None:
    """Cache-Control decides; an ETag alone is asked about; without either a page is believed for ten minutes."""
    server.cache_control, server.etag = control, etag
    server.add(make_wheel(tmp_path, "foo"))
    for _ in range(2):
        assert versions(ask(tmp_path, lambda client: client.page("foo", index_of(server)))) == ["1.0"]
    assert len(server.requests) == asked


def test_stale_pages_are_asked_about_by_etag(server: SimpleServer, tmp_path: Path) -> None:
    """A stale or refreshed page is asked about with its ETag, and 304 brings the cached one back."""
    server.add(make_wheel(tmp_path, "foo"))
    ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    again = ask(tmp_path, lambda client: client.page("foo", index_of(server)), refresh=True)
    assert versions(again) == ["1.0"]
    assert "if-none-match" in server.requests[1].headers
    server.add(make_wheel(tmp_path, "foo", "2.0"))
    again = ask(tmp_path, lambda client: client.page("foo", index_of(server)), refresh=True)
    assert versions(again) == ["2.0", "1.0"]


def test_offline_uses_the_cache_alone(server: SimpleServer, tmp_path: Path) -> None:
    """Offline, a stale page serves and an unknown one is an OfflineError; nobody is asked."""
    server.cache_control = "max-age=0"
    server.add(make_wheel(tmp_path, "foo"))
    ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    assert versions(ask(tmp_path, lambda client: client.page("foo", index_of(server)), offline=True)) == ["1.0"]
    with pytest.raises(OfflineError) as caught:
        ask(tmp_path, lambda client: client.page("bar", index_of(server)), offline=True)
    assert "--offline" in caught.value.hints[0]
    assert len(server.requests) == 1


def test_damaged_cache_entries_are_fetched_again(server: SimpleServer, tmp_path: Path) -> None:
    """An entry that cannot be decoded does not exist."""
    server.add(make_wheel(tmp_path, "foo"))
    ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    (entry,) = (tmp_path / "cache" / "index-v2").iterdir()
    entry.write_bytes(entry.read_bytes()[:-5])
    assert versions(ask(tmp_path, lambda client: client.page("foo", index_of(server)))) == ["1.0"]
    assert len(server.requests) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(server: SimpleServer, tmp_path: Path) -> None:
    """Where the cache folder should be there is a file: pages still come."""
    (tmp_path / "cache").write_text("in the way")
    server.add(make_wheel(tmp_path, "foo"))
    assert versions(ask(tmp_path, lambda client: client.page("foo", index_of(server)))) == ["1.0"]


def test_a_page_is_asked_for_once_a_session(server: SimpleServer, tmp_path: Path) -> None:
    """Questions under way and answered ones are shared; one who stops waiting does not take the answer away."""
    server.cache_control = "no-store"
    server.add(make_wheel(tmp_path, "foo"))

    async def many(client: IndexClient) -> list[Page | None]:
        index = index_of(server)
        impatient = asyncio.create_task(client.page("foo", index))
        await asyncio.sleep(0)
        others = [asyncio.create_task(client.page("foo", index)) for _ in range(5)]
        impatient.cancel()
        return [*await asyncio.gather(*others), await client.page("foo", index)]

    assert [versions(page) for page in ask(tmp_path, many)] == [["1.0"]] * 6
    assert len(server.requests) == 1


def test_failures_may_be_asked_again(server: SimpleServer, tmp_path: Path) -> None:
    """A failure is not remembered, unlike an answer."""
    server.add(make_wheel(tmp_path, "foo"))
    server.overrides["/simple/foo/"] = (400, {}, b"")

    async def twice(client: IndexClient) -> Page | None:
        with pytest.raises(NetworkError):
            await client.page("foo", index_of(server))
        server.overrides.clear()
        return await client.page("foo", index_of(server))

    assert versions(ask(tmp_path, twice)) == ["1.0"]


def test_a_client_may_be_entered_again(server: SimpleServer, tmp_path: Path) -> None:
    """One client serves two loops, one after the other, and none outside."""
    server.add(make_wheel(tmp_path, "foo"))
    client = IndexClient(cache_dir=tmp_path / "cache", project_dir=tmp_path, environ={})

    async def once() -> Page | None:
        async with client:
            return await client.page("foo", index_of(server))

    assert versions(asyncio.run(once())) == versions(asyncio.run(once())) == ["1.0"]
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(client.page("foo", index_of(server)))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, b"<html>"), "not the JSON"),
        ((200, {"Content-Type": "application/vnd.pypi.simple.v2+json"}, b"{}"), "version 1"),
        ((200, {"Content-Type": "text/html", "Content-Length": "99"}, b"short"), "ended early"),
        ((200, {"Content-Type": "text/html", "Content-Encoding": "gzip"}, b"not gzip"), "cannot be unpacked"),
        ((418, {}, b""), "418"),
        ((206, {}, b""), "206"),
        ((304, {}, b""), "304"),
    ],
)
def test_lies_are_network_errors(
    server: SimpleServer, tmp_path: Path, answer: tuple[int, dict[str, str], bytes], cause: str
) -> None:
    """Whatever a server sends instead of a page, the error names the index and says what was wrong."""
    server.overrides["/simple/foo/"] = answer
    with pytest.raises(NetworkError, match='index "local"') as caught:
        ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    assert cause in caught.value.causes[0]


def test_bombs_are_refused(server: SimpleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that unpacks to more than the limit is not unpacked to the end."""
    monkeypatch.setattr(pages, "PAGE_LIMIT", 1 << 20)
    server.zipped = True
    server.style = "html"
    server.add(make_wheel(tmp_path, "foo"), yanked="x" * (2 << 20))
    with pytest.raises(NetworkError, match="more than 1 MiB"):
        ask(tmp_path, lambda client: client.page("foo", index_of(server)))


def test_storage_services_may_refuse_what_they_do_not_have(server: SimpleServer, tmp_path: Path) -> None:
    """A storage service's AccessDenied for a key is an unknown name; any other 403 is a refusal with a hint."""
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    server.overrides["/simple/foo/"] = (403, {"Content-Type": "application/xml"}, denied)
    server.overrides["/simple/bar/"] = (403, {}, b"no")
    assert ask(tmp_path, lambda client: client.page("foo", index_of(server))) is None
    with pytest.raises(NetworkError, match="refused access") as caught:
        ask(tmp_path, lambda client: client.page("bar", index_of(server, "my-index")))
    assert "GPUENV_INDEX_MY_INDEX_USERNAME" in caught.value.hints[0]


def test_folders_are_indexes(tmp_path: Path) -> None:
    """A folder of wheels, relative to the project, gives pages with digests; unknown names are None."""
    path = make_wheel(tmp_path / "wheels", "Foo_Bar", "1.0")
    (tmp_path / "wheels" / "notes.txt").write_text("no wheel")
    index = Index("here", "wheels", folder=True)
    page = ask(tmp_path, lambda client: client.page("foo-bar", index))
    assert page and page.index == "here"
    wheel = page.releases[0].wheels[0]
    assert (wheel.url, wheel.size, wheel.filename) == (path.as_uri(), path.stat().st_size, path.name)
    assert len(wheel.sha256 or "") == 64
    assert ask(tmp_path, lambda client: client.page("bar", index)) is None
    with pytest.raises(NetworkError, match="cannot be read"):
        ask(tmp_path, lambda client: client.page("bar", Index("gone", "nowhere", folder=True)))


def test_simple_directories_on_disk_are_indexes(tmp_path: Path) -> None:
    """A `file:` location is a simple index laid out on this disk; its links may lead to local files."""
    wheel = make_wheel(tmp_path / "simple" / "foo", "foo")
    (tmp_path / "simple" / "foo" / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    index = Index("disk", (tmp_path / "simple").as_uri())
    page = ask(tmp_path, lambda client: client.page("foo", index))
    assert page and page.releases[0].wheels[0].url == wheel.as_uri()
    assert ask(tmp_path, lambda client: client.page("bar", index)) is None
