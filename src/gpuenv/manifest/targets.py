"""`[tool.gpuenv.targets.NAME]`: the machines to lock for."""

import re

from gpuenv.manifest.node import Node
from gpuenv.model.target import OLDEST_GLIBC, PLATFORMS, SUPPORTED_PYTHONS, Target
from gpuenv.model.version import parse_specifier

__all__ = ["DEFAULT_TARGET", "TARGET_KEYS", "decode_python", "decode_target", "lowest_python"]

DEFAULT_TARGET = "default"
TARGET_KEYS = (
    "platform", "python", "glibc", "musl", "macos", "gpu", "cuda", "driver", "rocm", "cpu-fallback", "dependencies",
)  # fmt: skip

_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PYTHON = re.compile(r"(3\.\d{1,2})(\.\d{1,3})?(t?)")
_FREE_THREADED_SINCE = SUPPORTED_PYTHONS.index("3.13")
_GPU = re.compile(r"sm_\d{2,3}[af]?|gfx[0-9a-f]{3,4}")
_BOARDS = {
    "t4": "sm_75", "a100": "sm_80", "a10": "sm_86", "l4": "sm_89", "l40s": "sm_89", "rtx4090": "sm_89",
    "h100": "sm_90", "h200": "sm_90", "b200": "sm_100", "rtx5090": "sm_120",
    "mi100": "gfx908", "mi210": "gfx90a", "mi250": "gfx90a", "mi250x": "gfx90a",
    "mi300": "gfx942", "mi300a": "gfx942", "mi300x": "gfx942", "mi325x": "gfx942", "mi355x": "gfx950",
}  # fmt: skip
_LEVELS = {
    "cuda": (re.compile(r"\d{1,2}\.\d{1,2}"), "a CUDA version", "13.0"),
    "driver": (re.compile(r"\d{3,4}(\.\d{1,3}){0,2}"), "an NVIDIA driver version", "580.65"),
    "rocm": (re.compile(r"\d{1,2}\.\d{1,2}(\.\d{1,2})?"), "a ROCm version", "7.2"),
}
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
    gpu = _gpus(fields["gpu"]) if "gpu" in fields else ()
    _one_vendor(fields, gpu)
    own = decode_python(fields["python"]) if "python" in fields else python
    return Target(
        name=name,
        platform=platform,
        python=own or lowest_python(node, requires_python),
        **systems,
        gpu=gpu,
        **{key: fields[key].matching(*form) if key in fields else None for key, form in _LEVELS.items()},
        cpu_fallback="cpu-fallback" in fields and fields["cpu-fallback"].flag(),
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


def _gpus(node: Node) -> tuple[str, ...]:
    found = {}
    for item in node.items():
        text = item.text()
        if not _GPU.fullmatch(text):
            raise item.error(f"`{text}` is not a GPU architecture", hints=_probably(text))
        found[text] = item
    vendors = {_vendor(text) for text in found}
    if len(vendors) > 1:
        raise node.error("a target has GPUs of one vendor", hints=["make one target for `sm_*` and one for `gfx*`"])
    return tuple(sorted(found))


def _one_vendor(fields: dict[str, Node], gpu: tuple[str, ...]) -> None:
    vendor = _vendor(gpu[0]) if gpu else "amd" if "rocm" in fields else None
    for key, owner in (("rocm", "amd"), ("cuda", "nvidia"), ("driver", "nvidia")):
        if key in fields and vendor and owner != vendor:
            other = f"`gpu` says {gpu[0]}" if gpu else "`rocm` is set too"
            raise fields[key].error(f"is for {_BRAND[owner]} GPUs, but {other}", hints=["a target has one vendor"])


_BRAND = {"amd": "AMD", "nvidia": "NVIDIA"}


def _vendor(gpu: str) -> str:
    return "nvidia" if gpu.startswith("sm_") else "amd"


def _probably(text: str) -> tuple[str, ...]:
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    for prefix, form in (("compute", "sm_"), ("sm", "sm_"), ("", "sm_"), ("gfx", "gfx")):
        guess = form + plain.removeprefix(prefix)
        if plain.startswith(prefix) and _GPU.fullmatch(guess):
            return (f"did you mean `{guess}`?",)
    board = plain.removeprefix("nvidia").removeprefix("amd").removeprefix("instinct")
    if board in _BOARDS:
        return (f"did you mean `{_BOARDS[board]}`?",)
    return ("like `sm_90` (NVIDIA) or `gfx942` (AMD); `gpuenv target detect` shows this machine's",)
