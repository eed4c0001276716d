"""Real shared libraries, compiled by the test that needs them; where there is no compiler such tests are skipped."""

import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import pytest

__all__ = ["HEADERS", "MODULE", "compile_library", "module_and_library", "needs_compiler", "needs_headers"]

HEADERS = Path(sysconfig.get_path("include"))

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
needs_headers = pytest.mark.skipif(not (HEADERS / "Python.h").exists(), reason="needs Python's headers")


def compile_library(path: Path, code: str, *more: str) -> Path:
    """A shared library of C code; its SONAME is its file name. more: libraries to link with, further flags.

    What was compiled once is not compiled again: the same code, flags and libraries give the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed"]
    linked = tuple(Path(one).read_bytes() if Path(one).is_file() else one for one in more)
    key = (code, *flags, *linked)
    if key not in _compiled:
        command = ["gcc", *flags, "-o", str(path), "-x", "c", "-", "-x", "none", *more]
        subprocess.run(command, input=code, text=True, check=True, timeout=60)
        _compiled[key] = path.read_bytes()
    path.write_bytes(_compiled[key])
    path.chmod(0o755)
    return path


_compiled: dict[tuple[str | bytes, ...], bytes] = {}
# An extension module that needs `value` of a library.
MODULE = """
#include <Python.h>
extern int value(void);
static PyObject *get(PyObject *self, PyObject *args) { return PyLong_FromLong(value()); }
static PyMethodDef methods[] = {{"get", get, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "core", "", -1, methods};
PyMODINIT_FUNC PyInit_core(void) { return PyModule_Create(&module); }
"""


@cache
def module_and_library(value: int) -> tuple[bytes, bytes]:
    """An extension module `core` whose `get` returns what libdep.so.1 says, and that library, which says `value`.

    The module has no path that leads anywhere, and is the same whatever the value.
    """
    with tempfile.TemporaryDirectory() as folder:
        dep = compile_library(Path(folder) / "libdep.so.1", f"int value(void) {{ return {value}; }}")
        core = compile_library(Path(folder) / "core.so", MODULE, f"-I{HEADERS}", str(dep))
        return core.read_bytes(), dep.read_bytes()
