"""Open a wheel (a ZIP file, PEP 427) and unpack it while hashing, each byte once."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from gpuenv.archive.inflate import CHUNK, crc32, inflate, inflate_chunks
from gpuenv.archive.names import TARGET_LIMIT, check_target
from gpuenv.archive.source import reader
from gpuenv.archive.unpacking import Archived, Placed, SymbolicLink, Unpacked, make_folders, side_by_side, write_file
from gpuenv.archive.zipcheck import Member, Refused, read_members
from gpuenv.errors import ArchiveError

__all__ = ["Member", "WheelArchive", "open_wheel"]

MAX_READ = 64 << 20
_BATCH = 64
_WORTH_THREADS = 32 << 20  # bytes


def open_wheel(path: Path, *, case_sensitive: bool = sys.platform == "linux", links: bool = False) -> "WheelArchive":
    """Open and check a wheel; raises ArchiveError where it is damaged or tries something it must not.

    case_sensitive: names that differ only in case are two files; where they are not, such an archive is refused.
    links: entries may be symbolic links, which other installers write as files with their text.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveError(f"{path.name} cannot be opened: {error.strerror}") from error
    try:
        size = os.fstat(fd).st_size
        return WheelArchive(path.name, fd, read_members(reader(fd), size, case_sensitive=case_sensitive, links=links))
    except Refused as refused:
        os.close(fd)
        raise ArchiveError(f"{path.name} is refused: {refused}") from refused
    except BaseException:
        os.close(fd)
        raise


class WheelArchive:
    """A checked wheel, open for reading. Use it as a context manager.

    members: its files. links: its entries that are symbolic links, wherever they lead.
    """

    def __init__(self, name: str, fd: int, entries: tuple[Member, ...]) -> None:
        self.name = name
        self.members = tuple(entry for entry in entries if not entry.link)
        self._named = {entry.name: entry for entry in entries}
        self._fd = fd
        self.links = tuple(self._link(entry) for entry in entries if entry.link)

    def __enter__(self) -> "WheelArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def _link(self, entry: Member) -> SymbolicLink:
        if entry.size > TARGET_LIMIT:
            raise Refused(f"entry {entry.name!r} is a link to a path that is too long")
        try:
            target = self.read(entry).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"entry {entry.name!r} is a link to a path that is no text") from None
        check_target(entry.name, target)
        return SymbolicLink(entry.name, target)

    def read(self, member: Archived) -> bytes:
        """The content of one member, for metadata files: at most 64 MiB."""
        member = self._named[member.name]
        if member.size > MAX_READ:
            raise self._refused(member, f"has {member.size} bytes, more than such a file may have")
        data = self._whole(member)
        if crc32(data) != member.crc:
            raise self._refused(member, "does not match its checksum")
        return data

    def unpack(self, root: Path, places: Sequence[Placed], *, mtime: int, workers: int | None = None) -> list[Unpacked]:
        """Write the members below `root`, an existing directory; return what was written, in the order asked.

        Files get mode 0444 or 0555 and `mtime` (seconds since 1970); missing directories are made. Memory is bounded
        by a few MiB a worker. Raises ArchiveError for bad content, OSError where the file system refuses.
        """
        base = str(root)
        make_folders(root, places)
        order = sorted(range(len(places)), key=lambda number: -places[number].member.size)
        large = [number for number in order if places[number].member.size > CHUNK]
        small = order[len(large) :]
        jobs = [[number] for number in large] + [small[n : n + _BATCH] for n in range(0, len(small), _BATCH)]
        results: list[Unpacked | None] = [None] * len(places)

        def work(numbers: list[int]) -> None:
            for number in numbers:
                results[number] = self._write(base, places[number], mtime)

        # many small files keep the interpreter busy, not the disk: threads would only wait for each other
        if not large or sum(place.member.size for place in places) < _WORTH_THREADS:
            work([number for job in jobs for number in job])
            return [result for result in results if result is not None]
        side_by_side(work, jobs, workers)
        return [result for result in results if result is not None]

    def _write(self, base: str, place: Placed, mtime: int) -> Unpacked:
        member = self._named[place.member.name]
        small = member.size <= CHUNK and member.packed <= CHUNK
        try:
            return write_file(base, place, [self.read(member)] if small else self.chunks(member), mtime)
        except FileExistsError as error:
            raise self._refused(member, "would overwrite another file of the same wheel here") from error

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB; what is wrong with it comes up at its end, as ArchiveError."""
        position, end = member.offset, member.offset + member.packed

        def read() -> bytes:
            nonlocal position
            data = os.pread(self._fd, min(CHUNK // 4, end - position), position)
            position += len(data)
            return data

        stored = iter(read, b"")
        checksum, done = 0, 0
        for piece in inflate_chunks(read, member.size) if member.method else stored:
            if piece is None:
                raise self._refused(member, "is damaged, or longer or shorter than it says")
            done += len(piece)
            checksum = crc32(piece, checksum)
            yield piece
        if checksum != member.crc or done != member.size:
            raise self._refused(member, "does not match its checksum")

    def _whole(self, member: Member) -> bytes:
        packed = os.pread(self._fd, member.packed, member.offset)
        data = inflate(packed, member.size) if member.method else packed
        if data is None or len(data) != member.size:
            raise self._refused(member, "is damaged, or longer or shorter than it says")
        return data

    def _refused(self, member: Member, reason: str) -> ArchiveError:
        return ArchiveError(f"{self.name} is refused: entry {member.name!r} {reason}")
