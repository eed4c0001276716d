"""Measures gpuenv against its peers, in one run and interleaved, so that a slow minute slows everybody.

    python benchmarks/run.py --scenario web --repeat 5 --json web.json
    python benchmarks/run.py --scenario ml --cold-sync --gpuenv .dev/bin/gpuenv --uv "$(which uv)"

Scenarios: `tiny` (to try this script), `web`, `ml`; Python 3.12, Linux x86-64, glibc 2.28. For every tool that is given
by its flag or found on PATH it measures

    cold lock   an empty cache                        no-op lock   the lock answers the project
    warm lock   a full cache, no lock                 no-op sync   the environment is what the lock says
    cold sync   an empty store or cache (--cold-sync) warm sync    everything is at hand, no environment

Tools without one of these steps have a gap there: pip has no lock file and is measured as `pip install --dry-run`
(lock) and `pip install` (sync). Medians, ratios to uv and what the environment costs on the disk are printed; --json
writes every single time. See benchmarks/README.md for how to read it. Needs only the standard library; caches and
projects lie in a temporary directory. Nothing is changed outside of it.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SCENARIOS = {
    "tiny": ("requests", "rich"),
    "web": ("fastapi[standard]", "sqlalchemy", "pandas", "scikit-learn", "celery", "boto3", "pytest"),
    "ml": ("torch", "transformers", "accelerate", "datasets", "peft", "bitsandbytes", "jupyterlab", "matplotlib"),
}
STEPS = ("cold lock", "warm lock", "no-op lock", "cold sync", "warm sync", "no-op sync")
PYTHON = "3.12"
GLIBC = "2.28"

Command = Sequence[str]


@dataclass
class Tool:
    """A tool in a project of its own.

    lock, sync: command lines; None: it has no such step. lock_file: what `lock` writes, None if nothing. before: run,
    untimed, before every step.
    """

    name: str
    program: str
    home: Path
    lock: Command | None
    sync: Command
    lock_file: str | None
    environment: str = ".venv"
    variables: dict[str, str] = field(default_factory=dict)
    before: Callable[["Tool"], None] = lambda tool: None

    @property
    def project(self) -> Path:
        """Where its pyproject.toml lies."""
        return self.home / "project"

    @property
    def cache(self) -> Path:
        """What a cold step empties."""
        return self.home / "cache"


def manifest(requirements: Sequence[str], *, gpuenv: bool = False) -> str:
    """pyproject.toml for every tool alike; gpuenv's has its target."""
    lines = [
        "[project]",
        'name = "bench"',
        'version = "0.1"',
        f'requires-python = "=={PYTHON}.*"',
        f"dependencies = {json.dumps(list(requirements))}",
    ]
    if gpuenv:
        lines += ["[tool.gpuenv.targets.default]", f'python = "{PYTHON}"', f'glibc = "{GLIBC}"']
    else:
        lines += ["[tool.uv]", "package = false", "environments = [\"sys_platform == 'linux'\"]"]
        lines += ["[tool.poetry]", "package-mode = false", "[tool.pdm]", "distribution = false"]
    return "\n".join(lines) + "\n"


def gpuenv_tool(program: str, home: Path, python: str) -> Tool:
    """gpuenv, with one target."""
    variables = {"GPUENV_STORE": str(home / "cache" / "store"), "GPUENV_CACHE_DIR": str(home / "cache" / "index")}
    variables |= {"GPUENV_PYTHON": python, "GPUENV_OVERRIDE_GPU": "none"}
    sync = [program, "sync", "-q", "--locked", "--target", "default"]
    return Tool("gpuenv", program, home, [program, "lock", "-q"], sync, "gpuenv.lock", variables=variables)


def uv_tool(program: str, home: Path, python: str) -> Tool:
    """uv with a project: one lock for all of Linux."""
    variables = {"UV_CACHE_DIR": str(home / "cache"), "UV_PYTHON": python, "UV_PYTHON_DOWNLOADS": "never"}
    sync = [program, "sync", "-q", "--locked"]
    return Tool("uv", program, home, [program, "lock", "-q"], sync, "uv.lock", variables=variables)


def uv_pip_tool(program: str, home: Path, python: str) -> Tool:
    """uv for one machine, which is the nearest to a lock of one target."""
    variables = {"UV_CACHE_DIR": str(home / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
    compile_ = [program, "pip", "compile", "-q", "--generate-hashes", "--python-version", PYTHON,
                "--python-platform", "x86_64-manylinux_2_28", "pyproject.toml", "-o", "requirements.txt"]  # fmt: skip
    sync = [program, "pip", "sync", "-q", "--python", ".venv", "requirements.txt"]

    def environment(tool: Tool) -> None:
        if not (tool.project / ".venv").exists():
            call(tool, [program, "venv", "-q", "--python", python, ".venv"])

    return Tool("uv pip", program, home, compile_, sync, "requirements.txt", variables=variables, before=environment)


def pip_tool(program: str, home: Path, python: str) -> Tool:
    """pip, which resolves again whenever it installs."""
    variables = {"PIP_CACHE_DIR": str(home / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    install = [program, "-m", "pip", "--python", ".venv/bin/python", "install", "-q", "--only-binary", ":all:"]

    def environment(tool: Tool) -> None:
        if not (tool.project / ".venv").exists():
            call(tool, [python, "-m", "venv", "--without-pip", ".venv"])

    dry = [*install, "--dry-run", "--ignore-installed", "-r", "in.txt"]
    return Tool("pip", program, home, dry, [*install, "-r", "in.txt"], None, variables=variables, before=environment)


def pdm_tool(program: str, home: Path, python: str) -> Tool:
    """pdm with a project."""
    variables = {"PDM_CACHE_DIR": str(home / "cache"), "PDM_CHECK_UPDATE": "false", "PDM_PYTHON": python}
    variables |= {"PDM_USE_VENV": "true", "PDM_IGNORE_SAVED_PYTHON": "1", "PDM_VENV_IN_PROJECT": "1"}

    def environment(tool: Tool) -> None:
        if not (tool.project / ".venv").exists():
            call(tool, [python, "-m", "venv", "--without-pip", ".venv"])

    sync = [program, "sync", "-q", "--no-self", "--clean"]
    return Tool(
        "pdm", program, home, [program, "lock", "-q"], sync, "pdm.lock", variables=variables, before=environment
    )


def poetry_tool(program: str, home: Path, python: str) -> Tool:
    """poetry with a project."""
    variables = {"POETRY_CACHE_DIR": str(home / "cache"), "POETRY_VIRTUALENVS_IN_PROJECT": "true"}
    variables |= {"POETRY_NO_INTERACTION": "1"}

    def environment(tool: Tool) -> None:
        if not (tool.project / ".venv").exists():
            call(tool, [python, "-m", "venv", "--without-pip", ".venv"])

    sync = [program, "sync", "-q", "--no-root"]
    lock = [program, "lock", "-q"]
    return Tool("poetry", program, home, lock, sync, "poetry.lock", variables=variables, before=environment)


MAKERS = {"gpuenv": gpuenv_tool, "uv": uv_tool, "uv pip": uv_pip_tool, "pip": pip_tool, "pdm": pdm_tool,
          "poetry": poetry_tool}  # fmt: skip


def call(tool: Tool, command: Command) -> float:
    """Run a command in the tool's project; seconds. Stops the benchmark where it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=tool.project,
        env=kept | tool.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise Failed(f"{tool.name}: {' '.join(command)} exited with {done.returncode}\n{done.stdout[-2000:]}")
    return took


class Failed(Exception):
    """A tool could not do a step; the text says what it printed."""


def prepare(tool: Tool, requirements: Sequence[str]) -> None:
    """A fresh project."""
    tool.project.mkdir(parents=True)
    (tool.project / "pyproject.toml").write_text(manifest(requirements, gpuenv=tool.name == "gpuenv"))
    (tool.project / "in.txt").write_text("\n".join(requirements) + "\n")


def forget(path: Path) -> None:
    """Remove a file, a link or a tree, read-only directories included."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        for folder in (inner for inner in path.rglob("*") if inner.is_dir() and not inner.is_symlink()):
            folder.chmod(0o755)
        shutil.rmtree(path)


def forget_environment(tool: Tool) -> None:
    """No environment; gpuenv's view goes as well, or the next sync would only have to switch back to it."""
    place = tool.project / tool.environment
    view = place.readlink() if place.is_symlink() else None
    forget(place)
    if view is not None:
        forget(view)


def measure(tool: Tool, step: str, times: dict[str, list[float]]) -> None:
    """One step once, in the state that its name says."""
    what = tool.lock if step.endswith("lock") else tool.sync
    if what is None or (step == "no-op lock" and tool.lock_file is None):
        return
    if step.startswith("cold"):
        forget(tool.cache)
    if step in ("cold lock", "warm lock") and tool.lock_file:
        forget(tool.project / tool.lock_file)
    if step in ("cold sync", "warm sync"):
        forget_environment(tool)
    tool.before(tool)
    times.setdefault(step, []).append(call(tool, what))


def schedule(repeat: int, cold_sync: bool) -> Iterator[str]:
    """Steps in the order in which each leaves what the next needs."""
    for _ in range(repeat):
        yield "cold lock"
        yield "warm lock"
        yield "no-op lock"
        yield "cold sync" if cold_sync else "fill"
        yield "warm sync"
        yield "no-op sync"


def cost(tool: Tool) -> dict[str, int]:
    """What an environment is made of: directories, files of its own, links, inodes that only it uses."""
    found = {"directories": 0, "files": 0, "hard links": 0, "symbolic links": 0}
    for path in [root := (tool.project / tool.environment).resolve(), *root.rglob("*")]:
        if path.is_symlink():
            found["symbolic links"] += 1
        elif path.is_dir():
            found["directories"] += 1
        else:
            found["hard links" if path.stat().st_nlink > 1 else "files"] += 1
    found["inodes"] = found["directories"] + found["files"] + found["symbolic links"]
    return found


def benchmark(tools: list[Tool], requirements: Sequence[str], repeat: int, cold_sync: bool) -> dict[str, object]:
    """Every step of every tool, tools taking turns within each step. A tool that fails is left out from then on."""
    times: dict[str, dict[str, list[float]]] = {tool.name: {} for tool in tools}
    failed: dict[str, str] = {}
    for tool in tools:
        prepare(tool, requirements)
    for place, step in enumerate(schedule(repeat, cold_sync)):
        turn = place % len(tools)
        for tool in [*tools[turn:], *tools[:turn]]:
            if tool.name in failed:
                continue
            try:
                measure(tool, "warm sync" if step == "fill" else step, {} if step == "fill" else times[tool.name])
            except Failed as error:
                failed[tool.name] = str(error)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    costs = {tool.name: cost(tool) for tool in tools if tool.name not in failed}
    return {"times": times, "environment": costs, "failed": failed}


def cell(own: list[float] | None, reference: list[float] | None) -> str:
    """A median, and its ratio to the median of the reference."""
    if not own:
        return "-"
    median = statistics.median(own)
    if not reference:
        return f"{median:.3f} s"
    return f"{median:.3f} s ({median / statistics.median(reference):.2f})"


def table(result: dict[str, object]) -> str:
    """Medians, and in parentheses the ratio to uv."""
    times: dict[str, dict[str, list[float]]] = result["times"]  # type: ignore[assignment]
    costs: dict[str, dict[str, int]] = result["environment"]  # type: ignore[assignment]
    failed: dict[str, str] = result["failed"]  # type: ignore[assignment]
    rows = [["", *times]]
    for step in STEPS:
        rows.append([step, *(cell(own.get(step), times.get("uv", {}).get(step)) for own in times.values())])
    for what in ("inodes", "directories", "files", "hard links", "symbolic links"):
        rows.append([what, *(str(costs[name][what]) if name in costs else "-" for name in times)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *(f"\nleft out: {text}" for text in failed.values())])


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description="Measure gpuenv against its peers.")
    parser.add_argument("--scenario", choices=SCENARIOS, default="tiny")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--cold-sync", action="store_true", help="download everything anew each time (ml: gigabytes)")
    parser.add_argument("--python", default=shutil.which(f"python{PYTHON}"), help=f"an interpreter of Python {PYTHON}")
    parser.add_argument("--only", nargs="+", choices=MAKERS, metavar="TOOL", help="of " + ", ".join(MAKERS))
    for name in ("gpuenv", "uv", "pdm", "poetry"):
        parser.add_argument(f"--{name}", default=shutil.which(name), metavar="PROGRAM")
    parser.add_argument("--pip", default=sys.executable, metavar="PYTHON", help="an interpreter that has pip")
    parser.add_argument("--scratch", type=Path, help="where to work; on the file system that is to be measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time")
    given = parser.parse_args()
    if not given.python:
        parser.error(f"no Python {PYTHON} on PATH: give one with --python")
    return given


def main() -> None:
    """Measure, print, write."""
    given = arguments()
    python = os.path.realpath(given.python)
    # The link of a shim says nothing: the interpreter knows where it is.
    told = subprocess.run(
        [python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=True
    )
    python = os.path.realpath(told.stdout.strip())
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="gpuenv-bench-") as name:
        tools = []
        for tool, maker in MAKERS.items():
            program = getattr(given, "uv" if tool == "uv pip" else tool)
            if program and (given.only is None or tool in given.only):
                program = str(Path(program).absolute()) if os.sep in program else program
                tools.append(maker(program, Path(name) / tool.replace(" ", "-"), python))
        result = benchmark(tools, SCENARIOS[given.scenario], given.repeat, given.cold_sync)
        for made in tools:
            forget(made.home)
    who = "root" if os.geteuid() == 0 else "ordinary user"
    print(f"{given.scenario}: Python {PYTHON}, {who}, {os.cpu_count()} cores, {platform.system()}")
    print(f"medians of {given.repeat}, in parentheses the ratio to uv")
    print(table(result))
    if given.json:
        about = {"scenario": given.scenario, "repeat": given.repeat, "python": PYTHON, "root": os.geteuid() == 0}
        given.json.write_text(json.dumps({**about, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
