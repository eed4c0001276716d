"""Views appear whole, are named by what decides them, and are used again."""

import dataclasses
import os
from pathlib import Path

import pytest

from gpuenv.errors import StoreError
from gpuenv.model.interpreter import Interpreter
from gpuenv.view import build
from gpuenv.view.build import build_view
from gpuenv.view.plan import LinkMode, default_links
from gpuenv.view.switch import current
from tests.view.conftest import Bench


def test_a_whole_view_is_used_again_with_a_new_marker(folding: Bench) -> None:
    """The same environment under a newer lock keeps its view; the marker follows."""
    plan = folding.plan(folding.add("demo"), marker={"lock": "1"})
    view = build_view(plan)
    inode = view.stat().st_ino
    assert build_view(dataclasses.replace(plan, marker={"lock": "2"})) == view
    assert view.stat().st_ino == inode
    assert (current(view) or {})["lock"] == "2"


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "sha256:1"},
        {"selection": ("dev",)},
        {"project": Path("/elsewhere")},
        {"venv": Path("/elsewhere/.venv")},
        {"interpreter": Interpreter("/other/python", "3.12.1", False, "CPython", "PATH")},
        {"link_mode": LinkMode.COPY},
        {"fold": False},
        {"unfold": frozenset({"one"})},
        {"link_modes": {"two": LinkMode.COPY}},
        {"requested": frozenset({"demo"})},
        {"objects": ()},
        {"target": "cpu"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_depends_on_everything_that_decides_the_view(change: dict[str, object], folding: Bench) -> None:
    """A change in any input gives another view; the order of objects and the marker do not."""
    one, two = folding.add("one"), folding.add("two")
    plan = folding.plan(one, two)
    assert dataclasses.replace(plan, **change).key != plan.key  # type: ignore[arg-type]
    assert folding.plan(two, one, marker={"lock": "2"}).key == plan.key


def test_what_is_said_of_others_does_not_count(folding: Bench) -> None:
    """A view's key depends on rules and places of its own distributions alone."""
    one, two = folding.add("one"), folding.add("two")
    plan = folding.plan(one)
    elsewhere = {two.key: Path("/base") / two.key}
    others = {"unfold": frozenset({"two"}), "link_modes": {"two": LinkMode.COPY}, "elsewhere": elsewhere}
    assert dataclasses.replace(plan, **others).key == plan.key  # type: ignore[arg-type]
    assert dataclasses.replace(plan, elsewhere={one.key: Path("/base") / one.key}).key != plan.key


@pytest.mark.parametrize("damage", ["gpuenv.json", "pyvenv.cfg", "bin/demo"])
def test_a_view_that_lost_content_is_built_again(damage: str, folding: Bench) -> None:
    """Files emptied by a power cut are noticed, and the view is replaced."""
    plan = folding.plan(folding.add("demo", entry_points={"demo": "demo:main"}))
    view = build_view(plan)
    os.truncate(view / damage, 0)
    assert build_view(plan) == view
    assert (view / damage).stat().st_size
    assert list((plan.store / "tmp").iterdir()) == []


def test_a_failed_build_leaves_nothing(folding: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses half-way, there is a StoreError and no view."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_tree", refuse)
    plan = folding.plan(folding.add("demo"))
    with pytest.raises(StoreError) as caught:
        build_view(plan)
    assert "No space left" in caught.value.causes[0]
    assert list((plan.store / "views").iterdir()) == []
    assert list((plan.store / "tmp").iterdir()) == []


def test_somebody_else_may_be_first(folding: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builders of one view: the second drops its own and uses the first's."""
    plan = folding.plan(folding.add("demo"))
    fill = build._fill

    def slow(root: Path, plan: object) -> None:
        monkeypatch.setattr(build, "_fill", fill)
        build_view(folding.plan(*folding.plan(folding.add("demo")).objects))
        fill(root, plan)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "_fill", slow)
    assert current(build_view(plan)) is not None
    assert list((plan.store / "tmp").iterdir()) == []


def test_root_gets_file_links() -> None:
    """Root could write through a folded directory, everybody else cannot."""
    assert default_links(0) == (LinkMode.HARDLINK, False)
    assert default_links(1000) == (LinkMode.SYMLINK, True)
