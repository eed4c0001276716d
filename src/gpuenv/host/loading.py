"""Open shared libraries the way the loader does, each in a process that may die of it.

A library runs code when it is opened. So it is opened by a child, which says after each what came of it; where a
library kills the child, another one goes on behind it.
"""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["PATIENCE", "Opened", "open_libraries"]

PATIENCE = 60.0  # seconds for all libraries of one call

# Runs in the environment's own interpreter, whatever version that is. What libraries print must not get in between.
# The name of what was opened stands in the link map (dlinfo(3)).
_CHILD = """\
import ctypes, json, os, sys
asked = json.load(sys.stdin)
told = os.dup(1)
os.dup2(2, 1)
def tell(*what):
    os.write(told, json.dumps(what).encode() + b"\\n")
def place(library):
    try:
        here = ctypes.c_void_p()
        look = ctypes.CDLL(None).dlinfo
        look.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        if look(library._handle, 2, ctypes.byref(here)) or not here.value:
            return None
        name = ctypes.c_char_p.from_address(here.value + ctypes.sizeof(ctypes.c_void_p)).value
        return os.fsdecode(name) if name else None
    except (AttributeError, OSError, ValueError):
        return None
def open_one(name):
    return ctypes.CDLL(name, mode=os.RTLD_LOCAL | (os.RTLD_NOW if asked["now"] else os.RTLD_LAZY))
for name in asked["first"]:
    try:
        open_one(name)
    except OSError:
        pass
for number, name in enumerate(asked["names"]):
    tell(number)
    try:
        tell(number, place(open_one(name)), None)
    except OSError as error:
        tell(number, None, str(error))
"""


class Opened(NamedTuple):
    """What came of one library. name: as asked. path: where the loader found it. problem: why it is not open."""

    name: str
    path: str | None = None
    problem: str | None = None


def open_libraries(
    python: Path,
    names: Sequence[str],
    *,
    first: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    now: bool = True,
    patience: float = PATIENCE,
) -> tuple[Opened, ...]:
    """Open libraries one after the other in a fresh process of an interpreter, in the order of `names`.

    names: paths, or sonames that the loader searches for. first: what is opened before, whatever comes of it.
    environ: the process's variables, by default none. now: bind every symbol at once, as Python does for modules.
    Takes little longer than `patience` seconds: what was not reached by then has a problem that says so.
    """
    found: list[Opened] = []
    until = time.monotonic() + patience
    while len(found) < len(names):
        left = names[len(found) :]
        asked = json.dumps({"first": list(first), "names": list(left), "now": now})
        before = len(found)
        died = _run(python, asked, dict(environ or {}), until - time.monotonic(), left, found)
        if died is None:
            continue
        if len(found) == before and not died.begun:  # not even the first was tried
            return (*found, *(Opened(name, None, died.problem) for name in left))
        if len(found) < len(names):
            found.append(Opened(names[len(found)], None, died.problem))
        if time.monotonic() >= until:
            return (*found, *(Opened(name, None, _late(patience)) for name in names[len(found) :]))
    return tuple(found)


class _Death(NamedTuple):
    """A child that ended before it was through. begun: it had begun to open something of what was asked."""

    problem: str
    begun: bool


def _run(
    python: Path, asked: str, environ: dict[str, str], seconds: float, names: Sequence[str], found: list[Opened]
) -> _Death | None:
    """One child: adds what it told to `found`; how it died, None if it did not."""
    problem = None
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", "-c", _CHILD],
            input=asked.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            timeout=max(seconds, 0.1),
            check=False,
        )
        told = done.stdout
        if done.returncode:
            problem = f"the process that opened it died of {_name(done.returncode)}"
    except subprocess.TimeoutExpired as late:
        told, problem = late.stdout or b"", "it was not open in time"
    except OSError as error:
        return _Death(f"{python} cannot be started: {error.strerror}", begun=False)
    begun = False
    count = 0
    for line in told.splitlines():
        try:
            number, *rest = json.loads(line)
        except ValueError:
            break  # cut off
        begun = True
        if rest:
            found.append(Opened(names[number], *rest))
            count += 1
    if count == len(names):
        return None
    return _Death(problem or "the process that opened it ended", begun)


def _name(code: int) -> str:
    import signal

    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def _late(patience: float) -> str:
    return f"not opened: the time of {patience:.0f} s for all was over"
