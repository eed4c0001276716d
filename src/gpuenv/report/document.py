"""The JSON documents that scripts rely on (docs/reference/json.md): always records, every field present."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuenv.model.answer import PassedOver
    from gpuenv.model.difference import Change
    from gpuenv.model.lock import Lock
    from gpuenv.model.plan import Installed, Plan

__all__ = ["lock_document", "sync_document"]


def lock_document(
    lock: "Lock",
    changed: bool,
    changes: "Sequence[Change]",
    warnings: Sequence[str],
    passed_over: "Mapping[str, Sequence[PassedOver]]",
    saved: Mapping[str, int],
) -> dict[str, object]:
    """The document of `lock --json`."""
    from gpuenv.model.difference import versions

    return {
        "changed": changed,
        "targets": {
            name: {
                "environment": lock.environment(locked, locked.packages.values()),
                "packages": versions(lock, locked),
            }
            for name, locked in sorted(lock.targets.items())
        },
        "changes": [
            {"target": c.target, "package": c.package, "before": c.before or None, "now": c.now or None}
            for c in changes
        ],
        "passed_over": [
            {
                "target": target,
                "package": pin.name,
                "version": pin.version,
                "newer": [{"version": newer.version, "reason": newer.reason} for newer in pin.newer],
            }
            for target, pins in sorted(passed_over.items())
            for pin in pins
        ],
        "saved": dict(sorted(saved.items())),
        "warnings": list(warnings),
    }


def sync_document(
    target: str, environment: str, view: PurePath, changed: bool, plan: "Plan | None", warnings: Sequence[str]
) -> dict[str, object]:
    """The document of `sync --json`; fetched counts artifacts that were brought into the store."""
    return {
        "target": target,
        "environment": environment,
        "view": str(view),
        "changed": changed,
        "fetched": len(plan.fetch) if plan else 0,
        "installed": [_installed(item) for item in plan.install] if plan else [],
        "removed": [_installed(item) for item in plan.remove] if plan else [],
        "warnings": list(warnings),
    }


def _installed(item: "Installed") -> dict[str, str]:
    return {"name": item.name, "version": item.version, "sha256": item.sha256}
