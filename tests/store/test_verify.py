"""Every kind of damage to an object is named; what can be healed from the object itself is."""

import hashlib
import marshal
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gpuenv.binaries.elf import origin_paths
from gpuenv.model.holdings import Checked
from gpuenv.store.bytecode import cache_of, list_path, write_list
from gpuenv.store.marks import damaged_keys, is_damaged, mark, unmark
from gpuenv.store.mend import mend
from gpuenv.store.store import Store
from gpuenv.store.unpack import MTIME
from gpuenv.store.verify import IN_PLACE, check_object
from tests.support.binaries import library
from tests.support.wheels import make_wheel

SHA256 = "0" * 64
SOURCE = "x = 1\n"
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": SOURCE,
    "demo/data.bin": b"\0" * 5000,
    "demo/lib/libdemo.so": library("libdemo.so", ["libother.so.1"], runpath="$ORIGIN/../../other/lib"),
    "demo-1.0.data/scripts/tool": "#!python\nprint('tool')\n",
    "demo-1.0.data/data/share/info": "info",
}
DATA = "site-packages/demo/data.bin"
MODULE = "site-packages/demo/__init__.py"
CACHE = "site-packages/demo/__pycache__"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An object of a wheel with a module, data, a library that reaches out, a script and a command."""
    wheel = make_wheel(tmp_path, "demo", files=FILES, entry_points={"demo": "demo.cli:main"})
    store = Store(tmp_path / "store")
    return store.path(store.ingest(wheel, sha256=SHA256, name="demo", version="1.0", origin_paths=origin_paths))


def check(root: Path, *, drop: bool = True) -> Checked:
    return check_object(root, origin_paths=origin_paths, drop=drop, advance=lambda _: None)


def opened(path: Path) -> Path:
    """The path, its directory made writable: as a careless superuser would find it."""
    path.parent.chmod(0o755)
    return path


def closed(path: Path, mode: int = 0o555) -> None:
    path.parent.chmod(mode)


def flip(path: Path, at: int = 0) -> None:
    """Change one byte, with size, time and permissions as before."""
    mode, times = path.stat().st_mode, path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    path.chmod(mode & 0o7777)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(root: Path) -> None:
    (root / DATA).chmod(0o644)
    os.truncate(root / DATA, 4999)
    (root / DATA).chmod(0o444)


def add(root: Path) -> None:
    opened(root / "site-packages/demo/extra.py").write_text("import os\n")
    closed(root / "site-packages/demo/extra.py")


def add_tree(root: Path) -> None:
    opened(root / "site-packages/new").mkdir()
    (root / "site-packages/new/deep").mkdir()
    (root / "site-packages/new/deep/a.py").write_text("")
    closed(root / "site-packages/new")


def remove(root: Path) -> None:
    opened(root / DATA).unlink()
    closed(root / DATA)


def remove_directory(root: Path) -> None:
    (root / "site-packages/demo/lib").chmod(0o755)
    shutil.rmtree(opened(root / "site-packages/demo/lib"))
    closed(root / "site-packages/demo/lib")


def rename(root: Path) -> None:
    opened(root / DATA).rename(root / "site-packages/demo/data.old")
    closed(root / DATA)


def link(root: Path) -> None:
    opened(root / DATA).unlink()
    (root / DATA).symlink_to("/dev/null")
    closed(root / DATA)


def link_directory(root: Path) -> None:
    (root / "site-packages/demo/lib").chmod(0o755)
    opened(root / "site-packages/demo/lib").rename(root.parent.parent / "elsewhere")
    (root / "site-packages/demo/lib").symlink_to("../../../../elsewhere")
    closed(root / "site-packages/demo/lib")


def named_pipe(root: Path) -> None:
    os.mkfifo(opened(root / "site-packages/demo/pipe"))
    closed(root / "site-packages/demo/pipe")


def sourceless(root: Path) -> None:
    opened(root / "site-packages/demo/evil.pyc").write_bytes(b"evil")
    closed(root / "site-packages/demo/evil.pyc")


def swap(root: Path) -> None:
    """Two files of one size change places."""
    wheel, record = (root / f"site-packages/demo-1.0.dist-info/{name}" for name in ("WHEEL", "RECORD"))
    opened(wheel).rename(wheel.with_name("x"))
    record.rename(wheel)
    wheel.with_name("x").rename(record)
    closed(wheel)


CASES: dict[str, tuple[Callable[[Path], object], list[tuple[str, str, str]]]] = {
    "flipped": (lambda root: flip(root / DATA, 4000), [(DATA, "content", "has other bytes than were unpacked")]),
    "truncated": (truncate, [(DATA, "size", "has 4999 bytes instead of 5000")]),
    "added": (add, [("site-packages/demo/extra.py", "added", "is a file that is no part of it")]),
    "tree added": (add_tree, [("site-packages/new", "added", "is a directory that is no part of it")]),
    "removed": (remove, [(DATA, "missing", "is missing")]),
    "directory removed": (remove_directory, [("site-packages/demo/lib/libdemo.so", "missing", "is missing")]),
    "renamed": (rename, [(DATA, "renamed", "was renamed to site-packages/demo/data.old")]),
    "writable": (
        lambda root: (root / DATA).chmod(0o644),
        [(DATA, "mode", "has the permissions 0644 instead of 0444")],
    ),
    "set user id": (
        lambda root: (root / "scripts/tool").chmod(0o4555),
        [("scripts/tool", "mode", "has the permissions 4555 instead of 0555")],
    ),
    "open directory": (
        lambda root: (root / "site-packages/demo").chmod(0o777),
        [("site-packages/demo", "mode", "has the permissions 0777 instead of 0555")],
    ),
    "open top": (lambda root: root.chmod(0o755), [("", "mode", "has the permissions 0755 instead of 0555")]),
    "open cache": (
        lambda root: (root / CACHE).chmod(0o777),
        [(CACHE, "mode", "has the permissions 0777: others may write bytecode")],
    ),
    "link for a file": (link, [(DATA, "type", "is a link to /dev/null instead of a file")]),
    "special file": (named_pipe, [("site-packages/demo/pipe", "added", "is a special file that is no part of it")]),
    "bytecode without a source": (
        sourceless,
        [("site-packages/demo/evil.pyc", "added", "is bytecode without a place in it")],
    ),
    "facts cut off": (
        lambda root: os.truncate(writable(root / "facts.msgpack"), 20),
        [("facts.msgpack", "facts", "cannot be read, or is about another object")],
    ),
    "listing cut off": (
        lambda root: os.truncate(writable(root / "listing.msgpack"), 20),
        [("listing.msgpack", "listing", "cannot be read, or lists other files than are here")],
    ),
}


def writable(path: Path) -> Path:
    """As superuser one may write to read-only files; others have to open them first."""
    path.chmod(0o644)
    return path


def test_a_fresh_object_is_whole(root: Path) -> None:
    """Nothing is wrong with an object just unpacked, and all of its bytes were read."""
    found = check(root)
    assert found.damaged == ()
    assert found.whole
    assert found.bytes == sum(
        file.stat().st_size for file in root.rglob("*") if file.is_file() and file.suffix != ".msgpack"
    )


@pytest.mark.parametrize("case", CASES)
def test_damage_is_named(case: str, root: Path) -> None:
    """Each kind of damage is named by path and in words, and nothing else is."""
    damage, expected = CASES[case]
    damage(root)
    for name in ("facts.msgpack", "listing.msgpack"):
        (root / name).chmod(0o444)
    found = check(root)
    assert [(one.path, one.kind, one.problem) for one in found.damaged] == expected
    assert {one.object for one in found.damaged} == {root.name}
    assert not found.whole


def test_a_link_for_a_directory_is_named_once(root: Path) -> None:
    """The files behind it are not missed one by one, and what it leads to is not taken for them."""
    link_directory(root)
    assert [(one.path, one.problem) for one in check(root).damaged] == [
        ("site-packages/demo/lib", "is a link to ../../../../elsewhere instead of a directory")
    ]


def test_files_that_change_places_are_named(root: Path) -> None:
    """Sizes and names as before do not hide that contents moved."""
    swap(root)
    assert {Path(one.path).name for one in check(root).damaged} == {"WHEEL", "RECORD"}


def test_every_byte_of_every_file_counts(root: Path) -> None:
    """Whichever file has a byte flipped, first, middle or last, facts and listing among them: it is named."""
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        size = file.stat().st_size
        for at in {0, size // 2, size - 1}:
            flip(file, at)
            damaged = check(root).damaged
            flip(file, at)
            assert file.relative_to(root).as_posix() in {one.path for one in damaged}, (file, at)
    assert check(root).damaged == ()


def test_facts_follow_from_the_files(root: Path) -> None:
    """No byte of facts or listing can be flipped unseen, also where they can be read as before."""
    for name in ("facts.msgpack", "listing.msgpack"):
        for at in range((root / name).stat().st_size):
            flip(root / name, at)
            assert not check(root).whole, (name, at)
            flip(root / name, at)


def test_other_names_are_no_objects(root: Path) -> None:
    """What has a name that no tree gives, or is a link, is no object; a right name with wrong content is damaged."""
    stranger = root.with_name("stranger")
    stranger.mkdir()
    assert [one.kind for one in check(stranger).damaged] == ["name"]
    root.with_name(f"{'a' * 32}-demo-1.0").symlink_to(root.name)
    assert [one.kind for one in check(root.with_name(f"{'a' * 32}-demo-1.0")).damaged] == ["name"]
    root.chmod(0o755)
    moved = root.rename(root.with_name(f"{'b' * 32}-demo-1.0"))
    moved.chmod(0o555)
    assert not check(moved).whole


def bytecode(flags: int = 0, time: int = MTIME, size: int = len(SOURCE)) -> bytes:
    """A `.pyc` whose header says this of its source (PEP 552)."""
    numbers = b"".join(number.to_bytes(4, "little") for number in (flags, time, size))
    return b"\xa7\r\r\n" + numbers + marshal.dumps(compile("x = 2", "demo", "exec"))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("__init__.cpython-311.pyc", bytecode(), None),
        ("__init__.cpython-313t.opt-2.pyc", bytecode(), None),
        ("__init__.cpython-311.pyc", bytecode(flags=3), None),
        ("kernel-12.py311.nbi", b"\x80", None),
        ("__init__.cpython-311.pyc", bytecode(flags=1), f"is bytecode that was not made of {MODULE}: dropped"),
        ("__init__.cpython-311.pyc", bytecode(time=1), f"is bytecode that was not made of {MODULE}: dropped"),
        ("__init__.cpython-311.pyc", bytecode(size=1), f"is bytecode that was not made of {MODULE}: dropped"),
        ("__init__.cpython-311.pyc", b"", f"is bytecode that was not made of {MODULE}: dropped"),
        ("other.cpython-311.pyc", bytecode(), "is bytecode of no module that is here: dropped"),
    ],
)
def test_bytecode_is_dropped(name: str, data: bytes, problem: str | None, root: Path) -> None:
    """Nothing vouches for bytecode, so all of it goes; what Python cannot have made of the modules is named."""
    (root / CACHE / name).write_bytes(data)
    kept = check(root, drop=False)
    assert (kept.dropped, kept.left) == (0, 1)
    assert (root / CACHE / name).exists()
    found = check(root)
    assert [one.problem for one in found.damaged] == ([problem] if problem else [])
    assert (found.dropped, found.left, found.whole) == (1, 0, True)
    assert list((root / CACHE).iterdir()) == []
    assert check(root).damaged == ()


def listed(root: Path) -> tuple[Path, Path]:
    """The object's module compiled and listed, as `--compile-bytecode` leaves it: the bytecode and the list."""
    cache, known = root / cache_of(MODULE, "cpython-311"), root / list_path([MODULE], "cpython-311")
    cache.write_bytes(bytecode())
    write_list(known, b"\xa7\r\r\n", {cache_of(MODULE, "cpython-311"): hashlib.sha256(bytecode()).digest()}, ())
    return cache, known


def test_listed_bytecode_stays(root: Path) -> None:
    """What was compiled at once is accounted for; what Python or somebody else put beside it goes."""
    cache, known = listed(root)
    assert check(root) == check(root, drop=False)
    assert (check(root).damaged, check(root).dropped) == ((), 0)
    (root / CACHE / "__init__.cpython-312.pyc").write_bytes(bytecode())
    (root / CACHE / "gpuenv.pyc").write_bytes(b"evil")
    (root / CACHE / "gpuenv.cpython-312.bytecode").write_bytes(b"evil")
    assert check(root).dropped == 3
    assert sorted((root / CACHE).iterdir()) == [cache, known]


@pytest.mark.parametrize("position", [4, 8, 12, 16, 40, -1])
def test_listed_bytecode_of_other_bytes_is_dropped(position: int, root: Path) -> None:
    """A list vouches for these bytes alone: flags, time and size of the source, and code."""
    cache, _ = listed(root)
    flip(cache, position % cache.stat().st_size)
    found = check(root)
    assert [one.kind for one in found.damaged] == ["bytecode"]
    assert (found.dropped, cache.exists()) == (1, False)
    assert check(root).damaged == ()


def test_a_list_vouches_for_no_stale_bytecode(root: Path) -> None:
    """Bytecode that was not made of the module that is here goes, whatever a list says."""
    cache, known = listed(root)
    cache.write_bytes(bytecode(size=1))
    write_list(known, b"", {cache_of(MODULE, "cpython-311"): hashlib.sha256(bytecode(size=1)).digest()}, ())
    assert [one.problem for one in check(root).damaged] == [f"is bytecode that was not made of {MODULE}: dropped"]


def test_a_damaged_list_vouches_for_nothing(root: Path) -> None:
    """It goes, and all that it listed."""
    _, known = listed(root)
    os.truncate(writable(known), 10)
    assert check(root).dropped == 2
    assert list((root / CACHE).iterdir()) == []


def test_a_folder_among_bytecode_is_dropped(root: Path) -> None:
    """Whatever lies in a `__pycache__` is derived data."""
    (root / CACHE / "more").mkdir()
    (root / CACHE / "more" / "x.pyc").write_bytes(b"x")
    assert check(root).dropped == 1
    assert list((root / CACHE).iterdir()) == []


@pytest.mark.parametrize("case", CASES)
def test_mending(case: str, root: Path) -> None:
    """Permissions, additions, facts and listing are healed from the object itself, to the same bytes and modes."""

    def state() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path.relative_to(root)): (
                path.lstat().st_mode,
                int(path.lstat().st_mtime),
                path.read_bytes() if path.is_file() else b"",
            )
            for path in [*root.rglob("*")]
            if path.name != "__pycache__"
        }

    before = state()
    CASES[case][0](root)
    damaged = check(root).damaged
    if not {one.kind for one in damaged} <= IN_PLACE:
        return
    mend(root, damaged, origin_paths=origin_paths)
    assert check(root).damaged == ()
    after = state()
    assert {path: (mode, data) for path, (mode, _, data) in after.items()} == {
        path: (mode, data) for path, (mode, _, data) in before.items()
    }


def test_marks(tmp_path: Path, root: Path) -> None:
    """A marked object is not found until what takes the mark away: its wheel, unpacked anew."""
    store = tmp_path / "store"
    assert damaged_keys(store) == frozenset()
    mark(store, root.name)
    assert damaged_keys(store) == {root.name}
    assert Store(store).find(SHA256) is None
    flip(root / DATA)
    inode = root.stat().st_ino
    again = make_wheel(tmp_path / "again", "demo", files=FILES, entry_points={"demo": "demo.cli:main"})
    known = Store(store)
    assert known.find(SHA256) is None
    stored = known.ingest(again, sha256=SHA256, name="demo", version="1.0", origin_paths=origin_paths)
    assert known.find(SHA256) == stored
    assert root.stat().st_ino != inode
    assert check(root).damaged == ()
    assert not is_damaged(store, root.name)
    assert list((store / "tmp").iterdir()) == []
    assert not (store / "damaged").exists()
    unmark(store, root.name)


def test_the_exchange_leaves_no_gap(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damaged object is there until the whole one is: nothing removes or moves it away before."""
    seen: list[Sequence[str]] = []
    real = os.rename

    def renamed(source: str, target: str, **options: int) -> None:
        seen.append((str(source), str(target)))
        real(source, target, **options)

    flip(root / DATA)
    mark(tmp_path / "store", root.name)
    monkeypatch.setattr(os, "rename", renamed)
    again = make_wheel(tmp_path / "again", "demo", files=FILES, entry_points={"demo": "demo.cli:main"})
    Store(tmp_path / "store").ingest(again, sha256=SHA256, name="demo", version="1.0", origin_paths=origin_paths)
    assert [names for names in seen if str(root) in names] == []
    assert check(root).damaged == ()
