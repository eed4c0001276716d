"""What a glance answers, and that it says what the app would say."""

import pytest

from gpuenv.cli.glance import glance
from tests.support.project import HERE, PYTHON, Project, target

# `--verbose` is a flag that the glance leaves to the app
APP = "--verbose"


@pytest.mark.parametrize(
    "arguments",
    [
        ["lock"],
        ["sync"],
        ["sync", "--target", "here"],
        ["sync", "--target=gpu"],
        ["--quiet", "sync"],
        ["sync", "--locked"],
        ["sync", "--frozen", "--link-mode", "copy"],
        ["sync", "--python", PYTHON],
        ["run", "python", "-c", "import sys; print(sys.prefix)"],
        ["run", "--target", "here", "--", "sh", "-c", "echo $VIRTUAL_ENV; exit 3"],
        ["run", "nothing-of-this-name"],
    ],
    ids=" ".join,
)
def test_glance_and_app_agree(arguments: list[str], project: Project) -> None:
    """Where there is nothing to do both say the same words, on the same streams, with the same exit code."""
    project.write([], targets=HERE + target("gpu", 'gpu = ["sm_90"]'), more='[build-system]\nrequires = ["x"]\n')
    asked = ("--target", "--target=gpu", "here", "--link-mode", "copy", "--python", PYTHON)
    project.run("sync", *(word for word in arguments if word in asked))
    place = next(place for place, word in enumerate(arguments) if word in ("lock", "sync", "run"))
    fast = project.run(*arguments, rc=None)
    slow = project.run(*arguments[:place], APP, *arguments[place:], rc=None)
    assert (fast.rc, fast.out, fast.err) == (slow.rc, slow.out, slow.err)
    assert fast.err or fast.out or "--quiet" in arguments


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["lock", "--check"],
        ["lock", "--target", "here"],
        ["lock", "--locked"],
        ["lock", "--python", PYTHON],
        ["sync", "--frozen", "--locked"],
        ["sync", "--json"],
        ["sync", "more"],
        ["sync", "--target"],
        ["run"],
        ["run", "-m", "x"],
        ["lock", "sync"],
    ],
    ids=" ".join,
)
def test_doubts_are_left_to_the_app(arguments: list[str]) -> None:
    """A word that the glance does not know, or a word too few, is for the app to judge."""
    assert glance(arguments) is None


def test_variables_that_are_flags(project: Project) -> None:
    """A variable that asks for another interpreter or link mode is not overlooked."""
    project.write([])
    project.run("sync")
    view = project.venv.readlink()
    project.run("sync", env={"GPUENV_LINK_MODE": "copy"})
    assert project.venv.readlink() != view
    assert project.run("sync", rc=2, env={"GPUENV_PYTHON": "nonsense"}).err.startswith("error: --python nonsense")
