"""What a machine is, read from a tree that a test made, and what it lacks for a target."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gpuenv.errors import UsageError
from gpuenv.host.machine import detect
from gpuenv.model.machine import Machine, cuda_of_driver, lacks
from gpuenv.model.target import PLATFORMS, Target

NVRM = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1)\n"
)


def never(environ: Mapping[str, str]) -> str:
    raise AssertionError("nothing may be run here")


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_without_gpu_runs_nothing(tmp_path: Path) -> None:
    """No kernel module, no device: no GPU, no driver, and no program is started."""
    found = detect({}, tmp_path, query=never)
    assert (found.gpus, found.nvidia_driver) == ((), None)
    assert found.platform in PLATFORMS


def test_nvidia(tmp_path: Path) -> None:
    """The driver's version comes from the kernel, architectures from the tool, each once."""
    put(tmp_path, "proc/driver/nvidia/version", NVRM)
    found = detect({}, tmp_path, query=lambda environ: "9.0, 580.65.06\n12.0, 580.65.06\n9.0, 580.65.06\n[N/A], x\n")
    assert found.nvidia_driver == "580.65.06"
    assert found.gpus == ("sm_120", "sm_90")
    assert found.cuda == 13


def test_nvidia_without_proc(tmp_path: Path) -> None:
    """In containers only the device may be there: the tool says the driver's version too."""
    put(tmp_path, "dev/nvidiactl", "")
    found = detect({}, tmp_path, query=lambda environ: "8.6, 535.104.05\n")
    assert (found.nvidia_driver, found.gpus) == ("535.104.05", ("sm_86",))


@pytest.mark.parametrize(
    ("number", "name"),
    [(90010, "gfx90a"), (90402, "gfx942"), (110000, "gfx1100"), (120001, "gfx1201"), (90006, "gfx906")],
)
def test_amd(number: int, name: str, tmp_path: Path) -> None:
    """KFD's numbers become LLVM's names; CPU nodes do not count."""
    nodes = "sys/class/kfd/kfd/topology/nodes"
    put(tmp_path, f"{nodes}/0/properties", "cpu_cores_count 64\ngfx_target_version 0\n")
    put(tmp_path, f"{nodes}/1/properties", f"simd_count 440\ngfx_target_version {number}\n")
    assert detect({}, tmp_path, query=never).gpus == (name,)


def test_overrides_win(tmp_path: Path) -> None:
    """The three variables replace what is found, and the tool is not asked for what they say."""
    put(tmp_path, "proc/driver/nvidia/version", NVRM)
    environ = {
        "GPUENV_OVERRIDE_GLIBC": "2.17",
        "GPUENV_OVERRIDE_GPU": "sm_100, gfx942",
        "GPUENV_OVERRIDE_CUDA_DRIVER": "470.57.02",
    }
    found = detect(environ, tmp_path, query=never)
    assert (found.glibc, found.gpus, found.nvidia_driver) == ("2.17", ("gfx942", "sm_100"), "470.57.02")
    assert detect({"GPUENV_OVERRIDE_GPU": "none"}, tmp_path, query=never).gpus == ()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GPUENV_OVERRIDE_GLIBC", "new"), ("GPUENV_OVERRIDE_CUDA_DRIVER", "12,8"), ("GPUENV_OVERRIDE_GPU", "h100")],
)
def test_wrong_overrides_are_named(variable: str, value: str, tmp_path: Path) -> None:
    """A variable that says nonsense is an error that names it."""
    with pytest.raises(UsageError, match=f"{variable}.*{value}"):
        detect({variable: value}, tmp_path, query=never)


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("580.65.06", 13),
        ("580", 13),
        ("579.99", 12),
        ("525.60.13", 12),
        ("525.60.12", 11),
        ("450.80.02", 11),
        ("440.1", None),
    ],
)
def test_cuda_of_drivers(driver: str, cuda: int | None) -> None:
    """Each CUDA major version has its least driver."""
    assert cuda_of_driver(driver) == cuda


H100 = Machine("linux-x86_64", glibc="2.35", gpus=("sm_90",), nvidia_driver="535.104.05")
CPU = Machine("linux-x86_64", glibc="2.28")


@pytest.mark.parametrize(
    ("machine", "target", "phrases"),
    [
        (H100, Target("t"), []),
        (H100, Target("t", gpu=("sm_90", "sm_100"), cuda="12.4"), []),
        (H100, Target("t", platform="linux-aarch64"), ["linux-aarch64"]),
        (H100, Target("t", glibc="2.39"), ["glibc 2.39, this machine has 2.35"]),
        (H100, Target("t", glibc="2.4"), []),
        (H100, Target("t", glibc=None, musl="1.2"), ["musl 1.2, this machine has none"]),
        (H100, Target("t", gpu=("sm_100",)), ["sm_100, this machine has sm_90"]),
        (H100, Target("t", cuda="13.0"), ["CUDA 13.0 (driver 580 or newer), this machine has driver 535.104.05"]),
        (H100, Target("t", driver="550.54"), ["NVIDIA driver 550.54"]),
        (CPU, Target("t", gpu=("gfx942",)), ["gfx942, this machine has no GPU"]),
        (CPU, Target("t", gpu=("sm_90",), cuda="12.4"), ["no GPU", "this machine has none"]),
        (CPU, Target("t", gpu=("sm_90",), cuda="12.4", cpu_fallback=True), []),
    ],
)
def test_lacks(machine: Machine, target: Target, phrases: list[str]) -> None:
    """One phrase for each thing that is missing, none where the machine fits."""
    said = lacks(machine, target)
    assert len(said) == len(phrases)
    assert all(phrase in text for phrase, text in zip(phrases, said, strict=True))
