"""SIGKILL at any point of any command that changes something: nothing half-done is seen, and nothing is lost."""

import os
import random
import signal

import pytest

from tests.faults.stories import MODULES, STORIES
from tests.faults.support import World, damaged

# How many points of each story are tried, chosen by chance; 0: all. benchmarks/faults.py tries all.
SAMPLE = int(os.environ.get("GPUENV_TEST_KILLS", "4"))


def keys(found: list[str]) -> set[str]:
    """The objects that are damaged."""
    return {line.partition(":")[0] for line in found}


@pytest.mark.parametrize("name", STORIES)
def test_killed_at_points(name: str, world: World) -> None:
    """The environment is the one before or the one after, what is visible is whole, and the same command finishes."""
    prepare, command = STORIES[name]
    prepare(world)
    world.save("before")
    before = world.works(MODULES)
    spoilt = keys(damaged(world.reached()))
    done = world.run(*command)
    assert done.rc in (0, 1), done.err
    after, lock, rc = world.works(MODULES), world.project.lock.read_bytes(), done.rc
    points = done.points
    assert len(points) > 5
    tried = points if not SAMPLE else random.Random(name).sample(points, min(SAMPLE, len(points)))  # noqa: S311
    for point in tried:
        world.restore("before")
        killed = world.run(*command, kill=point)
        if killed.rc == rc:
            continue  # threads took another turn, and the point never came
        assert killed.rc == -signal.SIGKILL, (point, killed.err)
        assert world.works(MODULES) in (before, after), point
        assert keys(damaged(world.reached())) <= spoilt, point
        again = world.run(*command)
        assert again.rc == rc, (point, again.err)
        assert world.works(MODULES) == after, point
        assert world.project.lock.read_bytes() == lock, point
        if name != "verify":
            assert damaged(sorted((world.store / "objects").glob("*"))) == [], point
        assert world.run("store", "gc", "--older-than", "0").rc == 0
        assert world.leftovers() == [], point
        assert world.works(MODULES) == after, point
