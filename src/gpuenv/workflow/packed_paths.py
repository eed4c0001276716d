"""Search paths of a tree's binaries that name the place of its installation, made relative to the binaries."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gpuenv.binaries.rewritten import change, look
from gpuenv.bundle.prefix import Relocator
from gpuenv.bundle.tree import FoundFile
from gpuenv.errors import BinaryError, StoreError
from gpuenv.host.patching import Patchelf, find_patchelf, set_search_path
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.view.runpath import is_fixed

__all__ = ["Repathed", "repathed"]


class Repathed(NamedTuple):
    """files: binaries with another search path, by path in the environment. told: texts in binaries, by path, that

    stand in search paths and were dealt with. warnings: which binaries had to stay as they are.
    """

    files: dict[str, FoundFile]
    told: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]


def repathed(
    files: Mapping[str, FoundFile],
    facts: NativeFacts,
    root: str,
    relocator: Relocator,
    scratch: Path,
    environ: Mapping[str, str],
) -> Repathed:
    """Give copies in `scratch` the search paths that their new places want.

    files: by path in the environment. facts: of all, their paths below `root`. Raises StoreError where patchelf is
    needed and missing.
    """
    changed: dict[str, FoundFile] = {}
    told: dict[str, tuple[str, ...]] = {}
    warnings: list[str] = []
    tool = cache(lambda: find_patchelf(environ))
    for found in facts.objects:
        path = found.path.removeprefix(root)
        entries = found.runpath or found.rpath
        wanted = _wanted(files[path].path, path, entries, relocator)
        if wanted == entries:
            continue
        told[path] = tuple(":".join(entries[number:]) for number in range(len(entries)))
        try:
            changed[path] = _copy(found, files[path], wanted, scratch / f"{len(changed)}", tool)
        except (_Fixed, BinaryError, StoreError) as problem:
            if isinstance(problem, StoreError) and not tool.cache_info().currsize:
                raise
            named = ":".join(entries)
            warnings.append(f"{path} keeps its search path {named}: {problem}")
    return Repathed(changed, told, tuple(warnings))


class _Fixed(Exception):
    """A binary must stay as it is; why, in words."""


def _wanted(old: str, new: str, entries: Sequence[str], relocator: Relocator) -> tuple[str, ...]:
    """The search path for the new place; as it was where nothing is lost."""
    known = {_plain(entry) for entry in entries}
    moved = [relocator.origin(old, new, entry) for entry in entries]
    lost = [
        (entry, better)
        for entry, better in zip(entries, moved, strict=True)
        if better is not None and (entry.startswith("/") or better not in known)
    ]
    if not lost:
        return tuple(entries)
    return tuple(dict.fromkeys(better or entry for entry, better in zip(entries, moved, strict=True)))


def _plain(entry: str) -> str:
    """An entry as `Relocator.origin` would write it."""
    text = entry.replace("${ORIGIN}", "$ORIGIN").rstrip("/")
    return text.removesuffix("/.") or "/"


def _copy(
    found: ObjectFacts, file: FoundFile, entries: tuple[str, ...], place: Path, tool: Callable[[], Patchelf]
) -> FoundFile:
    if is_fixed(found):
        raise _Fixed("binaries of ROCm, or with code for AMD's GPUs, are never changed")
    before = look(file.place)
    if before.is_split:
        raise _Fixed("it has, or had, code for AMD's GPUs, and tools corrupt such binaries")
    shutil.copyfile(file.place, place)
    place.chmod(0o600)
    set_search_path(tool(), place, entries, rpath=before.has_rpath)
    if (problem := change(file.place, place, entries, instead=True)) is not None:
        raise _Fixed(f"rewritten, {problem}")
    return file._replace(place=place, size=place.stat().st_size)
