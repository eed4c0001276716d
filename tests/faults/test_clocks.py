"""Clocks that are wrong, and clocks that jump: nothing breaks, and nothing young is taken for old."""

import os
import time

import pytest

from gpuenv.store.unpack import MTIME
from gpuenv.view.generations import histories
from tests.faults.stories import MODULES, offered, run
from tests.faults.support import World

YEAR = 365 * 86400.0
THEN = {"1970": -time.time(), "1979": 9 * YEAR - time.time(), "in ten years": 10 * YEAR}


def moved(world: World, number: int, seconds: float) -> None:
    """Let a generation have been made at another time."""
    (history,) = histories(world.store)
    entry = next(one for one in history.generations if one.number == number)
    os.utime(entry.folder, (entry.made + seconds, entry.made + seconds))


@pytest.mark.parametrize("when", THEN)
def test_a_wrong_clock(when: str, world: World) -> None:
    """Lock, sync, verify and gc work at any time, and files of objects have the time that they always have."""
    offered(world)
    for command in (["lock"], ["sync"], ["store", "verify"], ["store", "gc"], ["sync"]):
        done = world.run(*command, clock=THEN[when])
        assert done.rc == 0, done.err
    times = {
        int(path.stat().st_mtime) for path in (world.store / "objects").glob("*/**/*") if path.name != "__pycache__"
    }
    assert times == {MTIME}
    assert world.works(MODULES) is not None
    run(world, "sync")
    run(world, "lock", "--upgrade")
    assert world.leftovers() == [str(path) for path in sorted((world.store / "locks").iterdir())]


@pytest.mark.parametrize("back", [True, False])
def test_a_clock_that_jumped_between_two_syncs(back: bool, world: World) -> None:
    """An environment that was replaced today is not old because the clock was wrong when it was."""
    offered(world)
    run(world, "sync")
    world.project.write(["alpha==2.0", "gamma"])
    run(world, "sync")
    moved(world, 2, THEN["1970"] if back else 10 * YEAR)
    run(world, "store", "gc", "--older-than", "1h")
    run(world, "rollback", "1")
    assert "alpha 1.0" in (world.works(MODULES) or "")


@pytest.mark.parametrize("when", THEN)
def test_a_clock_that_jumps_before_gc(when: str, world: World) -> None:
    """Whatever time gc believes it is: the newest generation and the present one stay, and the environment works."""
    offered(world)
    run(world, "sync")
    world.project.write(["alpha==2.0", "gamma"])
    run(world, "sync")
    world.project.write(["alpha==1.0"])
    run(world, "sync")
    run(world, "rollback", "2")
    done = world.run("store", "gc", "--older-than", "30 days", clock=THEN[when])
    assert done.rc == 0, done.err
    assert "alpha 2.0" in (world.works(MODULES) or "")
    run(world, "rollback", "3")
    kept = [entry.number for history in histories(world.store) for entry in history.generations]
    assert kept == ([2, 3] if when == "in ten years" else [1, 2, 3])


def test_pages_that_were_kept_in_the_future(world: World) -> None:
    """What the index said while the clock was ahead is asked for again, not believed for years."""
    offered(world)
    run(world, "lock")
    assert world.run("lock", "--upgrade", clock=10 * YEAR).rc == 0
    world.project.offer("alpha", "1.0.post1")
    world.project.write(["alpha>=1.0,<2.0"])
    run(world, "lock", "--upgrade")
    assert "1.0.post1" in world.project.lock.read_text("utf-8")
