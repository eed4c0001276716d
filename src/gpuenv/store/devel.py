"""AMD's ways to bring links in wheels, which have none: read at ingest, so that nothing unpacks itself later.

`rocm-sdk-devel` has its tree as a tar in the wheel, `_devel.tar.xz`, or lists links in `.devel_links/devel.json`.
Device wheels list in `.devel_links/gfx….json` where their files lie in that tree, too. AMD's own code, `rocm_sdk`,
takes the tree for expanded where the archive is gone, so the archive is no part of the object.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.artifact import Artifact
from gpuenv.archive.names import Refused
from gpuenv.archive.packed import most_unpacked, packing_of, unpacked
from gpuenv.archive.source import FileSource
from gpuenv.archive.tar import Entry, StreamCursor, read_entries
from gpuenv.archive.unpacking import Placed, SymbolicLink, Unpacked, make_folders, write_file
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.errors import ArchiveError
from gpuenv.model.stored import SITE_PACKAGES
from gpuenv.store.tree import DEVEL, TreeLink

__all__ = ["device_links", "expand", "is_devel"]

_ARCHIVE = re.compile(r"[^/]+/_devel\.tar(?:\.(?:xz|gz|zst))?")
_LIST = re.compile(r"(?P<package>rocm_sdk_devel|_rocm_sdk_libraries)(?P<suffix>[^/]*)/\.devel_links/[^/]+\.json")
_MOST_LISTED = 16 << 20


class _Member(NamedTuple):
    """A file of the tar, as an `Archived`."""

    name: str
    size: int
    executable: bool


def is_devel(path: str) -> bool:
    """Is this file of a wheel an archive that stands for the tree that is in it?"""
    return _ARCHIVE.fullmatch(path) is not None


def expand(name: str, root: Path, archive: str, *, mtime: int) -> tuple[list[tuple[Placed, Unpacked]], list[TreeLink]]:
    """Unpack the tar at `archive` below `root` into its site-packages, and remove it; returns files and links.

    name: of the wheel, for errors. Links are returned, not made. Raises ArchiveError where the tar is damaged or tries
    something it must not, OSError where the file system refuses.
    """
    source = FileSource.open(root / archive)
    links: list[TreeLink] = []
    try:
        packing = packing_of(source.read(0, 8))
        pieces = source.stream(0, source.size)
        cursor = StreamCursor(unpacked(packing, pieces, source.size) if packing else pieces)
        files = []
        for entry in read_entries(cursor, most_unpacked(source.size)):
            if entry.path.partition("/")[0].startswith(DEVEL):
                if entry.kind == "link":
                    links.append(TreeLink(f"{SITE_PACKAGES}/{entry.path}", entry.target))
                elif entry.kind == "file":
                    files.append(_write(root, entry, cursor, mtime))
            else:
                raise Refused(f"entry {entry.path!r} is not in {DEVEL}")
    except Refused as refused:
        raise ArchiveError(f"{name} is refused: {archive.removeprefix(f'{SITE_PACKAGES}/')}: {refused}") from None
    finally:
        source.close()
    (root / archive).unlink()
    return files, links


def _write(root: Path, entry: Entry, cursor: StreamCursor, mtime: int) -> tuple[Placed, Unpacked]:
    path = f"{SITE_PACKAGES}/{entry.path}"
    place = Placed(_Member(entry.path, entry.size, entry.executable), path, entry.executable)
    try:
        make_folders(root, [place])
        return place, write_file(str(root), place, cursor.content(entry.path, entry.size), mtime)
    except (FileExistsError, NotADirectoryError):
        raise Refused(f"entry {entry.path!r} would overwrite another file") from None


def device_links(archive: Artifact) -> Iterator[SymbolicLink]:
    """The links that `.devel_links/*.json` of AMD's wheels list; raises Refused where a list is malformed."""
    for member in archive.members:
        found = _LIST.fullmatch(member.name)
        if found is None:
            continue
        if member.size > _MOST_LISTED:
            raise Refused(f"entry {member.name!r} is larger than {_MOST_LISTED} bytes")
        folder = DEVEL + found["suffix"]
        try:
            said = json.loads(archive.read(member))
            links = [(str(row["relpath"]), str(row["target"])) for row in said["links"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Refused(f"entry {member.name!r} is no list of links") from None
        if len(links) > MAX_MEMBERS:
            raise Refused(f"entry {member.name!r} lists more than {MAX_MEMBERS} links")
        yield from (SymbolicLink(f"{folder}/{path}", target) for path, target in links)
