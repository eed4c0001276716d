"""Bundles: a wheel's tree, with symbolic links, as one reproducible tar (pax) in frames of zstd, `.whl.tar.zst`.

The first frame holds the `.dist-info` alone, its first file `bundle.json`: what each frame holds, and then, where they
are known, `native.json`: what the binaries say. So a range of bytes tells all that a lock asks. The last frame holds
the links and the end of the tar. A frame begins and ends between entries. Any `tar --zstd -x` unpacks the whole.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from gpuenv.archive.bundled import CONTENTS, NATIVE, SymbolicLink
from gpuenv.archive.frames import Frame, write_frames
from gpuenv.archive.zstd import NEAR

__all__ = ["Content", "write_bundle"]

_VERSION = 1
_MTIME = 315619200  # 1980-01-02, UTC
# Bytes of files in a frame. Fast: several frames for each core. Best: alike files are rather together than unpacked
# side by side; a window of zstd looks back on half of it.
_GROUP, _GROUP_BEST = 64 << 20, 256 << 20
_TWIN = 64 << 10  # bytes of a file from which on others of the same size are compared with it


class Content(NamedTuple):
    """A file that goes into a bundle. path: as in a wheel. chunks: its bytes, `size` of them; may be called again."""

    path: str
    size: int
    executable: bool
    chunks: Callable[[], Iterator[bytes]]


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
    Raises ValueError where a file needs a frame of 4 GiB.
    """
    facts: list[Content] = []
    others: list[Content] = []
    for file in sorted(files):
        (facts if file.path.startswith(f"{dist_info}/") else others).append(file)
    twins = _twins(others)
    groups = list(_groups(others, twins, _GROUP_BEST if best else _GROUP))
    ordered = sorted(links)
    about = {
        "bundle": _VERSION,
        **({"origin": dict(origin)} if origin else {}),
        "links": [list(link) for link in ordered],
        "frames": [[_row(file) for file in group] for group in (facts, *groups)],
    }
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    about_it = [_own(f"{dist_info}/{CONTENTS}", text)]
    if native is not None:
        about_it.append(_own(f"{dist_info}/{NATIVE}", native))
    frames = [_frame([*about_it, *facts]), *map(_frame, groups), _frame(ordered, end=True)]
    far = {number for number, group in enumerate(groups, 1) if any(file.size > NEAR for file in group if file in twins)}
    return write_frames(write, frames, best=best, far=far, workers=workers or min(8, os.cpu_count() or 1))


def _own(path: str, data: bytes) -> Content:
    """A file that the bundle has of its own: nothing that is installed."""
    return Content(path, len(data), False, lambda: iter([data]))


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
