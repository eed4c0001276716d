"""`gpuenv generations` and `gpuenv rollback`: back to what worked, and it stays that way."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.project import Project, snapshot, target


def upgraded(project: Project) -> None:
    """alpha 1.0, then 2.0 with a new dependency, by `lock --upgrade`: the manifest allows both."""
    project.offer("alpha", "1.0")
    project.write(["alpha"])
    project.run("sync")
    project.offer("alpha", "2.0", requires=["beta"])
    project.offer("beta", "3.0")
    project.run("lock", "--upgrade", "--refresh")
    project.run("sync")
    assert project.installed() == {"alpha": "2.0", "beta": "3.0"}


def present(project: Project) -> list[int]:
    """The numbers of the generations that are said to be what `.venv` is."""
    return [one["number"] for one in project.run("generations", "--json").json["generations"] if one["present"]]


def generation_view(project: Project, number: int) -> str:
    """The name of a generation's view."""
    found = project.run("generations", "--json").json["generations"]
    return next(str(one["view"]) for one in found if one["number"] == number).rpartition("/")[2]


def test_generations(project: Project) -> None:
    """Each sync that changed something has its line, with what it changed; `*` is what `.venv` is."""
    upgraded(project)
    lines = project.run("generations").out.splitlines()
    assert [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", line) for line in lines] == [
        "  1  TIME  target here: 1 package",
        "     + alpha==1.0",
        "* 2  TIME  target here: 2 packages",
        "     ~ alpha==1.0 -> 2.0",
        "     + beta==3.0",
    ]
    one, two = project.run("generations", "--json").json["generations"]
    assert one.keys() == two.keys()
    assert (two["number"], two["target"], two["packages"], two["whole"], two["present"]) == (2, "here", 2, True, True)
    assert two["changes"][0] == {"package": "alpha", "before": "1.0", "now": "2.0"}
    assert two["view"] == str(project.venv.readlink())
    assert project.run("generations", "--last", "1", "--json").json["generations"] == [two]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", two["made"])


def test_without_any(project: Project) -> None:
    """Before the first sync there is nothing to list, and nothing to go back to."""
    project.write([])
    assert project.run("generations").err == "nothing was synced yet\n"
    assert project.run("generations", "--json").json == {"generations": []}
    error = project.run("rollback", rc=2).err
    assert error.startswith("error: `.venv` is no generation to go back from\n  cause: nothing was synced yet\n")
    assert "hint: gpuenv sync" in error


def test_rollback(project: Project) -> None:
    """`.venv` and gpuenv.lock are as before the upgrade, and sync and run leave them so; forward is a number away."""
    project.offer("alpha", "1.0")
    project.write(["alpha"])
    project.run("sync")
    first = snapshot(project.root)
    project.offer("alpha", "2.0")
    project.run("lock", "--upgrade", "--refresh")
    project.run("sync")
    second, asked = snapshot(project.root), len(project.server.requests)
    result = project.run("rollback")
    assert result.out == ""
    assert result.err == (
        "switched .venv from generation 2 to generation 1\n ~ alpha==2.0 -> 1.0\ngpuenv.lock is as it was then\n"
    )
    assert snapshot(project.root) == first
    assert "up to date" in project.run("sync").err
    project.run("run", "--", "python", "-c", "import alpha; assert alpha.__version__ == '1.0'")
    assert (snapshot(project.root), present(project)) == (first, [1])
    document = project.run("rollback", "2", "--json").json
    assert document == {
        "generation": 2,
        "before": 1,
        "target": "here",
        "changed": True,
        "rebuilt": False,
        "changes": [{"package": "alpha", "before": "1.0", "now": "2.0"}],
        "lock": "written",
        "warnings": [],
    }
    assert (snapshot(project.root), present(project)) == (second, [2])
    assert project.quiet_since(asked)
    assert len(project.run("generations", "--json").json["generations"]) == 2


def test_rollback_goes_further_back(project: Project) -> None:
    """Each one goes one back; the first has none before it; the same twice changes nothing."""
    for version in ("1.0", "2.0", "3.0"):
        project.offer("alpha", version)
        project.write([f"alpha=={version}"])
        project.run("sync", env={"GPUENV_CACHE_DIR": str(project.base / version)})
    project.run("rollback")
    project.run("rollback")
    assert present(project) == [1]
    error = project.run("rollback", rc=2).err
    assert error == "error: generation 1 is the first that is left\nhint: gpuenv generations\n"
    before = snapshot(project.root)
    assert project.run("rollback", "1").err.startswith(".venv is generation 1\n")
    assert snapshot(project.root) == before
    error = project.run("rollback", "9", rc=2).err
    assert error == "error: there is no generation 9\n  cause: the store has 1, 2, 3\nhint: gpuenv generations\n"


def test_the_manifest_goes_on_to_count(project: Project) -> None:
    """After an edit of pyproject.toml the old lock does not answer it: that is said, with what takes .venv as it is."""
    upgraded(project)
    project.write(["alpha", "beta"])
    project.run("sync")
    warning = project.run("rollback", "1").err.splitlines()[-1]
    assert warning.startswith("warning: the next sync locks anew (dependencies")
    assert warning.endswith("`gpuenv run --no-sync` takes .venv as it is")
    project.run("run", "--no-sync", "--", "python", "-c", "import alpha; assert alpha.__version__ == '1.0'")
    project.run("sync")
    assert project.installed().keys() == {"alpha", "beta"}


def test_keep_lock(project: Project) -> None:
    """With --keep-lock gpuenv.lock stays, and the next sync goes forward again."""
    upgraded(project)
    before = project.lock.read_bytes()
    assert project.run("rollback", "--keep-lock").err.endswith(
        "gpuenv.lock stays as it is: the next sync goes forward again\n"
    )
    assert project.installed() == {"alpha": "1.0"}
    assert project.lock.read_bytes() == before
    project.run("sync")
    assert present(project) == [2]


def test_a_lock_that_nothing_else_has_is_not_overwritten(project: Project) -> None:
    """What was locked or pulled and never synced stays where it is, with a warning."""
    upgraded(project)
    project.lock.write_text(project.lock.read_text() + "# mine\n")
    before = project.lock.read_bytes()
    result = project.run("rollback")
    assert "warning: gpuenv.lock is left as it is, for no generation has what it says" in result.err
    assert project.installed() == {"alpha": "1.0"}
    assert project.lock.read_bytes() == before
    project.lock.unlink()
    assert project.run("rollback", "1", "--json").json["lock"] == "written"
    assert project.lock.exists()


def test_a_view_that_is_gone_is_made_again(project: Project) -> None:
    """Of its lock and of the objects that are there, without the network, extras and groups as they were."""
    project.offer("alpha", "1.0")
    project.offer("beta", "1.0")
    project.write(["alpha"], more='[dependency-groups]\nextra-tools = ["beta"]\n')
    project.run("sync", "--group", "extra-tools")
    view = project.venv.readlink()
    project.run("sync")
    shutil.rmtree(view)
    assert project.run("generations").out.splitlines()[0].endswith("2 packages  (its view is gone)")
    asked = len(project.server.requests)
    result = project.run("rollback")
    assert result.err.startswith("switched .venv from generation 2 to generation 1, made again from its lock\n + beta")
    assert project.venv.readlink() == view
    assert project.installed() == {"alpha": "1.0", "beta": "1.0"}
    assert project.quiet_since(asked)
    assert present(project) == [1]


def test_a_view_whose_objects_are_gone(project: Project) -> None:
    """What the store lacks is named, with the command that fetches it by the generation's own lock; nothing changes."""
    upgraded(project)
    old = next(path for path in (project.store / "views").iterdir() if path != project.venv.readlink())
    shutil.rmtree(old)
    for link in (project.store / "artifacts").iterdir():
        if link.readlink().name.endswith("-alpha-1.0"):
            link.unlink()
    before = snapshot(project.root)
    error = project.run("rollback", rc=2).err
    assert error.startswith(
        "error: the environment of generation 1 is gone\n  cause: the store has no alpha 1.0 to make it of\n"
    )
    assert snapshot(project.root) == before
    (hint,) = re.findall(r"^hint: fetch it by its lock: cp (\S+) gpuenv.lock && gpuenv (.*)$", error, re.MULTILINE)
    assert hint[1] == "sync --frozen --target here"
    shutil.copy(hint[0], project.lock)
    project.run(*hint[1].split())
    assert project.installed() == {"alpha": "1.0"}


def copied(project: Project) -> Path:
    """alpha in a view of copies that is gone, then a view of the default's links; the marker of the first."""
    project.offer("alpha", "1.0")
    project.write(["alpha"])
    project.run("sync", "--link-mode", "copy")
    view = project.venv.readlink()
    project.run("sync")
    shutil.rmtree(view)
    (marker,) = (project.store / "projects").glob("*/1/gpuenv.json")
    return marker


def test_a_view_is_made_again_as_it_was(project: Project) -> None:
    """Interpreter and link mode are those that the generation had, whatever a sync would take today."""
    copied(project)
    document = project.run("rollback", "1", "--json").json
    assert (document["generation"], document["rebuilt"]) == (1, True)
    assert present(project) == [1]
    module = project.site / "alpha" / "__init__.py"
    assert not module.is_symlink()
    assert module.stat().st_nlink == 1


def test_a_view_that_is_made_again_otherwise(project: Project) -> None:
    """Where nothing says how the view was made it becomes another one, and so a generation of its own."""
    marker = copied(project)
    marker.write_text(json.dumps({k: v for k, v in json.loads(marker.read_text()).items() if k != "links"}))
    project.write(["alpha"], targets=target("other"))
    project.run("sync")
    shutil.rmtree(project.store / "views" / generation_view(project, 2))
    document = project.run("rollback", "1", "--json").json
    assert (document["generation"], document["rebuilt"]) == (4, True)
    assert present(project) == [4]
    assert project.installed() == {"alpha": "1.0"}


def test_what_others_changed_is_not_part_of_a_generation(project: Project) -> None:
    """A view that somebody installed into is made again before it is gone back to."""
    upgraded(project)
    view = project.store / "views" / generation_view(project, 1)
    (view / project.site.relative_to(project.venv) / "stray.py").write_text("")
    assert project.run("rollback", "--json").json["rebuilt"]
    assert project.venv.readlink() == view
    assert not (project.site / "stray.py").exists()


def test_what_is_not_ours_is_in_the_way(project: Project) -> None:
    """A `.venv` that gpuenv did not make is neither replaced nor is the lock touched."""
    upgraded(project)
    project.venv.unlink()
    project.venv.mkdir()
    before = snapshot(project.root)
    assert project.run("rollback", "1", "--json", rc=1).json["error"]["kind"] == "occupied"
    assert snapshot(project.root) == before


def test_across_targets(project: Project) -> None:
    """Generations of several targets stand side by side, each with its own."""
    project.offer("alpha")
    project.write(["alpha"], targets=target("one") + target("two"))
    project.run("sync", "--target", "two")
    project.run("sync", "--target", "one")
    found = project.run("generations", "--json").json["generations"]
    assert [(one["target"], one["changes"]) for one in found[1:]] == [("one", [])]
    assert project.run("rollback", "--json").json["target"] == "two"
    assert "-two" in project.venv.readlink().name


@pytest.mark.parametrize("arguments", [("rollback", "x"), ("rollback", "1", "2"), ("generations", "1")])
def test_wrong_arguments(arguments: tuple[str, ...], project: Project) -> None:
    """Words that mean nothing are refused."""
    project.write([])
    project.run(*arguments, rc=2)
