"""gpuenv.lock as commands read it that only answer from it: whole, one target of it, and whether it is stale."""

from typing import TYPE_CHECKING

from gpuenv.errors import StaleLock, UsageError
from gpuenv.workflow.lock import known_fresh
from gpuenv.workflow.project import Project

if TYPE_CHECKING:
    from gpuenv.model.lock import Lock, LockedTarget

__all__ = ["lock_data", "read_lock", "stale_warnings", "targets_of"]

_SHOWN = 3


def lock_data(project: Project) -> bytes:
    """The bytes of gpuenv.lock; raises StaleLock where there is none."""
    data = project.lock_bytes()
    if data is None:
        raise StaleLock("there is no gpuenv.lock", hints=["run `gpuenv lock`"])
    return data


def read_lock(project: Project) -> "Lock":
    """gpuenv.lock decoded; raises StaleLock where there is none."""
    return project.decode_lock(lock_data(project))


def targets_of(lock: "Lock", target: str | None) -> "dict[str, LockedTarget]":
    """The named target, or all of them, by name; raises UsageError for one that the lock does not have."""
    if target is None:
        return dict(sorted(lock.targets.items()))
    if target not in lock.targets:
        from difflib import get_close_matches

        near = get_close_matches(target, lock.targets, 1, 0.6) or sorted(lock.targets)[:_SHOWN]
        raise UsageError(f"there is no target `{target}` in gpuenv.lock", hints=[f"--target {name}" for name in near])
    return {target: lock.targets[target]}


def stale_warnings(project: Project, lock: "Lock") -> tuple[str, ...]:
    """What to say of a lock that does not answer pyproject.toml; nothing of one that does."""
    from gpuenv.lock import why_stale

    stale = why_stale(lock, project.manifest) if known_fresh(project) is None else None
    return (f"gpuenv.lock does not answer pyproject.toml: {stale}",) if stale else ()
