"""`[tool.gpuenv.targets.NAME]`: the machines to lock for."""

import re

from gpuenv.manifest.gpus import decode_gpus, one_vendor, vendor_of
from gpuenv.manifest.node import Node
from gpuenv.manifest.sonames import decode_soname_pattern, is_soname
from gpuenv.model.target import OLDEST_GLIBC, PLATFORMS, SUPPORTED_PYTHONS, Target
from gpuenv.model.version import parse_specifier

__all__ = ["DEFAULT_TARGET", "TARGET_KEYS", "decode_python", "decode_target", "lowest_python"]

DEFAULT_TARGET = "default"
TARGET_KEYS = (
    "platform", "python", "glibc", "musl", "macos", "gpu", "cuda", "driver", "rocm", "cpu", "cpu-fallback", "gpu-code",
    "ptx", "host-libraries", "properties", "dependencies",
)  # fmt: skip

_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PYTHON = re.compile(r"(3\.\d{1,2})(\.\d{1,3})?(t?)")
_FREE_THREADED_SINCE = SUPPORTED_PYTHONS.index("3.13")
_LEVELS = {
    "cuda": (re.compile(r"\d{1,2}\.\d{1,2}"), "a CUDA version", "13.0"),
    "driver": (re.compile(r"\d{3,4}(\.\d{1,3}){0,2}"), "an NVIDIA driver version", "580.65"),
    "rocm": (re.compile(r"\d{1,2}\.\d{1,2}(\.\d{1,2})?"), "a ROCm version", "7.2"),
}
_CPU_LEVELS = ("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4")
_FOLDER = re.compile(r"(/[^/*?\[\]]+)+/?")
_NO_GPU = "says nothing: the target has no GPU"
# key -> (system that has it, what it accepts, what to call it, example)
_SYSTEMS = {
    "glibc": ("linux", re.compile(r"2\.\d{1,2}"), "a glibc version", "2.28"),
    "musl": ("linux", re.compile(r"1\.\d{1,2}"), "a musl version", "1.2"),
    "macos": ("macos", re.compile(r"\d{2}\.\d{1,2}"), "a macOS version", "14.0"),
}


def decode_target(name: str, node: Node, python: str | None, requires_python: str) -> Target:
    """One target. python: what `tool.gpuenv.python` says, if it says anything; else the lowest Python that will do."""
    if not _TARGET_NAME.fullmatch(name):
        hint = "lower-case letters, digits, `.`, `_` and `-`, the first a letter or a digit"
        raise node.error(f"`{name}` is not a target name", hints=[hint])
    fields = node.fields(*TARGET_KEYS)
    platform = fields["platform"].one_of(PLATFORMS, "platform") if "platform" in fields else "linux-x86_64"
    systems = _systems(fields, platform)
    gpu = decode_gpus(fields["gpu"]) if "gpu" in fields else ()
    one_vendor(fields, gpu)
    own = decode_python(fields["python"]) if "python" in fields else python
    levels = {key: fields[key].matching(*form) if key in fields else None for key, form in _LEVELS.items()}
    return Target(
        name=name,
        platform=platform,
        python=own or lowest_python(node, requires_python),
        glibc=systems["glibc"],
        musl=systems["musl"],
        macos=systems["macos"],
        gpu=gpu,
        cuda=levels["cuda"],
        driver=levels["driver"],
        rocm=levels["rocm"],
        cpu=_cpu(fields["cpu"], platform) if "cpu" in fields else None,
        cpu_fallback=_cpu_fallback(fields) if "cpu-fallback" in fields else False,
        gpu_code="forbid" if "gpu-code" in fields and _forbids(fields["gpu-code"], gpu) else "allow",
        ptx="ptx" not in fields or _ptx(fields["ptx"], gpu),
        host_libraries=_host_libraries(fields["host-libraries"], platform) if "host-libraries" in fields else (),
        properties=_properties(fields["properties"]) if "properties" in fields else (),
    )


def decode_python(node: Node) -> str:
    """A target's Python: `3.12`, `3.12.4`, or free-threaded `3.13t`."""
    text = node.text()
    found = _PYTHON.fullmatch(text)
    if not found:
        raise node.error(f"`{text}` is not a Python version", hints=["for example `3.12`, `3.12.4` or `3.13t`"])
    if found[1] not in SUPPORTED_PYTHONS:
        raise node.error(f"Python {found[1]} is not supported", hints=[_supported()])
    if found[3] and SUPPORTED_PYTHONS.index(found[1]) < _FREE_THREADED_SINCE:
        raise node.error(f"there is no free-threaded Python {found[1]}", hints=["`3.13t` is the first"])
    return text


def lowest_python(node: Node, requires_python: str) -> str:
    """The lowest Python that `requires-python` admits as `X.Y.0`; 3.12 where the project does not say."""
    if not requires_python:
        return "3.12"
    wanted = parse_specifier(requires_python)
    for python in SUPPORTED_PYTHONS:
        if wanted.contains(f"{python}.0"):
            return python
    problem = f"no `python`, and `requires-python` (`{requires_python}`) admits no X.Y.0 of {_supported()}"
    raise node.error(problem, hints=['name one, for example `python = "3.12.4"`'])


def _supported() -> str:
    return f"Python {SUPPORTED_PYTHONS[0]} to {SUPPORTED_PYTHONS[-1]}"


def _systems(fields: dict[str, Node], platform: str) -> dict[str, str | None]:
    system, _, arch = platform.partition("-")
    found: dict[str, str | None] = {}
    for key, (owner, pattern, what, example) in _SYSTEMS.items():
        found[key] = None
        if key in fields:
            found[key] = fields[key].matching(pattern, what, example)
            if owner != system:
                raise fields[key].error(f"`{platform}` has no {key}", hints=["remove it, or change `platform`"])
    if found["glibc"] and found["musl"]:
        raise fields["musl"].error("a target has glibc or musl, not both")
    oldest = OLDEST_GLIBC.get(arch, 17)
    if found["glibc"] and int(found["glibc"].split(".")[1]) < oldest:
        raise fields["glibc"].error(f"no wheel is built for glibc older than 2.{oldest} on {platform}")
    if system == "linux" and not found["musl"]:
        found["glibc"] = found["glibc"] or "2.28"
    if system == "macos":
        found["macos"] = found["macos"] or "14.0"
    return found


def _cpu(node: Node, platform: str) -> str:
    """The level of an x86-64 CPU; CPUs of other machines are of one kind, named as the machine."""
    arch = platform.partition("-")[2]
    if arch != "x86_64" and node.text() in _CPU_LEVELS:
        raise node.error(f"`{platform}` has no {node.text()}", hints=["remove it, or change `platform`"])
    return node.one_of(_CPU_LEVELS if arch == "x86_64" else (arch,), "CPU level")


def _cpu_fallback(fields: dict[str, Node]) -> bool | tuple[str, ...]:
    """For every package, for none, or for those named (normalised, sorted)."""
    node = fields["cpu-fallback"]
    if not isinstance(node.value, bool | list):
        hints = [f'write `["{node.value}"]`'] if isinstance(node.value, str) else []
        raise node.wrong("true, false or an array of package names", hints=hints)
    if node.value and not fields.keys() & {"gpu", "cuda", "driver", "rocm"}:
        raise node.error(_NO_GPU, hints=['name them, `gpu = ["gfx942"]`, or remove `cpu-fallback`'])
    if isinstance(node.value, bool):
        return node.value
    return tuple(sorted({item.name(item.text(), "package name") for item in node.items()})) or False


def _forbids(node: Node, gpu: tuple[str, ...]) -> bool:
    forbids = node.one_of(("allow", "forbid"), "value") == "forbid"
    if forbids and gpu:
        raise node.error(f"forbids the code for {gpu[0]} that `gpu` asks for", hints=["remove `gpu-code` or `gpu`"])
    return forbids


def _ptx(node: Node, gpu: tuple[str, ...]) -> bool:
    serves = node.flag()
    if not serves and not gpu:
        raise node.error(_NO_GPU, hints=['name them, `gpu = ["sm_90"]`, or remove `ptx`'])
    if not serves and vendor_of(gpu[0]) != "nvidia":
        raise node.error(f"is for NVIDIA GPUs, but `gpu` says {gpu[0]}", hints=["remove `ptx`"])
    return serves


def _host_libraries(node: Node, platform: str) -> tuple[str, ...]:
    """Absolute folders (without a slash at the end) and patterns of sonames, each once, in the order written."""
    found = tuple(dict.fromkeys(_host_library(item, item.text()) for item in node.items()))
    if found and not platform.startswith("linux-"):
        raise node.error(f"`{platform}` has no sonames", hints=["remove it, or change `platform`"])
    return found


def _host_library(item: Node, text: str) -> str:
    if "/" not in text and not text.startswith("~"):
        return decode_soname_pattern(item, text)
    folder, _, name = text.rpartition("/")
    if not _FOLDER.fullmatch(text) or not text.isprintable() or {".", ".."} & set(text.split("/")):
        raise item.error(f"`{text}` is not an absolute folder", hints=["for example `/opt/rocm/lib`"])
    if is_soname(name):
        raise item.error(f"`{text}` is a file", hints=[f"its folder, `{folder or '/'}`, or its soname, `{name}`"])
    return text.rstrip("/")


def _properties(node: Node) -> tuple[str, ...]:
    """Properties of wheel variants as metadata has them, each once, in the order written."""
    return tuple(dict.fromkeys(_property(item, item.text()) for item in node.items()))


def _property(item: Node, text: str) -> str:
    from gpuenv.model.variants import BadVariants, parse_property

    try:
        return str(parse_property(text))
    except BadVariants:
        raise item.error(f"`{text}` is not a property", hints=["for example `intel :: device_ip :: 20.1.0`"]) from None
