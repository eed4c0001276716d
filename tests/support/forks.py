"""gpuenv again and again without its start: one process imports everything, and each command is a fork of that.

    forks = Forks([sys.executable, "-W", "error", "-m", "tests.support.forks"], {"LC_ALL": "C.UTF-8"})
    rc, out, err = forks.run({"arguments": ["lock"], "cwd": "/project", "env": {}, "patience": 60.0})
    forks.close()

Requests and answers are JSON, a line each, on the process's stdin and stdout. What commands print goes to two files
in memory that both sides hold.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import gpuenv

__all__ = ["Forks", "Said", "ending", "gpuenv_main", "serve"]

ROOT = Path(__file__).resolve().parents[2]


class Said(NamedTuple):
    """What a command came to: its exit code (negative: the signal), and what it printed."""

    rc: int
    out: str
    err: str


class Forks:
    """The process that forks, as others see it. command: how it is started; it gets two descriptors as arguments."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._files = [os.memfd_create(name) for name in ("out", "err")]
        self._process = subprocess.Popen(
            [*command, *map(str, self._files)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self._files,
            encoding="utf-8",
        )

    def run(self, request: Mapping[str, Any]) -> Said:
        """Fork, and wait for the end. request: what `serve` and its `be` take."""
        for file in self._files:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        rc = json.loads(self._process.stdout.readline())
        out, err = (os.pread(file, os.fstat(file).st_size, 0).decode() for file in self._files)
        return Said(rc, out, err)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        for file in self._files:
            os.close(file)


def serve(be: Callable[[Mapping[str, Any]], NoReturn]) -> None:
    """Answer until stdin ends. be: is the command, in a fork, and never returns.

    A request has `arguments`, `cwd` and `env`; `patience`: after so many seconds the command is killed with all that
    it started, None: never.
    """
    for module in pkgutil.walk_packages(gpuenv.__path__, "gpuenv."):
        if not module.name.endswith("__main__"):
            with suppress(Exception):  # the command that needs it will say why it cannot be imported
                importlib.import_module(module.name)
    _hurry()
    files = [int(argument) for argument in sys.argv[1:3]]
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0), "r")
    gc.collect()
    gc.freeze()
    for line in requests:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            _enter(request, files)
            be(request)
        os.setpgid(pid, pid)
        answers.write(json.dumps(os.waitstatus_to_exitcode(_ended(pid, request["patience"]))) + "\n")
        answers.flush()


def _hurry() -> None:
    """Nobody waits for the disk, nor for company: what has to be on the disk, and when, `tests/faults/test_order` sees.

    It looks at system calls, of processes that are started like any other.
    """
    from gpuenv.store import commit
    from gpuenv.workflow import fetch

    libc = commit._libc
    commit._libc = lambda name: (lambda _: 0) if name == "syncfs" else libc(name)  # type: ignore[assignment]
    os.fsync = lambda fd: None
    fetch._GATHERING = 0.0


def _enter(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take the streams, the folder, the environment and the arguments of a command."""
    for fd, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(stream, fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [str(Path(gpuenv.__file__).with_name("__main__.py")), *request["arguments"]]


def _ended(pid: int, patience: float | None) -> int:
    """Wait for a command; when patience is at its end, kill it with all that it started."""
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], patience)[0]:
            os.killpg(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    finally:
        os.close(watched)


def ending(command: Callable[[], object]) -> NoReturn:
    """Run a command and end this process as the interpreter would; what it returns, or exits with, is the code."""
    code: object = 1
    try:
        code = command()
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        gc.collect()  # what was not closed is told of
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def gpuenv_main() -> object:
    """What the console script does; its function cannot be had by name once the module of that name is imported."""
    from gpuenv.cli.glance import glance
    from gpuenv.cli.main import run

    code = glance(sys.argv[1:])
    return run(sys.argv[1:]) if code is None else code


def _be(_: Mapping[str, Any]) -> NoReturn:
    ending(gpuenv_main)


if __name__ == "__main__":
    serve(_be)
