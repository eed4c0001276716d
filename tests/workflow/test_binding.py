"""What the lock says of libraries against what the loader finds: the four ways in which they differ, by name."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gpuenv.errors import Misbound
from gpuenv.model.binding import Binding, Finding
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule
from gpuenv.model.target import Target
from gpuenv.view.loading import preloaded
from gpuenv.view.preload import Installed, startup_files
from gpuenv.workflow.binding import check, read_binary, refuse_misbound, surroundings
from tests.support.binaries import library
from tests.support.project import HERE

pytestmark = pytest.mark.skipif("linux-x86_64" not in HERE, reason="the made binaries are for x86-64")

TARGET = Target("here", glibc="2.28")
PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


class Site:
    """A view's site-packages with distributions of tiny binaries."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "view" / "lib" / "python3.12" / "site-packages"
        self.path.mkdir(parents=True)
        self.all: dict[str, Installed] = {}

    def add(
        self,
        name: str,
        *binaries: ObjectFacts,
        requires: Sequence[str] = (),
        libraries: Mapping[str, tuple[str, ...]] | None = None,
        hosted: Mapping[str, str] | None = None,
    ) -> None:
        """A distribution whose files are where its facts say; it has a module where one of its binaries is one."""
        for found in binaries:
            path = self.path / found.path
            path.parent.mkdir(parents=True, exist_ok=True)
            data = library(found.soname, found.needed, runpath=":".join(found.runpath) or None)
            path.write_bytes(data + found.path.encode())
        modules = (name,) if any(found.python for found in binaries) else ()
        facts = NativeFacts(None, 1, objects=binaries)
        self.all[name] = Installed(
            name, facts, TARGET, modules, frozenset(requires), libraries or {}, hosted=hosted or {}
        )

    def check(self, preload: Mapping[str, tuple[str, ...]] | None = None, *, anew: bool = False) -> Binding:
        """What comes of the check."""
        return check(self.all, str(self.path), preload=preload or {}, python=PYTHON, cpu=None, anew=anew)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty one."""
    return Site(tmp_path)


def binary(path: str, *needed: str, soname: str | None = None, runpath: str = "", module: bool = False) -> ObjectFacts:
    """Facts of a library; its SONAME is by default its file name, a module has none."""
    name = None if module else soname or path.rpartition("/")[2]
    python = PythonModule("core", "abi3", "PyInit_core") if module else None
    parts = tuple(runpath.split(":")) if runpath else ()
    return ObjectFacts(path, 1, "elf", "x86_64", 64, "little", "shared", name, needed, runpath=parts, python=python)


def core(name: str, *needed: str, runpath: str = "") -> ObjectFacts:
    """An extension module."""
    return binary(f"{name}/core.so", *needed, runpath=runpath, module=True)


def test_what_is_as_the_lock_says(site: Site) -> None:
    """Needs that paths lead to where the lock has them are counted, and nothing is found."""
    site.add("user", core("user", "libdep.so.1", runpath="$ORIGIN/../dep/lib"), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/lib/libdep.so.1"))
    site.add("pure")
    assert site.check() == Binding(1, 1, ())
    assert site.check(anew=True) == Binding(1, 1, ())


def test_unresolved(site: Site) -> None:
    """A library that the lock binds and nothing leads to is named; what the view opens first counts as there."""
    site.add("user", core("user", "libdep.so.1"), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/lib/libdep.so.1"))
    (found,) = site.check().findings
    assert found == Finding("unresolved", "user", "user/core.so", "libdep.so.1", wanted=("dep",), locked=True)
    assert found.words == "libdep.so.1 is not found, which dep brings (user/core.so)"
    assert site.check({"user": ("dep/lib/libdep.so.1",)}).findings == ()


def test_a_file_that_is_gone(site: Site) -> None:
    """Facts are not believed where the view lacks the file, not even a package's own."""
    site.add(
        "user",
        core("user", "libdep.so.1", "libown.so", runpath="$ORIGIN/../dep/lib:$ORIGIN/lib"),
        binary("user/lib/libown.so"),
        libraries={"dep": ("libdep.so.1",)},
    )
    site.add("dep", binary("dep/lib/libdep.so.1"))
    assert site.check().findings == ()
    (site.path / "dep/lib/libdep.so.1").unlink()
    (site.path / "user/lib/libown.so").unlink()
    found = site.check().findings
    assert [(one.kind, one.soname, one.wanted, one.locked) for one in found] == [
        ("unresolved", "libdep.so.1", ("dep",), True),
        ("unresolved", "libown.so", ("user",), True),
    ]


def test_shadowed_by_what_is_imported_before(site: Site) -> None:
    """A module of a required package brings another file of the SONAME: it is open when the need comes up."""
    site.add(
        "user",
        core("user", "libdep.so.1", runpath="$ORIGIN/../dep/lib"),
        requires=["middle"],
        libraries={"dep": ("libdep.so.1",)},
    )
    site.add("dep", binary("dep/lib/libdep.so.1"))
    site.add("middle", requires=["other"])
    site.add("other", core("other", "libdep.so.1", runpath="$ORIGIN"), binary("other/libdep.so.1"))
    (found,) = site.check().findings
    place = "lib/python3.12/site-packages/other/libdep.so.1"
    assert found == Finding("shadowed", "user", "user/core.so", "libdep.so.1", place, "other", ("dep",), True)
    assert found.words == f"libdep.so.1 is {place} of other instead of dep's (user/core.so)"
    assert site.check({"user": ("dep/lib/libdep.so.1",)}).findings == ()
    site.all["middle"] = replace(site.all["middle"], requires=frozenset())
    assert site.check().findings == ()


def test_shadowed_by_what_is_found_first(site: Site) -> None:
    """Paths that lead to another package before the locked one are noticed."""
    paths = "$ORIGIN/../other:$ORIGIN/../dep/lib"
    site.add("user", core("user", "libdep.so.1", runpath=paths), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/lib/libdep.so.1"))
    site.add("other", binary("other/libdep.so.1"))
    assert [(one.kind, one.by, one.locked) for one in site.check().findings] == [("shadowed", "other", True)]


def test_escaping(site: Site, tmp_path: Path) -> None:
    """A file outside the view that comes before the locked one is named by its whole path."""
    outside = tmp_path / "opt" / "libdep.so.1"
    outside.parent.mkdir()
    outside.write_bytes(library("libdep.so.1"))
    paths = f"{outside.parent}:$ORIGIN/../dep/lib"
    site.add("user", core("user", "libdep.so.1", runpath=paths), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/lib/libdep.so.1"))
    (found,) = site.check().findings
    assert (found.kind, found.found, found.by, found.locked) == ("escaping", str(outside), None, True)
    assert found.words == f"libdep.so.1 is {outside} instead of dep's, outside the environment (user/core.so)"


def test_paths_to_required_packages_bind_too(site: Site) -> None:
    """Without a word of the lock, a need whose own paths lead to a required package has to be met there."""
    site.add("user", core("user", "libdep.so.1", runpath="$ORIGIN/../other:$ORIGIN/../dep/lib"), requires=["dep"])
    site.add("dep", binary("dep/lib/libdep.so.1"))
    site.add("other", binary("other/libdep.so.1"))
    assert [(one.kind, one.by, one.locked) for one in site.check().findings] == [("shadowed", "other", True)]


def test_an_own_library_may_be_anothers(site: Site) -> None:
    """Of a package's own library that is shadowed the lock says nothing; with a hash in its name it is the same."""
    for name in ("one", "two"):
        needs = ("libown.so", "libz-0123abcd.so.1")
        carried = [binary(f"{name}.libs/{soname}") for soname in needs]
        requires = ["one"] if name == "two" else []
        site.add(name, core(name, *needs, runpath=f"$ORIGIN/../{name}.libs"), *carried, requires=requires)
    (found,) = site.check().findings
    assert (found.kind, found.package, found.soname, found.by, found.locked) == (
        "shadowed", "two", "libown.so", "one", False,
    )  # fmt: skip


def test_needs_behind_a_failure_are_judged(site: Site) -> None:
    """A binary that cannot be opened for what nobody promised is judged by what was promised all the same."""
    site.add(
        "user",
        core("user", "libnobody.so.9", "libgood.so", "libbad.so", runpath="$ORIGIN/../dep"),
        libraries={"dep": ("libgood.so", "libbad.so")},
    )
    site.add("dep", binary("dep/libgood.so"))
    (found,) = site.check().findings
    assert (found.kind, found.soname) == ("unresolved", "libbad.so")


def test_what_the_machine_lacks_is_no_reason(site: Site) -> None:
    """On a machine without a driver the module that needs it counts as imported, with all that it brings for others."""
    needs = ("libcuda-of-no-machine.so.1", "libheart.so")
    site.add("gpu", core("gpu", *needs, runpath="$ORIGIN"), binary("gpu/libheart.so"))
    site.add("user", core("user", "libheart.so"), requires=["gpu"], libraries={"gpu": ("libheart.so",)})
    assert site.check() == Binding(2, 2, ())
    site.all["gpu"] = replace(site.all["gpu"], asleep={"gpu/core.so"})
    assert [one.kind for one in site.check().findings] == ["unresolved"]


def test_load_order_of_own_libraries(site: Site) -> None:
    """Libraries without a module are opened each after those that it needs, and after what the view would open."""
    site.add(
        "dep",
        binary("dep/liba.so", "libb.so", "libbase.so", runpath="$ORIGIN"),
        binary("dep/libb.so", "libbase.so"),
        libraries={"base": ("libbase.so",)},
    )
    site.add("base", binary("base/libbase.so"))
    assert site.check() == Binding(3, 1, ())


def test_sleepers_and_the_machines_libraries_are_not_judged(site: Site) -> None:
    """What nobody opens needs nothing, and what lies in a named folder of the machine is opened from there."""
    user = core("user", "libdep.so.1", "libhost.so")
    site.add("user", user, libraries={"dep": ("libdep.so.1", "libhost.so")}, hosted={"libhost.so": "/opt/libhost.so"})
    site.add("dep", binary("dep/libdep.so.1"))
    assert [one.soname for one in site.check().findings] == ["libdep.so.1"]
    site.all["user"] = replace(site.all["user"], asleep={"user/core.so"})
    assert site.check() == Binding()


def test_doubled(site: Site) -> None:
    """Two needs by different names that lead to files of one SONAME open both: the second one is named."""
    site.add(
        "user",
        core("user", "libx.so.1", "libx.so", runpath="$ORIGIN/one:$ORIGIN/two"),
        binary("user/one/libx.so.1", soname="libx.so.1"),
        binary("user/two/libx.so", soname="libx.so.1"),
    )
    (found,) = site.check().findings
    assert (found.kind, found.path, found.by, found.locked) == ("doubled", "user/two/libx.so", "user", False)
    assert found.words.startswith("libx.so.1 is open twice: lib/python3.12/site-packages/user/one/libx.so.1 of user")


def test_files_are_read_where_nothing_is_taken_as_known(site: Site) -> None:
    """With `anew` what a file says counts, not what was once read of it."""
    site.add("user", core("user", "libdep.so.1", runpath="$ORIGIN/../dep"), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/libdep.so.1"))
    (site.path / "user/core.so").write_bytes(library(needed=["libdep.so.1"], runpath="$ORIGIN/../elsewhere"))
    assert site.check().findings == ()
    assert [one.kind for one in site.check(anew=True).findings] == ["unresolved"]


def test_programs_that_are_not_glibcs(site: Site, tmp_path: Path) -> None:
    """Of an interpreter that is no ELF program, or has another loader, nothing is said."""
    site.add("user", core("user", "libdep.so.1"), libraries={"dep": ("libdep.so.1",)})
    site.add("dep", binary("dep/libdep.so.1"))
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\n")
    assert check(site.all, str(site.path), preload={}, python=str(script), cpu=None) == Binding()
    found = read_binary(PYTHON)
    assert found is not None and found.interpreter is not None
    data = Path(PYTHON).read_bytes()
    loader = found.interpreter.encode()
    script.write_bytes(data.replace(loader, b"/lib/ld-musl-x.so".ljust(len(loader), b"1"), 1))
    assert surroundings(str(script), {}, None) is None


# words


def test_refusal() -> None:
    """Only what is locked is refused, three by name, with what can be done; the rest is no reason."""
    free = Finding("shadowed", "a", "a/core.so", "liba.so", "b/liba.so", "b", ("a",))
    refuse_misbound([free], {"a": "a 1.0"})
    bad = [free._replace(soname=f"lib{number}.so", locked=True) for number in range(5)]
    with pytest.raises(Misbound) as caught:
        refuse_misbound([free, *bad], {"a": "a 1.0"})
    error = caught.value
    assert error.causes[0] == "a 1.0: lib0.so is b/liba.so of b instead of a's (a/core.so)"
    assert error.causes[-1] == "and 2 more"
    assert error.hints == (
        "see who needs it and who brings it: gpuenv why lib0.so",
        'take what is loaded, in pyproject.toml: [tool.gpuenv.providers] "lib0.so" = "b"',
    )


def test_what_a_view_opens_first_is_read_back(tmp_path: Path) -> None:
    """The table of the start-up file is what it was made of; without one there is none."""
    needs = {"user": ("dep/lib/libdep.so.1", "/opt/libhost.so"), "other": ("../../../lib/libx.so",)}
    assert preloaded(str(tmp_path)) == {}
    for name, text in startup_files(needs).items():
        (tmp_path / name).write_text(text)
    assert preloaded(str(tmp_path)) == needs
