"""`gpuenv add`, `remove` and `init`: pyproject.toml stays the user's own, and is as before where they fail."""

import tomllib

import pytest

from tests.support.project import HERE, PYTHON, Project

COMMENTED = f"""\
# top
[project]
name = "train"  # the name
dependencies = [
  "beta",  # needed for reasons
]

{HERE}
# end
"""


@pytest.fixture
def commented(project: Project) -> Project:
    """A manifest with comments."""
    project.offer("alpha", "1.0", requires=["gamma"])
    for name in ("beta", "gamma"):
        project.offer(name)
    project.manifest.write_text(COMMENTED)
    return project


def test_add(commented: Project) -> None:
    """Adds the line, locks, syncs; comments and order stay."""
    result = commented.run("add", "alpha>=1")
    assert commented.manifest.read_text() == COMMENTED.replace('  "beta', '  "alpha>=1",\n  "beta')
    assert result.out == ""
    assert result.err == (
        "synced .venv to target here: 3 packages, 3 fetched\n + alpha==1.0\n + beta==1.0\n + gamma==1.0\n"
    )
    assert set(commented.installed()) == {"alpha", "beta", "gamma"}


def test_remove(commented: Project) -> None:
    """What `add` put in `remove` takes out, byte by byte; what only it needed goes along."""
    commented.run("add", "alpha")
    result = commented.run("remove", "Alpha")
    assert commented.manifest.read_text() == COMMENTED
    assert "- alpha==1.0" in result.err
    assert commented.installed() == {"beta": "1.0"}


def test_add_without_sync(commented: Project) -> None:
    """--no-sync locks alone; the document has `lock`'s fields and no view."""
    document = commented.run("add", "alpha", "--no-sync", "--json").json
    assert document.keys() == {"changed", "targets", "changes", "passed_over", "saved", "warnings", "view"}
    assert document["view"] is None
    assert document["targets"]["here"]["packages"] == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    assert not commented.venv.exists()
    assert commented.run("remove", "alpha", "--json").json["view"] == str(commented.venv.readlink())


def test_groups_and_targets(commented: Project) -> None:
    """--group and --target say where the requirement stands; removing looks there too."""
    commented.run("add", "gamma", "--group", "test", "--no-sync")
    commented.run("add", "alpha", "--target", "here", "--no-sync")
    data = tomllib.loads(commented.manifest.read_text())
    assert data["dependency-groups"] == {"test": ["gamma"]}
    assert data["tool"]["gpuenv"]["targets"]["here"]["dependencies"] == ["alpha"]
    assert data["project"]["dependencies"] == ["beta"]
    commented.run("remove", "gamma", "--group", "test", "--no-sync")
    commented.run("remove", "alpha", "--target", "here", "--no-sync")
    assert '"gamma"' not in commented.manifest.read_text()
    assert '"alpha"' not in commented.manifest.read_text()


@pytest.mark.parametrize(
    ("arguments", "rc", "words"),
    [
        (["add", "nowhere"], 1, "no configured index knows nowhere"),
        (["add", "alpha>5"], 1, "no version of alpha satisfies this (the newest is 1.0)"),
        (["add", "alpha >> 5"], 2, "alpha >> 5"),
        (["add", "alpha", "--target", "nowhere"], 2, "nowhere"),
        (["remove", "alpha"], 2, "alpha"),
        (["remove", "beta", "--group", "none"], 2, "none"),
    ],
)
def test_failures_leave_the_file(arguments: list[str], rc: int, words: str, commented: Project) -> None:
    """No solution or a wrong argument: pyproject.toml has the same bytes, and there is no lock."""
    assert words in commented.run(*arguments, rc=rc).err
    assert commented.manifest.read_text() == COMMENTED
    assert not commented.lock.exists()


def test_an_index_that_fails_leaves_the_file(commented: Project) -> None:
    """The same where the network is the reason."""
    env = {"GPUENV_DEFAULT_INDEX": "http://127.0.0.1:1/simple/"}
    assert commented.run("add", "alpha", "--json", rc=2, env=env).json["error"]["kind"] == "network"
    assert commented.manifest.read_text() == COMMENTED


def test_from_nothing(project: Project) -> None:
    """init in an empty folder, add, run: three commands from nothing to a running program."""
    project.offer("alpha")
    result = project.run("init", "--json")
    assert result.json["target"] == "default"
    assert result.json["python"] == PYTHON
    assert tomllib.loads(project.manifest.read_text())["project"]["name"] == "train"
    project.run("add", "alpha")
    assert project.run("run", "--", "python", "-c", "import alpha; print(alpha.__version__)").out == "1.0\n"


def test_init_says_what_it_wrote(project: Project) -> None:
    """Names of target and project may be given; a GPU becomes part of the target."""
    env = {"GPUENV_OVERRIDE_GPU": "gfx942"}
    result = project.run("init", "--target", "mi300", "--name", "other", env=env)
    assert result.err.startswith("wrote target mi300: ")
    data = tomllib.loads(project.manifest.read_text())
    assert data["project"]["name"] == "other"
    assert data["tool"]["gpuenv"]["targets"]["mi300"]["gpu"] == ["gfx942"]
    assert "target mi300" in project.run("sync", env=env).err


def test_init_completes_a_project(project: Project) -> None:
    """An existing pyproject.toml keeps every byte before the new table."""
    text = '[project]\nname = "mine"  # note\ndependencies = []\n'
    project.manifest.write_text(text)
    project.run("init")
    assert project.manifest.read_text().startswith(text)
    assert "[tool.gpuenv.targets.default]" in project.manifest.read_text()
    project.run("lock")


def test_init_twice_is_refused(project: Project) -> None:
    """A project with targets is left alone, unless a further one is named."""
    project.write([], targets=HERE)
    before = project.manifest.read_text()
    assert project.run("init", rc=2).err == (
        "error: pyproject.toml has targets already\n"
        "hint: name a further one: gpuenv init --target NAME\n"
        "hint: edit [tool.gpuenv.targets] in pyproject.toml\n"
    )
    assert "there is such a target already" in project.run("init", "--target", "here", rc=2).err
    assert project.manifest.read_text() == before
    project.run("init", "--target", "more")
    assert project.manifest.read_text().startswith(before)
    assert "[tool.gpuenv.targets.more]" in project.manifest.read_text()


def test_init_refuses_bad_names(project: Project) -> None:
    """A target name that no manifest may have is refused, and nothing is written."""
    error = project.run("init", "--target", "My Target", rc=2).err
    assert "My Target" in error
    assert not project.manifest.exists()
