"""`gpuenv lock` for targets with GPUs: what the wheels' own device code says decides, whatever their metadata says."""

from typing import Any

import pytest

from tests.support.binaries import bundle, fatbin, library
from tests.support.project import HERE, Project

NATIVE = "py3-none-manylinux2014_x86_64"
TARGET = HERE + 'gpu = ["{gpu}"]\n'


def cuda(*architectures: int, runtime: int = 12) -> dict[str, bytes | str]:
    """The files of a wheel with one library for CUDA."""
    code = fatbin(*(("sass", arch) for arch in architectures))
    return {"k/libk.so": library("libk.so", [f"libcudart.so.{runtime}"], sections=[(".nv_fatbin", code)])}


@pytest.fixture
def gpu(project: Project) -> Project:
    """An index with two releases of a CUDA build, of which the newer has left an architecture out."""
    project.offer("kernels-gpu", "1.0", files=cuda(70, 80), tags=NATIVE)
    project.offer("kernels-gpu", "2.0", files=cuda(80, 90), tags=NATIVE)
    return project


def lock(project: Project, gpu: str, more: str = "", *, code: int = 0) -> Any:
    """The document of a lock for one GPU."""
    project.write(["kernels-gpu"], targets=TARGET.format(gpu=gpu) + more)
    return project.run("lock", "--json", rc=code).json


def test_the_newest_that_serves(gpu: Project) -> None:
    """Each GPU gets the newest release with code that it runs, read out of the wheels behind the index."""
    for name, version in (("sm_90", "2.0"), ("sm_86", "2.0"), ("sm_70", "1.0"), ("sm_75", "1.0")):
        gpu.lock.unlink(missing_ok=True)
        assert lock(gpu, name)["targets"]["here"]["packages"] == {"kernels-gpu": version}


def test_none_serves(gpu: Project) -> None:
    """Where no release serves, each is named with what it has; other vendors' code is no code."""
    assert lock(gpu, "sm_60", code=1)["error"] == {
        "kind": "no-solution",
        "message": "no solution for target here",
        "causes": [
            "train requires kernels-gpu",
            "kernels-gpu 2.0 has no code for sm_60 (only sm_80, sm_90)",
            "kernels-gpu 1.0 has no code for sm_60 (only sm_70, sm_80)",
        ],
        "hints": ["add an index whose kernels-gpu has code for sm_60 under [[tool.gpuenv.index]]"],
    }
    error = lock(gpu, "gfx942", 'rocm = "7.2"\n', code=1)["error"]
    assert error["causes"][1] == "kernels-gpu 2.0 has code for NVIDIA GPUs only (sm_80, sm_90), none for gfx942"
    allowed = lock(gpu, "gfx942", 'rocm = "7.2"\ncpu-fallback = true\n')
    assert allowed["targets"]["here"]["packages"] == {"kernels-gpu": "2.0"}


def test_amd(project: Project) -> None:
    """AMD's code serves exactly the processor that it names, or a generic target's members."""
    files = {"k/libk.so": library("libk.so", sections=[(".hip_fatbin", bundle("gfx90a", "gfx11-generic"))])}
    project.offer("kernels-gpu", files=files, tags=NATIVE)
    rocm = 'rocm = "7.2"\n'
    for name in ("gfx90a", "gfx1100"):
        lock(project, name, rocm)
    for name in ("gfx942", "gfx1030", "gfx908"):
        lock(project, name, rocm, code=1)


def test_a_wheel_is_read_once(gpu: Project) -> None:
    """Facts are kept: a later lock, for another GPU, asks for no wheel again; with --offline it needs no network."""
    lock(gpu, "sm_70")
    asked = len(gpu.server.requests)
    gpu.lock.unlink()
    gpu.write(["kernels-gpu"], targets=TARGET.format(gpu="sm_90"))
    gpu.run("lock")
    assert not [request.path for request in gpu.server.requests[asked:] if request.path.endswith(".whl")]
    gpu.lock.unlink()
    gpu.run("lock", "--offline")


def test_a_wheel_behind_a_url(gpu: Project) -> None:
    """A wheel that a URL names is judged too; what a CPU target takes is not."""
    url = f"{gpu.server.url.rsplit('/', 2)[0]}/files/kernels_gpu-2.0-{NATIVE}.whl"
    gpu.write([f"kernels-gpu @ {url}"], targets=TARGET.format(gpu="sm_70"))
    assert "has no code for sm_70 (only sm_80, sm_90)" in gpu.run("lock", rc=1).err
    gpu.write([f"kernels-gpu @ {url}"])
    gpu.run("lock")


def test_a_damaged_wheel(gpu: Project) -> None:
    """A library that is cut off says nothing; the wheel is judged by its other ones, with a warning."""
    whole = cuda(70)["k/libk.so"]
    gpu.offer("kernels-gpu", "3.0", files={"k/libcut.so": whole[:-64], "k/libk.so": whole}, tags=NATIVE)
    document = lock(gpu, "sm_70")
    assert document["targets"]["here"]["packages"] == {"kernels-gpu": "3.0"}
    (warning,) = document["warnings"]
    assert warning.startswith("kernels-gpu 3.0: k/libcut.so is damaged: ")
