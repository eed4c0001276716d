"""Bundles in a lock: chosen before wheels, with what they were, which serves where they are not to be had."""

from pathlib import Path

import msgspec.structs
import pytest

from gpuenv.lock import decode
from gpuenv.model.facts import encode_facts
from tests.support.binaries import library
from tests.support.bundles import digest_of, facts_in, make_bundle
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
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


def offer_library(project: Project, folder: str, *, stated: bool) -> Path:
    """A bundle `dep` with libdep.so.1.2, whose soname is a link alone, on the index; stated: it says so itself."""
    made = compile_library(project.base / "libdep.so.1", "int value(void) { return 42; }")
    names = ("libdep.so", "libdep.so.1", "libdep.so.1.2")
    wheel = project.wheel(
        "dep", files=dict.fromkeys((f"{folder}/{one}" for one in names), made.read_bytes()), tags=TAGS
    )
    bundle = make_bundle(wheel, restore_links=True, facts=facts_in(wheel) if stated else None)
    project.server.add(bundle)
    return bundle


def offer_module(project: Project, *flags: str) -> None:
    """A wheel `consumer` whose extension module needs libdep.so.1."""
    core = compile_library(project.base / "core.so", MODULE, f"-I{HEADERS}", str(project.base / "libdep.so.1"), *flags)
    files: dict[str, bytes | str] = {"consumer/__init__.py": "", "consumer/core.so": core.read_bytes()}
    project.offer("consumer", files=files, tags=TAGS)


PROVIDED = '[tool.gpuenv]\nscan = "all"\n'


@needs_compiler
@needs_headers
@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("folder", ["dep_libs/lib", "dep-1.0.data/data/lib"])
def test_a_library_whose_soname_is_a_link_is_provided_by_a_bundle(project: Project, folder: str, stated: bool) -> None:
    """What an index says who provides brings the bundle into the environment, and the module imports, in any mode."""
    bundle = offer_library(project, folder, stated=stated)
    offer_module(project)
    table = b'{"version": 1, "sonames": {"libdep.so.1": ["dep"]}}'
    project.server.overrides["/simple/provides.json"] = (200, {"Content-Type": "application/json"}, table)
    index = f'[[tool.gpuenv.index]]\nname = "local"\nurl = "{project.server.url}"\n'
    project.write(["consumer"], more=PROVIDED + index)
    project.run("lock")
    lock = decode(project.lock.read_text())
    assert lock.artifacts[bundle.name].facts == "read"
    assert lock.targets["here"].packages["consumer"].libraries == {"dep": ("libdep.so.1",)}
    whole = [request for request in project.server.requests if request.path.endswith(bundle.name)]
    assert all("range" in request.headers for request in whole)
    for mode in ("symlink", "hardlink", "copy"):
        project.run("sync", "--link-mode", mode)
        assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "42\n"
    place = project.venv / "lib" if "data" in folder else project.site / folder
    assert (place / "libdep.so.1").readlink() == Path("libdep.so.1.2")
    assert project.run("doctor", rc=None).rc == 0


@needs_compiler
@needs_headers
def test_a_module_that_looks_into_lib_finds_the_library_of_a_bundle(project: Project) -> None:
    """`$ORIGIN` paths to the environment's `lib` lead to what bundles put there, and nothing is opened before."""
    offer_library(project, "dep-1.0.data/data/lib", stated=True)
    offer_module(project, "-Wl,-rpath,$ORIGIN/../../../../lib")
    project.write(["consumer"], more=PROVIDED + '[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n')
    project.run("sync")
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "42\n"
    assert list(project.site.glob("_gpuenv_preload*")) == []


@needs_compiler
def test_a_project_that_needs_a_library_gets_the_bundle(project: Project) -> None:
    """A soname of `native` is provided by a bundle; `gpuenv.runtime` finds it, and compilers by development links."""
    offer_library(project, "dep-1.0.data/data/lib", stated=True)
    more = 'native = ["libdep.so.1"]\ndevelopment-links = ["dep"]\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    project.write([], more=PROVIDED + more)
    project.run("sync")
    assert set(project.installed()) == {"dep"}
    question = "import ctypes, gpuenv.runtime as r; print(ctypes.CDLL(r.find_libraries('libdep.so.1')[0]).value())"
    assert project.inside("python", "-c", question) == "42\n"
    assert (project.venv / "lib" / "libdep.so").readlink() == Path("libdep.so.1")


@needs_compiler
def test_a_bundle_that_lies_is_no_object(project: Project) -> None:
    """A bundle that says another soname than it has is locked by what it says, and refused when it is unpacked."""
    made = compile_library(project.base / "libother.so.1", "int value(void) { return 42; }")
    wheel = project.wheel("dep", files={"dep_libs/libother.so.1": made.read_bytes()}, tags=TAGS)
    facts = facts_in(wheel)
    lie = msgspec.structs.replace(facts.objects[0], soname="libdep.so.1")
    bundle = make_bundle(wheel, facts=msgspec.structs.replace(facts, objects=(lie,)))
    project.server.add(bundle)
    more = 'native = ["libdep.so.1"]\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    project.write([], more=PROVIDED + more)
    project.run("lock")
    assert project.run("inspect", bundle, rc=1).out  # what it really says is known from now on
    error = project.run("sync", rc=None)
    assert error.rc == 1
    assert "says what is not true of it" in error.err
    assert "has soname libother.so.1, not libdep.so.1" in error.err
    assert not list((project.store / "objects").iterdir())


def test_facts_of_an_index_save_the_reading_of_a_wheel(project: Project) -> None:
    """With a sidecar nothing of the wheel is asked for when locking; a lie in it is refused when it is unpacked."""
    wheel = project.wheel("dep", files={"dep_libs/libdep.so.1": library("libdep.so.1")}, tags=TAGS)
    facts = facts_in(wheel)
    more = 'native = ["libdep.so.1"]\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    project.server.add(wheel, native=encode_facts(facts))
    project.write([], more=PROVIDED + more)
    project.run("lock")
    assert project.server.count("native.json") == 1
    assert [path for path in project.server.paths if path.endswith(".whl")] == []
    project.run("sync")
    lie = msgspec.structs.replace(facts.objects[0], soname="libdep.so.1", needed=("libc.so.6",))
    other = project.wheel("dep", "2.0", files={"dep_libs/libdep.so.1": library("libdep.so.1")}, tags=TAGS)
    digest = digest_of(other)
    project.server.add(other, native=encode_facts(msgspec.structs.replace(facts, sha256=digest, objects=(lie,))))
    project.run("lock", "--upgrade", "--refresh")
    error = project.run("sync", rc=1).err
    assert "dep-2.0-py3-none-manylinux2014_x86_64.whl is not what the lock relies on" in error
    assert "has no needed libc.so.6, which is stated" in error
    assert project.installed() == {"dep": "1.0"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_bundle_that_says_nothing_is_read(project: Project, ranges: bool) -> None:
    """A bundle without facts is read whole when its facts decide, and comes once from a server without ranges."""
    project.server.ranges = ranges
    wheel = project.wheel("dep", files={"dep_libs/libdep.so.1": library("libdep.so.1")}, tags=TAGS)
    bundle = make_bundle(wheel)
    project.server.add(bundle)
    more = 'native = ["libdep.so.1"]\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    project.write([], more=PROVIDED + more)
    project.run("lock")
    (artifact,) = decode(project.lock.read_text()).artifacts.values()
    assert (artifact.filename, artifact.facts, artifact.origin) == (bundle.name, "read", digest_of(wheel))
    whole = [one for one in project.server.requests if one.path.endswith(bundle.name) and "range" not in one.headers]
    assert len(whole) == (0 if ranges else 1)
    project.run("sync")
    assert project.installed() == {"dep": "1.0"}
