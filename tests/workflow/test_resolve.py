"""Gather and solve against a client that is a dictionary: what is asked for, how often, and what failures mean."""

import asyncio
from collections import Counter
from typing import Any, cast

import msgspec
import pytest

from gpuenv.errors import NetworkError
from gpuenv.index import IndexClient
from gpuenv.manifest.decode import decode
from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.demand import Learnt
from gpuenv.model.distribution import Metadata, Page, WheelFile
from gpuenv.model.facts import NativeFacts
from gpuenv.model.manifest import Index
from gpuenv.model.progress import Silent
from gpuenv.solve import Task
from gpuenv.workflow.facts import WheelFacts
from gpuenv.workflow.gather import Gatherer
from gpuenv.workflow.resolve import resolve
from gpuenv.workflow.route import Routes
from tests.support.scenario import World, world_of

HEAD = '[project]\nname = "train"\n'
TARGETS = '[tool.gpuenv.targets.new]\npython = "3.13"\n[tool.gpuenv.targets.old]\npython = "3.10"\n'


class Memory:
    """An IndexClient over a world, which counts what it is asked; broken: keys whose question fails."""

    def __init__(self, world: World, *broken: str) -> None:
        self.world = world
        self.broken = broken
        self.asked: Counter[str] = Counter()

    async def _ask(self, key: str) -> None:
        self.asked[key] += 1
        await asyncio.sleep(0)
        if any(part in key for part in self.broken):
            raise NetworkError(f"{key} is broken")

    async def page(self, name: str, index: Index) -> Page | None:
        """A page."""
        await self._ask(f"page {name}")
        return self.world.pages.get(name)

    async def metadata(self, wheel: WheelFile, index: Index | None) -> Metadata:
        """Metadata."""
        await self._ask(f"metadata {wheel.filename}")
        return self.world.metadata[wheel.key]

    async def direct(self, url: str, index: Index | None = None) -> WheelFile:
        """A wheel behind a URL."""
        await self._ask(f"direct {url}")
        return self.world.direct[url]

    async def complete(self, wheel: WheelFile, index: Index | None) -> WheelFile:
        """A digest and a size."""
        await self._ask(f"complete {wheel.filename}")
        return msgspec.structs.replace(wheel, sha256=wheel.filename.encode().hex().ljust(64, "0")[:64], size=1)

    def known(self, wheel: WheelFile) -> NativeFacts | None:
        """Facts that need no reading: of versions below 2."""
        return self.world.facts[wheel.key] if wheel.filename.split("-")[1] < "2" else None

    def learnt(self, wheel: WheelFile) -> Learnt:
        """What needed no reading was published."""
        return "published" if wheel.filename.split("-")[1] < "2" else "read"

    async def said(self, wheel: WheelFile, index: Index | None, client: object) -> NativeFacts | None:
        """No index says anything of binaries."""
        return None

    def read(self, wheel: WheelFile, index: Index | None) -> NativeFacts:
        """Facts of any wheel."""
        self.asked[f"read {wheel.filename}"] += 1
        return self.world.facts[wheel.key]


def answer(memory: Memory, text: str, **kept: Any) -> dict[str, Solution] | Conflict:
    """Resolve a manifest."""
    manifest = decode(text)
    routes = Routes(manifest, Index("default", "https://default.example/", default=True))
    client = cast("IndexClient", memory)
    facts = cast("WheelFacts", memory)
    return asyncio.run(resolve(manifest, client, routes, kept=kept, exclude_newer=None, facts=facts, progress=Silent()))


def versions(found: dict[str, Solution] | Conflict, target: str) -> dict[str, str]:
    """name -> version."""
    assert isinstance(found, dict), found
    return {name: pin.version for name, pin in sorted(found[target].pins.items())}


WORLD: dict[str, dict[str, dict[str, Any]]] = {
    "a": {"2.0": {"requires": ["b", "c>=1"]}, "1.0": {}},
    "b": {"1.0": {"requires": ["c; python_version < '3.12'"]}},
    "c": {"1.0": {}, "3.0": {"requires-python": ">=3.12"}},
}


def test_one_question_each() -> None:
    """Each target asks at most once for what both need and for nothing else; pins end with digest and size."""
    memory = Memory(world_of(WORLD, {}))
    found = answer(memory, HEAD + 'dependencies = ["a"]\n' + TARGETS)
    assert versions(found, "new") == {"a": "2.0", "b": "1.0", "c": "3.0"}
    assert versions(found, "old") == {"a": "2.0", "b": "1.0", "c": "1.0"}
    assert isinstance(found, dict)
    assert all(pin.wheel.sha256 and pin.wheel.size for one in found.values() for pin in one.pins.values())
    files = [f"{stem}-py3-none-any.whl" for stem in ("a-2.0", "b-1.0", "c-1.0", "c-3.0")]
    assert set(memory.asked) == {
        *(f"page {name}" for name in "abc"),
        *(f"{what} {file}" for what in ("metadata", "complete") for file in files),
    }
    assert max(memory.asked.values()) <= 2


class Hiccup(Memory):
    """A client that fails the first question of each kind and answers the second."""

    async def _ask(self, key: str) -> None:
        await super()._ask(key)
        if self.asked[key] == 1 and any(part in key for part in ("page b", "metadata c-3.0")):
            raise NetworkError(f"{key} had a hiccup")


def test_a_failure_that_passes_is_none() -> None:
    """What failed when it was guessed at, and came when it was needed, keeps nothing from being solved."""
    memory = Hiccup(world_of(WORLD, {}))
    found = answer(memory, HEAD + 'dependencies = ["a"]\n' + TARGETS)
    assert versions(found, "new") == {"a": "2.0", "b": "1.0", "c": "3.0"}
    assert memory.asked["page b"] > 1


def test_targets_share_versions_whatever_their_order() -> None:
    """A version chosen for one target is preferred in the next, so that order in the manifest means nothing."""
    world = world_of({"a": {"1.0": {}, "2.0": {"requires-python": "<3.12"}}}, {})
    one, two = TARGETS.split("[tool.gpuenv.targets.old]")
    turned = f"[tool.gpuenv.targets.old]{two}{one}"
    for targets in (TARGETS, turned):
        found = answer(Memory(world), HEAD + 'dependencies = ["a"]\n' + targets)
        assert [versions(found, name) for name in ("new", "old")] == [{"a": "1.0"}, {"a": "1.0"}]


def test_kept_versions() -> None:
    """What the old lock had is taken again where it still will do."""
    memory = Memory(world_of(WORLD, {}))
    found = answer(memory, HEAD + 'dependencies = ["a"]\n' + TARGETS, new={"a": ("1.0",)})
    assert versions(found, "new") == {"a": "1.0"}


def test_failed_guesses_count_when_needed() -> None:
    """What fails while gathering ahead is raised only once a solve asks for it."""
    world = world_of({"a": {"1.0": {}}, "b": {"1.0": {}}}, {})
    manifest = decode(HEAD + 'dependencies = ["a", "b"]\n')
    routes = Routes(manifest, Index("default", "https://default.example/", default=True))

    memory = Memory(world, "page b")

    async def gather() -> None:
        gatherer = Gatherer(cast("IndexClient", memory), routes, cast("WheelFacts", memory), Silent())
        target = manifest.targets["default"]
        task = Task("train", "", {"project": manifest.dependencies}, target, gatherer.catalog("default"))
        await gatherer.ahead([task])
        assert set(task.catalog.pages) == {"a"}
        await gatherer.fill(task, Missing(pages=("a",)))
        with pytest.raises(NetworkError, match="page b is broken"):
            await gatherer.fill(task, Missing(pages=("b",)))

    asyncio.run(gather())


@pytest.mark.parametrize("broken", ["page b", "metadata a-2.0"])
def test_failures_of_what_is_needed(broken: str) -> None:
    """A solve that cannot go on raises what kept it."""
    with pytest.raises(NetworkError, match=broken):
        answer(Memory(world_of(WORLD, {}), broken), HEAD + 'dependencies = ["a"]\n')


def test_conflicts_are_answers() -> None:
    """The first target without solution is returned as a value."""
    found = answer(Memory(world_of(WORLD, {})), HEAD + 'dependencies = ["a", "c<1"]\n' + TARGETS)
    assert isinstance(found, Conflict)
    assert (found.target, found.subject) == ("new", "c")


def test_direct_urls() -> None:
    """A URL is asked for once, its page never."""
    url = "https://files.example/a-5.0-py3-none-any.whl"
    memory = Memory(world_of({"b": {"1.0": {}}}, {url: {"requires": ["b"]}}))
    found = answer(memory, HEAD + f'dependencies = ["a @ {url}"]\n' + TARGETS)
    assert versions(found, "old") == {"a": "5.0", "b": "1.0"}
    assert memory.asked[f"direct {url}"] == 1
    assert memory.asked["page a"] == 0


def test_wheels_are_read_only_where_they_decide() -> None:
    """Facts that are known cost nothing; a wheel is read when the search comes to it, and once for all targets."""
    tags = "cp312-cp312-manylinux_2_28_x86_64"
    told = {"wheels": [tags], "requires": ["nvidia-thing"]}
    world = world_of(
        {
            "a": {"3.0": {**told, "device": ["sm_90"]}, "2.0": {**told, "device": ["sm_70"]}, "1.0": told},
            "nvidia-thing": {"1.0": {"wheels": ["py3-none-manylinux_2_28_x86_64"], "device": ["sm_70"]}},
            "plain": {"2.0": {"wheels": [tags]}},
        },
        {},
    )
    memory = Memory(world)
    targets = "".join(f'[tool.gpuenv.targets.{name}]\ngpu = ["sm_70"]\n' for name in ("one", "two"))
    found = answer(memory, HEAD + 'dependencies = ["a", "plain"]\n' + targets)
    assert versions(found, "one") == versions(found, "two") == {"a": "2.0", "nvidia-thing": "1.0", "plain": "2.0"}
    read = {key: count for key, count in memory.asked.items() if key.startswith("read")}
    assert read == {f"read a-3.0-{tags}.whl": 1, f"read a-2.0-{tags}.whl": 1}
