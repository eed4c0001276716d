"""Generations, rollbacks and collections in words and as documents."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from gpuenv.model.difference import Change
from gpuenv.model.history import Collected, Entry, Keeper, Kept, RolledBack
from gpuenv.report.difference import count, sign
from gpuenv.report.inspect import size_text

__all__ = [
    "collection_document",
    "collection_words",
    "generations_document",
    "generations_page",
    "kept_document",
    "kept_page",
    "rollback_document",
    "rollback_words",
]

_KINDS = {
    "generations": ("generation", "generations"),
    "views": ("view", "views"),
    "artifacts": ("name of an artifact", "names of artifacts"),
    "objects": ("object", "objects"),
    "downloads": ("unfinished download", "unfinished downloads"),
    "leftovers": ("leftover of a killed run", "leftovers of killed runs"),
}
_BECAUSE = {
    "newest": "its newest",
    "present": "what .venv is",
    "recent": "in use not long ago",
    "unreachable": "kept because the project cannot be reached",
}
_LOCKS = {
    "written": "gpuenv.lock is as it was then",
    "kept": "gpuenv.lock stays as it is: the next sync goes forward again",
}


def generations_page(entries: Sequence[Entry]) -> str:
    """One line a generation, oldest first, `*` at the present one; below it what changed against the one before."""
    width = len(str(entries[-1].number)) if entries else 1
    lines = []
    for entry in entries:
        held = count(entry.packages) if entry.packages is not None else "unknown packages"
        target = f"target {entry.target}" if entry.target else "unknown target"
        gone = "" if entry.whole else "  (its view is gone)"
        sign_ = "*" if entry.present else " "
        made = datetime.fromtimestamp(entry.made).astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append(f"{sign_} {entry.number:{width}}  {made}  {target}: {held}{gone}")
        lines += _changes(entry.changes, " " * (width + 4))
    return "\n".join(lines)


def generations_document(entries: Iterable[Entry]) -> dict[str, object]:
    """The document of `generations --json`."""
    return {
        "generations": [
            {
                "number": entry.number,
                "made": datetime.fromtimestamp(int(entry.made), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "target": entry.target or None,
                "environment": entry.environment or None,
                "packages": entry.packages,
                "changes": [_change(change) for change in entry.changes],
                "view": str(entry.view),
                "whole": entry.whole,
                "present": entry.present,
            }
            for entry in entries
        ]
    }


def rollback_words(done: RolledBack) -> str:
    """What `.venv` is now, what that changed, and what became of gpuenv.lock."""
    came = f" from generation {done.before}" if done.before is not None else ""
    what = f"switched .venv{came} to" if done.switched else ".venv is"
    lines = [f"{what} generation {done.number}{', made again from its lock' if done.rebuilt else ''}"]
    lines += _changes(done.changes, " ")
    lines += [_LOCKS[done.lock]] if done.lock in _LOCKS else []
    return "\n".join(lines)


def rollback_document(done: RolledBack) -> dict[str, object]:
    """The document of `rollback --json`."""
    return {
        "generation": done.number,
        "before": done.before,
        "target": done.target or None,
        "changed": done.switched,
        "rebuilt": done.rebuilt,
        "changes": [_change(change) for change in done.changes],
        "lock": done.lock,
        "warnings": list(done.warnings),
    }


def collection_words(done: Collected, *, dry_run: bool, every: bool) -> str:
    """The sum, then one line a kind; every: with paths."""
    if not any(done.removed.values()):
        return "nothing to remove"
    lines = [f"{'would free' if dry_run else 'freed'} {size_text(sum(done.freed.values()))}"]
    for kind, (one, more) in _KINDS.items():
        if names := done.removed.get(kind, ()):
            size = f"  {size_text(done.freed[kind])}" if done.freed.get(kind) else ""
            lines.append(f" - {len(names)} {one if len(names) == 1 else more}{size}")
            lines += [f"     {name}" for name in names] if every else []
    return "\n".join(lines)


def collection_document(done: Collected, *, dry_run: bool) -> dict[str, object]:
    """The document of `store gc --json`; sizes in bytes, paths relative to the store."""
    return {
        "dry_run": dry_run,
        "freed": sum(done.freed.values()),
        "removed": {
            kind: {"paths": list(done.removed.get(kind, ())), "freed": done.freed.get(kind, 0)} for kind in _KINDS
        },
        "left": list(done.left),
    }


def kept_page(kept: Kept) -> str:
    """Who keeps it, one a line."""
    if not kept.keepers:
        return f"{kept.kind} {kept.name}: nothing keeps it, `gpuenv store gc` removes it"
    return "\n".join([f"{kept.kind} {kept.name} is kept by", *(f"  {_keeper(keeper)}" for keeper in kept.keepers)])


def kept_document(kept: Kept) -> dict[str, object]:
    """The document of `store gc --why --json`."""
    return {
        "kind": kept.kind,
        "name": kept.name,
        "kept": bool(kept.keepers),
        "keepers": [
            {
                "kind": keeper.kind,
                "project": keeper.project or None,
                "generation": keeper.number or None,
                "because": keeper.because or None,
                "pid": keeper.pid or None,
                "program": keeper.program or None,
            }
            for keeper in kept.keepers
        ],
    }


def _keeper(keeper: Keeper) -> str:
    if keeper.kind == "generation":
        return f"generation {keeper.number} of {keeper.project}: {_BECAUSE[keeper.because]}"
    if keeper.kind == "link":
        return f"the link {keeper.project}/.venv"
    if keeper.kind == "process":
        return f"process {keeper.pid} ({keeper.program}), which uses it"
    return "a sync that may be under way: it was touched less than a day ago, or its process runs"


def _changes(changes: Iterable[Change], indent: str) -> list[str]:
    lines = []
    for change in changes:
        same = " (another artifact)" if change.before == change.now else ""
        lines.append(f"{indent}{sign(change.package, change.before, change.now)}{same}")
    return lines


def _change(change: Change) -> dict[str, str | None]:
    return {"package": change.package, "before": change.before or None, "now": change.now or None}
