"""What commands are killed in: each story prepares a world and names the command, and what must come of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gpuenv.store.marks import mark
from tests.faults.support import World
from tests.support.programs import find_program
from tests.support.project import PLATFORM

__all__ = ["MODULES", "STORIES", "Story", "object_of", "offered", "overwrite"]

MODULES = ("alpha", "beta", "gamma")


class Story(NamedTuple):
    """prepare: bring a fresh world there. command: what is killed, and run again after."""

    prepare: Callable[[World], None]
    command: tuple[str, ...]


def offered(world: World) -> None:
    """An index with two versions of a small wheel, one with a command and data, and one that needs it."""
    project = world.project
    for version in ("1.0", "2.0"):
        project.offer("alpha", version)
    files = {
        "beta/__init__.py": '__version__ = "1.0"\n',
        "beta/inner/data.bin": b"\1" * 30_000,
        "beta-1.0.data/scripts/tool": "#!python\nprint('tool')\n",
        "beta-1.0.data/data/share/beta/info": "info\n",
    }
    project.offer("beta", files=files, entry_points={"beta": "beta:main"})
    project.offer("gamma", requires=["beta"])
    project.write(["alpha==1.0", "gamma"])


def run(world: World, *command: str) -> None:
    """Run a command that has to succeed."""
    done = world.run(*command)
    assert done.rc == 0, done.err


def object_of(world: World, name: str) -> Path:
    """The object of a distribution that the store has once."""
    (found,) = world.store.glob(f"objects/*-{name}-*")
    return found


def overwrite(path: Path) -> None:
    """Change a file's first byte in place, as a careless superuser or a bad disk would."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    path.chmod(mode)


def _locked(world: World) -> None:
    offered(world)
    run(world, "lock")


def _synced(world: World) -> None:
    _locked(world)
    run(world, "sync")


def _changed(world: World) -> None:
    """The environment is that of alpha 1.0, the lock that of 2.0."""
    _synced(world)
    world.project.write(["alpha==2.0", "gamma"])
    run(world, "lock")


def _edited(world: World) -> None:
    _synced(world)
    world.project.write(["alpha==2.0", "gamma"])


def _commented(world: World) -> None:
    """The same environment is asked for in other words."""
    _synced(world)
    with world.project.manifest.open("a") as file:
        file.write("# nothing new\n")


def _twice(world: World) -> None:
    _edited(world)
    run(world, "sync")


def _spoilt(world: World) -> None:
    """The environment works, but one of its objects is known to be damaged."""
    _synced(world)
    beta = object_of(world, "beta")
    overwrite(beta / "site-packages/beta/inner/data.bin")
    mark(world.store, beta.name)


def _ailing(world: World) -> None:
    """One object has to be fetched again, one can be healed in place."""
    _synced(world)
    overwrite(object_of(world, "beta") / "site-packages/beta/inner/data.bin")
    alpha = object_of(world, "alpha")
    alpha.chmod(0o755)
    (alpha / "added").write_text("added")
    (alpha / "facts.msgpack").unlink()


def _bound(world: World) -> None:
    """Objects have to be derived: a program and a library find others by nothing but a search path."""
    from tests.functional.test_derived import BOUND, offer  # compiles them

    offered(world)
    offer(world.project)
    world.project.write(["alpha==1.0", "gamma", "tool"], more=BOUND)
    run(world, "lock")


def _littered(world: World) -> None:
    """Two generations, of which one can go, and what a killed sync leaves."""
    _twice(world)
    (world.store / "tmp" / "0123456789abcdef").mkdir()
    (world.store / "tmp" / "0123456789abcdef" / "file").write_text("x")
    (world.store / "tmp" / "0123456789abcdef.lock").touch()


STORIES = {
    "lock": Story(offered, ("lock",)),
    "first sync": Story(_locked, ("sync", "--frozen")),
    "second sync": Story(_changed, ("sync", "--frozen")),
    "lock and sync": Story(_edited, ("sync",)),
    "sync of a damaged object": Story(_spoilt, ("sync",)),
    "sync of the same": Story(_commented, ("sync",)),
    "add": Story(_synced, ("add", "alpha==2.0")),
    "rollback": Story(_twice, ("rollback", "1")),
    "verify": Story(_ailing, ("store", "verify")),
    "repair": Story(_ailing, ("store", "repair")),
    "gc": Story(_littered, ("store", "gc", "--older-than", "0")),
}
if shutil.which("gcc") and find_program("patchelf") and PLATFORM == "linux-x86_64":
    STORIES["sync that derives"] = Story(_bound, ("sync", "--frozen"))
