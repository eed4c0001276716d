"""Places that an ordinary user may not write: what matters is said, what does not matter is done without."""

import subprocess
from pathlib import Path

import pytest

from tests.faults.places import as_user, run_inside
from tests.faults.stories import MODULES, offered, run
from tests.faults.support import World, damaged
from tests.support.project import snapshot

NOBODY = 0o555


START = as_user


@pytest.fixture
def world(shared: World) -> World:
    """A world whose commands may do what an ordinary user may, with wheels on its index."""
    if subprocess.run(as_user("true"), capture_output=True).returncode != 0:
        pytest.skip("namespaces are not allowed here")
    shared.restore("empty")
    offered(shared)
    return shared


@pytest.mark.parametrize("place", ["", "objects", "artifacts", "tmp", "views", "projects/*"])
def test_the_store_cannot_be_written(place: str, world: World) -> None:
    """The store or a part of it: the error names it and what helps; the environment before it works on."""
    run(world, "sync")
    before = world.works(MODULES)
    world.project.write(["alpha==2.0", "gamma"])
    run(world, "lock")
    (folder,) = world.store.glob(place) if place else [world.store]
    folder.chmod(NOBODY)
    kept = snapshot(world.store / "objects")
    done = world.run("sync", "--frozen")
    assert done.rc == 2, done.err
    assert "hint: " in done.err
    assert str(folder) in done.err
    assert world.works(MODULES) == before
    assert {path: held for path, held in snapshot(world.store / "objects").items() if path in kept} == kept
    assert damaged(world.reached()) == []
    folder.chmod(0o755)
    run(world, "sync", "--frozen")
    assert world.works(MODULES) != before


@pytest.mark.parametrize("there", [True, False])
def test_the_cache_cannot_be_written(there: bool, world: World) -> None:
    """Lock, sync and a sync with nothing to do go on without a cache, and say no more than one line about it."""
    cache = world.project.cache
    (cache if there else cache.parent).mkdir(parents=True)
    (cache if there else cache.parent).chmod(NOBODY)
    for command in (["lock"], ["sync"], ["sync"], ["lock", "--upgrade"], ["store", "verify"], ["store", "gc"]):
        done = world.run(*command)
        assert done.rc == 0, done.err
        assert done.err.count("cache") <= 1
    assert world.works(MODULES) is not None
    assert not any(cache.iterdir() if there else cache.parent.iterdir())


def test_the_project_cannot_be_written(world: World) -> None:
    """Neither lock nor `.venv` can be made: what is refused is named."""
    world.project.root.chmod(NOBODY)
    done = world.run("lock")
    assert (done.rc, "gpuenv.lock" in done.err, "hint: " in done.err) == (2, True, True), done.err
    world.project.root.chmod(0o755)
    run(world, "lock")
    world.project.root.chmod(NOBODY)
    done = world.run("sync")
    assert (done.rc, "cannot switch .venv" in done.err, "hint: " in done.err) == (2, True, True), done.err
    assert sorted(path.name for path in world.project.root.iterdir()) == ["gpuenv.lock", "pyproject.toml"]
    world.project.root.chmod(0o755)
    run(world, "sync")
    assert world.works(MODULES) is not None


def test_no_home(world: World) -> None:
    """A HOME that cannot be written is no harm where store and cache are elsewhere, and named where they are not."""
    world.project.home.chmod(NOBODY)
    done = world.run("sync")
    assert (done.rc, "hint: " in done.err) == (2, True), done.err
    assert str(world.project.home) in done.err
    elsewhere = {"GPUENV_STORE": str(world.base / "store"), "GPUENV_CACHE_DIR": str(world.base / "cache")}
    for home in (str(world.project.home), "/nonexistent", "", None):
        done = world.run("sync", env={"HOME": home, **elsewhere})
        assert done.rc == 0, done.err
    assert world.works(MODULES) is not None
    world.project.home.chmod(0o755)


def test_no_folder_for_temporary_files(world: World) -> None:
    """Nobody needs TMPDIR, not even with a cache that cannot be written."""
    world.project.cache.mkdir(parents=True)
    world.project.cache.chmod(NOBODY)
    for command in (["lock"], ["sync"]):
        done = world.run(*command, env={"TMPDIR": "/nonexistent"})
        assert done.rc == 0, done.err
    assert world.works(MODULES) is not None


def test_read_only_file_systems(tmp_path: Path) -> None:
    """Cache, store or project on a file system that is mounted read-only."""
    run_inside("readonly.py", tmp_path)
