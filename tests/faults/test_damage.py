"""Damage of every kind, by way of the commands: verify names it, sync does not hand it out, repair heals it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stories import MODULES, object_of, offered, overwrite, run
from tests.faults.support import World, damaged


@pytest.fixture(scope="module")
def synced(shared: World) -> World:
    """A world with an environment."""
    shared.restore("empty")
    offered(shared)
    run(shared, "sync")
    shared.save("synced")
    return shared


@pytest.fixture
def world(synced: World) -> World:
    """The same for each test."""
    synced.restore("synced")
    return synced


def _opened(path: Path) -> Path:
    path.parent.chmod(0o755)
    return path


def _truncate(beta: Path) -> None:
    (beta / "site-packages/beta/inner/data.bin").chmod(0o644)
    os.truncate(beta / "site-packages/beta/inner/data.bin", 100)


def _link(beta: Path) -> None:
    _opened(beta / "site-packages/beta/inner/data.bin").unlink()
    (beta / "site-packages/beta/inner/data.bin").symlink_to("/dev/zero")


def _directory(beta: Path) -> None:
    inner = _opened(beta / "site-packages/beta/inner")
    inner.chmod(0o755)
    shutil.rmtree(inner)


KINDS: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda beta: overwrite(beta / "site-packages/beta/inner/data.bin"),
    "a flipped byte of the facts": lambda beta: overwrite(beta / "facts.msgpack"),
    "a flipped byte of the listing": lambda beta: overwrite(beta / "listing.msgpack"),
    "a truncated file": _truncate,
    "an added file": lambda beta: _opened(beta / "site-packages/beta/evil.py").write_text("import os\n"),
    "a removed file": lambda beta: _opened(beta / "site-packages/beta/inner/data.bin").unlink(),
    "a removed directory": _directory,
    "a renamed file": lambda beta: _opened(beta / "data/share/beta/info").rename(beta / "data/share/beta/other"),
    "permissions": lambda beta: (beta / "site-packages/beta/inner/data.bin").chmod(0o666),
    "permissions of a directory": lambda beta: (beta / "site-packages/beta").chmod(0o777),
    "a replaced link": _link,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_object(kind: str, world: World) -> None:
    """What verify has named, sync replaces and repair heals; both leave an object that is whole, and nothing else."""
    for healer in ("sync", "store repair"):
        world.restore("synced")
        healed(kind, healer, world)


def healed(kind: str, healer: str, world: World) -> None:
    """Damage it, look, heal it."""
    beta = object_of(world, "beta")
    before = world.works(MODULES)
    KINDS[kind](beta)
    found = world.run("store", "verify")
    assert found.rc == 1
    assert beta.name in found.out
    done = world.run(*healer.split())
    assert done.rc == 0, done.out + done.err
    assert damaged([beta]) == []
    assert (beta / "site-packages/beta/inner/data.bin").read_bytes() == b"\1" * 30_000
    assert world.run("store", "verify").rc == 0
    assert world.works(MODULES) == before
    run(world, "store", "gc")
    assert world.leftovers() == []


def _nowhere(link: Path) -> None:
    link.unlink()
    link.symlink_to(f"../objects/{'a' * 32}-alpha-1.0")


def _outside(link: Path) -> None:
    target = os.path.realpath(link)
    link.unlink()
    link.symlink_to(target)


def _other(link: Path) -> None:
    beta = next(path for path in link.parent.iterdir() if "-beta-" in str(path.readlink()))
    target = beta.readlink()
    link.unlink()
    link.symlink_to(target)


def _file(link: Path) -> None:
    link.unlink()
    link.write_text("")


def _copy(link: Path) -> None:
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)


@pytest.mark.parametrize("change", [_nowhere, _outside, _other, _file, _copy], ids=lambda change: change.__name__)
def test_the_name_of_an_artifact(change: Callable[[Path], None], world: World) -> None:
    """A link in `artifacts/` that leads elsewhere is named and removed; sync hands out nothing by way of it."""
    (link,) = (path for path in world.store.glob("artifacts/*") if "-alpha-" in str(path.readlink()))
    before = world.works(MODULES)
    change(link)
    found = world.run("store", "verify")
    assert (found.rc, f"artifacts/{link.name}" in found.out) == (1, True), found.out
    shutil.rmtree(world.store / "views")
    world.project.venv.unlink()
    if change is _other:
        run(world, "sync")
        assert world.works(MODULES) == before
    done = world.run("store", "repair")
    assert done.rc == 0, done.out + done.err
    run(world, "sync")
    assert world.works(MODULES) == before
    assert world.run("store", "verify").rc == 0
