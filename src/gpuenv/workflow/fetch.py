"""Brings artifacts into the store: several downloads at once, unpacked while others still come, flushed together."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gpuenv.binaries.elf import origin_paths
from gpuenv.errors import NetworkError, OfflineError
from gpuenv.index import IndexClient
from gpuenv.model.filename import is_native
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.manifest import Index
from gpuenv.model.progress import Progress
from gpuenv.store.store import Staged, Store

__all__ = ["PassBy", "fetch"]

# Looks at a wheel whose digest was compared, and at the folder it was unpacked to; what it raises keeps both out.
PassBy = Callable[[LockedArtifact, Path, Path], None]

T = TypeVar("T")

_DOWNLOADS = 8
_UNPACKING = 2
_LOOKING = 1  # unpacking and downloads go on beside it
_ALL = "all files"
_BATCH = 16
_GATHERING = 0.25  # seconds that a publisher waits for company


async def fetch(
    artifacts: Iterable[LockedArtifact],
    *,
    store: Store,
    client: IndexClient,
    indexes: Mapping[str, Index],
    progress: Progress,
    pass_by: PassBy | None = None,
) -> None:
    """Make every artifact an object of the store; raises the first failure, after which nothing half-done is left.

    Where a bundle is not to be had any more, the wheel that it was becomes one, under its own digest.

    indexes: by the names that artifacts refer to. pass_by: is shown each native wheel before others see it.
    """
    work = _Fetch(store, client, indexes, progress, pass_by)
    # the largest first: their unpacking is the longest, and the others come in meanwhile
    ordered = sorted(artifacts, key=lambda artifact: (-artifact.size, artifact.filename))
    progress.begin(_ALL, sum(artifact.size for artifact in ordered))
    try:
        async with asyncio.TaskGroup() as group:
            for artifact in ordered:
                group.create_task(work.one(artifact))
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    finally:
        work.close()
        progress.end(_ALL)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _to_the_end(work: Coroutine[None, None, T]) -> T:
    """The result of work that goes on to its end even if whoever waits for it is cancelled.

    Threads cannot be stopped: what they unpack or publish must not be tidied away while they are at it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(asyncio.shield(task), return_exceptions=True)
        raise


class _Fetch:
    """The limits and the publisher that all artifacts of one sync share."""

    def __init__(
        self,
        store: Store,
        client: IndexClient,
        indexes: Mapping[str, Index],
        progress: Progress,
        pass_by: PassBy | None,
    ) -> None:
        self._store = store
        self._client = client
        self._indexes = indexes
        self._progress = progress
        self._pass_by = pass_by
        self._looking = asyncio.Semaphore(_LOOKING)
        self._slots = asyncio.Semaphore(_DOWNLOADS)
        self._unpacking = asyncio.Semaphore(_UNPACKING)
        self._publisher = _Publisher(store)
        # Waiting for other processes has threads of its own: were they shared with the work, two processes could wait
        # for each other with no thread left to finish what the other one waits for.
        self._waiting = ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="waiting")

    def close(self) -> None:
        """Let the waiting threads go."""
        self._waiting.shutdown(wait=False, cancel_futures=True)

    async def one(self, artifact: LockedArtifact) -> None:
        """One artifact, held by the lock that processes share for it until it is published."""
        folder = self._store.downloads / artifact.sha256
        held = ExitStack()
        try:
            at_hand = await self._at_hand(artifact, folder, held)
            if at_hand is None:
                return
            artifact, wheel = at_hand
            async with self._unpacking:
                staged = await _to_the_end(asyncio.to_thread(self._stage, artifact, wheel, held))
            await self._look(artifact, wheel, staged.directory)
            await _to_the_end(self._publisher.publish(staged))
            await asyncio.to_thread(shutil.rmtree, folder, True)
        finally:
            await asyncio.to_thread(held.close)

    async def _at_hand(
        self, artifact: LockedArtifact, folder: Path, held: ExitStack
    ) -> tuple[LockedArtifact, Path] | None:
        """What was got, on disk, and its lock held; None if the store has the object by now."""
        async with self._slots:
            lock = self._store.lock_artifact(artifact.sha256)
            await asyncio.get_running_loop().run_in_executor(self._waiting, held.enter_context, lock)
            if self._store.find(artifact.sha256, (artifact.name, artifact.version)) is not None:
                return None
            self._progress.begin(artifact.filename, artifact.size)
            try:
                cached = await asyncio.to_thread(self._client.cached_wheel, artifact.sha256)
                return (artifact, cached) if cached else await self._download(artifact, folder)
            finally:
                self._progress.end(artifact.filename)

    async def _look(self, artifact: LockedArtifact, wheel: Path, unpacked: Path) -> None:
        if self._pass_by is not None and is_native(artifact.filename):
            async with self._looking:
                await _to_the_end(asyncio.to_thread(self._pass_by, artifact, wheel, unpacked))

    def _stage(self, artifact: LockedArtifact, wheel: Path, held: ExitStack) -> Staged:
        return held.enter_context(
            self._store.stage(
                wheel,
                sha256=artifact.sha256,
                name=artifact.name,
                version=artifact.version,
                origin_paths=origin_paths,
            )
        )

    async def _download(self, artifact: LockedArtifact, folder: Path) -> tuple[LockedArtifact, Path]:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        into = folder / artifact.filename
        index = self._indexes.get(artifact.index or "")

        def advance(amount: int) -> None:
            self._progress.advance(artifact.filename, amount)
            self._progress.advance(_ALL, amount)

        try:
            await self._get(artifact, artifact.url, index, into, advance)
        except OfflineError:
            raise
        except NetworkError:
            # a mirror has the same file elsewhere: its page says where
            moved = index and await self._client.locate(artifact.name, artifact.filename, artifact.sha256, index)
            if moved and moved != artifact.url:
                await self._get(artifact, moved, index, into, advance)
            elif index and (wheel := await self._wheel_of(artifact, index)) is not None:
                artifact, into = wheel, folder / wheel.filename
                await self._get(artifact, artifact.url, index, into, advance)
            else:
                raise
        return artifact, into

    async def _wheel_of(self, artifact: LockedArtifact, index: Index) -> LockedArtifact | None:
        """The wheel that a bundle was, if the index still has that: the lock has its digest."""
        wheel = artifact.wheel
        found = wheel and await self._client.other(wheel.name, wheel.filename, wheel.sha256, index)
        return replace(wheel, url=found.url, size=found.size or 0) if wheel and found else None

    async def _get(
        self, artifact: LockedArtifact, url: str, index: Index | None, into: Path, advance: Callable[[int], None]
    ) -> None:
        if not into.exists():
            await self._client.download(
                url, sha256=artifact.sha256, size=artifact.size, index=index, into=into, progress=advance
            )


class _Publisher:
    """Publishes what is staged, as much at a time as has gathered: one flush of the disk serves several artifacts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._staged: list[Staged] = []
        self._turn = asyncio.Lock()

    async def publish(self, staged: Staged) -> None:
        """Return once the artifact is visible and safe."""
        self._staged.append(staged)
        async with self._turn:
            if 0 < len(self._staged) < _BATCH:
                await asyncio.sleep(_GATHERING)
            batch, self._staged = self._staged, []
            if batch:
                await asyncio.to_thread(self._store.publish, batch)
