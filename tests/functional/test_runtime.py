"""`gpuenv.runtime` and development links in environments that `gpuenv sync` made: real libraries, opened and linked."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from gpuenv import runtime
from tests.support.binaries import library
from tests.support.compiled import compile_library, needs_compiler
from tests.support.project import HERE, PYTHON, Project

NATIVE = "py3-none-manylinux2014_x86_64"
pytestmark = pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made binaries are for x86-64")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")

# A command of its own, a module and a child that is spawned all say where the libraries are and what they compute.
WHO = """
import ctypes
from multiprocessing import get_context
from gpuenv.runtime import find_libraries, preload_libraries

def answer(_=None):
    preload_libraries("dep")
    maps = open("/proc/self/maps").read()
    dep, base = find_libraries("dep", "base")
    assert dep.samefile(next(line.split()[-1] for line in maps.splitlines() if line.endswith("libdep.so.1")))
    return ctypes.CDLL("libdep.so.1").dep(), dep.name, base.name

def main():
    print(*answer())

def spawned():
    with get_context("spawn").Pool(1) as pool:
        print(*pool.map(answer, [0])[0])

if __name__ == "__main__":
    main()
"""


@cache
def compiled(number: int = 40) -> tuple[bytes, bytes]:
    """`libbase.so.1`, and `libdep.so.1` that needs it and says nothing of where it is."""
    with tempfile.TemporaryDirectory() as folder:
        base = compile_library(Path(folder) / "libbase.so.1", f"int base(void) {{ return {number}; }}")
        code = "int base(void); int dep(void) { return base() + 2; }"
        dep = compile_library(Path(folder) / "libdep.so.1", code, str(base))
        return base.read_bytes(), dep.read_bytes()


def offer(project: Project, version: str = "1.0", number: int = 40) -> None:
    """The distributions `base`, `dep` and `who`."""
    base, dep = compiled(number)
    headers = {"vendor/base/include/vendor/base.h": "int base(void);\n"}
    project.offer("base", version, files={"vendor/base/lib/libbase.so.1": base, **headers}, tags=NATIVE)
    headers = {
        "vendor/dep/include/dep.h": '#include "vendor/dep_more.h"\n#include <vendor/base.h>\n',
        "vendor/dep/include/vendor/dep_more.h": "int dep(void);\n",
    }
    project.offer("dep", version, files={"vendor/dep/lib/libdep.so.1": dep, **headers}, tags=NATIVE)
    commands = {"who": "who:main", "who-spawned": "who:spawned"}
    project.offer("who", version, files={"who.py": WHO}, entry_points=commands)


def links(*patterns: str) -> str:
    return f"[tool.gpuenv]\ndevelopment-links = {list(patterns)}\n"


@pytest.fixture
def environment(project: Project) -> Project:
    """A synced environment with `base`, `dep` and `who`."""
    offer(project)
    project.write(["base", "dep", "who"])
    project.run("sync")
    return project


def wrong(project: Project, program: str) -> str:
    """The last line of what Python prints when a program fails."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        project.inside("python", "-c", program)
    return str(caught.value.stderr).strip().splitlines()[-1]


@needs_compiler
def test_needs_are_opened_first(environment: Project) -> None:
    """A library that cannot be opened by itself is, after preload_libraries opened what it needs; twice is once."""
    find = 'from gpuenv.runtime import *; import ctypes; (dep,) = find_libraries("dep"); '
    assert "libbase.so.1: cannot open shared object file" in wrong(environment, find + "ctypes.CDLL(str(dep))")
    twice = 'preload_libraries("dep"); preload_libraries("dep"); print(ctypes.CDLL(str(dep)).dep())'
    assert environment.inside("python", "-c", find + twice) == "42\n"


@needs_compiler
def test_symbols_are_for_all_or_not(environment: Project) -> None:
    """RTLD_GLOBAL by default; rtld_global=False keeps symbols to those who ask, until somebody wants them global."""
    program = """if True:
        import ctypes
        from gpuenv.runtime import preload_libraries
        here = ctypes.CDLL(None)
        preload_libraries("dep", rtld_global=False)
        print(hasattr(here, "dep"), hasattr(here, "base"))
        preload_libraries("dep")
        print(hasattr(here, "dep"), hasattr(here, "base"))
    """
    assert environment.inside("python", "-c", program) == "False False\nTrue True\n"


@needs_compiler
@pytest.mark.parametrize(
    "command", [["who"], ["who-spawned"], ["python", "-m", "who"], ["python", "-I", "-m", "who"]], ids=" ".join
)
def test_from_every_kind_of_process(command: Sequence[str], environment: Project) -> None:
    """A console script, a spawned child, `python -m` and an isolated interpreter get the same answers."""
    assert environment.inside(*command) == "42 libdep.so.1 libbase.so.1\n"


@needs_compiler
def test_a_switch_mixes_nothing(environment: Project) -> None:
    """A process goes on with the generation that it imported the module from; the next one has the new."""
    program = """if True:
        import ctypes, sys
        from gpuenv.runtime import find_libraries, preload_libraries
        before = find_libraries("base")
        print("ready", flush=True)
        sys.stdin.readline()
        preload_libraries("dep")
        assert find_libraries("base") == before
        print(ctypes.CDLL("libdep.so.1").dep(), before[0])
    """
    python = environment.venv / "bin" / "python"
    first = environment.venv.resolve()
    with subprocess.Popen([python, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        offer(environment, "2.0", 50)
        environment.run("lock", "--upgrade", "--refresh")
        environment.run("sync")
        assert environment.venv.resolve() != first
        out, _ = process.communicate("go\n", timeout=60)
    answer, path = out.split()
    assert (answer, Path(path).is_relative_to(first)) == ("42", True)
    assert environment.inside("who") == "52 libdep.so.1 libbase.so.1\n"


@needs_compiler
def test_errors_name_what_is_there(environment: Project) -> None:
    """A name that no library has is an ImportError with the nearest ones."""
    problem = wrong(environment, 'import gpuenv.runtime as r; r.preload_libraries("depp")')
    assert problem == ("gpuenv.runtime.LibraryNotFoundError: in this environment: no library depp (nearest: dep)")


def test_only_where_there_are_libraries(project: Project) -> None:
    """An environment with extension modules and private copies alone has neither module nor table."""
    files: dict[str, bytes | str] = {
        "needy/core.so": library(needed=["libc.so.6"], symbol="PyInit_core"),
        "needy.libs/libgomp-a34b3233.so.1": library("libgomp-a34b3233.so.1"),
    }
    project.offer("needy", files=files, tags=NATIVE)
    project.write(["needy"])
    project.run("sync")
    assert {path.name for path in project.site.iterdir()} & {"gpuenv", "_gpuenv_libraries.json"} == set()


@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_gpuenv_in_the_environment(mode: str, project: Project) -> None:
    """Where gpuenv is installed its own module serves, and finds the environment's table in each link mode."""
    own = {"gpuenv/__init__.py": "", "gpuenv/runtime.py": Path(runtime.__file__).read_text("utf-8") + "\nOWN = True\n"}
    project.offer("gpuenv", files=own)
    project.offer("dep", files={"dep/libdep.so.1": library("libdep.so.1")}, tags=NATIVE)
    project.write(["gpuenv", "dep"])
    project.run("sync", "--link-mode", mode)
    program = 'import gpuenv.runtime as r; print(r.OWN, *r.find_libraries("dep"))'
    expected = project.site.resolve() / "dep" / "libdep.so.1"
    assert project.inside("python", "-c", program) == f"True {expected}\n"


# development links


def build(project: Project, *flags: str) -> str:
    """What a program prints that gcc linked against the environment; it runs without any variable."""
    source = project.base / "main.c"
    source.write_text('#include <stdio.h>\n#include <dep.h>\nint main(void) { printf("%d", dep() + base()); }\n')
    program = project.base / "program"
    include, folder = project.venv / "include", project.venv / "lib"
    command = ["gcc", str(source), "-o", str(program), f"-I{include}", f"-L{folder}", "-ldep", "-lbase", *flags]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    done = subprocess.run([program], env={}, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def folders(project: Project) -> list[str]:
    """Where the libraries lie that the links lead to."""
    leads = [(project.venv / "lib" / f"lib{name}.so").readlink() for name in ("dep", "base")]
    assert not any(path.is_absolute() for path in leads)
    return [str((project.venv / "lib" / path).parent) for path in leads]


@needs_compiler
def test_gcc_links_against_the_environment(environment: Project) -> None:
    """`-ldep` with `-L.venv/lib -I.venv/include` builds a program that runs; the lock stays as it was."""
    lock = environment.lock.read_bytes()
    assert not (environment.venv / "lib" / "libdep.so").exists()
    environment.write(["base", "dep", "who"], more=links("dep", "b*"))
    environment.run("sync", "--locked")
    assert environment.lock.read_bytes() == lock
    assert build(environment, *(f"-Wl,-rpath,{folder}" for folder in folders(environment))) == "82"
    environment.write(["base", "dep", "who"])
    environment.run("sync")
    assert not (environment.venv / "lib" / "libdep.so").exists()
    assert not (environment.venv / "include").exists()


def test_a_generation_is_made_again_with_its_links(project: Project) -> None:
    """Rolling back to a view that is gone makes it with the links that it had, whatever the manifest says now."""
    project.offer("rt", files={"rt/libcudart.so.13": library("libcudart.so.13")}, tags=NATIVE)
    project.write(["rt"], more=links("rt"))
    project.run("sync")
    first = project.venv.resolve()
    project.write(["rt"])
    project.run("sync")
    assert not (project.venv / "lib" / "libcudart.so").exists()
    shutil.rmtree(first)
    project.run("rollback")
    assert (project.venv.resolve(), (project.venv / "lib" / "libcudart.so").exists()) == (first, True)


@needs_compiler
@needs_cmake
def test_cmake_finds_them(environment: Project) -> None:
    """find_library and find_path find libraries and headers by CMAKE_PREFIX_PATH; what is built runs."""
    environment.write(["base", "dep", "who"], more=links("*"))
    environment.run("sync")
    source, made = environment.base / "cmake", environment.base / "made"
    source.mkdir()
    (source / "main.c").write_text('#include <stdio.h>\n#include <dep.h>\nint main(void) { printf("%d", dep()); }\n')
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(demo C)\nfind_library(DEP dep REQUIRED)\n"
        "find_path(INCLUDE dep.h REQUIRED)\nadd_executable(demo main.c)\n"
        "target_include_directories(demo PRIVATE ${INCLUDE})\ntarget_link_libraries(demo PRIVATE ${DEP})\n"
    )
    paths = [f"-DCMAKE_PREFIX_PATH={environment.venv}", f"-DCMAKE_BUILD_RPATH={';'.join(folders(environment))}"]
    for command in (["cmake", "-S", str(source), "-B", str(made), *paths], ["cmake", "--build", str(made)]):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    # DT_RUNPATH does not serve what dep needs itself
    found = {"LD_LIBRARY_PATH": folders(environment)[1]}
    assert subprocess.run([made / "demo"], env=found, check=True, capture_output=True, timeout=60).stdout == b"42"


def test_one_name_of_two_is_refused(project: Project) -> None:
    """Two packages with libraries of one name: nothing is switched, and the error says what to write."""
    for name in ("12", "13"):
        files: dict[str, bytes | str] = {f"rt{name}/libcudart.so.{name}": library(f"libcudart.so.{name}")}
        project.offer(f"rt-cu{name}", files=files, tags=NATIVE)
    project.write(["rt-cu12", "rt-cu13"], more=links("rt-*"))
    assert project.run("sync", rc=2).err == (
        "error: the development link lib/libcudart.so could lead to two files\n"
        "  cause: libcudart.so.12 of rt-cu12, or libcudart.so.13 of rt-cu13\n"
        "hint: let `development-links` match rt-cu12 or rt-cu13, not both\n"
    )
    assert not project.venv.exists()
    project.write(["rt-cu12", "rt-cu13"], more=links("rt-cu13"))
    project.run("sync")
    link = project.venv / "lib" / "libcudart.so"
    assert str(link.readlink()) == f"python{PYTHON}/site-packages/rt13/libcudart.so.13"


def test_patterns_are_names(project: Project) -> None:
    """What is no pattern of names is refused with its place; names are normalised."""
    project.offer("my-lib", files={"my/libmy.so.1": library("libmy.so.1")}, tags=NATIVE)
    project.write(["my-lib"], more=links("My_L*"))
    project.run("sync")
    assert (project.venv / "lib" / "libmy.so").exists()
    project.write(["my-lib"], more=links("lib my"))
    assert "tool.gpuenv.development-links[0]: `lib my` is not a name or a pattern of names" in (
        project.run("sync", rc=2).err
    )


def test_headers_need_no_library(project: Project) -> None:
    """A package of headers alone, of any platform, gets its links, too."""
    project.offer("headers", files={"headers/include/only.h": "", "headers/__init__.py": ""})
    project.write(["headers"], more=links("headers"))
    project.run("sync")
    assert (project.venv / "include" / "only.h").samefile(project.site / "headers" / "include" / "only.h")
    assert not (project.site / "gpuenv").exists()
