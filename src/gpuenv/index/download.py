"""Whole files: resumed, hashed in the same pass, visible under their name only when they are what they should be."""

import asyncio
import contextlib
import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import aiohttp

from gpuenv.archive.staging import DAY
from gpuenv.errors import IntegrityError, NetworkError, StoreError
from gpuenv.index.cache import IndexCache, url_key
from gpuenv.index.http import Http, Interrupted
from gpuenv.model.distribution import WheelFile
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Downloads", "copy_file"]

CHUNK = 1 << 20
Progress = Callable[[int], None]


@dataclass(slots=True)
class _Task:
    """One file on its way: what it must be, and how far it is."""

    url: str
    filename: str
    index: Index | None
    sha256: str | None
    size: int | None
    into: Path
    progress: Progress
    done: int = 0
    resumed: bool = False
    etag: str = ""

    @property
    def part(self) -> Path:
        return self.into.with_name(self.into.name + ".part")

    @property
    def validator(self) -> Path:
        return self.into.with_name(self.into.name + ".part.validator")

    def advance(self, to: int) -> None:
        self.progress(to - self.done)
        self.done = to

    def restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)
        self.resumed = False
        self.advance(0)


class Downloads:
    """Downloads of one session, into places that callers name or into the cache."""

    def __init__(self, http: Http, cache: IndexCache) -> None:
        self._http = http
        self._cache = cache
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._whole: dict[str, Path] = {}
        self.etags: dict[str, str] = {}

    def close(self) -> None:
        """Forget what could not be put into the cache."""
        if self._temporary:
            self._temporary.cleanup()

    def cached(self, wheel: WheelFile) -> Path | None:
        """The wheel's bytes, if this session or an earlier one had to download them whole."""
        held = self._whole.get(wheel.key) or self._whole.get(wheel.url)
        return held or (self._cache.wheel(wheel.sha256) if wheel.sha256 else None)

    async def download(
        self, url: str, *, sha256: str, size: int, index: Index | None, into: Path, progress: Progress
    ) -> None:
        """See IndexClient.download."""
        with _writing(into):
            into.parent.mkdir(parents=True, exist_ok=True)
        task = _Task(url, into.name, index, sha256, size, into, progress)
        held = self._whole.get(sha256) or self._cache.wheel(sha256)
        if held:
            # a cached wheel that rotted is no reason to fail while the index has a sound one
            with contextlib.suppress(IntegrityError, NetworkError):
                await asyncio.to_thread(copy_file, held, task.into, sha256, size)
                task.advance(size)
                return
        await self._fetch(task)

    async def whole(self, url: str, filename: str, index: Index | None, *, sha256: str | None = None) -> Path:
        """A wheel downloaded whole into the cache, or where that cannot be written, into a temporary folder."""
        folder = await asyncio.to_thread(self._writable)
        # two processes may want the same file: each writes its own
        into = folder / f"{url_key(url)[:16]}-{secrets.token_hex(6)}.new"
        task = _Task(url, filename, index, sha256, None, into, lambda n: None)
        try:
            seen = await self._fetch(task)
        finally:
            task.part.unlink(missing_ok=True)
            task.validator.unlink(missing_ok=True)
        self.etags[url] = task.etag
        final = folder / f"{seen}.whl"
        into.replace(final)
        self._whole[sha256 or url] = self._whole[seen] = final
        return final

    def _writable(self) -> Path:
        folder = self._cache.wheels
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                _sweep(folder)
                return folder
        except OSError:
            self._temporary = self._temporary or tempfile.TemporaryDirectory(prefix="gpuenv-")
            return Path(self._temporary.name)

    async def _fetch(self, task: _Task) -> str:
        """Get the file, check it, move it into place; returns its SHA-256."""
        try:
            try:
                seen = await self._http.retrying(task.url, task.index, lambda: self._attempt(task))
            except IntegrityError:
                if not task.resumed:
                    raise
                # the beginning came from another day, and may have been another file
                task.restart()
                seen = await self._http.retrying(task.url, task.index, lambda: self._attempt(task))
            with _writing(task.into):
                task.part.replace(task.into)
                task.validator.unlink(missing_ok=True)
        except IntegrityError:
            task.restart()
            raise
        return seen

    async def _attempt(self, task: _Task) -> str:
        digest = hashlib.sha256()
        with _writing(task.part):
            held = await asyncio.to_thread(_hash_part, task.part, digest)
        task.resumed = held > 0
        if held and task.size is not None and held >= task.size:
            task.advance(held)
            return _verify(task, held, digest.hexdigest())
        headers = {"Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
            if validator := _read(task.validator):
                headers["If-Range"] = validator
        async with self._http.open(task.url, task.index, headers=headers, buffer=CHUNK) as response:
            if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
                pass
            elif response.status == 200:
                held, digest, task.resumed = 0, hashlib.sha256(), False
            elif held and response.status in (206, 416):
                task.restart()
                raise Interrupted("it cannot continue where an earlier download ended", wait=0.0)
            else:
                _missing(task, response.status)
            _announced(task, response.headers, held)
            task.etag = response.headers.get("ETag", "")
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            with _writing(task.validator):
                task.validator.write_text("" if validator.startswith("W/") else validator, "utf-8")
            task.advance(held)
            size = await _receive(task, response, held, digest)
        return _verify(task, size, digest.hexdigest())


def _sweep(folder: Path) -> None:
    """Remove what killed downloads left; what is younger than a day may still be under way."""
    for path in folder.glob("*.new*"):
        if time.time() - path.stat().st_mtime > DAY:
            path.unlink()


async def _receive(task: _Task, response: aiohttp.ClientResponse, held: int, digest: "_Hash") -> int:
    """Stream the body to the part file; hashing and writing of one chunk overlap the arrival of the next."""
    before, busy = held, None
    loop = asyncio.get_running_loop()
    with _writing(task.part):
        file = task.part.open("ab" if held else "wb")
    try:
        waiting, length = [], 0
        async for data in response.content.iter_any():
            waiting.append(data)
            length += len(data)
            if length < CHUNK:
                continue
            held = _grown(task, held + length)
            if busy:
                await busy
            busy = loop.run_in_executor(None, _put, file, digest, waiting)
            waiting, length = [], 0
        held = _grown(task, held + length)
        if busy:
            await busy
        busy = loop.run_in_executor(None, _put, file, digest, waiting)
        await busy
        return held
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, ConnectionError):
        # what came before the break is kept, the next attempt asks for the rest
        if busy:
            await busy
        busy = loop.run_in_executor(None, _put, file, digest, waiting)
        raise Interrupted("the download broke off", moved=held + length - before >= CHUNK) from None
    finally:
        try:
            if busy:
                await asyncio.gather(busy, return_exceptions=True)
        finally:  # at once: who is cancelled while it waits for a thread would leave the file open
            with _writing(task.part):
                file.close()


def _put(file: IO[bytes], digest: "_Hash", parts: list[bytes]) -> None:
    data = b"".join(parts)
    digest.update(data)
    with _writing(Path(file.name)):
        file.write(data)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the disk says is about the disk, and no reason to ask the network again."""
    try:
        yield
    except OSError as error:
        error.filename = None  # said already
        raise StoreError.refused(f"cannot write {path}", error, path.parent) from None


def _grown(task: _Task, to: int) -> int:
    if task.size is not None and to > task.size:
        _wrong(task, f"{task.size} bytes", f"more than {task.size} bytes")
    task.advance(to)
    return to


def _hash_part(path: Path, digest: "_Hash") -> int:
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                digest.update(data)
            return file.tell()
    except FileNotFoundError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _announced(task: _Task, headers: Mapping[str, str], held: int) -> None:
    """Refuse a file whose announced length already is wrong, before gigabytes of it arrive."""
    length = headers.get("Content-Length", "")
    plain = length.isdecimal() and "Content-Encoding" not in headers
    if task.size is not None and plain and held + int(length) != task.size:
        _wrong(task, f"{task.size} bytes", f"{held + int(length)} bytes")


def _missing(task: _Task, status: int) -> NoReturn:
    where = f' of index "{task.index.name}"' if task.index else ""
    raise NetworkError(f"{task.filename}{where} is not there any more ({status}): {redact(task.url)}")


def _wrong(task: _Task, expected: str, seen: str) -> NoReturn:
    raise IntegrityError(
        f"{task.filename} is not the file that is expected: {redact(task.url)}",
        causes=[f"expected {expected}", f"seen {seen}"],
    )


def _verify(task: _Task, size: int, sha256: str) -> str:
    if task.size is not None and size != task.size:
        _wrong(task, f"{task.size} bytes", f"{size} bytes")
    if task.sha256 is not None and sha256 != task.sha256:
        _wrong(task, f"sha256 {task.sha256}", f"sha256 {sha256}")
    return sha256


def copy_file(source: Path, into: Path, sha256: str, size: int) -> None:
    """Copy a local file into place, hashing on the way; IntegrityError if it is not the one expected."""
    task = _Task(source.as_uri(), source.name, None, sha256, size, into, lambda n: None)
    digest, length = hashlib.sha256(), 0
    try:
        origin = source.open("rb")
    except OSError as error:
        raise NetworkError(f"cannot read {source}", causes=[str(error.strerror)]) from None
    try:
        with origin, task.part.open("wb") as target:
            while data := origin.read(CHUNK):
                digest.update(data)
                length += len(data)
                target.write(data)
        _verify(task, length, digest.hexdigest())
        task.part.replace(into)
    except OSError as error:
        error.filename = None
        raise StoreError.refused(f"cannot write {into}", error, into.parent) from None
    finally:
        task.part.unlink(missing_ok=True)
