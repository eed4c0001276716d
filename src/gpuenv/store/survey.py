"""What lies in an object's directory, as the file system says it, and the digest of a file: the eyes of `verify`."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CACHE", "Found", "Survey", "digest_of", "survey"]

_CHUNK = 1 << 20
CACHE = "__pycache__"


class Found(NamedTuple):
    """One entry: its kind (`file`, `directory`, `link`, `other`), permission bits, bytes, time, where a link leads."""

    kind: str
    mode: int
    size: int
    mtime: int
    target: str = ""


class Survey(NamedTuple):
    """Everything below a directory, by path relative to it; bytecode: what lies in `__pycache__` beside modules."""

    entries: dict[str, Found]
    bytecode: tuple[str, ...]


def survey(root: Path) -> Survey:
    """Look at every entry below `root` without following a link; raises OSError where a directory cannot be read."""
    entries: dict[str, Found] = {}
    bytecode: list[str] = []
    todo = [""]
    while todo:
        directory = todo.pop()
        with os.scandir(f"{root}/{directory}" if directory else root) as listed:
            here = {f"{directory}/{entry.name}" if directory else entry.name: _found(entry) for entry in listed}
        entries |= here
        holds_modules = any(path.endswith(".py") for path in here)
        for path, found in here.items():
            if found.kind != "directory":
                continue
            if holds_modules and path.rpartition("/")[2] == CACHE:
                bytecode += (f"{path}/{name}" for name in os.listdir(f"{root}/{path}"))  # noqa: PTH208
            else:
                todo.append(path)
    return Survey(entries, tuple(bytecode))


def _found(entry: os.DirEntry[str]) -> Found:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        kind = "file"
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    else:
        kind = "link" if stat.S_ISLNK(status.st_mode) else "other"
    target = os.readlink(entry.path) if kind == "link" else ""  # noqa: PTH115 - plain strings, thousands of them
    return Found(kind, stat.S_IMODE(status.st_mode), status.st_size, int(status.st_mtime), target)


def digest_of(path: str, advance: Callable[[int], None]) -> tuple[bytes, bytes]:
    """The sha256 of a file and its first four bytes; tells `advance` how many bytes were read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = os.read(fd, _CHUNK)
        head, digest = data[:4], hashlib.sha256()
        while data:
            digest.update(data)
            advance(len(data))
            data = os.read(fd, _CHUNK)
        return digest.digest(), head
    finally:
        os.close(fd)
