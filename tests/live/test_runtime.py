"""`gpuenv.runtime` and development links with NVIDIA's own wheels; no GPU is needed for what is called here."""

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.live.conftest import TIMEOUT, Project
from tests.support.compiled import needs_compiler

pytestmark = pytest.mark.live

MAIN = """
#include <stdio.h>
#include <cuda_runtime_api.h>
int main(void) { puts(cudaGetErrorString(cudaErrorInvalidValue)); }
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(demo C)
find_package(CUDAToolkit REQUIRED)
add_executable(demo main.c)
target_link_libraries(demo PRIVATE CUDA::cudart)
"""
HEADERS = ("nvidia-cuda-runtime", "nvidia-cuda-crt")
LINKED = 'development-links = ["nvidia-*"]'


def test_libraries_of_cuda(project: Callable[..., Project]) -> None:
    """cuBLAS and the runtime are found and opened where the view has them, cuBLASLt before cuBLAS."""
    here = project("nvidia-cuda-runtime", "nvidia-cublas")
    here.gpuenv("sync")
    program = """if True:
        import json
        from gpuenv.runtime import find_libraries, initialize_process
        initialize_process(preload_shortnames=["cudart", "cublas"], check_version="13.*", fail_on_version_mismatch=True)
        maps = {line.split()[-1] for line in open("/proc/self/maps") if "/libcu" in line}
        found = find_libraries("cudart", "cublas", "cublasLt")
        print(json.dumps([[str(path), any(path.samefile(one) for one in maps)] for path in found]))
    """
    found = json.loads(here.python(program))
    view = (here.root / ".venv").resolve()
    assert [path.rpartition("/")[2] for path, _ in found] == ["libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"]
    assert all(path.startswith(f"{view}/lib/python") and is_open for path, is_open in found)


@needs_compiler
def test_smoke_gcc(project: Callable[..., Project]) -> None:
    """A C program is built against the environment and calls CUDA's runtime."""
    here = project(*HEADERS, settings=LINKED)
    here.gpuenv("sync")
    library = here.root / ".venv" / "lib" / "libcudart.so"
    folder = (library.parent / library.readlink()).parent
    (here.root / "main.c").write_text(MAIN)
    flags = ["-I.venv/include", "-L.venv/lib", "-lcudart", f"-Wl,-rpath,{folder}"]
    subprocess.run(["gcc", "main.c", "-o", "main", *flags], cwd=here.root, check=True, timeout=TIMEOUT)
    done = subprocess.run([here.root / "main"], env={}, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    assert done.stdout == "invalid argument\n"


@needs_compiler
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_finds_the_toolkit(project: Callable[..., Project]) -> None:
    """CMake's own FindCUDAToolkit takes nvcc, headers and libraries of the environment."""
    here = project(*HEADERS, "nvidia-cuda-nvcc", settings=LINKED)
    here.gpuenv("sync")
    (here.root / "main.c").write_text(MAIN)
    (here.root / "CMakeLists.txt").write_text(CMAKE)
    venv = here.root / ".venv"
    (toolkit,) = (venv / "lib").glob("python*/site-packages/nvidia/cu13")
    paths = {"CMAKE_PREFIX_PATH": venv, "CUDAToolkit_ROOT": toolkit, "CMAKE_BUILD_RPATH": toolkit / "lib"}
    stated = [f"-D{name}={path}" for name, path in paths.items()]
    for command in (["cmake", "-S", ".", "-B", "made", *stated], ["cmake", "--build", "made"]):
        subprocess.run(command, cwd=here.root, check=True, capture_output=True, timeout=TIMEOUT)
    done = subprocess.run([here.root / "made" / "demo"], env={}, capture_output=True, check=True, timeout=TIMEOUT)
    assert done.stdout == b"invalid argument\n"
    assert f"CUDA_CUDART:FILEPATH={venv}/lib/libcudart.so\n" in (here.root / "made" / "CMakeCache.txt").read_text()
