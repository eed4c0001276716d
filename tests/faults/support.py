"""A world that can be put back as it was, commands that die at a named point in it, and what must be true after."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import remove_tree
from gpuenv.binaries.elf import origin_paths
from gpuenv.store.verify import check_object
from gpuenv.view.switch import current
from tests.support.forks import Forks
from tests.support.project import Project
from tests.support.simple_server import SimpleServer

__all__ = ["Done", "World", "damaged"]


class Done(NamedTuple):
    """What a command came to: its exit code (negative: the signal), what it printed, the points it passed."""

    rc: int
    out: str
    err: str
    points: tuple[str, ...]


class World:
    """A project with its HOME, store and index, at one place, and copies of it beside.

    All commands are forks of one process, which `close` ends. start: the command line of that process, given what
    it runs; by default just that.
    """

    def __init__(self, base: Path, server: SimpleServer, start: Callable[..., list[str]] | None = None) -> None:
        (base / "now").mkdir()
        self.base = base
        self.project = Project(base / "now", server)
        self.store = self.project.store
        self._begin = start or (lambda *command: [*command])
        self._forks: Forks | None = None

    def close(self) -> None:
        """End the process that forks, and make everything removable."""
        if self._forks is not None:
            self._forks.close()
        remove_tree(self.base / "now")

    def run(
        self,
        *arguments: str,
        kill: str | None = None,
        after: float | None = None,
        clock: float = 0.0,
        env: Mapping[str, str | None] | None = None,
    ) -> Done:
        """Run `gpuenv …` in the project's folder, and kill it at this point, or after so many seconds.

        clock: how many seconds later it believes it is.
        """
        self._forks = self._forks or Forks(self._begin(sys.executable, "-m", "tests.faults.server"))
        log = self.base / "points"
        log.write_bytes(b"")
        request = {
            "arguments": arguments,
            "cwd": str(self.project.root),
            "env": self.project.variables(env),
            "base": str(self.base / "now"),
            "points": str(log),
            "kill": kill,
            "patience": after,
            "clock": clock,
        }
        done = self._forks.run(request)
        assert "Traceback" not in done.err, done.err
        return Done(*done, tuple(log.read_text("utf-8").splitlines()))

    def save(self, name: str) -> None:
        """Keep the world as it is under a name."""
        _remove(self.base / name)
        subprocess.run(["cp", "-a", self.base / "now", self.base / name], check=True)

    def restore(self, name: str) -> None:
        """Make the world what it was."""
        _remove(self.base / "now")
        subprocess.run(["cp", "-a", self.base / name, self.base / "now"], check=True)

    def use_store(self, store: Path) -> None:
        """From now on the store is there."""
        self.store = store
        self.project.environment["GPUENV_STORE"] = str(store)

    # what must be true

    def works(self, modules: Sequence[str]) -> str | None:
        """The versions that the environment's own interpreter imports, None where there is no environment at all."""
        if not os.path.lexists(self.project.venv):
            return None
        names = ", ".join(modules)
        code = f"import sys\nfor name in {list(modules)!r}: print(name, __import__(name).__version__)"
        done = subprocess.run(
            [self.project.venv / "bin" / "python", "-I", "-B", "-c", code],
            capture_output=True,
            encoding="utf-8",
            env={"PATH": "/usr/bin:/bin"},
            timeout=60,
        )
        assert done.returncode == 0, f"{names}: {done.stderr}"
        return done.stdout

    def reached(self) -> list[Path]:
        """The objects that something visible names: `artifacts/`, and the markers of views."""
        found = {Path(os.path.realpath(path)) for path in self.store.glob("artifacts/[!.]*")}
        for view in self.store.glob("views/*"):
            objects = (current(view) or {}).get("objects")
            found |= {self.store / "objects" / key for key in objects} if isinstance(objects, list) else set()
        return sorted(found)

    def leftovers(self) -> list[str]:
        """What a command leaves only if it is killed, by path."""
        found = [path for area in ("tmp", "trash", "downloads", "locks") for path in (self.store / area).glob("*")]
        found += [path for path in self.store.rglob(".*") if "/objects/" not in f"{path}"]
        known = {"pyproject.toml", "gpuenv.lock", ".venv"}
        found += [path for path in self.project.root.iterdir() if path.name not in known]
        return sorted(map(str, found))


def damaged(objects: Sequence[Path]) -> list[str]:
    """What `verify` says against these objects."""
    found = []
    for root in objects:
        checked = check_object(root, origin_paths=origin_paths, drop=False, advance=lambda _: None)
        found += [f"{root.name}: {one.path} {one.problem}" for one in checked.damaged]
    return found


def _remove(folder: Path) -> None:
    remove_tree(folder)
    if folder.exists():
        shutil.rmtree(folder)
