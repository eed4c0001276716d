"""What the lock says of libraries against what the loader will do with the finished view, before `.venv` becomes it.

Each package is looked at in a process of its own, as a program would start it: the libraries that the view opens first
for its modules, the modules of what it requires, then its own modules and libraries, emulated by `model.ldso`.
"""

import os
import posixpath
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from gpuenv.errors import BinaryError, Misbound
from gpuenv.host.ldcache import read_cache
from gpuenv.model.binding import Binding, Finding
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.ldso import Binary, Map, Process, System
from gpuenv.model.loader import installed_at, search_path
from gpuenv.model.lock import LockedPackage, LockedTarget
from gpuenv.model.rules import NativeRules
from gpuenv.model.runtimes import ungrafted
from gpuenv.view.loading import FileId, FilesOnDisk, binary_of, identity
from gpuenv.view.preload import Installed, Openings
from gpuenv.workflow import verify

__all__ = ["check", "live", "read_binary", "refuse_misbound", "surroundings"]

_SHOWN = 3
_LEVEL = re.compile(r"x86-64-v([2-4])")


def read_binary(path: str) -> ObjectFacts | None:
    """What an ELF file says to ld.so; None for what is none, or is damaged."""
    from gpuenv.binaries.elf import MAGIC, read_elf

    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - paths are texts here, as ld.so makes them

            def read(offset: int, size: int) -> bytes:
                stream.seek(offset)
                return stream.read(size)

            size = os.fstat(stream.fileno()).st_size
            if read(0, len(MAGIC)) != MAGIC:
                return None
            elf = read_elf(read, size)
    except (OSError, BinaryError):
        return None
    return ObjectFacts(
        path,
        size,
        "elf",
        elf.machine,
        elf.bits,
        elf.endian,
        elf.type,
        elf.soname,
        elf.needed,
        elf.rpath,
        elf.runpath,
        interpreter=elf.interpreter,
    )


def surroundings(python: str, known: Mapping[FileId, ObjectFacts], cpu: str | None) -> System | None:
    """The loader of an interpreter and what it finds; None where that is no ELF program of this machine's glibc.

    python: absolute, links resolved. known: what is not to be read again. cpu: `x86-64-v3`, whose folders of
    `glibc-hwcaps` count.
    """
    program = read_binary(python)
    if program is None or program.machine is None or program.interpreter is None or "musl" in program.interpreter:
        return None
    cache = read_cache(program.machine)
    like = program

    def read(path: str, where: FileId) -> Binary | None:
        found = read_binary(path)
        return None if found is None else binary_of(found, where, like)

    level = _LEVEL.fullmatch(cpu or "")
    levels = [f"x86-64-v{number}" for number in range(int(level[1]), 1, -1)] if level else []
    binaries = {where: binary_of(found, where, like) for where, found in known.items()}
    files = FilesOnDisk(binaries, read, cache=cache, levels=levels)
    lib = posixpath.dirname(cache.get("libc.so.6", "/lib64/libc.so.6")).removeprefix("/usr").strip("/")
    default = tuple(dict.fromkeys((f"/{lib}", f"/usr/{lib}", "/lib", "/usr/lib")))
    return System(files, default, lib=lib, platform=program.machine, loader=program.interpreter)


def live(
    locked: LockedTarget,
    packages: Iterable[LockedPackage],
    facts: Mapping[str, NativeFacts],
    objects: Mapping[str, Path],
    *,
    rules: NativeRules,
    made: Mapping[str, Installed],
) -> dict[str, Installed]:
    """Distributions by name, with what in them is live for sure; the arguments as for `verify.installed`.

    made: what is known to be otherwise in the view: binaries with another search path, libraries of the machine.
    """
    known = {name: made[name].facts if name in made else found for name, found in facts.items()}
    hosted = {name: own.hosted for name, own in made.items()}
    return verify.installed(locked, packages, known, objects, rules=rules, hosted=hosted, live_only=True)


def refuse_misbound(found: Iterable[Finding], titles: Mapping[str, str]) -> None:
    """Raise Misbound where a need is not met as the lock has it. titles: `numpy 2.5.5`, by name."""
    wrong = [one for one in found if one.locked]
    if not wrong:
        return
    causes = [f"{titles[one.package]}: {one.words}" for one in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        causes.append(f"and {len(wrong) - _SHOWN} more")
    first = wrong[0]
    hints = [f"see who needs it and who brings it: gpuenv why {first.soname}"]
    if first.kind == "shadowed":
        hints.append(f'take what is loaded, in pyproject.toml: [tool.gpuenv.providers] "{first.soname}" = "{first.by}"')
    raise Misbound(
        "programs would not load the libraries of gpuenv.lock; .venv is as it was", causes=causes, hints=hints
    )


def check(
    distributions: Mapping[str, Installed],
    site: str,
    *,
    preload: Mapping[str, tuple[str, ...]],
    python: str,
    cpu: str | None,
    anew: bool = False,
) -> Binding:
    """Where the loader does otherwise than it should, package by package; nothing where it is none of glibc's.

    distributions: by name, as `live` has them. site: the view's site-packages. preload: by module, what the view opens
    before, as `ViewPlan` has it. python: the interpreter, absolute, links resolved. cpu: as `surroundings` has it.
    anew: look into the files again, whatever is known of them.
    """
    view = _View(distributions, site, preload)
    system = surroundings(python, {} if anew else view.known, cpu)
    if system is None:
        return Binding()
    carried = view.carried
    # what nobody brings is the machine's affair, which others tell of, and this one may not be the one that counts
    started, _ = Process.start(system._replace(absent=lambda name: name not in carried), python)
    return _Check(view, started, posixpath.dirname(python)).run()


class _View:
    """Where the binaries of distributions lie, and whose they are. known: by device and inode."""

    def __init__(
        self, distributions: Mapping[str, Installed], site: str, preload: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.all = distributions
        self.site = site
        self.preload = preload
        self.openings = Openings(distributions)
        self.owners: dict[Hashable, set[str]] = {}
        self.identities: dict[tuple[str, str], FileId | None] = {}
        self.known: dict[FileId, ObjectFacts] = {}
        for name, own in distributions.items():
            for found in own.facts.objects:
                if found.for_host:
                    where = self.identities[name, found.path] = identity(self.place(found))
                    if where is not None:
                        self.owners.setdefault(where, set()).add(name)
                        self.known[where] = found

    @cached_property
    def carried(self) -> frozenset[str]:
        """SONAMEs and file names of all libraries."""
        found: set[str] = set()
        for own in self.all.values():
            found.update(one.soname for one in own.binaries if one.soname)
            found.update(posixpath.basename(one.path) for one in own.binaries)
            found.update(posixpath.basename(link.path) for link in own.facts.symlinks)
        return frozenset(found)

    def place(self, found: ObjectFacts) -> str:
        """The path of a distribution's binary."""
        return self.below(installed_at(found.path))

    def below(self, path: str) -> str:
        """A path from site-packages as an absolute one."""
        return posixpath.normpath(posixpath.join(self.site, path))

    def shown(self, path: str) -> str:
        """A path as seen from the view; of what lies elsewhere the whole one."""
        return posixpath.normpath(path).removeprefix(self.below("../../..") + "/")

    def preloaded(self, own: Installed) -> tuple[str, ...]:
        """What is opened before the modules of a distribution are imported.

        Libraries of one without modules are opened by others, for whom the view opens what these need before them.
        """
        if not own.modules:
            return tuple(map(self.below, self.openings.before(own.name)))
        found = dict.fromkeys(path for module in own.modules for path in self.preload.get(module, ()))
        return tuple(map(self.below, found))


class _Check:
    """The view in processes of one interpreter. started: one that has just begun. home: the interpreter's folder."""

    def __init__(self, view: _View, started: Process, home: str) -> None:
        self._view = view
        self._all = view.all
        self._started = started
        self._ctypes = _ctypes_of(home, posixpath.basename(posixpath.dirname(view.site)))
        self._after: dict[tuple[str, ...], Process] = {}

    def run(self) -> Binding:
        """All packages, by name."""
        needs = packages = 0
        found: dict[Finding, None] = {}
        for _, own in sorted(self._all.items()):
            if own.awake and (claims := dict(self._claims(own))):
                needs += len(claims)
                packages += 1
                found.update(dict.fromkeys(self._of(own, claims)))
        return Binding(needs, packages, tuple(found))

    # what should be

    def _claims(self, own: Installed) -> Iterator[tuple[tuple[str, str], tuple[frozenset[str], bool]]]:
        """(path, soname) -> the packages that should meet it, and whether the lock or a requirement says so."""
        known = (own, *(self._all[name] for name in self._required[own.name]))
        carriers: dict[str, dict[str, frozenset[str]]] = {}
        led: dict[tuple[frozenset[str], str], frozenset[str]] = {}
        for found in own.awake:
            folders = frozenset(search_path(found))
            for soname in found.needed:
                if soname in own.hosted:
                    continue
                if (bound := own.bound.get(soname)) is not None:
                    yield (found.path, soname), (frozenset([bound]), True)
                    continue
                if (folders, soname) not in led:
                    if soname not in carriers:
                        carriers[soname] = {one.name: there for one in known if (there := one.folders_of(soname))}
                    led[folders, soname] = frozenset(
                        name for name, there in carriers[soname].items() if not there.isdisjoint(folders)
                    )
                if names := led[folders, soname]:
                    yield (found.path, soname), (names, own.name not in names)

    @cached_property
    def _required(self) -> dict[str, tuple[str, ...]]:
        """By name, the distributions that one requires, directly or not, each after those that it requires itself."""
        order: dict[str, None] = {}

        def enter(name: str, above: frozenset[str]) -> None:
            if name in order or name in above or name not in self._all:
                return
            for required in sorted(self._all[name].requires):
                enter(required, above | {name})
            order[name] = None

        closures: dict[str, set[str]] = {}
        for name in sorted(self._all):
            enter(name, frozenset())
        for name in self._all:
            seen: set[str] = set()
            todo = [name]
            while todo:
                for required in self._all[todo.pop()].requires:
                    if required in self._all and required not in seen:
                        seen.add(required)
                        todo.append(required)
            closures[name] = seen - {name}
        return {name: tuple(one for one in order if one in closures[name]) for name in self._all}

    # what is

    def _of(self, own: Installed, claims: Mapping[tuple[str, str], tuple[frozenset[str], bool]]) -> Iterator[Finding]:
        process, failed = self._opened(own)
        for found in own.awake:
            where = self._view.identities[own.name, found.path]
            one = process.with_id(where)
            if one is not None and (first := _namesake(process, one)) is not None:
                by = min(self._view.owners.get(first.binary.id, ()), default=None)
                yield Finding("doubled", own.name, found.path, str(one.binary.soname), self._view.shown(first.path), by)
            one = one or failed.get(where)
            if one is None:  # it is not there, which others find, or it is nothing that can be opened
                continue
            for soname, met in dict(zip(one.binary.needed, one.needs, strict=False)).items():
                if (found.path, soname) in claims:
                    names, locked = claims[found.path, soname]
                    if finding := self._judged(own, found, soname, met, names):
                        yield finding._replace(locked=locked or finding.kind == "unresolved")

    def _judged(
        self, own: Installed, found: ObjectFacts, soname: str, met: Map | None, names: frozenset[str]
    ) -> Finding | None:
        wanted = tuple(sorted(names))
        if met is None:
            return Finding("unresolved", own.name, found.path, soname, wanted=wanted)
        owners = self._view.owners.get(met.binary.id, set())
        if names & owners:
            return None
        path = self._view.shown(met.path)
        if not owners:
            return Finding("escaping", own.name, found.path, soname, path, wanted=wanted)
        if own.name in names and ungrafted(soname)[2]:  # a hash of its content is in its name: it is the same
            return None
        return Finding("shadowed", own.name, found.path, soname, path, min(owners), wanted)

    def _opened(self, own: Installed) -> tuple[Process, dict[Hashable, Map]]:
        """The process in which all that somebody may open of a package was opened, and what could not be, by file."""
        first = self._view.preloaded(own)
        if first:
            process = self._started.fork()
            self._open_first(process, first)
            for required in self._required[own.name]:
                self._import(process, self._all[required])
        else:
            process = self._after_required(own.name).fork()
        failed: dict[Hashable, Map] = {}
        for found in (*_modules(own), *self._view.openings.order(own.name)):
            opening = process.open(self._view.place(found), _caller(process))
            if opening.map is None:
                for one in opening.scope:
                    failed[one.binary.id] = one
        return process, failed

    def _after_required(self, name: str) -> Process:
        """After the modules of all that a package requires were imported; processes are shared as far as they agree."""
        return self._after_first(tuple(one for one in self._required[name] if _modules(self._all[one])))

    def _after_first(self, names: tuple[str, ...]) -> Process:
        if not names:
            return self._started
        if names not in self._after:
            process = self._after_first(names[:-1]).fork()
            self._import(process, self._all[names[-1]])
            self._after[names] = process
        return self._after[names]

    def _import(self, process: Process, own: Installed) -> None:
        self._open_first(process, self._view.preloaded(own))
        for found in _modules(own):
            process.open(self._view.place(found), _caller(process))

    def _open_first(self, process: Process, paths: Iterable[str]) -> None:
        """What the view's start-up file does: it opens libraries through ctypes."""
        ctypes = None
        for path in paths:
            if ctypes is None:
                ctypes = (process.open(self._ctypes, _caller(process)).map if self._ctypes else None) or _caller(
                    process
                )
            process.open(path, ctypes)


def _modules(own: Installed) -> tuple[ObjectFacts, ...]:
    """What is opened when a distribution is imported, as far as anybody can tell."""
    return tuple(found for found in own.awake if found.python is not None)


def _namesake(process: Process, one: Map) -> Map | None:
    """What was open under the SONAME of a file before that was opened for a need."""
    if one.binary.soname is None or "/" in one.name:
        return None
    first = process.named(one.binary.soname)
    return None if first is one else first


def _caller(process: Process) -> Map:
    """Who calls dlopen for Python: its library, or the program itself."""
    return next((one for one in process.maps[:4] if "/libpython" in one.path), process.maps[0])


def _ctypes_of(home: str, version: str) -> str | None:
    """Python's own module for opening libraries; None where it is a part of the interpreter."""
    folder = f"{posixpath.dirname(home)}/lib/{version}/lib-dynload"
    try:
        names = [name for name in os.listdir(folder) if name.startswith("_ctypes.")]  # noqa: PTH208
    except OSError:
        return None
    return f"{folder}/{min(names)}" if names else None
