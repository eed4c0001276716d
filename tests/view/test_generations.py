"""A project's history says truly what its environment was, and which of it `.venv` is."""

import json
import shutil
from pathlib import Path

import pytest

from gpuenv.errors import StoreError
from gpuenv.view.build import build_view
from gpuenv.view.generations import generations, histories, present, record_generation
from gpuenv.view.switch import linked_view, switch
from tests.view.conftest import Bench


def record(bench: Bench, view: Path, lock: str, name: str = "demo") -> int:
    return record_generation(bench.store.root, project=bench.project, name=name, view=view, lock=lock)


def views(bench: Bench, count: int) -> list[Path]:
    stored = bench.add("demo")
    return [build_view(bench.plan(stored, target=f"t{n}", marker={"target": f"t{n}"})) for n in range(count)]


def test_an_entry_keeps_what_the_view_said(folding: Bench) -> None:
    """Target and objects are known when the view is gone; the lock's bytes come back as they were."""
    (view,) = views(folding, 1)
    record(folding, view, "a\r\nb\n")
    shutil.rmtree(view)
    (entry,) = generations(folding.store.root, project=folding.project, name="demo")
    assert entry.lock == "a\r\nb\n"
    assert entry.marker["target"] == "t0"
    assert entry.marker["objects"] == [path.name for path in folding.store.objects.iterdir()]
    assert record(folding, view, "a\r\nb\n") == 1


def test_what_venv_holds_is_not_entered_again(folding: Bench) -> None:
    """A sync after a rollback that leaves `.venv` alone makes no new entry; one that moves it does."""
    one, two = views(folding, 2)
    assert [record(folding, one, "a"), record(folding, two, "b")] == [1, 2]
    switch(folding.venv, one)
    assert record(folding, one, "a") == 1
    assert record(folding, one, "c") == 3
    switch(folding.venv, two)
    assert record(folding, one, "a") == 4


def test_a_renamed_project_keeps_its_history(folding: Bench) -> None:
    """The project's path decides, not its name."""
    one, two = views(folding, 2)
    assert [record(folding, one, "a"), record(folding, two, "b", name="other")] == [1, 2]
    (history,) = histories(folding.store.root)
    assert [entry.number for entry in history.generations] == [1, 2]
    assert history.root == folding.project


def test_which_generation_venv_is(folding: Bench) -> None:
    """The one with its view; of several the one with the present lock, else the newest."""
    one, two = views(folding, 2)
    for view, lock in ((one, "a"), (two, "b"), (one, "c"), (one, "d")):
        record(folding, view, lock)
    known = generations(folding.store.root, project=folding.project, name="demo")

    def which(view: Path | None, lock: str | None) -> int | None:
        found = present(known, view, lock)
        return found.number if found else None

    assert (which(two, "a"), which(one, "a"), which(one, "c"), which(one, "x")) == (2, 1, 3, 4)
    assert (which(None, "a"), which(Path("/s/views") / one.name, None)) == (None, 4)
    assert which(one.with_name("0" * 32 + "-x"), "a") is None


def test_entries_that_are_no_entries(folding: Bench) -> None:
    """Entries without view or lock are passed over, and so is what is no number."""
    (view,) = views(folding, 1)
    record(folding, view, "a")
    (history,) = histories(folding.store.root)
    for name in ("7", "notes"):
        (history.folder / name).mkdir()
    (history.folder.parent / "file").touch()
    assert histories(folding.store.root) == (history,)
    assert record(folding, view, "b") == 8


def test_histories_of_no_store(tmp_path: Path) -> None:
    """Where nothing was synced there are none; where it cannot be read that is an error."""
    assert histories(tmp_path) == ()
    (tmp_path / "projects").write_text("")
    with pytest.raises(StoreError):
        histories(tmp_path)


def test_where_a_link_leads(folding: Bench) -> None:
    """A view that is gone is still what `.venv` leads to; other links are none of ours."""
    (view,) = views(folding, 1)
    assert linked_view(folding.venv) is None
    switch(folding.venv, view)
    shutil.rmtree(view)
    assert linked_view(folding.venv) == view
    folding.venv.unlink()
    folding.venv.symlink_to("/usr")
    assert linked_view(folding.venv) is None


def test_a_damaged_marker_is_no_marker(folding: Bench) -> None:
    """Where the entry's own marker is damaged the view's is believed, and with neither there is none."""
    (view,) = views(folding, 1)
    record(folding, view, "a")
    (entry,) = generations(folding.store.root, project=folding.project, name="demo")
    (entry.folder / "gpuenv.json").write_text("{")
    assert entry.marker == json.loads((view / "gpuenv.json").read_text())
    shutil.rmtree(view)
    assert entry.marker == {}
