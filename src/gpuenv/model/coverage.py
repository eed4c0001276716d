"""How far device code serves a GPU: the share of an object's containers with code that the GPU runs."""

from collections.abc import Iterable
from typing import NamedTuple

from gpuenv.model.architecture import Fit, Gpu, fit
from gpuenv.model.facts import DeviceCode, ObjectFacts, natural

__all__ = ["Coverage", "containers", "coverage", "full_name", "served"]


class Coverage(NamedTuple):
    """One object, or several together. best: the best fit of any code, None where nothing runs.

    served, units: containers with code for the GPU, and all that carry code for GPUs of its vendor. by: the
    architectures that serve, each with its fit, best first.
    """

    best: Fit | None
    served: int
    units: int
    by: tuple[tuple[str, Fit], ...]


def containers(facts: ObjectFacts) -> list[tuple[tuple[int, ...], int]]:
    """Sets of device code (positions in `device_code`) and how many containers hold each.

    What lies in no container, a cubin or a code object, is counted as one each; containers without code are left out.
    """
    found = [(units.codes, units.count) for units in facts.units if units.codes]
    return found or [((place,), code.count) for place, code in enumerate(facts.device_code)]


def coverage(facts: ObjectFacts, gpu: Gpu, *, driver_isa: str | None = None, ptx: bool = True) -> Coverage:
    """How far one object serves a GPU. driver_isa, ptx: what of PTX serves, as for `fit`."""
    fits = [fit(code, gpu, driver_isa=driver_isa, ptx=ptx) for code in facts.device_code]
    groups = containers(facts)
    vendors = [code.vendor == gpu.vendor for code in facts.device_code]
    return Coverage(
        best=min((found for found in fits if found is not None), default=None),
        served=sum(count for codes, count in groups if any(fits[place] is not None for place in codes)),
        units=sum(count for codes, count in groups if any(vendors[place] for place in codes)),
        by=_names(zip(facts.device_code, fits, strict=True)),
    )


def served(objects: Iterable[ObjectFacts], gpu: Gpu, *, driver_isa: str | None = None, ptx: bool = True) -> Coverage:
    """How far several objects together serve a GPU. driver_isa, ptx: what of PTX serves, as for `fit`."""
    all_of_them = list(objects)
    parts = [coverage(facts, gpu, driver_isa=driver_isa, ptx=ptx) for facts in all_of_them]
    codes = (code for facts in all_of_them for code in facts.device_code)
    fits = ((code, fit(code, gpu, driver_isa=driver_isa, ptx=ptx)) for code in codes)
    return Coverage(
        best=min((part.best for part in parts if part.best is not None), default=None),
        served=sum(part.served for part in parts),
        units=sum(part.units for part in parts),
        by=_names(fits),
    )


def _names(fits: Iterable[tuple[DeviceCode, Fit | None]]) -> tuple[tuple[str, Fit], ...]:
    best: dict[str, Fit] = {}
    for code, found in fits:
        if found is not None:
            name = full_name(code)
            best[name] = min(found, best.get(name, found))
    return tuple(sorted(best.items(), key=lambda item: (item[1], natural(item[0]))))


def full_name(code: DeviceCode) -> str:
    """The architecture with its features, as AMD writes a target: `gfx90a:sramecc+:xnack-`."""
    return ":".join((code.arch, *code.features))
