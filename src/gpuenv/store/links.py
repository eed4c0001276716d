"""The links of views and of `artifacts/`: which lead nowhere; hard links that have to follow an exchanged object."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Inode", "Nowhere", "artifacts", "dead_links", "inodes", "relink"]

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
    """Every link below `folder` that leads nowhere; no link is followed into a directory."""
    todo = [""]
    while todo:
        below = todo.pop()
        with os.scandir(f"{folder}/{below}") as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{path}/")
                elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - thousands of them
                    target = os.readlink(entry.path)  # noqa: PTH115
                    rest = f"/{target}".partition(_OBJECTS)[2]
                    yield Nowhere(path, target, rest.partition("/")[0] or None)


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


def relink(view: Path, before: Mapping[Inode, str], root: Path) -> int:
    """Hard-link to the object now at `root` what is linked to its files from `before`; returns how many were."""
    changed = 0
    for folder, _, names in os.walk(view):
        for name in names:
            status = os.lstat(f"{folder}/{name}")
            path = before.get(Inode(status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
            if path is not None and (root / path).is_file():
                temporary = f"{folder}/.{secrets.token_hex(8)}"
                os.link(root / path, temporary)
                os.rename(temporary, f"{folder}/{name}")  # noqa: PTH104
                changed += 1
    return changed
