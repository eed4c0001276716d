"""`gpuenv store list` and `verify`: what the store holds and for whom, and whether all of it is as it was unpacked."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from gpuenv.binaries.elf import origin_paths
from gpuenv.errors import StoreError, UsageError
from gpuenv.model.holdings import Below, Checked, Damage, Held, Inventory, Tenant, Verified
from gpuenv.model.progress import Progress
from gpuenv.model.stored import decode_object
from gpuenv.model.version import parse_version
from gpuenv.store.below import bases_of, lost
from gpuenv.store.derive import Recipe, dead_names, own_bytes, recipes
from gpuenv.store.guard import together
from gpuenv.store.links import artifacts, dead_links
from gpuenv.store.marks import damaged_keys, mark, unmark
from gpuenv.store.verify import check_object
from gpuenv.view.generations import histories
from gpuenv.view.switch import current, linked_view

__all__ = ["inventory", "markers_of", "named", "verify", "views_of"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEP = "verify"
_AT_ONCE = 8
_IN_A_FILE = ("content", "size", "mode")  # damage that hard links share


# what is there


def inventory(store: Path) -> Inventory:
    """Everything in the store, from its facts and its generations; reads no file of an object but its facts."""
    held_by: dict[str, dict[str, None]] = {}
    tenants: dict[str, tuple[int, set[str], set[str]]] = {}
    by_digest = artifacts(store)
    for history in histories(store):
        project = str(history.root or history.folder.name)
        count, views, objects = tenants.get(project, (0, set(), set()))
        for entry in history.generations:
            views.add(entry.view.name)
            objects |= _named(entry.marker)
            objects |= {by_digest[one] for one in _SHA256.findall(entry.lock) if one in by_digest}
        tenants[project] = (count + len(history.generations), views, objects)
        for key in objects:
            held_by.setdefault(key, {})[project] = None
    linked: dict[str, int] = {}
    markers = markers_of(store)
    for keys in map(_named, markers.values()):
        for key in keys:
            linked[key] = linked.get(key, 0) + 1
    marked = damaged_keys(store)
    found = [
        _held(store / "objects" / key, tuple(sorted(held_by.get(key, ()))), linked.get(key, 0), key in marked)
        for key in _objects(store)
    ]
    made = recipes(store)
    found = [_without_shared(store, one, made[one.key]) if one.key in made else one for one in found]
    sizes = {one.key: one.size for one in found}
    return Inventory(
        tuple(sorted(found, key=lambda one: (one.name, one.version, one.key))),
        tuple(_tenant(name, tenants[name], held_by, sizes) for name in sorted(tenants)),
        len(markers),
        tuple(_bases(markers.values())),
    )


def _bases(markers: Iterable[Mapping[str, object]]) -> Iterator[Below]:
    """What views take from base stores."""
    taken: dict[Path, set[str]] = {}
    gone: dict[Path, set[str]] = {}
    for marker in markers:
        for base, keys in bases_of(marker).items():
            taken.setdefault(base, set()).update(keys)
        for base, keys in lost(marker).items():
            gone.setdefault(base, set()).update(keys)
    for base, objects in sorted(taken.items()):
        there = [_held(base / "objects" / key, (), 0, False).size for key in objects - gone.get(base, set())]
        yield Below(str(base), len(there), sum(there), tuple(sorted(gone.get(base, ()))))


def _held(root: Path, projects: tuple[str, ...], views: int, damaged: bool) -> Held:
    name, _, version = root.name.partition("-")[2].rpartition("-")
    try:
        facts = decode_object((root / "facts.msgpack").read_bytes())
    except OSError:
        facts = None
    return Held(root.name, name, version, facts.size if facts else 0, projects, views, damaged or facts is None)


def _without_shared(store: Path, one: Held, recipe: Recipe) -> Held:
    """A derived object, without what it shares with its original."""
    size = own_bytes(store, one.key, recipe)
    return one if size is None else one._replace(size=size)


def _tenant(
    name: str,
    known: tuple[int, set[str], set[str]],
    held_by: Mapping[str, Mapping[str, None]],
    sizes: Mapping[str, int],
) -> Tenant:
    generations, views, keys = known
    here = keys & sizes.keys()
    own = sum(sizes[key] for key in here if len(held_by[key]) == 1)
    return Tenant(name, generations, len(views), len(here), own, sum(sizes[key] for key in here) - own)


def _objects(store: Path) -> list[str]:
    try:
        return sorted(os.listdir(store / "objects"))  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError("cannot read the store", causes=[f"{error.strerror}: {error.filename}"]) from error


def views_of(store: Path) -> dict[str, frozenset[str]]:
    """Every view's name, with the keys of the objects that it says it holds."""
    return {name: _named(marker) for name, marker in markers_of(store).items()}


def markers_of(store: Path) -> dict[str, Mapping[str, object]]:
    """Every view's name, with its marker; empty where that cannot be read."""
    try:
        names = sorted(os.listdir(store / "views"))  # noqa: PTH208
    except FileNotFoundError:
        return {}
    return {name: current(store / "views" / name) or {} for name in names}


def _named(marker: Mapping[str, object]) -> frozenset[str]:
    objects = marker.get("objects")
    return frozenset(map(str, objects)) if isinstance(objects, list) else frozenset()


# is it whole


def verify(store: Path, progress: Progress, wanted: Sequence[str] = ()) -> Verified:
    """Read every byte of every object, or of those wanted, and follow every link; name what is not as it has to be.

    Where the store can be written, damaged objects are marked, so that sync fetches them again, and bytecode that
    nothing vouches for is dropped. wanted: as `named` has it.
    """
    keys = named(store, wanted) if wanted else _objects(store)
    writable = store.is_dir() and os.access(store, os.W_OK, effective_ids=True)
    checked = _check(store, keys, progress, drop=writable)  # without the lock: gc need not wait for gigabytes
    with together(store) if writable else nullcontext():
        views = markers_of(store) if not wanted else {}
        elsewhere = tuple(_elsewhere(store, views)) if not wanted else ()
        writable = writable and _remember(store, checked)
    return Verified(checked, elsewhere, len(views), writable)


def named(store: Path, wanted: Iterable[str]) -> list[str]:
    """The keys of objects by key, beginning of a key, `name`, `name-version` or a path; raises UsageError."""
    here = _objects(store)
    found: dict[str, None] = {}
    for text in wanted:
        word = text.rstrip("/").rpartition("/")[2]
        rest = {key: key.partition("-")[2] for key in here}
        matching = [key for key in here if key.startswith(word) or word in (rest[key], rest[key].rpartition("-")[0])]
        if not word or not matching:
            raise UsageError(f"the store has no object `{text}`", hints=["gpuenv store list"])
        found |= dict.fromkeys(matching)
    return list(found)


def _check(store: Path, keys: Sequence[str], progress: Progress, *, drop: bool) -> tuple[Checked, ...]:
    sizes = {key: _held(store / "objects" / key, (), 0, False).size for key in keys}

    def check(key: str) -> Checked | None:
        root = store / "objects" / key
        while (before := _inode(root)) is not None:
            try:
                found = check_object(
                    root, origin_paths=origin_paths, drop=drop, advance=lambda read: progress.advance(_STEP, read)
                )
            except FileNotFoundError:
                if _inode(root) == before:
                    raise
                continue
            if found.whole or _inode(root) == before:
                return found
        return None  # garbage was collected meanwhile

    progress.begin(_STEP, sum(sizes.values()))
    try:
        # the largest first: the others are done while it is read
        with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
            found = list(pool.map(check, sorted(keys, key=lambda key: -sizes[key])))
    except OSError as error:
        raise StoreError("cannot read the store", causes=[f"{error.strerror}: {error.filename}"]) from error
    finally:
        progress.end(_STEP)
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.key))


def _inode(root: Path) -> int | None:
    try:
        return root.lstat().st_ino
    except FileNotFoundError:
        return None


def _elsewhere(store: Path, views: Mapping[str, Mapping[str, object]]) -> Iterator[Damage]:
    """Links that lead nowhere. An object that is gone is named once, not link by link."""
    here = frozenset(_objects(store))
    gone: dict[str, list[str]] = {}
    dead: list[Damage] = []
    lost_by: dict[tuple[Path, str], None] = {}
    present = (linked_view(history.root / ".venv") for history in histories(store) if history.root)
    used = {view.name for view in present if view is not None}
    for name, marker in views.items():
        below = {key for keys in bases_of(marker).values() for key in keys}
        if name in used:  # a rollback makes others again
            lost_by |= {(base, key): None for base, keys in lost(marker).items() for key in keys}
        into = {key for key in _named(marker) - below if key not in here}
        broken = [link for link in dead_links(store / "views" / name) if link.key not in below]
        into |= {link.key for link in broken if link.key is not None and link.key not in here}
        for link in broken:
            # a link of a package to another one in the view follows what that leads to
            if link.key in here or (link.key is None and not into):
                problem = f"leads to {link.target}, which is not there"
                dead.append(Damage(None, f"views/{name}/{link.path}", problem, "link"))
        for key in into:
            gone.setdefault(key, []).append(name)
    for key, names in sorted(gone.items()):
        need = "a view needs" if len(names) == 1 else f"{len(names)} views need"
        yield Damage(key, "", f"is gone, and {need} it", "gone")
    for base, key in sorted(lost_by):
        yield Damage(key, "", f"is gone from the base store {base}, or damaged there, and views need it", "base")
    yield from dead
    for digest, key in sorted(artifacts(store).items()):
        if key not in here and key not in gone:
            yield Damage(None, f"artifacts/{digest}", f"leads to {key}, which is not there", "link")
    yield from _misled(store, views.values())
    for digest, problem in sorted(dead_names(store, gone)):
        yield Damage(None, f"derived/{digest}", problem, "link")


def _sharing(store: Path, checked: Sequence[Checked]) -> set[str]:
    """Objects that may have damaged files in common with those that were looked at, and were not looked at."""
    damaged = {one.key for one in checked if any(damage.kind in _IN_A_FILE for damage in one.damaged)}
    families: dict[str, set[str]] = {}
    for key, recipe in recipes(store).items() if damaged else ():
        families.setdefault(recipe.original, {recipe.original}).add(key)
    found = {key for family in families.values() if family & damaged for key in family}
    return {key for key in found - {one.key for one in checked} if (store / "objects" / key).is_dir()}


def _misled(store: Path, markers: Iterable[Mapping[str, object]]) -> Iterator[Damage]:
    """Names of artifacts that are no links into `objects/`, or lead to another version than views were made of."""
    said: dict[str, str] = {}
    for marker in markers:
        packages = marker.get("packages")
        for name, (version, sha256) in packages.items() if isinstance(packages, dict) else ():
            said[sha256] = f"{name}-{parse_version(version)}"
    for digest in sorted(filter(_SHA256.fullmatch, _listed(store / "artifacts"))):
        try:
            target = os.readlink(store / "artifacts" / digest)  # noqa: PTH115
        except OSError:
            yield Damage(None, f"artifacts/{digest}", "is no link", "link")
            continue
        key = target.removeprefix("../objects/")
        if "/" in key:
            yield Damage(None, f"artifacts/{digest}", f"leads to {target}, which is no object", "link")
        elif digest in said and not key.endswith(f"-{said[digest]}"):
            yield Damage(None, f"artifacts/{digest}", f"leads to {key}, and is {said[digest]}", "link")


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return []


def _remember(store: Path, checked: Sequence[Checked]) -> bool:
    """Leave marks for `sync`, take old ones away; False where the store does not let us.

    What shares files with a damaged object, and was not looked at, has to be made anew as well.
    """
    try:
        for key in _sharing(store, checked):
            mark(store, key)
        for one in checked:
            (unmark if one.whole else mark)(store, one.key)
    except OSError:
        return False
    return True
