"""One entered IndexClient: its connections, its cache, and the questions under way."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from gpuenv.errors import NetworkError, UsageError
from gpuenv.index.cache import IndexCache, UrlDigest, url_key
from gpuenv.index.credentials import Credentials
from gpuenv.index.download import Downloads, copy_file
from gpuenv.index.folder import file_digest, path_of
from gpuenv.index.http import Http
from gpuenv.index.ladder import Ladder
from gpuenv.index.pages import Pages
from gpuenv.index.provides import Provides
from gpuenv.index.simple import split_wheel
from gpuenv.model.distribution import About, Metadata, Page, WheelFile
from gpuenv.model.facts import NativeFacts
from gpuenv.model.manifest import Index
from gpuenv.model.providers import ProviderTable
from gpuenv.model.url import redact

__all__ = ["Session"]

T = TypeVar("T")

# asks about a file without taking it; signed URLs are signed for GET and refuse HEAD
_ONE_BYTE = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}


class Session:
    """What IndexClient passes its questions to; lives in one event loop."""

    def __init__(
        self,
        *,
        cache_dir: Path,
        project_dir: Path,
        offline: bool,
        refresh: bool,
        connections: int,
        environ: Mapping[str, str],
    ) -> None:
        self._project_dir = project_dir
        self._refresh = refresh
        self._cache = IndexCache(cache_dir)
        self._http = Http(Credentials(environ), offline=offline, connections=connections, environ=environ)
        self._pages = Pages(self._http, self._cache, project_dir, refresh=refresh)
        self._provides = Provides(self._http, self._cache, refresh=refresh)
        self._downloads = Downloads(self._http, self._cache)
        self._ladder = Ladder(self._http, self._cache, self._downloads)
        self._tasks: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def close(self) -> None:
        """Stop what is under way and close every connection."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._downloads.close()
        await self._http.close()
        await asyncio.to_thread(self._cache.close)

    async def _once(self, key: tuple[str, ...], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to a question, asked once a session; failures are forgotten, so that they can be asked again."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
        try:
            # one who stops waiting must not take the answer away from the others
            return await asyncio.shield(task)
        except Exception:
            if self._tasks.get(key) is task:
                del self._tasks[key]
            raise

    async def page(self, name: str, index: Index) -> Page | None:
        """See IndexClient.page."""
        return await self._once(("page", name, index.name, index.location), lambda: self._pages.page(name, index))

    async def provides(self, index: Index) -> ProviderTable | None:
        """See IndexClient.provides."""
        folder = self._pages.folder_of(index) if index.folder else None
        return await self._once(("provides", index.name, index.location), lambda: self._provides.table(index, folder))

    async def metadata(self, wheel: WheelFile, index: Index | None) -> Metadata:
        """See IndexClient.metadata."""
        whose = index.location if index else ""
        return await self._once(
            ("metadata", whose, wheel.key, wheel.filename), lambda: self._ladder.metadata(wheel, index)
        )

    async def native(self, wheel: WheelFile, index: Index | None) -> NativeFacts | None:
        """See IndexClient.native."""
        return await self._once(("native", wheel.key, wheel.url), lambda: self._ladder.native(wheel, index))

    async def variants(self, file: WheelFile, index: Index | None) -> bytes | None:
        """See IndexClient.variants."""
        return await self._once(("variants", file.key, file.url), lambda: self._ladder.variants(file, index))

    async def about(self, bundle: WheelFile, index: Index | None) -> About:
        """See IndexClient.about."""
        return await self._once(("about", bundle.key, bundle.url), lambda: self._ladder.about(bundle, index))

    async def direct(self, url: str, index: Index | None) -> WheelFile:
        """See IndexClient.direct."""
        return await self._once(("direct", url), lambda: self._direct(url, index))

    async def _direct(self, url: str, index: Index | None) -> WheelFile:
        bare, _, fragment = url.partition("#")
        stated = next((part[7:].lower() for part in fragment.split("&") if part.startswith("sha256=")), None)
        if bare.startswith("file:") or "://" not in bare:
            path = path_of(bare) if bare.startswith("file:") else self._project_dir / bare
            bare = Path(path).absolute().as_uri()
        elif not bare.startswith(("https://", "http://")):
            raise UsageError(f"{redact(bare)} is not a URL that gpuenv can open", hints=["use https:// or a path"])
        bare = self._http.credentials.remember(bare)
        filename = unquote(urlsplit(bare).path.rpartition("/")[2])
        if split_wheel(filename) is None:
            raise UsageError(
                f"{redact(bare)} is no wheel or bundle",
                hints=["build a wheel of it and refer to that, by path or by URL"],
            )
        return await self.complete(WheelFile(filename, bare, sha256=stated or None), index)

    async def complete(self, wheel: WheelFile, index: Index | None) -> WheelFile:
        """See IndexClient.complete."""
        if wheel.sha256 and wheel.size is not None:
            return wheel
        return await self._once(("complete", wheel.url, wheel.sha256 or ""), lambda: self._complete(wheel, index))

    async def _complete(self, wheel: WheelFile, index: Index | None) -> WheelFile:
        if wheel.url.startswith("file:"):
            digest = await asyncio.to_thread(file_digest, path_of(wheel.url), self._cache)
            return msgspec.structs.replace(wheel, sha256=wheel.sha256 or digest.sha256, size=digest.size)
        if wheel.sha256:
            size = self._cache.sizes.load(wheel.sha256)
            if size is None and (size := await self._size(wheel, index)) is not None:
                self._cache.sizes.save(wheel.sha256, size)
            if size is not None:
                return msgspec.structs.replace(wheel, size=size)
        held = await self._hashed_before(wheel, index)
        if held is None:
            path = await self._downloads.whole(wheel.url, wheel.filename, index, sha256=wheel.sha256)
            held = UrlDigest(path.stem, path.stat().st_size, self._downloads.etags.get(wheel.url, ""))
            self._cache.urls.save(url_key(wheel.url), held)
        return msgspec.structs.replace(wheel, sha256=held.sha256, size=held.size)

    async def _size(self, wheel: WheelFile, index: Index | None) -> int | None:
        answer = await self._http.fetch(wheel.url, index, headers=_ONE_BYTE, limit=1)
        if answer.status not in (200, 206):
            raise NetworkError(f"{redact(wheel.url)} is not there ({answer.status})")
        length = answer.headers.get("Content-Length", "")
        if answer.status == 206:
            length = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return int(length) if length.isdecimal() else None

    async def _hashed_before(self, wheel: WheelFile, index: Index | None) -> UrlDigest | None:
        """What an earlier session learned about a URL without a digest, if the server says that it still is true."""
        held = self._cache.urls.load(url_key(wheel.url))
        if held is None or self._http.offline:
            return held
        if not held.etag:
            return None
        headers = {**_ONE_BYTE, "If-None-Match": held.etag}
        answer = await self._http.fetch(wheel.url, index, headers=headers, limit=1)
        return held if answer.status == 304 else None

    async def download(
        self, url: str, *, sha256: str, size: int, index: Index | None, into: Path, progress: Callable[[int], None]
    ) -> None:
        """See IndexClient.download."""
        if url.startswith(("https://", "http://")):
            url = self._http.credentials.remember(url)
            await self._downloads.download(url, sha256=sha256, size=size, index=index, into=into, progress=progress)
            return
        folder = self._pages.folder_of(index) if index and index.folder else self._project_dir
        source = path_of(url) if url.startswith("file:") else folder / url
        into.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(copy_file, source.absolute(), into, sha256, size)
        progress(size)

    async def locate(self, name: str, filename: str, sha256: str, index: Index) -> str | None:
        """See IndexClient.locate."""
        found = await self._offered(name, filename, sha256, index)
        return found.url if found else None

    async def _offered(self, name: str, filename: str, sha256: str, index: Index) -> WheelFile | None:
        page = await self._pages.page(name, index, refresh=not self._http.offline)
        wheels = (wheel for release in page.releases for wheel in release.wheels) if page else ()
        return next((one for one in wheels if one.filename == filename and one.sha256 in (None, sha256)), None)

    async def other(self, name: str, filename: str, sha256: str, index: Index) -> WheelFile | None:
        """See IndexClient.other."""
        found = await self._offered(name, filename, sha256, index)
        found = await self.complete(found, index) if found else None
        return found if found is not None and found.sha256 == sha256 and found.size is not None else None
