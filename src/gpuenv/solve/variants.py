"""Wheel variants as one target sees them (PEP 825, 850): which labels of a release serve it, and why others do not.

What labels stand for is told by a file of the release, or by the wheel itself where a URL names one. A file that
cannot be used costs its release the variants, never the wheels that are none.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from gpuenv.model.answer import Missing
from gpuenv.model.distribution import Release, WheelFile
from gpuenv.model.filename import VARIANTS, version_of
from gpuenv.model.host_libraries import vendor_of
from gpuenv.model.markers import NO_VARIANT, VariantEnvironment
from gpuenv.model.properties import supported_properties
from gpuenv.model.variant_choice import abi_requirements, architectures, declared, rank, served_apart, why_not
from gpuenv.model.variants import Supported, Variants
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.solve.nodes import Key, Kind, Need, NotKnownYet
from gpuenv.solve.task import Task

__all__ = ["BuiltAgainst", "Ranked", "VariantJudge"]

# The distributions that a variant was built against, each with release prefixes any of which will do.
BuiltAgainst = tuple[tuple[str, tuple[str, ...]], ...]

_SHOWN = 3


class Ranked(NamedTuple):
    """The labels of a release. places: of those that serve the target; 0 is best. refusal: why the others do not.

    apart: different GPUs of the target need different variants. Then no wheel of the release serves it.
    """

    places: Mapping[str, int]
    refusal: str = ""
    apart: bool = False


class VariantJudge:
    """The judge of one solve. Its methods leave the search where it is not known yet what labels stand for."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._optional = frozenset(task.optional_variants)
        self._files: dict[str, WheelFile] = {}
        self._ignored: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self.looked_at: set[str] = set()

    def rank(self, release: Release, labels: Collection[str]) -> Ranked:
        """Which labels of a release's wheels serve the target, in the order in which to try them."""
        file = release.variants
        if file is None:
            wheel = next(wheel for wheel in release.wheels if wheel.label)
            lacks = f"has no {wheel.filename.partition('-')[0]}-{version_of(wheel.filename)}{VARIANTS}"
            self._ignored.update((other.url, f"its index {lacks}") for other in release.wheels)
            return self._refusing(release, Ranked({}, f"has variants, and its index does not say which: it {lacks}"))
        found = self._known(file)
        if isinstance(found, str):
            self._ignored.update((wheel.url, found) for wheel in release.wheels)
            return self._refusing(release, Ranked({}, f"has variants of which nothing is known: {found}"))
        self._files.update((wheel.url, file) for wheel in release.wheels if wheel.label)
        return self._refusing(release, self._ranked(found, labels))

    def _refusing(self, release: Release, ranked: Ranked) -> Ranked:
        self._refused[release.wheels[0].url] = ranked.refusal
        return ranked

    def refused(self, release: Release, reason: str) -> bool:
        """Is it for its variants that a release was refused?"""
        return bool(release.wheels) and self._refused.get(release.wheels[0].url) == reason

    def refusal(self, wheel: WheelFile) -> str | None:
        """Why a wheel that a URL names does not serve the target as the variant that it is."""
        if not wheel.label:
            return None
        found = self._known(self._files.setdefault(wheel.url, wheel))
        if isinstance(found, str):
            return f"is a variant of which nothing is known: {found}"
        return self._ranked(found, [wheel.label]).refusal or None

    def ignored(self, wheel: WheelFile) -> str | None:
        """Why the variants of a wheel's release could not be looked at, if they could not."""
        return self._ignored.get(wheel.url)

    def built_against(self, wheel: WheelFile) -> BuiltAgainst:
        """What a wheel's code was built against, by its label (PEP 850, `abi_dependency`)."""
        found = self._of(wheel)
        return abi_requirements(found, wheel.label) if found else ()

    def needs(self, wheel: WheelFile) -> Iterator[Need]:
        """Needs of the distributions that a wheel's code was built against, in those versions."""
        for name, prefixes in self.built_against(wheel):
            ways = tuple(f"=={prefix}.*" for prefix in prefixes)
            text = f"{name}{' or '.join(ways)} (variant {wheel.label})"
            specifier, any_of = (ways[0], ()) if len(ways) == 1 else ("", ways)
            yield Need(Key(Kind.DISTRIBUTION, name), specifier, any_of=any_of, text=text)

    def environment(self, wheel: WheelFile) -> VariantEnvironment:
        """What markers of a wheel's requirements see of it."""
        found = self._of(wheel)
        return declared(found, wheel.label, self._machines, self._optional) if found else NO_VARIANT

    def chosen(self, wheel: WheelFile) -> WheelVariant | None:
        """What a lock says of a wheel; None for one that is no variant."""
        found = self._of(wheel)
        return WheelVariant(wheel.label, tuple(map(str, found.labels[wheel.label]))) if found else None

    def claims(self, wheel: WheelFile) -> tuple[str, ...]:
        """The architectures of the target's GPU vendor that a wheel says it has code for, as targets name them."""
        vendor = vendor_of(self._task.target) if wheel.label else None
        found = self._of(wheel) if vendor else None
        return architectures(found.labels[wheel.label], vendor or "") if found else ()

    @cached_property
    def _machines(self) -> tuple[Supported, ...]:
        return supported_properties(self._task.target)

    def _known(self, file: WheelFile) -> Variants | str:
        """What a file says; text: why that is of no use."""
        if file.key not in self._task.catalog.variants:
            raise NotKnownYet(Missing(variants=(file,)))
        self.looked_at.add(file.key)
        return self._task.catalog.variants[file.key]

    def _of(self, wheel: WheelFile) -> Variants | None:
        if not wheel.label:
            return None
        found = self._known(self._files.get(wheel.url, wheel))
        return None if isinstance(found, str) or wheel.label not in found.labels else found

    def _ranked(self, variants: Variants, labels: Collection[str]) -> Ranked:
        known = {label: properties for label, properties in variants.labels.items() if label in labels}
        there = Variants(variants.schema, variants.namespaces, known, variants.providers)
        apart = served_apart(there, self._machines, self._optional)
        if apart:
            return Ranked({}, _apart(self._task.target.gpu, apart), apart=True)
        places = {label: place for place, label in enumerate(rank(there, self._machines, self._optional))}
        others = [label for label in labels if label not in places]
        told = [f"{label}: {why_not(there, label, self._machines, self._optional)}" for label in others[:_SHOWN]]
        more = f"; and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return Ranked(places, f"has no variant for the target ({'; '.join(told)}{more})" if told else "")


def _apart(gpus: tuple[str, ...], labels: tuple[str, ...]) -> str:
    served = ", ".join(f"{label or 'nothing'} serves {gpu}" for gpu, label in zip(gpus, labels, strict=True))
    return f"has no variant for all GPUs of the target ({served}): split it into one target for each"
