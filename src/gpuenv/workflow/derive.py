"""Libraries that only a search path leads to: objects of a plan become derived ones, with such paths in their binaries.

What cannot be rewritten stays with preloading (docs/decisions/0017-derived-objects.md).
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from gpuenv.binaries.elf import origin_paths
from gpuenv.binaries.rewritten import change, look
from gpuenv.errors import BinaryError, StoreError
from gpuenv.host.patching import Patchelf, find_patchelf, set_search_path, trace
from gpuenv.model.facts import ObjectFacts
from gpuenv.model.rules import NativeRules
from gpuenv.model.stored import StoredObject, decode_object
from gpuenv.store.derive import Recipe, derive
from gpuenv.store.layout import place_of
from gpuenv.store.store import Store
from gpuenv.view.preload import Installed
from gpuenv.view.runpath import Routes, rerouted, routes
from gpuenv.workflow.published import shipped_providers

__all__ = ["Bound", "bound", "made_again"]

_SPLIT = "it has, or had, code for AMD's GPUs, and tools corrupt such binaries"
_ROCM = "libraries of ROCm are never changed"


class Bound(NamedTuple):
    """What an environment is made of. objects: by name, derived ones among them. installed: with what was added.

    warnings: which programs will not find a library. dead: the binaries, by package and path, that these are about.
    """

    objects: Mapping[str, StoredObject]
    installed: Mapping[str, Installed]
    warnings: tuple[str, ...] = ()
    dead: frozenset[tuple[str, str]] = frozenset()


def bound(
    store: Store,
    objects: Mapping[str, StoredObject],
    installed: Mapping[str, Installed],
    *,
    site_packages: str,
    rules: NativeRules,
    python: str,
    environ: Mapping[str, str],
) -> Bound:
    """Derive objects for whatever neither its own paths nor preloading serve. objects, installed: by name.

    site_packages: where it lies in a view. python: the interpreter of the environment, whose loader is asked about
    what was rewritten. Raises StoreError where patchelf is needed and missing, and where the disk refuses.
    """
    everywhere = frozenset(name for name in installed if rules.of(name).bind == "runpath")
    fixed = _Fixed(store, objects)
    while True:
        ways = routes(installed, site_packages, everywhere=everywhere, fixed=fixed.reason)
        if not ways.added:
            break
        tool = find_patchelf(environ)
        try:
            objects = {**objects, **_derived(store, objects, ways, tool, _loader_of(python))}
            break
        except _Unpatched as error:
            fixed.known[error.name, error.path] = f"it could not be given a search path: {error}"
    told = {(one.name, one.path) for one in ways.dead}
    failed = {place: reason for place, reason in sorted(fixed.failed.items()) if place not in told}
    stuck = [f"{name}: {path} stays as it is: {reason}" for (name, path), reason in failed.items()]
    warnings = (*dict.fromkeys(one.words for one in ways.dead), *stuck)
    return Bound(objects, rerouted(installed, ways.added), warnings, frozenset({*told, *failed}))


def made_again(store: Store, original: Path, recipe: Recipe, environ: Mapping[str, str]) -> str:
    """Derive an object once more, as its recipe has it; returns the key of what came of it. original: its folder.

    Raises StoreError where it cannot be made.
    """
    tool = find_patchelf(environ)
    if recipe.tool != _named(tool):
        causes = [f"it was made with {recipe.tool}, and here is {_named(tool)}"]
        raise StoreError("it cannot be made again", causes=causes, hints=["gpuenv sync"])
    facts = decode_object((original / "facts.msgpack").read_bytes())
    if facts is None:
        raise StoreError(f"the object {original.name} is damaged")
    try:
        return derive(store, facts, recipe, partial(_patch, tool, _loader_of(sys.executable)), origin_paths).key
    except _Unpatched as error:
        raise StoreError("it cannot be made again", causes=[str(error)]) from error


class _Unpatched(Exception):
    """A binary that came out wrong, or not at all; why, in words. path: as its artifact has it."""

    name = path = ""


class _Fixed:
    """Which binaries have to stay as they are, besides those whose facts say so; known: what turned out to be so."""

    def __init__(self, store: Store, objects: Mapping[str, StoredObject]) -> None:
        self._store = store
        self._objects = objects
        self.known: dict[tuple[str, str], str] = {}

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """Those that patchelf was tried on."""
        return {place: reason for place, reason in self.known.items() if reason not in (_SPLIT, _ROCM, "")}

    def reason(self, name: str, found: ObjectFacts) -> str | None:
        """Why a binary must not be changed, if so."""
        place = name, found.path
        if place not in self.known:
            self.known[place] = self._reason(name, found.path)
        return self.known[place] or None

    def _reason(self, name: str, path: str) -> str:
        if name in _rocm_names():
            return _ROCM
        stored = self._objects[name]
        try:
            split = look(self._store.path(stored) / place_of(path, stored.name, stored.version)).is_split
        except (BinaryError, OSError) as error:
            return f"it cannot be read: {error}"
        return _SPLIT if split else ""


@cache
def _rocm_names() -> frozenset[str]:
    """The distributions that are known to bring libraries of ROCm."""
    tables = [rows for (vendor, _), rows in shipped_providers().by_runtime.items() if vendor == "amd"]
    return frozenset(one.name for rows in tables for asked in rows.values() for one in asked)


def _derived(
    store: Store, objects: Mapping[str, StoredObject], ways: Routes, tool: Patchelf, loader: Path | None
) -> dict[str, StoredObject]:
    found = {}
    for name, added in ways.added.items():
        original = objects[name]
        places = {place_of(path, original.name, original.version): path for path in added}
        entries = {place: tuple(one.text for one in added[path]) for place, path in sorted(places.items())}
        recipe = Recipe(original.key, entries, _named(tool))
        found[name] = derive(
            store, original, recipe, _telling(partial(_patch, tool, loader), name, places), origin_paths
        )
    return found


def _telling(
    patch: Callable[[Path, Path, tuple[str, ...]], None], name: str, places: Mapping[str, str]
) -> Callable[[Path, Path, tuple[str, ...]], None]:
    """The same patch, whose error says which binary of which distribution it is about."""

    def told(source: Path, target: Path, entries: tuple[str, ...]) -> None:
        try:
            patch(source, target, entries)
        except _Unpatched as error:
            error.name = name
            error.path = next(path for place, path in places.items() if source.as_posix().endswith(f"/{place}"))
            raise

    return told


def _named(tool: Patchelf) -> str:
    return f"patchelf {tool.version}"


def _patch(tool: Patchelf, loader: Path | None, source: Path, target: Path, entries: tuple[str, ...]) -> None:
    """Add entries to the search path of a copy; it must be as good as the original otherwise, also for the loader."""
    try:
        before = look(source)
        set_search_path(tool, target, (*before.search_path, *entries), rpath=before.has_rpath)
    except (BinaryError, StoreError) as error:
        raise _Unpatched(": ".join([error.message, *error.causes[-1:]])) from error
    problem = change(source, target, entries)
    loader = _glibc(before.elf.interpreter) or loader
    if problem is None and loader is not None:
        problem = _worse(loader, source, target)
    if problem is not None:
        raise _Unpatched(f"with {_named(tool)} {problem}")


def _worse(loader: Path, source: Path, target: Path) -> str | None:
    """What the loader has against the copy, and had not against the original; None: nothing, or it cannot say."""
    old, new = trace(loader, source), trace(loader, target)
    if old is None or new is None or old.problem is not None:
        return None
    if new.problem is not None:
        return f"the loader refuses it: {new.problem}"
    if lost := new.missing - old.missing:
        return f"the loader no longer finds {min(lost)}"
    if lost := new.undefined - old.undefined:
        return f"the loader no longer finds the symbol {min(lost)}"
    return None


@cache
def _loader_of(python: str) -> Path | None:
    """The loader that the interpreter is started with, as `_glibc` has it."""
    try:
        return _glibc(look(Path(os.path.realpath(python))).elf.interpreter)
    except (BinaryError, OSError):
        return None


def _glibc(interpreter: str | None) -> Path | None:
    """A program's loader, if this machine has it and it is glibc's, which can be asked."""
    loader = Path(interpreter) if interpreter else None
    return loader if loader is not None and "musl" not in loader.name and loader.exists() else None
