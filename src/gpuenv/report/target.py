"""Targets and machines in words and as documents."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gpuenv.model.machine import Device, Machine
from gpuenv.model.target import Target

if TYPE_CHECKING:
    from gpuenv.model.properties import Told
    from gpuenv.model.variants import Supported

__all__ = [
    "machine_document",
    "machine_page",
    "supports_document",
    "target_document",
    "target_line",
    "target_page",
    "targets_page",
    "told_page",
    "unknown_gpus",
]

_LABEL = 14
_SHOWN = 8  # values of a feature, or features with the same values, that a line names
_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD"}


def targets_page(rows: Iterable[tuple[Target, Sequence[str], bool]]) -> str:
    """One line for each target: its name, whether this machine fits, what it is.

    rows: the target, what the machine lacks for it, and whether `sync` takes it.
    """
    cells = [
        (target.name, "does not fit" if lacks else "fits, sync takes it" if taken else "fits", target_line(target))
        for target, lacks, taken in rows
    ]
    names, verdicts = (max((len(cell[column]) for cell in cells), default=0) for column in (0, 1))
    return "\n".join(f"{name:{names}}  {verdict:{verdicts}}  {what}" for name, verdict, what in cells)


def target_line(target: Target) -> str:
    """`linux-x86_64, glibc 2.28, Python 3.12, sm_90 sm_100, CUDA 13.0`."""
    labels = {"glibc": "glibc ", "musl": "musl ", "macos": "macOS ", "python": "Python ", "cuda": "CUDA "}
    labels |= {"driver": "driver ", "rocm": "ROCm ", "cpu": "CPU ", "cpu-fallback": "CPU fallback "}
    labels |= {"gpu-code": "GPU code ", "ptx": "PTX ", "host-libraries": "host libraries "}
    labels |= {"properties": "properties "}
    return ", ".join(f"{labels.get(key, '')}{value}" for key, value in _target_rows(target))


def target_page(
    target: Target, dependencies: Sequence[str], lacks: Sequence[str], supports: "Sequence[Supported]" = ()
) -> str:
    """All of one target by the keys of the manifest, and what this machine lacks for it.

    supports: properties of wheel variants, as `supported_properties` has them.
    """
    rows = [("target", target.name), *_target_rows(target)]
    rows += [("" if number else "requires", text) for number, text in enumerate(dependencies)]
    rows += [("" if number else "supports", text) for number, text in enumerate(_supports(target, supports))]
    rows += [("" if number else "this machine", text) for number, text in enumerate(lacks or ["fits"])]
    return _table(rows)


def target_document(
    target: Target, dependencies: Sequence[str], lacks: Sequence[str], taken: bool
) -> dict[str, object]:
    """One target in `target list --json` and `target show --json`."""
    fallback = target.cpu_fallback
    return {
        "name": target.name,
        "platform": target.platform,
        "python": target.python,
        "glibc": target.glibc,
        "musl": target.musl,
        "macos": target.macos,
        "gpu": list(target.gpu),
        "cuda": target.cuda,
        "driver": target.driver,
        "rocm": target.rocm,
        "cpu": target.cpu,
        "cpu_fallback": list(fallback) if isinstance(fallback, tuple) else fallback,
        "gpu_code": target.gpu_code,
        "ptx": target.ptx,
        "host_libraries": list(target.host_libraries),
        "properties": list(target.properties),
        "dependencies": list(dependencies),
        "fits": not lacks,
        "lacks": list(lacks),
        "taken": taken,
    }


def supports_document(target: Target, supports: "Sequence[Supported]") -> list[dict[str, object]]:
    """`supports` of `target show --json`: a record for each GPU of the target, one for a target without any."""
    properties = [{namespace: dict(features) for namespace, features in machine} for machine in supports]
    gpus = target.gpu or (None,)
    return [{"gpu": gpu, "properties": found} for gpu, found in zip(gpus, properties, strict=True)]


def machine_page(machine: Machine) -> str:
    """What a machine is, each fact with where it was learnt."""
    learnt = machine.learnt
    rows = [("platform", _said(machine.platform, learnt, "platform"))]
    rows += [("libc", _said(f"{libc} {version}", learnt, libc)) for libc, version in _libcs(machine)]
    rows += [("CPU", _said(machine.cpu or "unknown", learnt, "cpu"))]
    rows += [(f"{_VENDORS[device.vendor]} GPU {device.number}", _device(device)) for device in machine.devices]
    rows += [] if machine.devices else [("GPU", _said("none", learnt, "gpus"))]
    if machine.nvidia_driver:
        rows.append(("NVIDIA driver", _said(machine.nvidia_driver, learnt, "nvidia_driver")))
    elif machine.cuda_level or "nvidia_driver" in learnt:
        rows.append(("NVIDIA driver", _said("unknown" if machine.cuda_level else "none", learnt, "nvidia_driver")))
    if machine.cuda_level:
        rows.append(("CUDA", _said(machine.cuda_level, learnt, "cuda")))
    if machine.amd_driver:
        rows.append(("AMD driver", _said(machine.amd_driver, learnt, "amd_driver")))
    if machine.rocm or "rocm" in learnt:
        rows.append(("ROCm", _said(machine.rocm or "none", learnt, "rocm")))
    return _table(rows)


def unknown_gpus(machine: Machine) -> tuple[str, ...]:
    """A warning for each GPU whose architecture nothing told."""
    return tuple(
        f"{_VENDORS[one.vendor]} GPU {one.number} ({one.name or 'without a name'}): its architecture is unknown; "
        "say it with `GPUENV_OVERRIDE_GPU`"
        for one in machine.devices
        if one.arch is None
    )


def told_page(told: "Sequence[Told]") -> str:
    """What each variant provider said of this machine."""
    rows = []
    for one in told:
        said = _grouped(one.properties) or ["nothing that this machine supports"]
        rows += [("" if number else f"{one.package} says", text) for number, text in enumerate(said)]
    return _table(rows)


def _told_document(told: "Sequence[Told]") -> list[dict[str, object]]:
    """`plugins` of `target detect --json`."""
    return [{"package": one.package, "namespace": one.namespace, "properties": list(one.properties)} for one in told]


def machine_document(machine: Machine, tables: Mapping[str, str], told: "Sequence[Told]" = ()) -> dict[str, object]:
    """The document of `target detect --json`. tables: name of a target that describes the machine -> its TOML."""
    return {
        "platform": machine.platform,
        "glibc": machine.glibc,
        "musl": machine.musl,
        "macos": machine.macos,
        "cpu": machine.cpu,
        "gpus": [
            {"vendor": one.vendor, "index": one.number, "arch": one.arch, "name": one.name, "learnt": one.learnt}
            for one in machine.devices
        ],
        "nvidia_driver": machine.nvidia_driver,
        "cuda": machine.cuda_level,
        "amd_driver": machine.amd_driver,
        "rocm": machine.rocm,
        "learnt": dict(machine.learnt),
        "plugins": _told_document(told),
        "targets": [{"name": name, "toml": toml} for name, toml in tables.items()],
        "warnings": list(unknown_gpus(machine)),
    }


def _target_rows(target: Target) -> list[tuple[str, str]]:
    """What a target says, by the keys of the manifest and in their order."""
    fallback = target.cpu_fallback
    whom = f" for {' '.join(fallback)}" if isinstance(fallback, tuple) else ""
    rows = [
        ("platform", target.platform),
        ("glibc", target.glibc),
        ("musl", target.musl),
        ("macos", target.macos),
        ("python", target.python),
        ("gpu", " ".join(target.gpu) or "no GPU"),
        ("cuda", target.cuda),
        ("driver", target.driver),
        ("rocm", target.rocm),
        ("cpu", target.cpu),
        ("cpu-fallback", f"allowed{whom}" if fallback else None),
        ("gpu-code", "forbidden" if target.gpu_code == "forbid" else None),
        ("ptx", None if target.ptx else "not used"),
        ("host-libraries", " ".join(target.host_libraries)),
        ("properties", ", ".join(target.properties)),
    ]
    return [(key, value) for key, value in rows if value]


def _supports(target: Target, supports: "Sequence[Supported]") -> list[str]:
    """A line for each feature, or for features with the same values; with the GPU where not all support the same."""
    lines: dict[str, list[str]] = {}
    for gpu, machine in zip(target.gpu or ("",), supports, strict=False):
        features = [(f"{namespace} :: {name}", values) for namespace, found in machine for name, values in found]
        for line in _grouped(f"{feature} :: {value}" for feature, values in features for value in values):
            lines.setdefault(line, []).append(gpu)
    return [line if len(gpus) == len(supports) else f"{line} ({', '.join(gpus)})" for line, gpus in lines.items()]


def _grouped(properties: Iterable[str]) -> list[str]:
    """`nvidia :: sm_arch :: 90_real, 90_virtual`, and `x86_64 :: avx2, avx :: on`: features with the same values."""
    features: dict[tuple[str, str], list[str]] = {}
    for text in properties:
        namespace, feature, value = text.split(" :: ")
        features.setdefault((namespace, feature), []).append(value)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (namespace, feature), values in features.items():
        alike.setdefault((namespace, tuple(values)), []).append(feature)
    return [f"{space} :: {_few(names)} :: {_few(values)}" for (space, values), names in alike.items()]


def _few(words: Sequence[str]) -> str:
    if len(words) <= _SHOWN:
        return ", ".join(words)
    return f"{', '.join(words[: _SHOWN - 1])}, … {words[-1]} ({len(words)})"


def _libcs(of: Machine) -> list[tuple[str, str]]:
    named = (("glibc", of.glibc), ("musl", of.musl), ("macOS", of.macos))
    return [(name, version) for name, version in named if version]


def _device(device: Device) -> str:
    name = f", {device.name}" if device.name else ""
    return f"{device.arch or 'unknown architecture'}{name} ({device.learnt})"


def _said(text: str, learnt: Mapping[str, str], fact: str) -> str:
    by = learnt.get(fact.lower())
    return f"{text} ({by})" if by else text


def _table(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(_LABEL, *(len(label) + 2 for label, _ in rows))
    return "\n".join(f"{label:{width}}{text}" for label, text in rows)
