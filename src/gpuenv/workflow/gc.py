"""`gpuenv store gc`: what keeps views and objects, and the removal of the rest.

A generation keeps its view, what the view holds, and every artifact that its lock names. Of each project the newest
generation stays, the one that `.venv` is, and those that were replaced less than a span ago; of a project whose folder
is gone, those that were made less than a span ago; of one that merely cannot be reached, all. Running processes keep
what they use.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import StoreError, UsageError
from gpuenv.model.history import Collected, Keeper, Kept
from gpuenv.store.gc import (
    Garbage,
    discard,
    empty_trash,
    find_garbage,
    linked_objects,
    space,
    users,
)
from gpuenv.store.guard import alone
from gpuenv.view.generations import Generation, History, histories
from gpuenv.view.switch import current, linked_view

__all__ = ["collect", "seconds", "why_kept"]

_UNITS = {"h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(\d{1,5}) ?(h|d|w|hours?|days?|weeks?)|0")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def seconds(age: str) -> int:
    """The seconds of `30 days`, `12h`, `2w` or `0`; raises UsageError."""
    found = _AGE.fullmatch(age.strip().lower())
    if found is None:
        raise UsageError(f"`{age}` is no span of time", hints=["--older-than '30 days'", "--older-than 12h"])
    return int(found[1]) * _UNITS[found[2][0]] if found[1] else 0


class _Roots(NamedTuple):
    """What is kept, by name, and by whom; which generations are not."""

    views: dict[str, list[Keeper]]
    objects: dict[str, list[Keeper]]
    generations: dict[Path, list[Keeper]]
    expired: tuple[Path, ...]


def collect(store: Path, *, older_than: int, waiting: Callable[[], None], dry_run: bool = False) -> Collected:
    """Remove what nothing keeps; a dry run only says what that is. older_than: seconds.

    Syncs wait until everything is out of sight; deletion itself stops nobody. Raises StoreError.
    """
    if not any((store / area).is_dir() for area in ("objects", "views", "projects")):
        return Collected({}, {})
    try:
        with nullcontext() if dry_run else alone(store, waiting):
            now = time.time()  # not before the wait: what was made meanwhile is not younger than nothing
            garbage = _garbage(store, _roots(store, older_than, now), now)
            places = {path: path for path in garbage.paths} if dry_run else discard(store, garbage)
        sizes = space(places.values())
        left = () if dry_run else empty_trash(store)
    except OSError as error:
        found = StoreError.refused("cannot collect everything", error, store)
        found.hints += ("run `gpuenv store gc` again",)
        raise found from error
    removed = {kind: tuple(str(path.relative_to(store)) for path in paths) for kind, paths in garbage._asdict().items()}
    freed = {kind: sum(sizes[places[path]] for path in paths) for kind, paths in garbage._asdict().items()}
    return Collected(removed, freed, tuple(path.name for path in left))


def why_kept(store: Path, path: Path, *, older_than: int) -> Kept:
    """What keeps the object, view or generation that a path of the store leads into; nobody: `gc` would remove it."""
    kind, name = _place(store, path)
    now = time.time()
    roots = _roots(store, older_than, now)
    if kind == "object":
        keepers = roots.objects.get(name, [])
    elif kind == "view":
        keepers = roots.views.get(name, [])
    elif kind == "generation":
        inside = store / "projects" / name
        keepers = [k for folder, found in roots.generations.items() if folder.is_relative_to(inside) for k in found]
    else:
        garbage = _garbage(store, roots, now)
        removed = {path.name for path in (*garbage.downloads, *garbage.leftovers)}
        keepers = [] if name in removed else [Keeper("use", because=kind)]
    return Kept(kind, name, tuple(dict.fromkeys(keepers)))


def _place(store: Path, path: Path) -> tuple[str, str]:
    """Kind and name of what a path is or leads into."""
    root = Path(os.path.realpath(store))
    found = path if os.path.lexists(path) else store / path
    if not os.path.lexists(found):
        raise UsageError(f"there is no {path}")
    real = Path(os.path.realpath(found))
    if not real.is_relative_to(root):
        hints = [f"look into the store: {store}"]
        raise UsageError(f"{path} is not in the store", causes=[f"it is {real}"] if real != path else (), hints=hints)
    area, name, *more = (*real.relative_to(root).parts, "", "")
    if not name:
        raise UsageError(f"{path} is no object, view or generation", hints=["name something in it"])
    kinds = {"objects": "object", "views": "view", "projects": "generation"}
    if area == "projects" and more[0].isdecimal():
        name = f"{name}/{more[0]}"
    return kinds.get(area, area), name


def _garbage(store: Path, roots: _Roots, now: float) -> Garbage:
    return find_garbage(
        store, objects=roots.objects.keys(), views=roots.views.keys(), generations=roots.expired, now=now
    )


def _roots(store: Path, older_than: int, now: float) -> _Roots:
    roots = _Roots({}, {}, {}, ())
    expired: list[Path] = []
    for history in histories(store):
        kept = _kept_of(history, now - older_than)
        for entry in history.generations:
            if entry.folder in kept:
                keeper = _keeper(history, entry, kept[entry.folder])
                roots.generations[entry.folder] = [keeper]
                _hold(roots, store, entry, keeper)
        gone = [entry.folder for entry in history.generations if entry.folder not in kept]
        expired += gone if kept or history.root is None else [history.folder]
        if history.root is not None and (view := linked_view(history.root / ".venv")) is not None:
            roots.views.setdefault(view.name, []).append(Keeper("link", project=str(history.root)))
    for name, processes in users().items():
        for user in processes:
            keeper = Keeper("process", pid=user.pid, program=user.program)
            roots.views.setdefault(name, []).append(keeper)
            roots.objects.setdefault(name, []).append(keeper)
    for name, keepers in roots.views.items():
        _hold_all(roots.objects, _held_by(store / "views" / name), keepers)
    return roots._replace(expired=tuple(expired))


def _kept_of(history: History, since: float) -> dict[Path, str]:
    """Which entries of a history stay, and why. since: entries in use after that instant do."""
    entries = history.generations
    reach = _reach(history)
    if reach == "unreachable":
        return {entry.folder: reach for entry in entries}
    # nothing was made before what it replaced: such a clock was wrong
    made = list(accumulate((entry.made for entry in entries), max))
    if reach == "gone":
        return {entry.folder: "recent" for entry, then in zip(entries, made, strict=True) if then > since}
    kept = {entry.folder: "recent" for entry, after in zip(entries, made[1:], strict=False) if after > since}
    kept |= {entry.folder: "newest" for entry in entries[-1:]}
    view = linked_view(history.root / ".venv") if history.root else None
    return kept | {entry.folder: "present" for entry in entries if view is not None and entry.view.name == view.name}


def _reach(history: History) -> str:
    """`here`, `gone`, or `unreachable`: is its project's folder there, and if not, does that say anything?"""
    if history.root is None:
        return "unreachable"
    try:
        history.root.stat()
    except (FileNotFoundError, NotADirectoryError):
        mounted = history.mount is None or os.path.ismount(history.mount)
        return "gone" if mounted and history.root.parent.is_dir() else "unreachable"
    except OSError:
        return "unreachable"
    return "here"


def _keeper(history: History, entry: Generation, because: str) -> Keeper:
    project = str(history.root) if history.root is not None else history.folder.name
    return Keeper("generation", project=project, number=entry.number, because=because)


def _hold(roots: _Roots, store: Path, entry: Generation, keeper: Keeper) -> None:
    """Keep what an entry names: its view, what that held when it was made, and the artifacts of its lock."""
    roots.views.setdefault(entry.view.name, []).append(keeper)
    _hold_all(roots.objects, _named(current(entry.folder) or {}), [keeper])
    for sha256 in set(_SHA256.findall(entry.lock)):
        try:
            target = os.readlink(store / "artifacts" / sha256)  # noqa: PTH115
        except OSError:
            continue
        _hold_all(roots.objects, [Path(target).name], [keeper])


def _held_by(view: Path) -> Iterable[str]:
    marker = current(view)
    return _named(marker) if marker is not None else linked_objects(view)


def _named(marker: Mapping[str, object]) -> list[str]:
    objects = marker.get("objects")
    return [str(name) for name in objects] if isinstance(objects, list) else []


def _hold_all(objects: dict[str, list[Keeper]], names: Iterable[str], keepers: Iterable[Keeper]) -> None:
    for name in names:
        objects.setdefault(name, []).extend(keepers)
