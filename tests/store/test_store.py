"""Wheels become objects: whole, read-only, named by content, or not at all."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpuenv.errors import ArchiveError, StoreError
from gpuenv.model.stored import EntryPoint, StoredObject, decode_listing
from gpuenv.store import commit
from gpuenv.store.store import Store
from gpuenv.store.tree import TreeFile, tree_hash
from gpuenv.store.unpack import MTIME
from tests.support.wheels import make_wheel

DIGEST = "0" * 64


def no_origins(file: Path) -> Sequence[str]:
    """For wheels without binaries."""
    raise AssertionError(f"{file} is no binary")


def ingest(store: Store, wheel: Path, name: str = "demo", version: str = "1.0", sha256: str = DIGEST) -> StoredObject:
    return store.ingest(wheel, sha256=sha256, name=name, version=version, origin_paths=no_origins)


def demo(folder: Path, **extra: bytes | str) -> Path:
    files = {
        "demo/__init__.py": "x = 1\n",
        "demo/sub/data.txt": "text",
        "demo-1.0.data/purelib/pure.py": "p = 1\n",
        "demo-1.0.data/platlib/plat.py": "p = 2\n",
        "demo-1.0.data/scripts/tool": "#!python\nprint('tool')\n",
        "demo-1.0.data/data/share/demo/info": "info",
        "demo-1.0.data/headers/demo.h": "#define DEMO\n",
        **extra,
    }
    return make_wheel(
        folder, "demo", files=files, entry_points={"demo": "demo.cli:main"}, executable=["demo/sub/data.txt"]
    )


def tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_schemes_and_facts(tmp_path: Path) -> None:
    """Files land by scheme, purelib and platlib together; the facts say what a view needs, and are found again."""
    store = Store(tmp_path / "store")
    assert store.find(DIGEST) is None
    stored = ingest(store, demo(tmp_path))
    files = tree(store.path(stored))
    assert files["site-packages/pure.py"] == b"p = 1\n"
    assert files["site-packages/plat.py"] == b"p = 2\n"
    assert files["data/share/demo/info"] == b"info"
    assert files["headers/demo.h"] == b"#define DEMO\n"
    assert files["scripts/tool"].startswith(b"#!python")
    assert (stored.name, stored.version, stored.dist_info) == ("demo", "1.0", "demo-1.0.dist-info")
    assert stored.console == (EntryPoint("demo", "demo.cli", "main"),)
    assert stored.tags == ("py3-none-any",)
    assert stored.purelib
    assert stored.key.endswith("-demo-1.0")
    assert Store(tmp_path / "store").find(DIGEST) == stored


def test_listing_is_the_tree_and_gives_the_hash(tmp_path: Path) -> None:
    """The listing names every file with its digest and mode, and the hash over it is the object's name."""
    store = Store(tmp_path / "store")
    stored = ingest(store, demo(tmp_path))
    listing = decode_listing((store.path(stored) / "listing.msgpack").read_bytes())
    assert listing is not None
    found = [
        TreeFile(f"{directory.path}/{file.name}".lstrip("/"), file.size, file.sha256, file.executable)
        for directory in listing
        for file in directory.files
    ]
    assert {file.path for file in found} == tree(store.path(stored)).keys() - {"facts.msgpack", "listing.msgpack"}
    assert stored.count == len(found)
    assert stored.size == sum(file.size for file in found)
    assert [file.path for file in found if file.executable] == ["scripts/tool", "site-packages/demo/sub/data.txt"]
    assert stored.key.split("-")[0] == tree_hash(reversed(found))


def test_objects_are_read_only_but_for_bytecode(tmp_path: Path) -> None:
    """Files are 0444 or 0555 with the fixed time, directories 0555, and `__pycache__` is the owner's to fill."""
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, demo(tmp_path)))
    for path in [root, *root.rglob("*")]:
        mode = path.stat().st_mode & 0o777
        if path.name == "__pycache__":
            assert mode & 0o700 == 0o700
        else:
            assert mode in ((0o555,) if path.is_dir() else (0o444, 0o555)), path
        if path.is_file():
            assert path.stat().st_mtime == MTIME
    assert (root / "site-packages/demo/__pycache__").is_dir()
    assert not (root / "site-packages/demo/sub/__pycache__").exists()


def test_the_name_depends_on_content_alone(tmp_path: Path) -> None:
    """Another store, another compression: the same key. Another byte or executable bit: another key."""
    first = ingest(Store(tmp_path / "one"), make_wheel(tmp_path / "a", "demo"))
    again = ingest(Store(tmp_path / "two"), make_wheel(tmp_path / "b", "demo", stored=True))
    files = {"demo/__init__.py": '__version__ = "1.0"\n'}
    executable = make_wheel(tmp_path / "c", "demo", files=files, executable=["demo/__init__.py"])
    other = make_wheel(tmp_path / "d", "demo", files={"demo/__init__.py": '__version__ = "1.1"\n'})
    keys = [ingest(Store(tmp_path / "three"), wheel).key for wheel in (executable, other)]
    assert first.key == again.key
    assert len({first.key, *keys}) == 3


def test_shipped_bytecode_is_dropped(tmp_path: Path) -> None:
    """`.pyc` files of a wheel do not enter the object: they are derived, and could say something else."""
    wheel = demo(tmp_path, **{"demo/__pycache__/__init__.cpython-312.pyc": b"evil", "demo/old.pyc": b"evil"})
    store = Store(tmp_path / "store")
    files = tree(store.path(ingest(store, wheel)))
    assert [name for name in files if name.endswith(".pyc")] == []


def rewritten(wheel: Path, change: dict[str, bytes | None]) -> Path:
    """The same wheel with members replaced or left out, its RECORD as it was."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {name: content for name, content in change.items() if content is not None}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            if change.get(name, b"") is not None:
                archive.writestr(name, content)
    return wheel


INFO = "demo-1.0.dist-info"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"demo/__init__.py": None}, "RECORD lists 'demo/__init__.py', which is not there"),
        ({"extra.py": b""}, "RECORD does not list 'extra.py'"),
        ({f"{INFO}/WHEEL": None}, "it has no demo-1.0.dist-info/WHEEL"),
        ({f"{INFO}/RECORD": None}, "it has no demo-1.0.dist-info/RECORD"),
        ({f"{INFO}/WHEEL": b"Wheel-Version: 3.0\n"}, "Wheel-Version '3.0' is not known"),
        ({f"{INFO}/METADATA": b"Name: other\nVersion: 1.0\n"}, "METADATA says other 1.0"),
        ({f"{INFO}/METADATA": b"Name: demo\nVersion: 1.1\n"}, "METADATA says demo 1.1"),
        ({f"{INFO}/METADATA": b"\xff"}, "METADATA is not UTF-8"),
        ({"other-1.0.dist-info/METADATA": b""}, "2 .dist-info directories"),
        ({f"{INFO}/RECORD": b"demo/__init__.py,md5=x,1\n"}, "'md5'"),
        ({f"{INFO}/RECORD": b"demo/__init__.py,,\n"}, "does not give a hash"),
        ({f"{INFO}/RECORD": b"a,,\na,,\n"}, "second row"),
    ],
)
def test_wheels_that_disagree_with_themselves_are_refused(
    change: dict[str, bytes | None], reason: str, tmp_path: Path
) -> None:
    """RECORD must list the files, WHEEL and METADATA agree with the name; nothing is left of a refused wheel."""
    store = Store(tmp_path / "store")
    with pytest.raises(ArchiveError, match=reason):
        ingest(store, rewritten(demo(tmp_path), change))
    assert list(store.objects.iterdir()) == []
    assert list((store.root / "tmp").iterdir()) == []


def test_a_file_unlike_its_record_is_noted(tmp_path: Path) -> None:
    """The wheel's own digest vouches for its bytes: a wrong hash in RECORD is kept as a fact, and refuses nothing."""
    wheel = rewritten(demo(tmp_path), {"demo/__init__.py": b"x = 2\n"})
    assert ingest(Store(tmp_path / "store"), wheel).unlike == ("demo/__init__.py",)
    assert ingest(Store(tmp_path / "other"), demo(tmp_path)).unlike == ()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"demo-1.0.data/etc/x": "x"}, "scheme that does not exist"),
        ({"other-1.0.data/data/x": "x"}, "does not belong to demo"),
        ({"demo-1.0.data/scripts/python": "x"}, "would replace"),
        ({"demo-1.0.data/scripts/Python3.12": "x"}, "would replace"),
        ({"demo-1.0.data/scripts/activate.fish": "x"}, "would replace"),
        ({"demo-1.0.data/scripts/sub/x": "x"}, "no name for a command"),
        ({"demo-1.0.data/scripts/-x": "x"}, "no name for a command"),
        ({"demo-1.0.data/data/bin/python3": "x"}, "would replace"),
        ({"demo-1.0.data/data/pyvenv.cfg": "x"}, "would replace"),
        ({"demo-1.0.data/data/PyVenv.cfg": "x"}, "would replace"),
        ({"demo-1.0.data/data/lib64/x": "x"}, "would replace"),
        ({"demo-1.0.data/data/lib": "x"}, "would replace"),
        ({"a.py": "x", "demo-1.0.data/purelib/a.py": "x"}, "the same place"),
        ({"a": "x", "demo-1.0.data/purelib/a/b.py": "x"}, "below another file"),
    ],
)
def test_files_for_wrong_places_are_refused(files: dict[str, bytes | str], reason: str, tmp_path: Path) -> None:
    """A wheel may not replace parts of the environment, nor write outside the known schemes."""
    with pytest.raises(ArchiveError, match=reason):
        ingest(Store(tmp_path / "store"), make_wheel(tmp_path, "demo", files=files))


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("../evil", "demo:main", "no name for a command"),
        ("a/b", "demo:main", "no name for a command"),
        ("-rf", "demo:main", "no name for a command"),
        ("..", "demo:main", "no name for a command"),
        ("python3", "demo:main", "would replace"),
        ("PYTHON", "demo:main", "would replace"),
        ("activate", "demo:main", "would replace"),
        ("demo", "demo", "names no function"),
        ("demo", "demo:main; import os", "names no function"),
        ("demo", "demo:main()", "names no function"),
    ],
)
def test_hostile_entry_points_are_refused(name: str, target: str, reason: str, tmp_path: Path) -> None:
    """Commands stay in their folder, replace nothing, and call a function and nothing else."""
    with pytest.raises(ArchiveError, match=reason):
        ingest(Store(tmp_path / "store"), make_wheel(tmp_path, "demo", entry_points={name: target}))


@pytest.mark.parametrize("name", ["pip", "python-argcomplete-check", "2to3", "activate-global", "py.test", "c++filt"])
def test_usual_commands_pass(name: str, tmp_path: Path) -> None:
    """Names that only resemble the reserved ones are fine."""
    stored = ingest(Store(tmp_path / "store"), make_wheel(tmp_path, "demo", entry_points={name: "demo:main [extra]"}))
    assert stored.console == (EntryPoint(name, "demo", "main"),)


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses, the error says so with a hint, and nothing stays."""

    def full(directory: Path) -> None:
        raise OSError(28, "No space left on device", str(directory))

    monkeypatch.setattr(commit, "sync_filesystem", full)
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError) as caught:
        ingest(store, demo(tmp_path))
    assert "No space left" in caught.value.causes[0]
    assert "free some space" in caught.value.hints[0]
    assert store.find(DIGEST) is None
    assert list((store.root / "tmp").iterdir()) == []


def test_losing_a_race_is_fine(tmp_path: Path) -> None:
    """Two stagings of one wheel, both published: one object, found by both digests."""
    store = Store(tmp_path / "store")
    wheel = demo(tmp_path)
    arguments = {"name": "demo", "version": "1.0"}
    with (
        store.stage(wheel, sha256="1" * 64, origin_paths=no_origins, **arguments) as one,
        store.stage(wheel, sha256="2" * 64, origin_paths=no_origins, **arguments) as two,
    ):
        assert store.find("1" * 64) is None
        store.publish([one])
        store.publish([two])
    assert store.find("1" * 64) == store.find("2" * 64) == one.stored
    assert len(list(store.objects.iterdir())) == 1


def test_a_vanished_object_is_not_found(tmp_path: Path) -> None:
    """An artifact whose object is gone, or whose facts another version wrote, is not held."""
    store = Store(tmp_path / "store")
    stored = ingest(store, demo(tmp_path))
    facts = store.path(stored) / "facts.msgpack"
    facts.chmod(0o644)
    facts.write_bytes(facts.read_bytes().replace(b"\x9e\x01", b"\x9e\x03", 1))
    assert store.find(DIGEST) is None
    for directory in [store.path(stored), *store.path(stored).rglob("*")]:
        if directory.is_dir():
            directory.chmod(0o755)
    shutil.rmtree(store.path(stored))
    assert store.find(DIGEST) is None


def work(root: str, wheel: str, results: "multiprocessing.Queue[str]") -> None:
    store = Store(Path(root))
    with store.lock_artifact(DIGEST):
        found = store.find(DIGEST)
        results.put("found" if found else "made")
        if found is None:
            ingest(store, Path(wheel))


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    """Under the artifact's lock one process makes the object and the other finds it."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    arguments = (str(tmp_path / "store"), str(demo(tmp_path)), results)
    processes = [context.Process(target=work, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    said = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert said == ["found", "made"]
    assert [process.exitcode for process in processes] == [0, 0]


def test_stores_without_locks_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks, the block runs without one."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("gpuenv.store.store.fcntl.flock", refuse)
    entered = 0
    with Store(tmp_path).lock_artifact(DIGEST), Store(tmp_path).lock_artifact(DIGEST):
        entered += 1
    assert entered == 1


def test_a_killed_ingest_leaves_nothing_visible(tmp_path: Path) -> None:
    """SIGKILL at many moments: no object or artifact but whole ones, and the next ingest sweeps and succeeds."""
    wheel = make_wheel(tmp_path, "demo", files={f"demo/m{n}.py": f"x = {n}\n" * 50 for n in range(300)})
    code = (
        "import sys; from pathlib import Path; from gpuenv.store.store import Store\n"
        "print('ready', flush=True)\n"
        "Store(Path(sys.argv[1])).ingest(Path(sys.argv[2]), sha256=sys.argv[3], name='demo', version='1.0',"
        " origin_paths=lambda file: ())\n"
    )
    store = Store(tmp_path / "store")
    unfinished = 0
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.08):
        command = [sys.executable, "-c", code, str(store.root), str(wheel), DIGEST]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
        found = store.find(DIGEST)
        unfinished += found is None
        for key in store.objects.iterdir() if store.objects.exists() else ():
            assert len(list((key / "site-packages/demo").glob("*.py"))) == 300
            assert (key / "facts.msgpack").stat().st_size
    assert unfinished, "every run was faster than the first kill"
    assert ingest(store, wheel).count == 303
    assert list((store.root / "tmp").iterdir()) == []
