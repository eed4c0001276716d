"""A wheel as a bundle of the same installed files, and with the links that ZIP lost, if that is asked for.

Or as a wheel again, with what its publisher adds.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import SymbolicLink
from gpuenv.archive.wheel import Member, WheelArchive, open_wheel
from gpuenv.archive.zipwrite import write_wheel
from gpuenv.bundle.amend import NOTHING, Amendment, amended
from gpuenv.bundle.record import SIGNATURES, record_row, rewritten_record
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.facts import NativeFacts, Symlink, encode_facts
from gpuenv.model.filename import BUNDLE

__all__ = ["Repacked", "bundle_name", "bundled_facts", "repack", "rewheel"]

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
    amendment: Amendment = NOTHING,
    best: bool = False,
    progress: Callable[[int], object] = lambda amount: None,
) -> Repacked:
    """Write the bundle of a wheel, whose digest it keeps as its origin; `links` says there that some were restored,
    `metadata` that something was added.

    facts: what the wheel's binaries say, which the bundle then says too. restore_links: libraries with the same bytes
    in one folder, `libfoo.so`, `libfoo.so.1`, `libfoo.so.1.2`, become one file, the one with the longest name, and
    links to it. amendment: what is added. best: as in `write_bundle`. progress gets the bytes (unpacked) that have
    passed, each once, from several threads. Raises ArchiveError where the wheel is damaged.
    """
    with open_wheel(wheel, links=True) as archive:
        links = tuple(_links(archive)) if restore_links else ()
        linked = {link.path for link in links}
        kept = [member for member in archive.members if member.name not in linked]
        dist_info = _dist_info(archive)
        contents = _contents(archive, kept, amendment, dist_info, progress)
        size = sum(one.size for one in contents)
        origin = {"filename": wheel.name, "sha256": sha256} | ({"links": "restored"} if links else {})
        write_bundle(
            write,
            dist_info,
            contents,
            (*archive.links, *links),
            origin=origin | ({"metadata": "amended"} if amendment != NOTHING else {}),
            native=encode_facts(bundled_facts(facts, links, size)) if facts is not None else None,
            best=best,
        )
        return Repacked(size, links)


def rewheel(
    wheel: Path, file: IO[bytes], amendment: Amendment, progress: Callable[[int], object] = lambda amount: None
) -> Repacked:
    """Write the wheel with what is added to a seekable file; the same files give the same bytes.

    Raises ArchiveError for a damaged wheel, UsageError for one with links, which no ZIP keeps for all installers.
    """
    with open_wheel(wheel, links=True) as archive:
        if archive.links:
            raise UsageError(f"{wheel.name} has symbolic links", hints=["make a bundle of it: without --to wheel"])
        dist_info = _dist_info(archive)
        contents = _contents(archive, archive.members, amendment, dist_info, progress)
        write_wheel(file, dist_info, contents)
        return Repacked(sum(one.size for one in contents), ())


def _contents(
    archive: WheelArchive,
    members: Sequence[Member],
    amendment: Amendment,
    dist_info: str,
    progress: Callable[[int], object],
) -> list[Content]:
    """The files of a wheel with what is added, listed by a RECORD of their own."""
    named = {member.name: member for member in members}
    changes = amended(amendment, dist_info, lambda path: archive.read(named[path]) if path in named else None)
    away = {*changes, *(f"{dist_info}/{name}" for name in SIGNATURES if changes)}
    if changes:
        path = f"{dist_info}/RECORD"
        if path not in named:
            raise ArchiveError(f"{archive.name} has no RECORD")
        rows = [record_row(name, hashlib.sha256(data).digest(), len(data)) for name, data in changes.items()]
        changes[path] = rewritten_record(archive.read(named[path]), path, away, rows)
        away.add(path)
    kept = [one for one in members if one.name not in away]
    contents = [Content(one.name, one.size, one.executable, _Told(archive, one, progress).chunks) for one in kept]
    return contents + [Content.of(name, data) for name, data in changes.items()]


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
