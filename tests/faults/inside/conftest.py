"""The world of tests in namespaces of their own: one for each, for they mount what is theirs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stories import offered
from tests.faults.support import World
from tests.support.simple_server import SimpleServer


@pytest.fixture
def world(tmp_path: Path, server: SimpleServer) -> Iterator[World]:
    """A world with wheels on its index; its commands may do anything."""
    made = World(tmp_path, server)
    offered(made)
    yield made
    made.close()
