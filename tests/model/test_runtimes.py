"""Whose runtime a soname is of, and of which major."""

import pytest

from gpuenv.model.runtimes import Maker, runtime_of, split_soname, tie, ungrafted


@pytest.mark.parametrize(
    ("soname", "maker", "majors"),
    [
        ("libcudart.so.11.0", "nvidia", (11,)),
        ("libcublas.so.12", "nvidia", (12,)),
        ("libnvrtc.so.13", "nvidia", (13,)),
        ("libcufft.so.11", "nvidia", (12,)),
        ("libcufft.so.12", "nvidia", (13,)),
        ("libcusolver.so.11", "nvidia", (11, 12)),
        ("libcusolver.so.12", "nvidia", (13,)),
        ("libcusparse.so.12", "nvidia", (12, 13)),
        ("libcurand.so.10", "nvidia", (10, 11, 12, 13)),
        ("libnppig.so.12", "nvidia", (12,)),
        ("libnccl.so.2", "nvidia", ()),
        ("libcudnn_engines_tensor_ir.so.9", "nvidia", ()),
        ("libcuda.so.1", "nvidia", ()),
        ("libcudart.so", "nvidia", ()),
        ("libnvjpeg-1a359ba7.so.13.0.1.86", "nvidia", (13,)),
        ("libcudart.3eda8113.so.13", "nvidia", (13,)),
        ("libamdhip64.so.6", "amd", (6,)),
        ("libhipblas.so.2", "amd", (6,)),
        ("libhipblas.so.3", "amd", (7, 10)),
        ("librocm_smi64.so.1", "amd", (7, 10)),
        ("libMIOpen.so.1", "amd", ()),
        ("librocm_sysdeps_numa.so.1", "amd", ()),
        ("libsycl.so.8", "intel", ()),
    ],
)
def test_known_sonames(soname: str, maker: Maker, majors: tuple[int, ...]) -> None:
    """A library of a runtime is known by its soname, also where a tool has put a hash into its name."""
    assert runtime_of(soname) == (maker, majors)


@pytest.mark.parametrize(
    "soname", ["libc.so.6", "libOpenCL.so.1", "libgomp.so.1", "libtorch_cuda.so", "libcudf.so", "libnvinfer.so.10", ""]
)
def test_others_are_nobodys(soname: str) -> None:
    """Other libraries are of no runtime, also those that need one."""
    assert runtime_of(soname) is None


def test_majors_in_common() -> None:
    """The majors of a binary are those that all its libraries have in common; a contradiction tells nothing."""
    assert tie(["libcurand.so.10", "libcusolver.so.11", "libcusparse.so.12"]).majors("nvidia") == (12,)
    assert tie(["libcudart.so.12", "libcudart.so.13"]).majors("nvidia") == ()
    assert tie(["libnccl.so.2"]).majors("nvidia") == ()
    assert tie(["libc.so.6"]).makers == ()
    both = tie(["libcurand.so.10", "libcudart.so.12", "libamdhip64.so.7"])
    assert both.makers == ("amd", "nvidia")
    assert both.witness("nvidia") == "libcudart.so.12"


def test_split() -> None:
    """A soname is a name and a version, which may be missing or long."""
    assert split_soname("libav.so.61.1") == ("libav", "61.1")
    assert split_soname("libx.so") == ("libx", "")
    assert split_soname("no library") == ("no library", "")
    assert split_soname("lib" + "a" * 300 + ".so.1")[1] == ""


def test_hashes_of_grafted_copies() -> None:
    """Both ways in which tools put a hash into a name are taken off again; what only looks alike stays."""
    assert ungrafted("libgomp-24e2ab19.so.1.0.0") == ("libgomp", "1.0.0", True)
    assert ungrafted("libcudart.faf08d9a.so.13") == ("libcudart", "13", True)
    assert ungrafted("libgomp.so.1") == ("libgomp", "1", False)
    assert ungrafted("libnvrtc-builtins.so.13.0") == ("libnvrtc-builtins", "13.0", False)
