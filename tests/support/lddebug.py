"""What glibc's ld.so says of itself (LD_DEBUG=libs,files,versions,scopes), and the emulation held against it.

    log = traced([python, "-c", "import numpy"], folder)
    report = compare(log, system, program)
    assert report.differences == []

The real process decides what is opened, in which order and by whom, and what is closed. The emulated one is told the
same, and has to find the same file for each need.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuenv.model.ldso import Edge, Map, Opening, Process, System

__all__ = ["Dlopen", "Log", "Looked", "Report", "compare", "everything", "parse", "traced"]

_PATIENCE = 180.0  # seconds a process
_PROCESSES = 12
_IMPORTS = """
import importlib, os, sys
for name in sorted({name.partition(".")[0] for name in os.listdir(sys.argv[1])}):
    if name.isidentifier() and not name.startswith("_gpuenv"):
        try:
            importlib.import_module(name)
        except BaseException:
            pass
os._exit(0)
"""
_OPENS = """
import ctypes, os, sys
done = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_APPEND)
before = set(os.read(done, 1 << 24).decode().splitlines())
for folder, folders, files in os.walk(sys.argv[1], followlinks=True):
    folders.sort()
    for name in sorted(files):
        path = os.path.join(folder, name)
        if ".so" in name and "stubs" not in folder and path not in before:
            with open(path, "rb") as file:
                if file.read(4) != b"\\x7fELF":
                    continue
            os.write(done, f"{path}\\n".encode())
            try:
                ctypes.CDLL(path, mode=os.RTLD_LAZY)
            except OSError:
                pass
os._exit(0)
"""

_FILE = re.compile(r"file=(.+) \[\d+\];  (needed by|dynamically loaded by) (.+) \[\d+\]$")
_NEW = re.compile(r"file=(.+) \[\d+\];  generating link map$")
_GONE = re.compile(r"file=(.+) \[\d+\];  destroying link map$")
_TRIED = re.compile(r"  trying file=(.+)$")
_VERSION = re.compile(r"checking for version `.*' in file (.+) \[\d+\] required by file (.+) \[\d+\]$")
_OBJECT = re.compile(r"object=(.+) \[\d+\]$")
_SCOPE = re.compile(r" scope \d+: (.+)$")
_ERROR = re.compile(r".*: error: (.+)$")
_AUXILIARY = re.compile(r"load auxiliary object=(.+) requested by file=")
_MAIN = "Initial object scopes"


@dataclass
class Looked:
    """A file that was looked for, since nothing open had its name. path: of the last one tried. new: it was opened."""

    name: str
    by: str
    path: str
    new: bool = False


@dataclass
class Dlopen:
    """One dlopen of something that was not open, or the start of the program. scope: None where it failed.

    versions: (file, the file that wants a version of it). error: what was wrong otherwise, such as a symbol version.
    auxiliary: names in DT_AUXILIARY, which the emulation knows nothing of: they may be missing, and always are.
    """

    name: str
    caller: str
    looked: list[Looked] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)
    scope: tuple[str, ...] | None = None
    error: str | None = None
    auxiliary: set[str] = field(default_factory=set)

    @property
    def only_asks(self) -> bool:
        """With RTLD_NOLOAD nothing is opened, although the search found something."""
        root, *more = self.looked
        return not (self.scope or self.error or more or root.new) and Path(root.path).is_file()


@dataclass(frozen=True)
class Log:
    """One process: dlopens, and paths that were closed, in their order. program: how it calls itself."""

    program: str
    events: tuple[Dlopen | str, ...]


@dataclass
class Report:
    """opened: files. needs: those of the emulated process whose file is known of the real one."""

    opened: int = 0
    needs: int = 0
    roots: int = 0
    failed: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Those of another process besides."""
        self.opened += other.opened
        self.needs += other.needs
        self.roots += other.roots
        self.failed += other.failed
        self.differences += other.differences


def traced(
    command: Sequence[object], folder: Path, *, env: Mapping[str, str] | None = None, timeout: float = 600
) -> Log:
    """Run a command in an otherwise empty environment and read what its loader says; the first process's."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / "ld"
    variables = {**(env or {}), "LD_DEBUG": "libs,files,versions,scopes", "LD_DEBUG_OUTPUT": str(prefix)}
    process = subprocess.Popen(
        [str(part) for part in command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    path = folder / f"ld.{process.pid}"
    return parse(path.read_text("utf-8", "surrogateescape"), str(command[0]))


def everything(environment: Path, scratch: Path) -> Iterator[Log]:
    """What the loader says while all modules of an environment are imported, then while all its libraries are opened.

    One process imports, one opens; where a library kills it another one goes on behind it.
    """
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    yield traced([python, "-c", _IMPORTS, site], scratch / "imports", timeout=_PATIENCE)
    done, before = scratch / "done", ""
    for number in range(_PROCESSES):
        yield traced([python, "-c", _OPENS, site, done], scratch / str(number), timeout=_PATIENCE)
        if done.read_text() == before:
            return
        before = done.read_text()


def parse(text: str, program: str) -> Log:
    """The log of one process."""
    start = Dlopen("", "")
    events: list[Dlopen | str] = [start]
    current, wants, main, over = start, "", False, False
    for raw in text.splitlines():
        line = raw.partition("\t")[2]
        if match := _FILE.match(line):
            name, how, by = match.groups()
            if how == "dynamically loaded by":
                current, main, wants, over = Dlopen(name, by), False, "", False
                events.append(current)
            current.looked.append(Looked(name, by, name))
        elif match := _TRIED.match(line):
            current.looked[-1].path = match[1]
        elif match := _NEW.match(line):
            current.looked[-1].new = True
        elif match := _AUXILIARY.match(line):
            current.auxiliary.add(match[1])
        elif match := _GONE.match(line):
            events.append(match[1])
            over = True  # scopes that follow are those of others, which lost something
        elif match := _VERSION.match(line):
            current.versions.append((match[1], match[2]))
        elif line == _MAIN:
            main = True
        elif (match := _OBJECT.match(line)) and not over:
            if not wants and (main or _same(current.looked[0].path, match[1])):
                wants = match[1]  # the first is what dlopen was asked for
        elif wants and not over and (match := _SCOPE.match(line)):
            words = tuple(match[1].split(" "))
            # with DT_SYMBOLIC there is a scope before it that holds the file alone
            if (main or words[0] == wants) and len(words) > len(current.scope or ()):
                current.scope, main = words, False
        elif match := _ERROR.match(line):
            current.error = match[1]
    for event in events:
        if isinstance(event, Dlopen):
            event.looked = [one for one in event.looked if one.new or one.name not in event.auxiliary]
    return Log(program, tuple(events))


def _same(one: str, other: str) -> bool:
    """Is it one file? What was open already under another path shows itself under that."""
    try:
        return one == other or Path(one).samefile(other)
    except OSError:
        return False


class _Comparison:
    """The emulated process that goes along with a real one."""

    def __init__(self, log: Log, system: System, program: str) -> None:
        self.log = log
        self.report = Report()
        self.counted: set[Map] = set()
        self.process, self.started = Process.start(system, program)

    def run(self) -> Report:
        for event in self.log.events:
            if isinstance(event, str):
                self.process.close(event)
                continue
            self.report.roots += 1
            opening = self.started
            if event.name:
                process = self.process.fork() if event.only_asks else self.process
                opening = process.open(event.name, process.named(event.caller))
            if event.only_asks:
                self.looked(event.name, event, opening.edges[:1], opens=False)
            else:
                self.judge(event, opening)
        return self.report

    def path(self, one: Map | None) -> str | None:
        if one is None:
            return None
        return one.path or self.log.program

    def judge(self, event: Dlopen, opening: Opening) -> None:
        what = event.name or "the program"
        searched = [edge for edge in opening.edges if edge.how != "open" and not (edge.by is None and not event.name)]
        if event.scope is None:
            self.report.failed += 1
            if opening.map is not None and event.error is None:
                self.complain(f"{what}: opened here, failed there")
                return
            # ld.so gives up at the first need that nothing meets
            searched = searched[: len(event.looked)]
        elif opening.map is None:
            self.complain(f"{what}: failed here for {opening.missing and opening.missing.name}, opened there")
            return
        self.looked(what, event, searched)
        if event.scope is None:
            return
        scope = tuple(self.path(one) or "" for one in opening.scope)
        if scope != event.scope:
            only, other = set(scope) - set(event.scope), set(event.scope) - set(scope)
            self.complain(f"{what}: scope differs: here {sorted(only)}, there {sorted(other)}")
        led = {self.path(one): {self.path(met) for met in one.needs} for one in opening.scope}
        for file, by in event.versions:
            if by in led and file not in led[by]:
                self.complain(f"{what}: {by} takes {file} there, not here")
        self.report.opened += sum(edge.how not in ("open", "same") for edge in searched) + (not event.name)
        self.report.needs += sum(len(one.needs) for one in opening.scope if one not in self.counted)
        self.counted.update(opening.scope)

    def looked(self, what: str, event: Dlopen, searched: Sequence[Edge], *, opens: bool = True) -> None:
        """The same needs, searched for in the same order, found in the same places."""
        if len(searched) != len(event.looked):
            here, others = [edge.name for edge in searched], [one.name for one in event.looked]
            self.complain(f"{what}: {len(here)} searches here {here}, {len(others)} there {others}")
        for edge, real in zip(searched, event.looked, strict=False):
            by = self.path(edge.by) if edge.by is not None else event.caller
            if (edge.name, by) != (real.name, real.by):
                self.complain(f"{what}: {by} asks for {edge.name} here, {real.by} for {real.name} there")
                return
            if edge.how in ("missing", "broken", "same") and real.new:
                self.complain(f"{what}: {edge.name} for {by} is {edge.how} here, {real.path} there")
            elif edge.how not in ("missing", "broken", "same") and (
                self.path(edge.to) != real.path or real.new is not opens
            ):
                there = real.path if real.new else "none"
                self.complain(f"{what}: {edge.name} for {by} is {self.path(edge.to)} ({edge.how}) here, {there} there")

    def complain(self, text: str) -> None:
        self.report.differences.append(text)


def compare(log: Log, system: System, program: Path | str) -> Report:
    """Give the emulation what the real process was asked for. program: what was started."""
    return _Comparison(log, system, os.path.realpath(program)).run()
