"""Garbage is what nothing keeps, no more and no less; it goes in steps that each leave a whole store."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuenv.archive.staging import staging
from gpuenv.errors import StoreError, UsageError
from gpuenv.model.history import Collected, Keeper
from gpuenv.store import guard
from gpuenv.store.gc import space, users
from gpuenv.store.marks import damaged_keys, mark
from gpuenv.view.generations import generations, histories, record_generation
from gpuenv.view.switch import switch
from gpuenv.workflow.gc import collect, seconds, why_kept
from tests.faults.points import install
from tests.support.project import snapshot

DAY = 86400


class Shelf:
    """A store with objects and views made by hand, and projects beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "store"

    def object(self, name: str) -> str:
        """An object of 100 kB with its artifact; returns its key."""
        key = f"{name:a<32}"[:32] + f"-{name}-1.0"
        inside = self.root / "objects" / key / "site-packages" / name
        if not inside.exists():
            inside.mkdir(parents=True)
            (inside / "data.bin").write_bytes(os.urandom(100_000))
            (inside / "data.bin").chmod(0o444)
            for folder in (inside, inside.parent, inside.parent.parent):
                folder.chmod(0o555)
            artifact = self.root / "artifacts" / sha256(name)
            artifact.parent.mkdir(exist_ok=True)
            artifact.symlink_to(f"../objects/{key}")
        return key

    def view(self, project: str, *names: str, marked: bool = True) -> Path:
        """A view of these objects."""
        digest = "".join(f"{ord(letter):x}" for letter in "".join([project, *names]))
        view = self.root / "views" / f"{digest:0<32}"[:32]
        view = view.with_name(f"{view.name}-{project}-here")
        if not view.exists():
            (view / "lib").mkdir(parents=True)
            keys = [self.object(name) for name in names]
            for name, key in zip(names, keys, strict=True):
                (view / "lib" / name).symlink_to(f"../../../objects/{key}/site-packages/{name}")
            if marked:
                packages = {name: ["1.0", sha256(name)] for name in names}
                (view / "gpuenv.json").write_text(json.dumps({"objects": keys, "packages": packages}))
        return view

    def sync(self, project: str, *names: str, lock: str = "", days: float = 0) -> Path:
        """What a sync leaves: a view, its generation, made so many days ago, and `.venv`."""
        root = self.project(project)
        view = self.view(project, *names)
        record_generation(self.root, project=root, name=project, view=view, lock=lock)
        *_, newest = generations(self.root, project=root, name=project)
        then = time.time() - days * DAY
        os.utime(newest.folder, (then, then))
        switch(root / ".venv", view)
        return view

    def project(self, name: str) -> Path:
        """The folder of a project."""
        root = self.base / "work" / name
        root.mkdir(parents=True, exist_ok=True)
        return root

    def collect(self, *, days: float = 30, dry_run: bool = False) -> Collected:
        """Run it; nobody else may be at work."""
        return collect(self.root, older_than=int(days * DAY), waiting=pytest.fail, dry_run=dry_run)

    def names(self, area: str) -> list[str]:
        """The objects, by their packages, or whatever else an area has."""
        entries = sorted((self.root / area).iterdir()) if (self.root / area).exists() else []
        return [entry.name.split("-")[1] if area == "objects" else entry.name for entry in entries]

    def kept(self, project: str) -> list[int]:
        """The numbers of the generations that a project has."""
        return [one.number for one in generations(self.root, project=self.project(project), name=project)]


def sha256(name: str) -> str:
    return (name.encode().hex() * 32)[:64]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty store; it can be removed in the end."""
    yield Shelf(tmp_path)
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o755)


def test_what_no_generation_names_goes(shelf: Shelf) -> None:
    """Given-up generations take views, objects and names of artifacts along, but nothing that another project needs."""
    shelf.sync("train", "old", "common", days=90)
    newest = shelf.sync("train", "new", days=60)
    other = shelf.sync("serve", "common", days=90)
    shelf.object("orphan")
    done = shelf.collect()
    assert shelf.names("objects") == ["common", "new"]
    assert shelf.names("artifacts") == sorted([sha256("common"), sha256("new")])
    assert shelf.names("views") == sorted([newest.name, other.name])
    assert (shelf.kept("train"), shelf.kept("serve")) == ([2], [1])
    assert {kind: len(paths) for kind, paths in done.removed.items()} == {
        "generations": 1, "views": 1, "artifacts": 2, "objects": 2, "downloads": 0, "leftovers": 0
    }  # fmt: skip
    assert 200_000 < done.freed["objects"] < 300_000
    assert shelf.names("trash") == []
    assert shelf.collect() == Collected(dict.fromkeys(done.removed, ()), dict.fromkeys(done.removed, 0))


def test_a_generation_counts_by_when_it_was_replaced(shelf: Shelf) -> None:
    """An environment that was in use until yesterday can be rolled back to, however long ago it was made."""
    shelf.sync("train", "a", days=300)
    shelf.sync("train", "b", days=200)
    shelf.sync("train", "c", days=1)
    shelf.collect()
    assert shelf.kept("train") == [2, 3]
    assert shelf.names("objects") == ["b", "c"]
    shelf.collect(days=0)
    assert shelf.kept("train") == [3]


def test_what_venv_is_stays(shelf: Shelf) -> None:
    """After a rollback the old generation is the one in use; the newest stays besides."""
    old = shelf.sync("train", "a", days=300)
    shelf.sync("train", "b", days=200)
    shelf.sync("train", "c", days=100)
    switch(shelf.project("train") / ".venv", old)
    shelf.collect(days=0)
    assert shelf.kept("train") == [1, 3]
    assert shelf.names("objects") == ["a", "c"]


def test_a_view_without_a_generation_stays_while_venv_leads_to_it(shelf: Shelf) -> None:
    """Whatever `.venv` of a known project is works on, marker or no marker; other views without a generation go."""
    shelf.sync("train", "a")
    view = shelf.view("train", "b", marked=False)
    shelf.view("train", "c")
    switch(shelf.project("train") / ".venv", view)
    shelf.collect(days=0)
    assert shelf.names("objects") == ["a", "b"]


def test_what_a_lock_names_stays(shelf: Shelf) -> None:
    """Objects for the project's other targets stay with its lock, and with the entry's own list if the view is gone."""
    shelf.object("other")
    shelf.object("unnamed")
    view = shelf.sync("train", "a", lock=f'sha256 = "{sha256("other")}"\nsha256 = "{"0" * 64}"\n')
    shutil.rmtree(view)
    shelf.collect(days=0)
    assert shelf.names("objects") == ["a", "other"]


def test_a_project_that_is_gone(shelf: Shelf) -> None:
    """Its generations stay while they are young; then its whole history goes."""
    shelf.sync("gone", "a", days=50)
    shelf.sync("gone", "b", days=10)
    shelf.sync("here", "c", days=50)
    shutil.rmtree(shelf.project("gone"))
    shelf.collect()
    assert shelf.names("objects") == ["b", "c"]
    assert len(shelf.names("projects")) == 2
    shelf.collect(days=5)
    assert shelf.names("objects") == ["c"]
    assert [path.name.split("-")[1] for path in (shelf.root / "projects").iterdir()] == ["here"]


def _hide_parent(shelf: Shelf) -> None:
    (shelf.base / "work").rename(shelf.base / "elsewhere")


def _lose_mount(shelf: Shelf) -> None:
    """As it looks when `work` was a mount point: it is there, and empty."""
    shutil.rmtree(shelf.project("train"))
    for history in histories(shelf.root):
        (history.folder / "mount").write_text(f"{shelf.base / 'work'}\n")


def _forget_root(shelf: Shelf) -> None:
    shutil.rmtree(shelf.project("train"))
    for history in histories(shelf.root):
        (history.folder / "root").unlink()


def _loop(shelf: Shelf) -> None:
    shutil.rmtree(shelf.project("train"))
    (shelf.base / "work" / "train").symlink_to("train")


@pytest.mark.parametrize("happened", [_hide_parent, _lose_mount, _forget_root, _loop])
def test_a_project_that_cannot_be_reached(happened: Callable[[Shelf], None], shelf: Shelf) -> None:
    """An unmounted disk is no deleted project: everything of it stays."""
    shelf.sync("train", "a", days=300)
    shelf.sync("train", "b", days=200)
    happened(shelf)
    assert not any(shelf.collect(days=0).removed.values())
    assert shelf.names("objects") == ["a", "b"]


def test_the_mount_point_is_noted(shelf: Shelf) -> None:
    """A history says which mount its project lies on, and follows it."""
    shelf.sync("train", "a")
    (history,) = histories(shelf.root)
    assert history.root == shelf.project("train")
    assert history.mount is not None
    assert os.path.ismount(history.mount)
    (history.folder / "mount").write_text("/elsewhere\n")
    shelf.sync("train", "b")
    assert histories(shelf.root)[0].mount == history.mount


def test_leftovers(shelf: Shelf) -> None:
    """What killed runs left goes, what is under way stays; half a download stays for a day, one that is used up not."""
    shelf.sync("train", "a")
    (shelf.root / "trash" / "x").mkdir(parents=True)
    (shelf.root / "tmp" / "dead").mkdir(parents=True)
    (shelf.root / "tmp" / "dead.lock").touch()
    (shelf.root / "artifacts" / ".0123456789abcdef").symlink_to("../objects/x")
    for name, age in (("young", 0.5), ("old", 2)):
        (shelf.root / "downloads" / name).mkdir(parents=True)
        then = time.time() - age * DAY
        os.utime(shelf.root / "downloads" / name, (then, then))
    (shelf.root / "downloads" / sha256("a")).mkdir()
    with staging(shelf.root / "tmp") as held:
        done = shelf.collect()
        assert shelf.names("tmp") == [held.name, f"{held.name}.lock"]
    assert done.removed["leftovers"] == ("tmp/dead", "trash/x")
    assert set(done.removed["downloads"]) == {"downloads/old", f"downloads/{sha256('a')}"}
    assert done.removed["artifacts"] == ("artifacts/.0123456789abcdef",)
    assert shelf.names("trash") == []
    assert shelf.names("downloads") == ["young"]


def test_marks_of_damage_go_with_their_objects(shelf: Shelf) -> None:
    """An object's mark does not outlive it."""
    shelf.sync("train", "a")
    keys = [shelf.object("a"), shelf.object("b")]
    for key in keys:
        mark(shelf.root, key)
    shelf.collect()
    assert damaged_keys(shelf.root) == {keys[0]}


def test_links_are_not_followed(shelf: Shelf) -> None:
    """A link among objects or views goes as a link; what it leads to stays. What is nobody's stays, too."""
    outside = shelf.base / "precious"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_text("x")
    outside.chmod(0o700)
    shelf.sync("train", "a")
    shelf.view("train", "b").joinpath("out").symlink_to(outside)
    (shelf.root / "objects" / f"{'b' * 32}-linked-1.0").symlink_to(outside)
    (shelf.root / "views" / f"{'0' * 32}-linked-here").symlink_to(outside)
    (shelf.root / "objects" / "README").write_text("mine")
    before = snapshot(outside)
    done = shelf.collect()
    assert len(done.removed["objects"]) == len(done.removed["views"]) == 2
    assert snapshot(outside) == before
    assert outside.stat().st_mode & 0o777 == 0o700
    assert (shelf.root / "objects" / "README").exists()


@pytest.mark.parametrize("area", ["objects", "views", "trash", "tmp", "projects"])
def test_an_area_behind_a_link_is_refused(area: str, shelf: Shelf) -> None:
    """Where part of the store is a link to elsewhere nothing at all is removed."""
    shelf.sync("train", "a", days=90)
    shelf.sync("train", "b", days=80)
    (shelf.root / area).mkdir(exist_ok=True)
    (shelf.root / area).rename(shelf.base / "moved")
    (shelf.root / area).symlink_to(shelf.base / "moved")
    before = snapshot(shelf.root) | snapshot(shelf.base / "moved")
    with pytest.raises(StoreError, match="cannot collect"):
        shelf.collect(days=0)
    after = snapshot(shelf.root) | snapshot(shelf.base / "moved")
    assert {name for name in after if name != "lock"} == set(before)


def test_a_dry_run_says_what_would_go(shelf: Shelf) -> None:
    """It touches nothing, and a real run then removes just that."""
    shelf.sync("train", "a", days=90)
    shelf.sync("train", "b", days=80)
    (shelf.root / "tmp" / "dead").mkdir(parents=True)
    (shelf.root / "tmp" / "dead.lock").touch()
    before = snapshot(shelf.root)
    said = shelf.collect(dry_run=True)
    assert snapshot(shelf.root) == before
    assert said.removed["objects"]
    assert shelf.collect() == said


def test_where_there_is_no_store(tmp_path: Path) -> None:
    """Nothing is removed, and nothing made, where no store is."""
    (tmp_path / "lock").mkdir()
    assert Shelf(tmp_path).collect() == Collected({}, {})
    assert collect(tmp_path, older_than=0, waiting=pytest.fail) == Collected({}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_space_counts_what_becomes_free(tmp_path: Path) -> None:
    """A file that keeps a name elsewhere frees nothing; one with all names going counts once, for the last."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/file").write_bytes(b"x" * 40_960)
    os.link(tmp_path / "a/file", tmp_path / "b/file")
    (tmp_path / "c" / "link").symlink_to("../a")

    def sizes(*names: str) -> list[int]:
        bare = {name: (tmp_path / name).stat().st_blocks * 512 for name in names}
        return [size - bare[path.name] for path, size in space([tmp_path / name for name in names]).items()]

    assert sizes("a") == [0]
    assert sizes("a", "b") == [0, 40_960]
    assert sizes("c") == [(tmp_path / "c/link").lstat().st_blocks * 512]


def test_whom_processes_use(tmp_path: Path) -> None:
    """Maps, program, folder, environment and the first two words count; later words and the store's place do not."""
    names = [f"{letter * 32}-name-1.0+cu12" for letter in "abcdefg"]
    process = tmp_path / "17"
    process.mkdir()
    (process / "comm").write_text("train\n")
    (process / "maps").write_text(f"7f00-7f01 r--p 0 08:01 5   /s t/objects/{names[0]}/x/lib.so (deleted)\n")
    (process / "exe").symlink_to(f"/elsewhere/views/{names[1]}/bin/tool")
    (process / "cwd").symlink_to(f"/store/views/{names[2]}")
    (process / "environ").write_bytes(f"A=1\0P=/bin:/store/views/{names[3]}/bin:/x\0".encode())
    (process / "cmdline").write_bytes(f"/s/views/{names[4]}/bin/python\0/s/views/{names[5]}/bin/t\0".encode())
    with (process / "cmdline").open("ab") as file:
        file.write(f"/s/views/{names[6]}\0".encode())
    (tmp_path / "18").mkdir()
    found = users(tmp_path)
    assert sorted(found) == names[:6]
    assert {(user.pid, user.program) for used in found.values() for user in used} == {(17, "train")}


def test_a_running_process_keeps_its_view(shelf: Shelf) -> None:
    """A program that was started from a view keeps it, and the view its objects, until the program ends."""
    view = shelf.sync("train", "a", days=300)
    (view / "bin").mkdir()
    shutil.copy2(os.path.realpath("/bin/sleep"), view / "bin" / "sleep")
    shelf.sync("train", "b", days=200)
    with subprocess.Popen([view / "bin" / "sleep", "60"], cwd="/") as process:
        try:
            shelf.collect(days=0)
            assert shelf.names("objects") == ["a", "b"]
            keeper = Keeper("process", pid=process.pid, program="sleep")
            assert why_kept(shelf.root, view, older_than=0).keepers == (keeper,)
        finally:
            process.kill()
    shelf.collect(days=0)
    assert shelf.names("objects") == ["b"]


def test_why(shelf: Shelf) -> None:
    """Objects, views, files and generations name who keeps them; what nobody keeps has no keepers."""
    old = shelf.sync("train", "a", "common", days=300)
    view = shelf.sync("train", "b", days=200)
    shelf.sync("serve", "common", days=100)
    train, serve = str(shelf.project("train")), str(shelf.project("serve"))
    present, other = Keeper("generation", train, 2, "present"), Keeper("generation", serve, 1, "present")

    def why(path: Path, days: int = 30) -> tuple[str, tuple[Keeper, ...]]:
        found = why_kept(shelf.root, path, older_than=days * DAY)
        return found.kind, found.keepers

    assert why(view) == ("view", (present, Keeper("link", train)))
    assert why(shelf.project("train") / ".venv" / "lib" / "b" / "data.bin") == (
        "object",
        (present, Keeper("link", train)),
    )
    assert why(shelf.root / "artifacts" / sha256("common")) == ("object", (other, Keeper("link", serve)))
    assert why(Path("objects") / shelf.object("a")) == ("object", ())
    assert why(old) == ("view", ())
    assert why(old, days=250) == ("view", (Keeper("generation", train, 1, "recent"),))
    one, two = sorted(one.folder for one in generations(shelf.root, project=shelf.project("train"), name=""))
    assert (why(one), why(two / "lock")) == (("generation", ()), ("generation", (present,)))
    with staging(shelf.root / "tmp") as held:
        assert why(held)[1] == (Keeper("use", because="tmp"),)
    for path in (shelf.base, shelf.root, shelf.root / "objects", Path("/nowhere")):
        with pytest.raises(UsageError):
            why(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("12h", 43200), ("1 hour", 3600), ("30 days", 30 * DAY), ("2w", 14 * DAY), (" 3 Weeks", 21 * DAY)],
)
def test_spans(text: str, expected: int) -> None:
    """Hours, days and weeks, short or in full, and nothing at all."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "30", "-1d", "1 month", "2026-01-01", "1.5d", "00"])
def test_no_spans(text: str) -> None:
    """What could be misread is refused."""
    with pytest.raises(UsageError):
        seconds(text)


def test_histories_that_cannot_be_read(shelf: Shelf) -> None:
    """Where it is unknown what a project keeps, nothing is removed."""
    shelf.sync("train", "a", days=90)
    shelf.sync("train", "b", days=80)
    (history,) = histories(shelf.root)
    lock = history.generations[0].folder / "lock"
    lock.unlink()
    lock.mkdir()
    before = snapshot(shelf.root)
    with pytest.raises(StoreError, match="what projects keep"):
        shelf.collect(days=0)
    assert {name for name in snapshot(shelf.root) if name != "lock"} == set(before)


HOLD = """
import sys
from pathlib import Path
from gpuenv.store.guard import {which} as hold
with hold(Path(sys.argv[1]){more}):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holding(root: Path, which: str) -> "subprocess.Popen[str]":
    """A process that holds the store's lock until it gets a line."""
    code = HOLD.format(which=which, more=", waiting=lambda: print('waits', flush=True)" if which == "alone" else "")
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_syncs_together_gc_alone(tmp_path: Path) -> None:
    """Two syncs go on side by side; gc says that it waits, and has the store when both are done."""
    with holding(tmp_path, "together") as one, holding(tmp_path, "together") as two:
        assert [process.stdout and process.stdout.readline() for process in (one, two)] == ["held\n", "held\n"]
        with holding(tmp_path, "alone") as gc:
            assert gc.stdout is not None
            assert gc.stdout.readline() == "waits\n"
            one.communicate("\n")
            two.communicate("\n")
            assert gc.stdout.readline() == "held\n"
            with holding(tmp_path, "together") as late:
                time.sleep(0.3)
                assert late.poll() is None
                gc.communicate("\n")
                assert late.communicate("\n")[0] == "held\n"


def test_without_locks(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks syncs go on, and gc refuses."""
    shelf.sync("train", "a")

    def refuse(fd: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with guard.together(shelf.root):
        pass
    shelf.object("orphan")
    with pytest.raises(StoreError, match="nothing was removed") as caught:
        shelf.collect()
    assert caught.value.causes == ("the store cannot be locked against syncs: No locks available",)
    assert shelf.names("objects") == ["a", "orphan"]


def _killed(root: Path, step: int) -> None:
    """Run gc and die just before its `step`-th change of the file system."""
    install(root, kill=step)
    collect(root, older_than=0, waiting=lambda: None)


def test_killed_at_any_step(shelf: Shelf) -> None:
    """SIGKILL before a change: what is kept is whole, no name leads nowhere, and the next run finishes.

    Every third change, others each time; `benchmarks/faults.py --kills` tries all.
    """
    shelf.sync("train", "a", "common", days=90)
    view = shelf.sync("train", "b", "common", days=80)
    shelf.sync("gone", "c", days=70)
    shutil.rmtree(shelf.project("gone"))
    (shelf.root / "tmp" / "dead").mkdir(parents=True)
    (shelf.root / "tmp" / "dead.lock").touch()
    (shelf.root / "locks").mkdir()
    (shelf.root / "locks" / f"{sha256('a')}.lock").touch()
    mark(shelf.root, shelf.object("c"))
    processes = multiprocessing.get_context("spawn")
    kept, exits = snapshot(view), []
    for step in range(os.getpid() % 3, 200, 3):
        copy = shelf.base / "copy"
        subprocess.run(["cp", "-a", shelf.root, copy], check=True)
        process = processes.Process(target=_killed, args=(copy, step))
        process.start()
        process.join(60)
        exits.append(process.exitcode)
        assert snapshot(copy / "views" / view.name) == kept
        assert [path for path in copy.glob("artifacts/*") if not path.exists()] == []
        assert [path for path in copy.glob("views/*/lib/*") if not path.exists()] == []
        assert [path for path in copy.glob("projects/*/*/*") if not path.exists()] == []
        collect(copy, older_than=0, waiting=pytest.fail)
        finished = Shelf(shelf.base)
        finished.root = copy
        assert (finished.names("objects"), finished.names("views")) == (["b", "common"], [view.name])
        assert (finished.names("trash"), finished.names("tmp"), finished.names("locks")) == ([], [], [])
        assert damaged_keys(copy) == frozenset()
        for folder, _, _ in os.walk(copy):
            Path(folder).chmod(0o755)
        shutil.rmtree(copy)
        if process.exitcode == 0:
            break
    assert exits == [-signal.SIGKILL] * (len(exits) - 1) + [0]
    assert len(exits) > 5
