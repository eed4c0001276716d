"""The emulated loader beside the real one, over environments of the real index."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuenv.host.cpu import cpu_level
from gpuenv.workflow.binding import surroundings
from tests.live.conftest import Project
from tests.support.lddebug import Report, compare, everything
from tests.support.project import HERE

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif("linux-x86_64" not in HERE, reason="the loader of x86-64"),
]


@pytest.mark.parametrize(
    ("packages", "needs"),
    [
        (("scipy",), 300),
        (("pyarrow",), 300),
        (("psycopg2-binary", "lxml", "cryptography"), 200),
        (("opencv-python-headless", "shapely"), 200),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_emulation_agrees(
    project: Callable[..., Project], tmp_path: Path, packages: tuple[str, ...], needs: int
) -> None:
    """Every search, file and scope is the real loader's while modules are imported and libraries are opened."""
    here = project(*packages)
    here.json("sync")
    python = here.root / ".venv" / "bin" / "python"
    total = Report()
    for log in everything(here.root / ".venv", tmp_path / "log"):
        system = surroundings(str(python.resolve()), {}, cpu_level(Path("/"), "x86_64"))
        assert system is not None
        total.add(compare(log, system, python))
    assert total.differences == []
    assert total.needs > needs
    checks = json.loads(here.gpuenv("doctor", "--json"))["checks"]
    assert all(check["met"] for check in checks if check["section"] == "binding")
