"""tree: the locked graph of each target, from the project down or from packages up. It solves and fetches nothing."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from gpuenv.errors import NotLocked, UsageError
from gpuenv.model.lock import PROJECT, LockedTarget
from gpuenv.model.locked_tree import LockedTree, tree_above, tree_below
from gpuenv.workflow.locked import asked_key, read_lock, stale_warnings, targets_of
from gpuenv.workflow.project import Project

__all__ = ["Trees", "tree"]


class Trees(NamedTuple):
    """What was asked for, by target. project: its name."""

    project: str
    targets: Mapping[str, LockedTree]
    warnings: tuple[str, ...]


def tree(
    project: Project,
    parts: Sequence[str],
    packages: Sequence[str],
    *,
    target: str | None = None,
    inverted: bool = False,
) -> Trees:
    """The trees below parts of the project, or of packages there: `numpy`, `fastapi[standard]`.

    parts: as `sync.roots_of` has them. inverted: who needs the packages. Raises StaleLock where there is no lock,
    UsageError for a target that it does not have, NotLocked for a package that no target has.
    """
    if inverted and not packages:
        raise UsageError("--invert is about packages", hints=["gpuenv tree --invert PACKAGE"])
    lock = read_lock(project)
    chosen = targets_of(lock, target)
    keys = [asked_key(text) for text in packages]
    of = tree_above if inverted else tree_below
    trees = {name: of(locked, lock.artifacts, parts, keys) for name, locked in chosen.items()}
    for key in keys:
        if all(key in found.absent for found in trees.values()):
            raise _not_there(key, chosen, parts, target)
    return Trees(project.manifest.name, trees, stale_warnings(project, lock))


def _not_there(key: str, chosen: Mapping[str, LockedTarget], parts: Iterable[str], target: str | None) -> NotLocked:
    """With the flag that brings it, or the package that was probably meant."""
    others = sorted({part for locked in chosen.values() for part in locked.roots} - {*parts, PROJECT})
    bring = [part for part in others if any(key in locked.keys([part]) for locked in chosen.values())]
    if bring:
        hints = [f"gpuenv tree {key} --{part.replace(':', ' ')}" for part in bring]
        return NotLocked(f"`{key}` is not among what the flags ask for", hints=hints)
    known = sorted({one for locked in chosen.values() for one in locked.keys(locked.roots)})
    near = get_close_matches(key, known, 1, 0.6)
    message = f"`{key}` is not in the lock" + (f" for target {target}" if target else "")
    return NotLocked(message, hints=[f"did you mean `{near[0]}`?"] if near else [])
