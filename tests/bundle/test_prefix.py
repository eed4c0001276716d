"""Absolute prefixes in files of a tree: made relative where the format allows it, found everywhere else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gpuenv.bundle.arrange import Place
from gpuenv.bundle.prefix import Mention, Relocator, pc_prefix

ROCM = Place("", ("/opt/rocm-7.2.0", "/opt/rocm"))
DEBIAN = Place("usr", ("/usr",))
PATHS = frozenset({
    "", "usr", "usr/lib", "usr/lib/x86_64-linux-gnu", "usr/include", "usr/include/foo", "usr/share", "usr/share/foo",
    "usr/share/foo/data.bin", "usr/lib/x86_64-linux-gnu/cmake/foo", "usr/lib/x86_64-linux-gnu/libfoo.so.1",
    "usr/bin/foo", "bin", "bin/python3", "lib", "lib64", "lib/llvm/lib",
})  # fmt: skip


def rocm(path: str, text: str) -> str:
    """A file of a tree that is its own prefix, rewritten."""
    return Relocator(ROCM, PATHS).rewritten(path, path.replace("lib64/", "lib/"), text.encode()).decode()


def debian(path: str, text: str) -> str:
    """A file of a tree below usr, rewritten."""
    new = path.removeprefix("usr/").replace("/x86_64-linux-gnu", "")
    return Relocator(DEBIAN, PATHS).rewritten(path, new, text.encode()).decode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("prefix=/opt/rocm", "prefix=${pcfiledir}/../.."),
        ("prefix = /opt/rocm/", "prefix = ${pcfiledir}/../.."),
        ("libdir=/opt/rocm/lib64", "libdir=${pcfiledir}/../../lib"),
        ("Cflags: -I/opt/rocm/include -DX=/opt/rocm", "Cflags: -I${pcfiledir}/../../include -DX=${pcfiledir}/../.."),
        ("Libs: -L/opt/rocm-7.2.0/lib", "Libs: -L${pcfiledir}/../../lib"),
        ("Libs: -Wl,-rpath,/opt/rocm/lib", "Libs: -Wl,-rpath,${pcfiledir}/../../lib"),
        ("libdir=${exec_prefix}/lib64", "libdir=${exec_prefix}/lib"),
        ("# made for /opt/rocm", "# made for /opt/rocm"),
        ("other=/opt/rocm-6.0/lib", "other=/opt/rocm-6.0/lib"),
        ("other=/srv/opt/rocm/lib", "other=/srv/opt/rocm/lib"),
    ],
)  # fmt: skip
def test_pkg_config(line: str, expected: str) -> None:
    """A line of a pkg-config file names the tree relative to the file, other places as before."""
    assert rocm("lib64/pkgconfig/foo.pc", f"{line}\nName: foo\n") == f"{expected}\nName: foo\n"


def test_pkg_config_of_a_system() -> None:
    """In a tree below /usr what the file says of its own prefix is moved, and foreign folders of /usr stay."""
    text = "prefix=/usr\nlibdir=/usr/lib/x86_64-linux-gnu\n"
    text += "Cflags: -I${prefix}/include/x86_64-linux-gnu -I/usr/include/libdrm\n"
    assert debian("usr/lib/x86_64-linux-gnu/pkgconfig/foo.pc", text) == (
        "prefix=${pcfiledir}/../..\nlibdir=${prefix}/lib\nCflags: -I${prefix}/include -I/usr/include/libdrm\n"
    )


def test_the_prefix_that_a_file_states() -> None:
    """The absolute prefix of a pkg-config file is known, a relative one is none."""
    assert pc_prefix(b"# x\nprefix=/opt/foo/\nlibdir=${prefix}/lib\n") == "/opt/foo"
    assert pc_prefix(b"prefix=${pcfiledir}/../..\n") is None
    assert pc_prefix(b"libdir=/usr/lib\n") is None


CHAIN = """\
get_filename_component(_IMPORT_PREFIX "${CMAKE_CURRENT_LIST_FILE}" PATH)
# Use original install prefix when loaded through a
# cross-prefix symbolic link such as /lib -> /usr/lib.
get_filename_component(_realCurr "${_IMPORT_PREFIX}" REALPATH)
get_filename_component(_realOrig "/usr/lib/x86_64-linux-gnu/cmake/foo" REALPATH)
if(_realCurr STREQUAL _realOrig)
  set(_IMPORT_PREFIX "/usr/lib/x86_64-linux-gnu/cmake/foo")
endif()
unset(_realOrig)
unset(_realCurr)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
set_target_properties(foo PROPERTIES IMPORTED_LOCATION "${_IMPORT_PREFIX}/lib/x86_64-linux-gnu/libfoo.so.1")
"""
CONFIG = """\
get_filename_component(PACKAGE_PREFIX_DIR "${CMAKE_CURRENT_LIST_DIR}/../../../../" ABSOLUTE)
get_filename_component(_FILE "${CMAKE_CURRENT_LIST_FILE}" REALPATH)
get_filename_component(_DIR "${_FILE}" DIRECTORY)
get_filename_component(ROOT "${_DIR}/../../../../" REALPATH)
include("${CMAKE_CURRENT_LIST_DIR}/foo-targets.cmake")
set(FOO_DATA /usr/share/foo/data.bin)
find_library(M m PATHS /usr/lib /usr/lib/other)
function(late)
  set(X /usr/share/foo/data.bin PARENT_SCOPE)
endfunction()
"""


def test_cmake_targets_that_moved() -> None:
    """What CMake exports climbs as far as its new folder is deep, and forgets the place of the installation."""
    made = debian("usr/lib/x86_64-linux-gnu/cmake/foo/foo-targets.cmake", CHAIN)
    assert made.count("PATH)") == 4
    assert "/usr" not in made
    assert '"${_IMPORT_PREFIX}/lib/libfoo.so.1"' in made


def test_cmake_configuration_that_moved() -> None:
    """Climbing from the file's folder, also by variables that hold it, leads where it led; real paths are not asked."""
    lines = debian("usr/lib/x86_64-linux-gnu/cmake/foo/foo-config.cmake", CONFIG).splitlines()
    assert lines == [
        'get_filename_component(_PACKED_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)',
        'get_filename_component(PACKAGE_PREFIX_DIR "${CMAKE_CURRENT_LIST_DIR}/../../../" ABSOLUTE)',
        'get_filename_component(_FILE "${CMAKE_CURRENT_LIST_FILE}" ABSOLUTE)',
        'get_filename_component(_DIR "${_FILE}" DIRECTORY)',
        'get_filename_component(ROOT "${_DIR}/../../../" ABSOLUTE)',
        'include("${CMAKE_CURRENT_LIST_DIR}/foo-targets.cmake")',
        "set(FOO_DATA ${_PACKED_PREFIX}/share/foo/data.bin)",
        "find_library(M m PATHS /usr/lib /usr/lib/other)",
        "function(late)",
        "  set(X ${_PACKED_PREFIX}/share/foo/data.bin PARENT_SCOPE)",
        "endfunction()",
    ]


def test_cmake_that_did_not_move_stays() -> None:
    """A file whose own computation is right is not touched."""
    text = (
        CHAIN.replace("/x86_64-linux-gnu", "").partition("# Use")[0] + "include(${CMAKE_CURRENT_LIST_DIR}/../x.cmake)\n"
    )
    assert rocm("lib/cmake/foo/foo-targets.cmake", text) == text


def test_cmake_behind_a_link_asks_for_its_real_path() -> None:
    """Where a link of the tree leads to the folder, the real path is what tells where the file is."""
    linked = Relocator(DEBIAN, PATHS, frozenset({"lib/cmake/foo"}))
    made = linked.rewritten(
        "usr/lib/x86_64-linux-gnu/cmake/foo/foo-config.cmake", "lib/cmake/foo/foo-config.cmake", CONFIG.encode()
    )
    assert made.count(b"REALPATH") == 2


def test_cmake_that_climbs_in_an_unknown_way_is_told() -> None:
    """A moved file whose climbing begins at a variable that nobody understands is stale."""
    relocator = Relocator(DEBIAN, PATHS)
    old, new = "usr/lib/x86_64-linux-gnu/cmake/foo/f.cmake", "lib/cmake/foo/f.cmake"
    unknown = b'set(HERE ${SOMEWHERE})\nget_filename_component(ROOT "${HERE}/../.." ABSOLUTE)\n'
    assert relocator.stale(old, new, unknown)
    assert not relocator.stale("usr/lib/cmake/foo/f.cmake", new, unknown)
    assert not relocator.stale(old, new, relocator.rewritten(old, new, CONFIG.encode()))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#!/opt/rocm/bin/python3", "#!/usr/bin/env python3"),
        ("#! /opt/rocm/bin/python3 -u", "#!/usr/bin/env -S python3 -u"),
        ("#!/usr/bin/python3", "#!/usr/bin/python3"),
        ("#!/bin/sh", "#!/bin/sh"),
    ],
)
def test_shebang(line: str, expected: str) -> None:
    """A script whose program lies in the tree looks for it on PATH; the rest of it stays."""
    assert rocm("bin/tool", f"{line}\necho /opt/rocm\n") == f"{expected}\necho /opt/rocm\n"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/opt/rocm/lib", "$ORIGIN"),
        ("/opt/rocm-7.2.0/lib/llvm/lib/", "$ORIGIN/llvm/lib"),
        ("$ORIGIN/../lib64", "$ORIGIN"),
        ("${ORIGIN}", "$ORIGIN"),
        ("$ORIGIN/../../elsewhere", None),
        ("/opt/rocm/nowhere", None),
        ("/usr/local/cuda/lib64", None),
        ("", None),
    ],
)
def test_search_path_of_a_binary(entry: str, expected: str | None) -> None:
    """An entry that leads into the tree begins with $ORIGIN; of others nothing is said."""
    assert Relocator(ROCM, PATHS).origin("lib/libfoo.so.1", "lib/libfoo.so.1", entry) == expected


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_scan_finds_paths_across_pieces(size: int) -> None:
    """Wherever a file is cut into pieces, the same paths are found in it: the first, its line, and how many."""
    text = b"one\ntwo -I/opt/rocm/include\n" + b"x" * 5000 + b" /opt/rocm-7.2.0/lib:/x /opt/rocmx /srv/opt/rocm\n"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert Relocator(ROCM, PATHS).scan(pieces) == Mention("/opt/rocm/include", 2, 2)
    binary = [b"\0", *pieces]
    assert Relocator(ROCM, PATHS).scan(binary) == Mention("/opt/rocm/include", 0, 2)


def test_scan_leaves_out_what_was_dealt_with() -> None:
    """Texts that are a search path are not told again, and a system's own folders mean nobody's tree."""
    binary = b"\0/opt/rocm/lib:/opt/rocm/lib64\0/opt/rocm/share/x\0"
    assert Relocator(ROCM, PATHS).scan([binary]) == Mention("/opt/rocm/lib:/opt/rocm/lib64", 0, 3)
    told = ["/opt/rocm/lib:/opt/rocm/lib64", "/opt/rocm/lib64"]
    assert Relocator(ROCM, PATHS).scan([binary], told=told) == Mention("/opt/rocm/share/x", 0, 1)
    system = b"/usr/lib /usr/lib/x86_64-linux-gnu /usr/include /usr/share/other"
    assert Relocator(DEBIAN, PATHS).scan([system]) is None
    assert Relocator(DEBIAN, PATHS).scan([system, b" /usr/share/foo/data.bin"]) == Mention(
        "/usr/share/foo/data.bin", 1, 1
    )


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_itself_agrees(tmp_path: Path) -> None:
    """CMake, which reads a moved and rewritten file in its new place, computes the new prefix by every way."""
    folder = tmp_path / "env" / "lib" / "cmake" / "foo"
    folder.mkdir(parents=True)
    made = debian("usr/lib/x86_64-linux-gnu/cmake/foo/foo-config.cmake", CONFIG.replace("include(", "#include("))
    chain = debian("usr/lib/x86_64-linux-gnu/cmake/foo/foo-targets.cmake", CHAIN).replace("set_target_properties", "#")
    told = 'foreach(one PACKAGE_PREFIX_DIR ROOT FOO_DATA _IMPORT_PREFIX)\nmessage("${${one}}")\nendforeach()\n'
    (folder / "foo-config.cmake").write_text(f"{made}{chain}{told}")
    command = ["cmake", "-P", str(folder / "foo-config.cmake")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    root = str(tmp_path / "env")
    shown = [line.rstrip("/") for line in done.stderr.splitlines()]
    assert shown == [root, root, f"{root}/share/foo/data.bin", root], done.stdout
