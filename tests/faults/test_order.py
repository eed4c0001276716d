"""Power cuts, as far as they can be had without one: what is written is safe before what makes it visible happens.

strace(1) tells in which order the system calls of real commands were done.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.project import Project
from tests.support.simple_server import SimpleServer

CALLS = "openat,mkdir,symlink,link,rename,renameat2,syncfs,fsync,fdatasync"
_LINE = re.compile(r"(?P<pid>\d+) +(?P<text>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_UNFINISHED = " <unfinished ...>"


class Call(NamedTuple):
    """A system call that succeeded. begun, done: lines of the record."""

    begun: int
    done: int
    name: str
    arguments: str

    @property
    def paths(self) -> list[str]:
        """The paths that it was given."""
        return re.findall(r'"([^"]*)"', self.arguments)

    def renames(self, source: str, target: str) -> bool:
        """Is it a rename from a path to a path with these parts?"""
        return self.name.startswith("rename") and source in self.paths[0] and target in self.paths[-1]

    def writes(self, part: str) -> bool:
        """Does it make something at a path with this part?"""
        return part in self.arguments and (
            self.name in ("mkdir", "symlink", "link") or (self.name == "openat" and "O_CREAT" in self.arguments)
        )

    def syncs(self, part: str) -> bool:
        """Does it bring a file or directory to the disk?"""
        return self.name in ("fsync", "fdatasync") and part in self.arguments


@pytest.fixture
def traced(project: Project, tmp_path: Path) -> Callable[..., list[Call]]:
    """Runs a command and returns what it called."""

    def run(*arguments: str) -> list[Call]:
        record = tmp_path / "record"
        options = ["-f", "-y", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(record)]
        done = subprocess.run(
            [program, *options, *project.command(*arguments)],
            cwd=project.root,
            env=project.variables(),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return calls(record.read_text("utf-8"))

    program = shutil.which("strace") or "strace"
    try:
        subprocess.run([program, "-qq", "-e", "trace=none", "true"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("strace is not here, or not allowed")
    return run


def calls(record: str) -> list[Call]:
    """The calls of a record, in the order in which they were done."""
    found, pending = [], dict[str, tuple[int, str]]()
    for number, line in enumerate(record.splitlines()):
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        pid, text, begun = parts["pid"], parts["text"], number
        if text.endswith(_UNFINISHED):
            pending[pid] = (number, text.removesuffix(_UNFINISHED))
            continue
        if resumed := _RESUMED.match(text):
            begun, first = pending.pop(pid)
            text = first + text[resumed.end() :]
        call = _CALL.match(text)
        if call and int(call["result"]) >= 0:
            found.append(Call(begun, number, call["name"], call["arguments"]))
    return found


def one(found: list[Call], which: Callable[[Call], bool]) -> Call:
    """The only call of its kind."""
    (call,) = filter(which, found)
    return call


def safe_before(found: list[Call], part: str, publication: Call) -> bool:
    """Was the whole file system flushed after the last change below a path, and before what makes it visible?"""
    last = max(call.done for call in found if call.writes(part))
    return any(call.name == "syncfs" and last < call.begun and call.done < publication.begun for call in found)


def test_a_sync(project: Project, traced: Callable[..., list[Call]], server: SimpleServer) -> None:
    """Objects and the view are flushed before they have their names, and their names before `.venv` leads there."""
    project.offer("alpha")
    project.offer("beta", requires=["alpha"])
    project.write(["beta"])
    project.run("lock")
    found = traced("sync", "--frozen")
    switch = one(found, lambda call: call.renames("/.venv-", "/.venv"))
    objects = [call for call in found if call.renames("/object", "/objects/")]
    assert len(objects) == 2
    for publication in objects:
        assert safe_before(found, f"{publication.paths[0]}/", publication)
        assert any(call.syncs("/objects>") and publication.done < call.begun < switch.begun for call in found)
    view = one(found, lambda call: call.renames("/view", "/views/"))
    assert safe_before(found, f"{view.paths[0]}/", view)
    generation = one(found, lambda call: call.renames("/generation", "/projects/"))
    for name in ("lock", "gpuenv.json"):
        assert any(call.syncs(f"/generation/{name}>") and call.done < generation.begun for call in found)
    home = Path(generation.paths[-1]).parent
    assert any(call.syncs(f"{home}>") and generation.done < call.begun < switch.begun for call in found)
    assert view.done < generation.begun


@pytest.mark.parametrize("command", [["lock"], ["add", "alpha"]])
def test_files_of_the_project(command: list[str], project: Project, traced: Callable[..., list[Call]]) -> None:
    """A lock and an edited manifest are on the disk before they take the place of the old ones."""
    project.offer("alpha")
    project.write(["alpha"] if command == ["lock"] else [])
    found = traced(*command)
    for name in ["gpuenv.lock", *(["pyproject.toml"] if command != ["lock"] else [])]:
        replaced = one(found, lambda call, name=name: call.renames(f"/.{name}.", f"/{name}"))  # type: ignore[misc]
        assert any(call.syncs(f"/.{name}.") and call.done < replaced.begun for call in found)
    assert not [call for call in found if call.syncs("/.cache/")]


def test_a_damaged_object_is_exchanged(project: Project, traced: Callable[..., list[Call]]) -> None:
    """The whole object is flushed before it takes the place of the damaged one."""
    project.offer("alpha")
    project.write(["alpha"])
    project.run("sync")
    (alpha,) = (project.store / "objects").iterdir()
    module = alpha / "site-packages" / "alpha" / "__init__.py"
    module.chmod(0o644)
    module.write_text("x")
    assert "has" in project.run("store", "verify", rc=1).out
    found = traced("sync")
    exchange = one(found, lambda call: "RENAME_EXCHANGE" in call.arguments and "/objects/" in call.arguments)
    assert safe_before(found, f"{exchange.paths[0]}/", exchange)
    assert project.installed() == {"alpha": "1.0"}
