"""`gpuenv pack`: an installed tree becomes bundles that lock, sync, import and compile like what it was made of."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.model.default_extras import parse
from gpuenv.model.facts import decode_facts
from gpuenv.model.variants import parse_variants
from tests.support.binaries import bundle as offload
from tests.support.binaries import library
from tests.support.compiled import HEADERS, compile_library, needs_compiler, needs_headers
from tests.support.programs import find_program, needs_patchelf
from tests.support.project import PYTHON, Project, snapshot
from tests.support.trees import make_tree

LIB = "usr/lib/x86_64-linux-gnu"
NAMED = ("--name", "foo-libs", "--version", "1.4")
STEM = "foo_libs-1.4-py3-none-manylinux_2_5_x86_64.whl.tar.zst"
needs_cmake = pytest.mark.skipif(
    not all(map(find_program, ("cmake", "make", "gcc", "patchelf"))), reason="needs cmake, make, gcc and patchelf"
)


def foo(folder: Path, *needed: str) -> Path:
    """A tree as a distribution's packages unpack to it, with one library."""
    files: dict[str, bytes | str] = {
        f"{LIB}/libfoo.so.1.4": library("libfoo.so.1", [*needed, "libc.so.6"]),
        f"{LIB}/pkgconfig/foo.pc": "prefix=/usr\nlibdir=${prefix}/lib/x86_64-linux-gnu\n",
        "usr/bin/foo-config": "#!/bin/sh\necho /usr/include/foo/foo.h\n",
        "usr/include/foo/foo.h": "int foo(void);\n",
    }
    links = {f"{LIB}/libfoo.so": "libfoo.so.1", f"{LIB}/libfoo.so.1": "libfoo.so.1.4", f"{LIB}/libgone.so": "gone"}
    return make_tree(folder, files, links, executable=["usr/bin/foo-config"])


# what is made, and told


def test_what_is_told_of_a_tree(project: Project) -> None:
    """A line for the bundle, what it provides and needs, what became relative; warnings name what did not."""
    done = project.run("pack", foo(project.base / "tree", "libnuma.so.1", "libcudart.so.13"), *NAMED, "-o", "dist")
    first, *rest = done.err.splitlines()[2:]
    assert done.err.splitlines()[:2] == [
        f"warning: left out {LIB}/libgone.so: it leads to gone, which is not there",
        "warning: bin/foo-config:2 names /usr/include/foo/foo.h",
    ]
    assert first.startswith(f"dist/{STEM}: ")
    assert first.endswith(", 4 files, 2 links")
    assert rest == [
        "  provides: libfoo.so.1",
        "  requires: nvidia-cuda-runtime",
        "  needs of the machine: libnuma.so.1",
        "  made relative: lib/pkgconfig/foo.pc",
    ]


def test_what_is_in_a_bundle(project: Project) -> None:
    """Modes, links and facts are those of the tree; what the bundle says of its binaries is what reading it finds."""
    project.run("pack", foo(project.base / "tree"), *NAMED, "-o", "dist")
    path = project.root / "dist" / STEM
    with open_bundle(path) as opened, open_tree(path) as tree:
        held = {one.name.partition("/data/")[2]: one.executable for one in opened.members if "/data/" in one.name}
        stated, found = decode_facts(opened.native or b""), read_artifact(tree, None)
        links = {link.path.partition("/data/")[2]: link.target for link in opened.links}
    assert held == {
        "bin/foo-config": True,
        "include/foo/foo.h": False,
        "lib/libfoo.so.1.4": False,
        "lib/pkgconfig/foo.pc": False,
    }
    assert links == {"lib/libfoo.so": "libfoo.so.1", "lib/libfoo.so.1": "libfoo.so.1.4"}
    assert stated is not None
    assert (stated.objects, stated.symlinks, stated.duplicates) == (found.objects, found.symlinks, found.duplicates)


def test_same_tree_same_bytes(project: Project) -> None:
    """Neither times nor order nor permissions, nor where the tree lies, nor the umask change a byte."""
    one, other = foo(project.base / "one"), project.base / "elsewhere" / "other"
    for path in sorted(one.rglob("*"), reverse=True):
        there = other / path.relative_to(one)
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            there.symlink_to(path.readlink())
        elif path.is_file():
            there.write_bytes(path.read_bytes())
            there.chmod(0o700 if os.access(path, os.X_OK) else 0o400)
            os.utime(there, (10**9, 10**9))
    project.run("pack", one, *NAMED, "-o", "one")
    before = os.umask(0o077)
    try:
        project.run("pack", other, *NAMED, "-o", "other")
    finally:
        os.umask(before)
    assert (project.root / "one" / STEM).read_bytes() == (project.root / "other" / STEM).read_bytes()


def test_dry_run_writes_nothing(project: Project) -> None:
    """It lists every file and link with its place, and what would be made."""
    tree = foo(project.base / "tree")
    before = snapshot(project.base)
    done = project.run("pack", tree, *NAMED, "--dry-run", "-o", "dist")
    assert snapshot(project.base) == before
    assert done.out.splitlines() == [
        STEM,
        "  bin/foo-config <- usr/bin/foo-config",
        "  include/foo/foo.h <- usr/include/foo/foo.h",
        f"  lib/libfoo.so.1.4 <- {LIB}/libfoo.so.1.4",
        f"  lib/pkgconfig/foo.pc <- {LIB}/pkgconfig/foo.pc",
        "  lib/libfoo.so -> libfoo.so.1",
        "  lib/libfoo.so.1 -> libfoo.so.1.4",
    ]
    assert f"would make {STEM}: 4 files, 2 links" in done.err


def test_document(project: Project) -> None:
    """With --json one document says what was made of what, and what is left to care for."""
    tree = foo(project.base / "tree", "libnuma.so.1")
    found = project.run("pack", tree, *NAMED, "--json", "--provides", "libnuma.so.1=numa-libs>=2").json
    (made,) = found["bundles"]
    assert (found["tree"], found["prefix"]) == (str(tree), "usr")
    assert (made["path"], made["state"], made["requires"]) == (STEM, "made", ["numa-libs>=2"])
    assert {"path": "lib/libfoo.so.1.4", "from": f"{LIB}/libfoo.so.1.4"} in made["files"]
    assert found["needs"] == [{"soname": "libnuma.so.1", "by": ["lib/libfoo.so.1.4"], "requirement": "numa-libs>=2"}]
    assert found["absolute"] == [{"path": "bin/foo-config", "text": "/usr/include/foo/foo.h", "line": 2, "count": 1}]
    assert [one["path"] for one in found["left_out"]] == [f"{LIB}/libgone.so"]
    assert found["rewritten"] == ["lib/pkgconfig/foo.pc"]


def test_split_makes_a_bundle_for_each_gpu(project: Project) -> None:
    """Headers and kernels of one GPU are in bundles of their own, which extras of the first ask for."""
    tree = foo(project.base / "tree")
    kernels = {f"{LIB}/foo/library/K_{arch}.co": offload(arch) for arch in ("gfx90a", "gfx942")}
    make_tree(tree, {**kernels, f"{LIB}/foo/library/K_fallback.dat": "x"})
    found = project.run("pack", tree, *NAMED, "--split", "--json").json["bundles"]
    assert {one["name"]: [file["path"] for file in one["files"]] for one in found} == {
        "foo-libs": ["bin/foo-config", "lib/foo/library/K_fallback.dat", "lib/libfoo.so.1.4"],
        "foo-libs-devel": ["include/foo/foo.h", "lib/pkgconfig/foo.pc"],
        "foo-libs-device-gfx90a": ["lib/foo/library/K_gfx90a.co"],
        "foo-libs-device-gfx942": ["lib/foo/library/K_gfx942.co"],
    }
    assert found[0]["extras"] == ["devel", "device-all", "device-gfx90a", "device-gfx942"]
    assert [one["requires"] for one in found[1:]] == [["foo-libs[]==1.4"]] * 3
    assert [one["default_extras"] for one in found] == [{"amd": ["device-{gfx}"]}, {}, {}, {}]


def test_variants_and_default_extras_of_a_tree(project: Project) -> None:
    """The table says them, a flag goes before it; they are those of what runs, whatever other parts there are."""
    foo(project.root / "stage")
    make_tree(project.root / "stage", {f"{LIB}/foo/K_gfx942.co": offload("gfx942")})
    table = '[tool.gpuenv.pack]\ntree = "stage"\nname = "foo-libs"\nversion = "1.4"\nsplit = true\n'
    variant = 'variant = { label = "rocm7", properties = ["npu :: kind :: a1"], providers = { npu = "npu-kinds" } }\n'
    project.write(more=f'{table}{variant}default-extras = {{ any = ["device-all"], gfx942 = [] }}\n')
    found = project.run("pack", "--json").json["bundles"]
    assert [one["variant"] for one in found] == ["rocm7", None, None]
    assert found[0]["default_extras"] == {"any": ["device-all"], "gfx942": []}
    name = STEM.replace(".whl.tar.zst", "-rocm7.whl.tar.zst")
    assert [one["filename"] for one in found if one["variant"]] == [name]
    with open_bundle(project.root / name) as bundle:
        files = {one.name.partition("/")[2]: one for one in bundle.members if ".dist-info/" in one.name}
        assert parse_variants(bundle.read(files["variant.json"]), "rocm7").namespaces == ("npu",)
        assert parse(bundle.read(files["default-extras.json"])) == (("any", ("device-all",)), ("gfx942", ()))
        assert b"Keywords: gpuenv-default-extras\n" in bundle.read(files["METADATA"])
        record = bundle.read(files["RECORD"]).decode()
        assert all(f".dist-info/{name}," in record for name in ("variant.json", "default-extras.json", "METADATA"))
    other = project.run("pack", "--dry-run", "--json", "--variant", "amd :: gfx_arch :: gfx942").json["bundles"]
    assert len(other[0]["variant"]) == 8
    wrong = project.root / "extras.json"
    wrong.write_text('{"version": 1, "default-extras": {"amd": ["wrong"]}}')
    assert (
        "is no extra of it: it has devel, device-all, device-gfx942"
        in project.run("pack", "--default-extras", wrong, rc=2).err
    )


def test_parts_are_there_together_or_not_at_all(project: Project) -> None:
    """Where one bundle of a tree cannot be put into its place, none is, also with --force; a later run makes all."""
    tree, dist = foo(project.base / "tree"), project.root / "dist"
    devel = dist / STEM.replace("foo_libs", "foo_libs_devel")
    for force in ([], ["--force"]):
        devel.parent.mkdir(exist_ok=True)
        devel.mkdir() if force else devel.write_bytes(b"other")
        before = snapshot(dist)
        found = project.run("pack", tree, *NAMED, "--split", "-o", "dist", *force, "--json", rc=1).json
        assert found["error"]["kind"] == "occupied"
        assert snapshot(dist) == before
        devel.rmdir() if force else devel.unlink()
    project.run("pack", tree, *NAMED, "--split", "-o", "dist")
    assert {path.name for path in dist.iterdir()} == {STEM, devel.name}


# what is asked


def test_settings_of_a_publisher(project: Project) -> None:
    """Without arguments the table of pyproject.toml counts, relative to it; a flag goes before it."""
    foo(project.root / "stage", "libnuma.so.1")
    table = '[tool.gpuenv.pack]\ntree = "stage"\nname = "Foo.Libs"\nversion = "1.4"\noutput = "dist"\n'
    more = 'exclude = ["usr/bin"]\nrequires = ["bar>=2"]\nprovides = { "libnuma.so.1" = "numa" }\nsplit = true\n'
    project.write(more=table + more)
    below = project.root / "src"
    below.mkdir()
    found = project.run("pack", "--json", cwd=below).json["bundles"]
    assert [one["path"] for one in found] == [
        str(project.root / "dist" / STEM),
        str(project.root / "dist" / STEM.replace("libs-", "libs_devel-")),
    ]
    assert found[0]["requires"] == ["bar>=2", "numa"]
    assert "bin/foo-config" not in json.dumps(found)
    other = project.run("pack", "--json", "--dry-run", "--version", "2.0", cwd=below).json["bundles"]
    assert [one["version"] for one in other] == ["2.0", "2.0"]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('variant = { lable = "x" }', "tool.gpuenv.pack.variant.lable: unknown key", "did you mean `label`?"),
        ('variant = { label = "X" }', "tool.gpuenv.pack.variant.label: `X` is not a label", "for example `rocm7`"),
        (
            'default-extras = { amd = ["a b"] }',
            'tool.gpuenv.pack.default-extras: "a b", for `amd`, is no extra, such as `device-{gfx}`',
            None,
        ),
        ('nmae = "foo"', "tool.gpuenv.pack.nmae: unknown key", "did you mean `name`?"),
        ('split = "yes"', "tool.gpuenv.pack.split: must be true or false, not a string", None),
        ('prefix = "opt"', "tool.gpuenv.pack.prefix: `opt` is not an absolute path", "for example `/opt/rocm`"),
        (
            'provides = { libnuma = "x" }',
            "tool.gpuenv.pack.provides.libnuma: `libnuma` is not a soname",
            "for example `libopenblas.so.0`",
        ),
    ],
)
def test_typos_of_a_publisher(project: Project, line: str, message: str, hint: str | None) -> None:
    """An unknown key or a wrong value is an error with its place, in `pack` and in every other command."""
    project.write(more=f"[tool.gpuenv.pack]\n{line}\n")
    for command in ("pack", "lock"):
        error = project.run(command, "--json", rc=2).json["error"]
        assert error["message"] == message
        assert error["hints"] == ([hint] if hint else [])


def test_a_lock_does_not_ask_for_it(project: Project) -> None:
    """A change of the table makes no lock stale."""
    project.write(more='[tool.gpuenv.pack]\nname = "foo"\n')
    project.run("lock")
    project.write(more='[tool.gpuenv.pack]\nname = "bar"\n')
    assert project.run("lock", "--check").err == "gpuenv.lock answers pyproject.toml\n"


def test_no_project_is_needed(project: Project) -> None:
    """A publisher needs no pyproject.toml, and one for other tools alone is none of ours."""
    foo(project.base / "tree")
    project.run("pack", project.base / "tree", *NAMED, "--dry-run")
    project.manifest.write_text("[tool.other]\nx = 1\n")
    project.run("pack", project.base / "tree", *NAMED, "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "TREE and --name and --version is missing"),
        (["tree"], "--name and --version is missing"),
        (["gone", *NAMED], "gone does not exist"),
        (["tree", "--name", "a b", "--version", "1"], "`a b` is not a name"),
        (["tree", "--name", "a", "--version", "new"], "`new` is not a version (PEP 440)"),
        (["tree", *NAMED, "--provides", "libx.so"], "`libx.so` is not SONAME=REQUIREMENT"),
        (["tree", *NAMED, "--requires", "a b"], "`a b` is not a requirement (PEP 508)"),
        (["tree", *NAMED, "--tag", "py3-none-any"], "`py3-none-any` promises more than the binaries keep"),
        (["tree", *NAMED, "--exclude", "*"], "not an installed tree"),
        (["tree", *NAMED, "-o", "tree/usr/dist"], "bundles cannot be written into the tree"),
    ],
)
def test_wrong_usage(project: Project, arguments: list[str], message: str) -> None:
    """What is missing or wrong is said, and nothing is written."""
    foo(project.root / "tree")
    before = snapshot(project.root)
    error = project.run("pack", "--json", *arguments, rc=2).json["error"]
    assert message in error["message"]
    assert snapshot(project.root) == before


def test_another_bundle_in_the_way(project: Project) -> None:
    """A bundle of other bytes stays unless --force is given; the same bytes are no conflict."""
    tree = foo(project.base / "tree")
    project.run("pack", tree, *NAMED)
    assert "(unchanged)" in project.run("pack", tree, *NAMED).err
    make_tree(tree, {"usr/share/more": "x"})
    held = (project.root / STEM).read_bytes()
    assert project.run("pack", tree, *NAMED, "--json", rc=1).json["error"]["kind"] == "occupied"
    assert (project.root / STEM).read_bytes() == held
    assert "(replaced)" in project.run("pack", tree, *NAMED, "--force").err


def test_providers_of_an_index(project: Project) -> None:
    """A library that an index of the project says somebody brings is required, after what the project says itself."""
    served = {"version": 1, "sonames": {"libnuma.so.1": ["numa-served"], "libelf.so.1": ["elf-served"]}}
    make_tree(project.root / "shelf", {"provides.json": json.dumps(served)})
    index = '[[tool.gpuenv.index]]\nname = "shelf"\npath = "shelf"\n'
    project.write(more=f'[tool.gpuenv.providers]\n"libnuma.so.1" = "numa-own"\n{index}')
    tree = foo(project.base / "tree", "libnuma.so.1", "libelf.so.1", "libdrm.so.2")
    found = project.run("pack", tree, *NAMED, "--dry-run", "--json").json
    assert {one["soname"]: one["requirement"] for one in found["needs"]} == {
        "libdrm.so.2": None,
        "libelf.so.1": "elf-served",
        "libnuma.so.1": "numa-own",
    }


# search paths


@needs_compiler
@needs_patchelf
def test_search_paths_become_relative(project: Project) -> None:
    """DT_RUNPATH and DT_RPATH that name the prefix begin with $ORIGIN and stay what they are; ROCm's stay."""
    lib = project.base / "stage" / "opt" / "foo" / "lib64"
    base = compile_library(lib / "libbase.so.1", "int base(void) { return 40; }")
    code = "int base(void); int value(void) { return base(); }"
    compile_library(lib / "librun.so.1", code, str(base), "-Wl,-rpath,/opt/foo/lib64:/srv/x", "-Wl,--enable-new-dtags")
    compile_library(lib / "a" / "libold.so.1", code, str(base), "-Wl,-rpath,/opt/foo/lib64", "-Wl,--disable-new-dtags")
    compile_library(lib / "librocblas.so.5", code, str(base), "-Wl,-rpath,/opt/foo/lib64")
    done = project.run("pack", project.base / "stage", *NAMED, "--json")
    (path,) = project.root.glob("*.whl.tar.zst")
    with open_tree(path) as tree:
        found = {one.soname: one for one in read_artifact(tree, None).objects}
    with open_bundle(path) as opened:
        stated = decode_facts(opened.native or b"")
    assert stated is not None
    assert {one.soname: one for one in stated.objects} == found
    assert (found["librun.so.1"].runpath, found["librun.so.1"].rpath) == (("$ORIGIN", "/srv/x"), ())
    assert (found["libold.so.1"].runpath, found["libold.so.1"].rpath) == ((), ("$ORIGIN/..",))
    assert found["librocblas.so.5"].runpath == ("/opt/foo/lib64",)
    assert done.json["warnings"] == [
        "lib/librocblas.so.5 keeps its search path /opt/foo/lib64: "
        "binaries of ROCm, or with code for AMD's GPUs, are never changed"
    ]
    assert done.json["absolute"] == []
    assert done.json["rewritten"] == ["lib/a/libold.so.1", "lib/librun.so.1"]


# a project installed by CMake

CMAKE = r"""
cmake_minimum_required(VERSION 3.13)
project(sum VERSION 2.1 LANGUAGES C)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
add_library(base SHARED base.c)
set_target_properties(base PROPERTIES VERSION 1.2 SOVERSION 1)
add_library(sum SHARED sum.c)
target_link_libraries(sum PRIVATE base)
target_include_directories(sum PUBLIC $<INSTALL_INTERFACE:include>)
set_target_properties(sum PROPERTIES VERSION 2.1 SOVERSION 2 INSTALL_RPATH ${CMAKE_INSTALL_FULL_LIBDIR})
add_executable(sum-tool tool.c)
target_link_libraries(sum-tool PRIVATE sum)
set_target_properties(sum-tool PROPERTIES INSTALL_RPATH ${CMAKE_INSTALL_FULL_LIBDIR})
install(TARGETS base sum sum-tool EXPORT sum-targets)
install(FILES sum.h DESTINATION include)
set(there ${CMAKE_INSTALL_LIBDIR}/cmake/sum)
install(EXPORT sum-targets NAMESPACE sum:: DESTINATION ${there})
set(here ${CMAKE_CURRENT_BINARY_DIR})
file(WRITE ${here}/in.cmake
    "@PACKAGE_INIT@\ninclude(\${CMAKE_CURRENT_LIST_DIR}/sum-targets.cmake)\n")
file(APPEND ${here}/in.cmake "set(SUM_DATA ${CMAKE_INSTALL_FULL_DATADIR}/sum)\n")
configure_package_config_file(${here}/in.cmake sum-config.cmake INSTALL_DESTINATION ${there})
file(WRITE ${here}/sum.pc
    "prefix=${CMAKE_INSTALL_PREFIX}\nlibdir=${CMAKE_INSTALL_FULL_LIBDIR}\nName: sum\nDescription: sums\nVersion: 2.1\n")
file(APPEND ${here}/sum.pc "Libs: -L\${libdir} -lsum\nCflags: -I\${prefix}/include\n")
install(FILES ${here}/sum.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${here}/sum-config.cmake DESTINATION ${there})
file(WRITE ${here}/sum.conf "one = 1\n")
install(FILES ${here}/sum.conf DESTINATION share/sum)
"""
SOURCES = {
    "CMakeLists.txt": CMAKE,
    "base.c": "int base(void) { return 40; }\n",
    "sum.c": "int base(void); int sum(int n) { return base() + n; }\n",
    "sum.h": "int sum(int n);\n",
    "tool.c": '#include <stdio.h>\nint sum(int);\nint main(void) { printf("%d\\n", sum(2)); return 0; }\n',
}
USER = r"""
cmake_minimum_required(VERSION 3.13)
project(user LANGUAGES C)
find_package(sum REQUIRED)
file(READ ${SUM_DATA}/sum.conf found)
add_executable(user user.c)
target_link_libraries(user PRIVATE sum::sum)
"""
MODULE = r"""
#include <Python.h>
#include <sum.h>
static PyObject *get(PyObject *self, PyObject *args) { return PyLong_FromLong(sum(2)); }
static PyMethodDef methods[] = {{"get", get, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "core", "", -1, methods};
PyMODINIT_FUNC PyInit_core(void) { return PyModule_Create(&module); }
"""


def run(*command: object, **environ: str) -> str:
    """What a program prints; it must succeed within two minutes."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The project `sum`, installed for /opt/sum into a staging folder, once for each folder of libraries."""

    @cache
    def install(libdir: str) -> Path:
        folder = tmp_path_factory.mktemp("sum")
        make_tree(folder / "src", SOURCES)
        where = ("-DCMAKE_INSTALL_PREFIX=/opt/sum", f"-DCMAKE_INSTALL_LIBDIR={libdir}")
        run("cmake", "-S", folder / "src", "-B", folder / "build", *where)
        run("cmake", "--build", folder / "build", "--target", "install", DESTDIR=str(folder / "stage"))
        return folder / "stage"

    return install


@needs_cmake
@pytest.mark.parametrize("libdir", ["lib64", "lib/x86_64-linux-gnu"])
def test_program_runs_wherever_a_bundle_is_unpacked(
    project: Project, installed: Callable[[str], Path], libdir: str
) -> None:
    """A program of the tree finds its libraries from any folder, and no file names the prefix any more."""
    done = project.run("pack", installed(libdir), "--name", "sum-libs", "--version", "2.1", "--json")
    (made,) = done.json["bundles"]
    assert (done.json["absolute"], done.json["warnings"], done.json["left_out"]) == ([], [], [])
    assert made["sonames"] == ["libbase.so.1", "libsum.so.2"]
    there = project.base / "there"
    there.mkdir()
    run("tar", "--zstd", "-xf", project.root / made["path"], "-C", there)
    root = there / "sum_libs-2.1.data" / "data"
    assert run(root / "bin" / "sum-tool") == "42\n"
    assert b"/opt/sum" not in b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    check_cmake(project.base / "user", root)


def check_cmake(folder: Path, prefix: Path) -> None:
    """A CMake project that asks for `sum` below a prefix configures, links and runs."""
    make_tree(folder, {"CMakeLists.txt": USER, "user.c": "#include <sum.h>\nint main(void) { return sum(2) - 42; }\n"})
    run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder / "build")
    run(folder / "build" / "user")


@needs_cmake
@needs_headers
@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_from_a_tree_to_an_import(project: Project, installed: Callable[[str], Path], mode: str) -> None:
    """Packed in parts, indexed, locked, synced: an extension that needs the library is imported and called.

    CMake and pkg-config find the library in the environment, and its program runs there.
    """
    project.run("pack", installed("lib64"), "--name", "sum-libs", "--version", "2.1", "--split", "-o", "shelf")
    stage = installed("lib64") / "opt" / "sum"
    found = [f"-I{HEADERS}", f"-I{stage}/include", f"-L{stage}/lib64", "-lsum", f"-Wl,-rpath-link,{stage}/lib64"]
    core = compile_library(project.base / "core.so", MODULE, *found)
    files = {"user/__init__.py": "", "user/core.so": core.read_bytes()}
    project.wheel("user", folder=project.root / "shelf", files=files, tags="py3-none-manylinux_2_17_x86_64")
    project.run("index", "shelf")
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]  # type: ignore[union-attr]
    here = f'[tool.gpuenv.targets.here]\npython = "{PYTHON}"\nglibc = "{glibc}"\n'
    settings = f'[tool.gpuenv]\nscan = "all"\n{here}[[tool.gpuenv.index]]\nname = "shelf"\npath = "shelf"\n'
    project.write(["user", "sum-libs-devel"], targets="", more=settings)
    project.run("sync", "--link-mode", mode)
    assert project.installed() == {"user": "1.0", "sum-libs": "2.1", "sum-libs-devel": "2.1"}
    assert project.inside("python", "-c", "import user.core; print(user.core.get())") == "42\n"
    assert project.inside("sum-tool") == "42\n"
    assert (project.venv / "lib" / "libsum.so").readlink() == Path("libsum.so.2")
    check_cmake(project.base / "user", project.venv)
    if shutil.which("pkg-config"):
        flags = run("pkg-config", "--libs", "--cflags", "sum", PKG_CONFIG_PATH=str(project.venv / "lib" / "pkgconfig"))
        main = project.base / "user" / "user.c"
        program = project.base / "linked"
        run("gcc", main, "-o", program, *flags.split(), f"-Wl,-rpath,{project.venv}/lib")
        run(program)
    assert project.run("store", "verify", "--json").json["damaged"] == []
