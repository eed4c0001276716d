"""Fetching: what is under way when something fails ends whole, or leaves nothing; binaries are read on their way."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.errors import IntegrityError
from gpuenv.index import IndexClient
from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.progress import Silent
from gpuenv.store.store import Staged, Store
from gpuenv.workflow.facts import FactsCache
from gpuenv.workflow.fetch import PassBy, fetch
from gpuenv.workflow.project import Project
from gpuenv.workflow.verify import NativeReader, difference
from tests.support.binaries import fatbin, library
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


def test_what_passes_by_is_read_as_the_wheel_itself(tmp_path: Path) -> None:
    """Facts of unpacked files are those of the wheel, wherever its folders go; what `pass_by` raises is no object."""
    core = library("libcore.so", ["libm.so.6"], sections=[(".nv_fatbin", fatbin(("sass", 90)))])
    files: dict[str, bytes | str] = {
        "good/libcore.so": core,
        "good/twin.so": core,
        "good-1.0.data/platlib/good/other.so": library("libother.so"),
        "good-1.0.data/data/lib/libdata.so": library("libdata.so"),
        "good-1.0.data/scripts/program": library("libprogram.so"),
        "good/__init__.py": "",
    }
    wheel = make_wheel(tmp_path, "good", files=files, tags="py3-none-manylinux2014_x86_64")
    wanted = artifact("good", wheel)
    store = SlowStore(tmp_path / "store")
    store.go_on.set()
    client = cast("IndexClient", Client({"good": wheel}, store))
    project = Project(root=tmp_path, store=store.root, cache=tmp_path / "cache")

    def run(pass_by: PassBy) -> None:
        asyncio.run(fetch([wanted], store=store, client=client, indexes={}, progress=Silent(), pass_by=pass_by))

    def refuse(artifact: LockedArtifact, wheel: Path, unpacked: Path) -> None:
        raise IntegrityError("not this one")

    with pytest.raises(IntegrityError, match="not this one"):
        run(refuse)
    assert store.find(wanted.sha256) is None
    run(NativeReader(project).pass_by)
    with open_tree(wheel) as tree:
        facts = read_artifact(tree, wanted.sha256)
    assert len(facts.objects) == 5
    assert facts.duplicates == (("good/libcore.so", "good/twin.so"),)
    assert FactsCache(project.cache).get(wanted.sha256) == facts
    stored = store.find(wanted.sha256)
    assert stored is not None
    later = NativeReader(Project(root=tmp_path, store=store.root, cache=tmp_path / "other"))
    unpacked = later.facts(wanted, store.path(stored))
    assert unpacked is not None
    assert difference(facts, unpacked) is None


@pytest.mark.parametrize(
    ("stated", "found", "words"),
    [
        ((80, 90), (90,), "has no code for sm_80, which is stated"),
        ((90,), (80, 90), "has code for sm_80, which is not stated"),
        ((90,), (90, 90), "has another device_code"),
    ],
)
def test_differences_of_device_code(stated: tuple[int, ...], found: tuple[int, ...], words: str) -> None:
    """The first difference is told by the architecture that is too many or too few."""

    def facts(architectures: tuple[int, ...]) -> NativeFacts:
        counts = {arch: architectures.count(arch) for arch in architectures}
        code = tuple(DeviceCode("nvidia", "sass", f"sm_{arch}", count=count) for arch, count in counts.items())
        return NativeFacts(None, 1, objects=(ObjectFacts("k/libk.so", 1, "elf", device_code=code),))

    assert difference(facts(stated), facts(found)) == f"k/libk.so {words}"
    assert difference(facts(stated), facts(stated)) is None
