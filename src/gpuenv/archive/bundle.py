"""Bundles: a wheel's tree, with symbolic links, as one reproducible tar (pax) in frames of zstd, `.whl.tar.zst`.

The first frame holds the `.dist-info` alone, its first file `bundle.json`: what each frame holds, and then, where they
are known, `native.json`: what the binaries say. So a range of bytes tells all that a lock asks. The last frame holds
the links and the end of the tar. A frame begins and ends between entries; a file too large for one has several. Any
`tar --zstd -x` unpacks the whole.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import NamedTuple

from gpuenv.archive.bundled import CONTENTS, MOST_FACTS, NATIVE, SymbolicLink
from gpuenv.archive.frames import MOST_IN_FRAME, Frame, write_frames
from gpuenv.archive.packed import most_unpacked
from gpuenv.archive.zipcheck import MAX_TOTAL
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.archive.zstd import NEAR
from gpuenv.errors import ArchiveError

__all__ = ["Content", "write_bundle"]

_VERSION = 1
_MTIME = 315619200  # 1980-01-02, UTC
# Bytes of files in a frame. Fast: several frames for each core. Best: alike files are rather together than unpacked
# side by side; a window of zstd looks back on half of it.
_GROUP, _GROUP_BEST = 64 << 20, 256 << 20
_MOST = MOST_IN_FRAME
_BESIDE = 5 << 10  # bytes that an entry takes at most besides its content, and what fills its last block
_TWIN = 64 << 10  # bytes of a file from which on others of the same size are compared with it


class Content(NamedTuple):
    """A file that goes into a bundle. path: as in a wheel. chunks: its bytes, `size` of them; may be called again."""

    path: str
    size: int
    executable: bool
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, path: str, data: bytes) -> "Content":
        """A file with these bytes, which nobody executes."""
        return cls(path, len(data), False, lambda: iter([data]))


def write_bundle(
    write: Callable[[bytes], object],
    dist_info: str,
    files: Iterable[Content],
    links: Iterable[SymbolicLink] = (),
    *,
    origin: Mapping[str, str] | None = None,
    native: bytes | None = None,
    best: bool = False,
    workers: int | None = None,
) -> tuple[Frame, ...]:
    """Write a bundle. dist_info: the name of its folder. origin: `filename` and `sha256` of the wheel that it was.
    native: its native facts, a JSON document (docs/reference/native-facts.md).

    The same files and links, in any order, give the same bytes. best: minutes for a few per cent less. Of files with
    the same bytes all but one cost next to nothing, as far as zstd looks back: if they have less than 127 MiB each.
    Raises ArchiveError for what no reader would accept: too many files or bytes, before anything is written, or so
    many zeros that it would pass for a decompression bomb.
    """
    facts: list[Content] = []
    others: list[Content] = []
    for file in sorted(files):
        (facts if file.path.startswith(f"{dist_info}/") else others).append(file)
    twins = _twins(others)
    groups = [part for one in _groups(others, twins, _GROUP_BEST if best else _GROUP) for part in _fitting(one)]
    ordered = sorted(links)
    about = {
        "bundle": _VERSION,
        **({"origin": dict(origin)} if origin else {}),
        "links": [list(link) for link in ordered],
        "frames": list(chain([[_row(file) for file in facts]], *map(_rows, groups))),
    }
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    about_it = [Content.of(f"{dist_info}/{CONTENTS}", text)]
    if native is not None:
        about_it.append(Content.of(f"{dist_info}/{NATIVE}", native))
    _check_fits([*about_it, *facts], others, ordered)
    frames = [_frame([*about_it, *facts]), *map(_frame, groups), _frame(ordered, end=True)]
    far = {number for number, group in enumerate(groups, 1) if any(file.size > NEAR for file in group if file in twins)}
    workers = workers or min(8, os.cpu_count() or 1)
    made = write_frames(write, frames, most=_MOST, best=best, far=far, workers=workers)
    size, packed = sum(frame.size for frame in made), made[-1].start + made[-1].packed
    if size > most_unpacked(packed):
        raise ArchiveError(f"a bundle of {size} bytes packed to {packed} would be refused as a decompression bomb")
    return made


def _check_fits(facts: Sequence[Content], files: Sequence[Content], links: Sequence[SymbolicLink]) -> None:
    """Raise ArchiveError where a reader would accept no such bundle (docs/reference/bundle-format.md, Limits)."""
    entries = len(facts) + len(files) + len(links)
    size = sum(file.size for file in facts)
    total = size + sum(file.size for file in files)
    for what, found, most in (
        ("entries", entries, MAX_MEMBERS),
        ("bytes of metadata", size + len(facts) * _BESIDE, MOST_FACTS),
        ("bytes of files", total + entries * _BESIDE, MAX_TOTAL),
    ):
        if found > most:
            raise ArchiveError(f"a bundle holds at most {most} {what}, and this one would have {found}")


def _row(file: Content) -> list[str | int]:
    return [file.path, file.size, "x"] if file.executable else [file.path, file.size]


def _groups(files: Sequence[Content], twins: Mapping[Content, Content], most: int) -> Iterator[list[Content]]:
    """Files in frames of `most` bytes: those of one kind and name beside each other, for they are alike.

    A twin comes right behind the file that it repeats, in the same frame whatever its size: there it costs nothing. A
    file that fills a frame by itself has one, and does not come between those before and behind it.
    """
    group: list[Content] = []
    size = 0
    ordered = sorted(files, key=lambda file: (_likeness(twins.get(file, file)), file in twins, file.path))
    for _, family in groupby(ordered, key=lambda file: twins.get(file, file)):
        first, *others = family
        if first.size > most:
            yield [first, *others]
            continue
        if size + first.size > most:
            yield group
            group, size = [], 0
        group += [first, *others]
        size += first.size
    if group:
        yield group


def _fitting(group: Sequence[Content]) -> Iterator[list[Content]]:
    """The same files in groups that fit into a frame; a file that is too large for one is alone."""
    held: list[Content] = []
    length = 0
    for file in group:
        most = file.size + _BESIDE
        if held and length + most > _MOST:
            yield held
            held, length = [], 0
        held.append(file)
        length += most
    yield held


def _rows(group: Sequence[Content]) -> Iterator[list[list[str | int]]]:
    """What is listed of a group, and nothing for each further frame that a large file goes on in."""
    yield [_row(file) for file in group]
    if len(group) == 1:
        length = len(_header(group[0])) + -(-group[0].size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        yield from repeat([], (length - 1) // _MOST)


def _twins(files: Iterable[Content]) -> dict[Content, Content]:
    """The files that repeat another, and which."""
    sizes: dict[int, list[Content]] = {}
    for file in files:
        if file.size >= _TWIN:
            sizes.setdefault(file.size, []).append(file)
    found: dict[Content, Content] = {}
    for group in sizes.values():
        first: dict[bytes, Content] = {}
        for file in sorted(group, key=_likeness) if len(group) > 1 else ():
            digest = hashlib.sha256()
            for piece in file.chunks():
                digest.update(piece)
            if (other := first.setdefault(digest.digest(), file)) is not file:
                found[file] = other
    return found


def _likeness(file: Content) -> tuple[str, str, str]:
    folder, _, name = file.path.rpartition("/")
    kind = "so" if ".so." in name else name.rpartition(".")[2]
    return kind, name, folder


def _frame(entries: Sequence[Content | SymbolicLink], *, end: bool = False) -> Callable[[], Iterator[bytes]]:
    def content() -> Iterator[bytes]:
        for entry in entries:
            yield _header(entry)
            if isinstance(entry, Content):
                done = 0
                for piece in entry.chunks():
                    done += len(piece)
                    yield piece
                if done != entry.size:
                    raise ValueError(f"{entry.path} has {done} bytes instead of {entry.size}")
                yield bytes(-done % tarfile.BLOCKSIZE)
        if end:
            yield bytes(2 * tarfile.BLOCKSIZE)

    return content


def _header(entry: Content | SymbolicLink) -> bytes:
    info = tarfile.TarInfo(entry.path)
    info.mtime = _MTIME
    if isinstance(entry, Content):
        info.size, info.mode = entry.size, 0o755 if entry.executable else 0o644
    else:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
