"""All taste in one place: which node to decide next, and which build of one version. (`Offers.choices` has the rest.)

Which build: accelerators are an axis of their own. In PEP 440's order 2.12.0+rocm10.0 is older than 2.12.0+rocm7.0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from gpuenv.model.distribution import Release
from gpuenv.model.host_libraries import cuda_of, vendor_of
from gpuenv.model.target import Target
from gpuenv.model.version import Version, parse_version
from gpuenv.solve.nodes import DEFAULTS, Key, Kind, Need

__all__ = ["Accelerator", "Order", "accelerator_of", "by_preference"]


class Order:
    """Decide first what leaves no choice, then what made trouble before, then what was asked for first.

    In the order of discovery what the project names comes before what its dependencies need, so that the project's
    own requirements get the newest versions.
    """

    def __init__(self) -> None:
        self._discovered: dict[Key, int] = {}
        self._trouble: Counter[str] = Counter()
        self._causes: Sequence[Any] = ()

    def seen(self, needs: Iterable[Need]) -> None:
        """Remember when each node was first asked for."""
        for need in needs:
            self._discovered.setdefault(need.key, len(self._discovered))

    def next(self, keys: Iterable[Key], information: Mapping[Key, Iterator[Any]], causes: Sequence[Any]) -> Key:
        """The node to decide next."""
        if causes is not self._causes:
            self._causes = causes
            self._trouble.update({cause.requirement.key.name for cause in causes})
            self._trouble.update({cause.parent.key.name for cause in causes if cause.parent is not None})
        return min(keys, key=lambda key: self._rank(key, information))

    def _rank(self, key: Key, information: Mapping[Key, Iterator[Any]]) -> tuple[int, int, int, bool, Key]:
        freedom = _LATE.get(key.kind)
        if freedom is None:
            freedom = min((_freedom(info.requirement) for info in information[key]), default=_ORPHAN)
        # which release has the default extras is known before one without them is looked into
        defaults = key.detail == DEFAULTS
        discovered = self._discovered.get(key.base if defaults else key, 0)
        return (freedom, -self._trouble[key.name], discovered, not defaults, key)


_ORPHAN = 9
# What the target brings is decided first; who brings a soname when it is known what is there in any case.
_LATE = {Kind.HOST: 0, Kind.MAJOR: 10, Kind.SONAME: 11}


def _freedom(need: Need) -> int:
    if need.exact is not None or need.url is not None:
        return 1
    return 2 if need.specifier.startswith("==") and "*" not in need.specifier else 3


class Accelerator(NamedTuple):
    """What a build is for, as its local version says. level: of CUDA or ROCm, as numbers; empty where it says none."""

    kind: Literal["nvidia", "amd", "intel", "cpu"]
    level: tuple[int, ...] = ()


# cu128, cu12, cuda12.8; pt26cu124 and cu12torch2.6 have other words around it
_CUDA = re.compile(r"(?<![a-z])cu(?:da)?([0-9]{1,4})(?![0-9])(?:\.([0-9]{1,2})(?![0-9]))?")
_ROCM = re.compile(r"(?:rocm|hip)([0-9]{1,4}(?:\.[0-9]{1,4})*)(?![0-9])")
_WORDS = re.compile(r"(?<![a-z])(rocm|xpu|cpu)")
_KINDS: dict[str, Literal["amd", "intel", "cpu"]] = {"rocm": "amd", "xpu": "intel", "cpu": "cpu"}
_TWO_DIGITS = 20  # no ROCm has reached it: rocm57 is 5.7, rocm10 is 10


def accelerator_of(local: str) -> Accelerator | None:
    """The accelerator that a local version names: `cu128` is CUDA 12.8, `rocm7.2` ROCm 7.2; None for anything else."""
    if match := _CUDA.search(local):
        return Accelerator("nvidia", _cuda_level(match[1], match[2]))
    if match := _ROCM.search(local):
        text = match[1]
        packed = "." not in text and int(text) >= _TWO_DIGITS
        return Accelerator("amd", tuple(map(int, text if packed else text.split("."))))
    word = _WORDS.search(local)
    return Accelerator(_KINDS[word[1]]) if word else None


def _cuda_level(digits: str, minor: str | None) -> tuple[int, ...]:
    """The last digits are the minor version where there are more than the major has: 92, 102, 118, 1310."""
    major = 1 if digits[0] > "1" else 2
    rest = digits[major:] or minor
    return (int(digits[:major]), int(rest)) if rest else (int(digits[:major]),)


def by_preference(releases: Iterable[Release], target: Target) -> list[Release]:
    """The releases of a page, newest public version first, of each first the build that suits the target best.

    For GPUs: those for its vendor, the highest level first that the target allows; then those without accelerator; for
    processors; above the target's level, the lowest first; for others. Without GPUs: those for processors, those
    without accelerator, others. Where this leaves builds equal, PEP 440 orders them. Pages come newest first.
    """
    found = list(releases)
    if not any("+" in release.version for release in found):
        return found
    found.sort(key=lambda release: parse_version(release.version), reverse=True)
    taste = _Taste(target)
    return [release for _, builds in groupby(found, key=_public) for release in sorted(builds, key=taste.rank)]


def _public(release: Release) -> Version:
    return parse_version(release.version.partition("+")[0])


class _Taste:
    """The order of builds for one target."""

    def __init__(self, target: Target) -> None:
        self._vendor = vendor_of(target)
        limit = {"nvidia": cuda_of(target), "amd": target.rocm}.get(self._vendor or "")
        self._limit = tuple(map(int, limit.split(".")[:2])) if limit else None

    def rank(self, release: Release) -> tuple[int, tuple[int, ...]]:
        """The smaller the better."""
        found = accelerator_of(release.version.partition("+")[2])
        if found is None:
            return 1, ()
        if found.kind == "cpu":
            return (0 if self._vendor is None else 2), ()
        if found.kind != self._vendor:
            return 4, ()
        level = (*found.level, 0, 0, 0)[:4]
        if self._limit is None or found.level[:2] <= self._limit:
            return 0, tuple(-number for number in level)
        return 3, level
