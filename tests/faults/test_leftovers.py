"""What killed commands leave outside the store goes with the next command that does the same."""

import os
import time

from tests.faults.stories import MODULES, offered, run
from tests.faults.support import World

DAY = 86400


def test_downloads_in_the_cache(world: World) -> None:
    """A part of a wheel that nobody continues goes after a day; one that is younger may be under way."""
    offered(world)
    world.project.offer("delta", said={"metadata": False})
    world.project.server.ranges = False
    world.project.write(["delta"])
    folder = world.project.cache / "wheels-v1"
    folder.mkdir(parents=True)
    old, young, wheel = (folder / name for name in ("0-1.new.part", "2-3.new.part", f"{'0' * 64}.whl"))
    for path in (old, young, wheel):
        path.write_bytes(b"x")
    for path in (old, wheel):
        os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
    run(world, "lock")
    assert world.project.server.count("/files/delta") > 0
    assert [path.exists() for path in (old, young, wheel)] == [False, True, True]


def test_links_and_files_beside_the_project(world: World) -> None:
    """New links of `.venv` and new locks that never took their places go with the next; what is not ours stays."""
    offered(world)
    run(world, "sync")
    root, venv = world.project.root, world.project.venv
    links = [root / f".venv-{digit * 16}" for digit in "ab"]
    for link in links:
        link.symlink_to(venv.readlink())
    foreign = [root / f".venv-{'c' * 16}", root / ".venv-old", root / ".gpuenv.lock.backup"]
    foreign[0].symlink_to("/nowhere")
    foreign[1].symlink_to(venv.readlink())
    foreign[2].write_text("mine")
    left = root / f".gpuenv.lock.{'d' * 12}"
    left.write_text("half a lo")
    world.project.write(["alpha==2.0", "gamma"])
    run(world, "sync")
    assert [path for path in (*links, left) if os.path.lexists(path)] == []
    assert [path for path in foreign if not os.path.lexists(path)] == []
    assert "alpha 2.0" in (world.works(MODULES) or "")
