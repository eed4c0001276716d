"""Objects made of others: what they share, what they are named by, and what happens when something is wrong."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from gpuenv.archive.staging import DAY, sweep
from gpuenv.binaries.elf import origin_paths
from gpuenv.errors import StoreError
from gpuenv.model.stored import StoredObject
from gpuenv.store.derive import Recipe, dead_names, derive, find_derived, own_bytes, recipes
from gpuenv.store.marks import is_damaged, mark
from gpuenv.store.store import Store
from gpuenv.store.verify import check_object
from tests.support.binaries import library
from tests.support.wheels import make_wheel

LIBRARY = "site-packages/demo/lib/libdemo.so"
SCRIPT = "scripts/tool"
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "x = 1\n",
    "demo/data.bin": b"\0" * 5000,
    "demo/lib/libdemo.so": library("libdemo.so", ["libother.so.1"]),
    "demo-1.0.data/scripts/tool": library("tool", ["libother.so.1"]),
}
ENTRIES = {LIBRARY: ("$ORIGIN/../../other/lib",), SCRIPT: ("$ORIGIN/../lib/python3/site-packages/other/lib",)}


def patch(source: Path, target: Path, entries: tuple[str, ...]) -> None:
    """Write the library anew, with the search path."""
    assert source.read_bytes() == target.read_bytes()
    target.write_bytes(library(target.name, ["libother.so.1"], runpath=":".join(entries)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def original(store: Store, tmp_path: Path) -> StoredObject:
    """An object with a module, data, a library and a program."""
    wheel = make_wheel(tmp_path, "demo", files=FILES)
    return store.ingest(wheel, sha256="0" * 64, name="demo", version="1.0", origin_paths=origin_paths)


def recipe_of(original: StoredObject, tool: str = "tool 1") -> Recipe:
    return Recipe(original.key, ENTRIES, tool)


def made(store: Store, original: StoredObject, tool: str = "tool 1") -> StoredObject:
    return derive(store, original, recipe_of(original, tool), patch, origin_paths)


def check(root: Path) -> bool:
    return not check_object(root, origin_paths=origin_paths, drop=True, advance=lambda _: None).damaged


def test_derive(store: Store, original: StoredObject) -> None:
    """The new object has its own name, files and facts; it shares the rest with its original, and both are whole."""
    found = made(store, original)
    new, old = store.path(found), store.path(original)
    assert found.key != original.key
    assert found.key.endswith("-demo-1.0")
    assert (new / "site-packages/demo/data.bin").samefile(old / "site-packages/demo/data.bin")
    assert origin_paths(new / LIBRARY) == ENTRIES[LIBRARY]
    assert origin_paths(old / LIBRARY) == ()
    assert {(reach.directory, reach.wanted) for reach in found.reaches} == {
        ("site-packages/demo/lib", "site-packages/other/lib"),
        ("scripts", "lib/python3/site-packages/other/lib"),
    }
    assert [file.solid for file in found.shallow["scripts"].files] == [True]
    assert check(new)
    assert check(old)
    assert (new / "site-packages/demo/__pycache__").is_dir()
    sizes = sum((new / path).stat().st_size for path in ENTRIES)
    assert own_bytes(store.root, found.key, recipe_of(original)) == sizes


def test_names(store: Store, original: StoredObject) -> None:
    """A recipe is named by its own bytes, and its name leads to the object; another tool is another recipe."""
    found, recipe = made(store, original), recipe_of(original)
    link = store.root / "derived" / recipe.digest
    assert link.readlink() == Path("../objects") / found.key
    assert json.loads(link.with_suffix(".json").read_text())["original"] == original.key
    assert recipes(store.root) == {found.key: recipe}
    assert find_derived(store.root, recipe) == found
    assert find_derived(store.root, recipe_of(original, "tool 2")) is None
    assert made(store, original, "tool 2").key == found.key  # the same bytes are one object


def test_made_once(store: Store, original: StoredObject) -> None:
    """What is there is not made again, unless it is known to be damaged: then it is exchanged."""
    found = made(store, original)

    def refuse(*_: object) -> None:
        raise AssertionError("patched again")

    assert derive(store, original, recipe_of(original), refuse, origin_paths) == found
    data = store.path(found) / "scripts/tool"
    data.chmod(0o755)
    data.write_bytes(b"damage")
    mark(store.root, found.key)
    assert find_derived(store.root, recipe_of(original)) is None
    assert made(store, original) == found
    assert check(store.path(found))
    assert not is_damaged(store.root, found.key)


@pytest.mark.parametrize("without", ["link", "recipe", "object", "bad recipe"])
def test_what_a_killed_process_left(store: Store, original: StoredObject, without: str) -> None:
    """Between any two of its names, what is there is used, and the rest made."""
    found, recipe = made(store, original), recipe_of(original)
    link = store.root / "derived" / recipe.digest
    if without == "link":
        link.unlink()
    elif without == "object":
        store.path(found).chmod(0o755)
        store.path(found).rename(store.root / "tmp" / "away")
        assert list(dead_names(store.root, ())) == [(recipe.digest, f"leads to {found.key}, which is not there")]
        assert list(dead_names(store.root, {found.key})) == []
    else:
        path = link.with_suffix(".json")
        path.unlink()
        if without == "bad recipe":
            path.write_text(Recipe("other", ENTRIES, "tool 1").text)
        assert recipes(store.root) == {}
        assert list(dead_names(store.root, ())) == [(recipe.digest, "has no recipe that gives its name")]
    assert made(store, original) == found
    assert find_derived(store.root, recipe) == found
    assert list(dead_names(store.root, ())) == []


def test_a_damaged_binary_is_not_derived_from(store: Store, original: StoredObject) -> None:
    """A binary that is not as it was unpacked would pass for whole once it is rewritten: it is refused and marked."""
    path = store.path(original) / LIBRARY
    path.chmod(0o644)
    path.write_bytes(library("libevil.so"))
    with pytest.raises(StoreError, match="is damaged") as caught:
        made(store, original)
    assert caught.value.causes == ("libdemo.so has other bytes than were unpacked",)
    assert is_damaged(store.root, original.key)
    assert [path.name for path in store.objects.iterdir()] == [original.key]


def test_a_patch_that_fails(store: Store, original: StoredObject) -> None:
    """Where a binary cannot be rewritten nothing is left, and the error passes through."""

    def fail(*_: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        derive(store, original, recipe_of(original), fail, origin_paths)
    assert recipes(store.root) == {}
    assert list((store.root / "tmp").iterdir()) == []
    full = OSError(28, "No space left on device", "x")

    def refuse(*_: object) -> None:
        raise full

    with pytest.raises(StoreError, match="cannot derive") as caught:
        derive(store, original, recipe_of(original), refuse, origin_paths)
    assert caught.value.causes == ("No space left on device: x",)


def test_without_hard_links(store: Store, original: StoredObject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no hard links files are copied: the object is the same, and shares nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as changed:
        changed.setattr("os.link", refuse)
        found = made(store, original)
    assert check(store.path(found))
    assert own_bytes(store.root, found.key, recipe_of(original)) is None


def test_an_original_in_a_base_store(store: Store, original: StoredObject, tmp_path: Path) -> None:
    """Of an object of a base store copies are made: nothing of the base changes, not even how many names files have."""
    above = Store(tmp_path / "above", [store.root])
    found = above.find("0" * 64)
    assert found == original
    file = store.path(original) / "site-packages/demo/data.bin"
    derived = made(above, found)
    assert above.path(derived).is_relative_to(above.root)
    assert check(above.path(derived))
    assert file.stat().st_nlink == 1
    assert made(store, original) == derived
    assert file.stat().st_nlink == 2


def _killed_everywhere(root: Path, original: StoredObject, queue: "multiprocessing.Queue[int]") -> None:
    """In a process without threads: a child derives, and is killed at one point after the other."""
    from tests.faults.points import install

    store, recipe = Store(root), recipe_of(original)
    before, names = {path.name for path in store.objects.iterdir()}, root / "derived"
    for point in range(400):
        child = os.fork()
        if not child:
            install(root, kill=point)
            made(Store(root), original)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        present = {path.name for path in store.objects.iterdir()} - before
        assert len(present) == 1 or find_derived(root, recipe) is None
        assert (names / recipe.digest).is_symlink() <= all(check(store.objects / key) for key in present)
        found = made(Store(root), original)
        assert check(store.path(found))
        if status == 0:
            queue.put(point)
            return
        for path in (names / recipe.digest, names / f"{recipe.digest}.json"):
            path.unlink()
        store.path(found).chmod(0o755)
        store.path(found).rename(root / "tmp" / f"away{point}")


def test_killed_at_every_point(store: Store, original: StoredObject) -> None:
    """Wherever a process is killed that derives an object, no half one is visible, and the next makes or finds it."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_killed_everywhere, args=(store.root, original, queue))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    assert 30 < queue.get(timeout=10) < 400
    sweep(store.root / "tmp", now=time.time() + 2 * DAY)
    assert list((store.root / "tmp").iterdir()) == []


def _make(root: Path, original: StoredObject, queue: "multiprocessing.Queue[str]") -> None:
    queue.put(made(Store(root), original).key)


def test_several_processes(store: Store, original: StoredObject) -> None:
    """Processes that derive the same object at once all get it, and it is there once."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    running = [context.Process(target=_make, args=(store.root, original, queue)) for _ in range(3)]
    for process in running:
        process.start()
    keys = {queue.get(timeout=60) for _ in running}
    for process in running:
        process.join(60)
    assert len(keys) == 1
    assert len(list(store.objects.iterdir())) == 2
    assert list((store.root / "tmp").iterdir()) == []
