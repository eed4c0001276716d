"""Which library ld.so finds for each need of an artifact's binaries, as far as the artifact itself can tell.

Rules of glibc's ld.so (its manual, and System V's gABI): a need is looked for by its file name in the DT_RPATH of the
binary and of those that loaded it, unless the binary has a DT_RUNPATH, which counts for its own needs alone; and what
is loaded already is matched by soname, wherever it lies. Paths are those in site-packages after the installation.
"""

import posixpath
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice, takewhile
from typing import NamedTuple

from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.follow import Astray, followed
from gpuenv.model.host_libraries import HostPolicy
from gpuenv.model.target import Target

__all__ = ["SITE", "Binaries", "Edge", "also_at", "installed_at", "search_path", "why_unfit"]

# Machine of a target -> as the facts name it.
_MACHINES = {"i686": "i386"}

# Where site-packages lies in an environment of no particular Python, and the folders of NAME.data seen from there.
SITE = "lib/python3/site-packages"
_OUTSIDE = "../../.."
_MOST_NAMES = 1 << 16  # that links give to the files of one artifact
_SCHEMES = {"purelib": "", "platlib": "", "data": "../../..", "scripts": "../../../bin", "headers": "../../../include"}


def why_unfit(found: ObjectFacts, target: Target) -> str | None:
    """Why no program of the target can load a file, if so."""
    if not found.for_host:
        return "it is device code"
    if not target.platform.startswith("linux-"):
        return "it is for Linux"
    if found.machine != (machine := _MACHINES.get(target.arch, target.arch)):
        return f"it is for {found.machine}, not for {machine}"
    if found.type not in ("shared", "executable"):
        return "it is no library and no program"
    return "it is debug information" if found.path.endswith(".debug") else None


def installed_at(path: str) -> str:
    """Where a file of an artifact lies after installation, seen from site-packages."""
    top, _, rest = path.partition("/")
    scheme, _, tail = rest.partition("/")
    if top.endswith(".data") and tail and scheme in _SCHEMES:
        return _normal(posixpath.join(_SCHEMES[scheme], tail))
    return _normal(path)


def also_at(facts: NativeFacts, places: Collection[str]) -> dict[str, str]:
    """Where else files lie by an artifact's links, each with the file's own place. places: those of files, installed.

    Links to links and to folders count as the system follows them; those that are absolute or lead nowhere do not.
    """
    if not facts.symlinks:
        return {}
    links = {_from_root(installed_at(link.path)): link.target for link in facts.symlinks}
    names = {_from_root(place): place for place in places}
    ends = {path: _end(path, links) for path in links}
    names |= {path: names[end] for path, end in ends.items() if end in names}
    order = sorted(names)
    below = (
        (path + name[len(end) :], names[name])
        for path, end in ends.items()
        if end is not None and end not in names
        for name in takewhile(partial(_is_below, end), islice(order, bisect_left(order, f"{end}/"), None))
    )
    names |= dict(islice(below, _MOST_NAMES))
    return {at: place for path, place in names.items() if (at := _normal(posixpath.relpath(path, SITE))) != place}


def _is_below(folder: str, path: str) -> bool:
    return path.startswith(f"{folder}/")


def _from_root(place: str) -> str:
    """A path from site-packages as one from the root of the environment."""
    return posixpath.normpath(posixpath.join(SITE, place))


def _end(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path leads; None where it leaves the environment or never ends."""
    try:
        return followed(path, links)
    except Astray:
        return None


def search_path(found: ObjectFacts) -> tuple[str, ...]:
    """Folders below site-packages, or relative to it, where ld.so looks for a binary's needs: its own $ORIGIN paths."""
    origin = posixpath.dirname(installed_at(found.path))
    return tuple(dict.fromkeys(_expand(found.runpath or found.rpath, origin)))


def _expand(paths: Iterable[str], origin: str) -> Iterator[str]:
    """What begins with $ORIGIN; absolute paths are another machine's, and empty ones the working directory's."""
    for path in paths:
        for word in ("$ORIGIN", "${ORIGIN}"):
            if path == word or path.startswith(f"{word}/"):
                yield _normal(posixpath.join(origin, "." + path.removeprefix(word)))


def _normal(path: str) -> str:
    """A path from site-packages, each place by one name: what leaves it goes by the root of the environment."""
    whole = posixpath.normpath(posixpath.join(SITE, path))
    if whole == SITE:
        return "."
    return whole.removeprefix(f"{SITE}/") if whole.startswith(f"{SITE}/") else posixpath.join(_OUTSIDE, whole)


class Edge(NamedTuple):
    """One need of one binary. to: the binary of the artifact that meets it, by number.

    own: found by the paths of the binary and of those that load it. What the host has is not looked for elsewhere.
    """

    soname: str
    to: int | None
    own: bool


class Binaries:
    """The binaries of one artifact that a loader of the target may open, numbered in the order of their paths."""

    def __init__(self, facts: NativeFacts, chosen: Iterable[ObjectFacts], host: HostPolicy) -> None:
        self.host = host
        self.objects = tuple(sorted(chosen, key=lambda found: found.path))
        self._places = [installed_at(found.path) for found in self.objects]
        self._named: dict[str, dict[str, int]] = defaultdict(dict)  # file name -> folder -> number
        self._sonamed: dict[str, int] = {}
        self._index(facts)
        self.edges = self._edges()
        self.loaders: list[set[int]] = [set() for _ in self.objects]
        for number, edges in enumerate(self.edges):
            for edge in edges:
                if edge.to is not None and edge.to != number:
                    self.loaders[edge.to].add(number)

    def reached(self, starts: Iterable[int], *, but: Collection[int] = ()) -> set[int]:
        """Those that are loaded with any of some binaries, themselves included; as if those in `but` were empty."""
        found = set(starts).difference(but)
        todo = deque(found)
        while todo:
            for edge in self.edges[todo.popleft()]:
                if edge.to is not None and edge.to not in found and edge.to not in but:
                    found.add(edge.to)
                    todo.append(edge.to)
        return found

    def gathered(self, bits: Sequence[int], *, but: Collection[int] = ()) -> list[int]:
        """For each binary the bits of all that are loaded with it, its own included; as if those in `but` were not."""
        found, order, changed = list(bits), self._order, True
        while changed:  # once more than there are circles within circles
            changed = False
            for number in order:
                now = found[number]
                for edge in self.edges[number]:
                    if edge.to is not None and edge.to not in but:
                        now |= found[edge.to]
                changed |= now != found[number]
                found[number] = now
        return found

    @cached_property
    def _order(self) -> list[int]:
        """All binaries, each after those that it needs, but for circles."""
        order: list[int] = []
        seen: set[int] = set()
        for start in range(len(self.objects)):
            todo = [] if start in seen else [(start, iter(self.edges[start]))]
            seen.add(start)
            while todo:
                number, rest = todo[-1]
                to = next((edge.to for edge in rest if edge.to is not None and edge.to not in seen), None)
                if to is None:
                    order.append(number)
                    todo.pop()
                else:
                    seen.add(to)
                    todo.append((to, iter(self.edges[to])))
        return order

    def _index(self, facts: NativeFacts) -> None:
        numbers = {place: number for number, place in enumerate(self._places)}
        for number, (found, place) in enumerate(zip(self.objects, self._places, strict=True)):
            self._add(place, number)
            if found.soname:
                self._sonamed.setdefault(found.soname, number)
        for place, target in also_at(facts, numbers).items():
            self._add(place, numbers[target])

    def _add(self, place: str, number: int) -> None:
        folder, name = posixpath.split(place)
        self._named[name].setdefault(folder or ".", number)

    def _edges(self) -> list[tuple[Edge, ...]]:
        """Needs and who meets them, once it is known which folders each binary inherits from those that load it."""
        folders = {folder for by_folder in self._named.values() for folder in by_folder}
        own: list[set[str]] = [set(search_path(found)) & folders for found in self.objects]
        inherited: list[set[str]] = [set() for _ in self.objects]
        edges: list[tuple[Edge, ...]] = [() for _ in self.objects]
        todo, waiting = deque(range(len(self.objects))), set(range(len(self.objects)))
        while todo:
            number = todo.popleft()
            waiting.discard(number)
            found = self.objects[number]
            seen = own[number] if found.runpath else own[number] | inherited[number]
            passed = inherited[number] if found.runpath else seen  # its own needs alone do without
            edges[number] = tuple(self._edge(soname, number, seen) for soname in dict.fromkeys(found.needed))
            for edge in edges[number]:
                if edge.to is not None and not passed <= inherited[edge.to]:
                    inherited[edge.to] |= passed
                    if edge.to not in waiting:
                        waiting.add(edge.to)
                        todo.append(edge.to)
        return edges

    def _edge(self, soname: str, number: int, folders: set[str]) -> Edge:
        if "/" in soname:  # a path, which is not searched for
            origin = posixpath.dirname(self._places[number])
            folder, name = next(((posixpath.split(path)) for path in _expand([soname], origin)), ("", ""))
            to = self._named.get(name, {}).get(folder or ".")
            return Edge(soname, to, to is not None)
        by_folder = self._named.get(soname, {})
        if at := min((folder for folder in by_folder if folder in folders), default=None):
            return Edge(soname, by_folder[at], True)
        if self.host.provides(soname):
            return Edge(soname, None, False)
        carried = self._sonamed.get(soname)
        if carried is None and by_folder:
            carried = by_folder[min(by_folder)]
        return Edge(soname, carried, False)
