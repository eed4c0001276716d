"""The emulated loader over files on the disk, beside the real one: the same libraries, opened in the same order.

Every case is opened by a small program under LD_DEBUG; then the emulation is asked the same, and both have to agree on
every search, every file and the scope of every dlopen. What the case is about is said besides.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gpuenv.host.cpu import cpu_level
from gpuenv.model.facts import ObjectFacts
from gpuenv.model.ldso import Opening, Process
from gpuenv.view.loading import FilesOnDisk, binary_of, identity
from gpuenv.workflow.binding import surroundings
from tests.support.compiled import compile_library, needs_compiler
from tests.support.lddebug import compare, traced
from tests.support.project import HERE

pytestmark = [needs_compiler, pytest.mark.skipif("linux-x86_64" not in HERE, reason="the loader of x86-64")]

PROGRAM = """
#include <dlfcn.h>
int main(int count, char **names) {
    for (int i = 1; i < count; i++) dlopen(names[i], RTLD_LAZY);
    return 0;
}
"""
OLD, NEW = "-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"


class Case(NamedTuple):
    """What is opened, and for a need by name the file that has to meet it; None: nobody."""

    opened: list[Path]
    met: dict[str, Path | None]
    program_paths: tuple[str, ...] = ()
    library_path: str = ""


def lib(path: Path, *needed: Path, rpath: str = "", runpath: str = "", soname: str | None = None) -> Path:
    """A library of its own content that needs others."""
    more = [f"-Wl,-soname,{soname}"] if soname else []
    more += [OLD, f"-Wl,-rpath,{rpath}"] if rpath else [NEW, f"-Wl,-rpath,{runpath}"] if runpath else []
    code = "int " + "".join(letter if letter.isalnum() else "_" for letter in f"a{path}") + ";"
    return compile_library(path, code, *more, "-Wl,--allow-shlib-undefined", *map(str, needed))


def link(path: Path, target: Path) -> Path:
    """A relative symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))
    return path


def inherited_rpath(base: Path) -> Case:
    """DT_RPATH goes on along those that load, past one with DT_RUNPATH."""
    last = lib(base / "libs/liblast.so")
    middle = lib(base / "libs/libmiddle.so", last)
    first = lib(base / "libs/libfirst.so", middle, runpath="$ORIGIN")
    top = lib(base / "top.so", first, rpath="$ORIGIN/libs")
    return Case([top], {"libfirst.so": first, "libmiddle.so": middle, "liblast.so": last})


def runpath_is_not_inherited(base: Path) -> Case:
    """DT_RUNPATH is for the file's own needs: what it needs needs a path of its own. Nothing stays open."""
    last = lib(base / "libs/liblast.so")
    middle = lib(base / "libs/libmiddle.so", last)
    top = lib(base / "top.so", middle, runpath="$ORIGIN/libs")
    lone = lib(base / "lone.so", middle)
    return Case([top, lone], {"liblast.so": None, "libmiddle.so": None})


def preloaded(base: Path) -> Case:
    """What is open under a SONAME is taken, wherever it lies and whatever the paths say."""
    other = lib(base / "other/libdep-1.2.so", soname="libdep.so.1")
    dep = lib(base / "libs/libdep.so.1")
    user = lib(base / "user.so", dep, runpath="$ORIGIN/libs")
    return Case([other, user], {"libdep.so.1": other})


def sisters(base: Path) -> Case:
    """A library that a sister had loaded before shadows one that is nearer."""
    far, near = lib(base / "far/libdep.so.1"), lib(base / "near/libdep.so.1")
    one = lib(base / "one.so", far, rpath="$ORIGIN/far")
    two = lib(base / "two.so", near, rpath="$ORIGIN/near")
    return Case([one, two], {"libdep.so.1": far})


def file_names_count(base: Path) -> Case:
    """A need that was met by a file with another SONAME is met by it again, under both names."""
    dep = lib(base / "libs/libdep.so", soname="libdep.so")
    one = lib(base / "one.so", dep, runpath="$ORIGIN/libs")
    dep = lib(base / "libs/libdep.so", soname="libdep.so.7")
    renamed = lib(base / "away/libdep.so.7")
    two = lib(base / "two.so", renamed)
    return Case([one, two], {"libdep.so": dep, "libdep.so.7": dep})


def file_links(base: Path) -> Case:
    """Through a link to the file, $ORIGIN is the view's folder."""
    lib(base / "store/b/lib/libdep.so")
    user = lib(base / "store/a/lib/user.so", base / "store/b/lib/libdep.so", runpath="$ORIGIN/../../b/lib")
    other = lib(base / "store/other/libdep.so")
    dep = link(base / "view/b/lib/libdep.so", other)
    return Case([link(base / "view/a/lib/user.so", user)], {"libdep.so": dep})


def folded_folder(base: Path) -> Case:
    """Through a linked folder `..` leads to where the folder really lies; within it all is found."""
    beside = lib(base / "store/1/a/lib/libbeside.so")
    dep = lib(base / "view/b/lib/libdep.so")
    lib(base / "store/1/a/lib/user.so", beside, dep, runpath="$ORIGIN/../../b/lib:$ORIGIN")
    view = link(base / "view/a", base / "store/1/a")
    return Case([view / "lib/user.so"], {"libbeside.so": view / "lib/libbeside.so", "libdep.so": None})


def hard_links(base: Path) -> Case:
    """One file with two names is opened once, and known by both names from then on."""
    dep = lib(base / "store/libdep.so.1", soname="libown.so")
    user = lib(base / "user.so", dep, runpath="$ORIGIN/view")
    one, two = base / "view/libone.so", base / "view/libown.so"
    for path in (one, two):
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(dep)
    bare = lib(base / "bare.so", lib(base / "away/libtwo.so"), runpath="$ORIGIN/view")
    (base / "view/libtwo.so").hardlink_to(dep)
    return Case([one, bare, user], {"libtwo.so": one, "libown.so": one})


def copies(base: Path) -> Case:
    """Copies are two files: both are open, and the first meets what comes later."""
    one = lib(base / "one/libdep.so.1")
    two = base / "two/libdep.so.1"
    two.parent.mkdir()
    shutil.copy2(one, two)
    user = lib(base / "user.so", two, runpath="$ORIGIN/two")
    return Case([one, two, user], {"libdep.so.1": one})


def program_rpath(base: Path) -> Case:
    """DT_RPATH of the program counts where there is no DT_RUNPATH in between."""
    dep, other = lib(base / "python-lib/libdep.so"), lib(base / "python-lib/libother.so")
    user = lib(base / "user.so", dep)
    blind = lib(base / "blind.so", other, runpath="$ORIGIN/nowhere")
    paths = (OLD, f"-Wl,-rpath,{base}/python-lib")
    return Case([user, blind], {"libdep.so": dep, "libother.so": None}, program_paths=paths)


def program_runpath(base: Path) -> Case:
    """DT_RUNPATH of the program is for its own needs."""
    dep = lib(base / "python-lib/libdep.so")
    return Case([lib(base / "user.so", dep)], {"libdep.so": None}, (NEW, f"-Wl,-rpath,{base}/python-lib"))


def library_path(base: Path) -> Case:
    """LD_LIBRARY_PATH comes before DT_RUNPATH and after DT_RPATH."""
    dep = lib(base / "own/libdep.so")
    said = lib(base / "said/libdep.so")
    new = lib(base / "new.so", dep, runpath="$ORIGIN/own")
    return Case([new], {"libdep.so": said}, library_path=f"{base}/nowhere:{base}/said")


def library_path_after_rpath(base: Path) -> Case:
    """DT_RPATH comes before LD_LIBRARY_PATH."""
    dep = lib(base / "own/libdep.so")
    lib(base / "said/libdep.so")
    return Case([lib(base / "old.so", dep, rpath="$ORIGIN/own")], {"libdep.so": dep}, library_path=f"{base}/said")


def other_processors(base: Path) -> Case:
    """A file for another processor is passed over in a search."""
    dep = lib(base / "mine/libdep.so")
    foreign = base / "foreign/libdep.so"
    foreign.parent.mkdir()
    foreign.write_bytes(dep.read_bytes()[:18] + b"\xb7\x00" + dep.read_bytes()[20:])  # e_machine: AArch64
    return Case([lib(base / "user.so", dep, runpath="$ORIGIN/foreign:$ORIGIN/mine")], {"libdep.so": dep})


def no_library(base: Path) -> Case:
    """A search ends at a file that is no library: a linker script, say."""
    dep = lib(base / "mine/libdep.so")
    (base / "script").mkdir()
    (base / "script/libdep.so").write_text("INPUT(libdep.so.1)\n" * 99)
    return Case([lib(base / "user.so", dep, runpath="$ORIGIN/script:$ORIGIN/mine")], {"libdep.so": None})


def needs_with_slashes(base: Path) -> Case:
    """A need with a slash is a path, in which $ORIGIN counts."""
    dep = lib(base / "sub/libdep.so", soname="$ORIGIN/sub/libdep.so")
    user = lib(base / "user.so", dep)
    assert b"$ORIGIN/sub/libdep.so" in user.read_bytes()
    return Case([user], {"$ORIGIN/sub/libdep.so": dep})


def tokens(base: Path) -> Case:
    """$LIB and braces."""
    dep, other = lib(base / "lib/x86_64-linux-gnu/libdep.so"), lib(base / "x86_64/libother.so")
    user = lib(base / "user.so", dep, other, runpath="${ORIGIN}/$LIB:$ORIGIN/lib64:$ORIGIN/${PLATFORM}:$ORIGIN/haswell")
    return Case([user], {})


def processor_levels(base: Path) -> Case:
    """Folders of glibc-hwcaps come before the folder itself."""
    level = cpu_level(Path("/"), "x86_64") or ""
    if level == "x86-64-v1":
        pytest.skip("this processor has no level")
    dep = lib(base / "libs/libdep.so")
    better = lib(base / "libs/glibc-hwcaps/x86-64-v2/libdep.so")
    lib(base / "libs/glibc-hwcaps/x86-64-v9/libdep.so")
    return Case([lib(base / "user.so", dep, runpath="$ORIGIN/libs")], {"libdep.so": better})


def failures_leave_nothing(base: Path) -> Case:
    """What was opened before a need failed is closed again, so the next dlopen searches anew."""
    good, gone = lib(base / "libs/libgood.so"), lib(base / "libs/libgone.so")
    one = lib(base / "one.so", good, gone, runpath="$ORIGIN/libs")
    two = lib(base / "two.so", good, runpath="$ORIGIN/more")
    gone.unlink()
    more = lib(base / "more/libgood.so")
    return Case([one, two], {"libgood.so": more})


def breadth_first(base: Path) -> Case:
    """Needs of the file come before needs of its needs: who is asked first decides which paths count."""
    near, far = lib(base / "near/libdep.so"), lib(base / "far/libdep.so")
    deep = lib(base / "near/libdeep.so", far, runpath="$ORIGIN/../far")
    user = lib(base / "user.so", deep, near, runpath="$ORIGIN/near")
    return Case([user], {"libdep.so": near})


CASES: list[Callable[[Path], Case]] = [
    inherited_rpath, runpath_is_not_inherited, preloaded, sisters, file_names_count, file_links, folded_folder,
    hard_links, copies, program_rpath, program_runpath, library_path, library_path_after_rpath, other_processors,
    no_library, needs_with_slashes, tokens, processor_levels, failures_leave_nothing, breadth_first,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_real_loader_agrees(case: Callable[[Path], Case], tmp_path: Path) -> None:
    """Every search, every file and every scope is what LD_DEBUG shows; what the case is about is so in both."""
    found = case(tmp_path)
    program = tmp_path / "program"
    command = ["gcc", "-o", str(program), "-x", "c", "-", "-x", "none", *found.program_paths]
    subprocess.run(command, input=PROGRAM, text=True, check=True, timeout=60)
    env = {"LD_LIBRARY_PATH": found.library_path} if found.library_path else {}
    log = traced([program, *found.opened], tmp_path / "log", env=env, timeout=60)
    system = surroundings(str(program), {}, cpu_level(Path("/"), "x86_64"))
    assert system is not None
    parts = tuple(found.library_path.split(":")) if found.library_path else ()
    system = system._replace(library_path=parts)
    report = compare(log, system, program)
    assert report.differences == []
    assert report.roots >= 2
    process, _ = Process.start(system, str(program))
    met: dict[str, Path | None] = {}
    for path in found.opened:
        opening: Opening = process.open(str(path))
        for one in opening.scope:
            for name, other in zip(one.binary.needed, one.needs, strict=False):
                met[name] = Path(os.path.normpath(other.path)) if other is not None else None
    assert {name: met.get(name) for name in found.met} == found.met


def test_a_difference_is_seen(tmp_path: Path) -> None:
    """The comparison complains where the emulation is told of another LD_LIBRARY_PATH than the process had."""
    dep = lib(tmp_path / "own/libdep.so")
    lib(tmp_path / "said/libdep.so")
    user = lib(tmp_path / "user.so", dep, runpath="$ORIGIN/own")
    program = tmp_path / "program"
    command = ["gcc", "-o", str(program), "-x", "c", "-"]
    subprocess.run(command, input=PROGRAM, text=True, check=True, timeout=60)
    log = traced([program, user], tmp_path / "log", timeout=60)
    system = surroundings(str(program), {}, None)
    assert system is not None
    assert compare(log, system, program).differences == []
    wrong = system._replace(library_path=(f"{tmp_path}/said",))
    (first, *_) = compare(log, wrong, program).differences
    assert "libdep.so for" in first and "said/libdep.so (library-path) here" in first


# the files themselves


def test_files_are_told_by_inode(tmp_path: Path) -> None:
    """A link, a hard link and a path with `..` are one file, a copy is another; folders and dangling links are none."""
    path = lib(tmp_path / "a/libx.so")
    link(tmp_path / "link.so", path)
    (tmp_path / "hard.so").hardlink_to(path)
    shutil.copy2(path, tmp_path / "copy.so")
    link(tmp_path / "dangling.so", tmp_path / "nowhere")
    where = identity(str(path))
    assert where is not None
    assert (
        identity(f"{tmp_path}/link.so")
        == identity(f"{tmp_path}/hard.so")
        == identity(f"{tmp_path}/a/../link.so")
        == where
    )
    assert identity(f"{tmp_path}/copy.so") not in (None, where)
    assert identity(str(tmp_path)) is identity(f"{tmp_path}/dangling.so") is identity("a\0b") is None


def test_what_is_known_is_not_read(tmp_path: Path) -> None:
    """Facts that are there are used for every path of the file; each other file is read once."""
    (tmp_path / "known").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    link(tmp_path / "link", tmp_path / "known")
    asked: list[str] = []
    where = identity(f"{tmp_path}/known")
    assert where is not None
    like = ObjectFacts("python", 1, "elf", "x86_64", 64, "little", "executable")
    facts = ObjectFacts("known", 1, "elf", "x86_64", 64, "little", "shared", "libknown.so")
    files = FilesOnDisk({where: binary_of(facts, where, like)}, lambda path, _: asked.append(path))
    for name in ("known", "link", "../" + tmp_path.name + "/known"):
        found = files.file(f"{tmp_path}/{name}")
        assert found is not None and found.soname == "libknown.so"
    assert asked == []
    broken = [files.file(f"{tmp_path}/other"), files.file(f"{tmp_path}/./other")]
    assert [one and one.fit for one in broken] == ["broken", "broken"]
    assert asked == [f"{tmp_path}/other"]
    assert files.file(f"{tmp_path}/none") is None


@pytest.mark.parametrize(
    ("change", "fit"),
    [
        ({}, "fit"),
        ({"machine": "aarch64"}, "other"),
        ({"bits": 32}, "other"),
        ({"machine": "amdgpu"}, "other"),
        ({"type": "relocatable"}, "broken"),
    ],
)
def test_what_a_processor_can_load(change: dict[str, object], fit: str) -> None:
    """Facts of another machine or class do not count, those of no library end a search."""
    fields = {"machine": "x86_64", "bits": 64, "endian": "little", "type": "shared", **change}
    like = ObjectFacts("python", 1, "elf", "x86_64", 64, "little", "executable")
    assert binary_of(ObjectFacts("x", 1, "elf", **fields), (1, 1), like).fit == fit  # type: ignore[arg-type]
