"""What the tests of the index share: clients whose surroundings are known, and a loop to run them in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gpuenv.index import IndexClient
from gpuenv.model.manifest import Index
from tests.support.simple_server import SimpleServer

__all__ = ["ask", "index_of"]

T = TypeVar("T")


def index_of(server: SimpleServer, name: str = "local") -> Index:
    return Index(name, server.url)


def ask(
    folder: Path,
    question: Callable[[IndexClient], Awaitable[T]],
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> T:
    """Enter a fresh client with its cache in `folder`, ask, and close it."""

    async def run() -> T:
        surroundings = {"HOME": str(folder / "home"), **(environ or {})}
        client = IndexClient(cache_dir=folder / "cache", project_dir=folder, environ=surroundings, **options)
        async with client:
            return await question(client)

    return asyncio.run(run())
