"""`gpuenv index`: a folder becomes an index that any web server serves, and nothing half-written is ever in it."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpuenv.bundle.repack import bundle_name, repack
from gpuenv.model.facts import NativeFacts
from gpuenv.workflow import index as work
from gpuenv.workflow.project import Project as Session
from gpuenv.workflow.project import write_atomically
from tests.support.binaries import library
from tests.support.bundles import make_bundle
from tests.support.programs import find_program
from tests.support.project import PATIENCE, Project, snapshot
from tests.support.wheels import make_wheel

NATIVE = "py3-none-manylinux_2_17_x86_64"
LEDGER = "simple/.gpuenv-index.json"


class _Handler(SimpleHTTPRequestHandler):
    timeout = 10

    def __init__(self, asked: list[str], *args: Any, **options: Any) -> None:
        self.asked = asked
        super().__init__(*args, **options)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """What is fetched is noted; tests print nothing."""
        if self.headers["Range"] != "bytes=0-0":  # which asks for the size alone
            self.asked.append(self.path)


@contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The standard library's web server over a folder; its URL. asked: gets the paths that are fetched."""
    handler = functools.partial(_Handler, [] if asked is None else asked, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def wheels(project: Project) -> Path:
    """A folder with a module, a library and its bundle, and an extension that needs the library."""
    folder = project.base / "site" / "some wheels"
    make_wheel(folder, "demo", "1.0+local", requires=["thing-libs"], requires_python=">=3.8")
    made = make_wheel(folder, "thing-libs", files={"thing/lib/libthing.so.7": library("libthing.so.7")}, tags=NATIVE)
    make_bundle(made)
    files: dict[str, bytes | str] = {
        "needs/__init__.py": "",
        "needs/libneeds.so": library("libneeds.so", ["libthing.so.7"]),
    }
    make_wheel(folder, "needs", files=files, tags=NATIVE)
    return folder


def test_a_folder_becomes_an_index(project: Project, wheels: Path) -> None:
    """Pages are in `simple`, sidecars beside the files, `provides.json` in both; the second time nothing changes."""
    done = project.run("index", wheels)
    assert done.err == f"{wheels}/simple: 3 projects, 4 files, 2 sonames; 17 written\n"
    assert done.out == ""
    before = snapshot(wheels)
    made = {path for path in before if path.startswith("simple/")}
    assert made == {
        "simple/index.html", "simple/index.json", "simple/provides.json", LEDGER,
        *(f"simple/{name}" for name in ("demo", "needs", "thing-libs")),
        *(f"simple/{name}/index.{kind}" for name in ("demo", "needs", "thing-libs") for kind in ("html", "json")),
    }  # fmt: skip
    assert json.loads((wheels / "provides.json").read_bytes()) == {
        "version": 1,
        "sonames": {"libneeds.so": ["needs"], "libthing.so.7": ["thing-libs"]},
    }
    stamps = {path: path.stat().st_mtime_ns for path in wheels.rglob("*.*")}
    document = project.run("index", "--json", wheels).json
    assert document == {
        "index": f"{wheels}/simple",
        "projects": 3,
        "files": 4,
        "sonames": 2,
        "written": [],
        "removed": [],
        "warnings": [],
    }
    assert snapshot(wheels) == before
    assert {path: path.stat().st_mtime_ns for path in stamps if path.name != Path(LEDGER).name} == {
        path: stamp for path, stamp in stamps.items() if path.name != Path(LEDGER).name
    }


def test_the_same_files_give_the_same_index(project: Project, wheels: Path) -> None:
    """Elsewhere, at another time and with nothing kept from before, every byte is the same."""
    project.run("index", wheels)
    other = project.base / "other"
    other.mkdir()
    for path in sorted(wheels.glob("*.whl*"), reverse=True):
        if path.name.endswith((".whl", ".zst")):
            shutil.copy(path, other)
    project.run("index", "--cache-dir", project.base / "fresh", other)
    assert snapshot(other) == snapshot(wheels)


def test_what_is_not_wanted_any_more_goes(project: Project, wheels: Path) -> None:
    """Pages and sidecars of files that went are removed, with the project's folder; what others wrote stays."""
    project.run("index", wheels)
    (wheels / "simple" / "needs" / "notes.txt").write_text("mine")
    (wheels / "simple" / "demo" / "index.json").write_text("edited by hand")
    (wheels / "simple" / "theirs").mkdir()
    (wheels / "simple" / "theirs" / "index.html").write_text("theirs")
    for path in (*wheels.glob("demo-*.whl"), *wheels.glob("needs-*.whl")):
        path.unlink()
    removed = project.run("index", "--json", wheels).json["removed"]
    left = set(snapshot(wheels))
    assert [Path(path).relative_to(wheels).as_posix() for path in removed] == [
        "simple/demo/index.html",
        "simple/needs/index.html",
        "simple/needs/index.json",
        "demo-1.0+local-py3-none-any.whl.metadata",
        f"needs-1.0-{NATIVE}.whl.metadata",
        f"needs-1.0-{NATIVE}.whl.native.json",
    ]
    assert {"simple/needs/notes.txt", "simple/demo/index.json", "simple/theirs/index.html"} <= left
    assert "libneeds.so" not in (wheels / "provides.json").read_text()


def test_a_ledger_leads_nowhere_else(project: Project, wheels: Path) -> None:
    """A ledger that somebody wrote removes no file that this command could not have written."""
    project.run("index", wheels)
    victim = project.base / "victim" / "index.html"
    victim.parent.mkdir()
    victim.write_text("precious")
    inside = wheels / "simple" / "Upper" / "index.html"
    inside.parent.mkdir()
    inside.write_text("precious")
    digest = snapshot(project.base)["victim/index.html"]
    ledger = json.loads((wheels / LEDGER).read_bytes())
    for path in (str(victim), "../../../victim/index.html", "Upper/index.html", "../index.html"):
        ledger["pages"][path] = ledger["beside"][path] = [digest]
    (wheels / LEDGER).write_text(json.dumps(ledger))
    assert project.run("index", "--json", wheels).json["removed"] == []
    assert victim.exists()
    assert inside.exists()


def test_files_of_others_are_in_the_way(project: Project, wheels: Path) -> None:
    """A `provides.json` or page that gpuenv did not write is named and stays, and nothing else is written."""
    (wheels / "provides.json").write_text("{}")
    (wheels / "simple").mkdir()
    (wheels / "simple" / "index.html").write_text("by hand")
    before = snapshot(wheels)
    error = project.run("index", "--json", wheels, rc=1).json["error"]
    assert error["kind"] == "occupied"
    assert error["causes"] == [f"{wheels}/provides.json", f"{wheels}/simple/index.html"]
    assert snapshot(wheels) == before


def test_every_damaged_file_is_named_and_nothing_written(project: Project, wheels: Path) -> None:
    """Cut, misnamed, mislabelled and lying files are all told at once."""
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04")
    (wheels / "broken-2.0-py3-none-any.whl.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (wheels / "no wheel.whl").write_bytes(b"")
    made = make_wheel(project.base / "elsewhere", "true-name")
    shutil.copy(made, wheels / "false_name-1.0-py3-none-any.whl")
    (wheels / "folder-1.0-py3-none-any.whl").mkdir()
    liar = make_wheel(project.base / "elsewhere", "liar", files={"l/libl.so": library("libl.so")}, tags=NATIVE)
    with (wheels / bundle_name(liar.name)).open("wb") as file:
        repack(liar, file.write, sha256="0" * 64, facts=NativeFacts(None, 1))
    before = snapshot(wheels)
    error = project.run("index", "--json", wheels, rc=1).json["error"]
    assert error["message"] == f"6 files of {wheels} cannot be in an index"
    words = ["broken-1.0", "broken-2.0", "false_name", "folder-1.0", "liar-1.0"]
    words.append("no wheel.whl: is not the name of a wheel")
    for cause, word in zip(error["causes"], words, strict=True):
        assert word in cause
    assert snapshot(wheels) == before
    empty = project.base / "empty"
    empty.mkdir()
    assert "no wheel and no bundle" in project.run("index", empty, rc=2).err
    assert "is not a folder" in project.run("index", made, rc=2).err


def test_an_index_in_use_is_never_half_written(project: Project, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any of its writes, a run leaves files that are wholly old or new, and the next run finishes it."""
    session = Session(project.root, project.store, project.cache)
    work.make_index(wheels, None, session)
    before = snapshot(wheels)
    older = project.base / "older"
    shutil.copytree(wheels, older)
    next(older.glob("demo-*.whl")).unlink()
    make_wheel(older, "thing-libs", "2.0", files={"thing/libthing.so.8": library("libthing.so.8")}, tags=NATIVE)
    wanted = project.base / "wanted"
    shutil.copytree(older, wanted)
    work.make_index(wanted, None, session)
    after = snapshot(wanted)
    assert len(after.items() - before.items()) > 8
    number, killed = 0, True
    while killed:
        folder = project.base / f"killed{number}"
        shutil.copytree(older, folder)
        left = iter(range(number))

        def until(path: Path, data: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            write_atomically(path, data)

        monkeypatch.setattr(work, "write_atomically", until)
        try:
            work.make_index(folder, None, session)
            killed = False
        except KeyboardInterrupt:
            number += 1
        for path, digest in snapshot(folder).items():
            assert path == LEDGER or digest in (before.get(path), after.get(path)), path
        monkeypatch.setattr(work, "write_atomically", write_atomically)
        work.make_index(folder, None, session)
        assert snapshot(folder) == after
    assert number > 8


@pytest.mark.parametrize("place", ["url", "file", "folder"])
def test_gpuenv_locks_and_syncs_from_it(project: Project, wheels: Path, place: str) -> None:
    """By URL, as files and as a folder the index gives the same lock of versions, sonames and a working environment."""
    for bundle in wheels.glob("*.zst"):
        bundle.unlink()
    project.run("index", wheels)
    with served(wheels.parent) as root:
        said = {
            "url": f'url = "{root}/some%20wheels/simple/"',
            "folder": f'path = "{wheels}"',
        }
        index = f'[[tool.gpuenv.index]]\nname = "ours"\n{said[place]}\n' if place in said else ""
        flags = () if place in said else ("--index", f"ours={(wheels / 'simple').as_uri()}")
        project.write(["demo", "needs"], more=f'[tool.gpuenv]\nscan = "all"\n{index}')
        packages = project.run("lock", "--json", *flags).json["targets"]["here"]["packages"]
        assert packages == {"demo": "1.0+local", "needs": "1.0", "thing-libs": "1.0"}
        assert "libthing.so.7" in project.lock.read_text("utf-8")
        project.run("sync", *flags)
    assert project.installed() == packages


def test_bundles_are_synced_from_it(project: Project, wheels: Path) -> None:
    """A bundle behind a plain web server is found for its soname, locked and installed, with its links."""
    (made,) = wheels.glob("thing_libs-*.whl")
    made.unlink()
    files = {f"thing/lib/{name}": library("libthing.so.7") for name in ("libthing.so", "libthing.so.7")}
    made = make_wheel(project.base / "made", "thing-libs", files=files, tags=NATIVE)
    shutil.copy(make_bundle(made, restore_links=True), wheels)
    project.run("index", wheels)
    with served(wheels.parent) as root:
        more = f'[[tool.gpuenv.index]]\nname = "ours"\nurl = "{root}/some%20wheels/simple/"\n'
        project.write(["needs"], more=f'[tool.gpuenv]\nscan = "all"\n{more}')
        project.run("sync")
    assert bundle_name(made.name) in project.lock.read_text("utf-8")
    assert os.path.realpath(project.site / "thing" / "lib" / "libthing.so").endswith("/thing/lib/libthing.so.7")


def test_a_lock_fetches_no_wheel(project: Project, wheels: Path) -> None:
    """Metadata and facts beside the wheels, vouched for by the page, are all that a lock takes from a web server."""
    project.run("index", "--cache-dir", project.base / "publisher", wheels)
    asked: list[str] = []
    with served(wheels.parent, asked) as root:
        more = f'[[tool.gpuenv.index]]\nname = "ours"\nurl = "{root}/some%20wheels/simple/"\n'
        project.write(["demo", "needs"], more=f'[tool.gpuenv]\nscan = "all"\n{more}')
        project.run("lock")
    assert any(path.endswith(".native.json") for path in asked), asked
    assert [path for path in asked if path.endswith(".whl")] == []


def installers() -> list[list[str]]:
    found = [[sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir"]]
    uv = find_program("uv")
    return [*found, [uv, "pip", "install", "--no-cache", "--python", sys.executable]] if uv else found


@pytest.mark.parametrize("installer", installers(), ids=lambda command: Path(command[0]).name)
def test_other_installers_take_wheels_from_it(project: Project, wheels: Path, installer: list[str]) -> None:
    """pip and uv install from the served pages, metadata first, and pass over the bundles."""
    project.run("index", "--output", project.base / "site" / "pages", wheels)
    place = project.base / "place"
    with served(wheels.parent) as root:
        command = [*installer, "--index-url", f"{root}/pages/", "--target", str(place), "demo"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        done = subprocess.run(
            command,
            env=environ | {"PIP_CONFIG_FILE": os.devnull, "HOME": str(project.home), "NO_PROXY": "*"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "demo" / "__init__.py").read_text() == '__version__ = "1.0+local"\n'
    assert (place / "thing" / "lib" / "libthing.so.7").is_file()
