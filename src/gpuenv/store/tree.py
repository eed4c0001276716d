"""The canonical form of an object's tree: its hash, its directories, and which of them a view may link whole."""

import hashlib
import posixpath
from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.stored import SITE_PACKAGES, Directory, Reach, StoredFile

__all__ = ["TreeFile", "directories_of", "reaches_of", "shallow_part", "tree_hash"]


class TreeFile(NamedTuple):
    """A file of an object. path: relative to the object. sha256: 32 bytes. origins: its `$ORIGIN` paths."""

    path: str
    size: int
    sha256: bytes
    executable: bool
    origins: tuple[str, ...] = ()


def tree_hash(files: Iterable[TreeFile]) -> str:
    """160 bits of sha256 over type, executable bit, size, content and path of every file, sorted; base 32.

    It depends on nothing else: not on where the store lies, nor on times, owners or bytecode.
    """
    digest = hashlib.sha256(b"gpuenv tree 1\n")
    for file in sorted(files):
        kind = "x" if file.executable else "f"
        digest.update(f"{kind} {file.size} {file.sha256.hex()} {file.path}\0".encode())
    return b32encode(digest.digest()[:20]).decode().lower()


def directories_of(files: Iterable[TreeFile]) -> tuple[Directory, ...]:
    """Every directory of the tree with what it holds, sorted by path."""
    found: dict[str, tuple[set[str], list[StoredFile]]] = {"": (set(), [])}
    for file in files:
        directory, _, name = file.path.rpartition("/")
        _add(found, directory)
        solid = file.executable and any(_outside(directory, path) for path in file.origins)
        found[directory][1].append(StoredFile(name, file.size, file.sha256, file.executable, solid))
    return tuple(
        Directory(path, tuple(sorted(below)), tuple(sorted(here, key=lambda file: file.name)))
        for path, (below, here) in sorted(found.items())
    )


def _add(found: dict[str, tuple[set[str], list[StoredFile]]], directory: str) -> None:
    """Enter a directory and those above it, each in the one that holds it."""
    if directory in found:
        return
    parent, _, name = directory.rpartition("/")
    _add(found, parent)
    found[parent][0].add(name)
    found[directory] = (set(), [])


def reaches_of(files: Sequence[TreeFile]) -> tuple[Reach, ...]:
    """Where ELF files look for libraries outside their own directory, once for each pair of directories."""
    held: set[str] = {""}
    for file in files:
        directory = file.path.rpartition("/")[0]
        while directory not in held:
            held.add(directory)
            directory = directory.rpartition("/")[0]
    found: set[tuple[str, str]] = set()
    for file in files:
        directory = file.path.rpartition("/")[0]
        found |= {(directory, wanted) for path in file.origins if (wanted := _outside(directory, path)) is not None}
    return tuple(
        Reach(directory, wanted, wanted in held and _scheme(directory) == _scheme(wanted))
        for directory, wanted in sorted(found)
    )


def _scheme(path: str) -> str:
    return path.partition("/")[0]


def _outside(directory: str, path: str) -> str | None:
    """The directory that `$ORIGIN/..` leads to from `directory`, None if that is in `directory` itself."""
    rest = path.removeprefix("$ORIGIN").removeprefix("${ORIGIN}").lstrip("/")
    wanted = posixpath.normpath(posixpath.join(directory, rest))
    return None if wanted == directory or wanted.startswith(f"{directory}/") else wanted


def shallow_part(directories: Sequence[Directory], reaches: Sequence[Reach], dist_info: str) -> tuple[Directory, ...]:
    """The directories that a view is likely to look into: the upper ones, and those above escaping binaries."""
    wanted = {"", SITE_PACKAGES, "scripts", "data", f"{SITE_PACKAGES}/{dist_info}"}
    for reach in reaches:
        if not reach.inside:
            wanted |= {path for path in _ancestors(reach.directory) if not reach.wanted.startswith(f"{path}/")}
    by_path: Mapping[str, Directory] = {directory.path: directory for directory in directories}
    return tuple(by_path[path] for path in sorted(wanted) if path in by_path)


def _ancestors(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
