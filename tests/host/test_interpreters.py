"""Interpreters are found wherever they usually are, asked once, and chosen by the target."""

import json
import os
import sys
from pathlib import Path

import pytest

from gpuenv.errors import InterpreterMissing, UsageError
from gpuenv.host.interpreters import choose, find_interpreters, requested
from gpuenv.model.interpreter import Interpreter


class Probes:
    """Answers for made-up interpreters: their file says their version."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: str) -> str:
        """What the program would say."""
        self.asked.append(path)
        version = Path(path).read_bytes().removeprefix(b"\x7fELF").decode()
        return json.dumps([version.rstrip("t"), version.endswith("t"), "CPython", path]) if version else ""


def program(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF" + version.encode())
    path.chmod(0o755)
    return path


def environ(root: Path) -> dict[str, str]:
    return {"HOME": str(root / "home"), "PATH": f"{root / 'usr'}:relative:{root / 'shims'}"}


def test_every_place_is_searched_in_order(tmp_path: Path) -> None:
    """PATH comes first, then pyenv's folder, then uv's; links are followed and nothing is listed twice."""
    program(tmp_path / "usr/python3.12", "3.12.1")
    (tmp_path / "usr/python3").symlink_to("python3.12")
    program(tmp_path / "usr/python3-config", "3.12.1")
    program(tmp_path / "home/.pyenv/versions/3.11.7/bin/python3.11", "3.11.7")
    program(tmp_path / "home/.local/share/uv/python/cpython-3.13/bin/python3.13t", "3.13.0t")
    found = find_interpreters(environ(tmp_path), tmp_path / "cache", probe=Probes())
    assert [(one.version, one.source, one.free_threaded) for one in found] == [
        ("3.12.1", "PATH", False),
        ("3.11.7", "pyenv", False),
        ("3.13.0", "uv", True),
    ]


def test_variables_move_the_folders(tmp_path: Path) -> None:
    """PYENV_ROOT and UV_PYTHON_INSTALL_DIR are believed."""
    program(tmp_path / "a/versions/3.11.7/bin/python", "3.11.7")
    program(tmp_path / "b/x/bin/python3", "3.12.0")
    variables = {"PYENV_ROOT": str(tmp_path / "a"), "UV_PYTHON_INSTALL_DIR": str(tmp_path / "b")}
    found = find_interpreters(variables, tmp_path / "cache", probe=Probes())
    assert [one.version for one in found] == ["3.11.7", "3.12.0"]


def test_scripts_and_broken_programs_are_left_out(tmp_path: Path) -> None:
    """Shims are never run; a program that does not answer is no interpreter."""
    shim = program(tmp_path / "shims/python3.12", "")
    shim.write_text("#!/bin/sh\nexit 1\n")
    broken = program(tmp_path / "usr/python3.10", "")
    probes = Probes()
    assert find_interpreters(environ(tmp_path), tmp_path / "cache", probe=probes) == []
    assert probes.asked == [str(broken)]


def test_each_program_is_asked_once(tmp_path: Path) -> None:
    """Answers are remembered until the file changes; a damaged cache only costs time."""
    python = program(tmp_path / "usr/python3.12", "3.12.1")
    probes = Probes()
    for _ in range(2):
        find_interpreters(environ(tmp_path), tmp_path / "cache", probe=probes)
    assert len(probes.asked) == 1
    program(python, "3.12.10")
    assert find_interpreters(environ(tmp_path), tmp_path / "cache", probe=probes)[0].version == "3.12.10"
    assert len(probes.asked) == 2
    (tmp_path / "cache/interpreters-v1.json").write_text("[")
    assert find_interpreters(environ(tmp_path), tmp_path / "cache", probe=probes)[0].version == "3.12.10"


def test_virtual_environments_lead_to_their_base(tmp_path: Path) -> None:
    """An environment on PATH counts as its base interpreter, whether it links to it or is a copy."""
    base = program(tmp_path / "base/bin/python3", "3.12.1")
    linked, copied = tmp_path / "linked/bin/python3", program(tmp_path / "copied/bin/python3", "3.12.1")
    linked.parent.mkdir(parents=True)
    linked.symlink_to(base)
    (tmp_path / "copied/pyvenv.cfg").write_text(f"home = {base.parent}\n")
    for environment in (linked, copied):
        variables = {"PATH": str(environment.parent)}
        assert [one.path for one in find_interpreters(variables, tmp_path / "cache", probe=Probes())] == [str(base)]


def test_the_real_thing(tmp_path: Path) -> None:
    """The interpreter that runs the tests is found by its path and says who it is."""
    found = find_interpreters({}, tmp_path, extra=requested(sys.executable))
    assert [(one.version, one.implementation, one.source) for one in found] == [
        ("{}.{}.{}".format(*sys.version_info[:3]), "CPython", "--python")
    ]
    assert os.path.realpath(found[0].path) == found[0].path


FOUND = [
    Interpreter("/a", "3.12.1", False, "CPython", "PATH"),
    Interpreter("/b", "3.12.9", False, "CPython", "pyenv"),
    Interpreter("/c", "3.12.4", False, "CPython", "pyenv"),
    Interpreter("/d", "3.13.0", True, "CPython", "pyenv"),
    Interpreter("/e", "3.14.0", False, "PyPy", "PATH"),
    Interpreter("/f", "3.11.7", False, "CPython", "--python"),
]


@pytest.mark.parametrize(
    ("python", "request_", "path"),
    [
        ("3.12", None, "/a"),
        ("3.12.2", None, "/b"),
        ("3.12", "3.12.4", "/b"),
        ("3.13t", None, "/d"),
        ("3.11", "/f", "/f"),
    ],
)
def test_choosing(python: str, request_: str | None, path: str) -> None:
    """The first source that can serve the target wins, with its newest patch; a request narrows it."""
    assert choose(python, FOUND, request=request_).path == path


@pytest.mark.parametrize(("python", "request_"), [("3.13", None), ("3.14", None), ("3.12", "3.11"), ("3.12", "/f")])
def test_no_interpreter_says_what_was_found(python: str, request_: str | None) -> None:
    """The error lists every interpreter found, and says what to do."""
    with pytest.raises(InterpreterMissing) as caught:
        choose(python, FOUND, request=request_)
    assert "CPython 3.12.9 at /b" in caught.value.causes[0]
    assert "CPython 3.13.0t at /d" in caught.value.causes[0]
    assert caught.value.hints


def test_nonsense_requests_are_refused(tmp_path: Path) -> None:
    """--python takes a version or a path to an interpreter."""
    assert requested("3.12") == requested("3.13t") == ()
    for text in ("latest", str(tmp_path / "missing")):
        with pytest.raises(UsageError, match="--python"):
            requested(text)
