"""From a plan to `.venv`: fetch what the store lacks, link a view, record the generation, switch."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urldefrag

from gpuenv.errors import StoreError
from gpuenv.model.lock import Lock, LockedArtifact
from gpuenv.model.manifest import Index, Manifest
from gpuenv.model.plan import Plan
from gpuenv.model.stored import StoredObject
from gpuenv.model.url import without_credentials
from gpuenv.store.store import Store
from gpuenv.view.build import build_view
from gpuenv.view.generations import record_generation
from gpuenv.view.plan import LinkMode, ViewPlan, default_links
from gpuenv.view.switch import refuse_foreign, switch
from gpuenv.workflow.project import Project
from gpuenv.workflow.select import Selected

__all__ = ["Wanted", "materialise"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The environment that is to be. artifacts: by name. roots: the selected extras and groups, as root names."""

    selected: Selected
    artifacts: Mapping[str, LockedArtifact]
    roots: tuple[str, ...]
    environment: str
    link_mode: str | None


def materialise(
    project: Project,
    store: Store,
    lock: Lock,
    lock_text: str,
    wanted: Wanted,
    plan: Plan,
    marker: Mapping[str, object],
) -> tuple[Path, bool]:
    """Make `.venv` the wanted environment; returns the view and whether `.venv` led elsewhere before.

    Until the switch, which is one rename, the environment before it stays as it was.
    """
    refuse_foreign(project.venv)  # before the downloads, not after them
    if plan.fetch:
        _fetch(project, store, lock, plan)
    view = build_view(_view_plan(project, store, wanted, marker))
    record_generation(project.store, project=project.root, name=project.manifest.name, view=view, lock=lock_text)
    return view, switch(project.venv, view)


def _fetch(project: Project, store: Store, lock: Lock, plan: Plan) -> None:
    import asyncio  # dear to import, and most syncs have everything at hand

    from gpuenv.workflow.fetch import fetch

    async def run() -> None:
        async with project.client() as client:
            indexes = _indexes(project, lock)
            artifacts = _with_logins(plan.fetch, project.manifest)
            await fetch(artifacts, store=store, client=client, indexes=indexes, progress=project.progress)

    asyncio.run(run())


def _indexes(project: Project, lock: Lock) -> dict[str, Index]:
    """The lock's indexes as this machine reaches them: the manifest's own (with credentials), else the lock's."""
    stated = {index.name: index for index in project.manifest.indexes}
    found = {}
    for index in lock.indexes:
        if index.location is None:
            found[index.name] = project.default_index
        else:
            found[index.name] = stated.get(index.name) or Index(index.name, index.location, folder=index.folder)
    return found


def _with_logins(artifacts: Iterable[LockedArtifact], manifest: Manifest) -> list[LockedArtifact]:
    """The artifacts; direct URLs with the credentials that the manifest has for them and the lock has not."""
    requirements = [manifest.dependencies, manifest.overrides]
    for tables in (manifest.extras, manifest.groups, manifest.target_dependencies):
        requirements += tables.values()
    stated = [source.url for source in manifest.sources]
    stated += [requirement.url for listed in requirements for requirement in listed]
    full = {without_credentials(urldefrag(url).url): urldefrag(url).url for url in stated if url}
    return [a if a.index else replace(a, url=full.get(a.url, a.url)) for a in artifacts]


def _view_plan(project: Project, store: Store, wanted: Wanted, marker: Mapping[str, object]) -> ViewPlan:
    mode, fold = default_links(os.geteuid())
    if wanted.link_mode:
        mode = LinkMode(wanted.link_mode)
    locked = wanted.selected.locked
    artifacts = dict(sorted(wanted.artifacts.items()))
    return ViewPlan(
        store=project.store,
        project=project.root,
        venv=project.venv,
        name=project.manifest.name,
        target=locked.target.name,
        interpreter=wanted.selected.interpreter,
        objects=tuple(_object(store, artifact) for artifact in artifacts.values()),
        environment=wanted.environment,
        selection=wanted.roots,
        link_mode=mode,
        fold=fold,
        requested=frozenset(key.partition("[")[0] for root in wanted.roots for key in locked.roots.get(root, ())),
        direct_urls={name: _direct_url(project, a) for name, a in artifacts.items() if a.index is None},
        marker={
            **marker,
            "target": locked.target.name,
            "environment": wanted.environment,
            "packages": {name: [artifact.version, artifact.sha256] for name, artifact in artifacts.items()},
        },
    )


def _object(store: Store, artifact: LockedArtifact) -> StoredObject:
    stored = store.find(artifact.sha256)
    if stored is None:
        hints = ["run `gpuenv sync` again"]
        raise StoreError(f"{artifact.filename} vanished from the store while it was needed", hints=hints)
    return stored


def _direct_url(project: Project, artifact: LockedArtifact) -> str:
    """`direct_url.json` (PEP 610) of a wheel that a URL named."""
    url = artifact.url if "://" in artifact.url else (project.root / artifact.url).as_uri()
    return json.dumps({"url": url, "archive_info": {"hashes": {"sha256": artifact.sha256}}}, sort_keys=True)
