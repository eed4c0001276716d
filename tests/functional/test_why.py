"""`gpuenv why`: what the lock says of packages, sonames, GPUs and runtimes, as people and scripts ask."""

import shutil
from typing import Any

import pytest

from gpuenv.report.inspect import size_text
from tests.support.binaries import fatbin, library
from tests.support.project import HERE, Project, snapshot, target

NATIVE = "py3-none-manylinux2014_x86_64"
H100 = target("h100", 'gpu = ["sm_90"]', 'cuda = "12.8"')
GROUPS = '[dependency-groups]\ntest = ["trainer[all]", "helper"]\n'


def code(*architectures: int, times: int = 1) -> list[tuple[str, bytes]]:
    """A section of fatbin containers, each with code for these architectures."""
    return [(".nv_fatbin", fatbin(*(("sass", arch) for arch in architectures)) * times)]


@pytest.fixture
def locked(project: Project) -> Project:
    """A lock of two targets: a package that needs CUDA and ODBC, and pure ones above it."""
    runtime = {"nvidia/cuda_runtime/lib/libcudart.so.12": library("libcudart.so.12")}
    project.offer("nvidia-cuda-runtime-cu12", "12.9", files=runtime, tags=NATIVE)
    wants = ["libcudart.so.12", "libodbc.so.2", "libcuda.so.1", "libc.so.6"]
    files: dict[str, bytes | str] = {
        "k/libk.so": library("libk.so", wants, sections=code(80, 90, times=4)),
        "k/libold.so": library("libold.so", ["libk.so"], sections=code(80, times=3)),
    }
    project.offer("kernels-gpu", "2.0", files=files, tags=NATIVE)
    project.offer("trainer", "3.1", requires=["kernels-gpu", 'helper; extra == "all"'], extras=["all"])
    project.offer("helper", "0.4", requires=["leaf"])
    project.offer("leaf", "5.0")
    project.write(["trainer"], targets=H100 + HERE, more=GROUPS)
    project.run("lock", "-q")
    return project


def lines(project: Project, *arguments: str) -> list[str]:
    """What `gpuenv why` says, on stdout alone."""
    return project.lines("why", *arguments)


def test_package(locked: Project) -> None:
    """The shortest chain by requirements, who else requires it, and the file; targets that agree share a block."""
    assert lines(locked, "Helper") == [
        "h100, here: train (group test) requires helper",
        "            also: trainer[all] 3.1 requires it",
        "            file: helper-0.4-py3-none-any.whl",
        f"                  {size(locked, 'helper-0.4-py3-none-any.whl')}, index default, no facts asked for",
    ]
    assert lines(locked, "leaf", "--target", "here")[:2] == [
        "here: train (group test) requires helper",
        "      helper 0.4 requires leaf",
    ]
    assert lines(locked, "trainer[all]")[0] == "h100, here: train (group test) requires trainer[all]"


def size(project: Project, filename: str) -> str:
    """The size of an offered file in words."""
    (path,) = project.base.glob(f"offered/*/{filename}")
    return size_text(path.stat().st_size)


def test_package_for_a_soname(locked: Project) -> None:
    """Where no metadata names a package, the chain goes through the soname and the binary that needs it."""
    found = lines(locked, "nvidia-cuda-runtime-cu12")
    assert found[:4] == [
        "h100: train requires trainer",
        "      trainer 3.1 requires kernels-gpu",
        "      kernels-gpu 2.0 needs libcudart.so.12 (k/libk.so)",
        "      libcudart.so.12 is provided by nvidia-cuda-runtime-cu12 12.9",
    ]
    assert found[5].endswith(", index default, facts read from the file, CUDA 12")
    assert found[6:] == ["here: nvidia-cuda-runtime-cu12 is not in the lock"]


def test_package_document(locked: Project) -> None:
    """--json has every field of a package for each target, null for a target without it."""
    document = locked.run("why", "nvidia-cuda-runtime-cu12", "--json").json
    assert (document["node"], document["kind"]) == ("nvidia-cuda-runtime-cu12", "package")
    assert (document["targets"]["here"], document["warnings"]) == (None, [])
    found = document["targets"]["h100"]
    assert found["chain"][1:] == [
        {"by": "trainer", "version": "3.1", "on": "kernels-gpu", "sonames": [], "binary": None, "note": None},
        {
            "by": "kernels-gpu",
            "version": "2.0",
            "on": "nvidia-cuda-runtime-cu12",
            "sonames": ["libcudart.so.12"],
            "binary": "k/libk.so",
            "note": None,
        },
    ]
    assert {key: found[key] for key in ("version", "others", "index", "facts", "runtime", "unread")} == {
        "version": "12.9",
        "others": [],
        "index": "default",
        "facts": "read",
        "runtime": {"vendor": "nvidia", "major": 12},
        "unread": [],
    }
    assert found.keys() - {"version", "others", "index", "facts", "runtime", "unread"} == {
        "chain", "default_extras", "filename", "instead_of", "sha256", "size", "url", "variant",
    }  # fmt: skip


def test_soname(locked: Project) -> None:
    """Who needs a soname, and who meets the need: a package, the machine, the driver, the system, or itself."""
    for node, first, need in (
        (
            "libcudart.so.12",
            "is provided by nvidia-cuda-runtime-cu12 12.9 (nvidia/cuda_runtime/lib/libcudart.so.12)",
            "needs it (k/libk.so)",
        ),
        ("libodbc.so.2", "has to be on the machine", "needs it of the machine (k/libk.so)"),
        ("libcuda.so.1", "comes with the GPU's driver", "needs it (k/libk.so)"),
        ("libc.so.6", "is the system's (glibc 2.17)", "needs it (k/libk.so)"),
        ("soname:libk.so", "is carried by kernels-gpu 2.0 (k/libk.so)", "needs it and brings it itself (k/libold.so)"),
    ):
        assert lines(locked, node, "--target", "h100") == [
            f"h100: {node.removeprefix('soname:')} {first}",
            f"      kernels-gpu 2.0 {need}",
        ]


def test_soname_document(locked: Project) -> None:
    """--json says of a soname who needs it of whom, and the path in the wheel of who brings it."""
    found = locked.run("why", "libcudart.so.12", "--json", "--target", "h100").json["targets"]
    assert found == {
        "h100": {
            "needed_by": [
                {
                    "package": "kernels-gpu",
                    "version": "2.0",
                    "binaries": ["k/libk.so"],
                    "versions": [],
                    "supply": "package",
                    "by": "nvidia-cuda-runtime-cu12",
                    "plugin": False,
                }
            ],
            "brought_by": [
                {
                    "package": "nvidia-cuda-runtime-cu12",
                    "version": "12.9",
                    "path": "nvidia/cuda_runtime/lib/libcudart.so.12",
                }
            ],
            "unread": [],
        }
    }


def test_native_of_the_project(project: Project) -> None:
    """A soname that the project itself needs leads from the project to who brings it, or to the machine."""
    project.offer("blas", files={"blas/libblas.so.0": library("libblas.so.0")}, tags=NATIVE)
    native = '[tool.gpuenv]\nnative = ["libblas.so.0", "libEGL.so.1"]\n'
    providers = '[tool.gpuenv.providers]\n"libblas.so.0" = "blas"\n'
    project.write([], targets=H100, more=native + providers)
    project.run("lock", "-q")
    assert lines(project, "blas")[:2] == [
        "h100: train needs libblas.so.0 (`native` in tool.gpuenv)",
        "      libblas.so.0 is provided by blas 1.0",
    ]
    assert lines(project, "libEGL.so.1") == [
        "h100: libEGL.so.1 has to be on the machine",
        "      train needs it of the machine (`native` in tool.gpuenv)",
    ]


def test_gpu(locked: Project) -> None:
    """How a target's GPU is served, with counts of containers and the binaries that have nothing for it."""
    assert lines(locked, "sm_90") == [
        "h100: sm_90, a GPU of the target, is served",
        "      kernels-gpu 2.0: exact (sm_90), 4 of 7 containers; nothing for it in libold.so",
    ]


def test_another_gpu(locked: Project) -> None:
    """A GPU that no target has is a question to those with GPUs of its vendor."""
    assert lines(locked, "sm_86") == [
        "h100: sm_86, no GPU of the target, would be served",
        "      kernels-gpu 2.0: older code of the same major (sm_80), 7 of 7 containers",
    ]
    assert lines(locked, "sm_70") == [
        "h100: sm_70, no GPU of the target, would not be served by kernels-gpu",
        "      kernels-gpu 2.0: nothing that runs, it has sm_80, sm_90",
    ]
    error = locked.run("why", "gfx942", rc=1).err
    assert error == "error: `gfx942` is not in the lock\n  cause: no target has a GPU of AMD's\n"


def test_gpu_document(locked: Project) -> None:
    """--json says of a GPU which package serves it how far."""
    found = locked.run("why", "sm_90", "--json").json["targets"]
    assert found["here"] is None
    assert (found["h100"]["gpu"], found["h100"]["locked"], found["h100"]["served"]) == ("sm_90", True, True)
    (package,) = found["h100"]["packages"]
    assert package == {
        "package": "kernels-gpu",
        "version": "2.0",
        "outcome": "served",
        "refused": False,
        "own": True,
        "fit": "exact",
        "by": {"sm_90": "exact"},
        "units": 4,
        "of": 7,
        "gaps": [{"path": "k/libold.so", "units": 0, "of": 3}],
        "has": ["sm_80", "sm_90"],
        "newer_ptx": None,
    }


def test_runtime(locked: Project) -> None:
    """Which package brings or needs which kind of a runtime; two kinds that should not meet are called so."""
    assert lines(locked, "cuda", "--target", "h100") == [
        "h100: CUDA 12: kernels-gpu (k/libk.so)",
        "               nvidia-cuda-runtime-cu12 (nvidia/cuda_runtime/lib/libcudart.so.12)",
    ]
    document = locked.run("why", "cuda", "--json", "--target", "h100").json["targets"]["h100"]
    assert [kind["kind"] for kind in document["kinds"]] == ["12"]
    assert document["clash"] is False


def test_two_kinds(project: Project) -> None:
    """Two OpenMP runtimes in one environment are named with who brings each."""
    for name, soname in (("one-gpu", "libgomp.so.1"), ("two-gpu", "libomp.so")):
        files = {f"{name}/lib{name}.so": library(f"lib{name}.so", [soname]), f"{name}/{soname}": library(soname)}
        project.offer(name, files=files, tags=NATIVE)
    project.write(["one-gpu", "two-gpu"], targets=H100)
    project.run("lock", "-q")
    assert lines(project, "openmp") == [
        "h100: libgomp: one-gpu (one-gpu/libgomp.so.1)",
        "      libomp: two-gpu (two-gpu/libomp.so)",
        "      several kinds of OpenMP in one environment: one process should have one",
    ]


def test_unknown(locked: Project) -> None:
    """What is not in the lock is an error with the nearest thing that is."""
    for node, meant in (
        ("traner", "trainer"),
        ("libcudart.so.11", "libcudart.so.12"),
        ("libcudart", "libcudart.so.12"),
        ("sm90", "sm_90"),
        ("opnmp", "openmp"),
    ):
        result = locked.run("why", node, rc=1)
        assert (result.out, result.err) == ("", f"error: `{node}` is not in the lock\nhint: did you mean `{meant}`?\n")
    assert locked.run("why", "traner", "--json", rc=1).json["error"]["kind"] == "not-locked"


def test_unknown_in_one_target(locked: Project) -> None:
    """With --target only that target counts; a target that the lock does not have is wrong usage."""
    error = locked.run("why", "libodbc.so.2", "--target", "here", rc=1).err
    assert error.startswith("error: `libodbc.so.2` is not in the lock for target here\n")
    error = locked.run("why", "trainer", "--target", "h10", rc=2).err
    assert error == "error: there is no target `h10` in gpuenv.lock\nhint: --target h100\n"


def test_facts_that_are_not_at_hand(locked: Project) -> None:
    """Without facts the lock's own words are told, and that the rest is not known; nobody asks the network."""
    asked = len(locked.server.requests)
    shutil.rmtree(locked.cache)
    assert lines(locked, "libodbc.so.2", "--target", "h100") == [
        "h100: libodbc.so.2 has to be on the machine",
        "      kernels-gpu 2.0 needs it of the machine (k/libk.so)",
        "      no facts at hand of kernels-gpu, nvidia-cuda-runtime-cu12: `gpuenv sync` reads them",
    ]
    found = lines(locked, "nvidia-cuda-runtime-cu12", "--target", "h100")
    assert found[2] == "      kernels-gpu 2.0 needs libcudart.so.12"
    assert found[-1] == "      no facts at hand of kernels-gpu: `gpuenv sync` reads them"
    assert lines(locked, "sm_90") == [
        "h100: sm_90, a GPU of the target: no package is known to have device code",
        "      no facts at hand of kernels-gpu, nvidia-cuda-runtime-cu12: `gpuenv sync` reads them",
    ]
    assert lines(locked, "sm_86")[0] == "h100: sm_86, no GPU of the target: no package is known to have device code"
    document = locked.run("why", "sm_90", "--json").json["targets"]["h100"]
    assert document["unread"] == ["kernels-gpu", "nvidia-cuda-runtime-cu12"]
    assert "cause: no facts at hand of kernels-gpu" in locked.run("why", "libx.so.1", rc=1).err
    assert locked.quiet_since(asked)


def test_a_question_changes_nothing(locked: Project) -> None:
    """Facts that a lock relies on stay what they are, even where the wheel itself turns out to say otherwise."""
    (wheel,) = locked.base.glob("offered/*/kernels_gpu-*.whl")
    locked.run("inspect", wheel)
    (stated,) = (file for file in locked.cache.rglob("facts-stated-*/*/*.json") if "libold.so" in file.read_text())
    stated.write_text(stated.read_text().replace("libold.so", "libnew.so"))
    before = snapshot(locked.base)
    assert lines(locked, "libk.so", "--target", "h100")[1].endswith("(k/libold.so)")
    assert snapshot(locked.base) == before


def test_long_lists(project: Project) -> None:
    """More than nine lines of one kind are cut short; -v shows all."""
    for number in range(12):
        project.offer(f"user{number:02}", requires=["leaf"])
    project.offer("leaf")
    project.write([f"user{number:02}" for number in range(12)])
    project.run("lock", "-q")
    found = lines(project, "leaf")
    assert found[2] == "      also: user01 1.0 requires it"
    assert found[10] == "            and 3 more"
    assert lines(project, "leaf", "-v")[2:13] == [
        f"      {'also:' if number == 1 else '     '} user{number:02} 1.0 requires it" for number in range(1, 12)
    ]


def test_no_lock(project: Project) -> None:
    """Without a lock there is nothing to say; one that is stale is told of, and answered from."""
    project.offer("leaf")
    project.write(["leaf"])
    assert project.run("why", "leaf", rc=1).err == "error: there is no gpuenv.lock\nhint: run `gpuenv lock`\n"
    project.run("lock", "-q")
    project.write(["leaf", "helper"])
    result: Any = project.run("why", "leaf")
    stale = "gpuenv.lock does not answer pyproject.toml: dependencies: `helper` was added"
    assert result.err == f"warning: {stale}\n"
    assert result.out.startswith("here: train requires leaf\n")
    assert project.run("why", "leaf", "--json").json["warnings"] == [stale]
