"""The world of each test here. Tests of a module share the process that forks; its imports cost more than they do."""

from collections.abc import Iterator

import pytest

from tests.faults.support import World
from tests.support.simple_server import SimpleServer


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests of a module. A module's START is how its process is started, as `World` has it."""
    with SimpleServer() as server:
        made = World(tmp_path_factory.mktemp("world"), server, getattr(request.module, "START", None))
        made.save("empty")
        yield made
        made.close()


@pytest.fixture
def world(shared: World) -> World:
    """An empty world."""
    shared.restore("empty")
    return shared
