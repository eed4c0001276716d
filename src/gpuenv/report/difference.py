"""What changed, in the signs people know from uv: + added, - removed, ~ changed."""

from collections.abc import Iterable, Sequence

from gpuenv.model.difference import Change
from gpuenv.model.lock import Lock
from gpuenv.model.plan import Plan

__all__ = ["lock_summary", "plan_summary"]


def lock_summary(lock: Lock, changes: Sequence[Change], *, dry_run: bool) -> str:
    """Targets with their sizes, then the changes; changes that several targets share stand once."""
    verb = "would lock" if dry_run else "locked"
    lines = [f"{verb} {name}: {_count(len(locked.packages))}" for name, locked in sorted(lock.targets.items())]
    shared: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        shared.setdefault((change.package, change.before, change.now), []).append(change.target)
    for (package, before, now), targets in sorted(shared.items()):
        where = "" if len(targets) == len(lock.targets) else f"  ({', '.join(targets)})"
        lines.append(f" {_sign(package, before, now)}{where}")
    return "\n".join(lines)


def plan_summary(plan: Plan) -> Iterable[str]:
    """One line a distribution that a view gains, loses or changes."""
    before = {item.name: item.version for item in plan.remove}
    now = {item.name: item.version for item in plan.install}
    for name in sorted({*before, *now}):
        yield f" {_sign(name, before.get(name, ''), now.get(name, ''))}"


def _sign(package: str, before: str, now: str) -> str:
    if not before:
        return f"+ {package}=={now}"
    if not now:
        return f"- {package}=={before}"
    return f"~ {package}=={before} -> {now}"


def _count(packages: int) -> str:
    return f"{packages} package{'' if packages == 1 else 's'}"
