"""What nothing needs any more: found, moved to `trash/` in one step each, deleted there.

Every step leaves a whole store: entries go before the views that they name, names of objects before the objects.
Whoever is killed between two steps has removed a little less. Links are moved as links, never followed.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import DAY, remove_tree, sweep
from gpuenv.errors import StoreError
from gpuenv.store.marks import damaged_keys, unmark

__all__ = [
    "Garbage",
    "User",
    "discard",
    "empty_trash",
    "find_garbage",
    "linked_objects",
    "space",
    "users",
]

_VIEW = re.compile(r"[0-9a-f]{32}-.+\Z")
_OBJECT = re.compile(r"[a-z2-7]{32}-.+\Z")
_ARTIFACT = re.compile(r"[0-9a-f]{64}\Z|\.[0-9a-f]+\Z")  # the second kind is left where one was being replaced
_DERIVED = re.compile(r"[0-9a-f]{64}(\.json)?\Z|\.[0-9a-f]+\Z")  # a link and its recipe
_USED = re.compile(rb"/(?:views|objects)/([0-9a-z]{32}-[^/\0\n :\"']+)")
_AREAS = ("projects", "views", "artifacts", "derived", "objects", "downloads", "locks", "tmp", "trash")


class Garbage(NamedTuple):
    """What can go, by kind. generations: folders of entries, or of whole histories. artifacts: names of objects."""

    generations: tuple[Path, ...]
    views: tuple[Path, ...]
    artifacts: tuple[Path, ...]
    objects: tuple[Path, ...]
    downloads: tuple[Path, ...]
    leftovers: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of it, in the order in which it has to go."""
        return (*self.leftovers, *self.generations, *self.views, *self.downloads, *self.artifacts, *self.objects)


class User(NamedTuple):
    """A running process that uses something of the store."""

    pid: int
    program: str


def find_garbage(root: Path, *, objects: Set[str], views: Set[str], generations: Iterable[Path], now: float) -> Garbage:
    """Everything but these objects and views, by name; generations are passed on.

    Downloads and what is in `tmp/` go if they are abandoned: untouched for a day, or their process is gone; downloads
    also if the store has what they became. What does not look like gpuenv's own stays. Raises StoreError if an area of
    the store is a link to elsewhere.
    """
    for area in _AREAS:
        if (root / area).is_symlink():
            causes = (f"{area} in it is a link, and nothing is removed behind links",)
            raise StoreError(f"cannot collect in {root}", causes=causes)
    return Garbage(
        generations=tuple(generations),
        views=tuple(path for path in _listed(root / "views", _VIEW) if path.name not in views),
        artifacts=tuple(
            path
            for path in (*_listed(root / "artifacts", _ARTIFACT), *_listed(root / "derived", _DERIVED))
            if _object_of(path.with_suffix("")) not in objects
        ),
        objects=tuple(path for path in _listed(root / "objects", _OBJECT) if path.name not in objects),
        downloads=tuple(
            path
            for path in _listed(root / "downloads")
            if now - path.lstat().st_mtime > DAY or (root / "artifacts" / path.name).is_symlink()
        ),
        leftovers=(
            *(root / "tmp" / name for name in sweep(root / "tmp", now=now, remove=False)),
            *_listed(root / "trash"),
        ),
    )


def _listed(folder: Path, pattern: re.Pattern[str] | None = None) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return []
    return [folder / name for name in names if pattern is None or pattern.match(name)]


def _object_of(artifact: Path) -> str:
    """The name of the object that the link of an artifact or of a derivation leads to."""
    try:
        return Path(os.readlink(artifact)).name if not artifact.name.startswith(".") else ""  # noqa: PTH115
    except OSError:
        return ""


def discard(root: Path, garbage: Garbage) -> Mapping[Path, Path]:
    """Take garbage out of sight, and say where each piece waits for `empty_trash`. Nobody may sync meanwhile."""
    _drop_locks(root)
    trash = root / "trash"
    trash.mkdir(exist_ok=True)
    moved = {}
    for path in garbage.paths:
        moved[path] = path if path.parent == trash else trash / secrets.token_hex(16)
        _move(path, moved[path])
        if path.parent == root / "tmp":
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    for key in damaged_keys(root):
        if not (root / "objects" / key).exists():
            unmark(root, key)
    return moved


def _drop_locks(root: Path) -> None:
    """Remove the locks of artifacts. Whoever opens one shares the lock that gc has alone, so nobody waits for it."""
    for path in _listed(root / "locks"):
        with contextlib.suppress(OSError):
            path.unlink()


def _move(path: Path, to: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path != to:
            if stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o755)  # moving a read-only directory is refused to ordinary users
            path.rename(to)


def empty_trash(root: Path) -> tuple[Path, ...]:
    """Delete what was taken out of sight, by this run or by one that was killed; what resists is returned."""
    for path in _listed(root / "trash"):
        remove_tree(path)
    return tuple(_listed(root / "trash"))


def space(paths: Iterable[Path]) -> Mapping[Path, int]:
    """Bytes on the disk that become free with each of these, if all go: files that have further names free nothing.

    A file that several of them hold counts for the last one.
    """
    found = dict.fromkeys(paths, 0)
    names: dict[tuple[int, int], int] = {}
    for path in found:
        for entry in _files(path):
            names[entry.st_dev, entry.st_ino] = count = names.get((entry.st_dev, entry.st_ino), 0) + 1
            if stat.S_ISDIR(entry.st_mode) or count == entry.st_nlink:
                found[path] += entry.st_blocks * 512
    return found


def _files(path: Path) -> Iterator[os.stat_result]:
    """The state of a path and of everything below it, without following links."""
    with contextlib.suppress(OSError):
        yield path.lstat()
        if path.is_symlink():
            return
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                yield os.lstat(f"{folder}/{name}")


def linked_objects(view: Path) -> frozenset[str]:
    """The objects that the links of a view lead to, for a view that does not say itself what it holds."""
    found = set()
    for folder, folders, names in os.walk(view):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                _, objects, rest = os.readlink(f"{folder}/{name}").partition("/objects/")  # noqa: PTH115
                if objects:
                    found.add(rest.partition("/")[0])
    return frozenset(found)


def users(proc: Path = Path("/proc")) -> Mapping[str, tuple[User, ...]]:
    """Which other processes map, execute, stand in or were started with an object or view, by its name.

    Only processes that this user may look into; names alone count, since a container may see the store elsewhere.
    """
    found: dict[str, list[User]] = {}
    own = str(os.getpid())
    for folder in (path for path in _listed(proc) if path.name.isdecimal() and path.name != own):
        for name in sorted(_used(folder)):
            found.setdefault(name, []).append(User(int(folder.name), _program(folder)))
    return {name: tuple(processes) for name, processes in found.items()}


def _used(process: Path) -> set[str]:
    texts = []
    for link in ("exe", "cwd"):
        with contextlib.suppress(OSError):
            texts.append(os.fsencode(os.readlink(process / link)) + b"/")  # noqa: PTH115
    for file in ("maps", "environ"):
        with contextlib.suppress(OSError):
            texts.append((process / file).read_bytes())
    with contextlib.suppress(OSError):  # program and script: later words may be about the store, as those of gc are
        texts += (process / "cmdline").read_bytes().split(b"\0")[:2]
    return {os.fsdecode(name) for text in texts for name in _USED.findall(text)}


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "?"
