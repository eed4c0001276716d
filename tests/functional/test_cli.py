"""The command line: exit codes, one JSON document, flags everywhere, words without colour."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
import typer

from gpuenv.cli.main import app
from tests.support.project import Project, target

# command -> arguments that work in `ready`
WORKS = {
    "init": ["init", "--target", "fresh"],
    "add": ["add", "beta", "--no-sync"],
    "remove": ["remove", "alpha", "--no-sync"],
    "lock": ["lock"],
    "sync": ["sync"],
}


@pytest.fixture
def ready(project: Project) -> Project:
    """A project that can be locked and synced."""
    project.offer("alpha")
    project.offer("beta")
    project.write(["alpha"])
    return project


def group() -> typer.core.TyperGroup:
    """The click group behind the app."""
    found = typer.main.get_command(app)
    assert isinstance(found, typer.core.TyperGroup)
    return found


@pytest.mark.parametrize("command", WORKS)
def test_json_is_one_document(command: str, ready: Project) -> None:
    """With --json, before the command's name or after it, stdout is one record and stderr is empty."""
    after = ready.run(*WORKS[command], "--json", "--dry-run") if command in ("lock", "sync") else None
    before = ready.run("--json", *WORKS[command])
    for result in (before, after):
        assert result is None or (isinstance(result.json, dict) and "error" not in result.json)
        assert result is None or result.err == ""
    assert after is None or after.json.keys() == before.json.keys()


def broken_manifest(project: Project) -> None:
    """[tool.gpuenv] with a typo."""
    project.write([], more="[tool.gpuenv]\nnative-libs = []\n")


def no_manifest(project: Project) -> None:
    """No pyproject.toml at all."""
    project.manifest.unlink()


def not_utf8(project: Project) -> None:
    """pyproject.toml in another encoding."""
    project.manifest.write_bytes(b"[project]\nname = '\xff'\n")


def no_solution(project: Project) -> None:
    """A name that nobody knows."""
    project.write(["nowhere"])


def no_fit(project: Project) -> None:
    """A target that no machine fits."""
    project.write([], targets=target("new", 'glibc = "2.99"'))


def in_the_way(project: Project) -> None:
    """A real folder as .venv."""
    project.venv.mkdir()


def newer_lock(project: Project) -> None:
    """A lock of another day."""
    project.lock.write_text("version = 9\n")


FAILURES: list[tuple[Callable[[Project], None] | None, list[str], int, str]] = [
    (broken_manifest, ["lock"], 2, "manifest"),
    (broken_manifest, ["sync"], 2, "manifest"),
    (broken_manifest, ["init"], 2, "manifest"),
    (broken_manifest, ["add", "alpha"], 2, "manifest"),
    (broken_manifest, ["remove", "alpha"], 2, "manifest"),
    (broken_manifest, ["run", "python"], 2, "manifest"),
    (no_manifest, ["lock"], 2, "usage"),
    (no_manifest, ["add", "alpha"], 2, "usage"),
    (not_utf8, ["lock"], 2, "usage"),
    (not_utf8, ["init"], 2, "usage"),
    (no_solution, ["lock"], 1, "no-solution"),
    (no_solution, ["sync"], 1, "no-solution"),
    (no_fit, ["run", "python"], 1, "misfit"),
    (in_the_way, ["sync"], 1, "occupied"),
    (newer_lock, ["lock"], 2, "lockfile"),
    (None, ["sync", "--locked"], 1, "stale-lock"),
    (None, ["sync", "--target", "x"], 2, "usage"),
    (None, ["--project", "nowhere", "lock"], 2, "usage"),
    (None, ["lock", "--default-index", "nowhere-folder"], 2, "network"),
    # usage that Typer itself refuses
    (None, ["lock", "--nonsense"], 2, "usage"),
    (None, ["nonsense"], 2, "usage"),
    (None, ["add"], 2, "usage"),
    (None, ["sync", "--link-mode", "teleport"], 2, "usage"),
    (None, ["lock", "extra-argument"], 2, "usage"),
]


@pytest.mark.parametrize(("damage", "arguments", "rc", "kind"), FAILURES)
def test_failures(
    damage: Callable[[Project], None] | None, arguments: list[str], rc: int, kind: str, ready: Project
) -> None:
    """Every failure has its exit code, its kind in one JSON document, and the same words for people on stderr."""
    if damage is not None:
        damage(ready)
    result = ready.run("--json", *arguments, rc=rc)
    error = result.json["error"]
    assert result.err == ""
    assert error.keys() == {"kind", "message", "causes", "hints"}
    assert error["kind"] == kind
    shown = ready.run(*arguments, rc=rc)
    assert shown.out == ""
    assert shown.err.startswith(f"error: {error['message']}\n")
    lines = [
        f"  cause: {line}" if not n else f"         {line}"
        for n, line in enumerate("\n".join(error["causes"]).split("\n"))
    ]
    hints = "".join(f"hint: {hint}\n" for hint in error["hints"])
    assert shown.err.endswith(("\n".join(lines) + "\n" if error["causes"] else "") + hints)


def test_only_vv_shows_tracebacks(ready: Project) -> None:
    """-v shows none (which `run` holds for every other test), -vv does, in either spelling and place."""
    no_solution(ready)
    ready.run("lock", "-v", rc=1)
    for flags in (["-vv", "lock"], ["lock", "-vv"], ["lock", "-v", "-v"]):
        with pytest.raises(AssertionError, match="Traceback"):
            ready.run(*flags, rc=1)


def test_quiet(ready: Project) -> None:
    """-q says nothing but errors, before the command's name or after it."""
    for arguments in (["-q", "lock"], ["sync", "-q"], ["remove", "alpha", "--quiet"]):
        result = ready.run(*arguments)
        assert (result.out, result.err) == ("", "")
    no_solution(ready)
    assert ready.run("-q", "lock", rc=1).err.startswith("error: no solution")


def test_places_of_common_flags(ready: Project) -> None:
    """--project, --store and --cache-dir count before the command's name and after it; the latter wins."""
    one, two = ready.base / "one", ready.base / "two"
    ready.run("--store", one, "--cache-dir", one / "cache", "sync", "--store", two, cwd=ready.root)
    assert ready.venv.readlink().parent == two / "views"
    assert (one / "cache").is_dir()
    assert not (one / "objects").exists()
    ready.run("--store", one, "sync", "--project", ready.root, cwd=ready.base)
    assert ready.venv.readlink().parent == one / "views"
    ready.run("sync", env={"GPUENV_STORE": str(two)})
    assert ready.venv.readlink().parent == two / "views"


def test_projects_are_found_upward(ready: Project) -> None:
    """Commands work from any folder below the project; --project does not search."""
    below = ready.root / "src" / "deep"
    below.mkdir(parents=True)
    ready.run("lock", cwd=below)
    assert ready.lock.exists()
    error = ready.run("--project", below, "lock", rc=2).err
    assert error.startswith(f"error: no pyproject.toml in {below}\nhint: run `gpuenv init`")


def test_colour(ready: Project) -> None:
    """Without a terminal there is no escape sequence, with or without NO_COLOR; help included."""
    no_solution(ready)
    for env in ({}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}):
        assert "\x1b" not in ready.run("lock", rc=1, env=env).err
    assert "\x1b" not in ready.run("--help").out


def flags_of(command: str) -> Iterator[str]:
    """Every flag of a command, as declared."""
    for parameter in group().commands[command].params:
        yield from parameter.opts if parameter.param_type_name == "option" else ()


@pytest.mark.parametrize("command", [*WORKS, "run"])
def test_help(command: str, project: Project) -> None:
    """Help lists every flag, goes to stdout, and needs no project."""
    shown = project.run(command, "--help", env={"COLUMNS": "200"}).out
    listed = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown, re.IGNORECASE))
    assert set(flags_of(command)) <= listed
    assert {"--json", "--project", "--offline", "-q", "-v"} <= set(flags_of(command))
    described = " ".join(str(group().commands[command].help).split())
    assert described in " ".join(shown.split())


def test_commands_are_listed(project: Project) -> None:
    """`gpuenv --help`, `-h` and `gpuenv` alone list the commands; --version is one line."""
    for arguments in (["--help"], ["-h"], []):
        shown = project.run(*arguments).out
        assert all(f" {command} " in shown for command in (*WORKS, "run"))
    assert re.fullmatch(r"gpuenv \d+\.\d+\.\d+\S*\n", project.run("--version").out)


def test_documents_are_utf8(project: Project) -> None:
    """Names outside ASCII are written as they are, whatever the locale."""
    project.write([], targets=target("new", 'glibc = "2.99"'))
    project.manifest.write_text(project.manifest.read_text().replace('"train"', '"träin"'), "utf-8")
    result = project.run("lock", "--json", rc=2, env={"LC_ALL": "C.UTF-8"})
    assert json.loads(result.out)["error"]["kind"] == "manifest"
    assert "träin" in result.out
