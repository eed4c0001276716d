"""Search paths relative to the file itself, from real ELF files and from garbage."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from gpuenv.binaries.elf import origin_paths


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A shared library with three search paths."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "a.c").write_text("int a(void) { return 1; }\n")
    flags = ["-shared", "-fPIC", "-Wl,-rpath,$ORIGIN/../b:/usr/lib/x:${ORIGIN}/c"]
    subprocess.run(["gcc", *flags, "-o", "a.so", "a.c"], cwd=tmp_path, check=True)
    return tmp_path / "a.so"


def test_only_relative_paths_count(library: Path) -> None:
    """Both spellings of `$ORIGIN` are found, absolute paths are not."""
    assert origin_paths(library) == ("$ORIGIN/../b", "${ORIGIN}/c")


def test_damaged_files_say_nothing(library: Path) -> None:
    """Cut off or overwritten anywhere, an ELF file gives an answer and never an exception."""
    data = library.read_bytes()
    for cut in range(0, len(data), 97):
        library.write_bytes(data[:cut])
        assert isinstance(origin_paths(library), tuple)
    for position in range(0, 1024, 3):
        library.write_bytes(data[:position] + b"\xff" * 8 + data[position + 8 :])
        assert isinstance(origin_paths(library), tuple)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"\x7fELF", b"\x7fELF" + b"\0" * 100, b"\x7fELF\x02\x01\x01" + struct.pack("<57x")],
    ids=["empty", "text", "magic", "zeros", "header"],
)
def test_what_is_no_library_says_nothing(data: bytes, tmp_path: Path) -> None:
    """Files without a dynamic section have no paths."""
    (tmp_path / "file").write_bytes(data)
    assert origin_paths(tmp_path / "file") == ()
