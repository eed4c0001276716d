"""What views add for libraries that others may open or link with: a table of them, and development links.

The table says `gpuenv.runtime`, which a view carries beside it, where each soname lies and what to open before it.
Development links give compilers the names that they look for, in the folders where they look: `lib/libcudart.so` for
the library libcudart.so.13, `include/cuda.h` for a header. All of it follows from facts; nothing is looked at here.
"""

import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import StoreError
from gpuenv.model.carries import offered
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.loader import installed_at
from gpuenv.model.stored import SITE_PACKAGES, Directory
from gpuenv.model.target import Target

__all__ = [
    "TABLE",
    "Carried",
    "Library",
    "LibraryFiles",
    "development_links",
    "libraries_of",
    "library_files",
]

TABLE = "_gpuenv_libraries.json"
RUNTIME = "gpuenv/runtime.py"
_FORMAT = 1
_SONAME = re.compile(r"lib[^/]+?\.so(?:\.[^/]+)?")
_INCLUDE = "include"
_DATA = "data"
_NO_HEADERS = ("__pycache__", ".py", ".pyc", ".pyi")


@dataclass(frozen=True, slots=True)
class LibraryFiles:
    """What a view gets. files: texts by path below site-packages. links: by place, what it leads to.

    Places and what they lead to are paths from the view's root.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def document(self) -> list[object]:
        """All of it as JSON values, in a fixed order."""
        return [sorted(self.files.items()), sorted(self.links.items())]

    def directories(self, site_packages: str) -> tuple[str, ...]:
        """The folders of the view that have to be real ones, sorted. site_packages: from the view's root."""
        places = [*self.links, *(posixpath.join(site_packages, path) for path in self.files)]
        return tuple(sorted({posixpath.dirname(place) for place in places}))


class Carried(NamedTuple):
    """A distribution and what its binaries say. bound: the sonames that the lock binds its binaries to, by provider.

    listing: all its folders as the store has them, where its headers matter. linked: it gets development links.
    """

    name: str
    version: str
    facts: NativeFacts | None = None
    bound: Mapping[str, tuple[str, ...]] = {}
    listing: tuple[Directory, ...] = ()
    linked: bool = False


class Library(NamedTuple):
    """A library that others may open. path: from site-packages. needs: sonames of libraries of the same table."""

    soname: str
    path: str
    package: str
    version: str
    needs: tuple[str, ...]


def libraries_of(distributions: Iterable[Carried], target: Target) -> tuple[Library, ...]:
    """The libraries of an environment, each soname once, each after those that it needs; circles are cut somewhere.

    Of several distributions with one soname the one counts that the lock binds most to, then the first by name.
    Extension modules, programs and private copies are no libraries for others.
    """
    carried = sorted(distributions)
    bound = Counter((name, soname) for one in carried for name, sonames in one.bound.items() for soname in sonames)
    found: dict[str, Library] = {}
    for one in carried:
        for soname, binary in _offered(one, target).items():
            known = found.get(soname)
            if known is None or bound[one.name, soname] > bound[known.package, soname]:
                found[soname] = Library(soname, installed_at(binary.path), one.name, one.version, binary.needed)
    table = {
        soname: library._replace(needs=tuple(need for need in dict.fromkeys(library.needs) if need in found))
        for soname, library in found.items()
    }
    return tuple(_needs_first(table))


def _needs_first(table: Mapping[str, Library]) -> Iterator[Library]:
    seen: set[str] = set()
    for start in sorted(table):
        todo = [] if start in seen else [(start, iter(table[start].needs))]
        seen.add(start)
        while todo:
            soname, rest = todo[-1]
            need = next((one for one in rest if one not in seen), None)
            if need is None:
                yield table[soname]
                todo.pop()
            else:
                seen.add(need)
                todo.append((need, iter(table[need].needs)))


def library_files(distributions: Iterable[Carried], target: Target, site_packages: str) -> LibraryFiles | None:
    """What a view of these distributions gets; None where there are no libraries for others and nothing is linked.

    site_packages: from the view's root. Where gpuenv itself is among them, its own `gpuenv.runtime` serves.
    """
    carried = sorted(distributions)
    libraries = libraries_of(carried, target)
    links = development_links(carried, target, site_packages)
    files = {TABLE: __table_text(libraries)} if libraries else {}
    if libraries and all(one.name != "gpuenv" for one in carried):
        files[RUNTIME] = (Path(__file__).parents[1] / "runtime.py").read_text("utf-8")
    return LibraryFiles(files, links) if files or links else None


def __table_text(libraries: Iterable[Library]) -> str:
    """The table as the view's file has it, in the order given."""
    rows = {
        one.soname: {"path": one.path, "package": one.package, "version": one.version, "needs": one.needs}
        for one in libraries
    }
    return json.dumps({"format": _FORMAT, "libraries": rows}, indent=1) + "\n"


def development_links(distributions: Iterable[Carried], target: Target, site_packages: str) -> dict[str, str]:
    """The links for those distributions that are `linked`: place -> what it leads to, both from the view's root.

    site_packages: from there, too. Raises StoreError where two of them have a library or a header of one name.
    """
    carried = sorted(distributions)
    links = _library_links([one for one in carried if one.linked], target, site_packages)
    return dict(sorted({**links, **_header_links(carried, site_packages)}.items()))


def _library_links(linked: Iterable[Carried], target: Target, site_packages: str) -> dict[str, str]:
    links: dict[str, str] = {}
    owners: dict[str, tuple[str, str]] = {}
    for one in linked:
        own = _offered(one, target)
        for soname in sorted(own, key=_by_version):
            place = f"lib/{soname.partition('.so')[0]}.so"
            other, held = owners.get(place, (one.name, ""))
            if other != one.name:
                raise _doubled(place, f"{held} of {other}", f"{soname} of {one.name}", other, one.name)
            owners[place] = one.name, soname
            links[place] = posixpath.normpath(posixpath.join(site_packages, installed_at(own[soname].path)))
    return {place: leads for place, leads in links.items() if place != leads}


def _offered(one: Carried, target: Target) -> dict[str, ObjectFacts]:
    """The libraries of a distribution that others may link with, by soname; plugins have other names."""
    found = offered(one.facts, target) if one.facts is not None else {}
    return {soname: binary for soname, binary in found.items() if _SONAME.fullmatch(soname)}


def _by_version(soname: str) -> tuple[tuple[int, ...], str]:
    """A sort key by which libfoo.so.9 comes before libfoo.so.10."""
    return tuple(int(number) for number in re.findall(r"\d+", soname.partition(".so")[2])), soname


class _Entry(NamedTuple):
    """A header, or a folder of them, in a folder of the view. sha256: of a file, a link's text, None for folders."""

    path: str
    owner: str
    sha256: bytes | None = None


_Folders = Mapping[str, Mapping[str, _Entry]]  # by path in the view: entries by name


def _header_links(carried: Collection[Carried], site_packages: str) -> dict[str, str]:
    """A link for each entry of the include folders; folders that several of them share become real ones of links."""
    folders = _folders(carried, site_packages)
    roots = [path for path in folders if posixpath.basename(path) == _INCLUDE and path != _INCLUDE]
    roots = [path for path in roots if not any(path.startswith(f"{other}/") for other in roots)]
    links: dict[str, str] = {}
    if roots:
        _link_headers(_INCLUDE, [_INCLUDE, *sorted(roots)], folders, links)
    return links


def _folders(carried: Iterable[Carried], site_packages: str) -> _Folders:
    """The folders of those that are linked, and what all have below the view's own include/."""
    found: dict[str, dict[str, _Entry]] = defaultdict(dict)
    for one in carried:
        for directory in one.listing:
            scheme, _, below = directory.path.partition("/")
            if scheme == SITE_PACKAGES and one.linked:
                path = posixpath.join(site_packages, below).rstrip("/")
            elif scheme == _DATA and (one.linked or f"{below}/".startswith(f"{_INCLUDE}/")):
                path = below
            else:
                continue
            files = {file.name: file.sha256 for file in directory.files}
            files |= {link.name: link.target.encode() for link in directory.links}
            for name, sha256 in (dict.fromkeys(directory.directories) | files).items():
                if not name.endswith(_NO_HEADERS):
                    found[path].setdefault(name, _Entry(f"{path}/{name}", one.name, sha256))
    return found


def _link_headers(place: str, holders: Iterable[str], folders: _Folders, links: dict[str, str]) -> None:
    """Links in one folder of the view to the entries of the holders. What is in that folder itself comes first."""
    entries: dict[str, list[_Entry]] = defaultdict(list)
    for holder in holders:
        for name, entry in folders.get(holder, {}).items():
            entries[name].append(entry)
    for name, found in entries.items():
        first, at = found[0], f"{place}/{name}"
        unlike = [entry for entry in found if entry.sha256 != first.sha256]
        if first.sha256 is None and len(found) > 1 and not unlike:
            _link_headers(at, [entry.path for entry in found], folders, links)
        elif first.path != at:
            if unlike:
                raise _doubled(at, first.path, unlike[0].path, first.owner, unlike[0].owner)
            links[at] = first.path


def _doubled(place: str, one: str, other: str, first: str, second: str) -> StoreError:
    return StoreError(
        f"the development link {place} could lead to two files",
        causes=[f"{one}, or {other}"],
        hints=[f"let `development-links` match {first} or {second}, not both"],
    )
