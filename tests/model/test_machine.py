"""What a machine lacks for a target, and which CUDA an NVIDIA driver runs."""

import pytest

from gpuenv.model.machine import Device, Machine, Wanted, compare, cuda_level_of_driver, cuda_of_driver, lacks
from gpuenv.model.target import Target


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


@pytest.mark.parametrize(
    ("driver", "level"),
    [
        ("580.65.06", "13.0"),
        ("575.51.03", "12.9"),
        ("572.83", "12.8"),
        ("535.129.03", "12.2"),
        ("525.60.13", "12.0"),
        ("470.57.02", "11.4"),
        ("999.1", "13.1"),
        ("440.33", None),
    ],
)
def test_cuda_level_of_drivers(driver: str, level: str | None) -> None:
    """A driver's branch tells its CUDA version; branches between two belong to the older, newer ones to the newest."""
    assert cuda_level_of_driver(driver) == level


H100 = Machine("linux-x86_64", glibc="2.35", gpus=("sm_90",), nvidia_driver="535.104.05")
CPU = Machine("linux-x86_64", glibc="2.28")
NAMELESS = Machine("linux-x86_64", glibc="2.35", devices=(Device("nvidia", 0, None, "Graphics Device"),))
V3 = Machine("linux-x86_64", glibc="2.35", cpu="x86-64-v3")
SAID = Machine("linux-x86_64", glibc="2.35", cuda_level="12.4")  # a variable said the level, not the driver
NEWER = Machine("linux-x86_64", glibc="2.35", nvidia_driver="535.104.05", cuda_level="13.0")  # forward compatibility


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
        (H100, Target("t", gpu=("sm_90a",)), []),
        (H100, Target("t", gpu=("sm_100f",)), ["sm_100f, this machine has sm_90"]),
        (NAMELESS, Target("t", gpu=("sm_90",)), ["sm_90, this machine has an unknown GPU"]),
        (SAID, Target("t", cuda="12.8"), []),
        (SAID, Target("t", cuda="13.0"), ["CUDA 13.0 (driver 580 or newer), this machine has a driver for CUDA 12.4"]),
        (SAID, Target("t", driver="535.54"), []),
        (SAID, Target("t", driver="580.65"), ["driver 580.65, this machine has a driver for CUDA 12.4"]),
        (NEWER, Target("t", cuda="13.0"), []),
        (V3, Target("t", cpu="x86-64-v3"), []),
        (V3, Target("t", cpu="x86-64-v2"), []),
        (V3, Target("t", cpu="x86-64-v4"), ["a CPU of x86-64-v4, this machine has x86-64-v3"]),
        (CPU, Target("t", cpu="x86-64-v4"), []),
    ],
)
def test_lacks(machine: Machine, target: Target, phrases: list[str]) -> None:
    """One phrase for each thing that is missing, none where the machine fits."""
    said = lacks(machine, target)
    assert len(said) == len(phrases)
    assert all(phrase in text for phrase, text in zip(phrases, said, strict=True))


def test_compare_says_what_is_met_too() -> None:
    """Everything that the target wants is listed with what the machine has, met or not; another platform ends it."""
    target = Target("t", glibc="2.28", gpu=("sm_100",), cuda="12.4", cpu="x86-64-v3")
    assert compare(H100, target) == (
        Wanted("platform linux-x86_64", "linux-x86_64"),
        Wanted("glibc 2.28", "2.35"),
        Wanted("GPU sm_100", "sm_90", "the target is for sm_100, this machine has sm_90"),
        Wanted("CUDA 12.4", "driver 535.104.05"),
        Wanted("CPU x86-64-v3", "unknown"),
    )
    assert [wanted.what for wanted in compare(H100, Target("t", platform="macos-arm64"))] == ["platform macos-arm64"]
