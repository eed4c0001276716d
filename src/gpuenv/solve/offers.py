"""Which releases of a page serve a target, in which order, and why the others do not.

What is true of (file x target) is a filter with a recorded reason: tags, Requires-Python, upload time. What depends
on who asks (versions, pre-releases, yanked files) is decided for each question.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from gpuenv.model.answer import Refusal
from gpuenv.model.distribution import Page, Release, WheelFile
from gpuenv.model.target import Target
from gpuenv.model.version import InvalidSpecifier, InvalidVersion, Version, parse_specifier, parse_version

__all__ = ["Offers", "admits", "describe", "named_versions", "readable"]


@cache
def admits(specifier: str, version: str) -> bool:
    """Does the PEP 440 specifier set admit the version? Pre-releases are judged elsewhere."""
    return parse_specifier(specifier).contains(version, prereleases=True)


@cache
def _asks_for_prereleases(specifier: str) -> bool:
    return bool(parse_specifier(specifier).prereleases)


@cache
def _pins(specifier: str, version: str) -> bool:
    """Does the specifier name exactly this version (PEP 592: only then may a yanked file be taken)?"""
    return any(
        part.operator in ("==", "===") and not part.version.endswith(".*") and admits(str(part), version)
        for part in parse_specifier(specifier)
    )


def named_versions(specifier: str) -> list[Version]:
    """The versions that a specifier names; `1.*` names 1."""
    found = []
    for part in parse_specifier(specifier):
        try:
            found.append(parse_version(part.version.removesuffix(".*")))
        except InvalidVersion:  # `===` takes any text
            continue
    return sorted(found)


class Offers:
    """One page seen by one target. `Offers.wheel` is memoised; everything else is computed on demand."""

    def __init__(self, page: Page, target: Target, exclude_newer: str | None) -> None:
        self.page = page
        self._target = target
        self._exclude_newer = exclude_newer
        self._wheels: dict[tuple[str, bool], WheelFile | str] = {}
        self._ordered: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Release]] = {}

    def choices(self, specifiers: Iterable[str], preferred: Iterable[str] = ()) -> Iterator[tuple[Release, WheelFile]]:
        """Releases that satisfy every specifier and serve the target: preferred versions first, then newest first."""
        wanted = tuple(dict.fromkeys(spec for spec in specifiers if spec))
        first = tuple(preferred)
        if (wanted, first) not in self._ordered:
            rank = {version: place for place, version in enumerate(first)}
            releases = self._releases(wanted, first)
            releases.sort(key=lambda release: rank.get(release.version, len(rank)))
            self._ordered[wanted, first] = releases
        for release in self._ordered[wanted, first]:
            wheel = self.wheel(release, self._yanked_allowed(release, wanted, first))
            if isinstance(wheel, WheelFile):
                yield release, wheel

    def refusals(self, specifiers: Iterable[str]) -> tuple[Refusal, ...]:
        """The releases that the specifiers admit and that are not taken, newest first, each with the reason."""
        wanted = tuple(dict.fromkeys(spec for spec in specifiers if spec))
        tried = {release.version for release in self._releases(wanted, ())}
        found = []
        for release in self.page.releases:
            if all(admits(spec, release.version) for spec in wanted):
                wheel = self.wheel(release, self._yanked_allowed(release, wanted, ()))
                if isinstance(wheel, str):
                    found.append(Refusal(release.version, wheel))
                elif release.version not in tried:
                    found.append(Refusal(release.version, "is a pre-release, and no requirement names one"))
        return tuple(found)

    def wheel(self, release: Release, yanked: bool = False) -> WheelFile | str:
        """The release's best wheel for the target (tags, then build number), or why it has none."""
        key = (release.version, yanked)
        if key not in self._wheels:
            self._wheels[key] = self._best(release, yanked)
        return self._wheels[key]

    def _releases(self, wanted: tuple[str, ...], preferred: tuple[str, ...]) -> list[Release]:
        """Releases the specifiers admit; pre-releases only if asked for, or if nothing else satisfies (PEP 440)."""
        admitted = [r for r in self.page.releases if all(admits(spec, r.version) for spec in wanted)]
        if any(_asks_for_prereleases(spec) for spec in wanted):
            return admitted
        finals = [r for r in admitted if r.version in preferred or not parse_version(r.version).is_prerelease]
        if any(r.sdist or any(w.yanked is None for w in r.wheels) for r in finals):
            return finals
        return admitted

    @staticmethod
    def _yanked_allowed(release: Release, wanted: tuple[str, ...], preferred: tuple[str, ...]) -> bool:
        return release.version in preferred or any(_pins(spec, release.version) for spec in wanted)

    def _best(self, release: Release, yanked: bool) -> WheelFile | str:
        if not release.wheels:
            return "has only a source distribution, and building those is not supported yet"
        target = self._target
        best: tuple[int, tuple[int, str], WheelFile] | None = None
        reasons: dict[str, None] = {}
        for wheel in release.wheels:
            rank = target.tag_rank(wheel.tags)
            if rank is None:
                continue
            if reason := self._refuses(wheel, yanked):
                reasons[reason] = None
            elif best is None or rank < best[0] or (rank == best[0] and wheel.build > best[1]):
                best = (rank, wheel.build, wheel)
        if best:
            return best[2]
        return next(iter(reasons), None) or self._no_tag(release)

    def _refuses(self, wheel: WheelFile, yanked: bool) -> str | None:
        if wheel.yanked is not None and not yanked:
            return f"was yanked ({wheel.yanked})" if wheel.yanked else "was yanked"
        if self._exclude_newer is not None:
            if wheel.uploaded is None:
                return "has no upload time, which exclude-newer needs"
            if wheel.uploaded[:19] > self._exclude_newer[:19]:
                return f"was uploaded {wheel.uploaded[:10]}, after exclude-newer ({self._exclude_newer})"
        if wheel.requires_python is not None and not _serves(wheel.requires_python, self._target.python_full):
            return f"requires Python {wheel.requires_python}"
        return None

    def _no_tag(self, release: Release) -> str:
        tags = list(dict.fromkeys(wheel.tags for wheel in release.wheels))
        shown = ", ".join(tags[:3]) + (f" and {len(tags) - 3} more" if len(tags) > 3 else "")
        return f"has no wheel for {describe(self._target)} (only {shown})"


@cache
def readable(requires_python: str) -> bool:
    """Is it a specifier? Legacy pages and metadata hold text that is none; pip and uv let it pass."""
    try:
        parse_specifier(requires_python)
    except InvalidSpecifier:
        return False
    return True


def _serves(requires_python: str, python: str) -> bool:
    return not readable(requires_python) or admits(requires_python, python)


def describe(target: Target) -> str:
    """The target in the words of wheel tags: `cp312 on linux-x86_64 with glibc 2.28`."""
    python = "cp{}{}".format(*target.python_minor) + ("t" if target.free_threaded else "")
    if target.musl:
        libc = f" with musl {target.musl}"
    elif target.platform.startswith("linux-"):
        libc = f" with glibc {target.glibc}"
    else:
        libc = f" {target.macos}" if target.macos else ""
    return f"{python} on {target.platform}{libc}"
