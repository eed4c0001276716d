"""pip and uv inside a view: the store and other projects see nothing of it, and the next sync restores the view."""

import ensurepip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.programs import find_program
from tests.support.project import PATIENCE, Project, Result, snapshot

DERIVED = ("__pycache__", "gpuenv.json")
# a process without any capability, to which files of root belong: an ordinary user with a store of its own
ORDINARY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
BUNDLED = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))


def demo(version: str) -> dict[str, bytes | str]:
    return {
        "demo/__init__.py": f'__version__ = "{version}"\ndef main():\n    print("demo", __version__)\n',
        "demo/sub/data.txt": version,
        "demo_top.py": f"version = {version!r}\n",
        "demo-1.0.data/data/share/demo.txt".replace("1.0", version): version,
    }


def content(folder: Path) -> dict[str, str]:
    """What lies below a folder, without bytecode and without what a sync writes anew."""
    return {path: held for path, held in snapshot(folder).items() if not set(path.split("/")) & set(DERIVED)}


# pip and uv write such entries as files with their text
LINKS = {"demo/alias.py": "__init__.py", "demo/sub64": "sub"}


class Bench:
    """A project with `demo` in its environment, a second one that shares its objects, and somebody with pip or uv."""

    def __init__(self, project: Project, installer: str, ordinary: bool, mode: str) -> None:
        self.project, self.installer, self.ordinary = project, installer, ordinary
        self.mode = ("--link-mode", mode)
        project.offer("demo", "1.0", files=demo("1.0"), entry_points={"demo": "demo:main"}, links=LINKS)
        project.write(["demo"])
        self.gpuenv("sync", *self.mode)
        self.second = object.__new__(Project)
        self.second.__dict__.update({**project.__dict__, "root": project.base / "second"})
        self.second.root.mkdir()
        self.second.write(["demo"])
        self.as_person(self.second.command("sync", *self.mode), cwd=self.second.root)
        project.offer("demo", "2.0", files=demo("2.0"), entry_points={"demo": "demo:main"})
        project.offer("other", files={"demo/plugin.py": "", "demo/__init__.py": "", "other.py": ""})
        project.offer("plain")

    def as_person(self, command: Sequence[str], *, cwd: Path, **variables: str) -> Result:
        """Run a command as root or as an ordinary user."""
        done = subprocess.run(
            [*(ORDINARY if self.ordinary else ()), *command],
            cwd=cwd,
            env={**self.project.environment, "PATH": os.environ["PATH"], **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def gpuenv(self, *arguments: str) -> Result:
        """`gpuenv …` in the project, which must succeed."""
        path = str(self.project.programs)
        found = self.as_person(self.project.command(*arguments), cwd=self.project.root, PATH=f"{path}:/usr/bin:/bin")
        assert found.rc == 0, found.err
        return found

    def other(self, verb: str, *arguments: str) -> Result:
        """Let the installer do something in the view."""
        python = str(self.project.venv / "bin" / "python")
        if self.installer == "uv":
            command = [uv(), "pip", verb, "--python", python, *arguments]
        else:
            pip = [str(self.project.python), "-m", "pip", "--disable-pip-version-check", "--python", python]
            command = [*pip, verb, *(["--yes"] if verb == "uninstall" else []), *arguments]
        server = self.project.server.url
        cache = str(self.project.base / "uv")
        variables = {"PIP_INDEX_URL": server, "UV_DEFAULT_INDEX": server, "UV_CACHE_DIR": cache}
        return self.as_person(command, cwd=self.project.base, **variables)


def uv() -> str:
    found = find_program("uv")
    if found is None:
        pytest.skip("uv is not here")
    return found


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest, project: Project) -> str:
    """The other installer."""
    name = str(request.param)
    if name == "uv":
        uv()
    elif subprocess.run([project.python, "-c", "import pip"], capture_output=True, check=False).returncode:
        pytest.skip("the base interpreter has no pip")
    return name


WAYS = [(who, mode) for who in ("root", "user") for mode in ("symlink", "hardlink", "copy")]
# pip takes three times as long
TRIED = [*(("uv", *way) for way in WAYS), ("pip", "user", "symlink")]


@pytest.mark.parametrize(("installer", "who", "mode"), TRIED, indirect=["installer"])
def test_nobody_else_writes_through_a_view(who: str, mode: str, installer: str, project: Project) -> None:
    """Whatever pip or uv manage to do in a view: the store is whole, a second project is as it was, sync restores."""
    if who == "root" and os.geteuid():
        pytest.skip("needs root")
    ordinary = who == "user" and os.geteuid() == 0
    if ordinary and subprocess.run([*ORDINARY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces do not work here")
    bench = Bench(project, installer, ordinary, mode)
    before = content(project.venv.resolve())
    objects, second = content(project.store / "objects"), content(bench.second.venv.resolve())
    again = "--reinstall" if installer == "uv" else "--ignore-installed"
    for words in (
        ["install", "--upgrade", "demo"],
        ["install", again, "demo==1.0"],
        ["install", again, "demo==2.0"],
        ["install", "other"],
        ["uninstall", "demo"],
        ["uninstall", "other"],
        ["install", "plain"],
    ):
        bench.other(*words)
        assert content(project.store / "objects") == objects, words
    assert content(bench.second.venv.resolve()) == second
    bench.gpuenv("store", "verify")
    assert content(project.venv.resolve()) != before
    told = bench.gpuenv("sync", *bench.mode).err
    assert "warning: .venv was changed by something else than gpuenv (" in told
    assert content(project.venv.resolve()) == before
    assert project.installed() == {"demo": "1.0"}
    assert project.inside("demo") == "demo 1.0\n"
    assert "up to date" in bench.gpuenv("sync", *bench.mode).err


def test_uninstall_and_upgrade_are_refused(installer: str, project: Project) -> None:
    """What gpuenv installed has no RECORD: neither removes it, and pip says who installed it."""
    bench = Bench(project, installer, False, "hardlink")
    refused = bench.other("uninstall", "demo")
    assert "RECORD" in refused.err or installer == "uv"
    if installer == "pip":
        assert bench.other("install", "--upgrade", "demo").rc == 1
        assert "installed by gpuenv" in refused.err
    assert project.inside("demo") == "demo 1.0\n"


def test_sync_names_what_it_takes_away_and_run_leaves_it(installer: str, project: Project) -> None:
    """`run` takes the environment with what others added; `sync` says what goes; doctor says who was there."""
    bench = Bench(project, installer, False, "copy")
    asked = len(project.server.requests)
    assert bench.other("install", "other").rc == 0
    for flags in ([], ["--verbose"]):  # by the glance, and by the app
        project.run(*flags, "run", *bench.mode, "--", "python", "-c", "import other, demo.plugin")
    assert "was changed by something else than gpuenv" in project.run("doctor", rc=1).out
    words = project.run("sync", "--dry-run", *bench.mode).err.splitlines()
    assert (words[-2:], project.installed()["other"]) == (
        ["would sync .venv to target here: 1 package", " - other==1.0"],
        "1.0",
    )
    document = project.run("sync", "--json", *bench.mode).json
    assert (document["changed"], document["fetched"]) == (True, 0)
    assert [item["name"] for item in document["removed"]] == ["other"]
    assert len(document["warnings"]) == 1
    assert project.run("sync", "--json", *bench.mode).json["warnings"] == []
    assert not (project.site / "other.py").exists()
    assert not [one for one in project.server.requests[asked:] if "demo" in one.path]


def test_another_version_is_told_as_such(project: Project) -> None:
    """Where an installer put another version in, sync tells what became of it."""
    uv()
    bench = Bench(project, "uv", False, "hardlink")
    assert bench.other("install", "demo==2.0").rc == 0
    assert " ~ demo==2.0 -> 1.0" in project.run("sync", *bench.mode).err


@pytest.mark.skipif(not BUNDLED, reason="this Python comes without pip")
def test_pip_as_a_dependency(project: Project) -> None:
    """pip in the environment itself installs others, and removes neither itself nor what gpuenv installed."""
    version = BUNDLED[0].name.split("-")[1]
    project.server.add(BUNDLED[0])
    project.offer("other")
    project.write([f"pip=={version}"])
    project.run("sync")
    before = content(project.venv.resolve())
    pip = [str(project.venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    settings = {**project.environment, "PIP_INDEX_URL": project.server.url}
    for rc, words in ((0, ["install", "other"]), (1, ["uninstall", "--yes", "pip"]), (0, ["check"])):
        done = subprocess.run([*pip, *words], env=settings, capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == rc, done.stderr
    assert project.installed() == {"pip": version, "other": "1.0"}
    project.run("store", "verify")
    project.run("sync")
    assert content(project.venv.resolve()) == before


def test_what_a_glance_cannot_see(project: Project) -> None:
    """A file lost deep in a package is not noticed by a sync that has nothing to do; `--reinstall` makes all anew."""
    project.offer("demo", files=demo("1.0"))
    project.write(["demo"])
    project.run("sync", "--link-mode", "copy")
    before, view = content(project.venv.resolve()), project.venv.readlink()
    (project.site / "demo" / "sub" / "data.txt").unlink()
    assert "up to date" in project.run("sync", "--link-mode", "copy").err
    assert project.run("sync", "--link-mode", "copy", "--reinstall").err.startswith("synced .venv")
    assert content(project.venv.resolve()) == before
    assert project.venv.readlink() == view
    assert list((project.store / "tmp").iterdir()) == []


def test_first_imports_are_no_change(project: Project) -> None:
    """Bytecode of modules at the top of site-packages does not make the next sync think that somebody was there."""
    project.offer("demo", files=demo("1.0"))
    project.write(["demo"])
    for mode in ("symlink", "hardlink", "copy"):
        project.run("sync", "--link-mode", mode)
        subprocess.run([project.venv / "bin" / "python", "-c", "import demo, demo_top"], env={}, check=True)
        assert list((project.site / "__pycache__").glob("demo_top.*.pyc"))
        assert "up to date" in project.run("sync", "--link-mode", mode).err
