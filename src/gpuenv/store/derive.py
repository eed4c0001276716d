"""Objects derived from others: the same files, but for some binaries with a search path of their own.

    <store>/derived/<digest>.json    the recipe: the original, the entries added to each binary, the tool
    <store>/derived/<digest>         a link to the object that came of it

A derived object is an object like any other, named by its content. What is as in the original is a hard link to it. A
recipe is named by its own digest, so it vouches for itself; it says from what an object can be made again.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import staging
from gpuenv.errors import StoreError
from gpuenv.model.stored import Directory, StoredFile, StoredObject, decode_listing, decode_object
from gpuenv.store.commit import publish, replace, settle, sync_filesystem
from gpuenv.store.links import follow, inodes
from gpuenv.store.marks import is_damaged, mark, unmark
from gpuenv.store.restate import restate
from gpuenv.store.store import OriginPaths, Store
from gpuenv.store.survey import digest_of
from gpuenv.store.tree import TreeFile, links_in, tree_hash
from gpuenv.store.unpack import MTIME, close_directories, make_links, write_facts

__all__ = ["Patch", "Recipe", "dead_names", "derive", "find_derived", "own_bytes", "recipes"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
_ELF = b"\x7fELF"

# (the original binary, the copy to change, the entries to add)
Patch = Callable[[Path, Path, tuple[str, ...]], None]


class Recipe(NamedTuple):
    """How an object was derived. original: its key. entries: added to search paths, by path in the object.

    tool: name and version of the program that writes them, for others give other bytes.
    """

    original: str
    entries: Mapping[str, tuple[str, ...]]
    tool: str

    @property
    def text(self) -> str:
        """Its canonical form, JSON."""
        entries = {path: list(added) for path, added in self.entries.items()}
        parts = {"derived": 1, "original": self.original, "entries": entries, "tool": self.tool}
        return json.dumps(parts, ensure_ascii=False, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """Its name: the sha256 of its canonical form."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def recipes(root: Path) -> dict[str, Recipe]:
    """The recipe of each derived object of a store, by the object's key; those that are damaged are left out."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(root / "derived") as entries:
        for entry in entries:
            if entry.is_symlink() and not entry.name.startswith("."):
                recipe = _recipe(root, entry.name)
                if recipe is not None:
                    found[os.path.basename(os.readlink(entry.path))] = recipe  # noqa: PTH115, PTH119
    return found


def _recipe(root: Path, digest: str) -> Recipe | None:
    try:
        data = (root / "derived" / f"{digest}.json").read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        said = json.loads(data)
        entries = {str(path): tuple(map(str, added)) for path, added in said["entries"].items()}
        return Recipe(str(said["original"]), entries, str(said["tool"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_derived(root: Path, recipe: Recipe) -> StoredObject | None:
    """The object that came of a recipe, if it is here and not known to be damaged."""
    link = root / "derived" / recipe.digest
    try:
        found = decode_object((link / "facts.msgpack").read_bytes())
    except OSError:
        return None
    here = found is not None and not is_damaged(root, found.key) and _recipe(root, recipe.digest) == recipe
    return found if here else None


def dead_names(root: Path, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """The names below `derived/` that serve nothing, and why. known: keys that are missed by others already."""
    with suppress(FileNotFoundError), os.scandir(root / "derived") as entries:
        for entry in entries:
            if not entry.is_symlink():
                continue
            key = os.path.basename(os.readlink(entry.path))  # noqa: PTH115, PTH119
            if _recipe(root, entry.name) is None:
                yield entry.name, "has no recipe that gives its name"
            elif key not in known and not (root / "objects" / key).is_dir():
                yield entry.name, f"leads to {key}, which is not there"


def own_bytes(root: Path, key: str, recipe: Recipe) -> int | None:
    """The bytes of a derived object that are not its original's; None where it shares none with it."""
    made, original = root / "objects" / key, root / "objects" / recipe.original
    files = _listed(made)
    shared = next((path for path in files if path not in recipe.entries), None)
    with suppress(OSError):
        if shared is not None and (made / shared).samefile(original / shared):
            return sum(file.size for path, file in files.items() if path in recipe.entries)
    return None


def derive(
    store: Store, original: StoredObject, recipe: Recipe, patch: Patch, origin_paths: OriginPaths
) -> StoredObject:
    """The object that the recipe makes of its original: of the store or a base, or made now, by one process at a time.

    patch: adds entries to a copy of a binary. Raises StoreError where the original is damaged or the disk refuses, and
    what `patch` raises.
    """
    try:
        with store.lock_artifact(recipe.digest):
            found = find_derived(store.root, recipe)
            if found is not None:
                return found
            for base in store.bases:
                if (found := find_derived(base.root, recipe)) is not None and not is_damaged(store.root, found.key):
                    return store.below(found, base)
            store.objects.mkdir(parents=True, exist_ok=True)
            with staging(store.root / "tmp") as directory:
                target = directory / "object"
                target.mkdir()
                stored = _Making(store, original, recipe, patch, origin_paths).fill(target)
                _publish(store.root, directory, stored, recipe)
                return stored
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        causes = [f"{error.strerror or error}{where}"]
        raise StoreError(f"cannot derive an object from {original.key}", causes=causes) from error


class _Making(NamedTuple):
    """One derivation: from where, and how."""

    store: Store
    original: StoredObject
    recipe: Recipe
    patch: Patch
    origin_paths: OriginPaths

    def fill(self, target: Path) -> StoredObject:
        """Make the tree of the derived object in an empty directory, with its facts."""
        source = self.store.path(self.original)
        listing = decode_listing((source / "listing.msgpack").read_bytes())
        if listing is None:
            raise self._damaged("its listing cannot be read")
        files = dict(_files(listing))
        for directory in listing:
            if directory.path:
                (target / directory.path).mkdir()
        for path, file in files.items():
            if path in self.recipe.entries:
                self._copy(source / path, target / path, file)
            elif self.store.base(self.original) is None:
                _link(source / path, target / path)
            else:  # a hard link would be a change in the base
                shutil.copy2(source / path, target / path)
        links = list(links_in(listing))
        make_links(target, links)
        # not before all are there: a binary is looked at among its neighbours
        for path, entries in self.recipe.entries.items():
            if path not in files:
                raise self._damaged(f"it has no {path}")
            self.patch(source / path, target / path, entries)
            (target / path).chmod(0o555 if files[path].executable else 0o444)
            os.utime(target / path, (MTIME, MTIME))
        made = [self._file(target, path, file) for path, file in files.items()]
        name, version = self.original.name, self.original.version
        right = restate(target, made, links, f"{tree_hash(made, links)}-{name}-{version}")
        if right is None:
            raise self._damaged("what it says of itself cannot be read")
        write_facts(target, *right)
        close_directories(str(target), [directory.path for directory in right[1]], made)
        return right[0]

    def _copy(self, source: Path, target: Path, file: StoredFile) -> None:
        """A copy to change, of bytes that are those that were unpacked."""
        shutil.copyfile(source, target)
        target.chmod(0o644)
        sha256, _ = digest_of(str(target), lambda _: None)
        if sha256 != file.sha256:
            raise self._damaged(f"{file.name} has other bytes than were unpacked")

    def _file(self, target: Path, path: str, file: StoredFile) -> TreeFile:
        full = target / path
        size, sha256 = file.size, file.sha256
        if path in self.recipe.entries:
            sha256, _ = digest_of(str(full), lambda _: None)
            size = full.stat().st_size
        with full.open("rb") as stream:
            origins = tuple(self.origin_paths(full)) if stream.read(4) == _ELF else ()
        return TreeFile(path, size, sha256, file.executable, origins)

    def _damaged(self, cause: str) -> StoreError:
        with suppress(OSError):
            mark(self.store.root, self.original.key)
        return StoreError(
            f"the object {self.original.key} is damaged", causes=[cause], hints=["run `gpuenv sync` again"]
        )


def _publish(root: Path, directory: Path, stored: StoredObject, recipe: Recipe) -> None:
    """Make what waits at `directory/object` visible, and then its name; a damaged object that is there is exchanged."""
    names, final, staged = root / "derived", root / "objects" / stored.key, directory / "object"
    names.mkdir(exist_ok=True)
    (directory / "recipe").write_text(recipe.text, "utf-8")
    (directory / "recipe").chmod(0o444)
    (directory / "name").symlink_to(f"../objects/{stored.key}")
    sync_filesystem(root)
    if publish(staged, final):
        pass
    elif is_damaged(root, stored.key):
        before = inodes(final)
        replace(staged, final)
        follow(root, before, final)
    else:
        settle(final)
    unmark(root, stored.key)
    (directory / "recipe").rename(names / f"{recipe.digest}.json")
    (directory / "name").rename(names / recipe.digest)


def _listed(root: Path) -> dict[str, StoredFile]:
    """The files of an object by path; none where its listing cannot be read."""
    try:
        return dict(_files(decode_listing((root / "listing.msgpack").read_bytes()) or ()))
    except OSError:
        return {}


def _files(listing: tuple[Directory, ...]) -> Iterator[tuple[str, StoredFile]]:
    for directory in listing:
        start = f"{directory.path}/" if directory.path else ""
        for file in directory.files:
            yield start + file.name, file


def _link(source: Path, target: Path) -> None:
    """A hard link; where the system refuses one, a copy with its permissions and times."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(source, target)
