"""`gpuenv sync`: the environment holds what the lock says, works as Python people expect, and costs nothing twice."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuenv.view.generations import generations
from tests.support.project import HERE, PYTHON, Project, snapshot, target

TOOL = {
    "tool/__init__.py": "",
    "tool/__main__.py": "from tool.cli import main\nmain()\n",
    "tool/cli.py": "import sys\ndef main():\n    print('tool', sys.prefix, *sys.argv[1:])\n",
    "tool-1.0.data/scripts/old": "#!python\nfrom tool.cli import main\nmain()\n",
    "tool-1.0.data/data/share/tool/info": "info",
    "tool-1.0.data/headers/tool.h": "h",
    "tool-1.0.dist-info/entry_points.txt": (
        "[console_scripts]\ntool = tool.cli:main\n[gui_scripts]\nwindow = tool.cli:main\n[plugins]\none = tool:x\n"
    ),
}


def small(project: Project) -> None:
    """Two packages, one of which needs the other."""
    project.offer("alpha", requires=["beta"])
    project.offer("beta", "2.0")
    project.write(["alpha"])


def with_tool(project: Project) -> None:
    """A package with everything that a wheel can bring."""
    project.offer("tool", files=TOOL)
    project.write(["tool"])
    project.run("sync")


def test_first_sync(project: Project) -> None:
    """One command from manifest to environment: locks, fetches, links; `.venv` is a link to a view."""
    small(project)
    result = project.run("sync")
    assert result.out == ""
    assert result.err == "synced .venv to target here: 2 packages, 2 fetched\n + alpha==1.0\n + beta==2.0\n"
    assert project.installed() == {"alpha": "1.0", "beta": "2.0"}
    assert project.venv.readlink().parent == project.store / "views"
    assert sorted(path.name for path in project.root.iterdir()) == [".venv", "gpuenv.lock", "pyproject.toml"]


def test_second_sync_does_nothing(project: Project) -> None:
    """No request, no change of any file in project or store; also with server and cache gone."""
    small(project)
    project.run("sync")
    before, asked = snapshot(project.root) | snapshot(project.store), len(project.server.requests)
    shutil.rmtree(project.cache)
    nowhere = {"GPUENV_DEFAULT_INDEX": "http://127.0.0.1:1/simple/"}
    for flags in ([], ["--locked"], ["--frozen"]):
        assert project.run("sync", *flags, env=nowhere).err == ".venv is up to date with target here (2 packages)\n"
    document = project.run("sync", "--json").json
    assert not document["changed"]
    assert (document["fetched"], document["installed"], document["removed"]) == (0, [], [])
    assert len(project.server.requests) == asked
    assert snapshot(project.root) | snapshot(project.store) == before


def test_document(project: Project) -> None:
    """`--json` has the fields that scripts rely on, and stderr is empty."""
    small(project)
    result = project.run("sync", "--json")
    document = result.json
    assert result.err == ""
    assert document.keys() == {
        "target", "environment", "view", "changed", "fetched", "installed", "removed", "warnings"
    }  # fmt: skip
    assert [item["name"] for item in document["installed"]] == ["alpha", "beta"]
    assert (document["target"], document["fetched"], document["changed"]) == ("here", 2, True)
    assert Path(document["view"]) == project.venv.readlink()
    locked = project.run("lock", "--json").json
    assert locked["targets"]["here"]["environment"] == document["environment"]


def test_what_the_lock_does_not_name_is_gone(project: Project) -> None:
    """The view is exact: a removed dependency takes what only it needed along, and nothing else is importable."""
    small(project)
    project.offer("gamma")
    project.write(["alpha", "gamma"])
    project.run("sync")
    project.write(["gamma"])
    assert project.run("sync").err.endswith("synced .venv to target here: 1 package\n - alpha==1.0\n - beta==2.0\n")
    assert project.installed() == {"gamma": "1.0"}
    assert sorted(path.name for path in project.site.iterdir()) == ["gamma", "gamma-1.0.dist-info"]
    project.write([])
    project.run("sync")
    assert project.installed() == {}


@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_link_modes(mode: str, project: Project) -> None:
    """Every link mode gives the same environment; a second sync in the same mode does nothing."""
    project.offer("tool", files=TOOL)
    project.write(["tool"])
    project.run("sync", "--link-mode", mode)
    assert project.inside("tool", "x") == f"tool {project.venv} x\n"
    file = project.site / "tool" / "cli.py"
    assert file.is_symlink() == (mode == "symlink") or file.parent.is_symlink()
    assert (os.stat(file.resolve()).st_nlink > 1) == (mode == "hardlink")  # noqa: PTH116
    assert "up to date" in project.run("sync", "--link-mode", mode).err


def test_programs(project: Project) -> None:
    """`python -m`, console, GUI and old scripts, data, headers and entry points are where Python people look."""
    with_tool(project)
    expected = f"tool {project.venv} a b\n"
    assert project.inside("python", "-m", "tool", "a", "b") == expected
    for program in ("tool", "window", "old"):
        assert project.inside(program, "a", "b") == expected
    assert (project.venv / "share" / "tool" / "info").read_text() == "info"
    assert (project.venv / "include" / "site" / f"python{PYTHON}" / "tool" / "tool.h").read_text() == "h"
    question = "import importlib.metadata as m; print([e.name for e in m.entry_points(group='plugins')])"
    assert project.inside("python", "-c", question) == "['one']\n"
    assert project.inside("python", "-c", "import sys; print(sys.prefix, sys.prefix != sys.base_prefix)") == (
        f"{project.venv} True\n"
    )


def test_activation(project: Project) -> None:
    """`. .venv/bin/activate` puts the environment first and says its place."""
    with_tool(project)
    script = '. .venv/bin/activate; command -v tool; echo "$VIRTUAL_ENV"; python -c "import sys; print(sys.prefix)"'
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=project.root,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{project.venv}/bin/tool", str(project.venv), str(project.venv)]


def test_children_of_multiprocessing(project: Project) -> None:
    """Spawned children import from the same environment."""
    with_tool(project)
    program = project.base / "spawn.py"
    program.write_text(
        "import multiprocessing\n"
        "def child(queue):\n    import sys, tool\n    queue.put(sys.prefix)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n    queue = context.Queue()\n"
        "    process = context.Process(target=child, args=(queue,))\n    process.start()\n"
        "    print(queue.get(timeout=60))\n    process.join()\n"
    )
    assert project.inside("python", program) == f"{project.venv}\n"


# how the lock is used


def test_locked_refuses_a_stale_lock(project: Project) -> None:
    """`--locked` with a stale lock or none is exit 1, and changes neither lock nor environment."""
    small(project)
    project.run("sync", "--locked", rc=1)
    project.run("sync")
    before = snapshot(project.root)
    project.write(["beta"])
    error = project.run("sync", "--locked", rc=1).err
    assert error.startswith(
        "error: gpuenv.lock does not answer pyproject.toml\n  cause: dependencies: `beta` was added"
    )
    assert project.run("sync", "--locked", "--json", rc=1).json["error"]["kind"] == "stale-lock"
    after = snapshot(project.root)
    assert after.pop("pyproject.toml") != before.pop("pyproject.toml")
    assert after == before


def test_frozen_takes_the_lock_as_it_is(project: Project) -> None:
    """`--frozen` does not compare; without a lock it is exit 1."""
    small(project)
    assert "there is no gpuenv.lock" in project.run("sync", "--frozen", rc=1).err
    project.run("lock")
    before = project.lock.read_bytes()
    project.write(["nowhere"])
    project.run("sync", "--frozen")
    assert project.installed() == {"alpha": "1.0", "beta": "2.0"}
    assert project.lock.read_bytes() == before


def test_locked_and_frozen_exclude_each_other(project: Project) -> None:
    """Both at once is a usage error."""
    small(project)
    assert "exclude each other" in project.run("sync", "--locked", "--frozen", rc=2).err


def test_dry_run(project: Project) -> None:
    """`--dry-run` says what would come and makes no environment, nor fetches a wheel."""
    small(project)
    project.run("lock")
    result = project.run("sync", "--dry-run")
    assert result.err == "would sync .venv to target here: 2 packages, 2 fetched\n + alpha==1.0\n + beta==2.0\n"
    assert not project.venv.exists()
    assert not any(path.endswith(".whl") for path in project.server.paths)
    project.run("sync")
    assert project.run("sync", "--dry-run").err == ".venv is up to date with target here (2 packages)\n"


def test_dry_run_writes_no_lock(project: Project) -> None:
    """`sync --dry-run` of a project without a lock leaves the folder as it was."""
    small(project)
    result = project.run("sync", "--dry-run")
    assert " + alpha==1.0" in result.err
    assert [path.name for path in project.root.iterdir()] == ["pyproject.toml"]


# extras and groups

SELECTION = """\
[project.optional-dependencies]
fast = ["extra-one"]
Web_UI = ["extra-two"]
[dependency-groups]
dev = ["group-one"]
test = ["group-two", { include-group = "dev" }]
"""
SELECTIONS: dict[str, set[str]] = {
    "": {"alpha", "group-one"},
    "--no-default-groups": {"alpha"},
    "--no-group dev": {"alpha"},
    "--group test": {"alpha", "group-one", "group-two"},
    "--group test --no-default-groups": {"alpha", "group-one", "group-two"},
    "--all-groups --no-group test": {"alpha", "group-one"},
    "--extra fast --no-default-groups": {"alpha", "extra-one"},
    "--extra web-ui --extra FAST --no-default-groups": {"alpha", "extra-one", "extra-two"},
    "--all-extras --all-groups": {"alpha", "group-one", "group-two", "extra-one", "extra-two"},
}


def test_selections(project: Project) -> None:
    """Extras and groups are chosen by flags, names in any spelling; `dev` is on by default."""
    for name in ("alpha", "extra-one", "extra-two", "group-one", "group-two"):
        project.offer(name)
    project.write(["alpha"], more=SELECTION)
    found = {}
    for flags in SELECTIONS:
        project.run("sync", *flags.split())
        found[flags] = set(project.installed())
    assert found == SELECTIONS


def test_default_groups_are_configurable(project: Project) -> None:
    """`default-groups` replaces `dev`."""
    project.offer("group-one")
    project.offer("group-two")
    project.write(
        [], more=SELECTION.partition("Web")[2].partition("\n")[2] + '[tool.gpuenv]\ndefault-groups = ["test"]\n'
    )
    project.run("sync")
    assert set(project.installed()) == {"group-one", "group-two"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--group", "tset"], "the project has no group tset"),
        (["--no-group", "tset"], "the project has no group tset"),
        (["--extra", "fest"], "the project has no extra fest"),
    ],
)
def test_unknown_selections(flags: list[str], message: str, project: Project) -> None:
    """An extra or group that is not there is a usage error that names those that are."""
    for name in ("extra-one", "extra-two", "group-one", "group-two"):
        project.offer(name)
    project.write([], more=SELECTION)
    error = project.run("sync", *flags, rc=2).err
    assert error.startswith(f"error: {message}\nhint: pyproject.toml has ")
    assert ("dev, test" if "group" in flags[0] else "fast, web-ui") in error
    assert not project.venv.exists()


# what is in the way, what is gone


def test_foreign_environments_are_left_alone(project: Project) -> None:
    """A real `.venv`, a file, or a link elsewhere is refused before any download, and stays as it was."""
    small(project)
    project.run("lock")
    asked = len(project.server.requests)
    elsewhere = project.base / "elsewhere"
    elsewhere.mkdir()
    for kind in ("environment", "file", "link", "dangling link"):
        if kind == "environment":
            project.venv.mkdir()
            (project.venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
        elif kind == "file":
            project.venv.write_text("mine")
        else:
            project.venv.symlink_to(elsewhere if kind == "link" else project.base / "nowhere")
        before = snapshot(project.root)
        error = project.run("sync", rc=1).err
        assert error.startswith("error: .venv is in the way\n  cause: it is a ")
        assert "and gpuenv did not make it\nhint: move it away or delete it: mv .venv .venv.old\n" in error
        assert project.run("sync", "--json", rc=1).json["error"]["kind"] == "occupied"
        assert snapshot(project.root) == before
        shutil.rmtree(project.venv) if kind == "environment" else project.venv.unlink()
    assert len(project.server.requests) == asked


def test_environments_heal(project: Project) -> None:
    """A deleted link, view, object or whole store is made again by the next sync."""
    small(project)
    project.run("sync")

    def objects() -> None:
        make_writable(project.store / "objects")
        shutil.rmtree(project.store / "objects")
        (project.venv / "gpuenv.json").unlink()

    def views() -> None:
        shutil.rmtree(project.store / "views")

    def everything() -> None:
        make_writable(project.store)
        shutil.rmtree(project.store)

    def facts() -> None:
        for stored in (project.store / "objects").iterdir():
            stored.chmod(0o755)
            (stored / "facts.msgpack").unlink()
        (project.venv / "gpuenv.json").unlink()

    for damage in (project.venv.unlink, views, objects, facts, everything):
        damage()
        project.run("sync")
        assert project.installed() == {"alpha": "1.0", "beta": "2.0"}
        assert "up to date" in project.run("sync").err


def make_writable(folder: Path) -> None:
    """So that an ordinary user can delete it."""
    for found, _, _ in os.walk(folder):
        Path(found).chmod(0o755)


def test_switching_between_targets_keeps_both(project: Project) -> None:
    """Going back to a target is a switch of the link: no request, the same view."""
    small(project)
    project.offer("gamma")
    project.write(["alpha"], targets=HERE + target("more", 'dependencies = ["gamma"]'))
    views: list[Path] = []
    asked = 0
    for name in ("here", "more", "here", "more"):
        project.run("sync", "--target", name)
        views.append(project.venv.readlink())
        asked = asked if len(views) > 2 else len(project.server.requests)
    assert views[0] == views[2] != views[1] == views[3]
    assert len(project.server.requests) == asked
    assert set(project.installed()) == {"alpha", "beta", "gamma"}


def test_generations(project: Project) -> None:
    """Every switch is recorded with the lock that it came from; a sync that changes nothing adds none."""
    small(project)
    locks = []
    for dependencies in (["alpha"], ["alpha"], ["beta"]):
        project.write(dependencies)
        project.run("sync")
        locks.append((project.venv.readlink(), project.lock.read_text()))
    recorded = generations(project.store, project=project.root, name="train")
    assert [(one.number, one.view, one.lock) for one in recorded] == [(1, *locks[0]), (2, *locks[2])]


def test_a_newer_lock_of_the_same_environment(project: Project) -> None:
    """A lock that changed elsewhere keeps the view, and the next sync is a glance again."""
    small(project)
    project.run("sync")
    view = project.venv.readlink()
    project.write(["alpha"], targets=HERE + target("other", 'glibc = "2.35"'))
    project.run("sync", "--target", "here")
    assert project.venv.readlink() == view
    asked = len(project.server.requests)
    assert "up to date" in project.run("sync", "--target", "here").err
    assert len(project.server.requests) == asked


def test_projects_that_build_warn(project: Project) -> None:
    """A project with [build-system] is told that it is not installed itself, every time."""
    small(project)
    project.write(["alpha"], more='[build-system]\nrequires = ["x"]\n')
    warning = "warning: train itself is not installed: projects with a [build-system] are not built yet\n"
    assert project.run("sync").err.startswith(warning)
    assert project.run("sync").err.startswith(warning)
    assert len(project.run("sync", "--json").json["warnings"]) == 1


def test_marker_is_valid_json(project: Project) -> None:
    """The view says what it holds, for other tools."""
    small(project)
    project.run("sync")
    marker = json.loads((project.venv / "gpuenv.json").read_text("utf-8"))
    assert set(marker["packages"]) == {"alpha", "beta"}
    assert marker["target"] == "here"
