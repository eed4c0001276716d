"""A store, a project and an interpreter for views."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from gpuenv.binaries.elf import origin_paths
from gpuenv.model.interpreter import Interpreter
from gpuenv.model.stored import StoredObject
from gpuenv.store.store import Store
from gpuenv.view.plan import LinkMode, ViewPlan
from tests.support.wheels import make_wheel


class Mode(NamedTuple):
    """A way to hold files. others: by name, the link mode of single distributions. elsewhere: in another store."""

    link_mode: LinkMode
    fold: bool = False
    others: Mapping[str, LinkMode] = {}
    elsewhere: bool = False


MODES = {
    "folded": Mode(LinkMode.SYMLINK, fold=True),
    "files": Mode(LinkMode.SYMLINK),
    "hardlink": Mode(LinkMode.HARDLINK),
    "copy": Mode(LinkMode.COPY),
    "mixed": Mode(LinkMode.SYMLINK, True, {"demo": LinkMode.COPY, "tool": LinkMode.HARDLINK, "two": LinkMode.COPY}),
    "elsewhere-folded": Mode(LinkMode.SYMLINK, fold=True, elsewhere=True),
    "elsewhere-hardlink": Mode(LinkMode.HARDLINK, elsewhere=True),
}


class Bench:
    """Objects on demand, and plans for views of them. shelf: the store that holds the objects."""

    def __init__(self, root: Path, mode: Mode) -> None:
        self.store = Store(root / "store")
        self.shelf = Store(root / "base") if mode.elsewhere else self.store
        self.project = root / "my projéct"
        self.project.mkdir()
        self.venv = self.project / ".venv"
        self.wheels = root / "wheels"
        self.mode, self.fold = mode, mode.fold
        version = "{}.{}.{}".format(*sys.version_info[:3])
        base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        self.interpreter = Interpreter(base, version, False, "CPython", "PATH")

    def add(self, name: str, files: dict[str, bytes | str] | None = None, **options: object) -> StoredObject:
        """One distribution in the store."""
        make: Callable[..., Path] = make_wheel
        wheel = make(self.wheels, name, files=files, **options)
        sha256 = f"{len(list(self.wheels.iterdir())):064x}"
        return self.shelf.ingest(wheel, sha256=sha256, name=name, version="1.0", origin_paths=origin_paths)

    def plan(self, *objects: StoredObject, **options: object) -> ViewPlan:
        """A view of these."""
        make: Callable[..., ViewPlan] = ViewPlan
        defaults: dict[str, object] = {
            "store": self.store.root,
            "project": self.project,
            "venv": self.venv,
            "name": "projéct",
            "target": "gpu",
            "interpreter": self.interpreter,
            "objects": objects,
            "environment": "sha256:0",
            "link_mode": self.mode.link_mode,
            "fold": self.fold,
            "link_modes": self.mode.others,
            "elsewhere": {one.key: self.shelf.path(one) for one in objects} if self.mode.elsewhere else {},
        }
        return make(**{**defaults, **options})


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """The bench in each link mode."""
    return Bench(tmp_path, MODES[request.param])


@pytest.fixture
def folding(tmp_path: Path) -> Bench:
    """The bench where directories are linked whole."""
    return Bench(tmp_path, MODES["folded"])
