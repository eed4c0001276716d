"""`gpuenv lock` for targets with GPUs: what the wheels' own device code says decides, whatever their metadata says."""

import tomllib
from typing import Any

import pytest

from tests.support.binaries import bundle, fatbin, library
from tests.support.project import HERE, Project
from tests.support.wheels import make_wheel

NATIVE = "py3-none-manylinux2014_x86_64"
TARGET = HERE + 'gpu = ["{gpu}"]\n'
FOLDER = """
[[tool.gpuenv.index]]
name = "bundles"
path = "bundles"
packages = ["thing-*"]
"""


def cuda(*architectures: int, runtime: int = 12) -> dict[str, bytes | str]:
    """The files of a wheel with one library for CUDA."""
    code = fatbin(*(("sass", arch) for arch in architectures))
    return {"k/libk.so": library("libk.so", [f"libcudart.so.{runtime}"], sections=[(".nv_fatbin", code)])}


@pytest.fixture
def gpu(project: Project) -> Project:
    """An index with two releases of a CUDA build, of which the newer has left an architecture out."""
    runtime = {"nvidia/cuda_runtime/lib/libcudart.so.12": library("libcudart.so.12")}
    project.offer("nvidia-cuda-runtime-cu12", "12.9", files=runtime, tags=NATIVE)
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
        packages = lock(gpu, name)["targets"]["here"]["packages"]
        assert packages == {"kernels-gpu": version, "nvidia-cuda-runtime-cu12": "12.9"}


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
    assert allowed["targets"]["here"]["packages"]["kernels-gpu"] == "2.0"


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
    assert document["targets"]["here"]["packages"]["kernels-gpu"] == "3.0"
    (warning,) = document["warnings"]
    assert warning.startswith("kernels-gpu 3.0: k/libcut.so is damaged: ")


def locked(project: Project) -> dict[str, Any]:
    """The lock's lines about packages, by name."""
    data = tomllib.loads(project.lock.read_text("utf-8"))
    return {line["use"].partition("-")[0]: line for line in data["targets"]["here"]["packages"]}


def test_what_metadata_forgot_is_completed(gpu: Project) -> None:
    """The lock names who brings each soname, with which CUDA, how that was learnt, and the table it was learnt from."""
    lock(gpu, "sm_90")
    assert locked(gpu)["kernels_gpu"] == {
        "use": f"kernels_gpu-2.0-{NATIVE}.whl",
        "libraries": {"nvidia-cuda-runtime-cu12": ["libcudart.so.12"]},
        "runtime": 12,
    }
    data = tomllib.loads(gpu.lock.read_text("utf-8"))
    assert data["providers"].startswith("sha256:")
    assert {artifact["facts"] for artifact in data["artifacts"].values()} == {"read"}


def test_project_says_who_provides(gpu: Project) -> None:
    """The project's own word on a soname counts before all tables, for packages and for itself."""
    gpu.offer("our-libs", files={"our/lib/libcudart.so.12": library("libcudart.so.12")}, tags=NATIVE)
    gpu.offer("blas", files={"blas/libblas.so.0": library("libblas.so.0")}, tags=NATIVE)
    more = """
[tool.gpuenv]
native = ["libblas.so.0", "libc.so.6"]
[tool.gpuenv.providers]
"libcudart.so.12" = "our-libs"
"libblas.so.0" = "blas"
"""
    lock(gpu, "sm_90", more)
    assert locked(gpu)["kernels_gpu"]["libraries"] == {"our-libs": ["libcudart.so.12"]}
    data = tomllib.loads(gpu.lock.read_text("utf-8"))
    assert data["targets"]["here"]["libraries"] == {"blas": ["libblas.so.0"]}


def test_index_says_who_provides(gpu: Project) -> None:
    """A folder's provides.json counts before the shipped table."""
    folder = gpu.root / "bundles"
    made = {"rocm/lib/libthing.so.7": library("libthing.so.7")}
    make_wheel(folder, "thing-libs", files=made, tags=NATIVE)
    (folder / "provides.json").write_text('{"version": 1, "sonames": {"libthing.so.7": ["thing-libs"]}}')
    gpu.offer("things-gpu", files={"t/libt.so": library("libt.so", ["libthing.so.7"])}, tags=NATIVE)
    gpu.write(["things-gpu"], targets=TARGET.format(gpu="sm_90") + FOLDER)
    assert gpu.run("lock", "--json").json["targets"]["here"]["packages"] == {"things-gpu": "1.0", "thing-libs": "1.0"}


def test_the_machine_is_asked_for_the_rest(gpu: Project) -> None:
    """What nobody manages is a demand on the machine: warned about once, locked, refused with strict-host."""
    files = {"w/libw.so": library("libw.so", ["libodbc.so.2"])}
    gpu.offer("odbc-gpu", files=files, tags=NATIVE)
    gpu.write(["odbc-gpu"], targets=TARGET.format(gpu="sm_90"))
    warnings = gpu.run("lock", "--json").json["warnings"]
    assert warnings == ["odbc-gpu 1.0 needs libodbc.so.2 of the machine (w/libw.so)"]
    assert locked(gpu)["odbc_gpu"]["host"] == {"libodbc.so.2": "w/libw.so"}
    gpu.write(["odbc-gpu"], targets=TARGET.format(gpu="sm_90") + "[tool.gpuenv]\nstrict-host = true\n")
    assert gpu.run("lock", "--json", rc=1).json["error"]["causes"][1] == (
        "odbc-gpu 1.0 needs libodbc.so.2 (w/libw.so), which no configured index provides"
    )


def test_scan_decides_what_is_read(gpu: Project) -> None:
    """On a CPU target nothing is read unless `scan` says so; with "none" nothing is read for a GPU either."""
    gpu.offer("plain", files={"p/libp.so": library("libp.so", ["libodbc.so.2"])}, tags=NATIVE)
    for scan, host in (("gpu", None), ("none", None), ("all", {"libodbc.so.2": "p/libp.so"})):
        gpu.write(["plain"], targets=HERE + f'[tool.gpuenv]\nscan = "{scan}"\n')
        gpu.run("lock")
        assert locked(gpu)["plain"].get("host") == host
    assert lock(gpu, "sm_60", '[tool.gpuenv]\nscan = "none"\n')["targets"]["here"]["packages"] == {"kernels-gpu": "2.0"}


def test_a_note_says_why_newer_ones_were_left(gpu: Project) -> None:
    """What is taken because newer binaries do not serve is told with the reason, in words and in the document."""
    gpu.write(["kernels-gpu"], targets=TARGET.format(gpu="sm_70"))
    note = "note: kernels-gpu 1.0 for here, not 2.0: it has no code for sm_70 (only sm_80, sm_90)"
    assert note in gpu.run("lock").err.splitlines()
    assert "note:" not in gpu.run("lock").err
    assert gpu.run("lock", "--upgrade", "--json").json["passed_over"] == [
        {
            "target": "here",
            "package": "kernels-gpu",
            "version": "1.0",
            "newer": [{"version": "2.0", "reason": "has no code for sm_70 (only sm_80, sm_90)"}],
        }
    ]


def test_exceptions_that_are_about_nothing(gpu: Project) -> None:
    """A name or a pattern of an exception that matches nothing is most probably a slip, and warned of."""
    rules = (
        '[tool.gpuenv.packages.kernels_gpus]\nptx = false\n[tool.gpuenv.packages.kernels-gpu]\ndormant = ["lib/*.so"]\n'
    )
    gpu.write(["kernels-gpu"], targets=TARGET.format(gpu="sm_90"), more=rules)
    assert gpu.run("lock", "--json").json["warnings"] == [
        "kernels-gpu 2.0 has no binary lib/*.so, which [tool.gpuenv.packages.kernels-gpu] is about",
        "[tool.gpuenv.packages.kernels-gpus] is about no package of the lock",
    ]
    gpu.write(
        ["kernels-gpu"], targets=TARGET.format(gpu="sm_90"), more=rules.replace("lib/", "k/").replace("_gpus", "-gpu2")
    )
    assert len(gpu.run("lock", "--json").json["warnings"]) == 1
