"""The finished view, and the machine below it, as ld.so meets them: which binary a path leads to.

The kernel decides: a file is told by device and inode, so a link, a hard link, a copy and a folder that is one link
are what they are. What the binaries of the environment say is known already and not read again.
"""

import json
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence

from gpuenv.model.facts import ObjectFacts
from gpuenv.model.ldso import Binary
from gpuenv.view.preload import STARTUP

__all__ = ["FileId", "FilesOnDisk", "binary_of", "identity", "preloaded"]

FileId = tuple[int, int]


def identity(path: str) -> FileId | None:
    """Device and inode of the file that a path leads to; None where it leads to none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of them
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def preloaded(site: str) -> dict[str, tuple[str, ...]]:
    """What the start-up file of a view opens before each module, as `ViewPlan.preload`; nothing where there is none."""
    try:
        with open(f"{site}/{STARTUP}.py", encoding="utf-8") as file:  # noqa: PTH123
            table, _ = json.JSONDecoder().raw_decode(file.read().partition("NEEDS = ")[2])
    except (OSError, ValueError):
        return {}
    return {module: tuple(paths.splitlines()) for module, paths in table.items()}


def binary_of(found: ObjectFacts, where: FileId, like: ObjectFacts) -> Binary:
    """The facts of a file as what ld.so reads of it. like: a binary of the processor that it runs on: the program."""
    if (found.machine, found.bits, found.endian) != (like.machine, like.bits, like.endian):
        return Binary(where, fit="other")
    if found.type not in ("shared", "executable"):
        return Binary(where, fit="broken")
    return Binary(where, found.soname, found.needed, found.rpath, found.runpath)


class FilesOnDisk:
    """`model.ldso.Files` over the file system: each path is asked for once.

    known: binaries by device and inode. read: what a file that is not among them says of itself, None where it is no
    ELF file. cache: what ld.so.cache has, by file name. levels: folders of `glibc-hwcaps` that count, best first.
    """

    def __init__(
        self,
        known: Mapping[FileId, Binary],
        read: Callable[[str, FileId], Binary | None],
        *,
        cache: Mapping[str, str] | None = None,
        levels: Sequence[str] = (),
    ) -> None:
        self._known = known
        self._read = read
        self._cache = cache or {}
        self._levels = levels
        self._files: dict[str, Binary | None] = {}
        self._names: dict[str, Collection[str]] = {}
        self._listings: dict[FileId, Collection[str]] = {}
        self._others: dict[FileId, Binary] = {}

    def file(self, path: str) -> Binary | None:
        """What open(2) of the path gives; None where that fails, `broken` for what is no ELF file."""
        if path not in self._files:
            where = identity(path)
            self._files[path] = None if where is None else self._binary(path, where)
        return self._files[path]

    def holds(self, folder: str, name: str) -> bool:
        """Is there an entry of that name in a folder?"""
        return name in self._listing(folder)

    def subfolders(self, folder: str) -> tuple[str, ...]:
        """A folder's `glibc-hwcaps` folders that this processor may use, best first."""
        if not self._levels or "glibc-hwcaps" not in self._listing(folder):
            return ()
        there = self._listing(f"{folder}glibc-hwcaps/")
        return tuple(f"{folder}glibc-hwcaps/{level}/" for level in self._levels if level in there)

    def cached(self, name: str) -> str | None:
        """The path that ld.so.cache has for a file name."""
        return self._cache.get(name)

    def _binary(self, path: str, where: FileId) -> Binary:
        found = self._known.get(where) or self._others.get(where)
        if found is None:
            found = self._others[where] = self._read(path, where) or Binary(where, fit="broken")
        return found

    def _listing(self, folder: str) -> Collection[str]:
        found = self._names.get(folder)
        if found is None:
            found = self._names[folder] = self._listed(folder)
        return found

    def _listed(self, folder: str) -> Collection[str]:
        """Many texts lead to one folder, which is read once."""
        try:
            there = os.stat(folder)  # noqa: PTH116 - hundreds of them
        except (OSError, ValueError):
            return ()
        where = there.st_dev, there.st_ino
        if where not in self._listings:
            try:
                self._listings[where] = frozenset(os.listdir(folder))  # noqa: PTH208
            except OSError:
                self._listings[where] = ()
        return self._listings[where]
