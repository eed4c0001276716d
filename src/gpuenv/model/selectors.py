"""Selectors: which rows of a table are about a target, from its exact GPU to `any`, and the extras that they name.

For each GPU of a target the levels are: the architecture with its features, the architecture (`gfx942`, `sm_90`),
LLVM's generic target (`gfx9-4-generic`), the family (`gfx94x`, `sm_9x`), the generation (`gfx9`), the vendor, `gpu`;
then for every target its platform (`linux-x86_64`, `linux`) and `any`. A table is read from the first to the last.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple, TypeAlias, TypeVar

from gpuenv.model.architecture import AMD_PROCESSORS, GENERICS, NVIDIA_ARCHITECTURES, Gpu, parse_gpu
from gpuenv.model.host_libraries import cuda_of
from gpuenv.model.requirement import Requirement
from gpuenv.model.target import PLATFORMS, Target
from gpuenv.model.version import normal_name

__all__ = [
    "PLACEHOLDERS",
    "Chosen",
    "Machine",
    "Miss",
    "Selectors",
    "alternatives_on",
    "first_row",
    "machines",
    "nearest_selectors",
    "parse_selector",
    "siblings",
    "template_problem",
    "walk",
]

# What may stand in the place of a placeholder, normalised as names of extras are.
_SHAPES = {
    "gfx": "gfx[0-9a-f]+(?:-strict)?",
    "family": "(?:gfx[0-9a-f]+|sm-[0-9]+)x",
    "sm": "sm-[0-9]+",
    "cuda_major": "[0-9]+",
    "rocm_major": "[0-9]+",
}
PLACEHOLDERS = tuple(_SHAPES)

T = TypeVar("T")

# Extras, or templates for some, by selector.
Selectors: TypeAlias = Mapping[str, tuple[str, ...]]

_VENDORS = ("amd", "nvidia", "intel")
_SYSTEMS = tuple(dict.fromkeys(platform.partition("-")[0] for platform in PLATFORMS))
_FAMILY = re.compile(r"gfx[1-9][0-9]?[0-9a-f]x|sm_[1-9][0-9]?x")
_GENERATION = re.compile(r"gfx[1-9][0-9]?")
_FIELD = re.compile(r"\{([^{}]*)\}")
_EXTRA = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class Machine(NamedTuple):
    """One GPU of a target, or a target without any. name: of the GPU or the platform. values: by placeholder."""

    name: str
    levels: tuple[str, ...]
    values: Mapping[str, str]
    is_gpu: bool


class Chosen(NamedTuple):
    """An extra and the rule that chose it. who: `project`, `publisher` or `Default-Extra`, which has no selector."""

    extra: str
    who: str
    selector: str = ""
    template: str = ""

    @property
    def why(self) -> str:
        """`project, amd = device-{gfx}`."""
        return f"{self.who}, {self.selector} = {self.template}" if self.selector else self.who

    @property
    def plain(self) -> bool:
        """Is the extra named as it is, without placeholders?"""
        return "{" not in self.template


class Miss(NamedTuple):
    """Rules that name extras none of which exists, most specific first."""

    rules: tuple[Chosen, ...]


@cache
def machines(target: Target) -> tuple[Machine, ...]:
    """What selectors are compared with: one for each GPU of the target, one for a target without."""
    common = (target.platform, target.platform.partition("-")[0], "any")
    values = {}
    if target.rocm:
        values["rocm_major"] = target.rocm.partition(".")[0]
    elif cuda := cuda_of(target):
        values["cuda_major"] = cuda.partition(".")[0]
    gpus = [gpu for gpu in map(parse_gpu, target.gpu) if gpu]
    if not gpus:
        return (Machine(target.platform, common, values, False),)
    return tuple(
        Machine(str(gpu), (*_levels(gpu), gpu.vendor, "gpu", *common), {**values, **_values(gpu)}, True) for gpu in gpus
    )


def _levels(gpu: Gpu) -> Iterator[str]:
    arch = gpu.arch.removesuffix("-strict")
    yield from dict.fromkeys((str(gpu), gpu.arch, arch))
    yield from (generic for generic, members in GENERICS.items() if arch in members)
    yield _family(gpu)
    if gpu.vendor == "amd":
        yield arch[:-2]


def _family(gpu: Gpu) -> str:
    return f"{gpu.arch.removesuffix('-strict')[:-1]}x"


def _values(gpu: Gpu) -> dict[str, str]:
    return {"gfx" if gpu.vendor == "amd" else "sm": gpu.arch, "family": _family(gpu)}


# what a table says


def walk(table: Selectors, machine: Machine, provided: Collection[str], who: str) -> tuple[Chosen, ...] | Miss | None:
    """The extras that a table chooses of those provided (normalised); None where none of its levels applies.

    The first level that names one which is provided wins. An empty level says "none", unless a level above it named
    extras and none of them is provided. A template with a placeholder that the machine has no value for names nothing.
    """
    missed: list[Chosen] = []
    for level in machine.levels:
        if level not in table:
            continue
        if not table[level]:
            if not missed:
                return ()
            continue
        named = [
            Chosen(extra, who, level, template)
            for template in table[level]
            if (extra := _filled(template, machine.values)) is not None
        ]
        found = tuple({one.extra: one for one in named if one.extra in provided}.values())
        if found:
            return found
        missed += named
    return Miss(tuple(missed)) if missed else None


def _filled(template: str, values: Mapping[str, str]) -> str | None:
    """A template with its placeholders filled in, normalised; None where there is no value for one."""
    fields = _FIELD.findall(template)
    if not all(field in values for field in fields):
        return None
    return normal_name(_FIELD.sub(lambda match: values[match[1]], template))


def siblings(template: str, extras: Iterable[str]) -> list[str]:
    """Of some extras (normalised) those that a template names on one machine or another; none for a plain name."""
    fields = _FIELD.findall(template)
    parts = normal_name(_FIELD.sub("0field0", template)).split("0field0")
    if not fields or not all(field in _SHAPES for field in fields):
        return []
    shapes = [*(_SHAPES[field] for field in fields), ""]
    pattern = re.compile("".join(re.escape(part) + shape for part, shape in zip(parts, shapes, strict=True)))
    return [extra for extra in extras if pattern.fullmatch(extra)]


def first_row(table: Mapping[str, T], machine: Machine) -> T | None:
    """What the first level of a machine that a table has says; None where it has none."""
    return next((table[level] for level in machine.levels if level in table), None)


def alternatives_on(tables: Mapping[str, Mapping[str, Requirement]], target: Target) -> dict[str, Requirement]:
    """The distributions that stand for others on a target, all GPUs of which say the same."""
    found = {name: first_row(table, machines(target)[0]) for name, table in tables.items()}
    return {name: other for name, other in found.items() if other is not None and other.name != name}


# what may be written


def parse_selector(text: str) -> str | None:
    """A selector in its normal form (`gfx90a:sramecc+:xnack-`: features sorted); None for anything that is none."""
    if text in _plain() or _FAMILY.fullmatch(text) or _GENERATION.fullmatch(text):
        return text
    gpu = parse_gpu(text)
    # NVIDIA's suffixes belong to code, not to a GPU
    return str(gpu) if gpu and (gpu.vendor == "amd" or gpu.arch == text) else None


@cache
def _plain() -> tuple[str, ...]:
    generics = tuple(name for name in AMD_PROCESSORS.values() if name.endswith("-generic"))
    return (*generics, *_VENDORS, "gpu", *PLATFORMS, *_SYSTEMS, "any")


def nearest_selectors(text: str) -> list[str]:
    """The selector that was probably meant by a text that is none, if there is one like it."""
    gpus = [gpu for gpu in map(parse_gpu, (*NVIDIA_ARCHITECTURES, *AMD_PROCESSORS.values())) if gpu]
    known = [*_plain(), *(level for gpu in gpus for level in _levels(gpu))]
    return get_close_matches(text.lower(), dict.fromkeys(known), 1, 0.6)


def template_problem(template: str) -> str | None:
    """What is wrong with the name of an extra that may have placeholders; None: nothing is."""
    for field in _FIELD.findall(template):
        if field not in PLACEHOLDERS:
            return f"`{{{field}}}` is not a placeholder"
    plain = _FIELD.sub("x", template)
    return None if _EXTRA.fullmatch(plain) else f"`{template}` is not a valid extra"
