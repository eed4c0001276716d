"""What a command with nothing to do imports: counted, because time on shared machines is no measure."""

import subprocess
import sys

import pytest

from tests.support.project import Project

DEAR = (
    "aiohttp", "asyncio", "concurrent", "ctypes", "distlib", "email", "filelock", "http",
    "installer", "isal", "keyring", "logging", "msgspec", "packaging", "pydantic", "resolvelib", "rich", "socket",
    "ssl", "tomlkit", "tomllib", "zipfile",
)  # fmt: skip
# Today 37 of gpuenv itself, of which each group of commands is one, and about 60 of the libraries that it stands on
# (typer with its click, platformdirs).
OWN, FOREIGN = 40, 90


def imported(project: Project, *arguments: str) -> set[str]:
    """Every module that the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gpuenv", *arguments],
        cwd=project.root,
        env=project.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


@pytest.mark.parametrize("arguments", [("sync",), ("-q", "sync"), ("lock",), ("lock", "--check"), ("sync", "--locked")])
def test_nothing_to_do_imports_little(arguments: tuple[str, ...], project: Project) -> None:
    """A lock or sync with nothing to do imports no network, no solver, no parser of versions or TOML."""
    project.offer("alpha")
    project.write(["alpha"])
    project.run("sync")
    modules = imported(project, *arguments)
    assert "gpuenv.cli.glance" in modules
    assert sorted(name for name in modules if name.partition(".")[0] in DEAR) == []
    own = {name for name in modules if name.partition(".")[0] == "gpuenv"}
    foreign = {name for name in modules - own if name.partition(".")[0].lstrip("_") not in sys.stdlib_module_names}
    assert len(own) <= OWN, sorted(own)
    assert len(foreign) <= FOREIGN, sorted(foreign)


@pytest.mark.parametrize("arguments", [("sync",), ("-q", "lock"), ("run", "python", "-c", "")])
def test_a_glance_is_enough(arguments: tuple[str, ...], project: Project) -> None:
    """Plain calls with nothing to do are answered without the command line's own library, and without inspection."""
    project.write([])
    project.run("sync")
    assert not {"typer", "click", "dataclasses", "inspect", "asyncio"} & imported(project, *arguments)


def test_work_imports_what_it_needs(project: Project) -> None:
    """The same count sees the dear modules where there is something to do, so that it can fail."""
    project.offer("alpha")
    project.write(["alpha"])
    assert {"asyncio", "aiohttp", "packaging", "resolvelib", "tomllib"} <= imported(project, "lock")


def test_a_run_with_nothing_to_do(project: Project) -> None:
    """`run` in a synced environment is as light, up to the moment when it becomes the command."""
    project.write([])
    project.run("sync")
    modules = imported(project, "run", "python", "-c", "")
    assert {name for name in modules if name.partition(".")[0] in DEAR} == set()
