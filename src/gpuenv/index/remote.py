"""A file behind a URL, of which only those parts come here that are read (RFC 9110, section 14).

The HTTP library lives in a thread of its own; whoever reads waits for it, in any thread.
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gpuenv.archive.ranges import MissingRange, SparseFile
from gpuenv.archive.source import FileSource
from gpuenv.errors import UsageError
from gpuenv.index.credentials import Credentials
from gpuenv.index.parts import Connection, NoParts, name_of
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact

__all__ = ["RemoteFile", "open_remote"]

STEP = 64 << 10  # the least that is worth a request
KEPT = 32 << 20  # bytes of parts that may be asked for again
LARGE = 1 << 20  # larger parts are not kept
SMALL = 1 << 20  # a stream up to this size is one answer
FIRST = 512 << 10


def open_remote(
    url: str,
    *,
    index: Index | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> "RemoteFile":
    """Ask for the end of the file behind an http(s) URL; where its server gives no parts, download it whole.

    index: where the URL came from, for its credentials. cache_dir: the index client's, where a wheel that had to be
    downloaded whole lies. Raises UsageError, NetworkError, OfflineError, IntegrityError for a whole file of another
    digest than the URL's `#sha256=` says, StoreError where a whole file cannot be written.
    """
    bare, _, fragment = url.partition("#")
    if not bare.startswith(("https://", "http://")):
        raise UsageError(f"{redact(bare)} is not a URL that gpuenv can open", hints=["use https:// or a path"])
    stated = next((part[7:].lower() for part in fragment.split("&") if part.startswith("sha256=")), None)
    if stated is not None and not re.fullmatch(r"[0-9a-f]{64}", stated):
        raise UsageError(f"the fragment of {redact(bare)} is not a SHA-256")
    credentials = Credentials(environ)
    bare = credentials.remember(bare)
    name = name_of(bare)
    held = cache_dir / "wheels-v1" / f"{stated}.whl" if cache_dir and stated else None
    if held and held.is_file():
        return RemoteFile(name, stated, FileSource.open(held, name))
    connection = Connection(bare, index, credentials, offline=offline, environ=environ)
    try:
        try:
            start, data = connection.wait(connection.tail())
        except NoParts:
            with tempfile.TemporaryDirectory(prefix="gpuenv-", ignore_cleanup_errors=True) as folder:
                path = connection.wait(connection.whole(Path(folder), stated))
                whole = FileSource.open(path, name)
            connection.close()
            return RemoteFile(name, path.stem, whole)
    except BaseException:
        connection.close()
        raise
    return RemoteFile(name, stated, _Parts(connection, start, data))


class RemoteFile:
    """The source (`gpuenv.archive.source.Source`) that a URL is, and a context manager; made by `open_remote`.

    name: the last part of the URL. size: in bytes. sha256: what the URL states, or was seen where the file had to come
    whole; nobody compares it with parts. Reading raises NetworkError where the server fails or sends something else
    than was asked for, IntegrityError where the file changed in between.
    """

    def __init__(self, name: str, sha256: str | None, source: "_Parts | FileSource") -> None:
        self.name = name
        self.sha256 = sha256
        self.size = source.size
        self.distant = source.distant
        self.read = source.read
        self.stream = source.stream
        self.close = source.close
        self._source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def received(self) -> int:
        """How many bytes of the file were sent so far, those of a whole download left out."""
        return self._source.received if isinstance(self._source, _Parts) else 0


class _Parts:
    """What a server gives part by part. tail: the last bytes, which began the conversation, from `start` on."""

    distant = True

    def __init__(self, connection: Connection, start: int, tail: bytes) -> None:
        self.size = start + len(tail)
        self._connection = connection
        self._tail = (start, tail)
        self._lock = threading.Lock()
        self._held = self._fresh()

    @property
    def received(self) -> int:
        return self._connection.received

    def close(self) -> None:
        """Stop what is under way and close every connection; may be called again."""
        self._connection.close()

    def read(self, offset: int, size: int, /) -> bytes:
        """See Source.read; small parts come with what follows them, and are kept for a while."""
        found, stop = [], min(offset + size, self.size)
        while offset < stop:
            with self._lock:
                try:
                    found.append(self._held.slice(offset, stop))
                    break
                except MissingRange as missing:
                    found.append(self._held.slice(offset, missing.start))
                    offset, upto = missing.start, missing.stop
            upto = max(upto, min(self.size, offset + STEP))
            data = self._connection.wait(self._connection.part(offset, upto))
            found.append(data[: stop - offset])
            self._keep(offset, data)
            offset = upto
        return b"".join(found)

    def _keep(self, offset: int, data: bytes) -> None:
        if len(data) > LARGE:
            return
        with self._lock:
            if self._held.held + len(data) > KEPT:
                self._held = self._fresh()
            self._held.add(offset, data)

    def _fresh(self) -> SparseFile:
        file = SparseFile(self.size)
        file.add(*self._tail)
        return file

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        """See Source.stream. A little comes first, for some look at the beginning only; then at most 5 MiB ahead."""
        stop = min(stop, self.size)
        first = stop if stop - start <= SMALL else start + FIRST
        if start < stop:
            yield self._connection.wait(self._connection.part(start, first))
        if first >= stop:
            return
        # few long answers come faster than many short ones: each has to wait for its beginning
        flow = self._connection.flow(first, stop)
        try:
            while data := flow.next():
                yield data
        finally:
            flow.close()
