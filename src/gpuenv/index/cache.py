"""What the index client remembers on disk: decoded pages, metadata, digests of files in folders.

Every entry is one msgpack file, written whole and moved into place. An entry that cannot be read does not exist, and a
cache that cannot be written is a slower cache, never a failure.
"""

import contextlib
import hashlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from gpuenv.model.distribution import About, Metadata, Page
from gpuenv.model.facts import SCHEMA

__all__ = ["Bucket", "FileDigest", "IndexCache", "PageEntry", "ProvidesEntry", "UrlDigest", "url_key"]

T = TypeVar("T")


class PageEntry(msgspec.Struct, frozen=True, array_like=True):
    """A page as an index once answered; page None: it did not know the name. expires: seconds since the epoch."""

    page: Page | None
    etag: str
    modified: str
    expires: float


class ProvidesEntry(msgspec.Struct, frozen=True, array_like=True):
    """A `provides.json` as an index once served it; body None: it had none. expires: seconds since the epoch."""

    body: bytes | None
    etag: str
    modified: str
    expires: float


class FileDigest(msgspec.Struct, frozen=True, array_like=True):
    """A local file's digest, true while its size and its time of change stay the same."""

    size: int
    changed: int
    sha256: str


class UrlDigest(msgspec.Struct, frozen=True, array_like=True):
    """The digest of what a URL once held, true while the server says so of the validator."""

    sha256: str
    size: int
    etag: str


def url_key(url: str, user: str = "") -> str:
    """The name of an entry for a URL (without credentials) as one user sees it."""
    return hashlib.sha256(f"{url}\n{user}".encode()).hexdigest()


class Bucket(Generic[T]):
    """Values of one type in one folder, by key. The folder's name carries the version of the format."""

    def __init__(self, folder: Path, kind: type[T], writer: ThreadPoolExecutor) -> None:
        self.folder = folder
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._writer = writer
        self._unwritten: dict[str, T] = {}

    def load(self, key: str) -> T | None:
        """The value, or None where there is none or none that can be read."""
        if key in self._unwritten:
            return self._unwritten[key]
        try:
            return self._decoder.decode((self.folder / f"{key}.msgpack").read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def save(self, key: str, value: T) -> None:
        """Write the value, aside from whoever waits for the network; what the disk says against it is ignored."""
        self._unwritten[key] = value
        self._writer.submit(self._write, key, value)

    def _write(self, key: str, value: T) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            new = self.folder / f".{key[:16]}-{secrets.token_hex(6)}"
            try:
                new.write_bytes(msgspec.msgpack.encode(value))
                os.replace(new, self.folder / f"{key}.msgpack")  # noqa: PTH105 - one call, one name
            except OSError:
                new.unlink(missing_ok=True)
        if self._unwritten.get(key) is value:
            del self._unwritten[key]


class IndexCache:
    """The buckets of one cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer = writer = ThreadPoolExecutor(1, thread_name_prefix="index-cache")
        self.pages = Bucket(folder / "index-v2", PageEntry, writer)
        self.provides = Bucket(folder / "provides-v1", ProvidesEntry, writer)
        self.metadata = Bucket(folder / "metadata-v3", Metadata, writer)
        self.variants = Bucket(folder / "variants-v1", bytes, writer)
        self.bundles = Bucket(folder / f"bundles-v{SCHEMA}", About, writer)
        self.sizes = Bucket(folder / "sizes-v1", int, writer)  # of what a digest names: for indexes that state none
        self.files = Bucket(folder / "files-v1", FileDigest, writer)
        self.urls = Bucket(folder / "urls-v1", UrlDigest, writer)
        self.wheels = folder / "wheels-v1"

    def close(self) -> None:
        """Wait until everything is written."""
        self._writer.shutdown(wait=True)

    def wheel(self, sha256: str) -> Path | None:
        """A wheel that had to be downloaded whole, if it still is there."""
        path = self.wheels / f"{sha256}.whl"
        return path if sha256 and path.is_file() else None
