"""A project on the real index, with one cache for all live tests of a run and a store of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PYTHON", "Project"]

PYTHON = "{}.{}".format(*sys.version_info[:2])
TIMEOUT = 240.0


@dataclass(frozen=True)
class Project:
    """A project in a folder of its own."""

    root: Path
    environ: dict[str, str]

    def gpuenv(self, *arguments: str, code: int = 0) -> str:
        """Run gpuenv here; its stdout, after the exit code was compared."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gpuenv", *arguments],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == code, f"gpuenv {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The document that a command prints with --json."""
        return json.loads(self.gpuenv(*arguments, "--json", code=code))

    def python(self, program: str) -> str:
        """What a program prints in the environment."""
        done = subprocess.run(
            [self.root / ".venv" / "bin" / "python", "-c", program],
            cwd=self.root,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def live_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index pages are fetched once a run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(tmp_path: Path, live_cache: Path) -> Callable[..., Project]:
    """Make a project: `project("rich", python="3.12", settings='…')`."""

    def make(*dependencies: str, python: str = PYTHON, settings: str = "") -> Project:
        root = tmp_path / "project"
        root.mkdir()
        manifest = (
            f'[project]\nname = "live"\nversion = "1"\ndependencies = {json.dumps(dependencies)}\n'
            f'[tool.gpuenv]\n{settings}\n[tool.gpuenv.targets.default]\npython = "{python}"\nglibc = "2.28"\n'
        )
        (root / "pyproject.toml").write_text(manifest)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
        own = {"GPUENV_STORE": str(tmp_path / "store"), "GPUENV_CACHE_DIR": str(live_cache)}
        own |= {"GPUENV_OVERRIDE_GPU": "none", "GPUENV_OVERRIDE_GLIBC": "2.28", "GPUENV_PYTHON": sys.executable}
        return Project(root, kept | own)

    return make
