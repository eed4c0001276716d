"""What one artifact says: its files read side by side, the small ones first, each byte once."""

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import NamedTuple

from gpuenv.archive.tree import File, Link, Tree
from gpuenv.binaries.object import read_object
from gpuenv.binaries.pieces import Pieces
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Damage, NativeFacts, ObjectFacts, Symlink

__all__ = ["Finding", "bytes_to_read", "may_matter", "read_artifact", "read_objects"]

# text and pictures hold no machine code; over a network a look at each would cost a request
_NEVER = frozenset({
    ".c", ".cc", ".cfg", ".cmake", ".cpp", ".csv", ".css", ".cu", ".cuh", ".cxx", ".gif", ".h", ".hh", ".hpp",
    ".html", ".hxx", ".inc", ".inl", ".ini", ".ipynb", ".jpg", ".js", ".json", ".md", ".mo", ".pem", ".png",
    ".po", ".pth", ".pxd", ".py", ".pyc", ".pyi", ".pyx", ".rst", ".svg", ".toml", ".ts", ".ttf", ".typed",
    ".woff", ".woff2", ".xml", ".yaml", ".yml",
})  # fmt: skip
_DIST_INFO = ".dist-info/"


class Finding(NamedTuple):
    """One file that was read: its facts (or what is wrong with it), and the sha256 of it where a twin may exist."""

    facts: ObjectFacts | Damage
    sha256: bytes | None


class _Stopped(Exception):
    """Nobody waits for this file any more."""


def read_artifact(
    tree: Tree, sha256: str | None, *, workers: int | None = None, progress: Callable[[int], None] = lambda n: None
) -> NativeFacts:
    """All facts of an artifact, sorted by path. sha256: of its bytes, where known.

    workers: files read at once, by default one a processor, at most four; memory is bounded by some 50 MiB each.
    progress gets the bytes (unpacked) that have passed. Raises ArchiveError where the artifact itself is damaged.
    """
    found = list(read_objects(tree, workers=workers, progress=progress))
    objects = sorted((f.facts for f in found if isinstance(f.facts, ObjectFacts)), key=lambda facts: facts.path)
    damaged = sorted((f.facts for f in found if isinstance(f.facts, Damage)), key=lambda damage: damage.path)
    return NativeFacts(
        sha256,
        tree.size,
        objects=tuple(objects),
        symlinks=tuple(_symlinks(link for part in (tree, *tree.nested) for link in part.links)),
        duplicates=_duplicates(found),
        damaged=tuple(damaged),
    )


def bytes_to_read(tree: Tree) -> int | None:
    """How many bytes (unpacked) will pass; None where only the reading tells."""
    return sum(file.size for file in tree.files if may_matter(file)) if tree.parallel else None


def read_objects(
    tree: Tree, *, workers: int | None = None, progress: Callable[[int], None] = lambda n: None
) -> Iterator[Finding]:
    """The binaries of an artifact as they are read, small ones first: whoever stops asking stops the reading."""
    if tree.parallel:
        yield from _side_by_side(tree, workers or min(4, os.cpu_count() or 1), progress)
    for part in (tree, *tree.nested):
        for file in filter(may_matter, () if part.parallel else part.files):
            if (finding := _read(file, True, progress, Event())) is not None:
                yield finding


def _side_by_side(tree: Tree, count: int, progress: Callable[[int], None]) -> Iterator[Finding]:
    files = sorted(filter(may_matter, tree.files), key=lambda file: file.size)
    twins = _twins(files)
    waiting, stop = deque(files), Event()

    def work(take: Callable[[], File]) -> Iterator[Finding]:
        while not stop.is_set():
            try:
                file = take()
            except IndexError:
                return
            if (finding := _read(file, _key(file) in twins, progress, stop)) is not None:
                yield finding

    # half of the workers begin with the largest: the last file of all is then not the one that takes longest
    takes = [waiting.pop if number % 2 else waiting.popleft for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        try:
            yield from _as_they_come(pool, [work(take) for take in takes])
        finally:
            stop.set()


def _as_they_come(pool: ThreadPoolExecutor, streams: Iterable[Iterator[Finding]]) -> Iterator[Finding]:
    """What several iterators yield, each running in one thread of the pool at a time."""
    running: dict[Future[Finding | None], Iterator[Finding]] = {
        pool.submit(next, stream, None): stream for stream in streams
    }
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            stream = running.pop(future)
            finding = future.result()
            if finding is not None:
                running[pool.submit(next, stream, None)] = stream
                yield finding


def _read(file: File, hashed: bool, progress: Callable[[int], None], stop: Event) -> Finding | None:
    watched = _Watched(file, hashed, progress, stop)
    try:
        facts = read_object(watched)
    except BinaryError as error:
        return Finding(Damage(file.path, error.message), None)
    except _Stopped:
        return None
    return Finding(facts, watched.digest()) if facts is not None else None


class _Watched:
    """A file whose bytes are counted, and hashed, in the pass that reads them.

    What comes in Pieces is left so unless it is hashed.
    """

    def __init__(self, file: File, hashed: bool, progress: Callable[[int], None], stop: Event) -> None:
        self.path = file.path
        self.size = file.size
        self.read = file.read
        self._file = file
        self._hash = hashlib.sha256() if hashed else None
        self._hashed = 0
        self._progress = progress
        self._stop = stop

    def chunks(self) -> Iterator[bytes]:
        chunks = self._file.chunks()
        if isinstance(chunks, Pieces) and not self._hash:
            chunks.passed = self._count
            return chunks
        return self._all(chunks)

    def _all(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        position = 0
        for chunk in chunks:
            if position == self._hashed:  # not a second pass
                self._hashed += len(chunk)
                self._count(len(chunk))
                if self._hash:
                    self._hash.update(chunk)
            elif self._stop.is_set():
                raise _Stopped
            position += len(chunk)
            yield chunk

    def _count(self, amount: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._progress(amount)

    def digest(self) -> bytes | None:
        return self._hash.digest() if self._hash and self._hashed == self.size else None


def may_matter(file: File) -> bool:
    """Is a file worth a look, by its name and size?"""
    name = file.path.rpartition("/")[2]
    return bool(file.size) and _DIST_INFO not in file.path and name[name.rfind(".") :].lower() not in _NEVER


def _key(file: File) -> tuple[int, int | None]:
    return (file.size, file.crc)


def _twins(files: Iterable[File]) -> set[tuple[int, int | None]]:
    """Sizes and checksums that several files have."""
    seen: dict[tuple[int, int | None], int] = defaultdict(int)
    for file in files:
        seen[_key(file)] += 1
    return {key for key, count in seen.items() if count > 1}


def _duplicates(found: Iterable[Finding]) -> tuple[tuple[str, ...], ...]:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for finding in found:
        if finding.sha256 is not None:
            groups[finding.sha256].append(finding.facts.path)
    return tuple(sorted(tuple(sorted(paths)) for paths in groups.values() if len(paths) > 1))


def _symlinks(links: Iterable[Link]) -> Iterator[Symlink]:
    return (Symlink(link.path, link.target, link.source) for link in sorted(links))
