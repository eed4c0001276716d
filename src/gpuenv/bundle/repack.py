"""A wheel as a bundle of the same installed files, and with the links that ZIP lost, if that is asked for."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import SymbolicLink
from gpuenv.archive.wheel import Member, WheelArchive, open_wheel
from gpuenv.errors import ArchiveError
from gpuenv.model.facts import NativeFacts, Symlink, encode_facts
from gpuenv.model.version import BUNDLE

__all__ = ["Repacked", "bundle_name", "bundled_facts", "repack"]

_LIBRARY = re.compile(r"(.+\.so)((?:\.[0-9A-Za-z_]+)*)")


class Repacked(NamedTuple):
    """What a bundle came to. files: unpacked bytes of all. links: those that stand for files of the wheel now.

    Links that the wheel had itself are not among them.
    """

    files: int
    links: tuple[SymbolicLink, ...]


def bundle_name(filename: str) -> str:
    """The name of the bundle of a wheel: the wheel's, and how it is packed."""
    return f"{filename.removesuffix('.whl')}{BUNDLE}"


def repack(
    wheel: Path,
    write: Callable[[bytes], object],
    *,
    sha256: str,
    facts: NativeFacts | None = None,
    restore_links: bool = False,
    best: bool = False,
    progress: Callable[[int], object] = lambda amount: None,
) -> Repacked:
    """Write the bundle of a wheel, whose digest it keeps as its origin; `links` says there that some were restored.

    facts: what the wheel's binaries say, which the bundle then says too. restore_links: libraries with the same bytes
    in one folder, `libfoo.so`, `libfoo.so.1`, `libfoo.so.1.2`, become one file, the one with the longest name, and
    links to it. best: as in `write_bundle`. progress gets the bytes (unpacked) that have passed, each once, from
    several threads. Raises ArchiveError where the wheel is damaged.
    """
    with open_wheel(wheel, links=True) as archive:
        links = tuple(_links(archive)) if restore_links else ()
        linked = {link.path for link in links}
        kept = [member for member in archive.members if member.name not in linked]
        size = sum(member.size for member in kept)
        origin = {"filename": wheel.name, "sha256": sha256} | ({"links": "restored"} if links else {})
        write_bundle(
            write,
            _dist_info(archive),
            [Content(one.name, one.size, one.executable, _Told(archive, one, progress).chunks) for one in kept],
            (*archive.links, *links),
            origin=origin,
            native=encode_facts(bundled_facts(facts, links, size)) if facts is not None else None,
            best=best,
        )
        return Repacked(size, links)


def bundled_facts(facts: NativeFacts, links: Sequence[SymbolicLink], size: int) -> NativeFacts:
    """The facts of a wheel's bundle, where links stand for some of its files. size: of its files, in bytes.

    No digest is in them, for no file holds its own.
    """
    linked = {link.path for link in links}
    before = (Symlink(one.path, one.target, "LINKS" if one.source == "LINKS" else "tar") for one in facts.symlinks)
    symlinks = (*before, *(Symlink(link.path, link.target, "tar") for link in links))
    return NativeFacts(
        None,
        size,
        objects=tuple(one for one in facts.objects if one.path not in linked),
        symlinks=tuple(sorted(symlinks, key=lambda one: (one.path, one.target))),
        duplicates=tuple(left for group in facts.duplicates if len(left := _left(group, linked)) > 1),
        damaged=tuple(one for one in facts.damaged if one.path not in linked),
    )


def _left(group: Sequence[str], linked: Collection[str]) -> tuple[str, ...]:
    return tuple(path for path in group if path not in linked)


class _Told:
    """A member whose bytes are told when they are read for the first time; equal files are read twice."""

    def __init__(self, archive: WheelArchive, member: Member, progress: Callable[[int], object]) -> None:
        self._archive = archive
        self._member = member
        self._progress = progress
        self._seen = 0

    def chunks(self) -> Iterator[bytes]:
        position = 0
        for piece in self._archive.chunks(self._member):
            position += len(piece)
            if position > self._seen:
                self._progress(position - self._seen)
                self._seen = position
            yield piece


def _dist_info(archive: WheelArchive) -> str:
    found = {member.name.partition("/")[0] for member in archive.members}
    folders = [name for name in found if name.endswith(".dist-info")]
    if len(folders) != 1:
        raise ArchiveError(f"{archive.name} has {len(folders)} .dist-info directories instead of one")
    return folders[0]


def _links(archive: WheelArchive) -> Iterator[SymbolicLink]:
    """The links that a wheel's libraries once were, as far as their names and bytes tell."""
    alike: dict[tuple[str, int, int], list[Member]] = {}
    for member in archive.members:
        if found := _LIBRARY.fullmatch(member.name):
            alike.setdefault((found[1], member.size, member.crc), []).append(member)
    for group in alike.values():
        names = sorted(group, key=lambda member: (len(member.name), member.name))
        digests = {member.name: _digest(archive, member) for member in names} if len(names) > 1 else {}
        for number, member in enumerate(names):
            goes_on = (one for one in names[number + 1 :] if one.name.startswith(f"{member.name}."))
            longer = next((one for one in goes_on if digests[one.name] == digests[member.name]), None)
            if longer is not None:
                yield SymbolicLink(member.name, longer.name.rpartition("/")[2])


def _digest(archive: WheelArchive, member: Member) -> bytes:
    digest = hashlib.sha256()
    for piece in archive.chunks(member):
        digest.update(piece)
    return digest.digest()
