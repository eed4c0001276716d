"""Open a bundle (archive/bundle.py) and unpack it while hashing, frame beside frame.

What a bundle holds stands in its first frame. Nothing else is believed: every frame must hold just those entries, in
that order, of those sizes.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from io import SEEK_END, BufferedReader
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from gpuenv.archive.frames import Frame, read_table
from gpuenv.archive.names import Refused, check_clashes, check_name, check_target
from gpuenv.archive.packed import most_unpacked
from gpuenv.archive.ranges import SparseFile
from gpuenv.archive.source import FileSource, Read, Source
from gpuenv.archive.tar import BLOCK, Entry, StreamCursor, read_entries
from gpuenv.archive.unpacking import (
    Archived,
    Placed,
    SymbolicLink,
    Unpacked,
    ahead,
    make_folders,
    side_by_side,
    write_file,
)
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.archive.zstd import MAGIC, decompress_chunks, has_checksum
from gpuenv.errors import ArchiveError, NoSuchMember

__all__ = ["CONTENTS", "MOST_FACTS", "NATIVE", "Bundle", "Bundled", "SmallFact", "SymbolicLink", "open_bundle"]

CONTENTS, NATIVE = "bundle.json", "native.json"

MOST_FACTS = 64 << 20  # bytes that the first frame may unpack to
_MOST_VALUES = 4 * MAX_MEMBERS  # of its list of contents: in memory one takes twenty times its text
_WORTH_THREADS = 32 << 20  # bytes of a bundle, or of one frame, from which on threads are worth their while


class Bundled(NamedTuple):
    """A file of a bundle. name: its path there. frame: the number of the one that holds it, or its beginning."""

    name: str
    size: int
    executable: bool
    frame: int


class _Run(NamedTuple):
    """Frames that hold whole entries: one, or those that one large file takes. first: the number of the first."""

    first: int
    frames: tuple[Frame, ...]

    @property
    def size(self) -> int:
        """Its bytes, unpacked."""
        return sum(frame.size for frame in self.frames)


class _Contents(NamedTuple):
    """What `bundle.json` says: files by frame, in their order, and links. own: what is not installed."""

    frames: tuple[tuple[Bundled, ...], ...]
    links: tuple[SymbolicLink, ...]
    origin: Mapping[str, str]
    own: tuple[str, ...]


def open_bundle(path: Path, *, case_sensitive: bool = sys.platform == "linux") -> "Bundle":
    """Open and check a bundle; raises ArchiveError where it is damaged or tries something it must not.

    case_sensitive: names that differ only in case are two files; where they are not, such an archive is refused.
    """
    source = FileSource.open(path)
    try:
        return Bundle(path.name, source, case_sensitive=case_sensitive)
    except Refused as refused:
        source.close()
        raise ArchiveError(f"{path.name} is refused: {refused}") from refused
    except BaseException:
        source.close()
        raise


class Bundle:
    """A checked bundle, open for reading. Use it as a context manager. Raises Refused where it cannot be read.

    members: its files. links: its symbolic links, which lead to its own files and folders. origin: `filename` and
    `sha256` of the wheel that it was made of, empty where it was none. native: what it says of its binaries, a JSON
    document that nobody compared with them; None where it says nothing.
    """

    def __init__(self, name: str, source: Source, *, case_sensitive: bool) -> None:
        self.name = name
        self._source = source
        self._table = _table(source.read, source.size)
        self._facts = _first_frame(source.read, self._table)
        contents = _decode(self._facts, len(self._table))
        self._frames = contents.frames
        self._runs = _runs(self._table, contents.frames)
        self.members = tuple(chain.from_iterable(contents.frames))
        self.links = contents.links
        self.origin = contents.origin
        self._own = contents.own
        self.native = self._facts[contents.own[1]] if len(contents.own) > 1 else None
        _check(self.members, self.links, self._table, case_sensitive=case_sensitive)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def read(self, member: Archived) -> bytes:
        """The content of a file of the `.dist-info`."""
        try:
            data = self._facts[member.name]
        except KeyError:
            raise ArchiveError(f"{self.name} is refused: {member.name!r} is not in its first frame") from None
        if len(data) != member.size:
            raise ArchiveError(f"{self.name} is refused: {member.name!r} is longer or shorter than it says")
        return data

    def unpack(self, root: Path, places: Sequence[Placed], *, mtime: int, workers: int | None = None) -> list[Unpacked]:
        """Write files below `root`, an existing directory; return what was written, in the order asked.

        Files get mode 0444 or 0555 and `mtime` (seconds since 1970); missing directories are made, links are not.
        As many frames are unpacked at once as there are workers; each takes a window of zstd, 32 MiB, of `best` bundles
        128, and a few MiB. Raises ArchiveError for bad content, OSError where the file system refuses.
        """
        make_folders(root, places)
        wanted = {place.member.name: place for place in places}
        written: dict[str, Unpacked] = {}

        def work(run: _Run) -> None:
            try:
                written.update(self._unpack_run(run, str(root), wanted, mtime))
            except Refused as refused:
                raise ArchiveError(f"{self.name} is refused: {refused}") from None

        order = sorted(self._runs, key=lambda run: -run.size)
        if sum(frame.size for frame in self._table) < _WORTH_THREADS:
            workers = 1
        side_by_side(work, order, workers)
        return [written[place.member.name] for place in places]

    def _unpack_run(
        self, run: _Run, base: str, wanted: Mapping[str, Placed], mtime: int
    ) -> Iterator[tuple[str, Unpacked]]:
        pieces = self._decoded(run)
        with contextlib.closing(ahead(pieces) if run.size >= _WORTH_THREADS else pieces) as decoded:
            for file, content in self._files(run, decoded):
                if file.name in wanted:
                    try:
                        yield file.name, write_file(base, wanted[file.name], content, mtime)
                    except FileExistsError:
                        reason = "would overwrite another file of the same bundle here"
                        raise Refused(f"entry {file.name!r} {reason}") from None

    def _decoded(self, run: _Run) -> Generator[bytes, None, None]:
        for frame in run.frames:
            yield from _unpacked(self._source.stream(frame.start, frame.start + frame.packed), frame)

    def _files(self, run: _Run, decoded: Iterator[bytes]) -> Iterator[tuple[Bundled, Iterator[bytes]]]:
        """The files of a run with their contents, each while it lasts; raises Refused where they are not as said."""
        last = run.first == len(self._frames)
        expected = iter(() if last else self._frames[run.first])
        links = iter(self.links if last else ())
        own = self._own if run.first == 0 else ()
        cursor = _cursor(decoded, end=last)
        for entry in _entries(cursor, run.size, end=last):
            if entry.path in own:
                continue
            if entry.kind == "link":
                if entry.hard or next(links, None) != (entry.path, entry.target):
                    raise Refused(f"entry {entry.path!r} is not the link that its list of contents says")
            else:
                file = next(expected, None)
                if file is None or entry != ("file", file.name, file.size, "", file.executable, False):
                    raise Refused(f"entry {entry.path!r} is not what its list of contents says")
                yield file, cursor.content(file.name, file.size)
        missing = next(expected, None) or next(links, None)
        if missing is not None:
            raise Refused(f"entry {missing[0]!r} is missing")


class SmallFact:
    """The one file of a bundle's first frame whose name is `wanted`, as `SmallMember` is one of a ZIP."""

    def __init__(self, file: SparseFile | BufferedReader, wanted: Callable[[str], bool]) -> None:
        self._file = file
        self._wanted = wanted

    def read(self) -> bytes:
        """Its bytes.

        Raises MissingRange for a SparseFile that does not hold enough, ArchiveError for a damaged bundle, for no such
        file, and for several.
        """
        try:
            total = self._file.seek(0, SEEK_END)
            facts = _first_frame(self._part, _table(self._part, total))
        except Refused as refused:
            raise ArchiveError(f"the archive cannot be read: {refused}") from None
        found = [data for name, data in facts.items() if self._wanted(name)]
        if len(found) != 1:
            raise NoSuchMember(f"the archive has {len(found) or 'no'} members where exactly one is needed")
        return found[0]

    def _part(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


def _table(read: Read, size: int) -> tuple[Frame, ...]:
    """The frames of a bundle of `size` bytes, as far as they can be believed."""
    table = read_table(read, size)
    total = sum(frame.size for frame in table)
    if total > most_unpacked(size):
        raise Refused(f"it would unpack to {total} bytes from {size}: a decompression bomb")
    if any(not frame.size or frame.packed > frame.size + (frame.size >> 8) + BLOCK for frame in table):
        raise Refused("the table of its frames has one that holds nothing, or next to nothing")
    if table[0].size > MOST_FACTS:
        raise Refused(f"its first frame has {table[0].size} bytes, more than facts may have")
    if len(table) == 1:
        raise Refused("it has one frame, and its facts and the end of its tar have one each")
    return table


def _first_frame(read: Read, table: Sequence[Frame]) -> dict[str, bytes]:
    frame = table[0]
    cursor = _cursor(_unpacked(iter([read(frame.start, frame.packed)]), frame), end=False)
    found = {}
    for entry in _entries(cursor, frame.size, end=False):
        if entry.kind != "file" or entry.path in found:
            raise Refused(f"entry {entry.path!r} does not belong into its first frame")
        found[entry.path] = cursor.take(entry.size)
    return found


def _runs(table: Sequence[Frame], files: Sequence[Sequence[Bundled]]) -> tuple[_Run, ...]:
    """The frames by what they hold: where nothing is listed of one, the file before it goes on."""
    begins = [number for number in range(len(table)) if number in (0, len(files)) or files[number]]
    runs = tuple(_Run(one, tuple(table[one:other])) for one, other in pairwise([*begins, len(table)]))
    for run in runs:
        if len(run.frames) > 1 and (run.first == 0 or len(files[run.first]) != 1):
            raise Refused(f"nothing is listed of frame {run.first + 1}, and no file alone in a frame goes on there")
    return runs


def _cursor(decoded: Iterator[bytes], *, end: bool) -> StreamCursor:
    """The entries of a frame as a tar of their own. end: it has the mark of the end."""
    return StreamCursor(chain(decoded, [] if end else [bytes(2 * BLOCK)]))


def _entries(cursor: StreamCursor, size: int, *, end: bool) -> Iterator[Entry]:
    """The entries of `size` bytes. Only the last frame may hold the mark of the end: other programs stop there."""
    stop = 0
    for entry in read_entries(cursor, size):
        stop = cursor.position + -(-entry.size // BLOCK) * BLOCK
        yield entry
    if not end and stop != size:
        raise Refused("a frame has something else than entries")


def _unpacked(pieces: Iterator[bytes], frame: Frame) -> Generator[bytes, None, None]:
    """The content of a frame; raises Refused where it is not one frame of zstd of just that size, with a checksum."""
    first = next(pieces, b"")
    if first.startswith(MAGIC) and not has_checksum(first):
        raise Refused("a frame has no checksum")
    packed = chain([first], pieces)
    done, ended = 0, 0
    for piece in decompress_chunks(lambda: next(packed, b""), frame.size) if first.startswith(MAGIC) else [None]:
        if piece is None or (piece and ended):
            break
        done += len(piece)
        ended += not piece
        if piece:
            yield piece
    if done != frame.size or ended != 1:
        raise Refused("a frame is damaged, or longer or shorter than its table says")


def _decode(facts: Mapping[str, bytes], frames: int) -> _Contents:
    path = next(iter(facts), "")
    folder, _, name = path.partition("/")
    if name != CONTENTS or not folder.endswith(".dist-info"):
        raise Refused(f"its first entry is not the {CONTENTS} of a .dist-info")
    text = facts[path]
    if sum(text.count(mark) for mark in (b"[", b"{", b",")) > _MOST_VALUES:
        raise Refused(f"its {CONTENTS} says more than entries need")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(f"its {CONTENTS} is no JSON") from None
    if not isinstance(said, dict) or said.get("bundle") != 1:
        raise Refused(f"its {CONTENTS} is of a kind that is not read here")
    try:
        groups = [[_file(row, number) for row in group] for number, group in enumerate(said["frames"])]
        links = tuple(SymbolicLink(*map(_text, row)) for row in said["links"])
        origin = {_text(key): _text(value) for key, value in said.get("origin", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused(f"its {CONTENTS} is malformed") from None
    if len(groups) != frames - 1:
        raise Refused(f"its {CONTENTS} speaks of {len(groups)} frames with files, and it has {frames - 1}")
    own = tuple(facts)[: len(facts) - len(groups[0])]
    if own not in ((path,), (path, f"{folder}/{NATIVE}")):
        raise Refused(f"its {CONTENTS} does not list what its first frame has")
    return _Contents(tuple(map(tuple, groups)), links, origin, own)


def _file(row: list[object], frame: int) -> Bundled:
    name, size, *more = row
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or more not in ([], ["x"]):
        raise ValueError
    return Bundled(_text(name), size, bool(more), frame)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # JSON can say halves of characters
    return value


def _check(
    files: Sequence[Bundled], links: Sequence[SymbolicLink], table: Sequence[Frame], *, case_sensitive: bool
) -> None:
    if len(files) + len(links) > MAX_MEMBERS:
        raise Refused(f"it has more than {MAX_MEMBERS} entries")
    if sum(file.size for file in files) > sum(frame.size for frame in table):
        raise Refused("its files are said to be larger than all of it")
    for file in files:
        check_name(file.name)
        if file.name.endswith("/"):
            raise Refused(f"entry {file.name!r} is a folder")
    for link in links:
        check_name(link.path)
        check_target(link.path, link.target)
    check_clashes([*(file.name for file in files), *(link.path for link in links)], case_sensitive=case_sensitive)
