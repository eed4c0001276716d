"""Requests for parts of one file (RFC 9110, section 14); callers may be in any thread, the loop has one of its own."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp

from gpuenv.errors import IntegrityError, NetworkError
from gpuenv.index.cache import IndexCache
from gpuenv.index.credentials import Credentials
from gpuenv.index.download import Downloads
from gpuenv.index.http import Answer, Http, Interrupted
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact

__all__ = ["Connection", "Flow", "NoParts", "name_of"]

T = TypeVar("T")

TAIL = 80 << 10  # holds the end record of any ZIP archive and the directory of most wheels
CONNECTIONS = 8
PIECE = 1 << 20
BUFFER = 2 << 20  # twice as much arrives ahead of whoever takes it
_LEAST_LIMIT = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z")


class NoParts(Exception):
    """The server does not give parts of the file."""


class _State(NamedTuple):
    """What must stay the same while a file is read part by part; "" where the server does not say it."""

    size: int
    etag: str
    modified: str


def name_of(url: str) -> str:
    """The file name at the end of a URL's path."""
    parts = urlsplit(url)
    name = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or "file"
    return re.sub(r"[\x00-\x1f\x7f]", "?", name)


class Connection:
    """Requests for parts of one file, in an event loop that has a thread of its own."""

    def __init__(
        self, url: str, index: Index | None, credentials: Credentials, *, offline: bool, environ: Mapping[str, str]
    ) -> None:
        self.received = 0
        self.url = url
        self.index = index
        self._state: _State | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gpuenv-remote", daemon=True)
        self._thread.start()
        self.http = self.wait(self._enter(credentials, offline, environ))

    async def _enter(self, credentials: Credentials, offline: bool, environ: Mapping[str, str]) -> Http:
        return Http(credentials, offline=offline, connections=CONNECTIONS, environ=environ)

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin some work in the loop's thread."""
        with self._lock:
            if self._loop is None:
                work.close()
                self._fail("was closed while it was read")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result(self, future: "Future[T]") -> T:
        """Wait for work to end."""
        try:
            return future.result()
        except CancelledError:
            self._fail("was closed while it was read")

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work in the loop's thread and wait for it."""
        return self.result(self.submit(work))

    def close(self) -> None:
        """End everything; may be called again."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._leave(loop), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    async def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await self.http.close()
        await loop.shutdown_default_executor()

    async def tail(self) -> tuple[int, bytes]:
        """The last bytes and where they begin; they tell the size, and what must not change from now on."""
        answer = await self._ask(f"bytes=-{TAIL}")
        if answer.status in (400, 416, 501):
            # this kind of range is known to fewer servers
            first = await self._ask("bytes=0-0")
            total = _span(first)[2]
            answer = await self._ask(f"bytes={max(0, total - TAIL)}-{total - 1}")
        start, stop, total = _span(answer)
        if stop != total:
            raise NoParts
        self._state = _state(answer.headers, total)
        return start, answer.body

    async def part(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`."""
        answer = await self._ask(f"bytes={start}-{stop - 1}", stop - start)
        self.check(answer.status, answer.headers, start, stop)
        if len(answer.body) != stop - start:
            self._fail("is not given part by part any more")
        return answer.body

    def check(self, status: int, headers: Mapping[str, str], start: int, stop: int) -> None:
        """Is this the part that was asked for, of the file that it was?"""
        if status in (404, 410, 416):
            self._changed()
        try:
            span = _range(status, headers)
        except NoParts:
            self._fail("is not given part by part any more")
        if self._state is None or _differ(self._state, _state(headers, span[2])):
            self._changed()
        if span[:2] != (start, stop):
            self._fail(f"came as bytes {span[0]} to {span[1]} where {start} to {stop} were asked for")

    def flow(self, start: int, stop: int) -> "Flow":
        """The bytes from `start` up to `stop`, as one long answer."""
        return Flow(self, start, stop)

    async def _ask(self, span: str, limit: int = 0) -> Answer:
        headers = {"Range": span, "Accept-Encoding": "identity"}
        answer = await self.http.fetch(self.url, self.index, headers=headers, limit=max(limit, _LEAST_LIMIT))
        self.received += len(answer.body)
        if self._state is None and answer.status in (403, 404, 410):
            self._fail(f"is not there ({answer.status})")
        return answer

    async def whole(self, folder: Path, sha256: str | None) -> Path:
        """The whole file, downloaded into `folder`; the stem of its name is its SHA-256."""
        cache = IndexCache(folder)
        downloads = Downloads(self.http, cache)
        try:
            return await downloads.whole(self.url, name_of(self.url), self.index, sha256=sha256)
        finally:
            downloads.close()
            cache.close()

    def _changed(self) -> NoReturn:
        raise IntegrityError(f"{redact(self.url)} changed while it was read", hints=["run the command again"])

    def _fail(self, what: str) -> NoReturn:
        raise NetworkError(f"{redact(self.url)} {what}")


class Flow:
    """One long answer, taken piece by piece; where it breaks off it is continued. For one thread at a time."""

    def __init__(self, connection: Connection, start: int, stop: int) -> None:
        self._connection = connection
        self._position = start
        self._stop = stop
        self._answer: contextlib.AsyncExitStack | None = None
        self._content: aiohttp.StreamReader | None = None

    def next(self) -> bytes:
        """At most 1 MiB, b"" at the end."""
        return self._connection.wait(self._next())

    def close(self) -> None:
        """Let go of the answer; may be called again, and after the connection was closed."""
        if self._answer is not None:
            with contextlib.suppress(NetworkError):
                # not waited for: who forgets a stream half-way may be forgetting it in the loop's own thread
                self._connection.submit(self._drop())

    async def _next(self) -> bytes:
        parts: list[bytes] = []
        wanted = min(PIECE, self._stop - self._position)

        async def attempt() -> None:
            # all attempts together bring one piece, so that an answer of one byte at a time comes to an end
            missing = wanted - sum(map(len, parts))
            while missing:
                try:
                    content = self._content or await self._open()
                    data = await content.read(missing)
                except BaseException:
                    await self._drop()
                    raise
                if not data:
                    await self._drop()
                    raise Interrupted("its answer ended early")
                parts.append(data)
                missing -= len(data)
                self._position += len(data)
                self._connection.received += len(data)

        await self._connection.http.retrying(self._connection.url, self._connection.index, attempt)
        if self._position == self._stop:
            await self._drop()
        return b"".join(parts)

    async def _open(self) -> aiohttp.StreamReader:
        connection = self._connection
        headers = {"Range": f"bytes={self._position}-{self._stop - 1}", "Accept-Encoding": "identity"}
        self._answer = contextlib.AsyncExitStack()
        opened = connection.http.open(connection.url, connection.index, headers=headers, buffer=BUFFER)
        response = await self._answer.enter_async_context(opened)
        connection.check(response.status, response.headers, self._position, self._stop)
        self._content = response.content
        return response.content

    async def _drop(self) -> None:
        answer, self._answer, self._content = self._answer, None, None
        if answer is not None:
            await answer.aclose()


def _state(headers: Mapping[str, str], size: int) -> _State:
    etag = headers.get("ETag", "")
    return _State(size, "" if etag.startswith("W/") else etag, headers.get("Last-Modified", ""))


def _differ(one: _State, other: _State) -> bool:
    if one.size != other.size:
        return True
    if one.etag and other.etag:
        return one.etag != other.etag
    # several servers may give the same file different times, or tell none
    return bool(one.modified and other.modified) and one.modified != other.modified


def _span(answer: Answer) -> tuple[int, int, int]:
    """Where a partial answer begins and ends, and how long the file is."""
    start, stop, total = _range(answer.status, answer.headers)
    if stop - start != len(answer.body):
        raise NoParts
    return start, stop, total


def _range(status: int, headers: Mapping[str, str]) -> tuple[int, int, int]:
    """The same as the headers say it (RFC 9110, 14.4)."""
    found = _CONTENT_RANGE.match(headers.get("Content-Range", "").strip())
    if status != 206 or not found or headers.get("Content-Encoding", "identity") != "identity":
        raise NoParts
    start, last, total = map(int, found.groups())
    if not start <= last < total:
        raise NoParts
    return start, last + 1, total
