"""Which target and which interpreter a machine takes, and what it is told when none will do."""

import sys
from pathlib import Path

import pytest

from tests.support.project import HERE, PYTHON, Project, target

OTHER = "3.9" if PYTHON != "3.9" else "3.10"
GPU = target("gpu", 'gpu = ["sm_90"]', 'cuda = "13.0"')


def test_the_first_target_that_fits(project: Project) -> None:
    """Without --target the manifest's order decides among those that fit; a GPU target is passed over without a GPU."""
    project.offer("alpha")
    project.write(["alpha"], targets=GPU + target("z") + target("a"))
    plain = {"GPUENV_OVERRIDE_GPU": "none"}
    assert "target z" in project.run("sync", env=plain).err
    gpu = {"GPUENV_OVERRIDE_GPU": "sm_90,sm_86", "GPUENV_OVERRIDE_CUDA_DRIVER": "580.65.06"}
    assert "target gpu" in project.run("sync", env=gpu).err
    old = {**gpu, "GPUENV_OVERRIDE_CUDA_DRIVER": "550.54"}
    assert "target z" in project.run("sync", env=old).err


def test_old_c_libraries(project: Project) -> None:
    """A target for a newer glibc than the machine's is passed over."""
    project.write([], targets=target("new", 'glibc = "2.35"') + target("old", 'glibc = "2.17"'))
    assert "target old" in project.run("sync", env={"GPUENV_OVERRIDE_GLIBC": "2.28"}).err
    assert "target new" in project.run("sync", env={"GPUENV_OVERRIDE_GLIBC": "2.39"}).err


def test_a_named_target_only_warns(project: Project) -> None:
    """--target makes what was asked for, with a warning for each lack; --json has them as a list."""
    project.write([], targets=HERE + GPU)
    env = {"GPUENV_OVERRIDE_GPU": "none"}
    assert project.run("sync", "--target", "gpu", env=env).err == (
        "warning: target gpu: the target is for sm_90, this machine has no GPU\n"
        "warning: target gpu: the target needs an NVIDIA driver for CUDA 13.0, this machine has none\n"
        "synced .venv to target gpu: 0 packages\n"
    )
    assert len(project.run("sync", "--target", "gpu", "--json", env=env).json["warnings"]) == 2


def test_nothing_fits(project: Project) -> None:
    """Exit 1 with one line for each target, and what to do."""
    project.write([], targets=GPU + target("new", 'glibc = "2.99"'))
    error = project.run("sync", rc=1, env={"GPUENV_OVERRIDE_GPU": "none"}).err
    assert error.startswith(
        "error: this machine fits none of the project's targets\n  cause: gpu: the target is for sm_90"
    )
    assert "\n         new: the target needs glibc 2.99, this machine has " in error
    assert error.endswith("hint: name one to make it all the same: gpuenv sync --target NAME\n")
    assert not project.venv.exists()


def test_the_only_target_does_not_fit(project: Project) -> None:
    """With a single target the error says why, without a table."""
    project.write([], targets=GPU)
    result = project.run("sync", "--json", rc=1, env={"GPUENV_OVERRIDE_GPU": "none"})
    assert result.json["error"] == {
        "kind": "misfit",
        "message": "this machine does not fit target gpu",
        "causes": [
            "the target is for sm_90, this machine has no GPU; "
            "the target needs an NVIDIA driver for CUDA 13.0, this machine has none"
        ],
        "hints": ["make it all the same: gpuenv sync --target gpu"],
    }


def test_unknown_target(project: Project) -> None:
    """A target that is not there is a usage error that names those that are."""
    project.write([], targets=HERE + GPU)
    assert project.run("sync", "--target", "h100", rc=2).err == (
        "error: there is no target `h100` in gpuenv.lock\nhint: --target gpu\nhint: --target here\n"
    )


def test_other_platforms_are_passed_over(project: Project) -> None:
    """A target for another system never fits by itself."""
    project.write([], targets='[tool.gpuenv.targets.win]\nplatform = "windows-x86_64"\n' + HERE)
    assert "target here" in project.run("sync").err


# interpreters


def test_missing_interpreters(project: Project) -> None:
    """No interpreter of the target's Python: exit 1, with those that were found and where."""
    project.write([], targets=target("other", python=OTHER))
    error = project.run("sync", rc=1).err
    version = "{}.{}.{}".format(*sys.version_info[:3])
    assert error.startswith(f"error: no interpreter for Python {OTHER}\n")
    assert f"CPython {version} at {project.python}" in error
    assert "hint: name one with --python /path/to/python" in error
    assert project.run("sync", "--json", rc=1).json["error"]["kind"] == "interpreter-missing"
    assert project.run("sync", "--target", "other", rc=1).err.startswith(f"error: no interpreter for Python {OTHER}\n")


def test_targets_without_an_interpreter_are_passed_over(project: Project) -> None:
    """A target whose Python is not here does not fit."""
    project.write([], targets=target("a", python=OTHER) + HERE)
    assert "target here" in project.run("sync").err


def test_named_interpreters(project: Project) -> None:
    """--python takes a version, an executable, or a folder of an environment; what is none of these is refused."""
    project.write([])
    plain = {"PATH": str(project.base)}
    project.run("sync", env=plain)  # the one that runs gpuenv is the last resort
    assert (project.venv / "bin" / "python").resolve() == project.python
    project.run("sync", "--python", PYTHON)
    for place in (project.python, project.programs / f"python{PYTHON}", Path(sys.prefix)):
        if place == Path(sys.prefix) and not (place / "bin" / "python").exists():
            continue
        project.run("sync", "--python", place, env=plain)
        assert (project.venv / "bin" / "python").resolve() == project.python
    project.run("sync", env={**plain, "GPUENV_PYTHON": str(project.python)})
    assert "is no interpreter" in project.run("sync", "--python", project.manifest, rc=2).err
    assert "neither a version nor a path" in project.run("sync", "--python", "newest", rc=2).err


def test_a_python_that_does_not_serve_the_target(project: Project) -> None:
    """An interpreter of another version than the target's is refused, named or not."""
    project.write([], targets=target("other", python=OTHER))
    assert "no interpreter" in project.run("sync", "--python", project.python, rc=1).err
    assert "no interpreter" in project.run("sync", "--python", PYTHON, rc=1).err


@pytest.mark.parametrize("variable", ["GPUENV_OVERRIDE_GLIBC", "GPUENV_OVERRIDE_GPU"])
def test_wrong_overrides(variable: str, project: Project) -> None:
    """A variable that does not say what it should is a usage error that names it."""
    project.write([])
    assert variable in project.run("sync", rc=2, env={variable: "yes!"}).err
