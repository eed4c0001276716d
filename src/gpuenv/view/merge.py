"""Several objects as one tree: which directories are real, which are one link, which files conflict. No I/O of its own.

A directory is one link only if a single object owns it and no ELF file below it looks for libraries, and no link leads,
outside it to a place that the link would move: glibc takes $ORIGIN from the path as opened, and the kernel follows `..`
from where a linked directory really lies. For the same reason no directory with pkg-config files is one link: they
climb to libraries and headers, whichever object has these. An object's own links keep their text, for a view keeps
their distances.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gpuenv.errors import StoreError
from gpuenv.model.stored import SITE_PACKAGES, Directory, StoredFile, StoredLink, StoredObject

__all__ = ["FoldedDirectory", "Listing", "Merged", "Placement", "Source", "merge"]

# gpuenv's own, or absent: without RECORD other installers keep their hands off (PEP 627)
_NOT_LINKED = frozenset({"RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"})
_DATA, _PKG_CONFIG = "data/", "pkgconfig"

_Held = dict[str, tuple["Source", StoredFile | StoredLink]]
Listing = Callable[[StoredObject, str], Directory | None]


class Source(NamedTuple):
    """A directory of an object."""

    stored: StoredObject
    path: str


class Placement(NamedTuple):
    """Files and symbolic links of one object's directory that go to one directory of the view."""

    directory: str
    source: Source
    files: tuple[StoredFile, ...]
    links: tuple[StoredLink, ...] = ()


class FoldedDirectory(NamedTuple):
    """A directory of the view that is one link to an object's directory."""

    path: str
    source: Source


class Merged(NamedTuple):
    """Real directories, parents first; links to directories; files by directory."""

    directories: list[str]
    folded: list[FoldedDirectory]
    placements: list[Placement]


def merge(mounts: Mapping[str, Iterable[Source]], listing: Listing, *, folding: frozenset[str] = frozenset()) -> Merged:
    """Merge object directories mounted at directories of the view ("" is its root); raises StoreError on conflicts.

    folding: names of the distributions whose directories may be one link.
    """
    return _Merge({path: list(sources) for path, sources in mounts.items()}, listing, folding).run()


class _Merge:
    def __init__(self, mounts: Mapping[str, list[Source]], listing: Listing, folding: frozenset[str]) -> None:
        self.mounts = mounts
        self.listing = listing
        self.folding = folding
        self.objects = {source.stored.key: source.stored for sources in mounts.values() for source in sources}
        self.forced: dict[str, set[str]] = {}
        for path in mounts:
            while path:
                parent, _, name = path.rpartition("/")
                self.forced.setdefault(parent, set()).add(name)
                path = parent
        self.merged = Merged([], [], [])

    def run(self) -> Merged:
        self.enter("", [])
        return self.merged

    def enter(self, directory: str, sources: list[Source]) -> None:
        """One real directory of the view and everything below it."""
        sources = sources + self.mounts.get(directory, [])
        below: dict[str, list[Source]] = {name: [] for name in self.forced.get(directory, ())}
        held: _Held = {}
        shared = len(sources) > 1 or directory in self.forced
        if directory:
            self.merged.directories.append(directory)
        for source in sources:
            found = self.listing(source.stored, source.path)
            if found is None:
                continue
            for name in found.directories:
                below.setdefault(name, []).append(Source(source.stored, f"{source.path}/{name}"))
            self.take_files(directory, source, found, held if shared else None)
        for name, (source, entry) in held.items():
            if name in below:
                other = below[name][0].stored.name if below[name] else "gpuenv"
                how = "file and directory" if isinstance(entry, StoredFile) else "link and directory"
                raise _conflict(source.stored.name, other, f"{directory}/{name}".lstrip("/"), how)
        forced = self.forced.get(directory, ())
        for name, owners in below.items():
            path = f"{directory}/{name}" if directory else name
            if name not in forced and len(owners) == 1 and self.folds(owners[0]):
                self.merged.folded.append(FoldedDirectory(path, owners[0]))
            else:
                self.enter(path, owners)

    def take_files(self, directory: str, source: Source, found: Directory, held: _Held | None) -> None:
        files: Iterable[StoredFile] = found.files
        links: Iterable[StoredLink] = found.links
        if source.path == f"{SITE_PACKAGES}/{source.stored.dist_info}":
            files = [file for file in files if file.name not in _NOT_LINKED]
        if held is not None:
            files = [file for file in files if not self.is_held(directory, source, file, held)]
            links = [link for link in links if not self.is_held(directory, source, link, held)]
        if files or links:
            self.merged.placements.append(Placement(directory, source, tuple(files), tuple(links)))

    def is_held(self, directory: str, source: Source, entry: StoredFile | StoredLink, held: _Held) -> bool:
        other, present = held.setdefault(entry.name, (source, entry))
        if present is entry:
            return False
        if _content(present) != _content(entry):
            path = f"{directory}/{entry.name}".lstrip("/")
            raise _conflict(other.stored.name, source.stored.name, path, _differing(present, entry))
        return True

    def folds(self, source: Source) -> bool:
        """May this directory of one object be one link?"""
        stored, path = source
        if stored.name not in self.folding or path == f"{SITE_PACKAGES}/{stored.dist_info}":
            return False
        here = self.listing(stored, path) if path.startswith(_DATA) else None
        if here is not None and (path.endswith(f"/{_PKG_CONFIG}") or _PKG_CONFIG in here.directories):
            return False
        for reach in stored.reaches:
            leaves = _within(reach.directory, path) and not _within(reach.wanted, path)
            if leaves and (not reach.inside or self.shared(stored, reach.wanted)):
                return False
        return True

    def shared(self, stored: StoredObject, path: str) -> bool:
        """Does another object put something into the same directory?"""
        parts = path.split("/")
        for other in self.objects.values():
            if other is stored:
                continue
            here: Directory | None = self.listing(other, parts[0])
            for depth, part in enumerate(parts[1:], start=2):
                if here is None or part not in here.directories:
                    break
                here = self.listing(other, "/".join(parts[:depth]))
            else:
                if here is not None:
                    return True
        return False


def _content(entry: StoredFile | StoredLink) -> bytes | str:
    return entry.sha256 if isinstance(entry, StoredFile) else entry.target


def _differing(one: StoredFile | StoredLink, other: StoredFile | StoredLink) -> str:
    if type(one) is not type(other):
        return "file and link"
    return "different content" if isinstance(one, StoredFile) else "links to different places"


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _conflict(one: str, other: str, path: str, how: str) -> StoreError:
    one, other = sorted((one, other))
    return StoreError(
        f"{one} and {other} both install {path}",
        causes=(f"they bring {how} for it",),
        hints=(f"only one of {one} and {other} can be in an environment; exclude one of them",),
    )
