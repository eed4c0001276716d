"""Files of an archive on the disk: made new, written once while they are hashed, closed to writing."""

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["Archived", "Placed", "SymbolicLink", "Unpacked", "ahead", "make_folders", "side_by_side", "write_file"]

Job = TypeVar("Job")


class Archived(Protocol):
    """A file of an archive."""

    @property
    def name(self) -> str:
        """Its path in the archive."""

    @property
    def size(self) -> int:
        """Its bytes, unpacked."""

    @property
    def executable(self) -> bool:
        """May it be run?"""


class SymbolicLink(NamedTuple):
    """A link of an archive. target: relative to the folder of `path`."""

    path: str
    target: str


class Placed(NamedTuple):
    """Where one member goes: a path relative to the destination, and whether it may be run."""

    member: Archived
    path: str
    executable: bool


class Unpacked(NamedTuple):
    """What was written: the digest of the content, and its first four bytes (a file's magic number)."""

    sha256: bytes
    head: bytes


def make_folders(root: Path, places: Sequence[Placed]) -> None:
    """Make the directories below `root`, which is there, that the places ask for."""
    base = str(root)
    for directory in sorted({place.path.rpartition("/")[0] for place in places}):
        os.makedirs(f"{base}/{directory}", exist_ok=True)  # noqa: PTH103 - plain strings, thousands of them


def ahead(pieces: Iterator[bytes], depth: int = 4) -> Generator[bytes, None, None]:
    """The same pieces, of which none is empty, each made while those before it are used: in a thread of its own.

    depth: how many may wait. Who stops early closes this, and waits for the one that is being made.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, pieces, b"") for _ in range(depth))
        try:
            while piece := waiting.popleft().result():
                waiting.append(pool.submit(next, pieces, b""))
                yield piece
        finally:
            pool.shutdown(cancel_futures=True)


def side_by_side(work: Callable[[Job], object], jobs: Iterable[Job], workers: int | None) -> None:
    """Do each job, begun in their order, as many at once as there are workers; None: one a core, 8 at most.

    Raises the failure of the first job that fails, in their order, once those under way have ended; none begins then.
    """
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def write_file(base: str, place: Placed, pieces: Iterable[bytes], mtime: int) -> Unpacked:
    """Write a file below the directory `base` with mode 0444 or 0555 and `mtime` (seconds since 1970).

    Raises FileExistsError where there is one, what `pieces` raises, and OSError where the file system refuses.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{base}/{place.path}", flags, 0o600)
    try:
        digest, head = hashlib.sha256(), b""
        for piece in pieces:
            head = head if len(head) == 4 else (head + piece[:4])[:4]
            digest.update(piece)
            _write_all(fd, piece)
        os.fchmod(fd, 0o555 if place.executable else 0o444)
        os.utime(fd, (mtime, mtime))
    finally:
        os.close(fd)
    return Unpacked(digest.digest(), head)


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        more = os.write(fd, data[written:])
        if not more:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more
