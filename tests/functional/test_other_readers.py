"""pip and uv before an index that has bundles as well: they skip what they do not know, and install the wheel."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.bundles import make_bundle
from tests.support.programs import find_program
from tests.support.project import PATIENCE, Project

HAVE = {"pip": find_spec("pip") is not None, "uv": find_program("uv") is not None}


@pytest.fixture
def place(project: Project) -> Path:
    """An empty folder beside an index with a wheel and its bundle, and with a newer version as bundle alone."""
    for version in ("1.0", "2.0"):
        wheel = project.wheel("demo", version, files={"demo.py": f"version = '{version}'\n"})
        project.server.add(make_bundle(wheel))
        if version == "1.0":
            project.server.add(wheel)
    folder = project.base / "place"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("style", ["json", "html"])
@pytest.mark.parametrize("reader", ["pip", "uv"])
def test_other_installers_take_the_wheel(project: Project, place: Path, reader: str, style: str) -> None:
    """A page with bundles is no trouble for them: the newest version of which there is a wheel is installed."""
    project.server.style = style
    if not HAVE[reader]:
        pytest.skip(f"needs {reader}")
    target = ["--target", str(place), "--index-url", project.server.url, "demo"]
    commands = {
        "pip": [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *target],
        "uv": [str(find_program("uv")), "pip", "install", "--no-config", "--python", sys.executable, *target],
    }
    environment = {**os.environ, "HOME": str(place.parent / "home"), "UV_CACHE_DIR": str(place.parent / "uv")}
    done = subprocess.run(
        commands[reader],
        env=environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (place / "demo.py").read_text() == "version = '1.0'\n"
    assert project.server.count(".whl.tar.zst") == 0


def test_gpuenv_takes_the_bundle_of_the_same_page(project: Project, place: Path) -> None:
    """On the same index gpuenv sees the newer version, which is there as a bundle alone."""
    assert list(place.iterdir()) == []
    project.write(["demo"])
    project.run("sync")
    assert project.installed() == {"demo": "2.0"}
    assert project.inside("python", "-c", "import demo; print(demo.version)") == "2.0\n"
