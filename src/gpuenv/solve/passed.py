"""After the search: the pins that are older than they might be, because newer releases' binaries do not serve."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from gpuenv.model.answer import PassedOver, Refusal
from gpuenv.model.version import Version, parse_version
from gpuenv.solve.nodes import DEFAULTS, Candidate, Key, Kind, Need
from gpuenv.solve.offers import admits
from gpuenv.solve.search import Found

__all__ = ["passed_over"]


def passed_over(found: Found) -> tuple[PassedOver, ...]:
    """What the search itself looked at and left, of everything that the final needs admit.

    A release is passed over for its own binaries, or because what it requires cannot be had for theirs; because none of
    its variants is for the target; or because it does not have the extras that a bare requirement takes there.
    """
    telling = _Telling(found)
    older = []
    for key, candidate in sorted(found.chosen.items(), key=lambda item: item[0]):
        if key.kind is Kind.DISTRIBUTION and not key.detail and candidate.index is not None:
            newer = tuple(telling.newer(candidate))
            if newer:
                older.append(PassedOver(key.name, candidate.text, newer))
    return tuple(older)


class _Telling:
    """Why the search left releases, as far as binaries are the reason."""

    def __init__(self, found: Found) -> None:
        self._provider = found.provider
        self._chosen = found.chosen
        self._failures = found.failures
        self._causes: dict[Candidate, str | None] = {}
        self._tried: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in found.failures:
            if candidate.key.kind is Kind.DISTRIBUTION:
                self._tried[candidate.key.name].append(candidate)
        self._needs: dict[Key, list[Need]] = defaultdict(list)
        roots = (need for needs in found.roots.values() for need in needs)
        theirs = (need for one in found.chosen.values() for need in found.provider.get_dependencies(one))
        for need in (*roots, *theirs):
            self._needs[need.key.base].append(need)

    def newer(self, chosen: Candidate) -> Iterator[Refusal]:
        """The releases of a chosen one's name that are newer, newest first; builds of one version count as one."""
        told = dict(self._refusals(chosen.key.name, self._needs[chosen.key]))
        seen = {_public(chosen.text)}
        for version in sorted(told, key=parse_version, reverse=True):
            public = _public(version)
            if public not in seen and public > _public(chosen.text):
                seen.add(public)
                yield Refusal(version, told[version])

    def _refusals(self, name: str, needs: Iterable[Need]) -> Iterator[tuple[str, str]]:
        """The versions that needs admit, with the reason."""
        specifiers = [one for one in self._provider.specifiers(name, needs) if one]
        offers = self._provider.offers(name)
        for release, reason in offers.known_refusals(specifiers):
            by_binaries = any(self._provider.natives.refused(wheel, reason) for wheel in release.wheels)
            if by_binaries or self._provider.variants.refused(release, reason):
                yield release.version, reason
        if Key(Kind.DISTRIBUTION, name, DEFAULTS) in self._chosen:
            for version, reason in self._provider.without_extras[name].items():
                if all(admits(specifier, version) for specifier in specifiers):
                    yield version, reason
        for candidate in self._tried[name]:
            admitted = all(admits(specifier, candidate.text) for specifier in specifiers)
            if admitted and (cause := self._cause(candidate)):
                yield candidate.text, cause

    def _cause(self, candidate: Candidate) -> str | None:
        """The newest release that a candidate failed for, in words; None where binaries are not the reason."""
        if candidate not in self._causes:
            self._causes[candidate] = None  # what failed for its own failure has no other reason
            self._causes[candidate] = self._told(candidate)
        return self._causes[candidate]

    def _told(self, candidate: Candidate) -> str | None:
        failed = self._failures[candidate]
        key = failed[0].key
        if key.kind is not Kind.DISTRIBUTION or any(need.url for need in failed):
            return None
        told = dict(self._refusals(key.name, failed))
        if not told:
            return None
        if key.name == candidate.key.name:  # an extra of it
            return told.get(candidate.text)
        version = max(told, key=parse_version)
        stated = {need.key.base for need in self._provider.seen_dependencies().get(candidate, ())}
        how = "" if key.base in stated else " indirectly"
        return f"requires {key.name}{how}, and {key.name} {version} {told[version]}"


def _public(version: str) -> Version:
    return parse_version(version.partition("+")[0])
