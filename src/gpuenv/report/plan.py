"""A Plan in words: what a sync did, or would do."""

from typing import TYPE_CHECKING

from gpuenv.report.difference import count, sign

if TYPE_CHECKING:
    from gpuenv.model.plan import Plan

__all__ = ["sync_summary"]


def sync_summary(target: str, packages: int, changed: bool, plan: "Plan | None", *, dry_run: bool) -> str:
    """One line for the whole, then one a distribution that came, went or changed."""
    if not changed or plan is None:
        return f".venv is up to date with target {target} ({count(packages)})"
    verb = "would sync" if dry_run else "synced"
    fetched = f", {len(plan.fetch)} fetched" if plan.fetch else ""
    before = {item.name: item.version for item in plan.remove}
    now = {item.name: item.version for item in plan.install}
    lines = [f"{verb} .venv to target {target}: {count(packages)}{fetched}"]
    lines += [f" {sign(name, before.get(name, ''), now.get(name, ''))}" for name in sorted({*before, *now})]
    return "\n".join(lines)
