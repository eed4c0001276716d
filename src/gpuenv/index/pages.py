"""Index pages through the HTTP cache: believed while fresh, asked about when stale, fetched when unknown (RFC 9111)."""

from pathlib import Path

import msgspec

from gpuenv.errors import NetworkError
from gpuenv.index.cache import IndexCache, PageEntry, url_key
from gpuenv.index.credentials import split_login
from gpuenv.index.folder import FolderIndex, path_of
from gpuenv.index.freshness import Freshness, believed, conditions, freshness
from gpuenv.index.http import Http
from gpuenv.index.simple import ACCEPT, BadPage, read_html, read_json, read_page
from gpuenv.model.distribution import Page
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact
from gpuenv.model.version import normal_name

__all__ = ["Pages"]

PAGE_LIMIT = 200 << 20


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
        if held and (self._http.offline or (believed(held.expires) and not refresh)):
            return held.page
        before = Freshness(held.etag, held.modified, held.expires) if held else None
        headers = conditions(ACCEPT, before, refresh=refresh)
        answer = await self._http.fetch(url, index, headers=headers, limit=PAGE_LIMIT)
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
        now = freshness(answer.headers, before if answer.status == 304 else None)
        if now:
            self._cache.pages.save(key, PageEntry(page, *now))
        return page


def _useless(name: str, index: Index, url: str, error: BadPage) -> NetworkError:
    return NetworkError(f'index "{index.name}" has no usable page of {name}: {redact(url)}', causes=[str(error)])


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
