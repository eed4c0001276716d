"""Which binaries of a view get a search path of their own, because nothing else leads them to their libraries. Pure.

The start-up file of `view.preload` serves modules of Python. It serves no program that the kernel starts, nothing on
musl, which takes no loaded library by its SONAME, and no package of which the manifest says otherwise.
"""

import posixpath
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gpuenv.model.facts import ObjectFacts, led
from gpuenv.model.loader import SITE, installed_at, search_path
from gpuenv.model.runtimes import runtime_of
from gpuenv.view.preload import Installed

__all__ = ["Dead", "Entry", "Routes", "is_fixed", "is_program", "rerouted", "routes"]

_INEXPRESSIBLE = frozenset(":;$")  # what separates entries, or begins a word that the loader replaces


class Dead(NamedTuple):
    """A way that cannot be made. name: the distribution of the binary at `path`, which needs `soname` of `owner`.

    owner: "" for a library of the machine. by: the path of the program that loads it.
    """

    name: str
    path: str
    soname: str
    owner: str
    by: str
    reason: str

    @property
    def words(self) -> str:
        """A warning."""
        loaded = "" if self.by == self.path else f", which {self.by} loads,"
        of = f" of {self.owner}" if self.owner else ""
        return f"{self.name}: {self.path}{loaded} will not find {self.soname}{of}: {self.reason}"


class Entry(NamedTuple):
    """An entry to add to a search path. modelled: the same in an environment of any Python (`loader.SITE`)."""

    text: str
    modelled: str


class Routes(NamedTuple):
    """Entries to add to search paths, by distribution and path in its artifact; and what nothing can serve."""

    added: Mapping[str, Mapping[str, tuple[Entry, ...]]]
    dead: tuple[Dead, ...] = ()


def is_program(found: ObjectFacts) -> bool:
    """Does the kernel start it? Libraries that may be started, too (libc), have a SONAME."""
    if found.interpreter is None:
        return False
    return found.type == "executable" or (found.type == "shared" and found.soname is None)


def is_fixed(found: ObjectFacts) -> bool:
    """Do its facts forbid to rewrite it? Tools corrupt what was split for AMD's GPUs, and ROCm finds data by it."""
    if any(code.vendor == "amd" for code in found.device_code):
        return True
    runtime = runtime_of(found.soname or posixpath.basename(found.path))
    return runtime is not None and runtime[0] == "amd"


def routes(
    distributions: Mapping[str, Installed],
    site_packages: str,
    *,
    everywhere: Collection[str] = (),
    fixed: Callable[[str, ObjectFacts], str | None] = lambda _name, _found: None,
) -> Routes:
    """What has to be added so that programs, and all binaries where preloading is not wanted, find what is bound.

    distributions: by name. site_packages: where it lies in the view. everywhere: the distributions all of whose
    binaries are led. fixed: why a binary of a distribution must stay as it is, for other reasons than its facts.
    """
    ways = _Ways(distributions, site_packages, fixed)
    for name, own in sorted(distributions.items()):
        if not own.libraries and not own.hosted:
            continue
        musl = own.target.musl is not None
        for binary in own.awake:
            if is_program(binary) or musl or name in everywhere:
                ways.walk(own, binary, only=is_program(binary) or musl)
    return Routes(
        {name: dict(sorted(found.items())) for name, found in sorted(ways.added.items())}, tuple(sorted(ways.dead))
    )


def rerouted(
    distributions: Mapping[str, Installed], added: Mapping[str, Mapping[str, tuple[Entry, ...]]]
) -> dict[str, Installed]:
    """The distributions with the entries of `Routes.added` in their binaries, as preloading has to see them.

    Their programs sleep: what is opened in a process of Python is no help to them.
    """
    found = {}
    for name, own in distributions.items():
        entries = {path: tuple(one.modelled for one in wanted) for path, wanted in added.get(name, {}).items()}
        objects = tuple(led(one, entries[one.path]) if one.path in entries else one for one in own.facts.objects)
        programs = {one.path for one in own.facts.objects if is_program(one)}
        asleep = frozenset(own.asleep) | programs
        same = not entries and not programs
        found[name] = own if same else replace(own, facts=own.facts.with_objects(objects), asleep=asleep)
    return found


class _Step(NamedTuple):
    """A binary that the loader has mapped. passed: the folders in the DT_RPATH of those that loaded it."""

    own: Installed
    binary: ObjectFacts
    passed: frozenset[str]


@dataclass
class _Ways:
    """The entries that were found to be needed so far."""

    distributions: Mapping[str, Installed]
    site_packages: str
    fixed: Callable[[str, ObjectFacts], str | None]
    added: dict[str, dict[str, tuple[Entry, ...]]] = field(default_factory=dict)
    dead: set[Dead] = field(default_factory=set)

    def walk(self, own: Installed, root: ObjectFacts, *, only: bool) -> None:
        """Load as ld.so does, breadth first; lead each binary that does not find what it needs and is not loaded yet.

        only: nothing but a search path can serve the root.
        """
        loaded: set[str] = set()
        todo = deque([_Step(own, root, frozenset())])
        while todo:
            here, binary, passed = todo.popleft()
            folders = frozenset(search_path(binary))
            reach = folders if binary.runpath else folders | passed
            passed = passed if binary.runpath else reach
            for soname in binary.needed:
                if soname in loaded:
                    continue
                if soname in here.hosted:
                    if only:
                        reason = f"it lies in {posixpath.dirname(here.hosted[soname])}, where the loader does not look"
                        self.dead.add(Dead(here.name, binary.path, soname, "", root.path, reason))
                    continue
                owner, carrier = self._provider(here, soname)
                if owner is None or carrier is None:
                    continue
                loaded.add(soname)
                if not owner.folders_of(soname) & reach:
                    why = self._lead(here, binary, soname)
                    if why is not None and only:
                        self.dead.add(Dead(here.name, binary.path, soname, owner.name, root.path, why))
                todo.append(_Step(owner, carrier, passed))

    def _provider(self, own: Installed, soname: str) -> tuple[Installed | None, ObjectFacts | None]:
        name = own.bound.get(soname)
        owner = own if name is None else self.distributions.get(name)
        if owner is None:
            return None, None
        return owner, own.carrier(soname) if owner is own else owner.offer(soname)

    def _lead(self, own: Installed, binary: ObjectFacts, soname: str) -> str | None:
        """Add to a binary what leads to all that it needs; why it does not get to `soname`, if so.

        To all: a binary with a DT_RUNPATH no longer profits by the DT_RPATH of those that load it.
        """
        if is_fixed(binary):
            return "a binary of ROCm, or with code for AMD's GPUs, is never changed"
        reason = self.fixed(own.name, binary)
        if reason is not None:
            return reason
        entries = dict(self._entries(own, binary))
        if entries:
            self.added.setdefault(own.name, {})[binary.path] = tuple(dict.fromkeys(entries.values()))
        return None if soname in entries else "no file has that name, in a folder that a search path can name"

    def _entries(self, own: Installed, binary: ObjectFacts) -> Iterator[tuple[str, Entry]]:
        """By soname, the entries that a binary lacks for what it needs."""
        folders = frozenset(search_path(binary))
        for soname in binary.needed:
            owner, carrier = self._provider(own, soname)
            if owner is None or carrier is None:
                continue
            there = owner.folders_of(soname)
            if there and not there & folders:
                first = posixpath.dirname(installed_at(carrier.path)) or "."
                entry = self._entry(binary, first if first in there else min(there))
                if entry is not None:
                    yield soname, entry

    def _entry(self, binary: ObjectFacts, folder: str) -> Entry | None:
        """What leads from a binary to a folder, seen from site-packages; None where no entry can say it."""
        if _INEXPRESSIBLE & set(folder):
            return None
        place = posixpath.dirname(installed_at(binary.path))
        return Entry(_way(self.site_packages, place, folder), _way(SITE, place, folder))


def _way(site_packages: str, place: str, folder: str) -> str:
    """The entry that leads from one folder to another, both seen from site-packages."""
    here, there = (posixpath.normpath(posixpath.join("/", site_packages, path)) for path in (place, folder))
    way = posixpath.relpath(there, here)
    return "$ORIGIN" if way == "." else f"$ORIGIN/{way}"
