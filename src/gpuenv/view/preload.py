"""Libraries that have to be open before a module is imported, because nothing leads the loader to them.

A wheel's binaries find libraries of other wheels by `$ORIGIN` paths, which its author wrote for wheels that it
requires. Where the lock binds another distribution to a need, no path leads there. What is open already is found by
its SONAME wherever it lies (glibc), so a start-up file of the view opens such libraries when the module that needs
them is imported first (docs/decisions/0015-preloading.md).
"""

import json
import posixpath
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gpuenv.model.carries import carries
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.loader import also_at, installed_at, search_path, why_unfit
from gpuenv.model.stored import SITE_PACKAGES, Directory
from gpuenv.model.target import Target

__all__ = ["STARTUP", "Installed", "Openings", "modules_of", "preload_list", "startup_files"]

STARTUP = "_gpuenv_preload"

_MODULE = '''\
"""Opens libraries before the modules whose binaries need them, which find them no other way. Made by gpuenv."""

import sys

# module -> libraries, a line each, as paths from this folder, in the order in which they have to be opened
NEEDS = @NEEDS@


class _Opener:
    """The first finder of imports: opens the libraries, and leaves the finding to the others."""

    def __init__(self):
        self.waiting = dict(NEEDS)

    def find_spec(self, name, path=None, target=None):
        libraries = self.waiting.pop(name, None)
        if libraries is None:
            return None
        _open(libraries)
        if self.waiting:
            return None
        # Nothing is left to do: go, and ask the others here, for who walks along a list must not lose an item of it.
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                return spec
        return None


def _open(libraries):
    try:
        import ctypes
        import os

        here = os.path.dirname(os.path.abspath(__file__))
    except Exception:
        return
    for library in libraries.splitlines():
        try:
            ctypes.CDLL(os.path.join(here, library))
        except Exception:
            pass  # the import that follows says better what is missing


sys.meta_path.insert(0, _Opener())
'''


@dataclass(frozen=True)
class Installed:
    """A distribution of a view, as far as its binaries go.

    modules: what of it can be imported by one name. requires: distributions, directly. libraries: by distribution, the
    sonames that the lock binds to it. asleep: paths of binaries that nobody opens. hosted: sonames that lie in a folder
    of the machine where the loader does not look, with their paths.
    """

    name: str
    facts: NativeFacts
    target: Target
    modules: tuple[str, ...] = ()
    requires: frozenset[str] = frozenset()
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asleep: Collection[str] = frozenset()
    hosted: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def binaries(self) -> tuple[ObjectFacts, ...]:
        """Those that a program of the target can load."""
        return tuple(found for found in self.facts.objects if why_unfit(found, self.target) is None)

    @cached_property
    def awake(self) -> tuple[ObjectFacts, ...]:
        """Those that somebody may open."""
        return tuple(found for found in self.binaries if found.path not in self.asleep)

    @cached_property
    def bound(self) -> dict[str, str]:
        """Soname -> the distribution that brings it."""
        return {soname: name for name, sonames in self.libraries.items() for soname in sonames}

    @cached_property
    def is_imported(self) -> bool:
        """Has it extension modules, which load its libraries whenever it is imported?"""
        return any(found.python for found in self.facts.objects)

    def carrier(self, soname: str) -> ObjectFacts | None:
        """Its library of that SONAME or file name, for its own binaries."""
        return self._carriers.get(soname)

    def offer(self, soname: str) -> ObjectFacts | None:
        """Its library of that SONAME, for other distributions."""
        return carries(self.facts, soname, self.target)

    def folders_of(self, soname: str) -> frozenset[str]:
        """Where in the view its files of that name lie, as folders seen from site-packages."""
        return self._folders.get(soname, frozenset())

    def passed_on(self, found: ObjectFacts) -> frozenset[str]:
        """The folders where ld.so looks for the needs of what a binary loads: by DT_RPATH, its own and its loaders'.

        A DT_RUNPATH makes void the DT_RPATH beside it, not that of who loads its binary.
        """
        if found.path not in self._passed_on:
            folders: set[str] = set()
            todo, seen = deque([found]), {found.path}
            while todo:
                one = todo.popleft()
                folders.update(() if one.runpath else search_path(one))
                for loader in self._loaders.get(one.path, ()):
                    if loader.path not in seen:
                        seen.add(loader.path)
                        todo.append(loader)
            self._passed_on[found.path] = frozenset(folders)
        return self._passed_on[found.path]

    @cached_property
    def _passed_on(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def _carriers(self) -> dict[str, ObjectFacts]:
        found: dict[str, ObjectFacts] = {}
        for one in self.binaries:
            if one.soname:
                found.setdefault(one.soname, one)
        for one in self.binaries:
            found.setdefault(posixpath.basename(one.path), one)
        return found

    @cached_property
    def _folders(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        places = {installed_at(one.path) for one in self.binaries}
        for place in (*places, *also_at(self.facts, places)):
            folder, name = posixpath.split(place)
            found.setdefault(name, set()).add(folder or ".")
        return {name: frozenset(folders) for name, folders in found.items()}

    @cached_property
    def _loaders(self) -> dict[str, list[ObjectFacts]]:
        found: dict[str, list[ObjectFacts]] = {}
        for one in self.binaries:
            for soname in one.needed:
                carrier = self.carrier(soname)
                if carrier is not None:
                    found.setdefault(carrier.path, []).append(one)
        return found


class Openings:
    """In which order libraries of a view have to be opened so that each finds what it needs. distributions: by name.

    trusting: libraries of a distribution that has modules and is required by the one that needs them count as open:
    its modules are imported before.
    """

    def __init__(self, distributions: Mapping[str, Installed], *, trusting: bool = True) -> None:
        self._all = distributions
        self._trusting = trusting

    def before(self, name: str) -> tuple[str, ...]:
        """What has to be open before binaries of a distribution are: paths from site-packages, in order.

        Those of other distributions or of the machine, which the needing binary does not find by itself.
        """
        own, found = self._all[name], dict[str, None]()
        seen: set[tuple[str, str, frozenset[str]]] = set()
        for binary in own.awake:
            for path, owner in self._needs(own, own, binary, own.passed_on(binary), seen):
                if owner != name:
                    found[path] = None
        return tuple(found)

    def order(self, name: str) -> tuple[ObjectFacts, ...]:
        """A distribution's binaries that somebody may open, each after those of its own that it needs."""
        own, found = self._all[name], dict[str, ObjectFacts]()
        awake = {binary.path for binary in own.awake}

        def enter(binary: ObjectFacts, above: frozenset[str]) -> None:
            for soname in binary.needed:
                carrier = own.carrier(soname)
                if carrier is not None and carrier.path not in found and carrier.path not in above:
                    enter(carrier, above | {carrier.path})
            if binary.path in awake:
                found[binary.path] = binary

        for binary in own.awake:
            if binary.path not in found:
                enter(binary, frozenset({binary.path}))
        return tuple(found.values())

    def _needs(
        self,
        first: Installed,
        own: Installed,
        binary: ObjectFacts,
        passed: frozenset[str],
        seen: set[tuple[str, str, frozenset[str]]],
    ) -> Iterator[tuple[str, str]]:
        """(path, owner) of what a binary does not find by itself, and before it what that does not find.

        first: the distribution that is imported. passed: the folders in the DT_RPATH of those that load the binary;
        nobody does where the view opens it, and its own binaries are taken to be loaded by each other.
        """
        if (own.name, binary.path, passed) in seen:
            return
        seen.add((own.name, binary.path, passed))
        folders = frozenset(search_path(binary))
        reach = folders if binary.runpath else folders | passed
        handed = passed if binary.runpath else reach
        for soname in binary.needed:
            if soname in own.hosted:
                yield own.hosted[soname], ""
                continue
            owner = self._owner(own, soname)
            if owner is None:
                continue
            carrier = own.carrier(soname) if owner is own else owner.offer(soname)
            if carrier is None:
                continue
            reached = bool(owner.folders_of(soname) & reach)
            on = first.passed_on(carrier) if owner is first else handed if reached else frozenset()
            yield from self._needs(first, owner, carrier, on, seen)
            if not reached:
                yield installed_at(carrier.path), owner.name

    def _owner(self, own: Installed, soname: str) -> Installed | None:
        name = own.bound.get(soname)
        if name is None:
            return own if own.carrier(soname) else None
        owner = self._all.get(name)
        if owner is not None and self._trusting and owner.is_imported and name in self._required(own.name):
            return None
        return owner

    def _required(self, name: str) -> set[str]:
        """What a distribution requires, directly or not."""
        seen: set[str] = set()
        todo = [name]
        while todo:
            found = self._all.get(todo.pop())
            for required in found.requires if found else ():
                if required not in seen:
                    seen.add(required)
                    todo.append(required)
        return seen


def modules_of(listing: Iterable[Directory]) -> tuple[str, ...]:
    """The top-level modules of an unpacked distribution, sorted. listing: all its folders."""
    found: set[str] = set()
    for directory in listing:
        scheme, _, below = directory.path.partition("/")
        if scheme == SITE_PACKAGES and below:
            if any(file.name.endswith(".py") for file in directory.files):
                found.add(below.partition("/")[0])
        elif scheme == SITE_PACKAGES:
            found |= {file.name.partition(".")[0] for file in directory.files if file.name.endswith((".py", ".so"))}
            found |= {link.name.partition(".")[0] for link in directory.links}
    return tuple(sorted(name for name in found if name.isidentifier()))


def preload_list(distributions: Mapping[str, Installed]) -> dict[str, tuple[str, ...]]:
    """What a view has to open before each module: paths from its site-packages (or absolute), in order."""
    openings = Openings(distributions)
    found: dict[str, dict[str, None]] = {}
    for name, own in sorted(distributions.items()):
        if not own.libraries and not own.hosted:
            continue
        before = openings.before(name)
        for module in own.modules if before else ():
            found.setdefault(module, {}).update(dict.fromkeys(before))
    return {module: tuple(paths) for module, paths in sorted(found.items())}


def startup_files(needs: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The files of site-packages that open the libraries, by name; none where nothing has to be opened."""
    if not needs:
        return {}
    # texts, not lists: where no bytecode can be kept, this is compiled at every start
    table = json.dumps({module: "\n".join(paths) for module, paths in needs.items()}, indent=4)
    return {f"{STARTUP}.pth": f"import {STARTUP}\n", f"{STARTUP}.py": _MODULE.replace("@NEEDS@", table)}
