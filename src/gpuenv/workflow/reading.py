"""The native facts of artifacts that were unpacked: what an archive lists is read where its files lie by now."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gpuenv.archive.bundled import Bundle, Bundled, open_bundle
from gpuenv.archive.links import is_links, links_of, parse_links
from gpuenv.archive.names import Refused
from gpuenv.archive.parts import File, Link, Tree
from gpuenv.archive.tree import open_tree, open_tree_from
from gpuenv.binaries.artifact import may_matter, read_artifact
from gpuenv.binaries.unpacked import CheckedWheel, Unpacked
from gpuenv.errors import ArchiveError
from gpuenv.model.facts import NativeFacts, Symlink, moved
from gpuenv.model.filename import BUNDLE
from gpuenv.model.lock import LockedArtifact

__all__ = ["read_packed", "read_stored"]

_STEM = 2  # parts of a wheel's name before its tags
_SITE = "site-packages/"
_WORKERS = 1  # nothing is inflated: two would take turns, and a tenth longer


def read_packed(artifact: LockedArtifact, file: Path, unpacked: Path) -> NativeFacts:
    """The facts of a wheel or bundle. unpacked: where its files lie, as in an object of the store."""
    if artifact.filename.endswith(BUNDLE):
        return _read_bundle(artifact, file, unpacked)
    with open_tree_from(file.name, CheckedWheel.open(file)) as tree, Unpacked(unpacked) as folder:
        if tree.parallel:
            tree.files = tuple(folder.file(one, _in_object(one.path)) for one in tree.files if may_matter(one))
        return read_artifact(tree, artifact.sha256, workers=_WORKERS)


def _read_bundle(artifact: LockedArtifact, file: Path, unpacked: Path) -> NativeFacts:
    with open_bundle(file) as bundle, Unpacked(unpacked) as folder:
        packed = filter(may_matter, map(partial(_packed, bundle), bundle.members))
        files = tuple(folder.file(one, _in_object(one.path)) for one in packed)
        if all(one.read is not None for one in files):
            tree = Tree(bundle.name, "tar", artifact.size, files, tuple(_links(bundle)))
            return read_artifact(tree, artifact.sha256, workers=_WORKERS)
    # what is not installed, such as bytecode by its name, is read all the same
    with open_tree(file) as stream:
        return read_artifact(stream, artifact.sha256, workers=_WORKERS)


def _packed(bundle: Bundle, member: Bundled) -> File:
    """A file of a bundle as long as nobody says where it was unpacked."""

    def content() -> Iterator[bytes]:
        raise ArchiveError(f"{bundle.name}: {member.name} was not unpacked")

    return File(member.name, member.size, None, None, content)


def _links(bundle: Bundle) -> list[Link]:
    """Its links, and those of a list that it has (PEP 778)."""
    links = [Link(*link, "tar") for link in bundle.links]
    try:
        pairs = [p for one in bundle.members if is_links(one.name) for p in parse_links(bundle.read(one), one.name)]
    except Refused as refused:
        raise ArchiveError(f"{bundle.name} is refused: {refused}") from None
    return [*links, *links_of(pairs, [*(one.name for one in bundle.members), *(link.path for link in links)])]


def read_stored(artifact: LockedArtifact, stored: Path) -> NativeFacts:
    """The facts of an artifact whose object lies at `stored`: paths as in the artifact, as far as the object tells."""
    with open_tree(stored) as tree, Unpacked(stored) as folder:
        tree.files = tuple(folder.file(file, file.path) for file in tree.files)
        found = read_artifact(tree, artifact.sha256, workers=_WORKERS)
    data = "-".join(artifact.filename.split("-")[:_STEM]) + ".data/"
    objects = sorted((moved(one, _in_wheel(one.path, data)) for one in found.objects), key=lambda one: one.path)
    links = {(_in_wheel(link.path, data), link.target) for link in found.symlinks}
    symlinks = tuple(Symlink(path, target, "folder") for path, target in sorted(links))
    return NativeFacts(artifact.sha256, artifact.size, objects=tuple(objects), symlinks=symlinks)


def _in_object(path: str) -> str:
    """Where the store has a file of a wheel, below the object."""
    top, _, rest = path.partition("/")
    if not top.endswith(".data"):
        return _SITE + path
    scheme, _, below = rest.partition("/")
    return _SITE + below if scheme in ("purelib", "platlib") else rest


def _in_wheel(path: str, data: str) -> str:
    """A path of a stored object as its wheel has it."""
    return path.removeprefix(_SITE) if path.startswith(_SITE) else data + path
