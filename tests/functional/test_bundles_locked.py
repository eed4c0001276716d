"""Bundles in a lock: chosen before wheels, with what they were, which serves where they are not to be had."""

from pathlib import Path

import pytest

from gpuenv.lock import decode
from tests.support.bundles import digest_of, make_bundle
from tests.support.project import HERE, Project

TAGS = "py3-none-manylinux2014_x86_64"
pytestmark = pytest.mark.skipif("linux-x86_64" not in HERE, reason="the made binaries are for x86-64")


def offer_both(project: Project) -> tuple[Path, Path]:
    """A wheel `foo` and its bundle on the project's index; returns their paths."""
    wheel = project.wheel("foo", files={"foo/__init__.py": "value = 42\n"}, folder=project.base / "offered")
    bundle = make_bundle(wheel)
    for path in (wheel, bundle):
        project.server.add(path)
    return wheel, bundle


def test_a_lock_names_the_bundle_and_the_wheel_that_it_was(project: Project) -> None:
    """Of a wheel and its bundle the bundle is locked, with the digest of the wheel; the lock alone says which."""
    wheel, bundle = offer_both(project)
    project.write(["foo"])
    project.run("lock")
    text = project.lock.read_text()
    (artifact,) = decode(text).artifacts.values()
    assert (artifact.filename, artifact.sha256, artifact.origin) == (bundle.name, digest_of(bundle), digest_of(wheel))
    project.lock.unlink()
    project.run("lock", "--cache-dir", project.base / "another")
    assert project.lock.read_text() == text


def test_a_bundle_that_is_gone_is_replaced_by_the_wheel_that_it_was(project: Project) -> None:
    """Where the index has lost the bundle and has the wheel of that digest, sync takes the wheel; and then keeps it."""
    wheel, bundle = offer_both(project)
    project.write(["foo"])
    project.run("lock")
    text = project.lock.read_text()
    del project.server.files[bundle.name]
    project.run("sync", "--locked")
    assert project.inside("python", "-c", "import foo; print(foo.value)") == "42\n"
    assert project.lock.read_text() == text
    assert [path.name for path in (project.store / "artifacts").iterdir()] == [digest_of(wheel)]
    asked = len(project.server.requests)
    assert not project.run("sync", "--json").json["changed"]
    (project.venv).unlink()
    assert project.run("sync", "--json").json["fetched"] == 0
    assert project.inside("python", "-c", "import foo; print(foo.value)") == "42\n"
    assert project.quiet_since(asked)
    assert project.run("store", "verify", "--json").json["damaged"] == []
    assert project.run("doctor", rc=None).rc == 0


def test_a_wheel_in_the_store_serves_for_its_bundle(project: Project) -> None:
    """A store that has what the wheel unpacks to downloads no bundle of it."""
    wheel, bundle = offer_both(project)
    del project.server.files[bundle.name]
    project.write(["foo"])
    project.run("sync")
    project.server.add(bundle)
    project.run("lock", "--upgrade", "--refresh")
    (artifact,) = decode(project.lock.read_text()).artifacts.values()
    assert (artifact.sha256, artifact.origin) == (digest_of(bundle), digest_of(wheel))
    before = project.server.count(bundle.name)
    result = project.run("sync", "--json").json
    assert (result["fetched"], result["installed"], result["removed"]) == (0, [], [])
    assert project.server.count(bundle.name) == before


def test_another_wheel_than_it_was_serves_for_no_bundle(project: Project) -> None:
    """A wheel of the same name and of other bytes than the lock says is not taken."""
    wheel, bundle = offer_both(project)
    project.write(["foo"])
    project.run("lock")
    del project.server.files[bundle.name]
    wheel.unlink()
    project.server.add(project.wheel("foo", files={"foo/__init__.py": "value = 1\n"}, folder=wheel.parent))
    error = project.run("sync", "--locked", rc=2).err
    assert f'{bundle.name} of index "default" is not there any more' in error


def test_the_lock_of_a_wheel_takes_no_bundle(project: Project) -> None:
    """A bundle that says it was the locked wheel is only believed so by a lock that was made with it."""
    wheel, bundle = offer_both(project)
    del project.server.files[bundle.name]
    project.write(["foo"])
    project.run("lock")
    del project.server.files[wheel.name]
    project.server.add(bundle)
    assert f'{wheel.name} of index "default" is not there any more' in project.run("sync", "--locked", rc=2).err
