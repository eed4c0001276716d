"""Which library of an artifact others are given."""

from typing import Any

import pytest

from gpuenv.model.carries import carries, defines, is_private
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.target import Target

CPU = Target("cpu")


def lib(path: str, **more: Any) -> ObjectFacts:
    base = {"size": 1, "format": "elf", "machine": "x86_64", "bits": 64, "type": "shared"}
    return ObjectFacts(path=path, **{**base, "soname": "libx.so.1", **more})


def wheel(*objects: ObjectFacts) -> NativeFacts:
    return NativeFacts(None, 1, objects=objects)


def test_by_soname_else_by_file_name() -> None:
    """A library is known by its SONAME, and by its file name only where it has none."""
    named, bare = lib("x/lib/libx.so.1.2.3"), lib("x/lib/libbare.so", soname=None)
    facts = wheel(named, bare)
    assert carries(facts, "libx.so.1", CPU) == named
    assert carries(facts, "libx.so.1.2.3", CPU) is None
    assert carries(facts, "libbare.so", CPU) == bare
    assert carries(facts, "libother.so", CPU) is None


@pytest.mark.parametrize(
    "found",
    [
        lib("x.libs/libx.so.1"),
        lib("x/.libs/libx.so.1"),
        lib("x/lib/stubs/libx.so.1"),
        lib("stubs/libx.so.1"),
        lib("x/lib/libx.so.1", machine="aarch64"),
        lib("x/lib/libx.so.1", type="executable"),
        lib("x/lib/libx.so.1", type="relocatable"),
        lib("x/lib/libx.so.1.debug"),
        lib("x/lib/libx.cubin", machine="cuda"),
    ],
    ids=lambda found: f"{found.path}-{found.machine}-{found.type}",
)
def test_what_is_not_for_others(found: ObjectFacts) -> None:
    """Private copies, stubs, programs, debug information and what is for other machines are given to nobody."""
    assert carries(wheel(found), "libx.so.1", CPU) is None
    assert carries(wheel(found, lib("z/libx.so.1")), "libx.so.1", CPU) == lib("z/libx.so.1")


def test_hashed_copies_are_private() -> None:
    """A copy with a hash in its name belongs to its wheel, wherever it lies."""
    for name in ("libgomp-24e2ab19.so.1.0.0", "libcudart.faf08d9a.so.13"):
        copy = lib(f"x/{name}", soname=name)
        assert is_private(copy)
        assert carries(wheel(copy), name, CPU) is None
    assert not is_private(lib("x/libcuda-like.so.1"))


def test_of_several_the_one_on_top() -> None:
    """Of several libraries with one SONAME the one with the shortest path is given, then the first."""
    deep, top, later = lib("x/lib/glibc-hwcaps/x86-64-v3/libx.so.1"), lib("x/lib/libx.so.1"), lib("y/lib/libx.so.1")
    assert carries(wheel(later, deep, top), "libx.so.1", CPU) == top


def test_symbol_versions() -> None:
    """What a library does not define is named; one without any version lacks none."""
    found = lib("x/libx.so.1", versions_defined=("X_1.0", "X_1.2"))
    assert defines(found, ("X_1.0", "X_1.1", "X_1.2", "X_2")) == ("X_1.1", "X_2")
    assert defines(lib("x/libx.so.1"), ("X_1.0",)) == ()
