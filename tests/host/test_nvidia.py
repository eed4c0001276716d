"""Every text form in which NVIDIA's driver says what it is and which cards there are."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpuenv.host.nvidia import Found, look, run_smi
from tests.host.machines import never_nvml, never_query, put

VERSIONS = [
    ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023", "535.129.03"),
    ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (b@h)  Sun", "580.65.06"),
    ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (b@h)", "540.4.0"),
    ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  418.39  Sat Feb  9 19:19:37 CST 2019", "418.39"),
    ("NVRM version: NVIDIA UNIX x86_64 Kernel Module", None),
    ("something else  580.65.06  ", None),
    ("", None),
]


def seen(root: Path, *, new: str = "", old: str = "") -> Found:
    """What is found without NVML. new, old: what `nvidia-smi` prints with and without compute capabilities."""

    def query(fields: str, environ: Mapping[str, str]) -> str:
        return new if "compute_cap" in fields else old

    put(root, "dev/nvidiactl", "")
    return look({}, root, nvml=lambda _: None, query=query)


@pytest.mark.parametrize(("line", "version"), VERSIONS)
def test_kernel_module(line: str, version: str | None, tmp_path: Path) -> None:
    """The kernel module's line, of open and of proprietary modules, old and new."""
    put(tmp_path, "proc/driver/nvidia/version", f"{line}\nGCC version:  gcc version 12.3.0  (x)\n")
    found = look({}, tmp_path, devices=False, nvml=lambda _: None, query=lambda fields, environ: "")
    assert found.driver == version


def test_module_parameter(tmp_path: Path) -> None:
    """Where /proc says nothing, the module's own version does."""
    put(tmp_path, "sys/module/nvidia/version", "570.133.20\n")
    put(tmp_path, "dev/nvidiactl", "")
    found = look({}, tmp_path, devices=False, nvml=never_nvml, query=never_query)
    assert (found.driver, found.driver_by) == ("570.133.20", "/sys/module/nvidia/version")


@pytest.mark.parametrize(
    ("row", "arch", "name", "driver"),
    [
        ("0, 9.0, 580.65.06, NVIDIA H100 80GB HBM3", "sm_90", "NVIDIA H100 80GB HBM3", "580.65.06"),
        ("0, 12.0, 580.65.06, NVIDIA RTX PRO 6000 Blackwell Server Edition", "sm_120", None, "580.65.06"),
        ("0, 8.0, 550.54.15, NVIDIA A100-SXM4-40GB MIG 1g.5gb", "sm_80", None, "550.54.15"),
        ("0, [N/A], 550.54.15, NVIDIA L4", "sm_89", "NVIDIA L4", "550.54.15"),
        ("0, [N/A], [N/A], [Unknown Error]", None, "", None),
        ("0, 9.0, 580.65.06, a, b", "sm_90", "a, b", "580.65.06"),
        ("0, 9.0", "sm_90", "", None),
        ("0, 9.0, 580.65.06, evil\x1b[2Jname", "sm_90", "evil[2Jname", "580.65.06"),
    ],
)
def test_rows(row: str, arch: str | None, name: str | None, driver: str | None, tmp_path: Path) -> None:
    """A row of nvidia-smi, with parts that are missing or not available."""
    found = seen(tmp_path, new=f"{row}\n")
    (device,) = found.devices
    assert (device.arch, found.driver) == (arch, driver)
    assert name is None or device.name == (name or None)


@pytest.mark.parametrize(
    "text",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "No devices were found\n",
        'Field "compute_cap" is not a valid field to query.\n',
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "\n",
    ],
)
def test_rows_that_are_none(text: str, tmp_path: Path) -> None:
    """What the tool says instead of rows is no GPU."""
    assert seen(tmp_path, new=text) == Found()


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("Tesla V100-SXM2-16GB", "sm_70"),
        ("Tesla P100-PCIE-16GB", "sm_60"),
        ("Tesla T4", "sm_75"),
        ("Quadro T400 4GB", None),
        ("NVIDIA A10G", "sm_86"),
        ("NVIDIA A100-SXM4-80GB", "sm_80"),
        ("GRID A100-10C", "sm_80"),
        ("NVIDIA RTX A6000", "sm_86"),
        ("NVIDIA RTX 6000 Ada Generation", "sm_89"),
        ("NVIDIA L40S", "sm_89"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "sm_89"),
        ("NVIDIA GeForce RTX 3090", "sm_86"),
        ("NVIDIA GeForce GTX 1080 Ti", "sm_61"),
        ("NVIDIA GH200 480GB", "sm_90"),
        ("NVIDIA GB200", "sm_100"),
        ("NVIDIA B300 SXM6 AC", "sm_103"),
        ("NVIDIA GB10", "sm_121"),
        ("NVIDIA GeForce RTX 5090", "sm_120"),
        ("NVIDIA Graphics Device", None),
        ("Quadro RTX 6000", None),
    ],
)
def test_cards(name: str, arch: str | None, tmp_path: Path) -> None:
    """Where nothing says the compute capability, the card's name does, if one architecture alone has that name."""
    (device,) = seen(tmp_path, old=f"0, 470.57.02, {name}\n").devices
    assert (device.arch, device.name) == (arch, name)


def test_a_sign_of_nvidia_is_needed(tmp_path: Path) -> None:
    """Without device, kernel module or WSL's folder nothing is loaded or run."""
    assert look({}, tmp_path, nvml=never_nvml, query=never_query) == Found()


def test_machines_without_nvidia_do_not_load_ctypes(tmp_path: Path) -> None:
    """The library that talks to NVML is imported where there is something to talk to, and only there."""
    question = (
        "import sys; from pathlib import Path; from gpuenv.host.machine import detect; "
        f"detect({{}}, Path({str(tmp_path)!r})); print('ctypes' in sys.modules)"
    )

    def answer() -> str:
        return subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True).stdout

    assert answer() == "False\n"
    put(tmp_path, "dev/nvidiactl", "")
    assert answer() == "True\n"


def test_the_real_tool(tmp_path: Path) -> None:
    """The tool is found on PATH, gets its fields, and its failure is an empty answer."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$1|$2"\nprintf "\\377\\n"\n')
    tool.chmod(0o755)
    environ = {"PATH": str(tmp_path)}
    assert run_smi("index,name", environ).startswith("--query-gpu=index,name|--format=csv,noheader\n")
    tool.write_text("#!/bin/sh\necho nonsense\nexit 9\n")
    assert run_smi("index", environ) == ""
    assert run_smi("index", {"PATH": str(tmp_path / "empty")}) == ""
