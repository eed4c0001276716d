"""Index pages through the HTTP cache: believed while fresh, asked about when stale, fetched when unknown (RFC 9111)."""

import re
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gpuenv.errors import NetworkError
from gpuenv.index.cache import IndexCache, PageEntry, url_key
from gpuenv.index.credentials import split_login
from gpuenv.index.folder import FolderIndex, path_of
from gpuenv.index.http import Http
from gpuenv.index.simple import ACCEPT, BadPage, read_html, read_json, read_page
from gpuenv.model.distribution import Page
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact
from gpuenv.model.version import normal_name

__all__ = ["Pages"]

PAGE_LIMIT = 200 << 20
BELIEVED = 600.0  # seconds that an answer without any word about its age is believed


class Pages:
    """Pages of indexes and folders for one session."""

    def __init__(self, http: Http, cache: IndexCache, project_dir: Path, *, refresh: bool) -> None:
        self._http = http
        self._cache = cache
        self._project_dir = project_dir
        self._refresh = refresh
        self._folders: dict[Path, FolderIndex] = {}

    def folder_of(self, index: Index) -> Path:
        """Where a folder index lies; relative locations belong to the project."""
        place = index.location
        return (path_of(place) if place.startswith("file:") else self._project_dir / place).absolute()

    async def page(self, name: str, index: Index, *, refresh: bool = False) -> Page | None:
        """What the index knows about a name; None if it does not know it."""
        name = normal_name(name)
        if index.folder:
            folder = self.folder_of(index)
            if folder not in self._folders:
                self._folders[folder] = FolderIndex(index, folder, self._cache)
            page = self._folders[folder].page(name)
        elif index.location.startswith("file:"):
            page = _from_directory(path_of(index.location), name, index)
        else:
            page = await self._remote(name, index, refresh or self._refresh)
        # the cache knows URLs; what this project calls the index is not its business
        return page if page is None or page.index == index.name else msgspec.structs.replace(page, index=index.name)

    async def _remote(self, name: str, index: Index, refresh: bool) -> Page | None:
        url = f"{split_login(index.location)[0].rstrip('/')}/{name}/"
        login = self._http.credentials.find(url, index)
        key = url_key(url, login.user if login else "")
        held = self._cache.pages.load(key)
        if held and (self._http.offline or (held.expires > time.time() and not refresh)):
            return held.page
        answer = await self._http.fetch(url, index, headers=_conditions(held, refresh), limit=PAGE_LIMIT)
        if answer.status == 304 and held:
            page = held.page
        elif answer.status == 200:
            try:
                page = read_page(answer.body, answer.headers.get("Content-Type", ""), answer.url, name, index.name)
            except BadPage as error:
                raise _useless(name, index, url, error) from None
        elif answer.status in (403, 404, 410):
            page = None
        else:
            raise _useless(name, index, url, BadPage(f"it answered {answer.status} to a plain question"))
        entry = _entry(page, answer.headers, held if answer.status == 304 else None)
        if entry:
            self._cache.pages.save(key, entry)
        return page


def _useless(name: str, index: Index, url: str, error: BadPage) -> NetworkError:
    return NetworkError(f'index "{index.name}" has no usable page of {name}: {redact(url)}', causes=[str(error)])


def _conditions(held: PageEntry | None, refresh: bool) -> dict[str, str]:
    headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip, deflate"}
    if refresh:
        headers["Cache-Control"] = "no-cache"
    if held and held.etag:
        headers["If-None-Match"] = held.etag
    elif held and held.modified:
        headers["If-Modified-Since"] = held.modified
    return headers


def _entry(page: Page | None, headers: Mapping[str, str], before: PageEntry | None) -> PageEntry | None:
    """What to remember of an answer; None if the server asks not to."""
    control = headers.get("Cache-Control", "").lower()
    if "no-store" in control:
        return None
    etag = headers.get("ETag", before.etag if before else "")
    modified = headers.get("Last-Modified", before.modified if before else "")
    found = re.search(r"\bmax-age\s*=\s*\"?(\d{1,9})", control)
    if "no-cache" in control:
        lifetime = 0.0
    elif found:
        age = headers.get("Age", "")
        lifetime = float(found.group(1)) - (int(age) if age.isdecimal() else 0)
    else:
        lifetime = 0.0 if etag else BELIEVED
    return PageEntry(page, etag, modified, time.time() + lifetime)


def _from_directory(root: Path, name: str, index: Index) -> Page | None:
    """A page of a simple index that lies on this disk, `name/index.json` or `name/index.html`."""
    for filename, read in (("index.json", read_json), ("index.html", read_html)):
        path = root / name / filename
        try:
            return read(path.read_bytes(), path.absolute().as_uri(), name, index.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _useless(name, index, path.absolute().as_uri(), BadPage(str(error.strerror))) from None
        except BadPage as error:
            raise _useless(name, index, path.absolute().as_uri(), error) from None
    return None
