"""The metadata of one wheel, the cheapest way that works, and what its index says of its binaries.

The `.metadata` file beside the wheel (PEP 658, 714); else the METADATA member by byte ranges from the end of the
archive; else the whole wheel, which is then kept for sync.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from gpuenv.archive.ranges import MissingRange, SparseFile
from gpuenv.errors import ArchiveError, IntegrityError, NoSuchMember, TooLarge
from gpuenv.index.cache import IndexCache, url_key
from gpuenv.index.download import Downloads
from gpuenv.index.folder import metadata_in, path_of, wheel_metadata
from gpuenv.index.http import Answer, Http
from gpuenv.index.metadata import check_identity, parse_metadata, with_extras, without_extras
from gpuenv.model.default_extras import FILE as EXTRAS
from gpuenv.model.distribution import About, Metadata, WheelFile
from gpuenv.model.facts import NativeFacts, decode_facts
from gpuenv.model.filename import VARIANT, stem_of
from gpuenv.model.manifest import Index
from gpuenv.model.variants import LIMIT as VARIANTS_LIMIT

__all__ = ["Ladder"]

T_co = TypeVar("T_co", covariant=True)

METADATA_LIMIT = 16 << 20
NATIVE_LIMIT = 64 << 20
TAIL = 32 << 10  # holds the directory and the METADATA of most wheels
STEP = 16 << 10  # the least that is worth a request
RANGES_LIMIT = 64 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z")


class _NoRanges(Exception):
    """The server does not serve ranges that can be used."""


class _Part(Protocol[T_co]):
    """Something that a file of which only parts are here holds."""

    def read(self) -> T_co:
        """It; raises MissingRange where too little is here."""


class Ladder:
    """Metadata of wheels for one session; what an index says of what a digest names is remembered for ever."""

    def __init__(self, http: Http, cache: IndexCache, downloads: Downloads) -> None:
        self._http = http
        self._cache = cache
        self._downloads = downloads

    async def metadata(self, wheel: WheelFile, index: Index | None) -> Metadata:
        """The metadata of a wheel, verified to be of the distribution that its file name names."""
        key = _key(wheel, index)
        held = self._cache.metadata.load(key) if key else None
        if held is None:
            held = await self._climb(wheel, index)
            if key:
                self._cache.metadata.save(key, held)
        return check_identity(held, wheel.filename)

    async def _climb(self, wheel: WheelFile, index: Index | None) -> Metadata:
        local = self._local(wheel)
        if local:
            return await asyncio.to_thread(wheel_metadata, local, wheel.filename)
        body = None
        if wheel.metadata_sha256 is not None:
            body = await self._beside(wheel, index, ".metadata", wheel.metadata_sha256, METADATA_LIMIT)
        try:
            if body is None:
                body = await self._by_ranges(wheel, index, lambda file: metadata_in(file, wheel.filename))
            known = parse_metadata(body)
            return known if known.default_extras_by is None else await self._with_extras(known, wheel, index)
        except (_NoRanges, ArchiveError):
            path = await self._whole(wheel, index)
            return await asyncio.to_thread(wheel_metadata, path, wheel.filename)

    async def _with_extras(self, known: Metadata, wheel: WheelFile, index: Index | None) -> Metadata:
        """The metadata with the publisher's default extras, which are in a file of their own."""
        try:
            body = await self._by_ranges(wheel, index, lambda file: metadata_in(file, wheel.filename, EXTRAS))
        except NoSuchMember as error:
            return without_extras(known, error)
        return with_extras(known, body)

    def _local(self, wheel: WheelFile) -> Path | None:
        if wheel.url.startswith("file:"):
            return path_of(wheel.url)
        return self._downloads.cached(wheel)

    async def native(self, wheel: WheelFile, index: Index | None) -> NativeFacts | None:
        """What `<file>.native.json` says of its binaries, if the index offers it and it is about this very file."""
        if wheel.native_sha256 is None or wheel.sha256 is None:
            return None
        body = await self._beside(wheel, index, ".native.json", wheel.native_sha256, NATIVE_LIMIT)
        facts = decode_facts(body) if body is not None else None
        return facts if facts is not None and facts.sha256 == wheel.sha256 else None

    async def variants(self, file: WheelFile, index: Index | None) -> bytes | None:
        """What a release's variants file holds, or a wheel's own `variant.json`; None where it is not there.

        Raises TooLarge where no such file has as many bytes.
        """
        is_wheel = stem_of(file.filename) is not None
        key = _key(file, index) if is_wheel else file.sha256
        held = self._cache.variants.load(key) if key else None
        if held is None:
            if is_wheel:
                held = await self._own_variant(file, index)
            else:
                held = await self._beside(file, index, "", file.sha256 or "", VARIANTS_LIMIT)
            if held is not None and key:
                self._cache.variants.save(key, held)
        return held

    async def _own_variant(self, wheel: WheelFile, index: Index | None) -> bytes | None:
        def part(file: SparseFile) -> _Part[bytes]:
            return metadata_in(file, wheel.filename, VARIANT)

        try:
            return await self._inside(wheel, index, part, lambda path: _member(path, wheel.filename, VARIANT))
        except ArchiveError:
            return None

    async def _beside(self, wheel: WheelFile, index: Index | None, what: str, said: str, limit: int) -> bytes | None:
        """A file beside the wheel; None if the index promised one and has none. said: its digest, or ""."""
        parts = urlsplit(wheel.url)
        url = urlunsplit(parts._replace(path=parts.path + what))
        if url.startswith("file:"):
            return await asyncio.to_thread(_content, path_of(url), said, limit)
        answer = await self._http.fetch(url, index, headers={"Accept": "*/*"}, limit=limit)
        if answer.status != 200:
            return None
        seen = hashlib.sha256(answer.body).hexdigest()
        if said and seen != said:
            raise IntegrityError(
                f"{wheel.filename}{what} is not what the index says",
                causes=[f"expected sha256 {said}", f"seen sha256 {seen}"],
                hints=["if the index has changed since its page was fetched: gpuenv lock --refresh"],
            )
        return answer.body

    async def about(self, bundle: WheelFile, index: Index | None) -> About:
        """What a bundle says of itself."""
        from gpuenv.index.about import AboutBundle, about_file  # who meets no bundle does without zstd

        key = _key(bundle, index)
        held = self._cache.bundles.load(key) if key else None
        if held is not None:
            return held
        found = await self._inside(
            bundle,
            index,
            lambda file: AboutBundle(file, bundle.filename),
            lambda path: about_file(path, bundle.filename),
        )
        if key:
            self._cache.bundles.save(key, found)
        return found

    async def _inside(
        self,
        wheel: WheelFile,
        index: Index | None,
        part: "Callable[[SparseFile], _Part[T_co]]",
        read: "Callable[[Path], T_co]",
    ) -> "T_co":
        """What is found in a file that is on this disk, else by ranges of it, else in the whole of it."""
        local = self._local(wheel)
        if local is None:
            try:
                return await self._by_ranges(wheel, index, part)
            except _NoRanges:
                local = await self._whole(wheel, index)
        return await asyncio.to_thread(read, local)

    async def _whole(self, wheel: WheelFile, index: Index | None) -> Path:
        return await self._downloads.whole(wheel.url, wheel.filename, index, sha256=wheel.sha256)

    async def _by_ranges(
        self, wheel: WheelFile, index: Index | None, inside: "Callable[[SparseFile], _Part[T_co]]"
    ) -> "T_co":
        """What is found through the archive's last bytes, where its directory is; mostly two requests."""
        # the last bytes of a file of unknown size are a kind of range that fewer servers know
        last = f"bytes=-{TAIL}" if not wheel.size else f"bytes={max(0, wheel.size - TAIL)}-{wheel.size - 1}"
        answer = await self._range(wheel.url, index, last)
        start, total = _place(answer)
        if wheel.size is not None and total != wheel.size:
            raise _NoRanges
        if wheel.sha256 and wheel.size is None:
            self._cache.sizes.save(wheel.sha256, total)
        file = SparseFile(total)
        file.add(start, answer.body)
        member = inside(file)
        while True:
            try:
                return member.read()
            except MissingRange as missing:
                start, stop = missing.start, max(missing.stop, min(total, missing.start + STEP))
            if file.held + stop - start > RANGES_LIMIT:
                raise _NoRanges
            answer = await self._range(wheel.url, index, f"bytes={start}-{stop - 1}")
            if _place(answer) != (start, total) or len(answer.body) != stop - start:
                raise _NoRanges
            file.add(start, answer.body)

    async def _range(self, url: str, index: Index | None, span: str) -> Answer:
        headers = {"Range": span, "Accept-Encoding": "identity"}
        return await self._http.fetch(url, index, headers=headers, limit=RANGES_LIMIT)


def _key(file: WheelFile, index: Index | None) -> str | None:
    """Under which an index's word on a file is kept, of which only parts were seen: none speaks for another's files."""
    whose = index.public_location if index else urlsplit(file.url).netloc.rpartition("@")[2]
    return url_key(whose, file.sha256) if file.sha256 else None


def _member(path: Path, filename: str, member: str) -> bytes | None:
    """A file of the `.dist-info` of a wheel or bundle on this disk, if it is there."""
    try:
        with path.open("rb") as file:
            return metadata_in(file, filename, member).read()
    except (OSError, ArchiveError):
        return None


def _content(path: Path, said: str, limit: int) -> bytes | None:
    """A file on this disk, if it is there and what the page beside it says: one may be newer than the other."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    if len(data) > limit:
        raise TooLarge(f"{path} has more than {limit >> 20} MiB")
    return data if not said or hashlib.sha256(data).hexdigest() == said else None


def _place(answer: Answer) -> tuple[int, int]:
    """Where the bytes of a 206 answer begin and how long the file is (RFC 9110, 14.4)."""
    found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", "").strip())
    if answer.status != 206 or not found:
        raise _NoRanges
    start, last, total = map(int, found.groups())
    if last - start + 1 != len(answer.body) or last >= total:
        raise _NoRanges
    return start, total
