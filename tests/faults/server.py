"""Runs gpuenv again and again without its start: everything is imported once, each command is a fork of that.

Requests and answers are JSON, a line each, on stdin and stdout. A thousand kills take minutes so, not hours.
"""

import datetime
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Self

import gpuenv
from tests.faults.points import install


def main() -> None:
    """Answer until stdin ends."""
    for module in pkgutil.walk_packages(gpuenv.__path__, "gpuenv."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0), "r")
    for line in requests:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            _command(request)
        os.setpgid(pid, pid)
        status = _ended(pid, request["after"])
        answers.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        answers.flush()


def _ended(pid: int, after: float | None) -> int:
    """Wait for a command; after so many seconds kill it with all that it started."""
    deadline = None if after is None else time.monotonic() + after
    while deadline is not None and time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    if deadline is not None:
        os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _move_clock(seconds: float) -> None:
    """Let this process believe that it is so much later."""

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls.fromtimestamp(time.time(), tz)

    real = time.time
    if seconds:
        time.time = lambda: real() + seconds
        datetime.datetime = Moved  # type: ignore[misc]


def _command(request: dict[str, Any]) -> None:
    """Be the command."""
    code: object = 99
    folder = Path(request["folder"])
    try:
        for fd, name in ((0, os.devnull), (1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
        log = os.open(folder / "points", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["gpuenv", *request["arguments"]]
        from gpuenv.cli.glance import glance
        from gpuenv.cli.main import run
        from gpuenv.workflow import fetch

        fetch._GATHERING = 0.0  # nobody else is coming
        _move_clock(request["clock"])
        install(Path(request["base"]), log=log, kill=request["kill"])
        code = glance(request["arguments"])
        code = run(request["arguments"]) if code is None else code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
