"""Retries, redirects and credentials."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.errors import GpuenvError, NetworkError
from gpuenv.index import IndexClient
from gpuenv.index.http import _proxies, _read_timeout
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.simple_server import Fault, SimpleServer
from tests.support.wheels import make_wheel


@pytest.mark.parametrize(
    "fault",
    [
        Fault("foo", times=3, status=503),
        Fault("foo", times=2, status=429, headers={"Retry-After": "0"}),
        Fault("foo", status=429, headers={"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}),
        Fault("foo", times=3, reset=True, after=10),
        Fault("foo", times=3, truncate=True, after=10),
    ],
    ids=["503", "429", "429 until a date", "reset", "truncated"],
)
def test_passing_faults_are_waited_out(server: SimpleServer, tmp_path: Path, fault: Fault) -> None:
    """Busy answers, resets and answers that end early are asked again, three times at most."""
    server.add(make_wheel(tmp_path, "foo"))
    times = fault.times
    server.faults = [fault]
    page = ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    assert page and len(page.releases) == 1
    assert len(server.requests) == times + 1


def test_lasting_faults_are_network_errors(server: SimpleServer, tmp_path: Path) -> None:
    """A server that stays busy is given up after the fourth answer."""
    server.faults = [Fault("foo", times=9, status=502)]
    with pytest.raises(NetworkError, match='index "local" did not answer usefully') as caught:
        ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    assert "502" in caught.value.causes[0]
    assert len(server.requests) == 4


def test_silence_is_a_network_error(server: SimpleServer, tmp_path: Path) -> None:
    """A server that says nothing within the read timeout of the environment is asked again, then given up."""
    server.faults = [Fault("foo", times=9, wait=0.4)]
    with pytest.raises(NetworkError) as caught:
        ask(tmp_path, lambda client: client.page("foo", index_of(server)), environ={"UV_HTTP_TIMEOUT": "0.05"})
    assert caught.value.causes == ("it did not answer in time",)


def test_nobody_there_is_a_network_error(tmp_path: Path) -> None:
    """A refused connection names the index and the reason."""
    with SimpleServer() as gone:
        index = index_of(gone)
    with pytest.raises(NetworkError) as caught:
        ask(tmp_path, lambda client: client.page("foo", index))
    assert "refused" in caught.value.causes[0].lower()


def test_links_start_where_a_redirect_ended(server: SimpleServer, tmp_path: Path) -> None:
    """Relative links of a page belong to the address that answered at last."""
    with SimpleServer(absolute_urls=False) as other:
        url = other.add(make_wheel(tmp_path, "foo"))
        server.redirects["/simple/foo/"] = other.url + "foo/"
        page = ask(tmp_path, lambda client: client.page("foo", index_of(server)))
        assert page and page.releases[0].wheels[0].url == url


def test_redirects_end(server: SimpleServer, tmp_path: Path) -> None:
    """A circle of redirects and a redirect to another protocol are refused."""
    server.redirects = {"/simple/foo/": "/simple/foo/", "/simple/bar/": "file:///etc/passwd"}
    with pytest.raises(NetworkError, match="more than 10"):
        ask(tmp_path, lambda client: client.page("foo", index_of(server)))
    with pytest.raises(NetworkError, match="not safe"):
        ask(tmp_path, lambda client: client.page("bar", index_of(server)))


def login_of(server: SimpleServer, way: str, folder: Path) -> tuple[Index, dict[str, str]]:
    index = index_of(server, "my-index")
    if way == "url":
        return Index("my-index", server.url.replace("//", "//me:s%40cret@")), {}
    if way == "netrc":
        (folder / "logins").write_text("machine 127.0.0.1 login me password s@cret\n")
        return index, {"NETRC": str(folder / "logins")}
    prefix = f"{way}_INDEX_MY_INDEX_"
    return index, {prefix + "USERNAME": "me", prefix + "PASSWORD": "s@cret"}


@pytest.mark.parametrize("way", ["url", "netrc", "GPUENV", "UV"])
def test_credentials_are_found_and_leave_no_trace(server: SimpleServer, tmp_path: Path, way: str) -> None:
    """Each way to give a login works for pages and metadata, and the cache holds neither name nor password."""
    server.users = {"me": "s@cret"}
    server.add(make_wheel(tmp_path / "wheels", "foo"))
    index, environ = login_of(server, way, tmp_path)

    async def both(client: IndexClient) -> str:
        page = await client.page("foo", index)
        assert page
        return (await client.metadata(page.releases[0].wheels[0], index)).name

    assert ask(tmp_path, both, environ) == "foo"
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(cached) == 2
    assert not [path for path in cached for word in (b"s@cret", b"s%40cret", b"me:") if word in path.read_bytes()]


def test_users_do_not_see_each_others_pages(server: SimpleServer, tmp_path: Path) -> None:
    """A page fetched with a login is not served from the cache to someone without it."""
    server.users = {"me": "s@cret"}
    server.add(make_wheel(tmp_path, "foo"))
    index, environ = login_of(server, "GPUENV", tmp_path)
    assert ask(tmp_path, lambda client: client.page("foo", index), environ)
    with pytest.raises(NetworkError, match="refused access"):
        ask(tmp_path, lambda client: client.page("foo", index))


def test_errors_show_no_credentials(server: SimpleServer, tmp_path: Path) -> None:
    """A refused login appears in no part of the error."""
    server.users = {"me": "right"}
    index = Index("my-index", server.url.replace("//", "//me:s%40cret@") + "?token=s@cret")
    with pytest.raises(GpuenvError) as caught:
        ask(tmp_path, lambda client: client.page("foo", index))
    text = json.dumps([caught.value.message, caught.value.causes, caught.value.hints])
    assert "s@cret" not in text and "s%40cret" not in text and "me:" not in text


def test_credentials_stay_with_their_origin(server: SimpleServer, tmp_path: Path) -> None:
    """A redirect to another port and a file on another port get no login, and a redirect's own is not used either."""
    with SimpleServer() as other:
        other.add(make_wheel(tmp_path, "foo"))
        server.redirects["/simple/foo/"] = other.url.replace("//", "//eve:x@") + "foo/"
        index, environ = login_of(server, "GPUENV", tmp_path)

        async def both(client: IndexClient) -> None:
            page = await client.page("foo", index)
            assert page
            await client.metadata(page.releases[0].wheels[0], index)

        ask(tmp_path, both, environ)
        assert "authorization" in server.requests[0].headers
        assert len(other.requests) == 2
        assert not [request for request in other.requests if "authorization" in request.headers]


def test_keyring_is_asked_after_a_refusal(
    server: SimpleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyring is asked only once the server said 401, for the index's URL first, with the user name that is known."""
    asked = []

    class Found:
        username, password = "me", "s@cret"

    class Keyring:
        @staticmethod
        def get_credential(place: str, user: str | None) -> object:
            asked.append((place, user))
            return Found

    monkeypatch.setitem(sys.modules, "keyring", Keyring)
    server.add(make_wheel(tmp_path, "foo"))
    index = Index("my-index", server.url.replace("//", "//me@"))
    assert ask(tmp_path, lambda client: client.page("foo", index))
    assert asked == []
    server.users = {"me": "s@cret"}
    assert ask(tmp_path, lambda client: client.page("foo", index), refresh=True)
    assert asked == [(server.url, "me")]


def test_proxies_and_timeouts_come_from_the_environment() -> None:
    """Lower-case proxy variables win, and a timeout that is no positive number is the default."""
    found = _proxies({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower", "NO_PROXY": "index.example"})
    assert found == {"https": "http://lower", "no": "index.example"}
    assert _read_timeout({"GPUENV_HTTP_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "7"}) == 5
    assert _read_timeout({"UV_HTTP_TIMEOUT": "soon"}) == _read_timeout({"UV_HTTP_TIMEOUT": "-1"}) == 30


def test_proxy_is_used(server: SimpleServer, tmp_path: Path) -> None:
    """Requests go to the proxy of the environment, except for hosts that no_proxy names."""
    index = Index("far", "http://index.example/simple/")
    proxy = {"http_proxy": server.root, "no_proxy": "127.0.0.1"}
    server.overrides["/simple/foo/"] = (404, {}, b"")
    assert ask(tmp_path, lambda client: client.page("foo", index), proxy) is None
    assert server.paths == ["http://index.example/simple/foo/"]


def test_importing_the_index_is_cheap() -> None:
    """Neither the HTTP library nor asyncio, TLS, HTML or ZIP modules come in before a client is entered."""
    program = "import sys, gpuenv.index; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncio", "packaging", "ssl", "distlib", "keyring", "netrc", "html", "zipfile"} & set(
        loaded
    )
