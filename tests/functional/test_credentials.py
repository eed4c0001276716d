"""Logins of indexes: they open doors, and stand in no file and in no message."""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, Result
from tests.support.simple_server import Fault, SimpleServer

USER, WORD = "alice", "s3cr3t-w0rd"
BASIC = base64.b64encode(f"{USER}:{WORD}".encode()).decode()


@pytest.fixture
def closed(project: Project) -> Project:
    """The index demands a login."""
    project.offer("alpha")
    project.server.users[USER] = WORD
    project.write(["alpha"])
    return project


def with_login(url: str) -> str:
    """The URL with user information."""
    return url.replace("://", f"://{USER}:{WORD}@")


def leaks(project: Project, *results: Result, but: Path | None = None) -> list[str]:
    """Where the password stands, plain or encoded: files below the base, links' targets, names, and output."""
    secrets = [WORD.encode(), BASIC.encode()]
    found = [f"output {r}" for r in results for secret in secrets if secret in (r.out + r.err).encode()]
    for folder, folders, files in os.walk(project.base):
        for name in [*folders, *files]:
            path = Path(folder) / name
            held = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            if path != but and any(secret in held + os.fsencode(name) for secret in secrets):
                found.append(str(path))
    return found


def by_url(project: Project) -> dict[str, str]:
    """In the address of the default index."""
    return {"GPUENV_DEFAULT_INDEX": with_login(project.server.url)}


def by_variables(project: Project) -> dict[str, str]:
    """In variables named after the index."""
    return {"GPUENV_INDEX_DEFAULT_USERNAME": USER, "GPUENV_INDEX_DEFAULT_PASSWORD": WORD}


def by_netrc(project: Project) -> dict[str, str]:
    """In the user's netrc file."""
    (project.base / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {WORD}\n")
    (project.base / "netrc").chmod(0o600)
    return {"NETRC": str(project.base / "netrc")}


@pytest.mark.parametrize("way", [by_url, by_variables, by_netrc])
def test_logins_work_and_stay_secret(way: object, closed: Project) -> None:
    """Lock, sync, re-lock and a failure with a login: no file and no message holds it."""
    assert callable(way)
    env = way(closed)
    results = [
        closed.run("lock", "-v", env=env),
        closed.run("sync", "--json", env=env),
        closed.run("lock", "--upgrade", "--refresh", env=env),
        closed.run("sync", "-v", env=env),
    ]
    assert closed.installed() == {"alpha": "1.0"}
    closed.server.faults.append(Fault("/simple/", times=99, status=500))
    results.append(closed.run("lock", "--upgrade", "--refresh", "-v", rc=2, env=env))
    assert leaks(closed, *results, but=closed.base / "netrc") == []


def test_the_search_for_leaks_finds_one(closed: Project) -> None:
    """A planted password is found, so that the search above can fail."""
    (closed.root / "notes").write_text(f"the word is {WORD}")
    assert leaks(closed, Result(0, "", BASIC)) != []
    assert leaks(closed) == [str(closed.root / "notes")]


def test_without_a_login(closed: Project) -> None:
    """A closed index is exit 2 and says where; nothing is written."""
    error = closed.run("lock", rc=2).err
    assert "401" in error
    assert closed.server.root.removeprefix("http://") in error
    assert not closed.lock.exists()


def test_a_wrong_login_is_not_shown(closed: Project) -> None:
    """The message of a refused login does not hold the login."""
    closed.server.users[USER] = "another"
    assert leaks(closed, closed.run("lock", rc=2, env=by_url(closed))) == []


def test_credentials_of_the_manifest_are_not_locked(closed: Project) -> None:
    """A URL with a login in pyproject.toml works; lock, store, cache and errors about its line leave it out."""
    index = f'[[tool.gpuenv.index]]\nname = "corp"\nurl = "{with_login(closed.server.url)}"\n'
    closed.write(["alpha"], more=index)
    results = [closed.run("lock"), closed.run("sync"), closed.run("lock", "--check")]
    assert leaks(closed, *results, but=closed.manifest) == []
    assert f'url = "{closed.server.url}"' in closed.lock.read_text()
    closed.write(["alpha"], more=index + "explicit = 3\n")
    failed = closed.run("lock", rc=2)
    closed.write(["alpha"], more=index.replace('url = "http', 'url = "htp'))
    assert leaks(closed, failed, closed.run("lock", rc=2), but=closed.manifest) == []


def test_logins_of_flags_are_not_locked(closed: Project) -> None:
    """The same for `--index`."""
    flag = f"corp={with_login(closed.server.url)}"
    results = [closed.run("lock", "--index", flag), closed.run("sync", "--index", flag)]
    assert leaks(closed, *results) == []


def test_logins_of_direct_urls_are_not_locked(closed: Project) -> None:
    """A wheel behind a URL with a login is locked without it, and fetched with it by a machine with nothing cached."""
    url = f"{with_login(closed.server.root)}/files/alpha-1.0-py3-none-any.whl"
    closed.write([f"alpha @ {url}"])
    results = [closed.run("lock"), closed.run("lock", "--check")]
    shutil.rmtree(closed.cache)
    results.append(closed.run("sync", "--frozen"))
    assert closed.installed() == {"alpha": "1.0"}
    closed.write([f"alpha @ {url}", "alpha>1"])
    results.append(closed.run("lock", rc=1))
    closed.write(["alpha"], more=f'[tool.gpuenv.sources]\nalpha = {{ url = "{url}" }}\n')
    results.append(closed.run("lock"))
    assert leaks(closed, *results, but=closed.manifest) == []


@pytest.fixture
def elsewhere() -> Iterator[SimpleServer]:
    """A host that files are redirected to."""
    with SimpleServer() as running:
        yield running


def test_redirects_to_other_hosts_get_no_login(closed: Project, elsewhere: SimpleServer) -> None:
    """Files that live at another origin are fetched there without the Authorization header."""
    closed.offer("alpha", on=elsewhere)
    for ending in ("", ".metadata"):
        path = f"/files/alpha-1.0-py3-none-any.whl{ending}"
        closed.server.redirects[path] = elsewhere.root + path
    closed.run("sync", env=by_url(closed))
    assert closed.installed() == {"alpha": "1.0"}
    assert {"authorization" in request.headers for request in closed.server.requests} == {True}
    assert elsewhere.requests
    assert {"authorization" in request.headers for request in elsewhere.requests} == {False}
