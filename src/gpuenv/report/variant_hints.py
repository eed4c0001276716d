"""What would help where no wheel variant of a release serves a target: hints by how a refusal begins."""

import re
from collections.abc import Iterable

from gpuenv.model.answer import Conflict, Refusal

__all__ = ["VARIANT_HINTS"]

_OPTIONAL = re.compile(r"it needs `(\w+) :: [^`]*`, the provider of which is optional")
_LEVEL = re.compile(r"it needs `x86_64 :: level :: (v[2-4])[^`]*`, and the target supports v")
_UNKNOWN = re.compile(r"it needs `((\w+) :: \w+ :: [\w.]+)[^`]*`, and the target supports nothing of")
_COMPUTED = ("nvidia", "amd", "x86_64", "aarch64")  # what follows from `gpu`, `cuda`, `rocm`, `cpu`, `platform`
_SERVES = re.compile(r"([a-z0-9_.]+) serves ([a-z0-9_:+-]+)")


def _variant_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    """What would have to be true of the target for its first variant that it could be stated for."""
    table = f"[tool.gpuenv.targets.{conflict.target}]"
    if found := _OPTIONAL.search(refusal.reason):
        yield f'use it: optional = ["{found[1]}"] in [tool.gpuenv.variants]'
    if found := _LEVEL.search(refusal.reason):
        yield f'if those machines have it, set cpu = "x86-64-{found[1]}" in {table}'
    if (found := _UNKNOWN.search(refusal.reason)) and found[2] not in _COMPUTED:
        yield f'if those machines have it, set properties = ["{found[1]}"] in {table}'


def _apart_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    served: dict[str, list[str]] = {}
    for label, gpu in _SERVES.findall(refusal.reason):
        served.setdefault(label, []).append(gpu)
    parts = [", ".join(f'"{gpu}"' for gpu in gpus) for gpus in served.values()]
    each = " and ".join(f"gpu = [{part}]" for part in parts)
    yield f"make targets of it: {each} in place of [tool.gpuenv.targets.{conflict.target}]"


def _claim_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f'if others bring its code: gpu-code = "trust" in [tool.gpuenv.packages.{conflict.subject}]'


def _unlisted_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield "who keeps the index writes it: gpuenv index FOLDER"


VARIANT_HINTS = {
    "has no variant for all GPUs ": _apart_hint,
    "has no variant for the target": _variant_hint,
    "has variants, and its index does not say": _unlisted_hint,
    "claims ": _claim_hint,
}
