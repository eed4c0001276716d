"""`gpuenv sync --compile-bytecode`: compiled once for all projects, accounted for, and never in anybody's way."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuenv.host.interpreters import find_interpreters
from tests.support.project import PYTHON, Project, target

TAG = str(sys.implementation.cache_tag)
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "from demo.deep import x\n",
    "demo/deep/__init__.py": "x = 1\n",
    "demo/deep/python2.py": "print 'x'\n",
    "demo/template.py": "{% name %}\n",
    "demo_top.py": "x = 2\n",
    "demo-1.0.data/scripts/tool.py": "#!python\n",
    "demo-1.0.data/data/share/plain.py": "",
}
COMPILED = {f"__pycache__/demo_top.{TAG}.pyc"} | {
    f"{folder}/__pycache__/__init__.{TAG}.pyc" for folder in ("demo", "demo/deep")
}
MODES = ("symlink", "hardlink", "copy")


@pytest.fixture
def compiled(project: Project) -> Project:
    """A project with modules that compile and some that do not, synced with bytecode."""
    project.offer("demo", files=FILES)
    project.write(["demo"])
    project.run("sync", "--compile-bytecode")
    return project


def bytecode(folder: Path) -> set[str]:
    """The bytecode below a folder, linked directories among it."""
    found = set()
    for here, _, names in os.walk(folder, followlinks=True):
        found |= {str(Path(here, name).relative_to(folder)) for name in names if name.endswith(".pyc")}
    return found


def in_objects(project: Project) -> dict[str, tuple[int, bytes]]:
    """What lies in `__pycache__` of objects, by name: inode and content."""
    found = (project.store / "objects").glob("**/__pycache__/*")
    return {str(path.relative_to(project.store)): (path.stat().st_ino, path.read_bytes()) for path in found}


@pytest.mark.parametrize("mode", MODES)
def test_every_module_has_its_bytecode(mode: str, project: Project) -> None:
    """In each link mode an import takes what was compiled and writes nothing; what does not compile is no error."""
    project.offer("demo", files=FILES)
    project.write(["demo"])
    assert project.run("sync", "--compile-bytecode", "--link-mode", mode).err.count("\n") == 2
    assert bytecode(project.site) == COMPILED
    code = "import demo, demo_top, sys; print(demo.__cached__, demo.deep.__cached__, demo_top.__cached__)"
    done = subprocess.run(
        [project.venv / "bin" / "python", "-v", "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {str(project.site / path) for path in COMPILED}
    assert {path for path in COMPILED if f"code object from '{project.site / path}'" in done.stderr} == COMPILED
    assert bytecode(project.site) == COMPILED
    assert "up to date" in project.run("sync", "--compile-bytecode", "--link-mode", mode).err
    assert project.run("store", "verify").out.endswith("all whole\n")
    assert bytecode(project.site) == COMPILED


def test_nothing_is_compiled_twice(compiled: Project) -> None:
    """Another link mode and another project take the bytecode that the objects have; without the flag there is none."""
    before = in_objects(compiled)
    for mode in MODES:
        compiled.run("sync", "--compile-bytecode", "--link-mode", mode)
        assert bytecode(compiled.site) == COMPILED
    other = compiled.base / "other"
    other.mkdir()
    (other / "pyproject.toml").write_bytes(compiled.manifest.read_bytes())
    compiled.run("sync", "--link-mode", "copy", cwd=other)
    assert bytecode(other / ".venv" / "lib") == set()
    compiled.run("sync", "--link-mode", "copy", cwd=other, env={"GPUENV_COMPILE_BYTECODE": "1"})
    assert bytecode(other / compiled.site.relative_to(compiled.root)) == COMPILED
    assert in_objects(compiled) == before


def test_the_variable_is_read_by_the_glance_too(compiled: Project) -> None:
    """GPUENV_COMPILE_BYTECODE is the flag, for a sync with nothing to do as for others; nonsense in it is refused."""
    for word in ("1", "true", "YES"):
        assert "up to date" in compiled.run("sync", env={"GPUENV_COMPILE_BYTECODE": word}).err
    (view,) = (compiled.store / "views").iterdir()
    marker = (view / "gpuenv.json").read_text()
    compiled.run("sync", env={"GPUENV_COMPILE_BYTECODE": "0"})
    assert (view / "gpuenv.json").read_text() != marker
    assert compiled.run("sync", rc=2, env={"GPUENV_COMPILE_BYTECODE": "perhaps"}).err.startswith("error: ")


def test_what_was_damaged_is_compiled_again(compiled: Project) -> None:
    """Verify names and drops bytecode of other bytes; the next sync with the flag makes it anew, and it alone."""
    before = in_objects(compiled)
    (victim,) = (path for path in before if path.endswith(f"demo/__pycache__/__init__.{TAG}.pyc"))
    file = compiled.store / victim
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    found = compiled.run("store", "verify", "--json", rc=1).json
    assert [(one["kind"], one["path"]) for one in found["damaged"]] == [("bytecode", victim.split("/", 2)[2])]
    compiled.run("store", "verify")
    compiled.run("sync", "--reinstall", "--compile-bytecode")
    after = in_objects(compiled)
    assert {path: data for path, (_, data) in after.items()} == {path: data for path, (_, data) in before.items()}
    changed = {path.rpartition("/")[2] for path in after if after[path] != before[path]}
    assert changed <= {f"__init__.{TAG}.pyc", f"gpuenv.{TAG}.bytecode"}
    assert bytecode(compiled.site) == COMPILED


def test_two_interpreters(compiled: Project) -> None:
    """Bytecode of several Pythons lies side by side, each with its list."""
    found = find_interpreters(dict(os.environ), compiled.cache)
    other = next((one for one in found if one.tag != PYTHON and one.version >= "3.11"), None)
    if other is None:
        pytest.skip("there is one Python alone")
    compiled.write(["demo"], targets=target("here", python=other.tag))
    compiled.run("sync", "--compile-bytecode", "--python", other.path)
    names = {path.rpartition("/")[2] for path in in_objects(compiled)}
    assert {name for name in names if name.startswith("demo_top.")} == {
        f"demo_top.{TAG}.pyc",
        f"demo_top.cpython-{other.tag.replace('.', '')}.pyc",
    }
    assert len([name for name in names if re.fullmatch(r"gpuenv\..*\.bytecode", name)]) == 2
    before = in_objects(compiled)
    compiled.run("store", "verify")
    assert in_objects(compiled) == before


@pytest.mark.parametrize("number", range(4))
def test_killed_in_the_middle(number: int, project: Project) -> None:
    """Whatever a killed sync compiled, the environment of before works, and the next sync completes."""
    modules = {f"demo/m{index}.py": f"x = {list(range(index))}\n" for index in range(400)}
    project.offer("demo", files={"demo/__init__.py": "", **modules})
    project.write(["demo"])
    project.run("sync")
    running = project.start("sync", "--compile-bytecode")
    until = time.monotonic() + 60
    caches = project.store / "objects"
    while (
        len(list(caches.glob("**/__pycache__/*.pyc"))) <= number * 100
        and running.poll() is None
        and time.monotonic() < until
    ):
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    assert project.inside("python", "-c", "import demo.m7; print(demo.m7.x)") == f"{list(range(7))}\n"
    project.run("sync", "--compile-bytecode")
    assert len(bytecode(project.site)) == 401
    project.run("store", "verify")
    assert len(in_objects(project)) == 402
