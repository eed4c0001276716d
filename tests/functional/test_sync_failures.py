"""Syncs that fail, are killed or meet each other: the environment before works until the new one is whole."""

import hashlib
import os
import random
import signal
import subprocess
import time
import zipfile

import pytest

from tests.support.project import Project, snapshot
from tests.support.simple_server import Fault

ALPHA = "/files/alpha-1.0-py3-none-any.whl"
KILLS = 4
# enough that a download takes several pieces; incompressible, so that the wheel is as large
BULK = random.Random(7).randbytes(300_000)  # noqa: S311 - bytes, not secrets


def working(project: Project) -> dict[str, str]:
    """An environment with one old package, and a manifest that wants two more, `alpha` with some bulk."""
    project.offer("old")
    project.write(["old"])
    project.run("sync")
    project.offer("alpha", requires=["beta"], files={"alpha/__init__.py": "", "alpha/bulk.bin": BULK})
    project.offer("beta")
    project.write(["old", "alpha"])
    project.run("lock")
    return snapshot(project.root)


def replaced(project: Project, body: bytes) -> None:
    """The index now serves other bytes for alpha."""
    project.server.overrides[ALPHA] = (200, {"Content-Type": "application/octet-stream"}, body)


@pytest.mark.parametrize("kind", ["same size", "longer", "shorter", "empty"])
def test_other_bytes(kind: str, project: Project) -> None:
    """A file that is not the locked one: exit 1 with file, expected and seen; a good server heals it."""
    before = working(project)
    good = project.server.files[ALPHA.rpartition("/")[2]].path.read_bytes()
    bad = {"same size": good[:-1] + b"x", "longer": good + b"x", "shorter": good[:-1], "empty": b""}[kind]
    replaced(project, bad)
    result = project.run("sync", rc=1)
    sizes = kind != "same size"
    expected = f"{len(good)} bytes" if sizes else f"sha256 {hashlib.sha256(good).hexdigest()}"
    seen = f"{len(bad)} bytes" if sizes else f"sha256 {hashlib.sha256(bad).hexdigest()}"
    assert result.err.startswith("error: alpha-1.0-py3-none-any.whl is not the file that is expected: ")
    assert f"  cause: expected {expected}\n         seen {seen}\n" in result.err
    assert project.run("sync", "--json", rc=1).json["error"]["kind"] == "integrity"
    assert snapshot(project.root) == before
    assert project.installed() == {"old": "1.0"}
    project.server.overrides.clear()
    project.run("sync")
    assert set(project.installed()) == {"old", "alpha", "beta"}


def test_hostile_wheels(project: Project) -> None:
    """A wheel that would write outside is refused although its digest is the locked one; nothing of it stays."""
    before = working(project)
    evil = project.wheel("evil", folder=project.base / "evil")
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr("../../../../escaped.py", "x = 1\n")
    project.server.add(evil)
    project.write(["old", "evil"])
    project.run("lock")
    error = project.run("sync", rc=1).err
    assert error.startswith("error: evil-1.0-py3-none-any.whl")
    assert "escaped.py" in error
    assert project.run("sync", "--json", rc=1).json["error"]["kind"] == "archive"
    assert list(project.base.rglob("escaped.py")) == []
    assert list((project.store / "tmp").iterdir()) == []
    assert project.venv.readlink().name in before[".venv"]
    assert project.installed() == {"old": "1.0"}


def test_metadata_that_lies(project: Project) -> None:
    """A wheel whose own name is another is refused."""
    working(project)
    liar = project.wheel(
        "liar", folder=project.base / "evil", metadata="Metadata-Version: 2.1\nName: old\nVersion: 1.0\n"
    )
    project.server.add(liar, metadata=False)
    project.write(["old", "liar"])
    result = project.run("sync", rc=1)
    assert "liar" in result.err
    assert project.installed() == {"old": "1.0"}


@pytest.mark.parametrize("how", ["reset", "truncate"])
def test_broken_downloads_are_continued(how: str, project: Project) -> None:
    """A connection that breaks midway is taken up where it broke, within one sync."""
    working(project)
    project.server.faults.append(Fault(ALPHA, after=100_000, reset=how == "reset", truncate=how == "truncate"))
    project.server.requests.clear()
    project.run("sync")
    ranges = [request.headers.get("range") for request in project.server.requests if request.path == ALPHA]
    assert len(ranges) == 2
    assert ranges[0] is None
    assert ranges[1] is not None
    assert set(project.installed()) == {"old", "alpha", "beta"}


def test_a_server_that_dies_and_comes_back(project: Project) -> None:
    """What came before the server gave up is not asked for again by the next sync."""
    before = working(project)
    project.server.faults += [Fault(ALPHA, after=150_000, truncate=True), Fault(ALPHA, times=99, status=503)]
    error = project.run("sync", rc=2).err
    assert "alpha-1.0-py3-none-any.whl" in error or ALPHA in error
    assert snapshot(project.root) == before
    assert project.installed() == {"old": "1.0"}
    project.server.faults.clear()
    project.server.requests.clear()
    project.run("sync")
    asked = [request.headers.get("range", "") for request in project.server.requests if request.path == ALPHA]
    assert asked == ["bytes=150000-"]
    assert set(project.installed()) == {"old", "alpha", "beta"}
    assert list((project.store / "downloads").iterdir()) == []


def test_files_that_moved(project: Project) -> None:
    """A recorded URL that is gone: the page says where the file with this digest is now, and other files do not do."""
    working(project)
    project.server.overrides[ALPHA] = (404, {}, b"")
    assert "is not there" in project.run("sync", rc=2).err
    page = project.server.page("alpha")
    assert page is not None
    moved = page[1].replace(b"/files/alpha", b"/moved/alpha")
    project.server.overrides["/simple/alpha/"] = (200, {"Content-Type": page[0]}, moved)
    body = project.server.files[ALPHA.rpartition("/")[2]].path.read_bytes()
    project.server.overrides[ALPHA.replace("files", "moved")] = (200, {}, body)
    project.run("sync")
    assert set(project.installed()) == {"old", "alpha", "beta"}


def test_offline_with_everything_at_hand(project: Project) -> None:
    """--offline makes the environment anew from the store, and a lock from cached pages."""
    working(project)
    project.run("sync")
    asked = len(project.server.requests)
    project.venv.unlink()
    project.run("--offline", "sync")
    project.lock.unlink()
    project.run("lock", env={"GPUENV_OFFLINE": "1"})
    assert set(project.installed()) == {"old", "alpha", "beta"}
    assert len(project.server.requests) == asked


def test_offline_with_nothing(project: Project) -> None:
    """--offline without what is needed: exit 2, of its own kind, without a request and without a change."""
    before = working(project)
    asked = len(project.server.requests)
    assert project.run("--offline", "sync", "--json", rc=2).json["error"]["kind"] == "offline"
    project.lock.unlink()
    cold = {"GPUENV_CACHE_DIR": str(project.base / "cold")}
    assert project.run("--offline", "lock", "--json", rc=2, env=cold).json["error"]["kind"] == "offline"
    assert len(project.server.requests) == asked
    assert snapshot(project.root) == {name: held for name, held in before.items() if name != "gpuenv.lock"}


def test_two_projects_at_once(project: Project) -> None:
    """Two syncs against one empty store both succeed, and each file comes over the network once."""
    for number in range(6):
        project.offer(f"part-{number}", files={f"part{number}.py": "x = 1\n", f"bulk{number}.bin": BULK})
    project.write([f"part-{number}" for number in range(6)])
    project.run("lock")
    second = project.base / "second"
    second.mkdir()
    for name in ("pyproject.toml", "gpuenv.lock"):
        (second / name).write_bytes((project.root / name).read_bytes())
    project.server.faults += [Fault("/files/", times=12, wait=0.1)]
    project.server.requests.clear()
    running = [project.start("sync"), project.start("--project", second, "sync")]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == ""
    downloads = [path for path in project.server.paths if path.endswith(".whl")]
    assert sorted(downloads) == sorted(set(downloads))
    assert len(downloads) == 6
    for root in (project.root, second):
        done = subprocess.run(
            [root / ".venv/bin/python", "-c", "import part0, part5"], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr


def test_killed_at_any_moment(project: Project) -> None:
    """SIGKILL at whatever moment: the environment before works until the switch, the next sync succeeds, gc tidies."""
    generator = random.Random(os.getpid())  # noqa: S311 - moments, not secrets
    project.offer("old")
    project.write(["old"])
    project.run("sync")
    present = wanted = {"old": "1.0"}
    killed = 0
    for number in range(KILLS):
        name = f"part-{number}"
        project.offer(name, files={f"part{number}.py": "x = 1\n", f"part{number}.bin": BULK})
        project.write([*wanted, name])
        project.server.faults[:] = [Fault("/files/", times=9, wait=0.05), Fault("/simple/", times=9, wait=0.05)]
        asked = len(project.server.requests)
        process = project.start("sync")
        while len(project.server.requests) == asked and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(timeout=0.8 * generator.random())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
        expected = {**wanted, name: "1.0"}
        found = project.installed()
        assert found in (present, expected)
        present, wanted = found, expected
    project.server.faults.clear()
    project.run("sync")
    assert project.installed() == wanted
    assert killed
    assert sorted(path.name for path in project.root.iterdir()) == [".venv", "gpuenv.lock", "pyproject.toml"]
    project.run("store", "gc")  # who was killed between publishing and tidying left a download and what was unpacked
    assert list((project.store / "tmp").iterdir()) == []
    assert list((project.store / "downloads").iterdir()) == []
    assert project.installed() == wanted


def test_interrupted_by_the_user(project: Project) -> None:
    """Ctrl-C: exit 130, one word, no traceback; nothing changed."""
    before = working(project)
    project.server.faults.append(Fault(ALPHA, wait=3.0))
    process = project.start("sync")
    deadline = time.monotonic() + 60
    while ALPHA not in project.server.paths and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert snapshot(project.root) == before


def test_stores_that_cannot_be_written(project: Project) -> None:
    """A store below a file is exit 2 in words."""
    project.offer("alpha")
    project.write(["alpha"])
    (project.base / "file").write_text("")
    result = project.run("sync", "--store", project.base / "file" / "store", "--json", rc=2)
    assert result.json["error"]["kind"] == "store"
    assert not project.venv.is_symlink()


def test_programs_of_one_name(project: Project) -> None:
    """Two distributions with different files of one name are an error that names both."""
    before = working(project)
    for name in ("one", "two"):
        project.offer(name, files={"shared/__init__.py": f"x = '{name}'\n"})
    project.write(["old", "one", "two"])
    error = project.run("sync", rc=2).err
    assert "one" in error
    assert "two" in error
    assert "shared/__init__.py" in error
    assert project.venv.readlink().name in before[".venv"]
    assert project.installed() == {"old": "1.0"}
