"""`gpu` of a target: architectures of one vendor, as model.architecture reads them."""

import re
from collections.abc import Mapping

from gpuenv.manifest.node import Node

__all__ = ["decode_gpus", "one_vendor", "vendor_of"]

_BOARDS = {
    "t4": "sm_75", "a100": "sm_80", "a10": "sm_86", "l4": "sm_89", "l40s": "sm_89", "rtx4090": "sm_89",
    "h100": "sm_90", "h200": "sm_90", "b200": "sm_100", "rtx5090": "sm_120",
    "mi100": "gfx908", "mi210": "gfx90a", "mi250": "gfx90a", "mi250x": "gfx90a",
    "mi300": "gfx942", "mi300a": "gfx942", "mi300x": "gfx942", "mi325x": "gfx942", "mi355x": "gfx950",
}  # fmt: skip
_BRAND = {"amd": "AMD", "nvidia": "NVIDIA"}
_SETTING = re.compile(r"(xnack|sramecc)[+-]")


def decode_gpus(node: Node) -> tuple[str, ...]:
    """Architectures, each once and sorted; AMD's with the features that are stated, `gfx90a:xnack+`."""
    found = {_gpu(item, item.text()) for item in node.items()}
    if len({vendor_of(text) for text in found}) > 1:
        raise node.error("a target has GPUs of one vendor", hints=["make one target for `sm_*` and one for `gfx*`"])
    return tuple(sorted(found))


def one_vendor(fields: Mapping[str, Node], gpu: tuple[str, ...]) -> None:
    """Refuse levels of another vendor than the GPUs'. fields: of the target. gpu: as decode_gpus answers it."""
    vendor = vendor_of(gpu[0]) if gpu else "amd" if "rocm" in fields else None
    for key, owner in (("rocm", "amd"), ("cuda", "nvidia"), ("driver", "nvidia")):
        if key in fields and vendor and owner != vendor:
            other = f"`gpu` says {gpu[0]}" if gpu else "`rocm` is set too"
            raise fields[key].error(f"is for {_BRAND[owner]} GPUs, but {other}", hints=["a target has one vendor"])


def vendor_of(gpu: str) -> str:
    """`nvidia` or `amd`, of an architecture that decode_gpus has read."""
    return "nvidia" if gpu.startswith("sm_") else "amd"


def _gpu(item: Node, text: str) -> str:
    from gpuenv.model.architecture import AMD_PROCESSORS, has_sramecc, has_xnack, parse_gpu

    gpu = parse_gpu(text)
    if gpu is None:
        raise item.error(f"`{text}` is not a GPU architecture", hints=_probably(text))
    if gpu.vendor == "nvidia":
        return text
    for feature in gpu.features:
        known = [name for name, has in (("xnack", has_xnack), ("sramecc", has_sramecc)) if has(gpu.arch)]
        if gpu.arch not in AMD_PROCESSORS.values():
            known = ["xnack", "sramecc"]
        if feature[:-1] not in known:
            ways = " and ".join(f"`{name}`" for name in known)
            hints = [f"{gpu.arch} has {ways}" if ways else f"write `{gpu.arch}`"]
            raise item.error(f"{gpu.arch} has no feature `{feature[:-1]}`", hints=hints)
    return str(gpu)


def _probably(text: str) -> tuple[str, ...]:
    """What was meant instead of a text that is no architecture."""
    from gpuenv.model.architecture import has_xnack

    name, *settings = text.lower().split(":")
    meant = _named(name)
    if not meant:
        return ("like `sm_90` (NVIDIA) or `gfx942` (AMD); `gpuenv target detect` shows this machine's",)
    if not settings or not has_xnack(meant):
        return (f"did you mean `{meant}`?",)
    if any(not _SETTING.fullmatch(setting) for setting in settings):
        return (f"a feature is on or off: `{meant}:xnack+`, `{meant}:xnack-`",)
    if len({setting[:-1] for setting in settings}) < len(settings):
        return ("a feature is on or off, not both",)
    return (f"did you mean `{':'.join([meant, *settings])}`?",)


def _named(name: str) -> str | None:
    """The architecture that a name without features is most probably for."""
    from gpuenv.model.architecture import parse_gpu

    plain = re.sub(r"[^a-z0-9]", "", name)
    for prefix, form in (("compute", "sm_"), ("sm", "sm_"), ("", "sm_"), ("gfx", "gfx")):
        guess = form + plain.removeprefix(prefix)
        if plain.startswith(prefix) and parse_gpu(guess):
            return guess
    return _BOARDS.get(plain.removeprefix("nvidia").removeprefix("amd").removeprefix("instinct"))
