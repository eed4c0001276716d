"""What binaries say, without binaries."""

from typing import Any

from gpuenv.model.facts import ObjectFacts, PythonModule

__all__ = ["binary", "module"]


def binary(path: str, *needed: str, soname: Any = "", **options: Any) -> ObjectFacts:
    """A library for x86-64; its SONAME is its file name unless said otherwise."""
    name = path.rpartition("/")[2] if soname == "" else soname
    made: dict[str, object] = {"machine": "x86_64", "type": "shared", "needed": needed, "soname": name, **options}
    return ObjectFacts(path, 1, "elf", **made)  # type: ignore[arg-type]


def module(path: str, *needed: str, **options: Any) -> ObjectFacts:
    """An extension module."""
    return binary(path, *needed, soname=None, python=PythonModule(path.rpartition("/")[2], "", "PyInit_x"), **options)
