"""Default extras and alternatives of real distributions: jax has extras by level, onnxruntime names by vendor."""

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.conftest import Project

pytestmark = pytest.mark.live

TARGETS = {
    "a100": 'gpu = ["sm_80"]\ndriver = "535.104"\n',
    "cpu": "",
    "h100": 'gpu = ["sm_90"]\ncuda = "13.0"\n',
    "mi300": 'gpu = ["gfx942"]\nrocm = "7.2"\n',
}
RULES = """
[tool.gpuenv.default-extras]
jax = { amd = ["rocm{rocm_major}-local"], nvidia = ["cuda{cuda_major}"] }
[tool.gpuenv.alternatives]
onnxruntime = { amd = "onnxruntime-rocm", nvidia = "onnxruntime-gpu" }
"""


def test_jax_and_onnxruntime(project: Callable[..., Project]) -> None:
    """Each target gets its vendor's plugin of jax, of the major that its driver runs, and its vendor's onnxruntime."""
    here = project()
    head = '[project]\nname = "live"\nversion = "1"\ndependencies = {}\n[tool.gpuenv]\npython = "3.12"\nscan = "none"\n'
    tables = [f'[tool.gpuenv.targets.{name}]\nglibc = "2.35"\n{text}' for name, text in TARGETS.items()]
    asked = head.replace("{}", json.dumps(["jax", "fastembed"]))
    (here.root / "pyproject.toml").write_text("\n".join([asked, *tables, RULES]))
    document = here.json("lock")
    found = {name: sorted(one["packages"]) for name, one in document["targets"].items()}
    runtimes = {"a100": "onnxruntime-gpu", "cpu": "onnxruntime", "h100": "onnxruntime-gpu", "mi300": "onnxruntime-rocm"}
    plugins = {
        "a100": ["jax-cuda12-plugin"], "cpu": [], "h100": ["jax-cuda13-plugin"], "mi300": ["jax-rocm7-plugin"],
    }  # fmt: skip
    for target, packages in found.items():
        assert [name for name in packages if name.startswith("onnxruntime")] == [runtimes[target]]
        assert [name for name in packages if name.endswith("-plugin")] == plugins[target]
    assert document["saved"] == {}
    data = tomllib.loads((here.root / "gpuenv.lock").read_text())
    assert line(data, "mi300", "jax")["default-extras"] == {"rocm7-local": "project, amd = rocm{rocm_major}-local"}
    assert line(data, "h100", "onnxruntime_gpu")["instead-of"] == ["onnxruntime"]
    assert "default-extras" not in line(data, "cpu", "jax")


def line(data: dict[str, Any], target: str, stem: str) -> dict[str, Any]:
    """The line of a package of one target in the lock, by the name in its wheel's file name."""
    return next(one for one in data["targets"][target]["packages"] if one["use"].startswith(f"{stem}-"))
