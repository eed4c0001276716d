"""What changed between two locks, target by target."""

from dataclasses import dataclass

from gpuenv.model.lock import Lock, LockedTarget

__all__ = ["Change", "difference"]


@dataclass(frozen=True, slots=True)
class Change:
    """One package of one target: versions, "" where it was added or removed.

    Where a version has become another variant of itself: `1.0 (gfx90a)`, or `1.0` for a wheel that is no variant.
    """

    target: str
    package: str
    before: str
    now: str


def difference(before: Lock | None, now: Lock) -> tuple[Change, ...]:
    """Every package that was added, removed or changed its version or variant, sorted by target and name."""
    changes = []
    for target in sorted({*(before.targets if before else ()), *now.targets}):
        old = versions(before, before.targets.get(target)) if before else {}
        new = versions(now, now.targets.get(target))
        for name in sorted({*old, *new}):
            if old.get(name) == new.get(name) and before is not None:
                old[name], new[name] = _shown(before, target, name), _shown(now, target, name)
            if old.get(name) != new.get(name):
                changes.append(Change(target, name, old.get(name, ""), new.get(name, "")))
    return tuple(changes)


def _shown(lock: Lock, target: str, name: str) -> str:
    artifact = lock.artifacts[lock.targets[target].packages[name].artifact]
    return f"{artifact.version} ({artifact.variant.label})" if artifact.variant else artifact.version


def versions(lock: Lock, locked: LockedTarget | None) -> dict[str, str]:
    """name -> version of one target's packages, sorted by name."""
    packages = locked.packages if locked else {}
    return {name: lock.artifacts[package.artifact].version for name, package in sorted(packages.items())}
