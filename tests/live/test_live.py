"""gpuenv against the real default index. Names with `smoke` are the small set that CI runs, a minute at most."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuenv.workflow.published import PublishedFacts
from tests.live.conftest import TIMEOUT, Project
from tests.support.programs import find_program

pytestmark = pytest.mark.live

Make = Callable[..., Project]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

WEB = ("fastapi[standard]", "sqlalchemy", "pandas", "scikit-learn", "celery", "boto3", "pytest")


def test_smoke_lock_sync_import(project: Make) -> None:
    """requests and rich are locked, fetched, linked and imported; a second sync finds nothing to do."""
    here = project("requests", "rich")
    assert here.json("lock")["targets"]["default"]["packages"].keys() >= {"requests", "rich", "urllib3", "pygments"}
    done = here.json("sync")
    assert done["changed"] and done["fetched"] == len(done["installed"]) >= 8
    assert here.python("import requests, rich; print(requests.get.__name__, rich.print.__name__)") == "get print"
    again = here.json("sync", "--offline", "--locked")
    assert not again["changed"]
    assert again["environment"] == done["environment"]


def test_smoke_extra(project: Make) -> None:
    """An extra brings what it names: requests[socks] brings PySocks, requests alone does not."""
    here = project("requests[socks]")
    assert "pysocks" in here.json("lock")["targets"]["default"]["packages"]
    (here.root / "pyproject.toml").write_text(
        (here.root / "pyproject.toml").read_text().replace("requests[socks]", "requests")
    )
    changes = here.json("lock")["changes"]
    assert [(change["package"], change["now"]) for change in changes] == [("pysocks", None)]


def test_smoke_yanked(project: Make) -> None:
    """A yanked version is taken where a requirement pins it, with a warning, and never where a range admits it."""
    here = project("requests==2.32.0")
    document = here.json("lock")
    assert document["targets"]["default"]["packages"]["requests"] == "2.32.0"
    if not document["warnings"]:
        pytest.skip("the index does not say that requests 2.32.0 was yanked")
    assert "requests 2.32.0 was yanked" in document["warnings"][0]
    text = (here.root / "pyproject.toml").read_text()
    (here.root / "pyproject.toml").write_text(text.replace("==2.32.0", ">=2.32.0,<2.32.1"))
    (here.root / "gpuenv.lock").unlink()
    error = here.json("lock", code=1)["error"]
    assert error["kind"] == "no-solution"
    assert any("yanked" in cause for cause in error["causes"])


def test_smoke_quickstart(project: Make, tmp_path: Path) -> None:
    """The quickstart example locks for its four Pythons and runs."""
    here = project()
    shutil.copytree(EXAMPLES / "quickstart", tmp_path / "quickstart", ignore=shutil.ignore_patterns(".*", "*.lock"))
    example = Project(tmp_path / "quickstart", here.environ)
    targets = example.json("lock")["targets"]
    assert sorted(targets) == ["py311", "py312", "py313", "py314"]
    assert {"httpx", "numpy", "rich"} <= targets["py311"]["packages"].keys()
    printed = example.gpuenv("run", "--", "python", "hello.py")
    assert "every residual below 1e-6: True" in printed
    assert re.search(r"^numpy +[\d.]+ +[a-z0-9]{32}-numpy-[\d.]+ *$", printed, re.MULTILINE)


@pytest.mark.parametrize("requirements", [WEB, ("jupyterlab", "matplotlib"), ("apache-airflow",)], ids=" ".join)
def test_same_versions_as_uv(project: Make, requirements: tuple[str, ...], tmp_path: Path) -> None:
    """A project that has wheels for everything gets the versions that uv chooses for the same target."""
    uv = find_program("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    ours = project(*requirements, python="3.12").json("lock")["targets"]["default"]["packages"]
    (tmp_path / "in.txt").write_text("\n".join(requirements))
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:",
         "--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28", "in.txt"],
        cwd=tmp_path,
        env=os.environ | {"UV_CACHE_DIR": str(tmp_path / "uv")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==(\S+)", done.stdout, re.MULTILINE))
    assert {name: (ours.get(name), theirs.get(name)) for name in ours.keys() | theirs.keys()
            if ours.get(name) != theirs.get(name)} == {}  # fmt: skip


def test_smoke_facts(project: Make) -> None:
    """A real GPU wheel says what it carries, and says it again as the shipped table does."""
    here = project()
    (here.root / "wheels.txt").write_text("nvidia-nvjpeg ==13.3.2.43 *manylinux*_x86_64.whl\n")
    assert here.json("facts", "wheels.txt", "--output", "table.zip")["read"] == 1
    (read,) = PublishedFacts(here.root / "table.zip").wheels()
    (library,) = (found for found in read.facts.objects if found.soname == "libnvjpeg.so.13")
    assert {"sm_90", "compute_121"} <= {code.arch for code in library.device_code}
    assert PublishedFacts().get("nvidia-nvjpeg", str(read.facts.sha256)) == read.facts


def test_pip_finds_nothing_broken(project: Make) -> None:
    """pip, looking at the view from outside, finds every requirement met, and refuses to uninstall from it."""
    here = project(*WEB)
    here.gpuenv("sync")
    python = str(here.root / ".venv" / "bin" / "python")

    def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    checked = pip("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert pip("uninstall", "--yes", "boto3").returncode != 0
    assert here.python("import boto3, pandas, sklearn; print('ok')") == "ok"
