"""What a machine is, read from recorded trees, and what variables make of it."""

import os
from pathlib import Path

import pytest

from gpuenv.errors import UsageError
from gpuenv.host.fingerprint import fingerprint
from gpuenv.host.machine import detect
from gpuenv.host.nvml import Answer, Gpu
from gpuenv.host.overrides import VARIABLES
from gpuenv.model.target import PLATFORMS
from tests.host.machines import NAMES, X86, Recorded, never_nvml, never_query, put

NVRM = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
DRIVER = "proc/driver/nvidia/version"
NODES = "sys/class/kfd/kfd/topology/nodes"


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded trees are all of x86_64 machines."""
    monkeypatch.setattr(os, "uname", X86)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_machines(name: str, tmp_path: Path) -> None:
    """Every recorded machine is found as it is: devices in order, drivers, CUDA level, CPU level, ROCm."""
    recorded = Recorded.unfold(name, tmp_path)
    expected = dict(recorded.data["expected"])
    found = detect({}, tmp_path, nvml=recorded.nvml, query=recorded.query)
    assert [
        [one.vendor, one.number, one.arch or "", one.name or "", one.learnt] for one in found.devices
    ] == expected.pop("devices")
    assert list(found.gpus) == expected.pop("gpus")
    facts = ("nvidia_driver", "cuda_level", "cpu", "rocm", "amd_driver")
    assert {fact: getattr(found, fact) for fact in facts if getattr(found, fact)} == expected
    assert found.platform in PLATFORMS


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("h100", ["NVML"]),
        ("h100x8", ["NVML", "nvidia-smi index,compute_cap,driver_version,name"]),
        ("container", ["NVML"]),
        ("wsl", ["NVML"]),
        ("none", []),
        ("mi300x8", []),
    ],
)
def test_what_is_asked(name: str, asked: list[str], tmp_path: Path) -> None:
    """NVML first, nvidia-smi only where it did not answer, and neither where there is no sign of NVIDIA."""
    recorded = Recorded.unfold(name, tmp_path)
    detect({}, tmp_path, nvml=recorded.nvml, query=recorded.query)
    assert recorded.asked == asked


def test_where_facts_are_from(tmp_path: Path) -> None:
    """Each fact names the file or tool that said it."""
    recorded = Recorded.unfold("h100x8", tmp_path)
    learnt = detect({}, tmp_path, nvml=recorded.nvml, query=recorded.query).learnt
    assert learnt["nvidia_driver"] == "/proc/driver/nvidia/version"
    assert learnt["cuda"] == "the table of drivers and CUDA versions"
    assert learnt["cpu"] == "/proc/cpuinfo"
    recorded = Recorded.unfold("mi300x8", tmp_path / "other")
    learnt = detect({}, tmp_path / "other", nvml=never_nvml, query=never_query).learnt
    assert (learnt["rocm"], learnt["amd_driver"]) == ("/opt/rocm/.info/version", "/sys/module/amdgpu/version")
    assert not {"nvidia_driver", "cuda"} & learnt.keys()


def test_one_gpu_lost(tmp_path: Path) -> None:
    """NVML's numbers stay as they are where one GPU does not answer; what NVML leaves unsaid comes from elsewhere."""
    put(tmp_path, DRIVER, NVRM)
    found = detect({}, tmp_path, nvml=lambda _: Answer("", None, (Gpu(1, 9, 0, ""),)), query=never_query)
    assert [(one.number, one.arch, one.name) for one in found.devices] == [(1, "sm_90", None)]
    assert (found.nvidia_driver, found.cuda_level, found.cuda) == ("580.65.06", "13.0", 13)
    assert found.learnt["nvidia_driver"] == f"/{DRIVER}"


# variables


def machine_with(environ: dict[str, str], root: Path) -> tuple[object, ...]:
    """GPUs, driver and CUDA level of the recorded H100 under these variables."""
    recorded = Recorded.unfold("h100", root)
    found = detect(environ, root, nvml=recorded.nvml, query=recorded.query)
    return found.gpus, found.nvidia_driver, found.cuda_level


@pytest.mark.parametrize(
    ("environ", "gpus", "driver", "level"),
    [
        ({"GPUENV_OVERRIDE_GPU": "sm_100, gfx942"}, ("gfx942", "sm_100"), "580.65.06", "13.0"),
        ({"GPUENV_OVERRIDE_GPU": "none"}, (), "580.65.06", "13.0"),
        ({"GPUENV_OVERRIDE_CUDA_DRIVER": "535.54"}, ("sm_90",), "535.54", "12.2"),
        ({"GPUENV_OVERRIDE_CUDA_DRIVER": "none"}, (), None, None),
        ({"UV_CUDA_DRIVER_VERSION": "550.144.03"}, ("sm_90",), "550.144.03", "12.4"),
        ({"NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": "12.8"}, ("sm_90",), None, "12.8"),
        ({"CONDA_OVERRIDE_CUDA": "12"}, ("sm_90",), None, "12.0"),
        ({"CONDA_OVERRIDE_CUDA": ""}, (), None, None),
        ({"CONDA_OVERRIDE_CUDA": "12.4", "UV_CUDA_DRIVER_VERSION": "580.65"}, ("sm_90",), "580.65", "13.0"),
        ({"NV_VARIANT_PROVIDER_FORCE_SM_ARCH": "12.0"}, ("sm_120",), "580.65.06", "13.0"),
        ({"UV_AMD_GPU_ARCHITECTURE": "gfx1100"}, ("gfx1100", "sm_90"), "580.65.06", "13.0"),
        (
            {"AMD_VARIANT_PROVIDER_FORCE_GFX_ARCH": "gfx90a", "UV_AMD_GPU_ARCHITECTURE": "gfx1100"},
            ("gfx90a", "sm_90"),
            "580.65.06",
            "13.0",
        ),
        (
            {
                "ROCM_BOOTSTRAP_FORCE_GFX_ARCH": "gfx942:xnack-,gfx1250-strict",
                "AMD_VARIANT_PROVIDER_FORCE_GFX_ARCH": "x",
            },
            ("gfx1250", "gfx942", "sm_90"),
            "580.65.06",
            "13.0",
        ),
        ({"GPUENV_OVERRIDE_GPU": "sm_80", "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": "9.0"}, ("sm_80",), "580.65.06", "13.0"),
        ({"GPUENV_OVERRIDE_GPU": " "}, ("sm_90",), "580.65.06", "13.0"),
    ],
)
def test_overrides_win(
    environ: dict[str, str], gpus: tuple[str, ...], driver: str | None, level: str | None, tmp_path: Path
) -> None:
    """A variable replaces what is found, of its vendor alone; our own comes first, an empty one of conda means none."""
    assert machine_with(environ, tmp_path) == (gpus, driver, level)


def test_overridden_machines_ask_nothing(tmp_path: Path) -> None:
    """Where variables, or variables and the kernel, say all there is, no library is loaded and no tool is run."""
    put(tmp_path, DRIVER, NVRM)
    put(tmp_path, "dev/nvidiactl", "")
    environ = {"GPUENV_OVERRIDE_GLIBC": "2.17", "GPUENV_OVERRIDE_GPU": "sm_100"}
    found = detect(environ, tmp_path, nvml=never_nvml, query=never_query)
    assert (found.glibc, found.gpus, found.nvidia_driver) == ("2.17", ("sm_100",), "580.65.06")
    (tmp_path / DRIVER).unlink()
    environ["GPUENV_OVERRIDE_CUDA_DRIVER"] = "470.57.02"
    assert detect(environ, tmp_path, nvml=never_nvml, query=never_query).nvidia_driver == "470.57.02"


def test_drivers_of_overridden_gpus(tmp_path: Path) -> None:
    """Where the kernel does not say its driver's version NVML is asked for it, and `nvidia-smi` if NVML is silent."""
    recorded = Recorded.unfold("container", tmp_path)
    environ = {"GPUENV_OVERRIDE_GPU": "sm_90"}
    found = detect(environ, tmp_path, nvml=recorded.nvml, query=never_query)
    assert (found.gpus, found.nvidia_driver, found.cuda_level) == (("sm_90",), "550.144.03", "12.4")
    found = detect(environ, tmp_path, nvml=lambda _: Answer("550.144.03", None, ()), query=never_query)
    assert (found.gpus, found.nvidia_driver) == (("sm_90",), "550.144.03")
    found = detect(environ, tmp_path, nvml=lambda _: None, query=lambda fields, _: "0, 9.0, 535.54.03, x\n")
    assert (found.gpus, found.nvidia_driver, len(found.devices)) == (("sm_90",), "535.54.03", 1)


def test_the_winner_is_named(tmp_path: Path) -> None:
    """What a variable said is marked with its name."""
    environ = {"CONDA_OVERRIDE_CUDA": "12.4", "CONDA_OVERRIDE_GLIBC": "2.17", "ROCM_BOOTSTRAP_FORCE_GFX_ARCH": "gfx942"}
    found = detect(environ, tmp_path)
    assert (found.glibc, found.learnt["glibc"], found.learnt["cuda"]) == (
        "2.17",
        "CONDA_OVERRIDE_GLIBC",
        "CONDA_OVERRIDE_CUDA",
    )
    assert [one.learnt for one in found.devices] == ["ROCM_BOOTSTRAP_FORCE_GFX_ARCH"]
    environ["GPUENV_OVERRIDE_GLIBC"] = "2.28"
    assert detect(environ, tmp_path).learnt["glibc"] == "GPUENV_OVERRIDE_GLIBC"


@pytest.mark.parametrize(
    ("environ", "glibc", "musl"),
    [
        ({"GPUENV_OVERRIDE_MUSL": "1.2"}, None, "1.2"),
        ({"GPUENV_OVERRIDE_MUSL": "1.2", "GPUENV_OVERRIDE_GLIBC": "2.31"}, "2.31", None),
        ({"CONDA_OVERRIDE_GLIBC": ""}, None, "1.2"),
    ],
)
def test_said_c_libraries(environ: dict[str, str], glibc: str | None, musl: str | None, tmp_path: Path) -> None:
    """A machine has one C library: what is said to be there puts the other away; without glibc the loader tells."""
    put(tmp_path, "lib/ld-musl-x86_64.so.1", "\0001.2.5\0")
    found = detect(environ, tmp_path)
    assert (found.glibc, found.musl) == (glibc, musl)


def test_said_levels(tmp_path: Path) -> None:
    """CPU level and ROCm have their variables too."""
    found = detect({"GPUENV_OVERRIDE_CPU": "x86-64-v2", "GPUENV_OVERRIDE_ROCM": "7.1"}, tmp_path)
    assert (found.cpu, found.rocm, found.learnt["rocm"]) == ("x86-64-v2", "7.1", "GPUENV_OVERRIDE_ROCM")
    put(tmp_path, "opt/rocm/.info/version", "7.2.0-93\n")
    assert detect({"GPUENV_OVERRIDE_ROCM": "none"}, tmp_path).rocm is None


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GPUENV_OVERRIDE_GLIBC", "new", "no glibc version"),
        ("CONDA_OVERRIDE_GLIBC", "none", "no glibc version"),
        ("GPUENV_OVERRIDE_MUSL", "2.28", "no musl version"),
        ("GPUENV_OVERRIDE_CUDA_DRIVER", "12.8", "no NVIDIA driver version"),
        ("UV_CUDA_DRIVER_VERSION", "cu128", "no NVIDIA driver version"),
        ("NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION", "580.65", "no CUDA version"),
        ("CONDA_OVERRIDE_CUDA", "12,4", "no CUDA version"),
        ("NV_VARIANT_PROVIDER_FORCE_SM_ARCH", "sm_90", "no compute capability"),
        ("GPUENV_OVERRIDE_CPU", "x86-64-v5", "no CPU level"),
        ("GPUENV_OVERRIDE_ROCM", "new", "no ROCm version"),
        ("GPUENV_OVERRIDE_GPU", "h100", "no GPU architecture"),
        ("UV_AMD_GPU_ARCHITECTURE", "sm_90", "no AMD GPU architecture"),
        ("ROCM_BOOTSTRAP_FORCE_GFX_ARCH", "gfx942,mi300", "no AMD GPU architecture"),
        ("AMD_VARIANT_PROVIDER_FORCE_GFX_ARCH", "none", "no AMD GPU architecture"),
        ("GPUENV_OVERRIDE_GPU", ",", "no GPU architecture"),
        ("GPUENV_OVERRIDE_CUDA_DRIVER", "\u0665\u0668\u0660", "no NVIDIA driver version"),
    ],
)
def test_wrong_overrides_are_named(variable: str, value: str, words: str, tmp_path: Path) -> None:
    """A variable that says nonsense is an error that names it, its value and what it should be, with a hint."""
    with pytest.raises(UsageError, match=f"^{variable} (is|names) .*{value.split(',')[-1]}.*{words}$") as caught:
        detect({variable: value}, tmp_path)
    assert caught.value.hints
    assert variable in VARIABLES


def test_wrong_overrides_are_short(tmp_path: Path) -> None:
    """However long and odd a value is, the message is one line for a terminal."""
    for variable, value in (("GPUENV_OVERRIDE_GPU", "\x1b[2J" * 9999), ("GPUENV_OVERRIDE_GLIBC", "2.28\n1" * 9999)):
        with pytest.raises(UsageError) as caught:
            detect({variable: value}, tmp_path)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 160


def test_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS there is its version and the CPU; GPUs are what variables say."""
    monkeypatch.setattr(X86, "sysname", "Darwin")
    monkeypatch.setattr(X86, "machine", "arm64")
    found = detect({"GPUENV_OVERRIDE_GPU": "sm_90"}, tmp_path, nvml=never_nvml, query=never_query)
    assert (found.platform, found.cpu, found.glibc, found.gpus) == ("macos-arm64", "arm64", None, ("sm_90",))


def test_fingerprint(tmp_path: Path) -> None:
    """The cheap name of a machine changes with its devices, its driver and every variable; not with others."""
    seen = [fingerprint({}, tmp_path)]
    assert fingerprint({"PATH": "/bin"}, tmp_path) == seen[0]
    seen += [fingerprint({name: "1"}, tmp_path) for name in VARIABLES]
    seen.append(fingerprint({"CONDA_OVERRIDE_CUDA": ""}, tmp_path))
    for path in ("dev/nvidia0", "sys/module/nvidia/version", DRIVER, f"{NODES}/0/properties"):
        put(tmp_path, path, "580.65.06")
        seen.append(fingerprint({}, tmp_path))
    assert len(set(seen)) == len(seen)
