"""A project that tests drive through the real command, with nothing of the machine it runs on but the interpreter.

    project.offer("numpy", "2.0")
    project.write(["numpy"])
    project.run("lock")
    assert project.run("sync").err == "…"

It has a folder, a loopback index as the default one, and a HOME of its own, which holds store and cache. The only
target of `write` is `here`, which this machine fits.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.forks import Forks
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_wheel

__all__ = ["HERE", "PATIENCE", "PLATFORM", "PYTHON", "Project", "Result", "forking", "snapshot", "target"]

PYTHON = "{}.{}".format(*sys.version_info[:2])
PLATFORM = f"linux-{os.uname().machine}"
PATIENCE = 120  # seconds after which a command hangs; no test waits that long on purpose
# What gpuenv itself reads when it is called; other variables may be read by Python or a library when it starts.
_LATE = ("CONDA_", "GPUENV_", "HOME", "LC_ALL", "NETRC", "PATH", "PIP_", "UV_", "VIRTUAL_ENV", "XDG_")
_LOCALE = "C.UTF-8"
_one_at_a_time = threading.Lock()


def target(name: str, *more: str, python: str = PYTHON) -> str:
    """The TOML of a target with this machine's platform and an old glibc; `more` are further lines."""
    lines = [f"[tool.gpuenv.targets.{name}]", f'platform = "{PLATFORM}"', f'python = "{python}"']
    return "\n".join([*lines, *([] if any("glibc" in line for line in more) else ['glibc = "2.17"']), *more]) + "\n"


HERE = target("here")


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    rc: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Project:
    """The project, its index and its HOME. base: where all of it lies."""

    def __init__(self, base: Path, server: SimpleServer) -> None:
        self.base = base
        self.server = server
        self.root = base / "train"
        self.home = base / "home"
        self.programs = base / "programs"
        for folder in (self.root, self.home, self.programs):
            folder.mkdir()
        self.python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        (self.programs / f"python{PYTHON}").symlink_to(self.python)
        self.environment: dict[str, str] = {
            "PATH": str(self.programs),
            "HOME": str(self.home),
            "LC_ALL": _LOCALE,
            "GPUENV_DEFAULT_INDEX": server.url,
            "PIP_CONFIG_FILE": os.devnull,
        }

    @property
    def manifest(self) -> Path:
        """pyproject.toml."""
        return self.root / "pyproject.toml"

    @property
    def lock(self) -> Path:
        """gpuenv.lock."""
        return self.root / "gpuenv.lock"

    @property
    def venv(self) -> Path:
        """.venv."""
        return self.root / ".venv"

    @property
    def store(self) -> Path:
        """Where objects and views are."""
        return self.home / ".local" / "share" / "gpuenv" / "store"

    @property
    def cache(self) -> Path:
        """Where index pages are."""
        return self.home / ".cache" / "gpuenv"

    @property
    def site(self) -> Path:
        """The view's site-packages."""
        return self.venv / "lib" / f"python{PYTHON}" / "site-packages"

    # what there is

    def wheel(self, name: str, version: str = "1.0", *, folder: Path | None = None, **options: Any) -> Path:
        """A wheel in a folder; options as in `make_wheel`."""
        return make_wheel(folder or self.base / "wheels", name, version, **options)

    def offer(
        self,
        name: str,
        version: str = "1.0",
        *,
        on: SimpleServer | None = None,
        said: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> str:
        """A wheel on an index, by default the project's own; said: what the index says of it. Returns its URL."""
        server = on or self.server
        folder = self.base / "offered" / server.root.rpartition(":")[2]
        return server.add(self.wheel(name, version, folder=folder, **options), **(said or {}))

    def write(self, dependencies: Iterable[str] = (), *, more: str = "", targets: str = HERE) -> None:
        """A pyproject.toml: dependencies, targets as TOML, then more TOML."""
        listed = "".join(f'  "{requirement}",\n' for requirement in dependencies)
        head = f'[project]\nname = "train"\nversion = "0.1"\ndependencies = [\n{listed}]\n'
        self.manifest.write_text(f"{head}\n{targets}\n{more}", "utf-8")

    # what is done

    def command(self, *arguments: object) -> list[str]:
        """The command line; warnings of gpuenv itself are errors."""
        return [sys.executable, "-W", "error", "-m", "gpuenv", *map(str, arguments)]

    def variables(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The whole environment of a command; None takes a variable away."""
        changed: dict[str, str | None] = {**self.environment, **(changes or {})}
        return {name: value for name, value in changed.items() if value is not None}

    def run(
        self,
        *arguments: object,
        rc: int | None = 0,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """`gpuenv …` in the project's folder; it must end with this exit code (None: any), without a traceback.

        It is a fork of a process that has imported everything, unless it has to start like any other: where a
        variable counts for Python itself, and where another thread runs one.
        """
        variables = self.variables(env)
        late = all(name.startswith(_LATE) for name in variables) and variables.get("LC_ALL") == _LOCALE
        if not late or not _one_at_a_time.acquire(blocking=False):
            return self.call(*self.command(*arguments), rc=rc, env=env, cwd=cwd)
        try:
            request = {"arguments": [*map(str, arguments)], "cwd": str(cwd or self.root), "env": variables}
            return _checked(Result(*_forks().run({**request, "patience": PATIENCE})), rc)
        finally:
            _one_at_a_time.release()

    def lines(self, *arguments: object) -> list[str]:
        """What `gpuenv …` says, on stdout alone."""
        result = self.run(*arguments)
        assert result.err == ""
        return result.out.splitlines()

    def call(
        self,
        *command: object,
        rc: int | None = 0,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """Any command line in the project's folder and environment, as a process of its own; else as `run`."""
        done = subprocess.run(
            [*map(str, command)],
            cwd=cwd or self.root,
            env=self.variables(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        return _checked(Result(done.returncode, done.stdout, done.stderr), rc)

    def start(
        self, *arguments: object, env: Mapping[str, str | None] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Begin `gpuenv …` in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=cwd or self.root,
            env=self.variables(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def inside(self, *command: object) -> str:
        """What a program of the environment prints, without activation, from another folder."""
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self.venv / "bin" / program), *arguments],
            cwd=self.base,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=True,
        ).stdout

    def installed(self) -> dict[str, str]:
        """name -> version of what the environment holds, as its own interpreter sees it."""
        question = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
        return dict(item.split("==") for item in self.inside("python", "-I", "-c", question).split())

    def quiet_since(self, requests: int) -> bool:
        """Did nobody ask the index for anything after its first `requests` requests?"""
        return len(self.server.requests) == requests


def _checked(result: Result, rc: int | None) -> Result:
    assert rc is None or result.rc == rc, f"exit code {result.rc}\n{result.out}\n{result.err}"
    assert "Traceback" not in result.err, result.err
    return result


@cache
def _forks() -> Forks:
    return Forks([sys.executable, "-W", "error", "-m", "tests.support.forks"], {"LC_ALL": _LOCALE})


@contextmanager
def forking() -> Iterator[None]:
    """While tests run: the process that `Project.run` forks, started when it is first asked, ends with this."""
    try:
        yield
    finally:
        if _forks.cache_info().currsize:
            _forks().close()
            _forks.cache_clear()


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder, with what it holds or leads to, to see whether anything changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            held = f"-> {path.readlink()}"
        else:
            held = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[path.relative_to(folder).as_posix()] = held
    return found
