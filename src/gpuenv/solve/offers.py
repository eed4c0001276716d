"""Which releases of a page serve a target, in which order, and why the others do not.

What is true of (file x target) is a filter with a recorded reason: tags, Requires-Python, upload time. What depends
on who asks (versions, pre-releases, yanked files) is decided for each question.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from gpuenv.model.answer import Refusal
from gpuenv.model.distribution import Page, Release, WheelFile
from gpuenv.model.target import Target
from gpuenv.model.version import InvalidSpecifier, InvalidVersion, Version, parse_specifier, parse_version
from gpuenv.solve.nodes import NotKnownYet
from gpuenv.solve.preference import by_preference
from gpuenv.solve.variants import Ranked, VariantJudge

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


@cache
def _is_prerelease(version: str) -> bool:
    return parse_version(version).is_prerelease


def _public(release: Release) -> str:
    return release.version.partition("+")[0]


def named_versions(specifier: str) -> list[Version]:
    """The versions that a specifier names; `1.*` names 1."""
    found = []
    for part in parse_specifier(specifier):
        try:
            found.append(parse_version(part.version.removesuffix(".*")))
        except InvalidVersion:  # `===` takes any text
            continue
    return sorted(found)


class _Narrowed:
    """The releases of `source` that a specifier admits, judged only as far as someone looks."""

    def __init__(self, source: Iterable[Release], specifier: str) -> None:
        self._coming = (release for release in source if admits(specifier, release.version))
        self._known: list[Release] = []

    def __iter__(self) -> Iterator[Release]:
        place = 0
        while True:
            if place == len(self._known):
                coming = next(self._coming, None)
                if coming is None:
                    return
                self._known.append(coming)
            yield self._known[place]
            place += 1


class Offers:
    """One page seen by one target; what was judged once stays judged, and nothing is judged that nobody asks for.

    refuses: why a file that fits by its tags does not serve the target all the same. variants: which labels of a
    release serve it; None: none does. Both may raise NotKnownYet.
    """

    def __init__(
        self,
        page: Page,
        target: Target,
        exclude_newer: str | None,
        refuses: Callable[[WheelFile], str | None] = lambda wheel: None,
        variants: VariantJudge | None = None,
    ) -> None:
        self.page = Page(page.name, page.index, tuple(by_preference(page.releases, target)), page.skipped)
        self._content_refusal = refuses
        self._variants = variants
        self._unfit: dict[str, dict[str, None]] = {}
        self._settled = False
        self._target = target
        self._exclude_newer = exclude_newer
        self._wheels: dict[tuple[str, bool], WheelFile | str] = {}
        self._narrowed: dict[tuple[str, ...], Iterable[Release]] = {(): self.page.releases}

    def settle(self) -> None:
        """From now on nothing more can be asked for: a release of which too little is known is no choice."""
        self._settled = True

    def choices(
        self, specifiers: Iterable[str], preferred: Iterable[str] = (), shared: Iterable[str] = ()
    ) -> Iterator[tuple[Release, WheelFile]]:
        """Releases that satisfy every specifier and serve the target: preferred versions first, then newest first.

        shared: versions to try after those preferred, of each the build that suits the target best.
        """
        wanted = tuple(dict.fromkeys(spec for spec in specifiers if spec))
        first, second = tuple(preferred), tuple(shared)
        for release in self._ordered(wanted, first, second):
            yanked = self._yanked_allowed(release, wanted, (*first, *second))
            wheel = self.wheel(release, yanked)
            if isinstance(wheel, WheelFile):
                yield release, wheel
                if wheel.label and self._variants is not None:
                    yield from ((release, other) for other in self._others(release, wheel, self._variants))

    def refusals(self, specifiers: Iterable[str]) -> tuple[Refusal, ...]:
        """The releases that the specifiers admit and that are not taken, newest first, each with the reason."""
        wanted = tuple(dict.fromkeys(spec for spec in specifiers if spec))
        tried = {release.version for release in self._releases(wanted, ())}
        found = []
        for release in self.page.releases:
            if all(admits(spec, release.version) for spec in wanted):
                wheel = self.wheel(release, self._yanked_allowed(release, wanted, ()))
                if isinstance(wheel, str):
                    found += [Refusal(release.version, wheel)] if wheel else []
                elif release.version not in tried:
                    found.append(Refusal(release.version, "is a pre-release, and no requirement names one"))
        return tuple(found)

    def known_refusals(self, specifiers: Iterable[str]) -> Iterator[tuple[Release, str]]:
        """The releases that the specifiers admit and that were judged not to serve, newest first, with the reason."""
        wanted = tuple(dict.fromkeys(spec for spec in specifiers if spec))
        for release in self.page.releases:
            reason = self._wheels.get((release.version, True)) or self._wheels.get((release.version, False))
            if isinstance(reason, str) and all(admits(spec, release.version) for spec in wanted):
                yield release, reason

    def wheel(self, release: Release, yanked: bool = False) -> WheelFile | str:
        """The release's best wheel for the target (tags, build number, bundles before wheels), or why it has none.

        Raises NotKnownYet; once settled, such a release has none for the reason "".
        """
        key = (release.version, yanked)
        if key not in self._wheels:
            try:
                self._wheels[key] = self._best(release, yanked)
            except NotKnownYet:
                if not self._settled:
                    raise
                return ""
        return self._wheels[key]

    def unfit(self, version: str) -> tuple[str, ...]:
        """Why variants of a release do not serve although their properties say so."""
        return tuple(self._unfit.get(version, ()))

    def _ordered(self, wanted: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...]) -> Iterator[Release]:
        allowed, done = (*first, *second), set(first)
        if first:
            kept = [release for release in self._releases(wanted, allowed) if release.version in first]
            yield from sorted(kept, key=lambda release: first.index(release.version))
        if second:
            public = [version.partition("+")[0] for version in second]
            alike = [r for r in self._releases(wanted, allowed) if _public(r) in public and r.version not in done]
            yield from sorted(alike, key=lambda release: public.index(_public(release)))
            done.update(release.version for release in alike)
        yield from (release for release in self._releases(wanted, allowed) if release.version not in done)

    def _releases(self, wanted: tuple[str, ...], preferred: tuple[str, ...]) -> Iterator[Release]:
        """Releases the specifiers admit; pre-releases only if asked for, or if nothing else satisfies (PEP 440)."""
        admitted = self._admitted(wanted)
        if any(_asks_for_prereleases(spec) for spec in wanted):
            return iter(admitted)

        def finals() -> Iterator[Release]:
            return (r for r in admitted if r.version in preferred or not _is_prerelease(r.version))

        usable = any(r.sdist or any(wheel.yanked is None for wheel in r.wheels) for r in finals())
        return finals() if usable else iter(admitted)

    def _admitted(self, wanted: tuple[str, ...]) -> Iterable[Release]:
        """Narrowed specifier by specifier, because a search adds them one by one."""
        if wanted not in self._narrowed:
            self._narrowed[wanted] = _Narrowed(self._admitted(wanted[:-1]), wanted[-1])
        return self._narrowed[wanted]

    @staticmethod
    def _yanked_allowed(release: Release, wanted: tuple[str, ...], preferred: tuple[str, ...]) -> bool:
        return release.version in preferred or any(_pins(spec, release.version) for spec in wanted)

    def _best(self, release: Release, yanked: bool) -> WheelFile | str:
        if not release.wheels:
            return "has only a source distribution, and building those is not supported yet"
        reasons: dict[str, None] = {}
        unfit = self._unfit.setdefault(release.version, {}) if release.variants else {}
        for found in self._by_withdrawal(release, yanked, unfit):
            if isinstance(found, WheelFile):
                return found
            reasons[found] = None
        return next(iter(reasons), None) or self._no_tag(release)

    def _by_withdrawal(
        self, release: Release, yanked: bool, unfit: dict[str, None] | None
    ) -> Iterator[WheelFile | str]:
        """The same as `_judged`; what was yanked only where nothing else serves (PEP 592)."""
        if yanked and any(wheel.yanked is not None for wheel in release.wheels):
            yield from (found for found in self._judged(release, False, unfit) if isinstance(found, WheelFile))
        yield from self._judged(release, yanked, unfit)

    def _others(self, release: Release, best: WheelFile, variants: VariantJudge) -> Iterator[WheelFile]:
        """Further wheels, where the best one is built against versions of others; the last is built against none."""
        seen = {variants.built_against(best)}
        if () in seen:
            return
        try:
            for found in self._judged(release, best.yanked is not None):
                if isinstance(found, WheelFile) and (built := variants.built_against(found)) not in seen:
                    seen.add(built)
                    yield found
                    if not built:
                        return
        except NotKnownYet:
            if not self._settled:
                raise

    def _judged(
        self, release: Release, yanked: bool, unfit: dict[str, None] | None = None
    ) -> Iterator[WheelFile | str]:
        """The wheels that fit, best first: each itself, or why it does not serve.

        unfit: gets the reasons that variants do not serve although their properties say so.
        """
        target = self._target
        fitting = [(rank, wheel) for wheel in release.wheels if (rank := target.tag_rank(wheel.tags)) is not None]
        # of equal ranks the highest build number, of these bundles, for they are smaller, then the first on the page
        fitting.sort(key=lambda choice: (choice[1].build, choice[1].is_bundle), reverse=True)
        wheels = [wheel for _, wheel in sorted(fitting, key=lambda choice: choice[0])]
        refusal = ""
        if labels := {wheel.label for wheel in wheels if wheel.label and self._refuses(wheel, yanked) is None}:
            ranked = self._variants.rank(release, sorted(labels)) if self._variants else Ranked({})
            places, refusal = ranked.places, ranked.refusal
            known = [wheel for wheel in wheels if wheel.label in (places if wheel.label in labels else (wheel.label,))]
            # variants before all others (PEP 825); of one label, the order of tags stands
            wheels = [] if ranked.apart else sorted(known, key=lambda wheel: places.get(wheel.label, len(places)))
        for wheel in wheels:
            reason = self._refuses(wheel, yanked)
            if reason is None and (reason := self._content_refusal(wheel)) and wheel.label and unfit is not None:
                unfit[reason] = None
            yield wheel if reason is None else reason
        if refusal:
            yield refusal

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
