"""Real GPU software against the real default index: no GPU is needed, for all of it is locked from what wheels say."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuenv.workflow.published import PublishedFacts
from tests.live.conftest import PYTHON, Project
from tests.support.compiled import compile_library, needs_compiler

pytestmark = pytest.mark.live

Make = Callable[..., Project]

H100 = 'gpu = ["sm_90"]\ncuda = "13.0"\n'
B200 = 'gpu = ["sm_100"]\ncuda = "13.0"\n'
V100 = 'gpu = ["sm_70"]\ndriver = "535.104"\n'
MI300 = 'gpu = ["gfx942"]\nrocm = "7.2"\n'
HOST = 'host-libraries = ["/opt/rocm/lib"]\n'
NO_TORCH = "overrides = [\"torch; python_version < '3'\"]\n"


@pytest.fixture
def gpu(project: Make) -> Make:
    """Make a project with targets: `gpu("torch", h100=H100, settings='…')`, for glibc 2.35."""

    def make(*dependencies: str, settings: str = "", python: str = "3.12", **targets: str) -> Project:
        here = project()
        head = f'[project]\nname = "live"\nversion = "1"\ndependencies = {json.dumps(dependencies)}\n'
        tables = [f'[tool.gpuenv.targets.{name}]\nglibc = "2.35"\n{text}' for name, text in targets.items()]
        (here.root / "pyproject.toml").write_text(
            "\n".join([head, f'[tool.gpuenv]\npython = "{python}"\n{settings}', *tables])
        )
        return here

    return make


def packages(document: Any, target: str) -> dict[str, str]:
    found: dict[str, str] = document["targets"][target]["packages"]
    return found


def locked(here: Project, target: str) -> dict[str, Any]:
    """The lines of the lock about one target's packages, by the name in the wheel's file name."""
    data = tomllib.loads((here.root / "gpuenv.lock").read_text())
    return {line["use"].partition("-")[0]: line for line in data["targets"][target]["packages"]}


# case 1: one library for each CUDA and ROCm


@pytest.mark.parametrize(
    ("target", "runtime", "brought"),
    [
        (H100, 13, "nvidia-cublas"),
        ('gpu = ["sm_61"]\ncuda = "13.0"\n', 12, "nvidia-cublas-cu12"),  # CUDA 13 has left Pascal out
        ('gpu = ["sm_61"]\ncuda = "12.8"\n', 12, "nvidia-cublas-cu12"),
    ],
    ids=["sm_90", "sm_61-cuda13", "sm_61-cuda12"],
)
def test_bitsandbytes_for_nvidia(gpu: Make, target: str, runtime: int, brought: str) -> None:
    """bitsandbytes without torch: the library that has code for the GPU decides which CUDA is completed."""
    here = gpu("bitsandbytes>=0.50", settings=NO_TORCH, t=target)
    assert brought in packages(here.json("lock"), "t")
    line = locked(here, "t")["bitsandbytes"]
    assert line["runtime"] == runtime
    assert f"libcublas.so.{runtime}" in line["libraries"][brought]


@pytest.mark.parametrize(("arch", "rocm"), [("gfx942", "7.2"), ("gfx1100", "7.2"), ("gfx1100", "6.4")])
def test_bitsandbytes_for_amd(gpu: Make, arch: str, rocm: str) -> None:
    """No index brings ROCm: refused with every soname; with the machine's ROCm allowed, that of the right major."""
    target = f'gpu = ["{arch}"]\nrocm = "{rocm}"\n'
    here = gpu("bitsandbytes>=0.50", settings=NO_TORCH, t=target)
    error = here.json("lock", code=1)["error"]
    major = {"7": "3", "6": "2"}[rocm[0]]
    assert f"libhipblas.so.{major}" in error["causes"][1]
    assert "no configured index provides" in error["causes"][1]
    (here.root / "pyproject.toml").write_text((here.root / "pyproject.toml").read_text() + HOST)
    here.json("lock")
    assert f"libhipblas.so.{major}" in locked(here, "t")["bitsandbytes"]["host"]


def test_bitsandbytes_on_a_cpu(gpu: Make) -> None:
    """A target without a GPU asks for nothing of any GPU's."""
    document = gpu("bitsandbytes>=0.50", settings=NO_TORCH, t="").json("lock")
    assert packages(document, "t").keys() == {"bitsandbytes", "numpy", "packaging"}
    assert document["warnings"] == []


# case 2: jax for ROCm


def test_jax_for_rocm_needs_rocm(gpu: Make) -> None:
    """Every soname that is missing is named once, with who needs it; the machine's ROCm is the way out."""
    here = gpu("jax", "jax-rocm7-plugin", mi300=MI300)
    error = here.json("lock", code=1)["error"]
    newest = error["causes"][1]
    for soname in ("libamdhip64.so.7", "libhipblas.so.3", "libMIOpen.so.1", "libhipsolver.so.1", "libhipsparse.so.4"):
        assert newest.count(soname) == 1
    assert "(jax_rocm7_plugin/_rnn.so)" in newest
    assert 'let the machine bring them: host-libraries = ["/opt/rocm/lib"] in' in error["hints"][1]
    (here.root / "pyproject.toml").write_text((here.root / "pyproject.toml").read_text() + HOST)
    assert {"jax", "jax-rocm7-plugin", "jax-rocm7-pjrt"} <= packages(here.json("lock"), "mi300").keys()
    checks = here.json("doctor", "--target", "mi300", code=1)["checks"]
    missing = {check["what"] for check in checks if not check["met"]}
    assert any("libamdhip64.so.7" in what for what in missing), checks


# case 3: an old card, and an old driver


def test_torch_for_v100(gpu: Make) -> None:
    """Newer releases are for CUDA 13, which the driver does not run: the newest that serves is taken."""
    here = gpu("torch", v100=V100)
    assert packages(here.json("lock"), "v100")["torch"] == "2.10.0"
    line = locked(here, "v100")["torch"]
    assert line["runtime"] == 12
    assert line["libraries"]["nvidia-cublas-cu12"] == ["libcublas.so.12", "libcublasLt.so.12"]
    pinned = gpu_of(here, "torch>=2.11")
    error = pinned.json("lock", code=1)["error"]
    assert any("is for CUDA 13, the target's driver runs CUDA 12 at most" in cause for cause in error["causes"])


def gpu_of(here: Project, requirement: str) -> Project:
    """The same project with another dependency."""
    text = (here.root / "pyproject.toml").read_text()
    (here.root / "pyproject.toml").write_text(text.replace('"torch"', json.dumps(requirement)))
    return here


def test_torch_for_blackwell_with_an_old_driver(gpu: Make) -> None:
    """A driver of CUDA 11 runs no torch that has code for sm_120."""
    error = gpu("torch>=2.10", b='gpu = ["sm_120"]\ncuda = "11.8"\n').json("lock", code=1)["error"]
    assert any("is for CUDA 13, the target's driver runs CUDA 11 at most" in cause for cause in error["causes"])


# case 4: what metadata forgets, what meets


def test_two_cuda_majors_are_reported(gpu: Make) -> None:
    """cupy for CUDA 12 beside a torch for CUDA 13 is locked, with a warning that names both."""
    document = gpu("cupy-cuda12x", "torch", h100=H100).json("lock")
    (warning,) = [one for one in document["warnings"] if "several kinds of CUDA" in one]
    assert "12: cupy-cuda12x" in warning
    assert "13: torch" in warning


def test_onnxruntime_for_an_unserved_card(gpu: Make) -> None:
    """The refusal names the architectures that there are."""
    error = gpu("onnxruntime-rocm", t='gpu = ["gfx906"]\n').json("lock", code=1)["error"]
    assert "has no code for gfx906 (only gfx908, gfx90a, gfx942" in error["causes"][1]


def test_smoke_onnxruntime_is_completed(gpu: Make) -> None:
    """onnxruntime-gpu says nothing of the CUDA that it needs: its binaries do, and the lock has it."""
    here = gpu("onnxruntime-gpu", h100=H100)
    assert {"nvidia-cublas", "nvidia-cuda-runtime", "nvidia-curand"} <= packages(here.json("lock"), "h100").keys()
    line = locked(here, "h100")["onnxruntime_gpu"]
    assert line["libraries"]["nvidia-cublas"] == ["libcublas.so.13", "libcublasLt.so.13"]
    data = tomllib.loads((here.root / "gpuenv.lock").read_text())
    facts = {name.partition("-")[0]: artifact.get("facts") for name, artifact in data["artifacts"].items()}
    assert facts["nvidia_cublas"] == "published"
    assert facts["numpy"] is None


@needs_compiler
def test_completed_onnxruntime_loads(gpu: Make, tmp_path: Path) -> None:
    """In the environment the CUDA provider of onnxruntime finds the libraries of CUDA that its metadata forgets."""
    here = gpu("onnxruntime-gpu", python=PYTHON, h100=H100)
    here.json("sync", "--target", "h100", "--python", sys.executable)
    driver = compile_library(tmp_path / "libcuda.so.1", "")  # stands for the driver's own
    program = (
        "import ctypes, onnxruntime, pathlib\n"
        f"ctypes.CDLL({str(driver)!r})\n"
        "capi = pathlib.Path(onnxruntime.__file__).parent / 'capi'\n"
        "ctypes.CDLL(str(capi / 'libonnxruntime_providers_shared.so'), ctypes.RTLD_GLOBAL)\n"
        "try:\n"
        "    ctypes.CDLL(str(capi / 'libonnxruntime_providers_cuda.so'))\n"
        "except OSError as error:  # the stand-in has no functions\n"
        "    assert 'undefined symbol: cu' in str(error), error\n"
        "maps = pathlib.Path('/proc/self/maps').read_text()\n"
        "print(all(name in maps for name in ('libcublas.so.13', 'libcudart.so.13', 'libcurand.so.10')))\n"
    )
    assert here.python(program) == "True"


def test_what_the_machine_must_have(gpu: Make) -> None:
    """lightgbm and pyodbc ask the machine for libraries: with `scan = "all"` the lock says so."""
    here = gpu("lightgbm", "pyodbc", settings='scan = "all"\n', cpu="")
    warnings = here.json("lock")["warnings"]
    assert any(warning.startswith("lightgbm ") and "libgomp.so.1 of the machine" in warning for warning in warnings)
    assert locked(here, "cpu")["pyodbc"]["host"].keys() == {"libodbc.so.2"}


@pytest.mark.parametrize(("name", "target"), [("h100", H100), ("b200", B200)])
def test_vllm(gpu: Make, name: str, target: str) -> None:
    """vllm has extensions for one architecture only: served, with a warning for each that has nothing for this one."""
    document = gpu("vllm", **{name: target}).json("lock")
    arch = "sm_90" if name == "h100" else "sm_100"
    assert "vllm" in packages(document, name)
    assert any(
        warning.startswith("vllm ") and f"has code for {arch} in 0 of its" in warning
        for warning in document["warnings"]
    )
    assert not any("of the machine" in warning for warning in document["warnings"])


def test_xgboost_on_a_cpu(gpu: Make) -> None:
    """xgboost carries code for NVIDIA's GPUs and trains without any: a CPU target takes it as it is."""
    document = gpu("xgboost", settings='scan = "all"\n', cpu="").json("lock")
    assert "xgboost" in packages(document, "cpu")
    assert document["warnings"] == []


# case 5: one project, three kinds of machines


def test_one_lock_for_three_machines(gpu: Make) -> None:
    """The same project for NVIDIA, AMD and no GPU: one lock, each with what serves it, common versions aligned."""
    here = gpu("bitsandbytes>=0.50", "scipy", settings=NO_TORCH, h100=H100, mi300=MI300 + HOST, cpu="")
    document = here.json("lock")
    found = {name: packages(document, name) for name in ("h100", "mi300", "cpu")}
    for name in ("bitsandbytes", "scipy", "numpy"):
        assert len({versions[name] for versions in found.values()}) == 1
    assert "nvidia-cublas" in found["h100"]
    assert not [name for name in (*found["mi300"], *found["cpu"]) if name.startswith("nvidia-")]
    assert "libhipblas.so.3" in locked(here, "mi300")["bitsandbytes"]["host"]
    assert "host" not in locked(here, "cpu")["bitsandbytes"]


def test_published_facts_cost_nothing(gpu: Make) -> None:
    """A lock that walks back through releases of torch reads none of those that are published."""
    here = gpu("torch", v100=V100)
    here.json("lock")
    data = tomllib.loads((here.root / "gpuenv.lock").read_text())
    relied = {name: artifact for name, artifact in data["artifacts"].items() if artifact.get("facts")}
    known = {wheel.facts.sha256 for wheel in PublishedFacts().wheels()}
    assert all((artifact["sha256"] in known) == (artifact["facts"] == "published") for artifact in relied.values())
    assert sum(artifact["facts"] == "published" for artifact in relied.values()) >= 10
