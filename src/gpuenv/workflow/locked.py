"""gpuenv.lock as commands read it that only answer from it: whole, one target of it, and whether it is stale."""

from typing import TYPE_CHECKING

from gpuenv.errors import StaleLock, UsageError
from gpuenv.workflow.lock import known_fresh
from gpuenv.workflow.project import Project

if TYPE_CHECKING:
    from gpuenv.model.lock import Lock, LockedTarget

__all__ = ["asked_key", "lock_data", "read_lock", "stale_warnings", "targets_of"]

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


def asked_key(text: str) -> str:
    """What a user calls a package, `Fast_API[standard]`, as a key; empty brackets mean the package alone."""
    from gpuenv.model.lock import split_key
    from gpuenv.model.version import normal_name

    name, extra = split_key(text.strip())
    return f"{normal_name(name)}[{normal_name(extra)}]" if extra.strip() else normal_name(name)


def stale_warnings(project: Project, lock: "Lock") -> tuple[str, ...]:
    """What to say of a lock that does not answer pyproject.toml; nothing of one that does."""
    from gpuenv.lock import why_stale

    stale = why_stale(lock, project.manifest) if known_fresh(project) is None else None
    return (f"gpuenv.lock does not answer pyproject.toml: {stale}",) if stale else ()
