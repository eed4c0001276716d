"""`gpuenv generations` and `gpuenv rollback`: what a project's environment was, and back to it."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv.errors import GpuenvError, InterpreterMissing, StoreError, UsageError
from gpuenv.model.difference import Change
from gpuenv.model.history import Entry, RolledBack
from gpuenv.model.lock import Lock
from gpuenv.store.guard import together
from gpuenv.view.generations import Generation, generations, present, record_generation
from gpuenv.view.state import changed, lacking
from gpuenv.view.switch import current, linked_view, refuse_foreign, switch
from gpuenv.workflow.project import Project, write_atomically

if TYPE_CHECKING:
    from gpuenv.workflow.select import Selected

__all__ = ["history", "rollback"]


def history(project: Project) -> tuple[Entry, ...]:
    """The project's generations, oldest first."""
    known = generations(project.store, project=project.root, name=project.root.name)
    now = _present(project, known)
    entries = []
    before: Mapping[str, object] = {}
    for one in known:
        marker = one.marker
        entries.append(
            Entry(
                number=one.number,
                made=one.made,
                target=str(marker.get("target", "")),
                environment=str(marker.get("environment", "")),
                packages=len(_packages(marker)) if marker else None,
                changes=_changes(before, marker),
                view=one.view,
                whole=_whole(one.view),
                present=one is now,
            )
        )
        before = marker
    return tuple(entries)


def rollback(project: Project, number: int | None = None, *, keep_lock: bool = False) -> RolledBack:
    """Make `.venv` what it was in a generation, by default the one before the present, and gpuenv.lock with it.

    No generation is entered, so that the next rollback goes further back, unless the view was gone and could not be
    made just as it was. Raises UsageError where there is no such generation,
    StoreError where its view is gone and the store lacks what it would be made of.
    """
    refuse_foreign(project.venv)
    with together(project.store):
        known = generations(project.store, project=project.root, name=project.root.name)
        now = _present(project, known)
        wanted = _wanted(known, now, number)
        rebuilt = not _whole(wanted.view) or changed(wanted.view, current(wanted.view) or {}) is not None
        view = _rebuilt(project, wanted) if rebuilt else wanted.view
        reached = wanted.number
        if view != wanted.view:  # another interpreter or link mode: nothing in use is unrecorded
            name = project.root.name
            reached = record_generation(project.store, project=project.root, name=name, view=view, lock=wanted.lock)
        before = _marker(project, now)
        switched = switch(project.venv, view)
    lock = "kept" if keep_lock else _restore(project, wanted, known)
    return RolledBack(
        number=reached,
        before=now.number if now else None,
        target=str(wanted.marker.get("target", "")),
        changes=_changes(before, wanted.marker),
        switched=switched,
        rebuilt=rebuilt,
        lock=lock,
        warnings=_stale(project, lock),
    )


def _present(project: Project, known: Sequence[Generation]) -> Generation | None:
    return present(known, linked_view(project.venv), _lock_text(project))


def _lock_text(project: Project) -> str | None:
    data = project.lock_bytes()
    return None if data is None else data.decode("utf-8", "replace")


def _wanted(known: Sequence[Generation], now: Generation | None, number: int | None) -> Generation:
    have = f"the store has {', '.join(str(one.number) for one in known[-5:])}" if known else "nothing was synced yet"
    hints = ["gpuenv generations"] if known else ["gpuenv sync"]
    if number is not None:
        found = next((one for one in known if one.number == number), None)
        if found is None:
            raise UsageError(f"there is no generation {number}", causes=[have], hints=hints)
        return found
    if now is None:
        why = "`.venv` is no generation to go back from"
        raise UsageError(why, causes=[have], hints=[f"gpuenv rollback {known[-1].number}"] if known else hints)
    earlier = [one for one in known if one.number < now.number]
    if not earlier:
        raise UsageError(f"generation {now.number} is the first that is left", hints=hints)
    return earlier[-1]


def _whole(view: Path) -> bool:
    marker = current(view)
    return marker is not None and lacking(view, marker) is None


def _marker(project: Project, now: Generation | None) -> Mapping[str, object]:
    return current(project.venv) or (now.marker if now else {})


def _packages(marker: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
    found = marker.get("packages")
    return found if isinstance(found, dict) else {}


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[Change, ...]:
    """Packages that came, went or have another artifact, by name."""
    old, new = _packages(before), _packages(now)
    target = str(now.get("target", ""))
    return tuple(
        Change(target, name, old[name][0] if name in old else "", new[name][0] if name in new else "")
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _rebuilt(project: Project, wanted: Generation) -> Path:
    """The view of a generation, made again of its lock and the objects that are there, as its marker says."""
    from gpuenv.model.plan import Plan
    from gpuenv.store.store import Store
    from gpuenv.view.plan import Links
    from gpuenv.workflow.materialise import Wanted, built
    from gpuenv.workflow.select import as_stored
    from gpuenv.workflow.sync import Asked, roots_of

    marker = wanted.marker
    lock = project.decode_lock(wanted.lock.encode())
    target = str(marker["target"]) if marker else None
    selection = marker.get("selection")
    roots = tuple(selection) if isinstance(selection, list) else roots_of(project.manifest, Asked(target))
    selected = _selected(project, lock, target, marker)
    packages = selected.locked.reachable(roots)
    store = Store(project.store, project.bases)
    artifacts = as_stored({package.name: lock.artifacts[package.artifact] for package in packages}, store)
    missing = [a for a in artifacts.values() if store.find(a.sha256, (a.name, a.version)) is None]
    if missing:
        raise _gone(wanted, [f"{a.name} {a.version}" for a in missing], selected.locked.target.name, roots)
    plan = Plan.between({}, artifacts, {a.sha256 for a in artifacts.values()})
    environment = lock.environment(selected.locked, packages)
    linked = marker.get("development_links")
    made = Wanted(
        selected,
        packages,
        artifacts,
        roots,
        environment,
        None,
        links=Links.of_marker(marker),
        development_links=tuple(linked) if isinstance(linked, list) else None,
    )
    view, _ = built(project, store, lock, made, plan, {"asked": str(marker.get("asked", ""))}, selected.warnings)
    return view


def _selected(project: Project, lock: Lock, target: str | None, marker: Mapping[str, object]) -> "Selected":
    """The target with the interpreter that the marker names; where that is no more, the one that a sync would take."""
    from gpuenv.workflow.select import select

    python = marker.get("interpreter")
    if isinstance(python, str):
        with suppress(InterpreterMissing, UsageError):
            return select(project, lock, target=target, python=python)
    return select(project, lock, target=target, python=None)


def _gone(wanted: Generation, missing: Sequence[str], target: str, roots: Sequence[str]) -> StoreError:
    """What the store lacks, and the command that fetches it by the generation's lock."""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    chosen = [f"--{kind} {name}" for kind, _, name in (root.partition(":") for root in roots) if name]
    sync = " ".join(["gpuenv sync --frozen --target", target, *chosen])
    return StoreError(
        f"the environment of generation {wanted.number} is gone",
        causes=[f"the store has no {', '.join(missing[:3])}{more} to make it of"],
        hints=[f"fetch it by its lock: cp {shlex.quote(str(wanted.folder / 'lock'))} gpuenv.lock && {sync}"],
    )


def _restore(project: Project, wanted: Generation, known: Sequence[Generation]) -> str:
    """Write the generation's lock where nothing is lost by that: what another generation has can be had back."""
    text = _lock_text(project)
    if text == wanted.lock:
        return "same"
    if text is not None and all(text != one.lock for one in known):
        return "unknown"
    write_atomically(project.lock_path, wanted.lock.encode())
    return "written"


def _stale(project: Project, lock: str) -> tuple[str, ...]:
    """What the next sync would undo, and why."""
    from gpuenv.workflow.lock import why_stale

    if lock == "unknown":
        return ("gpuenv.lock is left as it is, for no generation has what it says; the next sync follows it",)
    if lock == "kept":
        return ()
    try:
        reason = why_stale(project)
    except GpuenvError as error:
        reason = error.message
    return (f"the next sync locks anew ({reason}); `gpuenv run --no-sync` takes .venv as it is",) if reason else ()
