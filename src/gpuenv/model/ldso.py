"""One process of glibc's ld.so, as a value: what is open, and which file the next dlopen(3) takes for each need.

Rules of glibc (ld.so(8), its elf/dl-load.c and elf/dl-deps.c), each held against the real loader by tests:

- Needs are looked up breadth-first. What is open already by that name, path or SONAME, or as the same file, is taken.
- Else by DT_RPATH of the needing file and of all that loaded it, one by another, and of the program; none of them
  where the needing file has DT_RUNPATH. Then LD_LIBRARY_PATH, its own DT_RUNPATH, ld.so.cache, the system's folders.
- `$ORIGIN` is the folder of a path as it was opened: links are not resolved, `..` is the kernel's.
- Files for other processors are passed over; a search ends in failure at what is no library at all.
- Where a need is not met, nothing of that dlopen stays open.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["Binary", "Edge", "Files", "Fit", "How", "Map", "Opening", "Process", "System", "expand"]

Fit = Literal["fit", "other", "broken"]
How = Literal["open", "same", "rpath", "library-path", "runpath", "cache", "default", "path", "broken", "missing"]

_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


class Binary(NamedTuple):
    """What ld.so reads of a file.

    id: tells one file from another whatever its paths are: device and inode. rpath, runpath: parts, "" for an empty
    one. fit: `other`: for another processor; `broken`: no library, so that ld.so gives up.
    """

    id: Hashable
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    fit: Fit = "fit"


class Files(Protocol):
    """The file system as ld.so asks it. Paths are texts as ld.so makes them, with `..` and doubled slashes."""

    def file(self, path: str) -> Binary | None:
        """What open(2) of the path gives; None where that fails."""

    def holds(self, folder: str, name: str) -> bool:
        """Is there an entry of that name in a folder, which ends in a slash? May be true of a link to nowhere."""

    def subfolders(self, folder: str) -> tuple[str, ...]:
        """A folder's `glibc-hwcaps` folders that this processor may use, best first; each ends in a slash."""

    def cached(self, name: str) -> str | None:
        """The path that ld.so.cache has for a file name."""


class System(NamedTuple):
    """The loader of a machine and its surroundings.

    default: the system's folders. library_path: LD_LIBRARY_PATH, in parts. lib, platform: what `$LIB` and `$PLATFORM`
    stand for. loader: the path of ld.so itself, as programs name it. absent: names that may be missing here, because
    the machine that counts has them: no dlopen fails for want of them.
    """

    files: Files
    default: tuple[str, ...] = ()
    library_path: tuple[str, ...] = ()
    lib: str = "lib64"
    platform: str = "x86_64"
    loader: str = ""
    absent: Callable[[str], bool] | None = None


class Map:
    """One open file. path: as opened, "" for the program. name: as it was asked for. loader: who asked, if anybody.

    needs: whom each of `binary.needed` led to, in that order, None where nobody did (then it is not open any more).
    """

    __slots__ = ("binary", "loader", "name", "needs", "origin", "path", "rpath", "runpath")

    def __init__(self, path: str, name: str, binary: Binary, loader: "Map | None", origin: str) -> None:
        self.path = path
        self.name = name
        self.binary = binary
        self.loader = loader
        self.origin = origin
        self.needs: tuple[Map | None, ...] = ()
        self.rpath: tuple[str, ...] | None = None  # folders, once they are asked for
        self.runpath: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Map({self.path!r})"


class Edge(NamedTuple):
    """A name that was looked for. to: who has it, None: nobody. by: whose need it is, None for what dlopen is asked.

    how: `open`: it was so under that name; `same`: under another name, as was seen when the search had found it;
    `broken`: the search ended at what is no library; else where the search found it.
    """

    by: Map | None
    name: str
    to: Map | None
    how: How


class Opening(NamedTuple):
    """What came of one dlopen. map: None where it failed. scope: all that belongs to it, in the order of search.

    edges: its own, then the needs of the files that it opened, breadth-first, without those that open files met; after
    a failure what would follow.
    """

    map: Map | None
    scope: tuple[Map, ...]
    edges: tuple[Edge, ...]

    @property
    def missing(self) -> Edge | None:
        """The first need that nothing meets: what dlerror(3) names."""
        return next((edge for edge in self.edges if edge.to is None), None)


def expand(text: str, origin: str, lib: str, platform: str) -> str:
    """A path of a binary with `$ORIGIN`, `$LIB` and `$PLATFORM` put in (also in braces), wherever they stand."""
    if "$" not in text:
        return text
    values = {"ORIGIN": origin, "LIB": lib, "PLATFORM": platform}
    return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)


class Process:
    """A process from the start of its program on. maps: what is open, in the order in which it was opened."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.maps: list[Map] = []
        self._names: dict[str, Map] = {}  # of several with one name the first opened counts
        self._ids: dict[Hashable, Map] = {}
        self._aliases: list[tuple[str, Map]] = []

    @classmethod
    def start(cls, system: System, program: str) -> "tuple[Process, Opening]":
        """A program that execve(2) starts, with all that it needs. program: absolute, links resolved."""
        process = cls(system)
        main = Map("", "", system.files.file(program) or Binary(program), None, program.rpartition("/")[0])
        process._enter(main, [])
        if system.loader and (found := system.files.file(system.loader)) is not None:
            process._enter(Map(system.loader, system.loader, found, None, system.loader.rpartition("/")[0]), [])
        edges: list[Edge] = []
        scope = process._needs_of(main, edges, [])
        return process, Opening(main, tuple(scope), tuple(edges))

    def fork(self) -> "Process":
        """Another process with the same files open."""
        other = Process(self.system)
        other.maps = self.maps.copy()
        other._names = self._names.copy()
        other._ids = self._ids.copy()
        other._aliases = self._aliases.copy()
        return other

    def named(self, name: str) -> Map | None:
        """What is open under a name, path or SONAME."""
        return self._names.get(name)

    def with_id(self, where: Hashable) -> Map | None:
        """The open file of a device and inode."""
        return self._ids.get(where)

    def open(self, name: str, caller: Map | None = None) -> Opening:
        """dlopen(3) by code of `caller`, by default the program."""
        by = caller or (self.maps[0] if self.maps else None)
        journal: list[tuple[str, Map]] = []
        before = len(self.maps)
        found, how = self._find(by, name, journal)
        edges = [Edge(None, name, found, how)]
        if found is None:
            return Opening(None, (), tuple(edges))
        scope = self._needs_of(found, edges, journal)
        if any(edge.to is None and not self._may_miss(edge) for edge in edges):
            self._undo(before, journal)
            return Opening(None, tuple(scope), tuple(edges))
        return Opening(found, tuple(scope), tuple(edges))

    def close(self, path: str) -> None:
        """Forget an open file, as dlclose(3) of the last who held it does."""
        self.maps = [one for one in self.maps if one.path != path]
        self._aliases = [(name, one) for name, one in self._aliases if one.path != path]
        self._names, self._ids = {}, {}
        for one in self.maps:
            self._register(one, [])
        for name, one in self._aliases:
            self._names.setdefault(name, one)

    def _may_miss(self, edge: Edge) -> bool:
        return edge.how == "missing" and self.system.absent is not None and self.system.absent(edge.name)

    def _needs_of(self, root: Map, edges: list[Edge], journal: list[tuple[str, Map]]) -> list[Map]:
        """Open all that a file needs, breadth-first; adds the needs of those that were not open before to `edges`."""
        scope, seen, names = [root], {root}, self._names
        for one in scope:  # it grows
            if one.binary.needed and not one.needs:
                needs = []
                for name in one.binary.needed:
                    if (found := names.get(name)) is None:
                        name = expand(name, one.origin, self.system.lib, self.system.platform)
                        found, how = self._find(one, name, journal)
                        edges.append(Edge(one, name, found, how))
                    needs.append(found)
                one.needs = tuple(needs)
            for met in one.needs:
                if met is not None and met not in seen:
                    seen.add(met)
                    scope.append(met)
        return scope

    def _find(self, by: Map | None, name: str, journal: list[tuple[str, Map]]) -> tuple[Map | None, How]:
        open_one = self._names.get(name)
        if open_one is not None:
            return open_one, "open"
        if "/" in name:
            path = expand(name, by.origin if by else "", self.system.lib, self.system.platform)
            found = self.system.files.file(path)
            how: How = "path" if found is None or found.fit == "fit" else "broken"
        else:
            path, found, how = self._search(by, name)
        if found is None:
            return None, "missing"
        if how == "broken":
            return None, how
        same = self._ids.get(found.id)
        if same is not None:
            self._aliases.append((name, same))
            self._name(name, same, journal)
            return same, "same"
        opened = Map(path, name, found, by, path.rpartition("/")[0])
        self._enter(opened, journal)
        return opened, how

    def _search(self, by: Map | None, name: str) -> tuple[str, Binary | None, How]:
        """The first file of that name along the paths that count for a need of `by`."""
        files = self.system.files
        for folders, how in self._paths(by):
            for folder in folders:
                if not files.holds(folder, name):
                    continue
                found = files.file(folder + name)
                if found is not None and found.fit != "other":
                    return folder + name, found, how if found.fit == "fit" else "broken"
        cached = files.cached(name)
        if cached is not None and (found := files.file(cached)) is not None and found.fit == "fit":
            return cached, found, "cache"
        for folder in self.system.default:
            found = files.file(f"{folder}/{name}")
            if found is not None and found.fit == "fit":
                return f"{folder}/{name}", found, "default"
        return "", None, "missing"

    def _paths(self, by: Map | None) -> Iterator[tuple[Sequence[str], How]]:
        main = self.maps[0] if self.maps else None
        if by is None or not by.binary.runpath:
            one = by
            while one is not None:
                if one.binary.rpath:
                    yield self._rpath(one), "rpath"
                one = one.loader  # the last is the program
        if self.system.library_path:
            yield self._folders(self.system.library_path, main.origin if main else ""), "library-path"
        if by is not None and by.binary.runpath:
            if by.runpath is None:
                by.runpath = self._folders(by.binary.runpath, by.origin)
            yield by.runpath, "runpath"

    def _rpath(self, one: Map) -> tuple[str, ...]:
        if one.rpath is None:  # DT_RUNPATH makes DT_RPATH void
            one.rpath = () if one.binary.runpath else self._folders(one.binary.rpath, one.origin)
        return one.rpath

    def _folders(self, parts: Sequence[str], origin: str) -> tuple[str, ...]:
        """Folders with a slash at their end, those of `glibc-hwcaps` before each."""
        found: dict[str, None] = {}
        for part in parts:
            folder = expand(part, origin, self.system.lib, self.system.platform).rstrip("/")
            folder = f"{folder}/" if folder or part.startswith("/") else "./"
            found.update(dict.fromkeys((*self.system.files.subfolders(folder), folder)))
        return tuple(found)

    # names

    def _enter(self, opened: Map, journal: list[tuple[str, Map]]) -> None:
        self.maps.append(opened)
        self._register(opened, journal)

    def _register(self, opened: Map, journal: list[tuple[str, Map]]) -> None:
        self._ids.setdefault(opened.binary.id, opened)
        for name in (opened.path, opened.name, opened.binary.soname):
            if name:
                self._name(name, opened, journal)

    def _name(self, name: str, opened: Map, journal: list[tuple[str, Map]]) -> None:
        if self._names.setdefault(name, opened) is opened:
            journal.append((name, opened))

    def _undo(self, before: int, journal: list[tuple[str, Map]]) -> None:
        """As it was when `before` files were open."""
        for one in self.maps[before:]:
            del self._ids[one.binary.id]
        del self.maps[before:]
        for name, one in journal:
            if self._names.get(name) is one and name not in (one.path, one.name, one.binary.soname):
                self._aliases = [alias for alias in self._aliases if alias != (name, one)]
            self._names.pop(name, None)
