"""NVIDIA's GPUs and their driver: asked of NVML, then of what the kernel module shows, then of `nvidia-smi`.

Nothing is loaded or run unless a device, the kernel module's folder or WSL's driver folder is there, so that other
machines pay for three looks at the file system.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.host.files import names, text
from gpuenv.model.machine import Device

if TYPE_CHECKING:
    from gpuenv.host.nvml import Answer

__all__ = ["MODULE", "PRESENT", "PROC", "Found", "Nvml", "Query", "look", "present", "run_smi"]

MODULE = "sys/module/nvidia/version"
PROC = "proc/driver/nvidia"
PRESENT = ("dev/nvidiactl", PROC, "usr/lib/wsl/lib")

_VERSION = re.compile(r"\d{2,4}(\.\d{1,3}){1,2}\Z")
_SMI_PATIENCE = 20
_SMI_WSL = "/usr/lib/wsl/lib/nvidia-smi"

Query = Callable[[str, Mapping[str, str]], str]
Nvml = Callable[[Path], "Answer | None"]

# What drivers call their cards, where nothing tells the compute capability. Names that two generations share are left
# out: a wrong architecture is worse than none.
_CARDS = tuple(
    (re.compile(rf"\b(?:{cards})\b"), arch)
    for cards, arch in (
        ("GB10", "sm_121"),
        ("GB300|B300", "sm_103"),
        ("GB200|B200|B100", "sm_100"),
        (r"RTX PRO \d000 Blackwell.*|RTX 50[5-9]0(?: Ti)?", "sm_120"),
        ("GH200|H200|H100|H800|H20", "sm_90"),
        (r"L40S?|L4|L20|RTX \d000 Ada.*|RTX 40[5-9]0(?: Ti)?", "sm_89"),
        ("A10G?|A16|A2|A40|RTX A[2-6]000|RTX 30[5-9]0(?: Ti)?", "sm_86"),
        ("A100|A800|A30", "sm_80"),
        ("T4|RTX 20[678]0(?: Ti| SUPER)?", "sm_75"),
        ("V100S?", "sm_70"),
        ("P40|P4|GTX 10[5-8]0(?: Ti)?", "sm_61"),
        ("P100", "sm_60"),
    )
)


class Found(NamedTuple):
    """What there is. cuda: the CUDA version that the driver runs, `13.0`. The `_by` say where it was learnt."""

    devices: tuple[Device, ...] = ()
    driver: str | None = None
    driver_by: str | None = None
    cuda: str | None = None
    cuda_by: str | None = None


def present(root: Path) -> bool:
    """Is there any sign of an NVIDIA driver?"""
    return any((root / path).exists() for path in PRESENT)


def look(
    environ: Mapping[str, str],
    root: Path,
    *,
    devices: bool = True,
    nvml: Nvml | None = None,
    query: Query | None = None,
) -> Found:
    """Driver and GPUs. devices: if not wanted, tools are asked only where the kernel does not say its driver's version.

    nvml, query: what asks NVML, and what runs `nvidia-smi`: a list of fields to rows of CSV, empty if it fails.
    """
    if not present(root):
        return Found()
    found = _kernel(root)
    if found.driver and not devices:
        return found
    answer = (nvml or _ask)(root)
    if answer is not None:
        found = _heard(answer, found)
    if (devices and not found.devices) or found.driver is None:
        found = _smi(query or run_smi, environ, found)
    return found if found.devices else found._replace(devices=_listed(root))


def run_smi(fields: str, environ: Mapping[str, str]) -> str:
    """`nvidia-smi`'s rows of CSV; empty where the tool is missing, fails or takes too long."""
    import subprocess

    for program in ("nvidia-smi", _SMI_WSL):
        try:
            return subprocess.run(
                [program, f"--query-gpu={fields}", "--format=csv,noheader"],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SMI_PATIENCE,
                check=True,
            ).stdout
        except FileNotFoundError:
            continue
        except (OSError, subprocess.SubprocessError):
            break
    return ""


def _kernel(root: Path) -> Found:
    """The driver's version as its kernel module says it."""
    line = re.search(r"^NVRM version:.*$", text(root / PROC / "version"), re.MULTILINE)
    if line and (version := re.search(r"\s{2}(\d{2,4}(?:\.\d{1,3}){1,2})\b", line[0])):
        return Found(driver=version[1], driver_by=f"/{PROC}/version")
    plain = text(root / MODULE).strip()
    return Found(driver=plain, driver_by=f"/{MODULE}") if _VERSION.match(plain) else Found()


def _ask(root: Path) -> "Answer | None":
    from gpuenv.host.nvml import ask  # ctypes is only for machines with a driver to ask

    return ask(root)


def _heard(answer: "Answer", found: Found) -> Found:
    devices = tuple(
        Device("nvidia", gpu.number, f"sm_{gpu.major}{gpu.minor}", _clean(gpu.name), "NVML") for gpu in answer.gpus
    )
    found = found._replace(devices=devices)
    if _VERSION.match(answer.driver):
        found = found._replace(driver=answer.driver, driver_by="NVML")
    if answer.cuda is not None:
        found = found._replace(cuda="{}.{}".format(*answer.cuda), cuda_by="NVML")
    return found


def _smi(query: Query, environ: Mapping[str, str], found: Found) -> Found:
    """What `nvidia-smi` adds: `0, 9.0, 580.65.06, NVIDIA H100 80GB HBM3` for each GPU.

    Before driver 510 it does not know the field `compute_cap`, and fails; then cards are known by their names.
    """
    devices, driver = [], None
    rows = query("index,compute_cap,driver_version,name", environ)
    if not rows.strip():
        rows = "\n".join(
            line.replace(",", ", ,", 1) for line in query("index,driver_version,name", environ).splitlines()
        )
    for line in rows.splitlines():
        index, capability, version, name = [*(part.strip() for part in line.split(",", 3)), "", "", ""][:4]
        if not index.isdecimal():
            continue
        arch = f"sm_{capability.replace('.', '')}" if re.match(r"\d{1,2}\.\d\Z", capability) else _by_name(name)
        devices.append(Device("nvidia", int(index), arch, _clean(name), "nvidia-smi"))
        driver = driver or (version if _VERSION.match(version) else None)
    if found.driver is None and driver is not None:
        found = found._replace(driver=driver, driver_by="nvidia-smi")
    return found if found.devices else found._replace(devices=tuple(devices))


def _listed(root: Path) -> tuple[Device, ...]:
    """The GPUs that the kernel module lists by name, in the order of the bus; its architecture where the name tells."""
    found: list[Device] = []
    for place in names(root / PROC / "gpus"):
        path = f"{PROC}/gpus/{place}/information"
        lines = dict(re.findall(r"^([^:\n]+):[ \t]*(.*?)\s*$", text(root / path), re.MULTILINE))
        if "Model" in lines and lines.get("GPU Excluded") != "Yes":
            name = lines["Model"]
            found.append(Device("nvidia", len(found), _by_name(name), _clean(name), f"/{path}"))
    return tuple(found)


def _by_name(name: str) -> str | None:
    return next((arch for cards, arch in _CARDS if cards.search(name)), None)


def _clean(name: str) -> str | None:
    """A name for a terminal; None for what the tools say instead of one: `[N/A]`, `Unknown`."""
    shown = "".join(char for char in name if char.isprintable())[:80].strip()
    return None if not shown or shown.startswith("[") or shown == "Unknown" else shown
