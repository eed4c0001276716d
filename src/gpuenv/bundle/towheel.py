"""A bundle as a wheel, for installers that know no other: its links are copies, or lines of LINKS (PEP 778)."""

import csv
import io
import posixpath
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Literal, NamedTuple

from gpuenv.archive.bundle import Content
from gpuenv.archive.bundled import Bundle, SymbolicLink, open_bundle
from gpuenv.archive.inflate import CHUNK
from gpuenv.archive.unpacking import Placed
from gpuenv.archive.zipcheck import MAX_TOTAL
from gpuenv.archive.zipdirectory import MAX_MEMBERS
from gpuenv.archive.zipwrite import write_wheel
from gpuenv.bundle.amend import NOTHING, Amendment, amended
from gpuenv.bundle.record import SIGNATURES, record_row, rewritten_record
from gpuenv.errors import ArchiveError
from gpuenv.model.filename import BUNDLE
from gpuenv.model.follow import Astray, followed

__all__ = ["LinksAs", "Rewheeled", "copies", "to_wheel", "wheel_name"]

LinksAs = Literal["copy", "LINKS"]

_MTIME = 315619200
_WHEEL_VERSION = re.compile(rb"^(Wheel-Version:[ \t]*)1\.\d+[ \t]*$", re.MULTILINE | re.IGNORECASE)


class Rewheeled(NamedTuple):
    """What a wheel came to. files: unpacked bytes of all. links: those of the bundle."""

    files: int
    links: tuple[SymbolicLink, ...]


class _File(NamedTuple):
    """A file of the wheel. digest: its SHA-256."""

    content: Content
    digest: bytes


def wheel_name(filename: str) -> str:
    """The name of the wheel of a bundle; a wheel has its own."""
    return f"{filename.removesuffix(BUNDLE)}.whl" if filename.endswith(BUNDLE) else filename


def to_wheel(
    bundle: Path,
    file: IO[bytes],
    folder: Path,
    *,
    links: LinksAs = "copy",
    amendment: Amendment = NOTHING,
    progress: Callable[[int], object] = lambda amount: None,
) -> Rewheeled:
    """Write the wheel of a bundle to a seekable file. folder: an empty one, to which the bundle is unpacked meanwhile.

    links: as copies of what they lead to, of folders too; or listed in LINKS, by which the wheel is one of version 2.0,
    so that installers that know no LINKS refuse it. amendment: what is added. RECORD lists what the wheel has. progress
    gets the bytes that went into the wheel. Raises ArchiveError where the bundle is damaged, or a link leads out,
    nowhere or in circles.
    """
    with open_bundle(bundle) as opened:
        dist_info = _dist_info(opened)
        files = _unpacked(opened, folder, progress)
        try:
            copied = copies(files, opened.links)
        except ValueError as error:
            raise ArchiveError(f"{bundle.name} is refused: {error}") from None
    listed = links == "LINKS" and bool(opened.links)
    new = dict(_listed(files, opened.links, dist_info)) if listed else _copied(files, copied)
    away = {link.path for link in opened.links} | (new.keys() & files.keys()) if listed else set()
    changes = _amendment(amendment, files, dist_info)
    signed = {f"{dist_info}/{name}" for name in SIGNATURES if changes}  # the RECORD that was
    files = {path: one for path, one in (files | new | changes).items() if path not in signed}
    record = f"{dist_info}/RECORD"
    rows = (record_row(path, one.digest, one.content.size) for path, one in files.items())
    before = b"".join(files[record].content.chunks())
    files[record] = _made(record, rewritten_record(before, record, away | changes.keys() | signed, rows))
    size = sum(one.content.size for one in files.values())
    if size > MAX_TOTAL:
        raise ArchiveError(f"{bundle.name} is refused: with its links as copies it has {size} bytes")
    write_wheel(file, dist_info, [one.content for one in files.values()])
    return Rewheeled(size, opened.links)


def _dist_info(bundle: Bundle) -> str:
    for member in bundle.members:
        folder, _, name = member.name.partition("/")
        if folder.endswith(".dist-info") and name == "RECORD":
            return folder
    raise ArchiveError(f"{bundle.name} has no RECORD")


def _unpacked(bundle: Bundle, folder: Path, progress: Callable[[int], object]) -> dict[str, _File]:
    """The files of a bundle by path, unpacked to a folder under numbers."""
    places = [Placed(member, str(number), False) for number, member in enumerate(bundle.members)]
    written = bundle.unpack(folder, places, mtime=_MTIME)
    return {
        member.name: _File(
            Content(member.name, member.size, member.executable, partial(_chunks, folder / place.path, progress)),
            one.sha256,
        )
        for member, place, one in zip(bundle.members, places, written, strict=True)
    }


def _amendment(amendment: Amendment, files: Mapping[str, _File], dist_info: str) -> dict[str, _File]:
    """The files of the `.dist-info` that are added or change."""
    changes = amended(
        amendment, dist_info, lambda path: b"".join(files[path].content.chunks()) if path in files else None
    )
    return {path: _made(path, data) for path, data in changes.items()}


def _chunks(path: Path, progress: Callable[[int], object]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            progress(len(piece))
            yield piece


def _copied(files: Mapping[str, _File], copied: Mapping[str, str]) -> dict[str, _File]:
    return {path: files[of]._replace(content=files[of].content._replace(path=path)) for path, of in copied.items()}


def _made(path: str, data: bytes) -> _File:
    return _File(Content.of(path, data), sha256(data).digest())


def _listed(files: Mapping[str, _File], links: Iterable[SymbolicLink], dist_info: str) -> Iterator[tuple[str, _File]]:
    """LINKS, and a WHEEL that says that this matters: link, then what it leads to, as paths in the wheel."""
    out = io.StringIO()
    rows = ((one.path, posixpath.normpath(posixpath.join(posixpath.dirname(one.path), one.target))) for one in links)
    csv.writer(out, lineterminator="\n").writerows(sorted(rows))
    made = [_made(f"{dist_info}/LINKS", out.getvalue().encode())]
    if (wheel := files.get(f"{dist_info}/WHEEL")) is not None:
        text = _WHEEL_VERSION.sub(rb"\g<1>2.0", b"".join(wheel.content.chunks()), count=1)
        made.append(_made(wheel.content.path, text))
    return ((one.content.path, one) for one in made)


def copies(files: Iterable[str], links: Iterable[SymbolicLink]) -> dict[str, str]:
    """Where files lie once more if every link is a copy of what it leads to, and which files these are.

    Raises ValueError for a link that is absolute, leads out of the archive, nowhere, or to a folder that it is in.
    """
    return _Copies(files, links).all()


class _Copies:
    """The files and links of one archive, by their paths."""

    def __init__(self, files: Iterable[str], links: Iterable[SymbolicLink]) -> None:
        self._files = frozenset(files)
        self._links = {link.path: link.target for link in links}
        # what is in a folder comes in one piece in this order
        self._order = sorted(path.replace("/", "\0") for path in (*self._files, *self._links))
        self._found: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        for path in self._links:
            self._copy(path, self._followed(path, path), path, ())
        return self._found

    def _copy(self, path: str, target: str, link: str, inside: tuple[str, ...]) -> None:
        """What a path is that a link leads from to `target`. inside: the folders that are being copied."""
        if target in self._files:
            self._found[path] = target
            if len(self._found) > MAX_MEMBERS:
                raise ValueError(f"its links stand for more than {MAX_MEMBERS} files")
            return
        below = self._below(target)
        if not below:
            raise ValueError(f"link {link!r} leads nowhere: to {target!r}")
        if any(f"{one}/".startswith(f"{target}/") or not target for one in (path, *inside)):
            raise ValueError(f"link {link!r} leads to a folder that it is in")
        for entry in below:
            self._copy(path + entry[len(target) :], self._followed(entry, link), link, (*inside, target))

    def _below(self, folder: str) -> list[str]:
        start = folder.replace("/", "\0") + "\0" if folder else ""
        at = bisect_left(self._order, start)
        found = []
        while at < len(self._order) and self._order[at].startswith(start):
            found.append(self._order[at].replace("\0", "/"))
            at += 1
        return found

    def _followed(self, path: str, link: str) -> str:
        """The path without links in it that a path leads to, as the system follows it."""
        try:
            return followed(path, self._links)
        except Astray as astray:
            raise ValueError(f"link {link!r} {astray}") from None
