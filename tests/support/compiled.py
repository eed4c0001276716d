"""Real shared libraries, compiled by the test that needs them; where there is no compiler such tests are skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["compile_library", "needs_compiler"]

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compile_library(path: Path, code: str, *more: str) -> Path:
    """A shared library of C code; its SONAME is its file name. more: libraries to link with, further flags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", "-o", str(path)]
    command = ["gcc", *flags, "-x", "c", "-", "-x", "none", *more]
    subprocess.run(command, input=code, text=True, check=True, timeout=60)
    return path
