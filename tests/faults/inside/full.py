"""A full disk, at every stage: a clear error, the environment as before, and success once there is space."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import Disk
from tests.faults.stories import MODULES, run
from tests.faults.support import World, damaged

# Every how many blocks or inodes the disk is full; 1: at each.
STRIDE = int(os.environ.get("GPUENV_TEST_FULL", "23"))
MOST = 600


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An empty disk."""
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


def saved(disk: Disk) -> Path:
    """A copy of all that the disk holds."""
    copy = disk.path.with_name("copy")
    subprocess.run(["cp", "-a", f"{disk.path}/.", copy], check=True)
    return copy


def restored(disk: Disk, copy: Path) -> None:
    """Put the copy back on the disk."""
    disk.leave()
    for path in disk.path.iterdir():
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    subprocess.run(["cp", "-a", f"{copy}/.", disk.path], check=True)


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_the_store_is_full(what: str, disk: Disk, world: World) -> None:
    """Download, unpacking, publication, view, generation: whichever meets the end of the disk, nothing is lost."""
    world.use_store(disk.path / "store")
    run(world, "sync")
    world.project.write(["alpha==2.0", "gamma", "large"])
    world.project.offer("large", files={"large/__init__.py": "", "large/data": os.urandom(200_000)})
    run(world, "lock")
    world.save("before")
    before, copy = world.works(MODULES), saved(disk)
    failures = 0
    for left in range(0, MOST, STRIDE):
        world.restore("before")
        restored(disk, copy)
        disk.leave(**{what: left})
        done = world.run("sync", "--frozen")
        if done.rc == 0:
            break
        failures += 1
        assert done.rc == 2, done.err
        assert "No space left on device" in done.err, (left, done.err)
        assert "\nhint: " in done.err, (left, done.err)
        assert world.works(MODULES) == before, left
        assert damaged(world.reached()) == [], left
        assert world.run("store", "verify").rc == 0
        assert world.run("store", "gc").rc == 0, left
        disk.leave()
        run(world, "sync", "--frozen")
        assert world.works(MODULES) == (before or "").replace("alpha 1.0", "alpha 2.0")
        run(world, "store", "gc")
        assert world.leftovers() == [], left
    assert 3 < failures < MOST // STRIDE - 1


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_the_cache_is_full(what: str, disk: Disk, world: World) -> None:
    """A cache that cannot be written is a slower one: lock and sync go on."""
    world.project.environment["GPUENV_CACHE_DIR"] = str(disk.path / "cache")
    world.save("before")
    for left in (0, 1, 2, 3, 5, 8, 13, 21):
        world.restore("before")
        shutil.rmtree(disk.path / "cache", ignore_errors=True)
        disk.leave(**{what: left})
        done = world.run("sync")
        assert done.rc == 0, (left, done.err)
        assert world.works(MODULES) is not None
        assert "up to date" in world.run("sync").err
        disk.leave()
        run(world, "lock", "--upgrade")


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_the_project_is_full(what: str, disk: Disk, world: World) -> None:
    """What cannot be written is named, and the lock and the environment before it stay."""
    shutil.move(world.project.root, disk.path / "train")
    world.project.root = disk.path / "train"
    run(world, "sync")
    before, lock = world.works(MODULES), world.project.lock.read_bytes()
    manifest = world.project.manifest.read_text()
    disk.leave(**{what: 0})
    done = world.run("add", "alpha==2.0")
    assert done.rc == 2, done.err
    assert "No space left on device" in done.err
    assert "pyproject.toml" in done.err
    assert "\nhint: " in done.err
    disk.leave()
    world.project.write(["alpha==2.0", "gamma"])
    disk.leave(**{what: 0})
    done = world.run("sync")
    assert done.rc == 2, done.err
    assert "No space left on device" in done.err
    assert "gpuenv.lock" in done.err
    assert "\nhint: " in done.err
    assert (world.works(MODULES), world.project.lock.read_bytes()) == (before, lock)
    run(world, "store", "gc")
    assert world.leftovers() == []
    disk.leave()
    assert world.project.manifest.read_text() != manifest
    run(world, "lock")
    if what == "inodes":
        disk.leave(inodes=0)
        done = world.run("sync")
        assert done.rc == 2, done.err
        assert "cannot switch .venv" in done.err
        assert "\nhint: " in done.err
        assert world.works(MODULES) == before
        disk.leave()
    run(world, "sync")
    assert world.works(MODULES) == (before or "").replace("alpha 1.0", "alpha 2.0")
