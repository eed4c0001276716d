"""What changed, in the signs people know from uv: + added, - removed, ~ changed."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuenv.model.answer import PassedOver
    from gpuenv.model.difference import Change
    from gpuenv.model.lock import Lock

__all__ = ["count", "lock_summary", "passed_over", "sign"]


def lock_summary(
    lock: "Lock", changes: "Sequence[Change]", *, dry_run: bool, saved: Mapping[str, int] = MappingProxyType({})
) -> str:
    """Targets with their sizes, then the changes; changes that several targets share stand once.

    saved: the bytes that default extras spare, by target.
    """
    verb = "would lock" if dry_run else "locked"
    lines = [
        f"{verb} {name}: {count(len(locked.packages))}{_spared(saved.get(name, 0))}"
        for name, locked in sorted(lock.targets.items())
    ]
    shared: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        shared.setdefault((change.package, change.before, change.now), []).append(change.target)
    for (package, before, now), targets in sorted(shared.items()):
        where = "" if len(targets) == len(lock.targets) else f"  ({', '.join(targets)})"
        lines.append(f" {sign(package, before, now)}{where}")
    return "\n".join(lines)


def _spared(size: int) -> str:
    if not size:
        return ""
    from gpuenv.report.inspect import size_text

    return f", {size_text(size)} saved by default extras"


def passed_over(targets: "Mapping[str, Sequence[PassedOver]]") -> Iterator[str]:
    """Which pins are older than they might be, and why the newest was left; targets with the same answer share it."""
    shared: dict[PassedOver, list[str]] = {}
    for target, pins in sorted(targets.items()):
        for pin in pins:
            shared.setdefault(pin, []).append(target)
    for pin, names in sorted(shared.items(), key=lambda item: item[0].name):
        newest, *others = pin.newer
        more = f" (nor {len(others)} before it)" if others else ""
        yield f"{pin.name} {pin.version} for {', '.join(names)}, not {newest.version}{more}: it {newest.reason}"


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
