"""Named points of a process at which it can be killed: before each change of the file system, and half-way in writes.

    with install(kill="rename tmp/*/object -> objects/…#1"): ...

What Python raises audit events for is counted by an audit hook. What it does not, writes and syncs and renameat2(2),
is counted by functions put in their place. A point is named by what happens and where, with random parts of names
as `*`, and by how often that happened before; so it stays the same from run to run, whichever thread comes first.
"""

import builtins
import io
import os
import re
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Points", "install"]

_CHANGES = {
    "os.chmod": "chmod",
    "os.link": "link",
    "os.mkdir": "mkdir",
    "os.remove": "unlink",
    "os.rename": "rename",
    "os.rmdir": "rmdir",
    "os.symlink": "symlink",
    "os.truncate": "truncate",
    "os.utime": "utime",
}
_TWO = {"os.link", "os.rename", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_RANDOM = re.compile(r"(?<![0-9a-z])(?:[0-9a-f]{12}|[0-9a-f]{16}|(?<=trash/)[0-9a-f]{32})(?![0-9a-z])")


class Points:
    """Counts points; dies at the one that is named, or at the one with this number. base: where paths are told from."""

    def __init__(self, base: Path, log: int | None, kill: str | int | None) -> None:
        self._base = f"{base}/"
        self._log = log
        self._kill = kill
        self._seen: dict[str, int] = {}
        self._number = 0
        self._write = os.write

    def reach(self, operation: str, *paths: object, before: Callable[[], object] | None = None) -> None:
        """A point. before: done just before the end, if this is where it comes."""
        places = [self._place(path) for path in paths]
        if not all(places):
            return
        what = f"{operation} {' -> '.join(places)}"
        self._seen[what] = count = self._seen.get(what, 0) + 1
        name = f"{what}#{count}"
        number, self._number = self._number, self._number + 1
        if self._log is not None:
            self._write(self._log, f"{name}\n".encode())
        if self._kill in (name, number):
            if before is not None:
                before()
            os.kill(os.getpid(), signal.SIGKILL)

    def _place(self, path: object) -> str:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
            except OSError:
                return ""
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        elsewhere = ("/dev/", "/proc/", "pipe:", "socket:", "anon_inode:")
        if "__pycache__" in text or (text.startswith(elsewhere) and not text.startswith(self._base)):
            return ""
        return _RANDOM.sub("*", text.replace(self._base, ""))

    # what audit events tell

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event in _CHANGES:
            self.reach(_CHANGES[event], *arguments[: 2 if event in _TWO else 1])
        elif event == "open" and not isinstance(arguments[0], int) and arguments[2] & _WRITING:
            self.reach("open", arguments[0])

    # what they do not

    def write(self, fd: int, data: bytes) -> int:
        """os.write, whose point comes when half of it is written."""
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self.reach("write", fd, before=lambda: self._write(fd, bytes(data)[: len(data) // 2]))
        return self._write(fd, data)

    def open(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
        """The built-in open; what is written comes by way of `_Torn`."""
        if not set("wxa") & set(mode) or "+" in mode or buffering not in (-1, 1):
            return _open(file, mode, buffering, *rest, **more)
        names = ("encoding", "errors", "newline", "closefd", "opener")
        options = {**dict(zip(names, rest, strict=False)), **more}
        plain = mode.replace("b", "").replace("t", "")
        raw = _Torn(self, file, plain, options.pop("closefd", True), options.pop("opener", None))
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **options)


class _Torn(io.FileIO):
    """A file whose writes are points."""

    def __init__(self, points: Points, *arguments: Any) -> None:
        self._points = points
        super().__init__(*arguments)

    def write(self, data: Any, /) -> int:
        """Write; if this is the point, half of it."""
        self._points.reach("write", self.fileno(), before=lambda: super(_Torn, self).write(data[: len(data) // 2]))
        return super().write(data)


_open = open


def install(base: Path, *, log: int | None = None, kill: str | int | None = None) -> Points:
    """Make this process, for the rest of its life, tell its points to `log`, and die at one of them."""
    from gpuenv.store import commit

    points = Points(base, log, kill)
    renameat2, sync, fsync = commit._renameat2, commit.sync_filesystem, os.fsync

    def renamed(source: Path, target: Path, flag: int) -> bool | None:
        points.reach("renameat2", source, target)
        return renameat2(source, target, flag)

    def synced(directory: Path) -> None:
        points.reach("syncfs", directory)
        sync(directory)

    def synced_file(fd: int) -> None:
        points.reach("fsync", fd)
        fsync(fd)

    commit._renameat2 = renamed
    for module in [module for name, module in sys.modules.items() if name.startswith("gpuenv.")]:
        if getattr(module, "sync_filesystem", None) is sync:  # some import it by name
            setattr(module, "sync_filesystem", synced)  # noqa: B010
    replaced: dict[Any, dict[str, Any]] = {
        os: {"fsync": synced_file, "write": points.write},
        builtins: {"open": points.open},
        io: {"open": points.open},
    }
    for module, functions in replaced.items():
        for name, function in functions.items():
            setattr(module, name, function)
    sys.addaudithook(points.hear)
    return points
