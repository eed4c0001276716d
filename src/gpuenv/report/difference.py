"""What changed, in the signs people know from uv: + added, - removed, ~ changed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuenv.model.difference import Change
    from gpuenv.model.lock import Lock

__all__ = ["count", "lock_summary", "sign"]


def lock_summary(lock: "Lock", changes: "Sequence[Change]", *, dry_run: bool) -> str:
    """Targets with their sizes, then the changes; changes that several targets share stand once."""
    verb = "would lock" if dry_run else "locked"
    lines = [f"{verb} {name}: {count(len(locked.packages))}" for name, locked in sorted(lock.targets.items())]
    shared: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        shared.setdefault((change.package, change.before, change.now), []).append(change.target)
    for (package, before, now), targets in sorted(shared.items()):
        where = "" if len(targets) == len(lock.targets) else f"  ({', '.join(targets)})"
        lines.append(f" {sign(package, before, now)}{where}")
    return "\n".join(lines)


def sign(package: str, before: str, now: str) -> str:
    """One change: `+ a==1`, `- a==1`, `~ a==1 -> 2`."""
    if not before:
        return f"+ {package}=={now}"
    if not now:
        return f"- {package}=={before}"
    return f"~ {package}=={before} -> {now}"


def count(packages: int) -> str:
    """`1 package`, `2 packages`."""
    return f"{packages} package{'' if packages == 1 else 's'}"
