"""Measures many projects that share one store: inodes, bytes and seconds for 1, 10 and 200 of them, uv beside.

    python -m pip download --only-binary :all: --dest wheels numpy pandas scipy …
    python benchmarks/scale.py projects wheels --scratch /path/on/the/disk/that/counts --json scale.json
    python benchmarks/scale.py stores STORE…

`projects` takes a folder of wheels and no network. Every project of `same` needs all distributions of the folder; those
of `overlapping` need twenty different halves of them, each in ten projects. They are synced by gpuenv as an ordinary
user (directories linked whole), by gpuenv as root (hard links; left out for others than root), and by `uv sync` with
its defaults, in turns. Counted is everything that each tool keeps, store or cache with environments and projects, by
distinct inode: directories, files and links. `stores` times `store verify` and `store gc --dry-run` on stores that are
there; it writes nothing in them where this user may not. Needs only the standard library, and `unshare` for the
ordinary user.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCENARIOS = ("same", "overlapping")
COUNTS = (1, 10, 200)
GROUPS = 20
PYTHON = "{}.{}".format(*sys.version_info[:2])
USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)-.+\.whl\Z")


@dataclass
class Tool:
    """A tool with a folder that holds all it keeps. prefix: what its commands are run by."""

    name: str
    home: Path
    lock: Sequence[str]
    sync: Sequence[str]
    lock_file: str
    prefix: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, command: Sequence[str], project: Path) -> float:
        """Seconds that a command took; the benchmark ends where it fails."""
        start = time.perf_counter()
        environ = {**os.environ, **self.variables}
        done = subprocess.run(
            [*self.prefix, *command], cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(command)}: {done.stderr[-2000:]}")
        return time.perf_counter() - start


def tools(home: Path, wheels: Path, gpuenv: str, uv: str) -> list[Tool]:
    """Those that can be measured here."""
    found = []
    wanted = [("gpuenv, ordinary user", USER if os.geteuid() == 0 else ())]
    wanted += [("gpuenv, root", ())] if os.geteuid() == 0 else []
    for name, prefix in wanted:
        at = home / name.replace(" ", "-").replace(",", "")
        variables = {"GPUENV_STORE": str(at / "store"), "GPUENV_CACHE_DIR": str(at / "cache")}
        lock = [gpuenv, "lock", "-q", "--default-index", str(wheels)]
        sync = [gpuenv, "sync", "-q", "--frozen", "--default-index", str(wheels)]
        found.append(Tool(name, at, lock, sync, "gpuenv.lock", prefix, variables))
    if shutil.which(uv):
        links = ["--offline", "--no-index", "--find-links", str(wheels)]
        at = home / "uv"
        variables = {"UV_CACHE_DIR": str(at / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
        found.append(Tool("uv", at, [uv, "lock", *links], [uv, "sync", "--frozen", *links], "uv.lock", (), variables))
    return found


def distributions(wheels: Path) -> dict[str, str]:
    """name -> version of a folder's wheels."""
    found = (match for path in sorted(wheels.iterdir()) if (match := _WHEEL.match(path.name)))
    return {match["name"]: match["version"] for match in found}


def manifest(requirements: Sequence[str]) -> str:
    """pyproject.toml for both tools alike."""
    return "\n".join(
        [
            "[project]",
            'name = "bench"',
            'version = "0.1"',
            f'requires-python = "=={PYTHON}.*"',
            f"dependencies = {json.dumps(list(requirements))}",
            "[tool.gpuenv.targets.default]",
            f'python = "{PYTHON}"',
            'glibc = "2.35"',
            "[tool.uv]",
            "package = false",
            "environments = [\"sys_platform == 'linux' and platform_machine == 'x86_64'\"]",
            "",
        ]
    )


def chosen(names: Sequence[str], group: int) -> list[str]:
    """The half of the distributions that a group of projects needs: always the same, and nothing but chance."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{group} {name}".encode()).digest())[: len(names) // 2]


def usage(root: Path) -> tuple[int, int]:
    """Inodes and bytes on the disk of everything below a folder, each inode once; no link is followed."""
    seen: set[tuple[int, int]] = set()
    size = 0
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            status = os.lstat(f"{folder}/{name}")
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_blocks * 512
    return len(seen), size


def measure(found: Sequence[Tool], scenario: str, versions: dict[str, str], counts: Sequence[int]) -> Iterator[Any]:
    """A row for each tool and number of projects."""
    locks: dict[tuple[str, int], str] = {}
    times: dict[str, list[float]] = {tool.name: [] for tool in found}
    for number in range(max(counts)):
        group = number % GROUPS if scenario == "overlapping" else 0
        names = chosen(list(versions), group) if scenario == "overlapping" else list(versions)
        for tool in found:
            project = tool.home / f"project{number}"
            project.mkdir(parents=True)
            (project / "pyproject.toml").write_text(manifest([f"{name}=={versions[name]}" for name in names]))
            if (tool.name, group) not in locks:
                tool.run(tool.lock, project)
                locks[tool.name, group] = (project / tool.lock_file).read_text()
            (project / tool.lock_file).write_text(locks[tool.name, group])
            times[tool.name].append(tool.run(tool.sync, project))
        if number + 1 in counts:
            for tool in found:
                inodes, size = usage(tool.home)
                seconds = times[tool.name]
                yield {
                    "scenario": scenario,
                    "tool": tool.name,
                    "projects": number + 1,
                    "inodes": inodes,
                    "bytes": size,
                    "first": seconds[0],
                    "median": statistics.median(seconds[1:] or seconds),
                    "all": sum(seconds),
                }


def measure_stores(stores: Sequence[Path], gpuenv: str) -> Iterator[Any]:
    """A row for each store: what it holds, and the seconds of a look at every byte and of a search for garbage."""
    for store in stores:
        command = [gpuenv, "--store", str(store), "store"]
        row: dict[str, Any] = {"store": str(store)}
        for name, words in (("list", ["list"]), ("gc", ["gc", "--dry-run"]), ("verify", ["verify"])):
            start = time.perf_counter()
            done = subprocess.run([*command, *words, "--json"], capture_output=True, text=True, check=False)
            row[name] = time.perf_counter() - start
            if done.returncode > 1:
                sys.exit(done.stderr)
            document = json.loads(done.stdout)
            if name == "list":
                row |= {"objects": len(document["objects"]), "size": document["size"], "views": document["views"]}
            elif name == "verify":
                row["files"] = document["files"]
        yield row


def main() -> None:
    """Measure, and print a line for each row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["projects", "stores"])
    parser.add_argument("places", type=Path, nargs="+", help="the folder of wheels; for `stores` the stores")
    parser.add_argument("--scratch", type=Path, help="where projects, stores and caches are made, and removed after")
    parser.add_argument("--scenario", choices=SCENARIOS, help="default: both")
    parser.add_argument("--only", nargs="+", metavar="TOOL", help="some of the tools, by name")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--gpuenv", default="gpuenv")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    if asked.what == "stores":
        for row in measure_stores([place.absolute() for place in asked.places], asked.gpuenv):
            rows.append(row)
            print(row, flush=True)
    else:
        wheels = asked.places[0].absolute()
        for scenario in [asked.scenario] if asked.scenario else SCENARIOS:
            scratch = asked.scratch.absolute() if asked.scratch else None
            with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
                found = tools(Path(folder), wheels, asked.gpuenv, asked.uv)
                found = [tool for tool in found if not asked.only or tool.name in asked.only]
                for row in measure(found, scenario, distributions(wheels), asked.counts):
                    rows.append(row)
                    print(row, flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
