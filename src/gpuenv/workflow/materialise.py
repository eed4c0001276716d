"""From a plan to `.venv`: fetch what the store lacks, link a view, record the generation, switch."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urldefrag

from gpuenv.errors import StoreError
from gpuenv.model.filename import is_native
from gpuenv.model.lock import Lock, LockedArtifact, LockedPackage
from gpuenv.model.manifest import Index, Manifest
from gpuenv.model.plan import Plan
from gpuenv.model.stored import StoredObject
from gpuenv.model.url import without_credentials
from gpuenv.store.commit import exchange, sync_filesystem
from gpuenv.store.store import Store
from gpuenv.view.build import build_view, mark_again
from gpuenv.view.generations import record_generation
from gpuenv.view.plan import LinkMode, Links, ViewPlan, default_links
from gpuenv.view.switch import refuse_foreign, switch
from gpuenv.workflow.project import Project
from gpuenv.workflow.select import Selected, as_stored

if TYPE_CHECKING:
    from gpuenv.model.facts import NativeFacts
    from gpuenv.view.libraries import LibraryFiles
    from gpuenv.view.preload import Installed
    from gpuenv.workflow.verify import NativeReader

__all__ = ["Made", "Wanted", "built", "indexes_of", "materialise", "with_logins"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The environment that is to be. packages: what is selected of the target. artifacts: theirs, by name.

    roots: the selected extras and groups, as root names. development_links: as an earlier view's marker had them; None:
    as the manifest says. links: how the view is to hold files, as its marker had it;
    None: as flag, manifest and user say. anew: make the view again, also if it is there. compiled: with the bytecode of
    every module.
    """

    selected: Selected
    packages: tuple[LockedPackage, ...]
    artifacts: Mapping[str, LockedArtifact]
    roots: tuple[str, ...]
    environment: str
    link_mode: str | None
    links: Links | None = None
    anew: bool = False
    development_links: tuple[str, ...] | None = None
    compiled: bool = False


class Made(NamedTuple):
    """A view that is there. switched: `.venv` led elsewhere before. warnings: what the machine lacks for binaries."""

    view: Path
    switched: bool
    warnings: tuple[str, ...]


class _Checked(NamedTuple):
    """What the binaries of an environment come to. preload, libraries: as `ViewPlan` has it. facts: by package.

    objects: by package, derived ones among them; none where no package needs one of another. installed: likewise.
    dead: binaries, by package and path, that are known not to find their libraries.
    """

    warnings: tuple[str, ...] = ()
    preload: Mapping[str, tuple[str, ...]] = {}
    facts: Mapping[str, "NativeFacts"] = {}
    libraries: "LibraryFiles | None" = None
    objects: Mapping[str, StoredObject] = {}
    installed: Mapping[str, "Installed"] = {}
    dead: frozenset[tuple[str, str]] = frozenset()


def materialise(
    project: Project,
    store: Store,
    lock: Lock,
    lock_text: str,
    wanted: Wanted,
    plan: Plan,
    marker: Mapping[str, object],
    warnings: tuple[str, ...] = (),
) -> Made:
    """Make `.venv` the wanted environment; what binaries ask of the machine is checked before.

    Until the switch, which is one rename, the environment before it stays as it was. Raises IntegrityError where a
    wheel is not what the lock relies on. warnings: what the marker of the view holds besides those that come up here.
    """
    refuse_foreign(project.venv)  # before the downloads, not after them
    view, found = built(project, store, lock, wanted, plan, marker, warnings)
    record_generation(project.store, project=project.root, name=project.manifest.name, view=view, lock=lock_text)
    return Made(view, switch(project.venv, view), found)


def built(
    project: Project,
    store: Store,
    lock: Lock,
    wanted: Wanted,
    plan: Plan,
    marker: Mapping[str, object],
    warnings: tuple[str, ...] = (),
) -> tuple[Path, tuple[str, ...]]:
    """The first half of `materialise`: the view, which nothing names yet, and the warnings that came up."""
    reader = None
    if plan.fetch or any(is_native(artifact.filename) for artifact in wanted.artifacts.values()):
        from gpuenv.workflow.verify import NativeReader  # dear to import, and many environments have no binaries

        reader = NativeReader(project)
        if plan.fetch:
            _fetch(project, store, lock, plan, reader)
            wanted = replace(wanted, artifacts=as_stored(wanted.artifacts, store))
    objects = {name: _object(store, artifact) for name, artifact in wanted.artifacts.items()}
    if any(artifact.variant for artifact in wanted.artifacts.values()):
        from gpuenv.workflow.variants import refuse_false_variants  # few environments have any

        refuse_false_variants(store, wanted.artifacts, objects)
    checked = _checked(project, store, wanted, objects, reader) if reader else _Checked()
    checked = checked._replace(libraries=_libraries(project, store, wanted, objects, checked.facts))
    found = (*_slips(objects.values()), *checked.warnings)
    objects |= checked.objects
    marker = {**marker, "warnings": [*warnings, *found]}
    view_plan = _view_plan(project, store, wanted, objects, marker, checked)
    # what a killed sync leaves answers no question yet
    unfinished = replace(view_plan, marker={**view_plan.marker, "asked": ""}) if wanted.compiled else view_plan
    view = build_view(unfinished, exchange=exchange, flush=sync_filesystem, anew=wanted.anew)
    _check_binding(project, store, wanted, view_plan, checked)
    if wanted.compiled:
        from gpuenv.workflow.bytecode import compile_bytecode

        found += compile_bytecode(view, view_plan, project.progress)
        mark_again(view_plan)
    return view, found


def _slips(objects: Iterable[StoredObject]) -> Iterator[str]:
    for stored in objects:
        if stored.unlike:
            more = f" (and {len(stored.unlike) - 1} more)" if len(stored.unlike) > 1 else ""
            yield f"{stored.name} {stored.version}: {stored.unlike[0]}{more} is not what the wheel's RECORD says"


def _checked(
    project: Project, store: Store, wanted: Wanted, objects: Mapping[str, StoredObject], reader: "NativeReader"
) -> _Checked:
    """What the binaries of all say of each other and of the machine."""
    from gpuenv.workflow import verify

    places = {name: store.path(stored) for name, stored in objects.items()}
    known = {
        name: found
        for name, artifact in wanted.artifacts.items()
        if (found := reader.facts(artifact, places[name])) is not None
    }
    locked, rules, selected = wanted.selected.locked, verify.rules_of(project), wanted.selected
    asked = verify.asked_of_machine(
        locked, wanted.packages, wanted.artifacts, known, project=project.manifest.name, rules=rules
    )
    if not asked and not any(package.libraries for package in wanted.packages):
        return _Checked(facts=known)
    from gpuenv.view.preload import preload_list
    from gpuenv.workflow.derive import bound

    here = selected.machine.platform == locked.target.platform
    judged = verify.judge(asked, selected.interpreter.path, locked.target, project.environ) if here else ()
    hosted = verify.hosted(judged)
    installed = verify.installed(locked, wanted.packages, known, places, rules=rules, hosted=hosted)
    made = bound(
        store,
        objects,
        installed,
        site_packages=f"lib/python{selected.interpreter.tag}/site-packages",
        rules=rules,
        python=selected.interpreter.path,
        environ=project.environ,
    )
    warnings = (*verify.warnings(judged), *made.warnings)
    return _Checked(warnings, preload_list(made.installed), known, None, made.objects, made.installed, made.dead)


def _check_binding(project: Project, store: Store, wanted: Wanted, plan: ViewPlan, checked: _Checked) -> None:
    """Raise Misbound where the loader would take other libraries of the finished view than the lock has it."""
    selected, locked = wanted.selected, wanted.selected.locked
    native = any(found.needed for facts in checked.facts.values() for found in facts.objects)
    if not native or selected.machine.platform != locked.target.platform:
        return
    from gpuenv.workflow import binding, verify

    places = {stored.name: store.path(stored) for stored in plan.objects}
    distributions = binding.live(
        locked, wanted.packages, checked.facts, places, rules=verify.rules_of(project), made=checked.installed
    )
    site, python = str(plan.path / plan.site_packages), selected.interpreter.path
    found = binding.check(distributions, site, preload=plan.preload, python=python, cpu=selected.machine.cpu)
    titles = {name: f"{name} {artifact.version}" for name, artifact in wanted.artifacts.items()}
    binding.refuse_misbound((one for one in found.findings if (one.package, one.path) not in checked.dead), titles)


def _libraries(
    project: Project,
    store: Store,
    wanted: Wanted,
    objects: Mapping[str, StoredObject],
    facts: Mapping[str, "NativeFacts"],
) -> "LibraryFiles | None":
    """What others may open or link with: their table, and development links where the manifest asks for them."""
    patterns = _linked(project, wanted)
    if not facts and not patterns:
        return None
    from gpuenv.model.stored import decode_listing
    from gpuenv.view.libraries import Carried, library_files

    carried = []
    for package in wanted.packages:
        stored = objects[package.name]
        linked = any(fnmatchcase(package.name, pattern) for pattern in patterns)
        listed = linked or (patterns and "data" in stored.shallow[""].directories)
        listing = decode_listing((store.path(stored) / "listing.msgpack").read_bytes()) if listed else ()
        known = facts.get(package.name)
        carried.append(Carried(package.name, stored.version, known, package.libraries, listing or (), linked))
    site_packages = f"lib/python{wanted.selected.interpreter.tag}/site-packages"
    return library_files(carried, wanted.selected.locked.target, site_packages)


def _linked(project: Project, wanted: Wanted) -> tuple[str, ...]:
    return project.manifest.development_links if wanted.development_links is None else wanted.development_links


def _fetch(project: Project, store: Store, lock: Lock, plan: Plan, reader: "NativeReader") -> None:
    import asyncio  # dear to import, and most syncs have everything at hand

    from gpuenv.workflow.fetch import fetch

    async def run() -> None:
        async with project.client() as client:
            indexes = indexes_of(project, lock)
            artifacts = with_logins(plan.fetch, project.manifest)
            await fetch(
                artifacts,
                store=store,
                client=client,
                indexes=indexes,
                progress=project.progress,
                pass_by=reader.pass_by,
            )

    asyncio.run(run())


def indexes_of(project: Project, lock: Lock) -> dict[str, Index]:
    """The lock's indexes as this machine reaches them: the manifest's own (with credentials), else the lock's."""
    stated = {index.name: index for index in project.manifest.indexes}
    found = {}
    for index in lock.indexes:
        if index.location is None:
            found[index.name] = project.default_index
        else:
            found[index.name] = stated.get(index.name) or Index(index.name, index.location, folder=index.folder)
    return found


def with_logins(artifacts: Iterable[LockedArtifact], manifest: Manifest) -> list[LockedArtifact]:
    """The artifacts; direct URLs with the credentials that the manifest has for them and the lock has not."""
    requirements = [manifest.dependencies, manifest.overrides]
    for tables in (manifest.extras, manifest.groups, manifest.target_dependencies):
        requirements += tables.values()
    stated = [source.url for source in manifest.sources]
    stated += [requirement.url for listed in requirements for requirement in listed]
    full = {without_credentials(urldefrag(url).url): urldefrag(url).url for url in stated if url}
    return [a if a.index else replace(a, url=full.get(a.url, a.url)) for a in artifacts]


def _view_plan(
    project: Project,
    store: Store,
    wanted: Wanted,
    objects: Mapping[str, StoredObject],
    marker: Mapping[str, object],
    checked: _Checked,
) -> ViewPlan:
    links = wanted.links or _links(project, wanted.link_mode)
    elsewhere = {stored.name: store.path(stored) for stored in objects.values() if store.base(stored)}
    if wanted.links is None and not wanted.link_mode:
        links = links.beside(elsewhere)
    locked = wanted.selected.locked
    artifacts = dict(sorted(wanted.artifacts.items()))
    return ViewPlan(
        store=project.store,
        project=project.root,
        venv=project.venv,
        name=project.manifest.name,
        target=locked.target.name,
        interpreter=wanted.selected.interpreter,
        objects=tuple(objects[name] for name in artifacts),
        environment=wanted.environment,
        selection=wanted.roots,
        link_mode=links.link_mode,
        fold=links.fold,
        unfold=links.unfold,
        link_modes=links.link_modes,
        elsewhere={path.name: path for path in elsewhere.values()},
        requested=frozenset(key.partition("[")[0] for root in wanted.roots for key in locked.roots.get(root, ())),
        direct_urls={name: _direct_url(project, a) for name, a in artifacts.items() if a.index is None},
        preload=checked.preload,
        libraries=checked.libraries,
        marker={
            **marker,
            "target": locked.target.name,
            "environment": wanted.environment,
            "selection": list(wanted.roots),
            "development_links": list(_linked(project, wanted)),
            "packages": {name: [artifact.version, artifact.sha256] for name, artifact in artifacts.items()},
        },
    )


def _links(project: Project, asked: str | None) -> Links:
    """How the view holds files: by the flag, else as is safe for the user; packages as the manifest says."""
    mode, fold = default_links(os.geteuid())
    rules = project.manifest.rules.packages
    return Links(
        LinkMode(asked) if asked else mode,
        fold,
        frozenset(name for name, rule in rules.items() if rule.unfold),
        {name: LinkMode(rule.link_mode) for name, rule in rules.items() if rule.link_mode},
    )


def _object(store: Store, artifact: LockedArtifact) -> StoredObject:
    stored = store.find(artifact.sha256, (artifact.name, artifact.version))
    if stored is None:
        hints = ["run `gpuenv sync` again"]
        raise StoreError(f"{artifact.filename} vanished from the store while it was needed", hints=hints)
    return stored


def _direct_url(project: Project, artifact: LockedArtifact) -> str:
    """`direct_url.json` (PEP 610) of a wheel that a URL named."""
    url = artifact.url if "://" in artifact.url else (project.root / artifact.url).as_uri()
    return json.dumps({"url": url, "archive_info": {"hashes": {"sha256": artifact.sha256}}}, sort_keys=True)
