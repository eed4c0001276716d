"""A real package without search paths, bound to NVIDIA's wheels by derived objects."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuenv.binaries.rewritten import change
from gpuenv.store.derive import recipes
from tests.live.conftest import PYTHON, TIMEOUT, Project

pytestmark = pytest.mark.live

MANIFEST = f"""
[project]
name = "live"
version = "1"
dependencies = ["onnxruntime-gpu>=1.31,<1.32"]

[tool.gpuenv.targets.gpu]
python = "{PYTHON}"
glibc = "2.28"
gpu = ["sm_90"]
cuda = "13.0"

[tool.gpuenv.packages.onnxruntime-gpu]
bind = "runpath"
"""


def resolved(library: Path) -> dict[str, str]:
    """What the loader finds for each need of a library with an empty environment, as ldd says it."""
    command = [str(shutil.which("ldd")), str(library)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    pairs = (line.strip().partition(" => ") for line in done.stdout.splitlines() if "=>" in line)
    return {soname: place.rpartition(" (")[0] or place for soname, _, place in pairs}


@pytest.mark.skipif(shutil.which("ldd") is None, reason="needs ldd")
def test_onnxruntime(project: Callable[..., Project]) -> None:
    """The CUDA provider finds NVIDIA's wheels in a fresh process with an empty environment; all but the driver."""
    here = project()
    (here.root / "pyproject.toml").write_text(MANIFEST)
    here.gpuenv("lock")
    here.gpuenv("sync", "--target", "gpu")
    site = here.root / ".venv" / "lib" / f"python{PYTHON}" / "site-packages"
    assert not (site / "_gpuenv_preload.py").exists()
    found = resolved(site / "onnxruntime/capi/libonnxruntime_providers_cuda.so")
    inside = {soname: place for soname, place in found.items() if "/nvidia/cu13/lib/" in place}
    assert inside.keys() == {"libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13", "libcurand.so.10"}
    assert [soname for soname, place in found.items() if place == "not found"] in ([], ["libcuda.so.1"])
    store = Path(here.environ["GPUENV_STORE"])
    ((key, recipe),) = recipes(store).items()
    for path, entries in recipe.entries.items():
        assert entries == ("$ORIGIN/../../nvidia/cu13/lib",)
        old, new = store / "objects" / recipe.original / path, store / "objects" / key / path
        assert change(old, new, entries) is None
        assert 0 <= new.stat().st_size - old.stat().st_size < 3 << 20
    assert here.python("import onnxruntime; print(onnxruntime.__version__)").startswith("1.31.")
    here.gpuenv("store", "verify")
