"""Opening libraries in a process of its own: what is found, what is not, and what kills whoever opens it."""

import sys
import time
from pathlib import Path

from gpuenv.host.libraries import HostLibrary, find_libraries
from gpuenv.host.loading import Opened, open_libraries
from tests.support.compiled import compile_library, needs_compiler

PYTHON = Path(sys.executable)


@needs_compiler
def test_a_library_is_open_or_says_why_not(tmp_path: Path) -> None:
    """A whole library is found where it lies; one that is missing, and one that is none, have the loader's words."""
    good = compile_library(tmp_path / "libgood.so.1", "int good(void) { return 1; }")
    text = tmp_path / "libtext.so"
    text.write_text("text")
    found = open_libraries(PYTHON, [str(good), str(tmp_path / "libnone.so"), str(text)])
    assert found[0] == Opened(str(good), str(good))
    assert "cannot open shared object file" in str(found[1].problem)
    assert "libtext.so" in str(found[2].problem)


@needs_compiler
def test_all_symbols_are_bound_at_once_where_that_is_asked(tmp_path: Path) -> None:
    """A function that nobody defines is a problem with `now`, and none without."""
    library = compile_library(
        tmp_path / "libneedy.so", "int nowhere(void); int f(void) { return nowhere(); }", "-Wl,-z,lazy"
    )
    (now,) = open_libraries(PYTHON, [str(library)])
    (lazy,) = open_libraries(PYTHON, [str(library)], now=False)
    assert "undefined symbol: nowhere" in str(now.problem)
    assert lazy.problem is None


@needs_compiler
def test_what_is_open_already_is_found_by_its_soname(tmp_path: Path) -> None:
    """A need that no path leads to is met by a library that was opened first."""
    base = compile_library(tmp_path / "base" / "libbase.so.1", "int base(void) { return 1; }")
    user = compile_library(
        tmp_path / "user" / "libuser.so", "int base(void); int f(void) { return base(); }", str(base)
    )
    (alone,) = open_libraries(PYTHON, [str(user)])
    (after,) = open_libraries(PYTHON, [str(user)], first=[str(base)])
    assert "libbase.so.1: cannot open shared object file" in str(alone.problem)
    assert after.problem is None


@needs_compiler
def test_a_crash_hits_one_library_only(tmp_path: Path) -> None:
    """A library that kills its process is told with the signal; those before and behind it are judged."""
    good = compile_library(tmp_path / "libgood.so", "int good;")
    crash = compile_library(
        tmp_path / "libcrash.so", "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }"
    )
    names = [str(good), str(crash), str(crash), str(good)]
    found = open_libraries(PYTHON, names)
    assert [opened.problem for opened in (found[0], found[3])] == [None, None]
    assert [opened.problem for opened in found[1:3]] == ["the process that opened it died of SIGABRT"] * 2


@needs_compiler
def test_time_is_bounded(tmp_path: Path) -> None:
    """A library that never comes back is given up, and so is what stands behind it; what it prints does no harm."""
    code = (
        '#include <stdio.h>\n#include <unistd.h>\n__attribute__((constructor)) void f(void) { puts("[0]"); sleep(50); }'
    )
    slow = compile_library(tmp_path / "libslow.so", code)
    before = time.monotonic()
    found = open_libraries(PYTHON, [str(slow), str(slow)], patience=1)
    assert time.monotonic() - before < 20
    assert [opened.problem for opened in found] == [
        "it was not open in time",
        "not opened: the time of 1 s for all was over",
    ]


def test_an_interpreter_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """Nothing is raised: every library has the reason."""
    found = open_libraries(tmp_path / "python", ["libc.so.6", "libm.so.6"])
    assert [opened.problem for opened in found] == [
        f"{tmp_path / 'python'} cannot be started: No such file or directory"
    ] * 2


def test_libraries_of_the_machine() -> None:
    """libm is found with its place; a soname that no machine has is absent, which is no error."""
    found = find_libraries(["libm.so.6", "libnobody-has-this.so.7"], python=PYTHON)
    there = found["libm.so.6"]
    assert there.problem is None
    assert there.path is not None
    assert there.path.name == "libm.so.6"
    assert found["libnobody-has-this.so.7"] == HostLibrary("libnobody-has-this.so.7", None, "")


@needs_compiler
def test_named_folders_come_first_and_variables_count(tmp_path: Path) -> None:
    """A folder that is named is looked into before the loader looks; LD_LIBRARY_PATH changes where that is."""
    library = compile_library(tmp_path / "libmine.so.1", "int mine;")
    named = find_libraries(["libmine.so.1"], python=PYTHON, folders=["/nowhere", str(tmp_path)])
    said = find_libraries(["libmine.so.1"], python=PYTHON, environ={"LD_LIBRARY_PATH": str(tmp_path), "X": "y"})
    assert named == {"libmine.so.1": HostLibrary("libmine.so.1", library, None, named=True)}
    assert said == {"libmine.so.1": HostLibrary("libmine.so.1", library)}


@needs_compiler
def test_a_library_that_cannot_be_opened_is_not_absent(tmp_path: Path) -> None:
    """A library that is there and lacks what it needs itself says what that is."""
    base = compile_library(tmp_path / "gone" / "libgone.so.1", "int gone(void) { return 1; }")
    compile_library(tmp_path / "libuser.so.1", "int gone(void); int f(void) { return gone(); }", str(base))
    found = find_libraries(["libuser.so.1"], python=PYTHON, environ={"LD_LIBRARY_PATH": str(tmp_path)})
    assert str(found["libuser.so.1"].problem).startswith("libgone.so.1: cannot open shared object file")
