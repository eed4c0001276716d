"""Fixtures of the index tests."""

from collections.abc import Iterator

import pytest

from gpuenv.index import http
from tests.support.simple_server import SimpleServer


@pytest.fixture
def server() -> Iterator[SimpleServer]:
    with SimpleServer() as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(http, "BACKOFF", 0.0)
