"""`.venv` is exchanged in one step, and nothing of anybody else's is replaced."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.errors import Occupied
from gpuenv.view.build import build_view
from gpuenv.view.generations import generations, record_generation
from gpuenv.view.switch import current, current_view, switch
from tests.view.conftest import Bench


def two_views(bench: Bench) -> tuple[Path, Path]:
    stored = bench.add("demo")
    return build_view(bench.plan(stored)), build_view(bench.plan(stored, target="other"))


def test_switching(folding: Bench) -> None:
    """The link is made, replaced, and left alone where it is right; nothing else stays in the project."""
    one, two = two_views(folding)
    assert current(folding.venv) is None
    assert switch(folding.venv, one)
    assert not switch(folding.venv, one)
    assert switch(folding.venv, two)
    assert current_view(folding.venv) == two
    assert [path.name for path in folding.project.iterdir()] == [".venv"]


def test_a_dangling_link_of_ours_is_replaced(folding: Bench) -> None:
    """A view that was collected, or a store that moved, does not block the project."""
    view, _ = two_views(folding)
    folding.venv.symlink_to(Path("/gone/views") / view.name)
    assert current_view(folding.venv) is None
    assert switch(folding.venv, view)


@pytest.mark.parametrize("kind", ["directory", "file", "link", "dangling link"])
def test_what_is_not_ours_is_not_replaced(kind: str, folding: Bench) -> None:
    """A real environment, a file or a link to elsewhere is refused with a hint, and stays."""
    view, _ = two_views(folding)
    if kind == "directory":
        (folding.venv / "bin").mkdir(parents=True)
    elif kind == "file":
        folding.venv.touch()
    else:
        folding.venv.symlink_to(folding.wheels if kind == "link" else "/nowhere/.venv")
    before = folding.venv.lstat().st_ino
    with pytest.raises(Occupied) as caught:
        switch(folding.venv, view)
    assert caught.value.hints
    assert folding.venv.lstat().st_ino == before


def test_generations_grow_only_when_something_changed(folding: Bench) -> None:
    """View and lock are entered once; another view, or another lock, is another generation."""
    one, two = two_views(folding)
    store, project = folding.store.root, folding.project

    def record(view: Path, lock: str) -> int:
        return record_generation(store, project=project, name="demo", view=view, lock=lock)

    assert [record(one, "a"), record(one, "a"), record(two, "a"), record(two, "b"), record(one, "a")] == [1, 1, 2, 3, 4]
    found = generations(store, project=project, name="demo")
    assert [(entry.number, entry.view, entry.lock) for entry in found] == [
        (1, one, "a"),
        (2, two, "a"),
        (3, two, "b"),
        (4, one, "a"),
    ]
    (home,) = (store / "projects").iterdir()
    assert (home / "root").read_text("utf-8") == f"{project}\n"
    assert (home / "2/view").resolve() == two.resolve()


def test_reading_the_marker_is_light() -> None:
    """Every command asks which view is current: that imports no installer, no msgspec and no inflate library."""
    code = "import sys, gpuenv.view.switch; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"installer", "msgspec", "isal", "filelock", "zipfile", "subprocess"} & set(names)
