"""`gpuenv sync`: the lock becomes `.venv`: objects into the store, links into a view, one atomic switch."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from gpuenv import __version__
from gpuenv.errors import UsageError
from gpuenv.host.fingerprint import fingerprint
from gpuenv.store.marks import damaged_keys
from gpuenv.view.state import changed, distributions, lacking
from gpuenv.view.switch import current, current_view
from gpuenv.workflow.lock import LockMode, LockResult, check, known_fresh
from gpuenv.workflow.lock import lock as run_lock
from gpuenv.workflow.locked import lock_data
from gpuenv.workflow.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from gpuenv.model.answer import Conflict, PassedOver
    from gpuenv.model.manifest import Manifest
    from gpuenv.model.plan import Plan

__all__ = ["Asked", "LockUse", "SyncResult", "roots_of", "sync", "up_to_date"]


class LockUse(Enum):
    """How `sync` treats gpuenv.lock."""

    REFRESH = auto()  # lock first, if it is stale
    LOCKED = auto()  # fail if it is stale
    FROZEN = auto()  # take it as it is


class Asked(NamedTuple):
    """What the user asked of a sync. link_mode: `symlink`, `hardlink`, `copy` or None for the default."""

    target: str | None = None
    python: str | None = None
    link_mode: str | None = None
    compile_bytecode: bool = False
    extras: tuple[str, ...] = ()
    all_extras: bool = False
    groups: tuple[str, ...] = ()
    all_groups: bool = False
    without_groups: tuple[str, ...] = ()
    default_groups: bool = True


class SyncResult(NamedTuple):
    """What a sync came to. plan is None where a glance was enough to see that there is nothing to do.

    passed_over: of the lock that it made, as `LockResult` has it.
    """

    target: str
    environment: str
    view: "Path"
    changed: bool
    plan: "Plan | None" = None
    packages: int = 0
    warnings: tuple[str, ...] = ()
    passed_over: "Mapping[str, tuple[PassedOver, ...]]" = MappingProxyType({})


def sync(
    project: Project,
    asked: Asked,
    *,
    use: LockUse = LockUse.REFRESH,
    dry_run: bool = False,
    exact: bool = True,
    anew: bool = False,
) -> "SyncResult | Conflict":
    """Make `.venv` hold exactly what the lock says for this machine's target.

    exact: what others changed in an environment that is right otherwise is undone. anew: the environment is made again,
    whatever is there.
    """
    lock_warnings: tuple[str, ...] = ()
    passed_over: Mapping[str, tuple[PassedOver, ...]] = MappingProxyType({})
    if use is LockUse.REFRESH:
        answer = run_lock(project, mode=LockMode.DRY_RUN if dry_run else LockMode.WRITE)
        if not isinstance(answer, LockResult):
            return answer
        data, lock_warnings, passed_over = answer.data, answer.warnings, answer.passed_over
    else:
        data = _lock_as_it_is(project, use)
    digest = _digest(project, data, asked)
    if not anew and not dry_run and (done := _nothing_to_do(project, digest, exact=exact)):
        return done
    from contextlib import nullcontext

    from gpuenv.store.access import writable
    from gpuenv.store.guard import together

    with together(project.store) if not dry_run and writable(project.store) else nullcontext():
        result = _sync(project, asked, data, digest, lock_warnings, dry_run=dry_run, anew=anew)
        return result._replace(passed_over=passed_over)


def up_to_date(project: Project, asked: Asked, *, exact: bool = True) -> SyncResult | None:
    """The answer of `sync` if it is known without a closer look that there is nothing to do, else None."""
    data = known_fresh(project)
    return _nothing_to_do(project, _digest(project, data, asked), exact=exact) if data is not None else None


def _lock_as_it_is(project: Project, use: LockUse) -> bytes:
    if use is LockUse.LOCKED:
        check(project)
    return lock_data(project)


def _digest(project: Project, data: bytes, asked: Asked) -> str:
    """Everything that decides what `.venv` holds, as one digest: the same digest, the same view."""
    places = [str(project.root), str(project.store), *map(str, project.bases)]
    parts = [__version__, places, asked, os.geteuid() == 0, fingerprint(project.environ)]
    text = json.dumps(parts) + project.manifest_text()
    return hashlib.sha256(text.encode() + b"\0" + data).hexdigest()


def _nothing_to_do(project: Project, digest: str, *, exact: bool) -> SyncResult | None:
    """The result of the sync that made the present view, if it answered the same question and the view is as it was."""
    marker = current(project.venv)
    view = current_view(project.venv)
    if marker is None or view is None or marker.get("asked") != digest or not _is_whole(project, view, marker):
        return None
    if exact and changed(view, marker):
        return None
    return _as_it_is(view, marker)


def _is_whole(project: Project, view: "Path", marker: "dict[str, object]") -> bool:
    """Is everything there that a view is made of, as far as a glance tells?"""
    objects = marker.get("objects")
    if not damaged_keys(project.store).isdisjoint(objects if isinstance(objects, list) else ()):
        return False
    return not lacking(view, marker) and not _lost(marker)


def _as_it_is(view: "Path", marker: Mapping[str, object]) -> SyncResult:
    packages = marker.get("packages")
    return SyncResult(
        target=str(marker.get("target")),
        environment=str(marker.get("environment")),
        view=view,
        changed=False,
        packages=len(packages) if isinstance(packages, dict) else 0,
        warnings=tuple(marker.get("warnings", ())),  # type: ignore[arg-type]
    )


def _sync(
    project: Project,
    asked: Asked,
    data: bytes,
    digest: str,
    lock_warnings: tuple[str, ...],
    *,
    dry_run: bool,
    anew: bool,
) -> SyncResult:
    from gpuenv.model.plan import Plan
    from gpuenv.store.access import refuse_unwritable
    from gpuenv.store.store import Store
    from gpuenv.workflow.materialise import Wanted, materialise
    from gpuenv.workflow.select import as_stored, select

    lock = project.decode_lock(data)
    selected = select(project, lock, target=asked.target, python=asked.python)
    roots = roots_of(project.manifest, asked)
    packages = selected.locked.reachable(roots)
    store = Store(project.store, project.bases)
    artifacts = as_stored({package.name: lock.artifacts[package.artifact] for package in packages}, store)
    stored = {a.sha256 for a in artifacts.values() if store.find(a.sha256, (a.name, a.version))}
    others = _changed_by_others(project)
    plan = Plan.between(_present(project), artifacts, stored)
    result = SyncResult(
        target=selected.locked.target.name,
        environment=lock.environment(selected.locked, packages),
        view=project.venv,
        changed=anew or bool(others) or not plan.empty,
        plan=plan,
        packages=len(packages),
        warnings=(*lock_warnings, *selected.warnings, *_not_installed(project.manifest)),
    )
    if dry_run:
        return result._replace(warnings=(*result.warnings, *others, *store.warnings))
    if (present := _for_readers(project, result, roots)) is not None:
        return present
    refuse_unwritable(project.store)
    passing = (*others, *store.warnings, *_lost_by_bases(project))
    wanted = Wanted(
        selected,
        packages,
        artifacts,
        roots,
        result.environment,
        asked.link_mode,
        anew=anew,
        compiled=asked.compile_bytecode,
    )
    text = data.decode("utf-8", "replace")
    made = materialise(project, store, lock, text, wanted, plan, {"asked": digest}, result.warnings)
    return result._replace(
        view=made.view, changed=made.switched or result.changed, warnings=(*result.warnings, *made.warnings, *passing)
    )


def _for_readers(project: Project, wanted: SyncResult, roots: Sequence[str]) -> SyncResult | None:
    """The present environment, if it is the wanted one and the store is another's: whoever may write made it.

    What else would make a writer's sync link anew, such as another way to link, is the writer's to choose.
    """
    from gpuenv.store.access import writable

    if writable(project.store):
        return None
    marker, view = current(project.venv), current_view(project.venv)
    if marker is None or view is None or not _is_whole(project, view, marker):
        return None
    same = (marker.get("target"), marker.get("environment"), marker.get("selection"))
    if same != (wanted.target, wanted.environment, list(roots)):
        return None
    return wanted._replace(view=view, changed=False)


def _lost(marker: Mapping[str, object]) -> "Mapping[Path, tuple[str, ...]]":
    """What base stores lack by now of what a view took from them."""
    if "elsewhere" not in marker:
        return {}
    from gpuenv.store.below import lost

    return lost(marker)


def _lost_by_bases(project: Project) -> tuple[str, ...]:
    """A line for each base store that lacks by now what the present view took from it."""
    lines = []
    for base, keys in _lost(current(project.venv) or {}).items():
        names = [key.partition("-")[2] for key in keys]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"the base store {base} lost {', '.join(names[:3])}{more}, which .venv had from there")
    return tuple(lines)


def roots_of(manifest: "Manifest", asked: Asked) -> tuple[str, ...]:
    """The root names that the user's selection of extras and groups means."""
    extras = set(manifest.extras) if asked.all_extras else {_known("extra", e, manifest.extras) for e in asked.extras}
    groups = set(manifest.groups) if asked.all_groups else {_known("group", g, manifest.groups) for g in asked.groups}
    if asked.default_groups:
        groups |= set(manifest.default_groups)
    groups -= {_known("group", g, manifest.groups) for g in asked.without_groups}
    return ("project", *sorted(f"extra:{e}" for e in extras), *sorted(f"group:{g}" for g in groups))


def _known(kind: str, name: str, known: Mapping[str, object]) -> str:
    from gpuenv.model.version import normal_name

    if normal_name(name) not in known:
        have = ", ".join(known) or f"no {kind}s"
        raise UsageError(f"the project has no {kind} {name}", hints=[f"pyproject.toml has {have}"])
    return normal_name(name)


def _present(project: Project) -> "dict[str, Any]":
    from gpuenv.model.plan import Installed

    marker = current(project.venv) or {}
    packages = marker.get("packages")
    known = packages if isinstance(packages, dict) else {}
    present = {name: Installed(name, version, sha256) for name, (version, sha256) in known.items()}
    view = current_view(project.venv)
    if view is None or not changed(view, marker):
        return present
    for name, version in distributions(view, marker):
        if name not in known or version != known[name][0]:
            present[name] = Installed(name, version, "")
    return present


def _changed_by_others(project: Project) -> tuple[str, ...]:
    """A warning, if somebody else than gpuenv changed the environment."""
    marker, view = current(project.venv), current_view(project.venv)
    if marker is None or view is None or (where := changed(view, marker)) is None:
        return ()
    return (f".venv was changed by something else than gpuenv ({where}), and is made anew",)


def _not_installed(manifest: "Manifest") -> tuple[str, ...]:
    if not manifest.builds:
        return ()
    return (f"{manifest.name} itself is not installed: projects with a [build-system] are not built yet",)
