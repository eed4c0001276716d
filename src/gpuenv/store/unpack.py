"""From a wheel or bundle to an object's tree: unpack, check against RECORD, look into binaries, write the facts."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gpuenv.archive.artifact import Artifact
from gpuenv.archive.unpacking import Placed, Unpacked
from gpuenv.errors import ArchiveError
from gpuenv.model.stored import FORMAT, FORMAT_WITH_LINKS, Directory, EntryPoint, StoredObject, encode
from gpuenv.model.version import InvalidVersion, normal_name, parse_version
from gpuenv.store.devel import expand
from gpuenv.store.entrypoints import BadName
from gpuenv.store.layout import Recorded, WheelLayout, read_layout
from gpuenv.store.linked import leads_of
from gpuenv.store.tree import TreeFile, TreeLink, directories_of, reaches_of, shallow_part, tree_hash

__all__ = ["MTIME", "close_directories", "make_links", "state", "unpack_object", "write_facts"]

MTIME = 315619200  # 1980-01-02, UTC: ZIP files cannot say anything before 1980-01-01 in any time zone
_ELF = b"\x7fELF"


def unpack_object(
    archive: Artifact,
    root: Path,
    *,
    name: str,
    version: str,
    origin_paths: Callable[[Path], Sequence[str]],
) -> StoredObject:
    """Fill the empty directory `root` with the wheel's files and links by scheme, and its facts; return the facts."""
    layout = read_layout(archive, name=name, version=version)
    unpacked = archive.unpack(root, layout.places, mtime=MTIME)
    unlike = _unlike_record(root, layout, unpacked)
    written = [(place, one) for place, one in zip(layout.places, unpacked, strict=True) if place not in layout.expanded]
    links = list(layout.links)
    for place in layout.expanded:
        more, linked = expand(archive.name, root, place.path, mtime=MTIME)
        written += more
        links += linked
    try:
        leads_of((place.path for place, _ in written), links)
    except BadName as error:
        raise ArchiveError(f"{archive.name} is refused: {error}") from error
    files = tuple(
        TreeFile(
            place.path,
            place.member.size,
            one.sha256,
            place.executable,
            tuple(origin_paths(root / place.path)) if one.head == _ELF else (),
        )
        for place, one in written
    )
    make_links(root, links)
    stored, directories = state(
        files,
        links,
        name=normal_name(name),
        version=_canonical(version),
        dist_info=layout.dist_info,
        purelib=layout.purelib,
        tags=layout.tags,
        console=layout.console,
        gui=layout.gui,
        unlike=unlike,
    )
    write_facts(root, stored, directories)
    close_directories(str(root), [directory.path for directory in directories], files)
    return stored


def make_links(root: Path, links: Iterable[TreeLink]) -> None:
    """Make symbolic links, after all files: nothing is ever written through one. Their directories are made, too."""
    for link in links:
        path = root / link.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(link.target)
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)


def state(
    files: Sequence[TreeFile],
    links: Sequence[TreeLink],
    *,
    name: str,
    version: str,
    dist_info: str,
    purelib: bool,
    tags: tuple[str, ...],
    console: tuple[EntryPoint, ...],
    gui: tuple[EntryPoint, ...],
    unlike: tuple[str, ...],
) -> tuple[StoredObject, tuple[Directory, ...]]:
    """The facts and the listing of a tree; name normalised, version canonical. Raises BadName for a bad link."""
    leads = leads_of((file.path for file in files), links)
    directories, reaches = directories_of(files, links), reaches_of(files, leads)
    stored = StoredObject(
        format=FORMAT_WITH_LINKS if links else FORMAT,
        key=f"{tree_hash(files, links)}-{name}-{version}",
        name=name,
        version=version,
        dist_info=dist_info,
        purelib=purelib,
        tags=tags,
        console=console,
        gui=gui,
        size=sum(file.size for file in files),
        count=len(files),
        directories=shallow_part(directories, reaches, dist_info),
        reaches=reaches,
        unlike=unlike,
    )
    return stored, directories


def write_facts(root: Path, stored: StoredObject, directories: tuple[Directory, ...]) -> None:
    """Write the two files that an object has besides its wheel's, in one step each."""
    _write(root / "facts.msgpack", encode(stored))
    _write(root / "listing.msgpack", encode(directories))


def _canonical(version: str) -> str:
    try:
        return str(parse_version(version))
    except InvalidVersion as error:
        raise ArchiveError(f"{version!r} is no version") from error


def _unlike_record(root: Path, layout: WheelLayout, unpacked: Sequence[Unpacked]) -> tuple[str, ...]:
    """The files whose bytes are not those that RECORD has the hash of.

    The lock's digest of the whole wheel has vouched for them; so this is a slip of whoever built it (gmsh 4.15), which
    other installers let pass.
    """
    found = []
    for place, written in zip(layout.places, unpacked, strict=True):
        said = layout.recorded.get(place.path) if place not in layout.expanded else None
        if said is not None and said.digest != _digest(root, place, said, written):
            found.append(place.member.name)
    return tuple(sorted(found))


def _digest(root: Path, place: Placed, said: Recorded, written: Unpacked) -> bytes:
    if said.algorithm == "sha256":
        return written.sha256
    with (root / place.path).open("rb") as file:
        return hashlib.file_digest(file, said.algorithm).digest()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o444)
    os.utime(temporary, (MTIME, MTIME))
    temporary.replace(path)


def close_directories(root: str, directories: Sequence[str], files: Sequence[TreeFile]) -> None:
    """Make directories read-only, but give those with modules a `__pycache__` that the store's owner may fill.

    Bytecode is derived and outside the hash; with read-only directories alone every start would compile anew.
    """
    python = {file.path.rpartition("/")[0] for file in files if file.path.endswith(".py")}
    for directory in sorted(directories, reverse=True):
        path = f"{root}/{directory}" if directory else root
        if directory in python:
            os.mkdir(f"{path}/__pycache__", 0o755)  # noqa: PTH102 - thousands of them
        if directory:
            os.utime(path, (MTIME, MTIME))
            os.chmod(path, 0o555)  # noqa: PTH101, S103 - everybody may read
