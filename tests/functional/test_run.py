"""`gpuenv run`: the environment is in sync, then the process is the command."""

import os
import signal

import pytest

from tests.support.project import Project


@pytest.fixture
def tool(project: Project) -> Project:
    """A project with one console script."""
    code = "import sys\ndef main():\n    print(*sys.argv[1:], sep='|')\n    return 7\n"
    project.offer("tool", files={"tool.py": code}, entry_points={"my-tool": "tool:main"})
    project.write(["tool"])
    return project


def test_run(tool: Project) -> None:
    """Syncs first, then passes arguments as they are and the exit code back; stdout is the command's alone."""
    result = tool.run("run", "--", "my-tool", "a b", "--json", "-q", "--", "*", rc=7)
    assert result.out == "a b|--json|-q|--|*\n"
    assert result.err == ("synced .venv to target here: 1 package, 1 fetched\n + tool==1.0\n")
    again = tool.run("run", "my-tool", "--help", "-c", rc=7)
    assert (again.out, again.err) == ("--help|-c\n", "")


def test_run_needs_nothing_when_in_sync(tool: Project) -> None:
    """A second run asks nobody."""
    tool.run("run", "python", "-c", "")
    asked = len(tool.server.requests)
    assert tool.run("run", "python", "-c", "print(1)").out == "1\n"
    assert len(tool.server.requests) == asked


def test_run_becomes_the_command(tool: Project) -> None:
    """The command has the process id of gpuenv itself, and signals reach it."""
    tool.run("sync")
    process = tool.start("run", "--", "python", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_environment_of_the_command(tool: Project) -> None:
    """VIRTUAL_ENV and PATH are as after activation, PYTHONHOME is gone, the rest is as it was."""
    question = (
        "import os; print(*(os.environ.get(n, '-') for n in ('VIRTUAL_ENV', 'PATH', 'PYTHONHOME', 'MINE')), sep='\\n')"
    )
    tool.run("sync")
    base = str(tool.python.parent.parent)
    lines = tool.run("run", "python", "-c", question, env={"PYTHONHOME": base, "MINE": "x"}).out.splitlines()
    assert lines == [str(tool.venv), f"{tool.venv}/bin{os.pathsep}{tool.programs}", "-", "x"]


def test_unknown_programs(tool: Project) -> None:
    """A program that is not there is a usage error, with the nearest name of the environment."""
    tool.run("sync")
    assert tool.run("run", "my-tol", rc=2).err == (
        "error: there is no program `my-tol` in .venv or on PATH\nhint: did you mean `gpuenv run -- my-tool`?\n"
    )
    assert tool.run("--json", "run", "zzz", rc=2).json["error"]["kind"] == "usage"


def test_programs_on_the_path(tool: Project) -> None:
    """What the environment does not have is looked for on PATH."""
    program = tool.programs / "greet"
    program.write_text("#!/bin/sh\necho hello $1\n")
    program.chmod(0o755)
    assert tool.run("run", "greet", "you").out == "hello you\n"


def test_flags_of_run(tool: Project) -> None:
    """--no-sync leaves the environment; --frozen and --locked mean the same as for sync."""
    tool.run("sync")
    tool.write([])
    assert "tool" in tool.run("run", "--no-sync", "python", "-c", "import tool; print('tool')").out
    assert "tool" in tool.run("run", "--frozen", "python", "-c", "import tool; print('tool')").out
    assert "gpuenv.lock does not answer" in tool.run("run", "--locked", "python", rc=1).err
    program = "import importlib.util as u; print(u.find_spec('tool'))"
    assert tool.run("run", "python", "-c", program).out == "None\n"


def test_run_without_an_environment(tool: Project) -> None:
    """--no-sync without `.venv` says what to do."""
    error = tool.run("run", "--no-sync", "my-tool", rc=2).err
    assert error.startswith("error: ")
    assert "gpuenv sync" in error


def test_run_without_a_command(tool: Project) -> None:
    """No command is a usage error."""
    tool.run("run", rc=2)


def test_failed_syncs_run_nothing(tool: Project) -> None:
    """Where the sync fails the command is not started."""
    tool.write(["nowhere"])
    result = tool.run("run", "--", "python", "-c", "print('ran')", rc=1)
    assert result.out == ""
    assert "no configured index knows nowhere" in result.err
