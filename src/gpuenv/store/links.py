"""The links of views and of `artifacts/`: which lead nowhere; hard links that have to follow an exchanged object."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import staging
from gpuenv.store.tree import DEVEL

__all__ = ["Inode", "Nowhere", "artifacts", "dead_links", "follow", "inodes"]

_OBJECTS = "/objects/"


class Inode(NamedTuple):
    """A file as the file system knows it, whatever names it has."""

    device: int
    number: int


class Nowhere(NamedTuple):
    """A link to what is not there. path: relative to the folder looked into. key: of the object that it leads into."""

    path: str
    target: str
    key: str | None


def dead_links(folder: Path) -> Iterator[Nowhere]:
    """Every link below `folder` that leads nowhere; no link is followed into a directory.

    Of AMD's development tree none is meant: it leads to packages that need not be installed.
    """
    todo = [""]
    while todo:
        below = todo.pop()
        with os.scandir(f"{folder}/{below}") as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{path}/")
                elif entry.is_symlink() and _is_dead(entry) and f"/{DEVEL}" not in f"/{path}":
                    target = os.readlink(entry.path)  # noqa: PTH115
                    rest = f"/{target}".partition(_OBJECTS)[2]
                    yield Nowhere(path, target, rest.partition("/")[0] or None)


def _is_dead(link: os.DirEntry[str]) -> bool:
    """Where somebody else's directory hides what a link leads to, it is taken to be there."""
    try:
        link.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return False


def artifacts(store: Path) -> dict[str, str]:
    """The key of the object that each wheel's digest leads to, there or not."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(store / "artifacts") as entries:
        for entry in entries:
            if entry.is_symlink() and not entry.name.startswith("."):
                found[entry.name] = os.path.basename(os.readlink(entry.path))  # noqa: PTH115, PTH119
    return found


def inodes(root: Path) -> dict[Inode, str]:
    """The files of an object that have further names, by what a hard link shares with them."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{folder}/{name}")
                if status.st_nlink > 1:
                    found[Inode(status.st_dev, status.st_ino)] = os.path.relpath(f"{folder}/{name}", root)
    return found


def follow(store: Path, before: Mapping[Inode, str], root: Path) -> None:
    """Hard-link what views have linked to files from `before` to those of the object that is now at `root`.

    Each link is replaced in one step; a file that the object has no more stays.
    """
    if not before:
        return
    with contextlib.suppress(FileNotFoundError), os.scandir(store / "views") as views:
        for view in views:
            if root.name in _marker(view.path):
                with staging(store / "tmp") as directory:
                    _follow(view.path, before, root, directory / "link")


def _is_another(file: Path, status: os.stat_result) -> bool:
    """Is there a file, which is not the one with this status? One that stayed (derived objects) cannot be renamed."""
    try:
        return file.is_file() and not os.path.samestat(file.lstat(), status)
    except OSError:
        return False


def _marker(view: str) -> str:
    try:
        with open(f"{view}/gpuenv.json", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def _follow(view: str, before: Mapping[Inode, str], root: Path, new: Path) -> None:
    for folder, _, names in os.walk(view):
        for name in names:
            status = os.lstat(f"{folder}/{name}")
            path = before.get(Inode(status.st_dev, status.st_ino))
            if path is not None and _is_another(root / path, status):
                os.link(root / path, new)
                os.rename(new, f"{folder}/{name}")  # noqa: PTH104
