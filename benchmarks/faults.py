"""Injects faults by the thousand and prints what came of them; the default tests try a sample of the same.

    python benchmarks/faults.py --kills           SIGKILL at every point of every story of tests/faults/stories.py
    python benchmarks/faults.py --random 500      SIGKILL at random moments, half of them with two commands at once
    python benchmarks/faults.py --together 8      processes that sync one empty store while gc runs again and again
    python benchmarks/faults.py --full            a disk without space or inodes, at each single block and inode
    python benchmarks/faults.py --tampered uv     what uv makes of a file changed in its cache; gpuenv beside

Run it in the repository with the packages of the group `test`. A broken promise ends it with a traceback. All of it
lies in a temporary directory; --scratch chooses where.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.faults.stories import MODULES, STORIES, object_of, offered, overwrite, run  # noqa: E402
from tests.faults.support import World, damaged  # noqa: E402
from tests.support.project import Project  # noqa: E402
from tests.support.simple_server import SimpleServer  # noqa: E402

from gpuenv.archive.staging import remove_tree  # noqa: E402

VERSIONS = ("1.0", "2.0", "3.0")


@contextmanager
def folder(scratch: Path | None):
    """A temporary folder that can be removed whatever is left in it."""
    base = Path(tempfile.mkdtemp(prefix="gpuenv-faults-", dir=scratch))
    try:
        yield base
    finally:
        remove_tree(base)


def keys(found: list[str]) -> set[str]:
    """The objects that are damaged."""
    return {line.partition(":")[0] for line in found}


# --kills


def kills(scratch: Path | None) -> None:
    """Every point of every story."""
    total = Counter()
    for name in STORIES:
        begun = time.monotonic()
        with folder(scratch) as base, SimpleServer() as server:
            world = World(base, server)
            counted = killed_everywhere(name, world)
            world.close()
        total += counted
        print(f"{name:<26} {dict(counted)} {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{'all':<26} {dict(total)}")


def killed_everywhere(name: str, world: World) -> Counter[str]:
    """Kill the story's command at each of its points in turn; counts what happened."""
    prepare, command = STORIES[name]
    prepare(world)
    world.save("before")
    before, spoilt = world.works(MODULES), keys(damaged(world.reached()))
    done = world.run(*command)
    assert done.rc in (0, 1), done.err
    after, lock = world.works(MODULES), world.project.lock.read_bytes()
    counted = Counter(points=len(done.points))
    for point in done.points:
        world.restore("before")
        killed = world.run(*command, kill=point)
        counted["killed" if killed.rc < 0 else "passed another way"] += 1
        now = world.works(MODULES)
        assert now in (before, after), point
        counted["old environment" if now == before else "new environment"] += 1
        assert keys(damaged(world.reached())) <= spoilt, point
        assert world.run(*command).rc == done.rc, point
        assert (world.works(MODULES), world.project.lock.read_bytes()) == (after, lock), point
        run(world, "store", "gc", "--older-than", "0")
        assert world.leftovers() == [], point
        if name != "verify":
            assert damaged(sorted((world.store / "objects").glob("*"))) == [], point
    return counted


# --random


class Actor:
    """One project of several in a store, and what it does by chance."""

    def __init__(self, base: Path, server: SimpleServer, store: Path, seed: int) -> None:
        base.mkdir()
        self.world = World(base, server)
        self.world.use_store(store)
        offered(self.world)
        self.world.project.offer("alpha", "3.0")
        self.chance = random.Random(seed)
        self.wanted = "1.0"
        self.spans: dict[str, float] = {}
        self.done = Counter()
        run(self.world, "sync")

    def act(self) -> None:
        """Do something and be killed at a moment of it."""
        what = self.chance.choice(["sync", "sync", "rollback", "gc", "repair"])
        if what == "sync":
            self.wanted = self.chance.choice(VERSIONS)
            self.world.project.write([f"alpha=={self.wanted}", "gamma"])
        if what == "repair":
            beta = object_of(self.world, "beta")
            if self.chance.random() < 0.5:
                overwrite(beta / "site-packages/beta/inner/data.bin")
        words = {"gc": ("store", "gc", "--older-than", "0"), "repair": ("store", "repair")}.get(what, (what,))
        span = self.spans.get(what, 0.3)
        begun = time.monotonic()
        done = self.world.run(*words, after=self.chance.uniform(0, span * 1.1))
        if done.rc >= 0:
            self.spans[what] = time.monotonic() - begun
        self.done[f"{what} {'killed' if done.rc < 0 else 'ended'}"] += 1
        assert done.rc < 0 or done.rc in (0, 1, 2), done.err

    def check(self) -> None:
        """The environment works, and the next sync makes it what it should be."""
        now = self.world.works(MODULES)
        assert now is not None
        self.done["checked"] += 1
        self.world.project.write([f"alpha=={self.wanted}", "gamma"])
        run(self.world, "sync")
        assert f"alpha {self.wanted}" in (self.world.works(MODULES) or "")


def at_random(count: int, scratch: Path | None, seed: int) -> None:
    """Kill at random moments until `count` commands were killed; half of them with another command beside."""
    begun = time.monotonic()
    with folder(scratch) as base, SimpleServer() as server:
        actors = [Actor(base / f"actor{number}", server, base / "store", seed + number) for number in range(2)]
        total: Counter[str] = Counter()
        while (killed := sum(n for actor in actors for what, n in actor.done.items() if "killed" in what)) < count:
            together = actors if killed >= count // 2 else actors[:1]
            failures: list[BaseException] = []
            threads = [threading.Thread(target=_caught, args=(actor.act, failures)) for actor in together]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if failures:
                raise failures[0]
            inspect(actors, total)
        for actor in actors:
            total += actor.done
            actor.world.close()
    print(f"{count} random kills, seed {seed}: {dict(sorted(total.items()))} {time.monotonic() - begun:.0f} s")


def _caught(work, failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as problem:
        failures.append(problem)


def inspect(actors: list[Actor], total: Counter[str]) -> None:
    """Every environment works; what is damaged is only what was damaged on purpose, and can be repaired."""
    world = actors[0].world
    spoilt = {key for key in keys(damaged(world.reached())) if not key.endswith("-beta-1.0")}
    assert not spoilt, spoilt
    for actor in actors:
        actor.check()
    done = world.run("store", "repair")
    assert done.rc == 0, done.out + done.err
    assert damaged(sorted((world.store / "objects").glob("*"))) == []
    total["stores inspected"] += 1
    if total["stores inspected"] % 10 == 0:
        run(world, "store", "gc", "--older-than", "0")
        for actor in actors:
            assert actor.world.leftovers() == [], actor.world.leftovers()
        total["stores swept"] += 1


# --together


def together(count: int, scratch: Path | None) -> None:
    """Half of the processes sync one lock, the others each their own; gc runs until all are done."""
    with folder(scratch) as base, SimpleServer() as server:
        project = Project(base, server)
        shared = [f"common{number}" for number in range(6)]
        for name in shared:
            project.offer(
                name, files={f"{name}/__init__.py": '__version__ = "1.0"\n', f"{name}/data": os.urandom(2 << 20)}
            )
        roots = []
        for number in range(count):
            own = [] if number % 2 else [f"own{number}"]
            for name in own:
                project.offer(name, requires=shared)
            project.write([*shared, *own])
            project.run("lock")
            roots.append(base / f"project{number}")
            roots[-1].mkdir()
            for file in (project.manifest, project.lock):
                (roots[-1] / file.name).write_bytes(file.read_bytes())
        begun, rounds = time.monotonic(), 0
        options = {"env": project.variables(), "stderr": subprocess.PIPE, "encoding": "utf-8"}
        running = [subprocess.Popen(project.command("sync", "--frozen", "-q"), cwd=root, **options) for root in roots]
        while any(process.poll() is None for process in running):
            project.run("store", "gc", "--older-than", "0", "-q")
            rounds += 1
        for process in running:
            _, said = process.communicate()
            assert process.returncode == 0, said
        took = time.monotonic() - begun
        fetched = Counter(path.rpartition("/")[2] for path in server.paths if path.endswith(".whl"))
        assert set(fetched.values()) == {1}, fetched
        project.run("store", "verify")
        print(f"{count} processes, {len(fetched)} artifacts, each fetched once; gc ran {rounds} times; {took:.1f} s")
        remove_tree(project.store)


# --full, --tampered


def full(scratch: Path | None) -> None:
    """The tests of full disks, at every block and inode."""
    with folder(scratch) as base:
        begun = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-rP", "tests/faults/test_places.py", "--basetemp", base / "t"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "GPUENV_TEST_FULL": "1"}, check=True)
        print(f"full disks, each block and inode: {time.monotonic() - begun:.0f} s")


def tampered(uv: str, scratch: Path | None) -> None:
    """Change one file in uv's cache and one in our store after an install; install again elsewhere, and look."""
    with folder(scratch) as base, SimpleServer() as server:
        project = Project(base, server)
        project.offer("alpha")
        variables = {**project.variables(), "UV_CACHE_DIR": str(base / "uv"), "UV_NO_CONFIG": "1"}
        index = ["--default-index", server.url]
        for name in ("first", "second"):
            subprocess.run([uv, "-q", "venv", base / name], env=variables, check=True)
            install = [uv, "-q", "pip", "install", "--python", base / name / "bin/python", *index, "alpha"]
            subprocess.run(install, env=variables, check=True)
            if name == "first":
                held = [path for path in (base / "uv").rglob("alpha/__init__.py") if path.is_file()]
                for path in held:
                    path.unlink()  # the first environment may share the file
                    path.write_text('__version__ = "tampered"\n')
        question = "import alpha; print(alpha.__version__)"
        said = subprocess.check_output([base / "second/bin/python", "-I", "-c", question], encoding="utf-8").strip()
        print(f"uv, cache changed:            the next environment has {said}")
        project.write(["alpha"])
        project.run("sync")
        (module,) = (project.store / "objects").glob("*/site-packages/alpha/__init__.py")
        module.chmod(0o644)
        module.write_text('__version__ = "tampered"\n')
        found = project.run("store", "verify", rc=1)
        project.run("sync")
        said = project.inside("python", "-I", "-c", question).strip()
        print(f"gpuenv, store changed:        verify says {found.out.splitlines()[0].strip()!r}")
        print(f"gpuenv, sync after verify:    the environment has {said}")
        remove_tree(project.store)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--random", type=int, metavar="N")
    parser.add_argument("--together", type=int, metavar="N")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--tampered", metavar="UV")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path)
    asked = parser.parse_args()
    if asked.kills:
        kills(asked.scratch)
    if asked.random:
        at_random(asked.random, asked.scratch, asked.seed)
    if asked.together:
        together(asked.together, asked.scratch)
    if asked.full:
        full(asked.scratch)
    if asked.tampered:
        tampered(asked.tampered, asked.scratch)


if __name__ == "__main__":
    main()
