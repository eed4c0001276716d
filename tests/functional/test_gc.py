"""`gpuenv store gc`: projects that share a store lose nothing that they need, whoever else is at work."""

import os
import shutil
import signal
import subprocess
import time

from tests.support.project import Project, snapshot
from tests.support.simple_server import Fault


def three(project: Project) -> None:
    """Three generations, alpha 1.0 to 3.0, the last present."""
    for version in ("1.0", "2.0", "3.0"):
        project.offer("alpha", version)
    for version in ("1.0", "2.0", "3.0"):
        project.write([f"alpha=={version}"])
        project.run("sync")


def versions(project: Project) -> list[str]:
    """The versions of alpha in the store."""
    return sorted(path.name.rpartition("-")[2] for path in (project.store / "objects").iterdir())


def test_gc(project: Project) -> None:
    """Young generations stay by default; --older-than 0 leaves what is newest; the environment goes on to work."""
    three(project)
    result = project.run("store", "gc")
    assert (result.out, result.err) == ("", "nothing to remove\n")
    before = snapshot(project.store)
    said = project.run("store", "gc", "--older-than", "0", "--dry-run").err
    assert {name: held for name, held in snapshot(project.store).items() if name != "lock"} == {
        name: held for name, held in before.items() if name != "lock"
    }
    assert said.startswith("would free ")
    done = project.run("store", "gc", "--older-than", "0").err
    assert done.splitlines()[1:] == said.splitlines()[1:]
    assert [line.split("  ")[0] for line in done.splitlines()[1:]] == [
        " - 2 generations",
        " - 2 views",
        " - 2 names of artifacts",
        " - 2 objects",
    ]
    assert versions(project) == ["3.0"]
    assert project.installed() == {"alpha": "3.0"}
    assert "up to date" in project.run("sync").err
    project.write(["alpha==1.0"])
    project.run("sync")
    assert project.installed() == {"alpha": "1.0"}


def test_documents(project: Project) -> None:
    """`--json` has bytes and paths by kind; `--why` has keepers; failures are documents too."""
    three(project)
    document = project.run("store", "gc", "--older-than", "0", "--json").json
    assert document.keys() == {"dry_run", "freed", "removed", "left"}
    assert document["freed"] == sum(kind["freed"] for kind in document["removed"].values()) > 0
    assert [path.split("/")[0] for path in document["removed"]["objects"]["paths"]] == ["objects", "objects"]
    assert document["removed"].keys() == {"generations", "views", "artifacts", "objects", "downloads", "leftovers"}
    why = project.run("store", "gc", "--why", ".venv", "--json").json
    assert (why["kind"], why["kept"]) == ("view", True)
    assert why["keepers"][0] == {
        "kind": "generation", "project": str(project.root), "generation": 3, "because": "present", "pid": None,
        "program": None,
    }  # fmt: skip
    assert project.run("store", "gc", "--why", "/nowhere", "--json", rc=2).json["error"]["kind"] == "usage"
    assert project.run("store", "gc", "--older-than", "soon", "--json", rc=2).json["error"]["kind"] == "usage"
    assert project.run("store", "gc", "--why", ".venv", "--dry-run", "--json", rc=2).json["error"]["kind"] == "usage"


def test_why(project: Project) -> None:
    """What keeps an object is said in words; what nothing keeps as well."""
    three(project)
    one, two, three_ = sorted((project.store / "objects").iterdir(), key=lambda path: path.name.rpartition("-")[2])
    page = project.run("store", "gc", "--why", three_).out
    assert page == (
        f"object {three_.name} is kept by\n"
        f"  generation 3 of {project.root}: what .venv is\n"
        f"  the link {project.root}/.venv\n"
    )
    assert f"generation 2 of {project.root}: in use not long ago" in project.run("store", "gc", "--why", two).out
    page = project.run("store", "gc", "--older-than", "0", "--why", one).out
    assert page == f"object {one.name}: nothing keeps it, `gpuenv store gc` removes it\n"


def test_several_projects(project: Project) -> None:
    """A second project keeps what it shares with the first; when its folder is gone, only while it is young."""
    three(project)
    other = project.base / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text(project.manifest.read_text().replace("alpha==3.0", "alpha==1.0"))
    project.run("sync", cwd=other)
    project.run("store", "gc", "--older-than", "0")
    assert versions(project) == ["1.0", "3.0"]
    shutil.rmtree(other)
    project.run("store", "gc", "--older-than", "1h")
    assert versions(project) == ["1.0", "3.0"]
    project.run("store", "gc", "--older-than", "0", cwd=project.base)
    assert versions(project) == ["3.0"]
    assert project.installed() == {"alpha": "3.0"}


def test_gc_waits_for_a_sync(project: Project) -> None:
    """gc says that it waits while a sync of another process fetches; then nothing that the sync needs is gone."""
    three(project)
    project.offer("slow", requires=["alpha"])
    project.write(["alpha==1.0", "slow"])
    project.run("lock")
    project.server.faults.append(Fault("/files/slow-1.0-py3-none-any.whl", wait=3))
    sync = project.start("sync", "--frozen")
    deadline = time.monotonic() + 60
    while not any(path.endswith("slow-1.0-py3-none-any.whl") for path in project.server.paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    result = project.run("store", "gc", "--older-than", "0")
    assert result.err.startswith("waiting for a sync to end\n")
    _, said = sync.communicate(timeout=60)
    assert sync.returncode == 0, said
    assert project.installed() == {"alpha": "1.0", "slow": "1.0"}
    assert versions(project) == ["1.0", "1.0"]


def test_gc_among_syncs(project: Project) -> None:
    """Projects sync back and forth while gc runs again and again: every sync succeeds, every environment works."""
    three(project)
    roots = []
    for name in ("a", "b"):
        root = project.base / name
        root.mkdir()
        roots.append(root)
    script = (
        "import subprocess, sys, pathlib\n"
        "for version in ['1.0', '2.0', '3.0']:\n"
        "    text = pathlib.Path(sys.argv[1]).read_text().replace('alpha==3.0', f'alpha=={version}')\n"
        "    pathlib.Path('pyproject.toml').write_text(text)\n"
        "    subprocess.run([sys.executable, '-m', 'gpuenv', 'sync', '-q'], check=True)\n"
        "    wanted = f'import alpha; assert alpha.__version__ == {version!r}'\n"
        "    subprocess.run(['.venv/bin/python', '-c', wanted], check=True)\n"
    )
    python = project.command()[0]
    running = [
        subprocess.Popen(
            [python, "-c", script, str(project.manifest)],
            cwd=root,
            env=project.variables(),
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for root in roots
    ]
    rounds = 0
    while any(process.poll() is None for process in running):
        project.run("store", "gc", "--older-than", "0", "-q")
        rounds += 1
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert rounds > 1
    project.run("store", "gc", "--older-than", "0", "-q")
    assert versions(project) == ["3.0"]
    assert [path for path in (project.store / "artifacts").iterdir() if not path.exists()] == []


def test_what_a_killed_sync_left(project: Project) -> None:
    """Objects and staging folders of a sync that was killed before it was done go, and the next sync succeeds."""
    three(project)
    project.offer("slow", requires=["extra"])
    project.offer("extra")
    project.write(["alpha==3.0", "slow"])
    project.run("lock")
    project.server.faults.append(Fault("/files/slow-1.0-py3-none-any.whl", wait=30))
    sync = project.start("sync", "--frozen")
    deadline = time.monotonic() + 60
    while not any((project.store / "objects").glob("*-extra-1.0")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(sync.pid, signal.SIGKILL)
    sync.communicate()
    project.run("store", "gc")
    assert len(versions(project)) == 3
    assert list((project.store / "tmp").iterdir()) == []
    assert project.installed() == {"alpha": "3.0"}
    project.server.faults.clear()
    project.run("sync")
    assert project.installed().keys() == {"alpha", "slow", "extra"}


def test_gc_without_a_store_or_a_project(project: Project) -> None:
    """It needs no project, and where there is no store it makes none."""
    assert project.run("store", "gc", cwd=project.base).err == "nothing to remove\n"
    assert not project.store.exists()
