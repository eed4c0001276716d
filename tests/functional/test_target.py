"""`gpuenv target`: targets of the project and this machine, as people and scripts ask for them."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuenv.host.machine import detect
from gpuenv.model.machine import Machine
from gpuenv.report.target import machine_document, machine_page, unknown_gpus
from tests.host.machines import X86, Recorded
from tests.support.project import HERE, PLATFORM, PYTHON, Project, target

GPU = target("h100", 'gpu = ["sm_90"]', 'cuda = "13.0"', 'dependencies = ["alpha>=1"]')
NONE = {"GPUENV_OVERRIDE_GPU": "none"}
H100 = {"GPUENV_OVERRIDE_GPU": "sm_90", "GPUENV_OVERRIDE_CUDA_DRIVER": "580.65.06"}
LACKS = [
    "the target is for sm_90, this machine has no GPU",
    "the target needs an NVIDIA driver for CUDA 13.0, this machine has none",
]


@pytest.fixture
def two(project: Project) -> Project:
    """A project with a GPU target, then one for this machine."""
    project.write([], targets=GPU + HERE)
    return project


def test_list(two: Project) -> None:
    """One line for each target on stdout: its name, whether this machine fits, what it is; `list` may be left out."""
    result = two.run("target", "list", env=NONE)
    assert result.err == ""
    assert result.out == (
        f"h100  does not fit         {PLATFORM}, glibc 2.17, Python {PYTHON}, sm_90, CUDA 13.0\n"
        f"here  fits, sync takes it  {PLATFORM}, glibc 2.17, Python {PYTHON}, no GPU\n"
    )
    assert two.run("target", env=NONE).out == result.out
    lines = two.run("target", env=H100).out.splitlines()
    assert ["sync takes it" in line for line in lines] == [True, False]
    assert two.run("target", "-q", env=NONE).out == ""


def test_list_document(two: Project) -> None:
    """--json has every field of every target, and the phrases."""
    gpu, here = two.run("target", "list", "--json", env=NONE).json["targets"]
    assert (gpu["fits"], gpu["lacks"], gpu["taken"]) == (False, LACKS, False)
    assert (here["fits"], here["lacks"], here["taken"]) == (True, [], True)
    assert gpu == {
        "name": "h100",
        "platform": PLATFORM,
        "python": PYTHON,
        "glibc": "2.17",
        "musl": None,
        "macos": None,
        "gpu": ["sm_90"],
        "cuda": "13.0",
        "driver": None,
        "rocm": None,
        "cpu": None,
        "cpu_fallback": False,
        "gpu_code": "allow",
        "ptx": True,
        "host_libraries": [],
        "properties": [],
        "dependencies": ["alpha>=1"],
        "fits": False,
        "lacks": LACKS,
        "taken": False,
    }


def test_list_agrees_with_sync(project: Project) -> None:
    """The target that the list marks is the one that sync makes; a Python that is not here counts too."""
    other = "3.9" if PYTHON != "3.9" else "3.10"
    project.write([], targets=target("gpu", 'gpu = ["sm_90"]') + target("old", python=other) + target("z") + HERE)
    targets = project.run("target", "--json", env=NONE).json["targets"]
    assert [one["name"] for one in targets if one["taken"]] == ["z"]
    assert targets[1]["lacks"] == [f"no interpreter for Python {other}"]
    assert "target z" in project.run("sync", env=NONE).err


def test_show(two: Project) -> None:
    """One target in full with what this machine lacks; without a name, the one that sync takes."""
    lines = two.run("target", "show", "h100", env=NONE).out.splitlines()
    assert [line for line in lines if "::" not in line] == [
        "target        h100",
        f"platform      {PLATFORM}",
        "glibc         2.17",
        f"python        {PYTHON}",
        "gpu           sm_90",
        "cuda          13.0",
        "requires      alpha>=1",
        f"this machine  {LACKS[0]}",
        f"              {LACKS[1]}",
    ]
    assert (
        "supports      nvidia :: cuda_version_lower_bound :: 13.0, 13, 12.20, 12.19, 12.18, 12.17, 12.16, … 11 (46)"
        in lines
    )
    assert "              nvidia :: sm_arch :: 90_real, 90_virtual" in lines
    shown = two.run("target", "show", env=NONE).out
    assert shown.startswith("target        here\n")
    assert shown.endswith("this machine  fits\n")
    assert two.run("target", "show", "--json", env=H100).json["name"] == "h100"


def test_show_where_nothing_fits(project: Project) -> None:
    """Without a name, and with none that fits, the first is shown; the documented default of a plain project too."""
    project.write([], targets=GPU)
    assert project.run("target", "show", "--json", env=NONE).json["name"] == "h100"
    project.write([], targets="")
    assert project.run("target", "show", "--json", env=NONE).json["name"] == "default"


def test_check(two: Project) -> None:
    """--check: exit 1 where the machine does not fit, with the reasons, with -q too, as a document with --json."""
    words = f"error: this machine does not fit target h100\n  cause: {LACKS[0]}\n         {LACKS[1]}\n"
    result = two.run("target", "show", "h100", "--check", "-q", rc=1, env=NONE)
    assert (result.out, result.err) == ("", words)
    assert two.run("target", "show", "h100", "--check", "--json", rc=1, env=NONE).json["lacks"] == LACKS
    two.run("target", "show", "h100", "--check", env=H100)
    assert two.run("target", "list", "--check", "-q", env=NONE).err == ""
    two.write([], targets=GPU + target("new", 'glibc = "2.99"'))
    error = two.run("target", "list", "--check", rc=1, env=NONE).err
    assert error.startswith(f"error: this machine fits none of the project's targets\n  cause: h100: {LACKS[0]}; ")
    assert two.run("target", "list", "--check", "--json", rc=1, env=NONE).json["targets"]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["show", "h10"], "`h10` is not a target of this project", "did you mean `h100`?"),
        (["h100"], "`h100` is not `list`, `show` or `detect`", "gpuenv target show h100"),
        (["list", "h100"], "`list` takes no name", "gpuenv target show h100"),
        (["detect", "My"], "`My` is not a target name", "a name has lower-case letters, digits, `.`, `_` and `-`"),
    ],
)
def test_wrong_usage(arguments: list[str], error: str, hint: str, two: Project) -> None:
    """What cannot be is a usage error with a hint."""
    assert two.run("target", *arguments, rc=2, env=NONE).err == f"error: {error}\nhint: {hint}\n"


def test_detect_takes_no_check(two: Project) -> None:
    """--check is about targets."""
    assert "`--check` goes with" in two.run("target", "detect", "--check", rc=2).err


def test_a_project_is_needed(project: Project) -> None:
    """list and show are about a project; detect is not."""
    assert "no pyproject.toml" in project.run("target", "list", rc=2).err
    project.run("target", "detect")


def test_detect(project: Project) -> None:
    """What the machine is, where each fact is from, and a table that a manifest takes and this machine fits."""
    env = {
        "GPUENV_OVERRIDE_GLIBC": "2.31",
        "GPUENV_OVERRIDE_CPU": "x86-64-v4",
        "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": "9.0",
        "UV_CUDA_DRIVER_VERSION": "570.26",
        "GPUENV_OVERRIDE_ROCM": "7.2",
    }
    result = project.run("target", "detect", "lab", env=env)
    assert result.err == ""
    table = (
        f'[tool.gpuenv.targets.lab]\nplatform = "{PLATFORM}"\npython = "{PYTHON}"\nglibc = "2.28"\n'
        'gpu = ["sm_90"]\ncuda = "12.8"\n'
    )
    assert result.out == (
        f"platform       {PLATFORM} (uname)\n"
        "libc           glibc 2.31 (GPUENV_OVERRIDE_GLIBC)\n"
        "CPU            x86-64-v4 (GPUENV_OVERRIDE_CPU)\n"
        "NVIDIA GPU 0   sm_90 (NV_VARIANT_PROVIDER_FORCE_SM_ARCH)\n"
        "NVIDIA driver  570.26 (UV_CUDA_DRIVER_VERSION)\n"
        "CUDA           12.8 (the table of drivers and CUDA versions)\n"
        "ROCm           7.2 (GPUENV_OVERRIDE_ROCM)\n"
        "\n" + table
    )
    project.write([], targets=table)
    project.run("target", "show", "lab", "--check", env=env)
    assert "target lab" in project.run("sync", env=env).err


def test_detect_document(project: Project) -> None:
    """--json has every GPU, and one table for each vendor: a target has GPUs of one."""
    env = {"GPUENV_OVERRIDE_GPU": "sm_75,gfx942,gfx942,sm_80,gfx942", "CONDA_OVERRIDE_CUDA": "12.4"}
    found = project.run("target", "detect", "--json", env=env).json
    assert [(gpu["vendor"], gpu["index"], gpu["arch"]) for gpu in found["gpus"]] == [
        ("nvidia", 0, "sm_75"),
        ("nvidia", 1, "sm_80"),
        ("amd", 0, "gfx942"),
        ("amd", 1, "gfx942"),
        ("amd", 2, "gfx942"),
    ]
    assert (found["nvidia_driver"], found["cuda"], found["learnt"]["cuda"]) == (None, "12.4", "CONDA_OVERRIDE_CUDA")
    assert [one["name"] for one in found["targets"]] == ["gfx942", "sm_75-sm_80"]
    written = tomllib.loads("".join(one["toml"] for one in found["targets"]))["tool"]["gpuenv"]["targets"]
    assert (written["sm_75-sm_80"]["gpu"], written["sm_75-sm_80"]["cuda"]) == (["sm_75", "sm_80"], "12.4")
    assert "cuda" not in written["gfx942"]
    assert "every architecture" in found["targets"][1]["toml"]


def test_detect_without_gpu(project: Project) -> None:
    """No GPU: said so with its reason, and a target for the CPU."""
    out = project.run("target", "detect", env={**NONE, "GPUENV_OVERRIDE_GLIBC": "2.17"}).out
    assert "\nGPU           none (GPUENV_OVERRIDE_GPU)\n" in out
    assert out.endswith(f'[tool.gpuenv.targets.cpu]\nplatform = "{PLATFORM}"\npython = "{PYTHON}"\nglibc = "2.17"\n')


def test_wrong_variables(project: Project) -> None:
    """A variable of another tool that says nonsense is a usage error that names it, in a document too."""
    error = project.run("target", "detect", "--json", rc=2, env={"UV_AMD_GPU_ARCHITECTURE": "gfx9r2"}).json["error"]
    assert (error["kind"], error["message"]) == (
        "usage",
        "UV_AMD_GPU_ARCHITECTURE names `gfx9r2`, which is no AMD GPU architecture",
    )
    assert error["hints"]


def test_init_writes_what_detect_shows(project: Project) -> None:
    """init's target has all architectures of one vendor, the one with more GPUs, and this machine fits it."""
    env = {"GPUENV_OVERRIDE_GPU": "gfx942,sm_80,sm_75", "GPUENV_OVERRIDE_CUDA_DRIVER": "550.54.15"}
    project.run("init", env=env)
    (written,) = tomllib.loads(project.manifest.read_text())["tool"]["gpuenv"]["targets"].values()
    assert (written["gpu"], written["cuda"]) == (["sm_75", "sm_80"], "12.4")
    assert project.run("target", "show", "--json", env=env).json["fits"]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    """Machines of fixtures/machines, by name, as detection finds them."""
    monkeypatch.setattr(os, "uname", X86)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.35")

    def found(name: str) -> Machine:
        one = Recorded.unfold(name, tmp_path / name)
        return detect({}, one.root, nvml=one.nvml, query=one.query)

    return found


def test_page_of_a_gpu_machine(recorded: Callable[[str], Machine]) -> None:
    """Each GPU on a line with its name, drivers and ROCm, and where each is from; what is not there has no line."""
    assert machine_page(recorded("container")).splitlines() == [
        "platform       linux-x86_64 (uname)",
        "libc           glibc 2.35 (the C library)",
        "CPU            x86-64-v4 (/proc/cpuinfo)",
        "NVIDIA GPU 0   sm_89, NVIDIA L40S (NVML)",
        "NVIDIA GPU 1   sm_89, NVIDIA L40S (NVML)",
        "NVIDIA driver  550.144.03 (NVML)",
        "CUDA           12.4 (NVML)",
    ]
    lines = machine_page(recorded("mi300x8")).splitlines()
    assert lines[3] == "AMD GPU 0     gfx942, AMD Instinct MI300X OAM (/sys/class/kfd/kfd/topology/nodes/2)"
    assert lines[-2:] == [
        "AMD driver    6.12.12 (/sys/module/amdgpu/version)",
        "ROCm          7.2.0 (/opt/rocm/.info/version)",
    ]
    assert len(lines) == 13


def test_an_unknown_gpu_is_warned_of(recorded: Callable[[str], Machine]) -> None:
    """A GPU whose architecture nothing tells is shown as such, with a warning that says what to do."""
    machine = recorded("module-only")
    assert "NVIDIA GPU 1   unknown architecture, NVIDIA Graphics Device (" in machine_page(machine)
    warning = "NVIDIA GPU 1 (NVIDIA Graphics Device): its architecture is unknown; say it with `GPUENV_OVERRIDE_GPU`"
    assert unknown_gpus(machine) == (warning,)
    assert machine_document(machine, {})["warnings"] == [warning]
    assert unknown_gpus(recorded("h100")) == ()
