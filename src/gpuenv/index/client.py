"""The client: pages, metadata and files of every index, each asked for once, however many want it."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from gpuenv.index.session import Session
    from gpuenv.model.distribution import About, Metadata, Page, WheelFile
    from gpuenv.model.facts import NativeFacts
    from gpuenv.model.manifest import Index
    from gpuenv.model.providers import ProviderTable

__all__ = ["CONNECTIONS", "IndexClient"]

CONNECTIONS = 18  # measured: from 8 to 32 make no difference that stands out of the noise, 50 make servers throttle


class IndexClient:
    """Where distributions come from; an async context manager for one event loop at a time.

    It may be entered again later, in another loop. Within one session every page and every metadata is asked for once,
    so that one operation sees one state of each index. Failures are GpuenvErrors; no message shows credentials.
    """

    def __init__(
        self,
        *,
        cache_dir: Path,
        project_dir: Path,
        offline: bool = False,
        refresh: bool = False,
        connections: int = CONNECTIONS,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._cache_dir = cache_dir
        self._project_dir = project_dir
        self._offline = offline
        self._refresh = refresh
        self._connections = connections
        self._environ = environ
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        # asyncio, TLS and the HTTP library take a third of a second to import: only who talks to an index pays
        from gpuenv.index.session import Session

        self._session = Session(
            cache_dir=self._cache_dir,
            project_dir=self._project_dir,
            offline=self._offline,
            refresh=self._refresh,
            connections=self._connections,
            environ=self._environ,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._entered, None
        await session.close()

    @property
    def _entered(self) -> "Session":
        if self._session is None:
            raise RuntimeError("an IndexClient is used inside `async with`")
        return self._session

    async def page(self, name: str, index: "Index") -> "Page | None":
        """What the index knows about a name; None: it does not know the name."""
        return await self._entered.page(name, index)

    async def provides(self, index: "Index") -> "ProviderTable | None":
        """Which distributions bring which sonames, as `provides.json` of the index says; None: it has none."""
        return await self._entered.provides(index)

    async def metadata(self, wheel: "WheelFile", index: "Index | None") -> "Metadata":
        """The metadata of a wheel; index: where it came from, None for a direct URL."""
        return await self._entered.metadata(wheel, index)

    async def native(self, wheel: "WheelFile", index: "Index | None") -> "NativeFacts | None":
        """What the index says of a wheel's binaries; None where it says nothing that is about this very file."""
        return await self._entered.native(wheel, index)

    async def variants(self, file: "WheelFile", index: "Index | None") -> bytes | None:
        """What says which properties labels stand for: a release's variants file, or a wheel's own `variant.json`.

        None where an index lists it and has none, or the wheel cannot be read or has none.
        """
        return await self._entered.variants(file, index)

    async def about(self, bundle: "WheelFile", index: "Index | None") -> "About":
        """What a bundle says of itself; raises ArchiveError where it cannot be read."""
        return await self._entered.about(bundle, index)

    async def direct(self, url: str, index: "Index | None" = None) -> "WheelFile":
        """A wheel behind a URL or a path (relative to the project), with its sha256 and size.

        A `#sha256=` fragment is believed and compared on download. Without one the wheel is downloaded whole, once, and
        kept for sync.
        """
        return await self._entered.direct(url, index)

    async def complete(self, wheel: "WheelFile", index: "Index | None") -> "WheelFile":
        """The same wheel with sha256 and size filled in, for indexes that do not state them."""
        return await self._entered.complete(wheel, index)

    async def download(
        self,
        url: str,
        *,
        sha256: str,
        size: int,
        index: "Index | None",
        into: Path,
        progress: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Write the file to `into`, which appears only when size and SHA-256 are right; else IntegrityError.

        A partial `into`.part is continued. url: http(s), `file:`, or a path relative to a folder index. progress gets
        the number of bytes that came since its last call, a negative one when a download starts over.
        """
        await self._entered.download(url, sha256=sha256, size=size, index=index, into=into, progress=progress)

    async def locate(self, name: str, filename: str, sha256: str, index: "Index") -> str | None:
        """Where the index has a locked file now, asked anew; None if it has no such file with this digest."""
        return await self._entered.locate(name, filename, sha256, index)

    async def other(self, name: str, filename: str, sha256: str, index: "Index") -> "WheelFile | None":
        """A file of the index by name and digest, with place and size, asked anew; None if it has no such file."""
        return await self._entered.other(name, filename, sha256, index)

    def cached_wheel(self, sha256: str) -> Path | None:
        """A wheel that metadata() or direct() had to download whole, hashed again: a damaged one is removed."""
        path = self._cache_dir / "wheels-v1" / f"{sha256}.whl"
        if not sha256 or not path.is_file():
            return None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return path
        path.unlink(missing_ok=True)
        return None
