"""Fetching when something fails meanwhile: what is under way ends whole, or leaves nothing."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gpuenv.errors import IntegrityError
from gpuenv.index import IndexClient
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.progress import Silent
from gpuenv.store.store import Staged, Store
from gpuenv.workflow.fetch import fetch
from tests.support.wheels import make_wheel


class SlowStore(Store):
    """Publishing takes as long as a test wants."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.began = threading.Event()
        self.go_on = threading.Event()

    def publish(self, staged: Sequence[Staged]) -> None:
        """Wait for the failure elsewhere, and then some for whoever tidies too early."""
        self.began.set()
        self.go_on.wait(20)
        threading.Event().wait(0.3)
        super().publish(staged)


class Client:
    """Gives wheels by name; `bad` is refused while another one is being published."""

    def __init__(self, wheels: dict[str, Path], store: SlowStore) -> None:
        self.wheels = wheels
        self.store = store

    def cached_wheel(self, sha256: str) -> None:
        """Nothing is cached."""

    async def download(self, url: str, *, into: Path, **_: Any) -> None:
        """Copy the wheel, or fail at the worst moment."""
        if url == "bad":
            await asyncio.to_thread(self.store.began.wait, 20)
            self.store.go_on.set()
            raise IntegrityError("bad is not the file that is expected")
        await asyncio.to_thread(into.write_bytes, self.wheels[url].read_bytes())


def artifact(name: str, path: Path) -> LockedArtifact:
    """The wheel as a lock has it."""
    data = path.read_bytes()
    return LockedArtifact(path.name, name, "1.0", "default", name, hashlib.sha256(data).hexdigest(), len(data))


def test_a_failure_waits_for_what_is_being_published(tmp_path: Path) -> None:
    """One artifact fails while another is published: the failure is raised, and the object is whole."""
    files: dict[str, bytes | str] = {f"good/{number}.py": f"x = {number}\n" for number in range(40)}
    make: Callable[..., Path] = make_wheel
    wheels = {name: make(tmp_path, name, files=files if name == "good" else None) for name in ("good", "bad")}
    store = SlowStore(tmp_path / "store")
    wanted = [artifact(name, path) for name, path in wheels.items()]
    client = cast("IndexClient", Client(wheels, store))
    with pytest.raises(IntegrityError):
        asyncio.run(fetch(wanted, store=store, client=client, indexes={}, progress=Silent()))
    stored = store.find(wanted[0].sha256)
    assert stored is not None
    site = store.path(stored) / "site-packages" / "good"
    assert len(list(site.glob("*.py"))) == 40
    assert list((store.root / "tmp").iterdir()) == []
    assert store.find(wanted[1].sha256) is None
