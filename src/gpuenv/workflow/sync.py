"""`gpuenv sync`: the lock becomes `.venv`: objects into the store, links into a view, one atomic switch."""

import hashlib
import json
import os
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from gpuenv import __version__
from gpuenv.errors import StaleLock, UsageError
from gpuenv.host.fingerprint import fingerprint
from gpuenv.store.marks import damaged_keys
from gpuenv.view.switch import current, current_view
from gpuenv.workflow.lock import LockMode, LockResult, check, known_fresh
from gpuenv.workflow.lock import lock as run_lock
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
    project: Project, asked: Asked, *, use: LockUse = LockUse.REFRESH, dry_run: bool = False
) -> "SyncResult | Conflict":
    """Make `.venv` hold exactly what the lock says for this machine's target."""
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
    if (done := _nothing_to_do(project, digest)) and not dry_run:
        return done
    from contextlib import nullcontext

    from gpuenv.store.guard import together

    with nullcontext() if dry_run else together(project.store):
        result = _sync(project, asked, data, digest, lock_warnings, dry_run=dry_run)
        return result._replace(passed_over=passed_over)


def up_to_date(project: Project, asked: Asked) -> SyncResult | None:
    """The answer of `sync` if it is known without a closer look that there is nothing to do, else None."""
    data = known_fresh(project)
    return _nothing_to_do(project, _digest(project, data, asked)) if data is not None else None


def _lock_as_it_is(project: Project, use: LockUse) -> bytes:
    if use is LockUse.LOCKED:
        check(project)
    data = project.lock_bytes()
    if data is None:
        raise StaleLock("there is no gpuenv.lock", hints=["run `gpuenv lock`"])
    return data


def _digest(project: Project, data: bytes, asked: Asked) -> str:
    """Everything that decides what `.venv` holds, as one digest: the same digest, the same view."""
    parts = [__version__, str(project.root), str(project.store), asked, os.geteuid() == 0, fingerprint(project.environ)]
    text = json.dumps(parts) + project.manifest_text()
    return hashlib.sha256(text.encode() + b"\0" + data).hexdigest()


def _nothing_to_do(project: Project, digest: str) -> SyncResult | None:
    """The result of the sync that made the present view, if it answered the same question."""
    marker = current(project.venv)
    view = current_view(project.venv)
    if marker is None or view is None or marker.get("asked") != digest or not (view / "bin" / "python").exists():
        return None
    objects = marker.get("objects")
    if not damaged_keys(project.store).isdisjoint(objects if isinstance(objects, list) else ()):
        return None
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
    project: Project, asked: Asked, data: bytes, digest: str, lock_warnings: tuple[str, ...], *, dry_run: bool
) -> SyncResult:
    from gpuenv.model.plan import Plan
    from gpuenv.store.store import Store
    from gpuenv.workflow.materialise import Wanted, materialise
    from gpuenv.workflow.select import select

    lock = project.decode_lock(data)
    selected = select(project, lock, target=asked.target, python=asked.python)
    roots = roots_of(project.manifest, asked)
    packages = selected.locked.reachable(frozenset(roots))
    artifacts = {package.name: lock.artifacts[package.artifact] for package in packages}
    store = Store(project.store)
    stored = {a.sha256 for a in artifacts.values() if store.find(a.sha256) is not None}
    plan = Plan.between(_present(project), artifacts, stored)
    result = SyncResult(
        target=selected.locked.target.name,
        environment=lock.environment(selected.locked, packages),
        view=project.venv,
        changed=not plan.empty,
        plan=plan,
        packages=len(packages),
        warnings=(*lock_warnings, *selected.warnings, *_not_installed(project.manifest)),
    )
    if dry_run:
        return result
    wanted = Wanted(selected, packages, artifacts, roots, result.environment, asked.link_mode)
    text = data.decode("utf-8", "replace")
    made = materialise(project, store, lock, text, wanted, plan, {"asked": digest}, result.warnings)
    return result._replace(
        view=made.view, changed=made.switched or result.changed, warnings=(*result.warnings, *made.warnings)
    )


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
    if not isinstance(packages, dict):
        return {}
    return {name: Installed(name, version, sha256) for name, (version, sha256) in packages.items()}


def _not_installed(manifest: "Manifest") -> tuple[str, ...]:
    if not manifest.builds:
        return ()
    return (f"{manifest.name} itself is not installed: projects with a [build-system] are not built yet",)
