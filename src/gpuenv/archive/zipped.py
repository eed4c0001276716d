"""The files of a ZIP archive, each read by itself: what a wheel on this machine or far away looks like inside."""

import re
from collections.abc import Iterable, Iterator
from threading import Lock

from gpuenv.archive.inflate import crc32, inflate_chunks
from gpuenv.archive.links import LINKS_LIMIT, check_listed, is_links, links_of, parse_links
from gpuenv.archive.names import TARGET_LIMIT, Refused, check_target
from gpuenv.archive.parts import File, Link, Tree
from gpuenv.archive.source import Source, window
from gpuenv.archive.tarred import nested_tar
from gpuenv.archive.zipcheck import Listed, Member, list_members, place, read_members
from gpuenv.errors import ArchiveError

__all__ = ["is_zip", "read_zip"]

_AT_ONCE = 1 << 20  # of a distant archive, files up to this size come together with their header
# AMD's development files: a tar, for installers honour no links of a ZIP
_NESTED = re.compile(r"(?:.*/)?_devel\.tar(?:\.(?:xz|gz|zst))?", re.DOTALL)
_NESTED_MOST = 8  # there is one in a wheel, and each may hold a GiB in a few kB


def is_zip(source: Source) -> bool:
    """Does a directory at the source's end list the members of a ZIP archive that begins with its first byte?"""
    try:
        list_members(source.read, source.size, case_sensitive=True, links=True)
    except Refused:
        return False
    return True


def read_zip(name: str, source: Source) -> Tree:
    """The tree of a ZIP archive; raises ArchiveError where it is damaged or tries something it must not.

    Local headers are compared with the directory now, or of a distant archive when a file is read.
    """
    try:
        entries = _entries(name, source)
        links = [entry.link() for entry in entries if entry.member.link]
        files = [entry.file() for entry in entries if not entry.member.link]
        lists = [file for file in files if is_links(file.path)]
        check_listed(sum(file.size for file in lists))
        pairs = [pair for file in lists for pair in parse_links(_small(file, LINKS_LIMIT), file.path)]
        nested = [file for file in files if _NESTED.fullmatch(file.path)]
        if len(nested) > _NESTED_MOST:
            raise Refused(f"it holds more than {_NESTED_MOST} archives that are to be looked into")
    except Refused as refused:
        raise ArchiveError(f"{name} is refused: {refused}") from None
    links += links_of(pairs, [entry.member.name for entry in entries])
    return Tree(
        name,
        "zip",
        source.size,
        tuple(file for file in files if not _NESTED.fullmatch(file.path)),
        links,
        nested=[nested_tar(name, file) for file in nested],
        close=source.close,
    )


def _entries(name: str, source: Source) -> "list[_Entry]":
    if source.distant:
        listed = list_members(source.read, source.size, case_sensitive=True, links=True)
        return [_Entry(name, source, one.member, one) for one in listed]
    members = read_members(source.read, source.size, case_sensitive=True, links=True)
    return [_Entry(name, source, member, None) for member in members]


def _small(file: File, limit: int) -> bytes:
    if file.size > limit:
        raise Refused(f"entry {file.path!r} is larger than {limit} bytes")
    return b"".join(file.chunks())


class _Entry:
    """One member and how its bytes are got at. listed: its local header is still to be compared."""

    def __init__(self, archive: str, source: Source, member: Member, listed: Listed | None) -> None:
        self.member = member
        self._archive = archive
        self._source = source
        self._listed = listed
        self._lock = Lock()

    def file(self) -> File:
        """The member as a file."""
        member = self.member
        return File(member.name, member.size, member.crc, None if member.method else self._read, self._chunks)

    def link(self) -> Link:
        """The symbolic link that the member is."""
        name = self.member.name
        try:
            target = _small(self.file(), TARGET_LIMIT).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"entry {name!r} is a symbolic link to a path that is no text") from None
        check_target(name, target)
        return Link(name, target, "zip")

    def _read(self, offset: int, size: int) -> bytes:
        member = self._placed()
        return window(self._source.read, member.offset, member.size)(offset, size)

    def _placed(self) -> Member:
        with self._lock:
            if self._listed is not None:
                try:
                    self.member = place(self._source.read, self._listed)
                except Refused as refused:
                    raise ArchiveError(f"{self._archive} is refused: {refused}") from None
                self._listed = None
            return self.member

    def _packed(self) -> tuple[Member, Iterable[bytes]]:
        listed, source = self._listed, self._source
        if listed is None or listed.stop - listed.member.offset > _AT_ONCE:
            member = self._placed()
            return member, source.stream(member.offset, member.offset + member.packed)
        start = listed.member.offset
        data = source.read(start, listed.stop - start)
        try:
            member = place(lambda offset, size: data[offset - start : offset - start + size], listed)
        except Refused as refused:
            raise ArchiveError(f"{self._archive} is refused: {refused}") from None
        return member, [data[member.offset - start :][: member.packed]]

    def _chunks(self) -> Iterator[bytes]:
        member, pieces = self._packed()
        packed = iter(pieces)
        checksum, done = 0, 0
        for piece in inflate_chunks(lambda: next(packed, b""), member.size) if member.method else packed:
            if piece is None:
                raise self._refused("is damaged, or longer or shorter than it says")
            checksum = crc32(piece, checksum)
            done += len(piece)
            yield piece
        if checksum != member.crc or done != member.size:
            raise self._refused("does not match its checksum")

    def _refused(self, reason: str) -> ArchiveError:
        return ArchiveError(f"{self._archive} is refused: entry {self.member.name!r} {reason}")
