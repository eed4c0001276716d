"""Link modes of single packages: what the manifest says of environments, and of no lock."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.places import as_user
from tests.support.project import Project

RULES = """\
[tool.gpuenv.packages.alpha]
link-mode = "copy"
[tool.gpuenv.packages.beta]
unfold = true
"""


@pytest.fixture
def synced(project: Project) -> Project:
    """alpha, beta and gamma, linked the default way."""
    for name in ("alpha", "beta", "gamma"):
        project.offer(name, files={f"{name}/__init__.py": "import os\nplace = os.path.realpath(__file__)\n"})
    project.write(["alpha", "beta", "gamma"])
    project.run("sync", "--link-mode", "symlink")
    return project


def places(project: Project) -> dict[str, bool]:
    """Of each package: is its module really in the view?"""
    code = "import alpha, beta, gamma, sys; print(*(m.place for m in (alpha, beta, gamma)), sep='\\n')"
    view = project.venv.resolve()
    found = project.inside("python", "-c", code).splitlines()
    return {
        name: Path(place).is_relative_to(view) for name, place in zip(("alpha", "beta", "gamma"), found, strict=True)
    }


def test_a_package_may_be_held_otherwise(synced: Project) -> None:
    """The sync after the edit makes another view, the lock stays, and the old rules lead back to the old view."""
    before, lock, asked = synced.venv.readlink(), synced.lock.read_bytes(), len(synced.server.requests)
    assert places(synced) == {"alpha": False, "beta": False, "gamma": False}
    synced.write(["alpha", "beta", "gamma"], more=RULES)
    assert synced.run("lock", "--check").err == "gpuenv.lock answers pyproject.toml\n"
    assert synced.run("sync", "--locked", "--link-mode", "symlink").err.startswith("synced .venv to target here")
    assert places(synced) == {"alpha": True, "beta": False, "gamma": False}
    assert synced.venv.readlink() != before
    assert "up to date" in synced.run("sync", "--link-mode", "symlink").err
    synced.write(["alpha", "beta", "gamma"])
    synced.run("sync", "--link-mode", "symlink")
    assert synced.venv.readlink() == before
    assert (synced.lock.read_bytes(), len(synced.server.requests)) == (lock, asked)


def test_rollback_keeps_what_the_manifest_said_then(synced: Project) -> None:
    """A view that is gone comes back with the packages held as they were, whatever the manifest says by now."""
    synced.write(["alpha", "beta", "gamma"], more=RULES)
    synced.run("sync", "--link-mode", "symlink")
    view = synced.venv.readlink()
    synced.write(["alpha", "beta", "gamma"])
    synced.run("sync")
    shutil.rmtree(view)
    assert synced.run("rollback", "2", "--json").json["rebuilt"]
    assert synced.venv.readlink() == view
    assert places(synced) == {"alpha": True, "beta": False, "gamma": False}


def test_unfold_is_for_ordinary_users(synced: Project) -> None:
    """Where directories are linked whole, that of the package is not."""
    if subprocess.run(as_user("true"), capture_output=True, check=False).returncode:
        pytest.skip("user namespaces do not work here")
    synced.write(["alpha", "beta", "gamma"], more=RULES)
    command = as_user(*synced.command("sync"))
    path = f"{synced.programs}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=synced.root, env={**synced.environment, "PATH": path}, capture_output=True, check=True)
    linked = {name: (synced.site / name).is_symlink() for name in ("alpha", "beta", "gamma")}
    assert linked == {"alpha": False, "beta": False, "gamma": True}
    assert (synced.site / "beta" / "__init__.py").is_symlink()


def test_an_object_that_is_gone_is_noticed(synced: Project) -> None:
    """A sync with nothing to do sees that a linked object is missing, fetches it again, and the view works."""
    (gone,) = (synced.store / "objects").glob("*-beta-1.0")
    for folder in [gone, *gone.rglob("*")]:
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.rmtree(gone)
    result = synced.run("sync", "--link-mode", "symlink")
    assert "1 fetched" in result.err
    assert places(synced) == {"alpha": False, "beta": False, "gamma": False}


def test_a_moved_project(synced: Project) -> None:
    """`.venv` moves along and imports work; programs name the old place until the next sync makes a view anew."""
    moved = synced.base / "moved"
    synced.root.rename(moved)
    python = moved / ".venv" / "bin" / "python"
    subprocess.run([python, "-c", "import alpha, beta, gamma"], env={}, check=True)
    old = (moved / ".venv").readlink()
    synced.run("sync", "--link-mode", "symlink", cwd=moved)
    assert (moved / ".venv").readlink() != old
    assert str(moved) in (moved / ".venv" / "bin" / "activate").read_text()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('link-mode = "soft"', "unknown link mode `soft`"),
        ("link-mode = true", "must be a string"),
        ('unfold = "yes"', "true or false"),
    ],
)
def test_refusals(line: str, problem: str, synced: Project) -> None:
    """Other values are refused, with the place in the file."""
    synced.write(["alpha"], more=f"[tool.gpuenv.packages.alpha]\n{line}\n")
    error = synced.run("sync", rc=2).err
    assert problem in error
    assert line in error
