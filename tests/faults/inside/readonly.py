"""File systems that are mounted read-only, for the superuser: nothing but the mount forbids anything."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.stories import MODULES, run
from tests.faults.support import World


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder upon itself, read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_cache(world: World) -> None:
    """Everything is done without a cache."""
    with read_only(world.project.cache):
        for command in (["lock"], ["sync"], ["sync"], ["lock", "--upgrade"], ["sync"]):
            done = world.run(*command)
            assert done.rc == 0, done.err
            assert done.err.count("cache") <= 1
        assert world.works(MODULES) is not None


def test_store(world: World) -> None:
    """An environment that is there is used; another one cannot be made, and the error says why."""
    run(world, "sync")
    before = world.works(MODULES)
    with read_only(world.store):
        done = world.run("sync")
        assert (done.rc, "up to date" in done.err) == (0, True), done.err
        assert world.works(MODULES) == before
        assert world.run("store", "verify").rc == 0
        done = world.run("store", "gc")
        assert (done.rc, "hint: " in done.err) == (2, True), done.err
        done = world.run("add", "alpha==2.0")
        assert (done.rc, "read-only" in done.err.lower(), "hint: " in done.err) == (2, True, True), done.err
        assert world.works(MODULES) == before
    run(world, "sync")
    assert world.works(MODULES) != before


def test_project(world: World) -> None:
    """A lock that is there is used as far as it goes; what cannot be written is named."""
    run(world, "lock")
    with read_only(world.project.root):
        done = world.run("sync")
        assert (done.rc, "cannot switch .venv" in done.err, "hint: " in done.err) == (2, True, True), done.err
        world.project.manifest.exists()
        done = world.run("lock", "--upgrade")
        assert done.rc == 0, done.err
