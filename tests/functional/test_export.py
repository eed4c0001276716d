"""`gpuenv export`: files that pip and uv install, or the reason why there is none."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.pylock import Pylock

from tests.support.bundles import make_bundle
from tests.support.programs import find_program
from tests.support.project import HERE, PATIENCE, Project, snapshot, target


def locked(project: Project) -> None:
    """A lock with an extra, a group and a folder of wheels."""
    project.offer("demo", requires=["dep>=1"])
    project.offer("dep", "1.5")
    project.offer("tool")
    project.wheel("near", folder=project.root / "wheels")
    project.write(
        ["demo", "near"],
        more='[dependency-groups]\ndev = ["tool"]\n[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n'
        'packages = ["near"]\n',
    )
    project.run("lock")


def packages(path: Path) -> dict[str, Any]:
    document = tomllib.loads(path.read_text())
    Pylock.from_dict(document)
    return {one["name"]: one for one in document["packages"]}


def test_a_file_for_the_only_target(project: Project) -> None:
    """It has wheels with URL or relative path, size and digest, the environment of the target, and what sync takes."""
    locked(project)
    done = project.run("export")
    path = project.root / "pylock.toml"
    assert done.err == f"{path}: 4 packages\n"
    found = packages(path)
    assert sorted(found) == ["demo", "dep", "near", "tool"]
    (wheel,) = found["dep"]["wheels"]
    assert wheel["url"] == f"{project.server.url.removesuffix('/simple/')}/files/dep-1.5-py3-none-any.whl"
    assert len(wheel["hashes"]["sha256"]) == 64
    (near,) = found["near"]["wheels"]
    assert near["path"] == "wheels/near-1.0-py3-none-any.whl"
    document = tomllib.loads(path.read_text())
    assert document["requires-python"] == "=={}.{}.*".format(*sys.version_info[:2])
    assert 'sys_platform == "linux"' in document["environments"][0]
    assert project.run("export").err == f"{path}: 4 packages (unchanged)\n"
    other = project.root / "out" / "pylock.small.toml"
    document = project.run("export", "--no-group", "dev", "--json", "-o", other).json
    assert document == {
        "format": "pylock",
        "files": [{"target": "here", "path": str(other), "packages": 3, "changed": True}],
        "warnings": [],
    }
    assert packages(other)["near"]["wheels"][0]["path"] == "../wheels/near-1.0-py3-none-any.whl"


def test_a_file_for_each_target(project: Project) -> None:
    """Without --target each target has one, whose name has no dot of its own; -o takes one of them."""
    project.offer("demo")
    project.write(["demo"], targets=HERE + target('"a.b"'))
    project.run("lock")
    project.run("export")
    assert sorted(path.name for path in project.root.glob("pylock*")) == ["pylock.a-b.toml", "pylock.here.toml"]
    project.run("export", "--target", "here", "-o", project.root / "pylock.x.toml")
    for arguments, words in {
        ("-o", "pylock.toml"): "can hold one target",
        ("--target", "none"): "there is no target `none`",
        ("--target", "here", "-o", "lock.toml"): "installers take no lock.toml",
    }.items():
        assert words in project.run("export", *arguments, rc=2).err


def test_the_lock_must_answer_the_project(project: Project) -> None:
    """A stale lock is exported with --frozen alone; without a lock there is nothing."""
    project.offer("demo")
    project.write(["demo"])
    assert "there is no gpuenv.lock" in project.run("export", rc=1).err
    project.run("lock")
    project.write(["demo>=1"])
    assert "does not answer pyproject.toml" in project.run("export", rc=1).err
    project.run("export", "--frozen")


def test_what_no_standard_names_is_refused(project: Project) -> None:
    """Bundles have no place in it: the reason is told with the file, and nothing is written."""
    folder = project.root / "wheels"
    wheel = project.wheel("demo", folder=folder)
    make_bundle(wheel)
    wheel.unlink()
    project.write(["demo"], more='[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n')
    project.run("lock")
    before = snapshot(project.root)
    error = project.run("export", "--json", rc=1).json["error"]
    assert (error["kind"], error["message"]) == ("inexpressible", "other installers do not know what the lock has")
    assert error["causes"] == ["demo-1.0-py3-none-any.whl.tar.zst is a bundle, and other installers take wheels alone"]
    assert error["hints"] == ["offer wheels instead of bundles: gpuenv repack --to wheel FILE"]
    assert snapshot(project.root) == before


def test_requirements_have_hashes(project: Project) -> None:
    """A line for each package, whose index is the user's to name."""
    locked(project)
    project.run("export", "--format", "requirements")
    lines = (project.root / "requirements.txt").read_text().splitlines()
    assert lines[0].startswith("# target here: ")
    assert [line.partition(" --hash=sha256:")[0] for line in lines[1:]] == [
        "demo==1.0",
        "dep==1.5",
        "near==1.0",
        "tool==1.0",
    ]


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_other_installers_take_it(project: Project, installer: str) -> None:
    """pip and uv install just what the file names, from the server and from the folder."""
    program = find_program("uv")
    if installer == "uv" and program is None:
        pytest.skip("needs uv")
    if installer == "pip" and int(version("pip").partition(".")[0]) < 26:
        pytest.skip("needs a pip that knows pylock.toml")
    locked(project)
    project.run("export")
    into = project.base / "into"
    file = project.root / "pylock.toml"
    command = {
        "pip": [sys.executable, "-m", "pip", "install", "--no-index"],
        "uv": [str(program), "pip", "install", "--no-cache", "--python", sys.executable],
    }[installer]
    done = subprocess.run(
        [*command, "--target", str(into), "-r", str(file)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(project.home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {path.name for path in into.glob("*.dist-info")}
    assert found == {"demo-1.0.dist-info", "dep-1.5.dist-info", "near-1.0.dist-info", "tool-1.0.dist-info"}
