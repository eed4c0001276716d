"""A built view is a virtual environment that works, in every link mode, at a path with spaces and accents."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.view.build import build_view
from gpuenv.view.plan import LinkMode, Links
from gpuenv.view.switch import current, switch
from tests.view.conftest import Bench

REPORT = (
    "import json, sys, importlib.metadata as m\n"
    "def main():\n"
    "    import demo\n"
    "    print(json.dumps([sys.prefix, sys.base_prefix, demo.__file__, m.version('demo'), sys.argv[1:]]))\n"
)
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "",
    "demo/__main__.py": "from demo.cli import main\nmain()\n",
    "demo/cli.py": REPORT,
    "demo-1.0.data/scripts/old": "#!python\nfrom demo.cli import main\nmain()\n",
    "demo-1.0.data/scripts/shell": "#!/bin/sh\necho shell\n",
    "demo-1.0.data/data/share/demo/info": "info",
    "demo-1.0.data/headers/demo.h": "h",
}


def made(bench: Bench) -> Path:
    stored = bench.add("demo", FILES, entry_points={"demo": "demo.cli:main"})
    view = build_view(bench.plan(stored, requested=frozenset({"demo"}), direct_urls={"demo": "{}"}))
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
    """No link into the store says where the store is, so that a store can move."""
    view = made(bench).resolve()
    links = [path for path in view.rglob("*") if path.is_symlink() and path.parent.name != "bin"]
    assert [link for link in links if link.readlink().is_absolute()] == []
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
    in_store = list(bench.store.objects.glob("*/site-packages/demo/__pycache__/*.pyc"))
    assert bool(in_store) == (bench.fold and package.is_symlink())


def test_the_marker_names_objects(bench: Bench) -> None:
    """The marker gives back what the caller put in, the objects, and how the view was made, to make it again."""
    stored = bench.add("demo", FILES)
    plan = bench.plan(stored, marker={"lock": "abc"}, unfold=frozenset({"x"}), link_modes={"y": LinkMode.COPY})
    marker = current(build_view(plan)) or {}
    assert (marker["lock"], marker["objects"], marker["interpreter"]) == ("abc", [stored.key], bench.interpreter.path)
    assert Links.of_marker(marker) == plan.links
    assert Links.of_marker({}) is None
