"""`gpuenv store`: what is there, what is damaged, and its repair, through the command line."""

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gpuenv.errors import StoreError
from gpuenv.model.holdings import Verified
from gpuenv.model.progress import Silent
from gpuenv.workflow.project import Project
from gpuenv.workflow.repair import repair
from gpuenv.workflow.store import verify
from tests.support.binaries import library
from tests.support.project import HERE, snapshot
from tests.support.project import Project as Made

Answer = TypeVar("Answer")

DATA = b"0123456789" * 1000


@pytest.fixture
def synced(project: Made) -> Made:
    """A project with two packages, synced."""
    project.offer("alpha", files={"alpha/__init__.py": "x = 1\n", "alpha/data.bin": DATA}, requires=["beta"])
    project.offer("beta")
    project.write(["alpha"])
    project.run("sync")
    return project


def root_of(project: Made, name: str) -> Path:
    """The object of a package."""
    (found,) = (project.store / "objects").glob(f"*-{name}-1.0")
    return found


def spoil(file: Path, data: bytes = b"spoilt" + DATA[6:]) -> None:
    """Write other bytes into a file of an object, in place."""
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(0o444)


def second(project: Made, dependencies: list[str]) -> Made:
    """Another project with the same store and index."""
    folder = project.base / "second"
    folder.mkdir()
    (folder / "train").mkdir()
    other = object.__new__(Made)
    other.__dict__.update(project.__dict__)
    other.root = folder / "train"
    other.write(dependencies)
    return other


def damage_of(project: Made, *arguments: object) -> list[dict[str, Any]]:
    """What `store verify` finds."""
    found = project.run("store", "verify", "--json", *arguments, rc=None)
    damaged: list[dict[str, Any]] = found.json["damaged"]
    assert found.rc == int(bool(damaged))
    return damaged


def test_path(project: Made) -> None:
    """The path is printed whether or not the store is there, also as JSON, and flags may stand before it."""
    assert project.run("store", "path").out == f"{project.store}\n"
    assert project.run("store", "--json", "path").json == {"path": str(project.store), "bases": []}
    assert project.run("--store", "/elsewhere", "store", "path").out == "/elsewhere\n"
    assert not project.store.exists()
    assert "missing command" in project.run("store", rc=2).err


def test_an_empty_store(project: Made) -> None:
    """A store that is not there yet holds nothing, is whole, needs no repair, and is not made."""
    assert project.run("store", "list").out == "0 objects with 0 B, 0 views, 0 generations of 0 projects\n"
    assert project.run("store", "verify").out == "0 objects with 0 B in 0 entries: all whole\n"
    assert "nothing to repair" in project.run("store", "repair").out
    assert not (project.store / "objects").exists()


def test_list(synced: Made) -> None:
    """Sizes, whose each object is, and what a project shares with others; what nobody needs is told."""
    other = second(synced, ["beta"])
    other.run("sync")
    document = synced.run("store", "list", "--json").json
    alpha, beta = document["objects"]
    assert (alpha["name"], alpha["version"], alpha["projects"]) == ("alpha", "1.0", [str(synced.root)])
    assert beta["projects"] == sorted([str(synced.root), str(other.root)])
    assert (alpha["views"], beta["views"]) == (1, 2)
    files = [file for file in root_of(synced, "alpha").rglob("*") if file.is_file() and file.suffix != ".msgpack"]
    assert alpha["size"] == sum(file.stat().st_size for file in files)
    by_name = {one["project"]: one for one in document["projects"]}
    assert by_name[str(synced.root)]["own"] == alpha["size"]
    assert by_name[str(synced.root)]["shared"] == by_name[str(other.root)]["shared"] == beta["size"]
    assert by_name[str(other.root)]["own"] == 0
    assert document["size"] == alpha["size"] + beta["size"]
    assert (document["views"], document["generations"]) == (2, 2)
    assert document["unused"] == {"objects": 0, "size": 0}
    shown = synced.run("store", "list").out.splitlines()
    assert shown[0].endswith(f"alpha 1.0  {synced.root}")
    assert shown[1].endswith("beta 1.0   2 projects")
    assert shown[2].startswith("2 objects with ")
    projects = synced.run("store", "list", "--by-project").out
    assert projects.splitlines()[1].endswith(str(synced.root))
    shutil.rmtree(next((synced.store / "projects").glob("*/root")).parent)
    shutil.rmtree(next((synced.store / "projects").glob("*/root")).parent)
    assert synced.run("store", "list", "--json").json["unused"] == {"objects": 2, "size": document["size"]}
    assert "2 objects with" in synced.run("store", "list").out.partition(";")[2]


def test_verify_names_and_marks(synced: Made) -> None:
    """Damage is named, the exit code is 1, a hint says what helps; the mark goes when the object is whole again."""
    assert damage_of(synced) == []
    file = root_of(synced, "alpha") / "site-packages/alpha/data.bin"
    spoil(file)
    key = root_of(synced, "alpha").name
    expected = {
        "object": key,
        "path": "site-packages/alpha/data.bin",
        "problem": "has other bytes than were unpacked",
        "kind": "content",
    }
    assert damage_of(synced) == [expected]
    shown = synced.run("store", "verify", rc=1)
    assert shown.out.splitlines()[:2] == [f"{key} is damaged", f"  {expected['path']} {expected['problem']}"]
    assert shown.out.endswith("1 damaged\n`gpuenv store repair` heals what can be healed\n")
    assert shown.err == ""
    assert [one.name for one in (synced.store / "damaged").iterdir()] == [key]
    assert synced.run("store", "list", "--json").json["objects"][0]["damaged"]
    assert damage_of(synced, "beta") == []
    assert damage_of(synced, key[:10]) == damage_of(synced, "alpha-1.0") == damage_of(synced, root_of(synced, "alpha"))
    error = synced.run("store", "verify", "gamma", "--json", rc=2).json["error"]
    assert (error["kind"], error["message"]) == ("usage", "the store has no object `gamma`")
    spoil(file, DATA)
    assert damage_of(synced) == []
    assert not (synced.store / "damaged").exists()


def test_sync_does_not_hand_out_known_damage(synced: Made) -> None:
    """Neither a new environment nor the present one: sync fetches what is marked again, and then has nothing to do."""
    file = synced.site / "alpha" / "data.bin"
    spoil(root_of(synced, "alpha") / "site-packages/alpha/data.bin")
    damage_of(synced)
    view = synced.venv.readlink()
    assert synced.run("sync", "--json").json["fetched"] == 1
    assert file.read_bytes() == DATA
    assert synced.venv.readlink() == view
    assert damage_of(synced) == []
    asked = len(synced.server.requests)
    assert synced.run("sync", "--json").json["changed"] is False
    assert synced.quiet_since(asked)
    spoil(root_of(synced, "alpha") / "site-packages/alpha/data.bin")
    damage_of(synced)
    other = second(synced, ["alpha"])
    other.run("lock")
    shutil.rmtree(synced.base / "offered")
    assert other.run("sync", rc=None).rc != 0
    assert not other.venv.exists()


@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_repair_fetches_and_exchanges(mode: str, synced: Made) -> None:
    """The damaged object is exchanged, views follow whatever their links are, and the environment is never without."""
    synced.run("sync", "--link-mode", mode)
    spoil(root_of(synced, "alpha") / "site-packages/alpha/data.bin")
    inode = root_of(synced, "alpha").stat().st_ino
    done = synced.run("store", "repair", "--json").json
    assert done["repaired"] == [{"what": root_of(synced, "alpha").name, "fetched": True}]
    assert (len(done["damaged"]), done["failed"]) == (1, [])
    assert root_of(synced, "alpha").stat().st_ino != inode
    assert (synced.site / "alpha" / "data.bin").read_bytes() == DATA
    assert damage_of(synced) == []
    assert list((synced.store / "tmp").iterdir()) == []
    assert "nothing to repair: 2 objects" in synced.run("store", "repair").out


def test_repair_in_place_needs_no_network(synced: Made) -> None:
    """Permissions, additions, facts and listing are healed without the wheel."""
    root = root_of(synced, "alpha")
    (root / "site-packages/alpha/data.bin").chmod(0o666)
    (root / "site-packages/alpha").chmod(0o755)
    (root / "site-packages/alpha/planted.py").write_text("import evil\n")
    root_of(synced, "beta").chmod(0o755)
    (root_of(synced, "beta") / "facts.msgpack").unlink()
    done = synced.run("--offline", "store", "repair")
    assert done.out.splitlines() == [
        f"{key.name}: repaired in place" for key in sorted((root, root_of(synced, "beta")))
    ]
    assert not (root / "site-packages/alpha/planted.py").exists()
    assert damage_of(synced) == []
    assert synced.run("sync", "--json").json["changed"] is False


def test_what_cannot_be_repaired_is_named(synced: Made) -> None:
    """Without network or index the object stays marked, the reason is told, the exit code is 1."""
    spoil(root_of(synced, "alpha") / "site-packages/alpha/data.bin")
    key = root_of(synced, "alpha").name
    offline = synced.run("--offline", "store", "repair", "--json", rc=1).json
    ((failed),) = offline["failed"]
    assert failed["what"] == key
    assert "the network is switched off" in failed["problem"]
    shutil.rmtree(synced.base / "offered")
    gone = synced.run("store", "repair", rc=1)
    assert gone.out.startswith(f"{key}: NOT REPAIRED: ")
    assert [one.name for one in (synced.store / "damaged").iterdir()] == [key]
    for home in (synced.store / "projects").iterdir():
        shutil.rmtree(home)
    assert "no generation's lock says" in synced.run("store", "repair", rc=1).out


def test_repair_from_the_cache(synced: Made) -> None:
    """A wheel in the cache serves offline, also where no generation names it; a damaged one is not believed."""
    root = root_of(synced, "alpha")
    (digest,) = (one.name for one in (synced.store / "artifacts").iterdir() if one.readlink().name == root.name)
    (wheel,) = synced.base.glob("offered/*/alpha-1.0-*.whl")
    cached = synced.cache / "wheels-v1" / f"{digest}.whl"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(wheel.read_bytes()[:-1] + b"\1")
    spoil(root / "site-packages/alpha/data.bin")
    synced.run("--offline", "store", "repair", rc=1)
    assert not cached.exists()
    shutil.copy(wheel, cached)
    for home in (synced.store / "projects").iterdir():
        shutil.rmtree(home)
    assert synced.run("--offline", "store", "repair").out == f"{root.name}: fetched again\n"
    assert damage_of(synced) == []


def test_an_object_that_is_gone(synced: Made) -> None:
    """It is named once with the views that need it, and comes back by its generation's lock, project or no project."""
    root = root_of(synced, "alpha")
    subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)
    shutil.rmtree(root)
    (found,) = damage_of(synced)
    assert (found["object"], found["kind"], found["problem"]) == (root.name, "gone", "is gone, and a view needs it")
    for link in (synced.store / "artifacts").iterdir():
        if link.readlink().name == root.name:
            link.unlink()
    shutil.move(synced.root, synced.base / "moved")
    synced.root = synced.base
    assert synced.run("store", "repair", cwd=synced.base).out == f"{root.name}: fetched again\n"
    assert damage_of(synced) == []
    synced.root = synced.base / "moved"
    assert (synced.site / "alpha" / "data.bin").read_bytes() == DATA


def test_links_that_lead_nowhere(synced: Made) -> None:
    """Artifacts that name nothing are dropped; a broken view is named with what makes it anew."""
    digest = "f" * 64
    (synced.store / "artifacts" / digest).symlink_to(f"../objects/{'a' * 32}-gamma-1.0")
    view = synced.venv.readlink()
    (view / "bin" / "python").unlink()
    (view / "bin" / "python").symlink_to("/nowhere/python")
    paths = [one["path"] for one in damage_of(synced)]
    assert f"views/{view.name}/bin/python" in paths
    assert paths[-1] == f"artifacts/{digest}"
    done = synced.run("store", "repair", "--json", rc=1).json
    assert {"what": f"artifacts/{digest}", "fetched": False} in done["repaired"]
    assert f"run `gpuenv sync` in {synced.root}" in done["failed"][0]["problem"]
    assert not (synced.store / "artifacts" / digest).is_symlink()


def test_bytecode_is_dropped(synced: Made) -> None:
    """What Python compiled goes without a word of damage, what was planted is named, and imports work after."""
    cache = root_of(synced, "alpha") / "site-packages/alpha/__pycache__"
    (cache / "ghost.cpython-311.pyc").write_bytes(b"planted")
    (cache / "numba.nbi").write_bytes(b"derived")
    found = synced.run("store", "verify", "--json", rc=1).json
    assert [one["kind"] for one in found["damaged"]] == ["bytecode"]
    assert found["bytecode"] == {"dropped": 2, "left": 0}
    assert damage_of(synced) == []
    assert not (synced.store / "damaged").exists()
    assert synced.inside("python", "-c", "import alpha; print(alpha.x)") == "1\n"


def test_binaries_are_checked_by_their_paths(project: Made) -> None:
    """Facts about where libraries look are computed again, so that an honest object with binaries is whole."""
    binary = library("libalpha.so", ["libbeta.so.1", "libc.so.6"], runpath="$ORIGIN/../beta")
    beta = library("libbeta.so.1", ["libc.so.6"])
    files = {"alpha/libalpha.so": binary, "beta/libbeta.so.1": beta}
    project.offer("alpha", files=files, tags="py3-none-manylinux_2_17_" + os.uname().machine)
    project.write(["alpha"], targets=HERE)
    project.run("sync")
    assert damage_of(project) == []


def as_reader(store: Path, question: Callable[[Path], Answer]) -> Answer:
    """What somebody gets who may read the store and no more: another user, where the tests run as the superuser."""
    folders = [store, *(folder for folder in store.iterdir() if folder.is_dir())]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(1, mp_context=context, initializer=_step_down, initargs=(store.parent,)) as pool:
            return pool.submit(question, Path(store.name)).result(timeout=60)
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)


def _step_down(folder: Path) -> None:
    os.chdir(folder)  # what lies above may be closed to others
    if os.geteuid() == 0:
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)


def _verify(store: Path) -> Verified:
    return verify(store, Silent())


def _repair(store: Path) -> str:
    try:
        repair(Project(store, store, store / "cache", {}))
    except StoreError as error:
        return error.message
    return ""


def test_a_store_that_cannot_be_written(synced: Made) -> None:
    """Whoever may only read a store may verify it; nothing in it changes, and repair says why it cannot."""
    cache = root_of(synced, "alpha") / "site-packages/alpha/__pycache__"
    (cache / "__init__.cpython-311.pyc").write_bytes(b"planted")
    cache.chmod(0o755 if os.geteuid() == 0 else 0o555)
    spoil(root_of(synced, "beta") / "site-packages/beta/__init__.py", b"spoilt")
    before = snapshot(synced.store)
    found = as_reader(synced.store, _verify)
    problems = {one.path: one.problem for one in found.damaged}
    assert problems.keys() == {
        "site-packages/alpha/__pycache__/__init__.cpython-311.pyc",
        "site-packages/beta/__init__.py",
    }
    assert problems["site-packages/beta/__init__.py"].startswith("has 6 bytes instead of")
    assert (found.writable, sum(one.left for one in found.objects)) == (False, 1)
    assert as_reader(synced.store, _repair) == "nothing was repaired"
    assert snapshot(synced.store) == before
