"""The JSON documents that scripts rely on (docs/reference/json.md): always records, every field present."""

from collections.abc import Sequence

from gpuenv.model.difference import Change, versions
from gpuenv.model.lock import Lock

__all__ = ["lock_document"]


def lock_document(lock: Lock, changed: bool, changes: Sequence[Change], warnings: Sequence[str]) -> dict[str, object]:
    """The document of `lock --json`."""
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
        "warnings": list(warnings),
    }
