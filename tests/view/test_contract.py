"""What a view promises, whatever way it holds files: a virtual environment that works, and a store that stays as it is.

In every link mode, with several of them in one view, with objects of another store; at a path with spaces and accents.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.binaries.elf import origin_paths
from gpuenv.store.commit import exchange
from gpuenv.store.unpack import MTIME
from gpuenv.store.verify import check_object
from gpuenv.view.build import build_view
from gpuenv.view.link import copy_file
from gpuenv.view.plan import LinkMode, Links
from gpuenv.view.state import changed, lacking
from gpuenv.view.switch import current, switch
from tests.faults.places import as_user
from tests.support.project import snapshot
from tests.view.conftest import Bench

REPORT = (
    "import json, sys, importlib.metadata as m\n"
    "def main():\n"
    "    import demo\n"
    "    print(json.dumps([sys.prefix, sys.base_prefix, demo.__file__, m.version('demo'), sys.argv[1:]]))\n"
)
FILES: dict[str, bytes | str] = {
    "demo/data/table.txt": "table",
    "demo/data/run.sh": "#!/bin/sh\necho run\n",
    "space/demo/part.py": "",
    "demo/__init__.py": "",
    "demo/__main__.py": "from demo.cli import main\nmain()\n",
    "demo/cli.py": REPORT,
    "demo-1.0.data/scripts/old": "#!python\nfrom demo.cli import main\nmain()\n",
    "demo-1.0.data/scripts/shell": "#!/bin/sh\necho shell\n",
    "demo-1.0.data/data/share/demo/info": "info",
    "demo-1.0.data/headers/demo.h": "h",
}


SHARED = "/dev/shm"  # noqa: S108 - another file system than most
EXECUTABLE = ("demo/data/run.sh",)


def made(bench: Bench) -> Path:
    stored = bench.add("demo", FILES, entry_points={"demo": "demo.cli:main"}, executable=EXECUTABLE)
    other = bench.add("other", {"space/other/part.py": ""})
    view = build_view(bench.plan(stored, other, requested=frozenset({"demo"}), direct_urls={"demo": "{}"}))
    switch(bench.venv, view)
    return bench.venv


def run(*command: object, **variables: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=True, cwd="/"
    ).stdout


@pytest.mark.parametrize(
    "command", [["bin/python", "-m", "demo"], ["bin/demo"], ["bin/old"]], ids=["module", "entry point", "script"]
)
def test_python_and_commands_run_in_the_environment(command: list[str], bench: Bench) -> None:
    """`python -m`, console scripts and wheels' own scripts see `.venv` as sys.prefix and import from it."""
    venv = made(bench)
    prefix, base, file, version, arguments = json.loads(run(venv / command[0], *command[1:], "a b"))
    assert prefix == str(venv)
    assert base != prefix
    assert file.startswith(f"{venv}/lib/python")
    assert version == "1.0"
    assert arguments == ["a b"]


def test_the_other_parts(bench: Bench) -> None:
    """Plain scripts, data, headers, lib64, the interpreter's names and pyvenv.cfg are where they belong."""
    venv = made(bench)
    minor = "{}.{}".format(*sys.version_info[:2])
    assert run(venv / "bin/shell") == "shell\n"
    assert (venv / "share/demo/info").read_text() == "info"
    assert (venv / f"include/site/python{minor}/demo/demo.h").read_text() == "h"
    assert (venv / "lib64").readlink() == Path("lib")
    assert (venv / f"bin/python{minor}").resolve() == Path(bench.interpreter.path)
    config = dict(line.split(" = ") for line in (venv / "pyvenv.cfg").read_text("utf-8").splitlines())
    assert config["home"] == str(Path(bench.interpreter.path).parent)
    assert config["include-system-site-packages"] == "false"
    assert config["prompt"] == "projéct"


def test_installers_are_told_to_keep_off(bench: Bench) -> None:
    """dist-info is a real directory of gpuenv's, without RECORD, with REQUESTED and direct_url.json where known."""
    site = made(bench) / bench.plan().site_packages
    info = site / "demo-1.0.dist-info"
    assert not info.is_symlink()
    assert sorted(path.name for path in info.iterdir()) == [
        "INSTALLER",
        "METADATA",
        "REQUESTED",
        "WHEEL",
        "direct_url.json",
        "entry_points.txt",
    ]
    assert (info / "INSTALLER").read_text() == "gpuenv\n"


def test_links_are_relative(bench: Bench) -> None:
    """No link into the view's own store says where the store is, so that it can move; links to others do."""
    view = made(bench).resolve()
    links = [path for path in view.rglob("*") if path.is_symlink() and path.parent.name != "bin"]
    absolute = [link for link in links if link.readlink().is_absolute()]
    assert all(bench.mode.elsewhere and link.readlink().is_relative_to(bench.shelf.objects) for link in absolute)
    assert all(link.exists() for link in links)


def test_children_of_multiprocessing_stay_inside(bench: Bench, tmp_path: Path) -> None:
    """A spawned child has the same prefix and imports from the same view."""
    venv = made(bench)
    program = tmp_path / "spawn.py"
    program.write_text(
        "import multiprocessing, sys\n"
        "def child(queue):\n    import demo\n    queue.put([sys.prefix, demo.__file__])\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n    queue = context.Queue()\n"
        "    process = context.Process(target=child, args=(queue,))\n    process.start()\n"
        "    print(*queue.get(timeout=60), sep='\\n')\n    process.join()\n"
    )
    prefix, file = run(venv / "bin/python", program).splitlines()
    assert prefix == str(venv)
    assert file.startswith(str(venv))


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_activation_in_posix_shells(shell: str, bench: Bench) -> None:
    """After activation `python` and commands are the environment's; after deactivation all is as before."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    venv = made(bench)
    script = (
        'set -eu; before=$PATH; . "$1"; echo "$VIRTUAL_ENV"; echo "$VIRTUAL_ENV_PROMPT"; command -v demo; '
        'deactivate; [ "$PATH" = "$before" ] && echo same; echo "${VIRTUAL_ENV-unset}"'
    )
    lines = run(shell, "-c", script, shell, venv / "bin/activate").splitlines()
    assert lines == [str(venv), "projéct", f"{venv}/bin/demo", "same", "unset"]


def test_activation_in_fish(bench: Bench) -> None:
    """The same in fish."""
    if shutil.which("fish") is None:
        pytest.skip("fish is not here")
    venv = made(bench)
    script = "source $argv[1]; echo $VIRTUAL_ENV; command -v demo; deactivate; set -q VIRTUAL_ENV; or echo unset"
    assert run("fish", "-c", script, venv / "bin/activate.fish", HOME="/").splitlines() == [
        str(venv),
        f"{venv}/bin/demo",
        "unset",
    ]


def test_bytecode_is_written_where_it_may_be(bench: Bench) -> None:
    """An import leaves bytecode in an object's `__pycache__` under folding, in the view otherwise, never beside it."""
    venv = made(bench)
    run(venv / "bin/python", "-m", "demo", PYTHONDONTWRITEBYTECODE="")
    package = venv / bench.plan().site_packages / "demo"
    assert list((package / "__pycache__").glob("cli.*.pyc"))
    in_store = list(bench.shelf.objects.glob("*/site-packages/demo/__pycache__/*.pyc"))
    assert bool(in_store) == (bench.fold and package.is_symlink())


def test_the_marker_names_objects(bench: Bench) -> None:
    """The marker gives back what the caller put in, the objects, and how the view was made, to make it again."""
    stored = bench.add("demo", FILES)
    plan = bench.plan(stored, marker={"lock": "abc"}, unfold=frozenset({"x"}), link_modes={"y": LinkMode.COPY})
    marker = current(build_view(plan)) or {}
    assert (marker["lock"], marker["objects"], marker["interpreter"]) == ("abc", [stored.key], bench.interpreter.path)
    assert Links.of_marker(marker) == plan.links
    assert Links.of_marker({}) is None


# what Python and programs find


def test_the_import_system_finds_everything(bench: Bench) -> None:
    """Metadata, entry points, resources, namespace packages of two distributions; files() is None without RECORD."""
    code = (
        "import importlib.metadata as m, importlib.resources as r, json, space.demo.part, space.other.part\n"
        "points = m.entry_points(group='console_scripts', name='demo')\n"
        "print(json.dumps([m.version('demo'), m.files('demo'), sorted(d.metadata['Name'] for d in m.distributions()),\n"
        "    [p.value for p in points], (r.files('demo') / 'data' / 'table.txt').read_text(),\n"
        "    len(list(space.__path__)), m.distribution('other').read_text('INSTALLER')]))\n"
    )
    found = json.loads(run(made(bench) / "bin/python", "-c", code))
    assert found == ["1.0", None, ["demo", "other"], ["demo.cli:main"], "table", 1, "gpuenv\n"]


def test_executable_bits(bench: Bench) -> None:
    """Files that a wheel calls executable are, others are not, and nobody may write to either."""
    venv = made(bench)
    package = venv / bench.plan().site_packages / "demo"
    assert run(package / "data/run.sh") == "run\n"
    assert (package / "data/run.sh").stat().st_mode & 0o777 == 0o555
    assert (package / "cli.py").stat().st_mode & 0o777 == 0o444


def test_real_paths(bench: Bench) -> None:
    """Code that resolves links finds its own files in the view with hard links and copies, in the store with links."""
    venv = made(bench)
    code = "import demo.cli, os, space.other.part as p\nfor m in (demo.cli, p): print(os.path.realpath(m.__file__))"
    for name, real in zip(("demo", "other"), run(venv / "bin/python", "-c", code).splitlines(), strict=True):
        linked = bench.mode.others.get(name, bench.mode.link_mode) is LinkMode.SYMLINK
        assert Path(real).is_relative_to(bench.shelf.objects if linked else venv.resolve())


def test_times_are_those_of_the_objects(bench: Bench) -> None:
    """Every file has the fixed time of its object, so that bytecode of one is bytecode of all."""
    package = made(bench) / bench.plan().site_packages / "demo"
    assert {path.stat().st_mtime for path in package.rglob("*.py")} == {float(MTIME)}


# what is left of the store


def content(bench: Bench) -> dict[str, str]:
    found = snapshot(bench.shelf.objects)
    return {path: held for path, held in found.items() if "__pycache__" not in path}


def verified(bench: Bench) -> None:
    for root in bench.shelf.objects.iterdir():
        assert check_object(root, origin_paths=origin_paths, drop=True, advance=lambda _: None).damaged == ()


def test_use_leaves_the_store_as_it_is(bench: Bench) -> None:
    """After imports and programs every object is what its name says."""
    venv = made(bench)
    before = content(bench)
    for command in (
        ["bin/demo"],
        ["bin/old"],
        ["bin/python", "-m", "demo"],
        ["bin/python", "-c", "import space.demo.part"],
    ):
        run(venv / command[0], *command[1:], PYTHONDONTWRITEBYTECODE="")
    assert content(bench) == before
    verified(bench)


def test_removing_a_view_removes_nothing_else(bench: Bench) -> None:
    """A view's links and copies go, by whatever tool, and every object stays whole."""
    venv = made(bench)
    before = content(bench)
    subprocess.run(["rm", "-rf", venv.resolve()], check=True)
    assert not venv.exists()
    assert content(bench) == before
    verified(bench)


def test_an_ordinary_user_cannot_write_through_a_view(bench: Bench) -> None:
    """Not into a file that came from a wheel, and no new file into a directory that is one link."""
    ordinary = as_user(sys.executable)
    if subprocess.run([*ordinary, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces do not work here")
    venv = made(bench)
    before = content(bench)
    reached = []
    for folder, _, names in os.walk(venv / bench.plan().site_packages, followlinks=True):
        if Path(folder).resolve().is_relative_to(bench.shelf.objects) and not folder.endswith("__pycache__"):
            reached.append(f"{folder}/new")
        paths = [Path(folder, name) for name in names]
        reached += [str(path) for path in paths if path.is_symlink() or path.stat().st_mode & 0o222 == 0]
    program = (
        "import json, os, sys\n"
        "for path in json.load(sys.stdin):\n"
        "    try:\n        os.open(path, os.O_RDWR | os.O_CREAT)\n    except PermissionError:\n        continue\n"
        "    print(path)\n"
    )
    done = subprocess.run(
        [*ordinary, "-c", program], input=json.dumps(reached), capture_output=True, text=True, check=True
    )
    assert len(reached) > len(FILES)
    assert done.stdout == ""
    assert content(bench) == before


# whether a view is still what it was


def test_a_view_is_lacking_what_it_needs(bench: Bench) -> None:
    """Without its interpreter a view is made again; without an object where links lead to it, and not otherwise."""
    stored = bench.add("demo", FILES)
    view = build_view(bench.plan(stored))
    marker = current(view) or {}
    assert (lacking(view, marker), changed(view, marker)) == (None, None)
    folder = bench.shelf.path(stored)
    folder.chmod(0o755)
    folder.rename(folder.with_name("gone"))
    linked = any(path.is_symlink() and not path.exists() for path in view.rglob("*"))
    assert (lacking(view, marker) is not None) == linked
    folder.with_name("gone").rename(folder)
    (view / "bin/python").unlink()
    (view / "bin/python").symlink_to("/nowhere/python")
    assert lacking(view, marker) == "bin/python leads nowhere"
    assert build_view(bench.plan(stored)) == view
    assert (view / "bin/python").exists()


@pytest.mark.parametrize("where", ["", "bin", "demo-1.0.dist-info"])
def test_a_view_that_others_changed(where: str, bench: Bench) -> None:
    """A file that is added where installers add them is seen, and goes when the view is built again."""
    stored = bench.add("demo", FILES)
    view = build_view(bench.plan(stored))
    folder = view / "bin" if where == "bin" else view / bench.plan().site_packages / where
    (folder / "stray").write_text("")
    assert changed(view, current(view) or {}) == str(folder.relative_to(view))
    assert build_view(bench.plan(stored)) == view
    assert not (folder / "stray").exists()
    assert changed(view, current(view) or {}) is None
    assert list((bench.store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("works", [True, False])
def test_a_view_is_replaced_in_one_step(works: bool, folding: Bench) -> None:
    """The new view is whole before the old one goes; where the file system cannot exchange them, by two renames."""
    stored = folding.add("demo", FILES)
    view = build_view(folding.plan(stored))
    seen = []

    def swap(one: Path, other: Path) -> bool:
        seen.append((current(one) is not None, current(other) is not None))
        return works and exchange(one, other)

    inode = view.stat().st_ino
    assert build_view(folding.plan(stored), exchange=swap, anew=True) == view
    assert seen == [(True, True)]
    assert view.stat().st_ino != inode
    assert list((folding.store.root / "tmp").iterdir()) == []


def test_copies_are_copies(tmp_path: Path) -> None:
    """A copy has content, permissions and time of its origin, wherever it goes, with and without room for a reflink."""
    origin = tmp_path / "origin"
    origin.write_bytes(os.urandom(3_000_001))
    origin.chmod(0o555)
    os.utime(origin, (MTIME, MTIME))
    for number, folder in enumerate(folder for folder in (tmp_path, Path(SHARED)) if os.access(folder, os.W_OK)):
        target = folder / f"{os.getpid()}-{number}"
        try:
            copy_file(str(origin), str(target))
            assert target.read_bytes() == origin.read_bytes()
            assert (target.stat().st_mode & 0o777, target.stat().st_mtime) == (0o555, float(MTIME))
            assert target.stat().st_ino != origin.stat().st_ino
            with pytest.raises(FileExistsError):
                copy_file(str(origin), str(target))
        finally:
            target.unlink(missing_ok=True)
