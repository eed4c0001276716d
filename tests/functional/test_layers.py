"""Read-only stores below a user's own, and a store with one writer and many readers."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gpuenv.errors import StoreError
from gpuenv.store.access import as_the_store_is, refuse_unwritable
from tests.support.compiled import module_and_library, needs_compiler, needs_headers
from tests.support.programs import needs_patchelf
from tests.support.project import PATIENCE, PYTHON, Project, Result
from tests.support.simple_server import SimpleServer

SOURCE = Path(__file__).resolve().parents[2] / "src"
STRANGER = 12345


def another(project: Project, name: str, dependencies: list[str]) -> Project:
    """A second project of another user of the same machine: with a store and a cache of its own."""
    other = object.__new__(Project)
    other.__dict__.update(project.__dict__)
    other.home, other.root = project.base / f"home of {name}", project.base / name
    other.environment = {**project.environment, "HOME": str(other.home)}
    other.home.mkdir()
    other.root.mkdir()
    other.write(dependencies)
    return other


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder: what a write of any kind would change."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns)
    return found


def keys(store: Path) -> set[str]:
    """The distributions of which a store has objects."""
    objects = store / "objects"
    return {path.name.partition("-")[2] for path in objects.iterdir()} if objects.exists() else set()


def wheels_fetched(project: Project) -> int:
    """How often the index was asked for a wheel."""
    return sum(one.path.endswith(".whl") for one in project.server.requests)


@pytest.fixture
def base(project: Project) -> Path:
    """The store of somebody who synced `alpha` and `beta`."""
    project.offer("alpha", requires=["beta"], entry_points={"alpha": "alpha:main"}, files={
        "alpha/__init__.py": "def main():\n    import beta\n    print('alpha', beta.__version__)\n",
        "alpha/data.txt": "x",
    })  # fmt: skip
    project.offer("beta")
    project.offer("gamma")
    project.write(["alpha"])
    project.run("sync")
    return project.store


@pytest.mark.parametrize("mode", [None, "symlink", "hardlink", "copy"])
def test_objects_of_a_base_serve(project: Project, base: Path, mode: str | None) -> None:
    """What a base has is neither fetched nor copied; the rest goes to the own store; nothing in the base changes."""
    user = another(project, "user", ["alpha", "gamma"])
    user.environment["GPUENV_BASE_STORES"] = str(base)
    before, fetched = state(base), wheels_fetched(project)
    said = user.run("sync", *(["--link-mode", mode] if mode else [])).err
    assert "3 packages, 1 fetched" in said
    assert wheels_fetched(project) == fetched + 1
    assert keys(user.store) == {"gamma-1.0"}
    assert user.inside("alpha") == "alpha 1.0\n"
    assert user.run("sync", *(["--link-mode", mode] if mode else [])).err.count("\n") == 1
    assert user.run("store", "verify").rc == 0
    assert user.run("store", "gc", "--older-than", "0").err == "nothing to remove\n"
    assert "2 of them in base stores" in user.run("doctor", rc=None).out
    assert user.run("why", "beta").rc == 0
    if mode != "hardlink":  # who asks for hard links gets them: their number is all that changes there
        assert state(base) == before
    assert user.inside("alpha") == "alpha 1.0\n"


def test_what_is_told_of_bases(project: Project, base: Path) -> None:
    """`store path` has the bases, `store list` what views take from them; `store list` of the base knows no user."""
    user = another(project, "user", ["alpha"])
    user.environment["GPUENV_BASE_STORES"] = f"{base}{os.pathsep}{project.base}/nothing"
    shown = user.run("store", "path")
    assert (shown.out, shown.err.splitlines()) == (
        f"{user.store}\n",
        [f"above the base store {base}", f"above the base store {project.base}/nothing"],
    )
    document = user.run("store", "path", "--json").json
    assert document == {"path": str(user.store), "bases": [str(base), f"{project.base}/nothing"]}
    assert user.run("sync").err.splitlines()[0] == f"warning: the base store {project.base}/nothing is not there"
    (below,) = user.run("store", "list", "--json").json["bases"]
    assert (below["path"], below["objects"], below["gone"]) == (str(base), 2, [])
    assert user.run("store", "list").out.splitlines()[-1].endswith(f"from the base store {base}")
    assert f"base store {project.base}/nothing  is not there: passed over" in user.run("doctor", rc=None).out
    user.environment.pop("GPUENV_BASE_STORES")
    user.environment["GPUENV_STORE"] = str(base)
    assert user.run("store", "list", "--json").json["bases"] == []


def test_the_nearest_whole_object_serves(project: Project, base: Path) -> None:
    """The own store comes first, then bases in their order; who has a mark of damage on an object is passed over."""
    other = another(project, "other", ["alpha"])
    other.run("sync")
    user = another(project, "user", ["alpha"])
    user.environment["GPUENV_BASE_STORES"] = f"{base}{os.pathsep}{other.store}"
    user.run("sync")
    assert str(base) in os.path.realpath(user.site / "alpha" / "__init__.py")
    (damaged,) = (path.name for path in (base / "objects").glob("*-alpha-1.0"))
    (base / "damaged").mkdir()
    (base / "damaged" / damaged).touch()
    said = user.run("sync").err
    assert f"warning: the base store {base} lost alpha-1.0, which .venv had from there" in said
    assert str(other.store) in os.path.realpath(user.site / "alpha" / "__init__.py")
    assert str(base) in os.path.realpath(user.site / "beta" / "__init__.py")
    assert keys(user.store) == set()
    user.environment["GPUENV_BASE_STORES"] = str(base)
    user.run("sync")
    assert keys(user.store) == {"alpha-1.0"}
    user.environment.pop("GPUENV_BASE_STORES")
    user.run("sync")
    assert keys(user.store) == {"alpha-1.0", "beta-1.0"}
    assert user.inside("alpha") == "alpha 1.0\n"


def test_a_store_is_no_base_of_itself(project: Project, base: Path) -> None:
    """The own store among the bases changes nothing: one setting serves the writer of the base, too."""
    link = project.base / "link"
    link.symlink_to(base)
    variables = {"GPUENV_BASE_STORES": f"{base}{os.pathsep}{link}{os.pathsep}"}
    assert project.run("store", "path", "--json", env=variables).json["bases"] == []
    assert project.run("sync", env=variables).err.startswith(".venv is up to date")


@pytest.mark.parametrize("how", ["gone", "unreadable", "another format", "a file", "empty"])
def test_a_base_that_does_not_serve_is_passed_over(project: Project, base: Path, how: str) -> None:
    """A base that is missing, unreadable, empty or of another version costs one warning; everything is fetched."""
    user = another(project, "user", ["alpha"])
    place = project.base / "base"
    if how == "unreadable":
        place.mkdir()
        (place / "artifacts").symlink_to("artifacts")  # a loop is unreadable to root as well
    elif how == "another format":
        shutil.copytree(base, place, symlinks=True)
        for facts in place.glob("objects/*/facts.msgpack"):
            facts.chmod(0o644)
            facts.write_bytes(b"\x91\xcd\x03\xe7")
    elif how == "a file":
        place.touch()
    elif how == "empty":
        place.mkdir()
    said = user.run("sync", env={"GPUENV_BASE_STORES": str(place)}).err
    assert said.count("warning") == 1
    assert said.startswith(f"warning: the base store {place} ")
    assert "2 packages, 2 fetched" in said
    assert user.inside("alpha") == "alpha 1.0\n"


def test_a_base_that_loses_an_object(project: Project, base: Path) -> None:
    """doctor, verify and list name what a base lost; the next sync fetches it into the own store, offline or not."""
    user = another(project, "user", ["alpha"])
    user.environment["GPUENV_BASE_STORES"] = str(base)
    user.run("sync")
    (lost,) = (base / "objects").glob("*-beta-1.0")
    lost.rename(project.base / "away")
    page = " ".join(user.run("doctor", rc=1).out.split())
    assert f"NOT MET beta 1.0 the base store {base} lost it: run `gpuenv sync`" in page
    assert f"is gone from the base store {base}" in user.run("store", "verify", rc=1).out
    assert f"run `gpuenv sync` in {user.root}" in user.run("store", "repair", rc=1).out
    assert "which lost beta-1.0" in user.run("store", "list").out
    said = user.run("sync").err.splitlines()
    assert said[0] == f"warning: the base store {base} lost beta-1.0, which .venv had from there"
    assert keys(user.store) == {"beta-1.0"}
    assert user.inside("alpha") == "alpha 1.0\n"
    assert user.run("sync").err.startswith(".venv is up to date")
    assert user.run("store", "verify").rc == 0


def test_rollback_above_a_base(project: Project, base: Path) -> None:
    """A generation whose view is gone is made again of what the base has."""
    user = another(project, "user", ["alpha"])
    user.environment["GPUENV_BASE_STORES"] = str(base)
    user.run("sync")
    view = user.venv.readlink()
    user.write(["alpha", "gamma"])
    user.run("sync")
    shutil.rmtree(view)
    user.run("rollback")
    assert user.inside("alpha") == "alpha 1.0\n"
    assert keys(user.store) == {"gamma-1.0"}


def test_gc_of_a_base_keeps_what_is_synced_there(project: Project, base: Path) -> None:
    """A project synced in the base keeps its objects there, for all above; what nothing there names goes."""
    project.run("add", "-q", "gamma")
    project.run("remove", "-q", "gamma")
    user = another(project, "user", ["alpha"])
    user.environment["GPUENV_BASE_STORES"] = str(base)
    user.run("sync")
    project.run("store", "gc", "--older-than", "0")
    assert keys(base) == {"alpha-1.0", "beta-1.0"}
    assert user.inside("alpha") == "alpha 1.0\n"


@needs_compiler
@needs_headers
@needs_patchelf
def test_derived_objects_above_a_base(project: Project) -> None:
    """What was derived in a base serves as it is; what is derived above it shares nothing with it that could change."""
    core, library = module_and_library(42)
    tags = f"py3-none-manylinux2014_{os.uname().machine}"
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=tags)
    project.offer("dep", files={"dep_libs/libdep.so.1": library}, tags=tags)
    bound = '[tool.gpuenv]\nscan = "all"\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    derived = f'{bound}[tool.gpuenv.packages.consumer]\nbind = "runpath"\n'
    project.environment["PATH"] += f"{os.pathsep}{os.environ['PATH']}"
    project.write(["consumer"], more=bound)
    project.run("sync")
    question = ("python", "-c", "from consumer.core import get; print(get())")
    for name, expected in (("first", {"consumer-1.0"}), ("second", set())):
        user = another(project, name, [])
        user.write(["consumer"], more=derived)
        user.environment["GPUENV_BASE_STORES"] = str(project.store)
        before = state(project.store)
        user.run("sync")
        assert user.inside(*question) == "42\n"
        assert keys(user.store) == expected
        assert user.run("store", "verify").rc == 0
        assert state(project.store) == before
        project.write(["consumer"], more=derived)
        project.run("sync")


# one writer, many readers


class Shared:
    """A project and a store that everybody may read, and a user who owns nothing of it."""

    def __init__(self, folder: Path, server: SimpleServer) -> None:
        self.project = Project(folder, server)
        (self.project.programs / f"python{PYTHON}").unlink()
        (self.project.programs / f"python{PYTHON}").symlink_to(_system_python())
        self.home = folder / "stranger"
        self.home.mkdir()
        os.chown(self.home, STRANGER, STRANGER)

    def stranger(self, *arguments: object, rc: int = 0, env: Mapping[str, str] | None = None) -> Result:
        """Run `gpuenv …` in the project's folder as the other user."""
        done = self.run_as_stranger(
            [str(_system_python()), "-m", "gpuenv", *map(str, arguments)],
            {**self.project.environment, "HOME": str(self.home), "PYTHONPATH": _importable(), **(env or {})},
        )
        assert done.returncode == rc, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def run_as_stranger(self, command: list[str], environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run any command in the project's folder as the other user."""
        return subprocess.run(
            command,
            cwd=self.project.root,
            env={"PYTHONDONTWRITEBYTECODE": "1", **environ},
            user=STRANGER,
            group=STRANGER,
            extra_groups=[],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )


def _system_python() -> Path:
    return Path(f"/usr/bin/python{PYTHON}")


def _importable() -> str:
    """Where the system's interpreter finds gpuenv and what it needs: as this one does."""
    return os.pathsep.join([str(SOURCE), *(entry for entry in sys.path if entry.endswith("site-packages"))])


@pytest.fixture
def shared(server: SimpleServer) -> Iterator[Shared]:
    """Only root can be two users; the other one must be able to run gpuenv."""
    if os.geteuid() != 0 or not _system_python().exists():
        pytest.skip("needs root, and the system's interpreter")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        made = Shared(Path(folder), server)
        probe = made.run_as_stranger(
            [str(_system_python()), "-c", "import gpuenv.cli.main"], {"PYTHONPATH": _importable()}
        )
        if probe.returncode:
            pytest.skip("another user cannot read gpuenv here")
        server_project = made.project
        server_project.offer("alpha", files={"alpha/__init__.py": "def main():\n    print(42)\n"},
                             entry_points={"alpha": "alpha:main"})  # fmt: skip
        server_project.offer("beta")
        server_project.write(["alpha"])
        yield made


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_readers_of_a_store(shared: Shared, umask: int) -> None:
    """Whoever may only read a store and a project in it runs, syncs and looks at it all, and writes nothing there.

    The store's folder says for whom it is: a writer's umask hides nothing in a store that is open.
    """
    store = shared.project.store
    store.mkdir(parents=True)
    before = os.umask(umask)
    try:
        shared.project.run("sync", env={"GPUENV_STORE": str(store)})
    finally:
        os.umask(before)
    shared.project.lock.chmod(0o644)
    variables = {"GPUENV_STORE": str(store)}
    seen = state(shared.project.base / "train") | state(store)
    assert shared.stranger("run", "alpha", env=variables).out == "42\n"
    assert shared.stranger("sync", env=variables).err.startswith(".venv is up to date")
    assert shared.stranger("sync", "--locked", env=variables).err.startswith(".venv is up to date")
    shared.stranger("doctor", env=variables)
    assert "alpha 1.0" in shared.stranger("store", "list", env=variables).out
    assert "all whole" in shared.stranger("store", "verify", env=variables).out
    shared.stranger("why", "alpha", env=variables)
    shared.stranger("generations", env=variables)
    assert state(shared.project.base / "train") | state(store) == seen


def test_a_reader_who_wants_more(shared: Shared) -> None:
    """A reader who would have to write is told whose store it is and how to lay one above it; that works."""
    store = shared.project.store
    shared.project.run("sync")
    own = shared.home / "project"
    shutil.copytree(shared.project.root, own, ignore=shutil.ignore_patterns(".venv"))
    for path in [own, *own.iterdir()]:
        os.chown(path, STRANGER, STRANGER)
    seen = state(store)
    said = shared.stranger("--project", own, "sync", rc=2, env={"GPUENV_STORE": str(store)}).err
    assert said.splitlines() == [
        f"error: the store {store} cannot be written",
        "  cause: it belongs to the user root, and its permissions are 0755",
        f"hint: export GPUENV_BASE_STORES={store}, and unset GPUENV_STORE: a store of your own above this one",
    ]
    shared.stranger("--project", own, "add", "beta", env={"GPUENV_BASE_STORES": str(store)})
    done = shared.run_as_stranger([str(own / ".venv/bin/alpha")], {"PATH": "/usr/bin:/bin"})
    assert (done.stdout, done.stderr) == ("42\n", "")
    assert keys(shared.home / ".local/share/gpuenv/store") == {"beta-1.0"}
    assert state(store) == seen


def test_a_group_shares_a_store(shared: Shared) -> None:
    """In a folder with the setgid bit that a group may write, members of the group add objects beside each other's."""
    store = shared.project.base / "group"
    store.mkdir()
    os.chown(store, 0, STRANGER)
    store.chmod(0o2775)
    variables = {"GPUENV_STORE": str(store)}
    shared.project.run("sync", env=variables)
    own = shared.home / "project"
    shutil.copytree(shared.project.root, own, ignore=shutil.ignore_patterns(".venv"))
    for path in [own, *own.iterdir()]:
        os.chown(path, STRANGER, STRANGER)
    said = shared.stranger("--project", own, "add", "beta", env=variables).err
    assert "1 fetched" in said
    shared.project.run("add", "beta", env=variables)
    assert keys(store) == {"alpha-1.0", "beta-1.0"}


def test_permissions_follow_the_stores_folder(tmp_path: Path) -> None:
    """What is made in a store has its folder's permissions, whatever the umask; others never get to write."""

    def made(mode: int, umask: int) -> int:
        root = tmp_path / f"{mode:o}-{umask:o}"
        root.mkdir()
        root.chmod(mode)
        before = os.umask(umask)
        try:
            with as_the_store_is(root):
                (root / "made").mkdir()
        finally:
            assert os.umask(before) == umask
        return (root / "made").stat().st_mode & 0o777

    assert [made(0o755, 0o077), made(0o700, 0o022), made(0o775, 0o022), made(0o777, 0)] == [0o755, 0o700, 0o775, 0o775]
    with as_the_store_is(tmp_path / "nowhere"):
        pass


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no store and none can be made, the cause is told, and no base is proposed."""
    access: Callable[..., bool] = lambda *_, **__: False  # noqa: E731
    monkeypatch.setattr(os, "access", access)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        refuse_unwritable(tmp_path / "none" / "store")
    assert "No such file" in caught.value.causes[0]
    assert "GPUENV_BASE_STORES" not in caught.value.hints[0]
