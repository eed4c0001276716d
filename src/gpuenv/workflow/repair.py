"""`gpuenv store repair`: what `verify` names is healed in place, or fetched again and exchanged in one step."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import remove_tree
from gpuenv.binaries.elf import origin_paths
from gpuenv.errors import GpuenvError, StoreError
from gpuenv.model.holdings import Checked, Damage, Outcome, Repair
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.manifest import Index
from gpuenv.model.version import InvalidVersion, parse_version
from gpuenv.store.derive import recipes
from gpuenv.store.guard import together
from gpuenv.store.links import artifacts
from gpuenv.store.marks import mark, unmark
from gpuenv.store.mend import mend
from gpuenv.store.store import Store
from gpuenv.store.verify import IN_PLACE, check_object
from gpuenv.view.generations import Generation, History, histories
from gpuenv.view.switch import current
from gpuenv.workflow.derive import made_again
from gpuenv.workflow.fetch import fetch
from gpuenv.workflow.materialise import indexes_of, with_logins
from gpuenv.workflow.project import Project
from gpuenv.workflow.select import as_stored
from gpuenv.workflow.store import verify, views_of

__all__ = ["repair"]


class _Source(NamedTuple):
    """Where an object can be had from again: its artifact, and the project whose lock names it."""

    artifact: LockedArtifact
    project: Project
    indexes: dict[str, Index]


def repair(project: Project, wanted: Sequence[str] = ()) -> Repair:
    """Heal what `verify` names. project: its store is repaired; whose project it is does not matter.

    Raises StoreError where the store cannot be written at all.
    """
    found = verify(project.store, project.progress, wanted)
    if found.damaged and not found.writable:
        causes = [f"{project.store} cannot be written"]
        raise StoreError("nothing was repaired", causes=causes, hints=["run it as the user who owns the store"])
    with together(project.store):
        work = _Repair(project)
        damaged = [checked for checked in found.objects if not checked.whole]
        outcomes = [work.object(checked) for checked in sorted(damaged, key=lambda one: work.is_derived(one.key))]
        outcomes += [work.gone(damage) for damage in found.elsewhere if damage.kind == "gone"]
        outcomes += [work.below(damage) for damage in found.elsewhere if damage.kind == "base"]
        outcomes += [work.link(damage) for damage in found.elsewhere if damage.kind == "link"]
    return Repair(found, tuple(outcomes))


class _Repair:
    """One run: the project that lends its settings, the store, and what its generations know."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._store = Store(project.store)
        self._digests: dict[str, list[str]] = {}
        for digest, key in artifacts(project.store).items():
            self._digests.setdefault(key, []).append(digest)
        self._histories = histories(project.store)
        self._recipes = recipes(project.store)

    def is_derived(self, key: str) -> bool:
        """Is this object made of another one, which has to be healed first?"""
        return key in self._recipes

    def object(self, checked: Checked) -> Outcome:
        """Heal an object that is there."""
        root = self._store.objects / checked.key
        kinds = {damage.kind for damage in checked.damaged}
        if "name" in kinds:
            return Outcome(checked.key, "it is nothing that gpuenv made: move it away or delete it")
        try:
            if kinds <= IN_PLACE:
                mend(root, checked.damaged, origin_paths=origin_paths)
                if self._whole(root):
                    return Outcome(checked.key)
            return self._made(checked.key)
        except OSError as error:
            return Outcome(checked.key, f"{error.strerror}: {error.filename}")

    def gone(self, damage: Damage) -> Outcome:
        """Bring back an object that views need and that is not there."""
        return self._made(damage.object or "")

    def below(self, damage: Damage) -> Outcome:
        """A base store is not ours to mend; the views above it are made anew by the syncs of their projects."""
        key = damage.object or ""
        roots = [str(h.root) for h in self._histories if any(key in map(str, _objects_of(g)) for g in h.generations)]
        return Outcome(key, f"{damage.problem}: run `gpuenv sync` in {', '.join(roots[:3]) or 'their projects'}")

    def link(self, damage: Damage) -> Outcome:
        """A link that leads nowhere: a name of an artifact goes; one of a view may be whole again by now."""
        path = self._store.root / damage.path
        if damage.path.startswith(("artifacts/", "derived/")):
            if path.exists() and damage.problem.endswith("not there"):
                return Outcome(damage.path)  # somebody made it again
            with suppress(OSError):  # the next sync makes it
                remove_tree(path)
            return Outcome(damage.path, None if not os.path.lexists(path) else "it cannot be removed")
        if path.exists():
            return Outcome(damage.path)
        view = damage.path.split("/")[1]
        roots = [h.root for h in self._histories if any(g.view.name == view for g in h.generations)]
        where = f" in {roots[0]}" if roots and roots[0] else ""
        return Outcome(damage.path, f"{damage.problem}: delete views/{view}, then run `gpuenv sync`{where}")

    def _whole(self, root: Path) -> bool:
        found = check_object(root, origin_paths=origin_paths, drop=True, advance=lambda _: None)
        if found.whole:
            unmark(self._store.root, root.name)
        return found.whole

    def _made(self, key: str) -> Outcome:
        """Derive the object again, from an original that is whole; fetch it again if it was not derived."""
        recipe = self._recipes.get(key)
        if recipe is None:
            return self._fetched(key)
        original = self._store.objects / recipe.original
        healed = Outcome(key) if original.is_dir() and self._whole(original) else self._fetched(original.name)
        if healed.problem:
            return Outcome(key, f"it was derived from {original.name}: {healed.problem}")
        mark(self._store.root, key)  # else the store would answer that it has it
        try:
            made = made_again(self._store, original, recipe, self._project.environ)
        except GpuenvError as error:
            if not (self._store.objects / key).exists():
                unmark(self._store.root, key)
            return Outcome(key, ": ".join([error.message, *error.causes[-1:], *error.hints[:1]]))
        if made != key or not self._whole(self._store.objects / key):
            return Outcome(key, "it comes out otherwise now: run `gpuenv sync` where it is needed")
        return Outcome(key, derived=True)

    def _fetched(self, key: str) -> Outcome:
        """Fetch the object's wheel again; the store exchanges the object."""
        sources = list(self._sources(key))
        if not sources:
            return Outcome(key, "no generation's lock says where its wheel came from, and the cache has none")
        root = self._store.objects / key
        problem = ""
        mark(self._store.root, key)  # else the store would answer that it has it
        for source in sources:
            try:
                asyncio.run(self._fetch(source))
            except GpuenvError as error:
                problem = ": ".join([error.message, *error.causes[-1:]])
                continue
            (fetched,) = as_stored({key: source.artifact}, self._store).values()
            stored = self._store.find(fetched.sha256)
            if stored is None or stored.key != key or not self._whole(root):
                problem = f"its wheel {source.artifact.filename} unpacks to something else now"
                continue
            return Outcome(key, fetched=True)
        if not root.exists():
            unmark(self._store.root, key)
        return Outcome(key, problem)

    async def _fetch(self, source: _Source) -> None:
        async with source.project.client() as client:
            await fetch(
                [source.artifact],
                store=self._store,
                client=client,
                indexes=source.indexes,
                progress=source.project.progress,
            )

    # where from

    def _sources(self, key: str) -> Iterator[_Source]:
        """Every place that is known, those of projects that are still there first."""
        digests = self._digests_of(key)
        later = []
        for history in self._histories:
            for entry in reversed(history.generations):
                if any(digest in entry.lock for digest in digests):
                    for source in self._from_lock(history, entry, digests):
                        if history.root is not None and (history.root / "pyproject.toml").is_file():
                            yield source
                        else:
                            later.append(source)
                    break
        yield from later
        name, _, version = key.partition("-")[2].rpartition("-")
        for digest in digests:
            cached = self._project.client().cached_wheel(digest)
            if cached is not None:
                size = cached.stat().st_size
                artifact = LockedArtifact(cached.name, name, version, None, cached.as_uri(), digest, size)
                yield _Source(artifact, self._project, {})

    def _digests_of(self, key: str) -> list[str]:
        """Digests of wheels that unpack to the object: by the names of artifacts, else by what views say."""
        known = self._digests.get(key, [])
        if known:
            return known
        found: dict[str, None] = {}
        views = [self._store.root / "views" / name for name in views_of(self._store.root)]
        entries = [entry.marker for history in self._histories for entry in history.generations]
        for marker in (*(current(view) or {} for view in views), *entries):
            packages = marker.get("packages")
            for name, (version, digest) in packages.items() if isinstance(packages, dict) else ():
                if key.partition("-")[2] == f"{name}-{_canonical(version)}":
                    found[digest] = None
        return list(found)

    def _from_lock(self, history: History, entry: Generation, digests: Sequence[str]) -> Iterator[_Source]:
        """The artifacts of a generation's lock with one of these digests, as its project would fetch them."""
        own = self._project
        at = history.root if history.root is not None else own.root
        project = Project(at, own.store, own.cache, own.environ, offline=own.offline, progress=own.progress)
        try:
            lock = project.decode_lock(entry.lock.encode())
        except GpuenvError:
            return
        wanted = [artifact for artifact in lock.artifacts.values() if {artifact.sha256, artifact.origin} & {*digests}]
        try:
            indexes, wanted = indexes_of(project, lock), with_logins(wanted, project.manifest)
        except GpuenvError:  # the project is gone, or its manifest is broken: the lock alone knows
            stated = [index for index in lock.indexes if index.location is not None]
            indexes = {index.name: Index(index.name, str(index.location), folder=index.folder) for index in stated}
            indexes |= {index.name: project.default_index for index in lock.indexes if index.location is None}
        for artifact in wanted:
            yield _Source(artifact, project, indexes)


def _objects_of(entry: Generation) -> Sequence[object]:
    objects = entry.marker.get("objects")
    return objects if isinstance(objects, list) else ()


def _canonical(version: str) -> str:
    try:
        return str(parse_version(version))
    except InvalidVersion:
        return version
