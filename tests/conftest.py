"""Fixtures that several folders of tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, forking
from tests.support.simple_server import SimpleServer


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: packed bytes may hold the time, and every worker must collect the same names."""
    return f"{len(val)}B" if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def commands() -> Iterator[None]:
    """The process that commands are forks of, one for all tests of a worker."""
    with forking():
        yield


@pytest.fixture
def server() -> Iterator[SimpleServer]:
    """A loopback index."""
    with SimpleServer() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: SimpleServer) -> Project:
    """An empty project whose default index is the loopback one."""
    return Project(tmp_path, server)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: twice as many workers as processors, for most tests wait for processes and for the disk."""
    return 2 * (os.cpu_count() or 1)
