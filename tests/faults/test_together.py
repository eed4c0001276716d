"""Several at once: each artifact is fetched once, everybody succeeds, and nobody takes what another one needs."""

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from gpuenv.binaries.elf import origin_paths
from gpuenv.model.progress import Silent
from gpuenv.store.gc import find_garbage
from gpuenv.store.store import Store
from gpuenv.workflow.gc import collect
from gpuenv.workflow.store import verify
from tests.faults.support import damaged
from tests.support.project import Project
from tests.support.wheels import make_wheel

SYNCS = 4


def test_syncs_and_gc_on_one_empty_store(project: Project) -> None:
    """Processes sync two different locks while gc runs again and again: what both need is downloaded once."""
    for name in ("common", "other", "one", "two"):
        project.offer(name, requires=[] if name in ("common", "other") else ["common", "other"])
    roots = []
    for number in range(SYNCS):
        project.write(["one" if number % 2 else "two"])
        project.run("lock")
        root = project.base / f"project{number}"
        root.mkdir()
        for file in (project.manifest, project.lock):
            (root / file.name).write_bytes(file.read_bytes())
        roots.append(root)
    wheels_before = Counter(path for path in project.server.paths if path.endswith(".whl"))
    assert not wheels_before
    running = [project.start("sync", "--frozen", "-q", cwd=root) for root in roots]
    rounds = 0
    while any(process.poll() is None for process in running):
        project.run("store", "gc", "--older-than", "0", "-q")
        rounds += 1
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert rounds > 0
    fetched = Counter(path.rpartition("/")[2] for path in project.server.paths if path.endswith(".whl"))
    assert set(fetched.values()) == {1}
    assert len(fetched) == 4
    for root in roots:
        code = "import common, other, sys; print(common.__version__)"
        assert subprocess.check_output([root / ".venv/bin/python", "-I", "-c", code], encoding="utf-8") == "1.0\n"
    project.run("store", "verify")
    project.run("store", "gc", "--older-than", "0")
    assert sorted(path.name.split("-")[1] for path in (project.store / "objects").iterdir()) == [
        "common", "one", "other", "two"
    ]  # fmt: skip
    assert list((project.store / "locks").iterdir()) == []


class _Reading(Silent):
    """Collects garbage when the first bytes of an object were read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._once = threading.Lock()

    def advance(self, label: str, amount: int = 1) -> None:
        if self._once.acquire(blocking=False):
            collect(self._root, older_than=0, waiting=self._waits)

    def _waits(self) -> None:
        raise AssertionError("gc waits for verify")


def test_gc_does_not_wait_for_verify(tmp_path: Path) -> None:
    """What is collected while it is read is no damage, and gc goes on at once."""
    store = Store(tmp_path / "store")
    for number in range(3):
        wheel = make_wheel(tmp_path, f"demo{number}", files={f"demo{number}.py": "x = 1\n", "data": b"\0" * 5000})
        sha256 = f"{number}" * 64
        store.ingest(wheel, sha256=sha256, name=f"demo{number}", version="1.0", origin_paths=origin_paths)
    found = verify(store.root, _Reading(store.root))
    assert [one for one in found.objects if not one.whole] == []
    assert found.elsewhere == ()
    assert list(store.objects.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from gpuenv.store.guard import together
from gpuenv.store.store import Store
store = Store(Path(sys.argv[1]))
with together(store.root), store.lock_artifact("0" * 64):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_locks_go_with_the_garbage(tmp_path: Path) -> None:
    """A lock that a sync holds is left, for gc waits for the sync; afterwards it goes, and can be taken again."""
    (tmp_path / "objects").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sync:
        assert sync.stdout is not None
        assert sync.stdout.readline() == "held\n"
        lock = tmp_path / "locks" / f"{'0' * 64}.lock"
        assert lock.exists()
        waited = threading.Event()
        gc = threading.Thread(
            target=collect, args=(tmp_path,), kwargs={"older_than": 0, "waiting": waited.set}, daemon=True
        )
        gc.start()
        assert waited.wait(60)
        assert lock.exists()
        sync.communicate("\n")
        gc.join(60)
        assert not gc.is_alive()
    assert not lock.exists()
    with Store(tmp_path).lock_artifact("0" * 64):
        assert lock.exists()
    assert damaged(list((tmp_path / "objects").iterdir())) == []
    assert find_garbage(tmp_path, objects=set(), views=set(), generations=(), now=0.0).paths == ()
