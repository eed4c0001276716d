"""One file's facts, from a stream that passes once and from a file with random access: the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuenv.archive.source import Read
from gpuenv.binaries import object as module
from gpuenv.binaries.object import read_object
from gpuenv.errors import BinaryError
from gpuenv.model.facts import ObjectFacts, Units
from tests.support.binaries import bundle, fatbin, library

AMD = Path(__file__).parents[2] / "fixtures" / "binaries" / "amd"


class Stream:
    """Bytes under a path, in chunks; `passes` counts how often they were read from the start."""

    def __init__(self, path: str, data: bytes, *, chunk: int = 100, random: bool = False) -> None:
        self.path, self.size, self.passes = path, len(data), 0
        self._data, self._chunk = data, chunk
        self.read: Read | None = (lambda offset, size: data[offset : offset + size]) if random else None

    def chunks(self) -> Iterator[bytes]:
        """All of it."""
        self.passes += 1
        for at in range(0, len(self._data), self._chunk):
            yield self._data[at : at + self._chunk]


def facts(data: bytes, path: str = "pkg/lib.so") -> ObjectFacts:
    found = read_object(Stream(path, data))
    assert found is not None
    assert found == read_object(Stream(path, data, random=True, chunk=1 << 20))
    return found


CODE = [
    (".nv_fatbin", fatbin(("sass", 80), ("sass", 90)) + fatbin(("sass", 80), ("ptx", 90))),
    (".ldata", b"some bytes" + fatbin(("sass", 90))),
    (".hip_fatbin", bundle("gfx942", "gfx90a:xnack+")),
]


def test_library() -> None:
    """Names, needs and search paths stand beside device code, which is counted by kind and by section."""
    found = facts(library("libx.so.1", ["liby.so.2", "libc.so.6"], runpath="$ORIGIN:$ORIGIN/../y", sections=CODE))
    assert (found.soname, found.needed, found.runpath) == (
        "libx.so.1",
        ("liby.so.2", "libc.so.6"),
        ("$ORIGIN", "$ORIGIN/../y"),
    )
    assert [(code.arch, code.features, code.kind, code.count, code.bytes) for code in found.device_code] == [
        ("gfx90a", ("xnack+",), "code-object", 1, 64),
        ("gfx942", (), "code-object", 1, 64),
        ("sm_80", (), "sass", 2, 128),
        ("compute_90", (), "ptx", 1, 64),
        ("sm_90", (), "sass", 2, 128),
    ]
    assert found.units == (
        Units((0, 1), 1, ".hip_fatbin"),
        Units((4,), 1, ".ldata"),
        Units((2, 3), 1, ".nv_fatbin"),
        Units((2, 4), 1, ".nv_fatbin"),
    )


def test_magic_that_is_no_container() -> None:
    """Constants of programs that handle device code are no device code."""
    words = b"\x50\xed\x55\xba" * 3 + b"CCOB is a word" + b"__CLANG_OFFLOAD_BUNDLE__%s"
    found = facts(library("libtool.so", sections=[(".rodata", words)]))
    assert not found.device_code
    assert not found.units


def test_extension_module() -> None:
    """A library that exports the init function of its own name is a module."""
    found = facts(library(symbol="PyInit_core"), "pkg/core.cpython-312-x86_64-linux-gnu.so")
    assert found.python is not None
    assert (found.python.name, found.python.abi, found.python.init) == ("pkg.core", "cpython-312", "PyInit_core")


def test_far_tables_cost_further_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tables do not lie at the beginning, the stream is read again for them, as rarely as can be."""
    data = library("libx.so.1", ["liby.so.2"], sections=[(".nv_fatbin", fatbin(("sass", 90)) * 400)])
    near = Stream("lib.so", data)
    whole = read_object(near)
    monkeypatch.setattr(module, "NEAR", 1)
    monkeypatch.setattr(module, "ranges_of", lambda head, size: [])
    far = Stream("lib.so", data)
    assert read_object(far) == whole
    assert near.passes == 1
    assert 1 < far.passes <= 6


def test_files_that_are_device_code() -> None:
    """Containers, code objects and PTX texts may be files of their own."""
    one = facts(fatbin(("sass", 120)), "kernels/a.fatbin")
    assert (one.format, one.device_code[0].arch) == ("fatbin", "sm_120")
    two = facts(bundle("gfx1100") + bytes(96) + bundle("gfx942"), "kernels/a.hipfb")
    assert (two.format, len(two.units), [code.arch for code in two.device_code]) == ("bundle", 2, ["gfx942", "gfx1100"])
    three = facts(b"// made\n.version 8.7\n.target sm_100a\n.address_size 64\n" + b" " * 300, "kernels/a.ptx")
    assert (three.format, three.device_code[0].arch, three.device_code[0].isa) == ("ptx", "compute_100a", "8.7")
    assert three.device_code[0].bytes == three.size
    four = facts((AMD / "gfx90a-xnack-on.co").read_bytes(), "kernels/a.co")
    assert (four.format, four.machine, four.device_code[0].arch) == ("elf", "amdgpu", "gfx90a")
    assert (four.device_code[0].features, four.device_code[0].bytes) == (("xnack+",), four.size)


def test_file_that_only_its_name_speaks_of() -> None:
    """A library of kernels may say its architecture in its name alone."""
    found = facts(b"\x93opaque", "rocblas/library/TensileLibrary_Type_HH_gfx942.dat")
    assert (found.format, found.device_code[0].kind, found.device_code[0].arch) == ("data", "data", "gfx942")


@pytest.mark.parametrize("data", [b"", b"GROUP ( libm.so.6 )", b"\x00" * 5000, b"#!/bin/sh\n"])
def test_no_binary(data: bytes) -> None:
    """Linker scripts, empty files and others that end in .so are nothing to us."""
    assert read_object(Stream("lib.so", data)) is None


def test_every_truncation_is_noticed_or_harmless() -> None:
    """A library cut anywhere is damaged: never other facts, never another error."""
    data = library("libx.so.1", ["liby.so.2"], sections=CODE[:1])
    for length in range(4, len(data)):
        with pytest.raises(BinaryError):
            read_object(Stream("lib.so", data[:length], chunk=1 << 20))
