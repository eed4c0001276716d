"""`provides.json` of an index: which of its distributions bring which sonames (docs/reference/index-protocol.md)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gpuenv.errors import NetworkError
from gpuenv.index.cache import IndexCache, ProvidesEntry, url_key
from gpuenv.index.credentials import split_login
from gpuenv.index.folder import path_of
from gpuenv.index.freshness import Freshness, believed, conditions, freshness
from gpuenv.index.http import Http
from gpuenv.model.manifest import Index
from gpuenv.model.providers import VERSION, ProviderTable, decode_rows
from gpuenv.model.url import redact

__all__ = ["PROVIDES", "Provides", "read_provides"]

PROVIDES = "provides.json"
PROVIDES_LIMIT = 8 << 20


class _Version(msgspec.Struct, frozen=True):
    version: int


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    sonames: dict[str, list[str]]


def read_provides(body: bytes) -> ProviderTable:
    """Decode a `provides.json`; raises ValueError for one that is damaged, too large or of a newer version."""
    if len(body) > PROVIDES_LIMIT:
        raise ValueError(f"it has more than {PROVIDES_LIMIT >> 20} MiB")
    try:
        version = msgspec.json.decode(body, type=_Version).version
        if version != VERSION:
            raise ValueError(f"it is of version {version}, and this gpuenv reads version {VERSION}")
        document = msgspec.json.decode(body, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not the JSON it should be: {error}") from None
    return ProviderTable(decode_rows(document.sonames), digest=f"sha256:{hashlib.sha256(body).hexdigest()}")


class Provides:
    """The tables of indexes for one session, through the same cache, login and retries as pages."""

    def __init__(self, http: Http, cache: IndexCache, *, refresh: bool) -> None:
        self._http = http
        self._cache = cache
        self._refresh = refresh

    async def table(self, index: Index, folder: Path | None) -> ProviderTable | None:
        """What an index says of who provides what; None if it has no such file. folder: where a folder index lies."""
        if folder is None and index.location.startswith("file:"):
            folder = path_of(index.location)
        if folder is not None:
            place = (folder / PROVIDES).absolute()
            url, body = place.as_uri(), _file(place, index)
        else:
            url = f"{split_login(index.location)[0].rstrip('/')}/{PROVIDES}"
            body = await self._remote(url, index)
        if body is None:
            return None
        try:
            return read_provides(body)
        except ValueError as error:
            raise _useless(index, url, str(error)) from None

    async def _remote(self, url: str, index: Index) -> bytes | None:
        login = self._http.credentials.find(url, index)
        key = url_key(url, login.user if login else "")
        held = self._cache.provides.load(key)
        if held and (self._http.offline or (believed(held.expires) and not self._refresh)):
            return held.body
        before = Freshness(held.etag, held.modified, held.expires) if held else None
        headers = conditions("application/json", before, refresh=self._refresh)
        answer = await self._http.fetch(url, index, headers=headers, limit=PROVIDES_LIMIT)
        if answer.status == 304 and held:
            body = held.body
        elif answer.status == 200 and not _is_web_page(answer.headers):
            body = answer.body
        elif answer.status in (200, 403, 404, 410):
            body = None
        else:
            raise _useless(index, url, f"it answered {answer.status} to a plain question")
        now = freshness(answer.headers, before if answer.status == 304 else None)
        if now:
            self._cache.provides.save(key, ProvidesEntry(body, *now))
        return body


def _is_web_page(headers: Mapping[str, str]) -> bool:
    """Servers made for people answer a path that they do not know with a page that says so, and 200."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def _file(path: Path, index: Index) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(PROVIDES_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _useless(index, path.as_uri(), str(error.strerror)) from None


def _useless(index: Index, url: str, cause: str) -> NetworkError:
    return NetworkError(f'index "{index.name}" has no usable {PROVIDES}: {redact(url)}', causes=[cause])
