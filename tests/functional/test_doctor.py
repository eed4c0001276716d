"""`gpuenv doctor`: it says what is so, finds what is broken, and opens every binary as a program would."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.functional.test_sync_native import BOUND, NATIVE, needing, offer_pair
from tests.support.binaries import library
from tests.support.compiled import compile_library, needs_compiler, needs_headers
from tests.support.project import HERE, PLATFORM, PYTHON, Project, target

pytestmark = pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made binaries are for x86-64")

EVERY = '[tool.gpuenv]\nscan = "all"\n'


def diagnosis(project: Project, *flags: str, rc: int = 0) -> Any:
    """The document of `doctor --json`."""
    return project.run("doctor", "--json", *flags, rc=rc).json


def unmet(document: Any) -> list[tuple[str, str, str]]:
    """Section, subject and detail of what is not met."""
    return [(check["section"], check["what"], check["detail"]) for check in document["checks"] if not check["met"]]


@pytest.fixture
def whole(project: Project, tmp_path: Path) -> Project:
    """An environment with a library that opens, and a package without any."""
    library = compile_library(tmp_path / "libgood.so", "int good;")
    project.offer("native", files={"native/__init__.py": "", "native/libgood.so": library.read_bytes()}, tags=NATIVE)
    project.offer("pure")
    project.write(["native", "pure"])
    project.run("sync")
    return project


@needs_compiler
def test_all_is_well(whole: Project) -> None:
    """Exit code 0, a page with every section, and a document with the same."""
    page = whole.run("doctor").out
    lines = [line.split() for line in page.splitlines()]
    assert page.startswith("target here\n\nmachine\n")
    assert ["ok", "platform", PLATFORM, PLATFORM] in lines
    assert ["ok", "1", "opened"] in lines
    assert "NOT MET" not in page
    document = diagnosis(whole)
    assert document.keys() == {"target", "fits", "checks", "load"}
    assert (document["target"], document["fits"]) == ("here", True)
    assert document["load"] == {"opened": 1, "failed": [], "unjudged": []}
    assert {check["section"] for check in document["checks"]} == {"machine", "store", "view"}
    assert all(check.keys() == {"section", "what", "demanded_by", "met", "detail"} for check in document["checks"])
    glibc = next(check for check in document["checks"] if check["what"] == "glibc 2.17")
    assert glibc["demanded_by"] == "target here"


@needs_compiler
def test_it_changes_nothing(whole: Project) -> None:
    """The doctor asks no index, and works with the index gone and its cache deleted."""
    asked = len(whole.server.requests)
    for file in whole.cache.glob("facts-v*/*/*.json"):
        file.unlink()
    assert diagnosis(whole, "--offline")["load"] == {"opened": 1, "failed": [], "unjudged": []}
    assert whole.quiet_since(asked)


def test_without_an_environment(project: Project) -> None:
    """Before the first sync the machine alone is looked at; without a lock there is nothing to look at."""
    project.offer("pure")
    project.write(["pure"])
    assert "there is no gpuenv.lock" in project.run("doctor", rc=1).err
    project.run("lock")
    page = project.run("doctor").out
    assert page.endswith("binaries\n  there is no .venv for this target yet: `gpuenv sync` makes it\n")
    assert {check["section"] for check in diagnosis(project)["checks"]} == {"machine"}


def test_a_machine_that_does_not_fit(project: Project) -> None:
    """What the target wants and the machine has not is exit code 1, each with what is there instead."""
    project.offer("pure")
    project.write(["pure"], targets=target("gpu", 'gpu = ["sm_90"]', 'cuda = "13.0"', 'glibc = "2.99"') + HERE)
    project.run("lock")
    nothing = {"GPUENV_OVERRIDE_GPU": "", "GPUENV_OVERRIDE_CUDA": ""}
    document = project.run("doctor", "--json", "--target", "gpu", rc=1, env=nothing).json
    assert not document["fits"]
    assert [what for _, what, _ in unmet(document)] == ["glibc 2.99", "GPU sm_90", "CUDA 13.0"]
    assert project.run("doctor", "--json", env=nothing).json["target"] == "here"
    assert "there is no target `no`" in project.run("doctor", "--target", "no", rc=2).err


def test_libraries_of_the_machine(project: Project) -> None:
    """A library that binaries need of the machine is listed with who needs it, whether it is there or not."""
    project.offer("needy", files=needing("libnobody-has-this.so.7", "libm.so.6"), tags=NATIVE)
    project.write(["needy"], more=EVERY + 'native = ["libresolv.so.2"]\n')
    project.run("sync")
    document = diagnosis(project, rc=1)
    host = {check["what"]: check for check in document["checks"] if check["section"] == "host"}
    assert host["libnobody-has-this.so.7"] == {
        "section": "host",
        "what": "libnobody-has-this.so.7",
        "demanded_by": "needy 1.0 (needy/core.so)",
        "met": False,
        "detail": "this machine has none",
    }
    assert not document["fits"]
    (failed,) = document["load"]["failed"]
    assert (failed["package"], failed["path"]) == ("needy 1.0", "needy/core.so")
    assert "libnobody-has-this.so.7: cannot open shared object file" in failed["problem"]
    page = project.run("doctor", rc=1).out
    assert "NOT MET  libnobody-has-this.so.7  this machine has none, for needy 1.0 (needy/core.so)" in page
    assert "  NOT MET  1 binary of 1 package cannot be opened\n           needy 1.0: needy/core.so\n" in page


def test_a_binary_that_cannot_be_opened(project: Project) -> None:
    """A package with a library that lacks a function, and one with a library that kills its process, are both named."""
    project.offer("good", files={"good/libgood.so": library("libgood.so")}, tags=NATIVE)
    project.offer("broken", files={"broken/libbroken.so": library("libbroken.so", ["libgone.so.1"])}, tags=NATIVE)
    project.write(["good", "broken"])
    project.run("sync")
    failed = diagnosis(project, rc=1)["load"]["failed"]
    assert [(one["package"], one["path"]) for one in failed if "libgone" in one["problem"]] == [
        ("broken 1.0", "broken/libbroken.so")
    ]


def test_what_a_binary_may_lack_is_no_complaint(project: Project) -> None:
    """A library that rules, or the table that comes with gpuenv, let a package lack is neither asked for nor missed."""
    files: dict[str, bytes | str] = {"numba/core.so": library(needed=["libtbb.so.12"], symbol="PyInit_core")}
    project.offer("numba", files=files, tags=NATIVE)
    project.offer("needy", files=needing("libgone.so.1"), tags=NATIVE)
    project.write(["numba", "needy"], more='[tool.gpuenv.packages.needy]\nmissing = ["libgone.so.*"]\n')
    assert "warning" not in project.run("sync").err
    document = diagnosis(project)
    assert [check for check in document["checks"] if check["section"] == "host"] == []
    assert document["load"] == {"opened": 0, "failed": [], "unjudged": []}


@needs_compiler
def test_a_crash_hits_one_package(project: Project, tmp_path: Path) -> None:
    """A library that aborts is told by its signal, and what stands beside it is opened all the same."""
    crash = compile_library(
        tmp_path / "a.so", "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }"
    )
    good = compile_library(tmp_path / "b.so", "int good;")
    files = {"both/a.so": crash.read_bytes(), "both/b.so": good.read_bytes()}
    project.offer("both", files=files, tags=NATIVE)
    project.write(["both"])
    project.run("sync")
    load = diagnosis(project, rc=1)["load"]
    assert load["opened"] == 1
    assert load["failed"] == [
        {"package": "both 1.0", "path": "both/a.so", "problem": "the process that opened it died of SIGABRT"}
    ]


@needs_compiler
@needs_headers
def test_providers_are_open_before(project: Project) -> None:
    """What the lock binds, and what required packages bring, counts as open, as it is when a program runs."""
    offer_pair(project)
    project.write(["consumer"], more=BOUND)
    project.run("sync")
    assert diagnosis(project)["load"] == {"opened": 3, "failed": [], "unjudged": []}


@needs_compiler
def test_required_packages_are_open_before(project: Project, tmp_path: Path) -> None:
    """A library of a package that is required is found by a binary that nothing leads there, nor is bound to it."""
    base = compile_library(tmp_path / "libbase.so.1", "int base(void) { return 1; }")
    user = compile_library(tmp_path / "libuser.so", "int base(void); int f(void) { return base(); }", str(base))
    project.offer("base", files={"base/__init__.py": "", "base/lib/libbase.so.1": base.read_bytes()}, tags=NATIVE)
    project.offer("middle", requires=["base"])
    files = {"user/__init__.py": "", "user/libuser.so": user.read_bytes()}
    project.offer("user", files=files, tags=NATIVE, requires=["middle"])
    project.write(["user"])
    assert "warning" not in project.run("sync").err
    assert diagnosis(project)["load"] == {"opened": 2, "failed": [], "unjudged": []}


# what breaks


@needs_compiler
def test_damage_is_found(whole: Project) -> None:
    """A file that an object lost or that has another size, an object that is gone, and a link that leads nowhere."""
    (folder,) = (whole.store / "objects").glob("*-native-1.0")
    file = folder / "site-packages" / "native" / "libgood.so"
    content, mode = file.read_bytes(), file.stat().st_mode
    for path in (file, file.parent):
        path.chmod(0o755)
    file.write_bytes(content + b"x")
    size = len(content)
    document = diagnosis(whole, rc=1)
    assert unmet(document)[0] == (
        "store",
        "native 1.0",
        f"objects/{folder.name}/site-packages/native/libgood.so has {size + 1} bytes instead of {size}",
    )
    file.unlink()
    assert unmet(diagnosis(whole, rc=1))[0][2] == f"objects/{folder.name}/site-packages/native/libgood.so is gone"
    file.write_bytes(content)
    file.chmod(mode)
    (whole.store / "artifacts").rename(whole.base / "away")
    assert [(what, detail) for _, what, detail in unmet(diagnosis(whole, rc=1))] == [
        ("native 1.0", "the store has no object of it"),
        ("pure 1.0", "the store has no object of it"),
    ]
    (whole.base / "away").rename(whole.store / "artifacts")
    view = Path(os.path.realpath(whole.venv))
    times = (view / "bin").stat().st_atime_ns, (view / "bin").stat().st_mtime_ns
    (view / "bin" / "lost").symlink_to("nowhere")
    os.utime(view / "bin", ns=times)
    assert unmet(diagnosis(whole, rc=1)) == [
        ("view", "links of .venv", ".venv/bin/lost leads nowhere: run `gpuenv sync`")
    ]
    (view / "bin" / "lost").unlink()
    os.utime(view / "bin", ns=times)
    assert unmet(diagnosis(whole)) == []


@needs_compiler
def test_an_environment_that_is_behind(whole: Project) -> None:
    """A lock that does not answer the manifest, and an environment that does not hold what the lock says."""
    whole.offer("more")
    whole.write(["native", "more"])
    ((section, what, detail),) = unmet(diagnosis(whole, rc=1))
    assert (section, what) == ("view", "gpuenv.lock")
    assert "`more`" in detail
    whole.run("lock")
    assert unmet(diagnosis(whole, rc=1)) == [
        ("store", "more 1.0", "the store has no object of it"),
        ("view", ".venv", "differs in more, pure: run `gpuenv sync`"),
    ]
    whole.run("sync")
    assert unmet(diagnosis(whole)) == []


@needs_compiler
def test_what_was_selected_is_looked_at(whole: Project) -> None:
    """An environment with an extra is whole with the extra; the doctor remembers what was asked for."""
    whole.offer("extra")
    whole.write(["native", "pure"], more='[project.optional-dependencies]\nmore = ["extra"]\n')
    whole.run("sync", "--extra", "more")
    objects = next(check["what"] for check in diagnosis(whole)["checks"] if check["section"] == "store")
    assert objects == "3 objects"
    whole.run("sync")
    objects = next(check["what"] for check in diagnosis(whole)["checks"] if check["section"] == "store")
    assert objects == "2 objects"


@needs_compiler
def test_an_interpreter_that_is_gone(whole: Project) -> None:
    """An environment whose interpreter is gone says so, and nothing can be opened."""
    view = Path(os.path.realpath(whole.venv))
    (view / "bin" / "python").unlink()
    (view / "bin" / "python").symlink_to(whole.base / "no-python")
    document = diagnosis(whole, rc=1)
    assert unmet(document)[0][2].startswith(".venv/bin/python")
    assert document["load"]["opened"] == 0
    assert "cannot be started" in document["load"]["failed"][0]["problem"]
    assert PYTHON in str(document["checks"])


@needs_compiler
def test_what_others_bring_cannot_be_judged(project: Project, tmp_path: Path) -> None:
    """A plugin whose symbols are those of the program that opens it is named, and is no failure."""
    plugin = compile_library(
        tmp_path / "libplug.so", "extern int of_the_program; int get(void) { return of_the_program; }"
    )
    project.offer("plugged", files={"plugged/__init__.py": "", "plugged/libplug.so": plugin.read_bytes()}, tags=NATIVE)
    project.write(["plugged"])
    project.run("sync")
    load = diagnosis(project)["load"]
    assert (load["opened"], load["failed"]) == (0, [])
    (plug,) = load["unjudged"]
    assert (plug["path"], "undefined symbol: of_the_program" in plug["problem"]) == ("plugged/libplug.so", True)
    assert "1 more cannot be judged alone" in project.run("doctor").out
