"""What stands for a requirement: overrides, alternatives, and the sources that the project names."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from gpuenv.model.requirement import Requirement
from gpuenv.solve.task import Task

__all__ = ["Replacements", "short"]

_OVERRIDDEN = "as tool.gpuenv.overrides says"
_ALTERNATIVE = "as tool.gpuenv.alternatives says"


class Replacements:
    """What a project says of requirements, whoever states them, on the target of a task."""

    def __init__(self, task: Task) -> None:
        self._alternatives = task.alternatives
        self._sources = task.sources
        self._environment = task.target.marker_environment
        self._overrides: dict[str, list[Requirement]] = defaultdict(list)
        for override in task.overrides:
            self._overrides[override.name].append(override)
        self._names = {*self._overrides, *task.alternatives, *task.sources}

    def of(self, requirement: Requirement, text: str, whose: str = "") -> Iterator[tuple[Requirement, str]]:
        """What stands for a requirement, each with its words.

        text: the words of the requirement itself. whose: the distribution that states it, whose own requirements on
        what it stands for are left to it, for it cannot be meant instead.
        """
        if requirement.name not in self._names:
            yield requirement, text
            return
        for one, words in self._replaced(requirement, text, whose):
            source = self._sources.get(one.name)
            yield (one, words) if source is None else (replace(one, url=source), f"{words} (from {source})")

    def _replaced(self, requirement: Requirement, text: str, whose: str) -> Iterator[tuple[Requirement, str]]:
        """After overrides, then after alternatives and what overrides say of those."""
        for one, words in self._overridden(requirement, text):
            other, names = one, {one.name}
            while other.name in self._alternatives:  # the manifest has no circle of them
                other = _alternative(other, self._alternatives[other.name])
                names.add(other.name)
            if other is one or whose in names:
                yield one, words
            else:
                yield from self._overridden(other, f"{short(other)} (instead of {one.name}, {_ALTERNATIVE})")

    def _overridden(self, requirement: Requirement, text: str) -> list[tuple[Requirement, str]]:
        """The requirement, or what overrides say instead."""
        if requirement.name not in self._overrides:
            return [(requirement, text)]
        applying = [override for override in self._overrides[requirement.name] if override.applies(self._environment)]
        return [(_instead(requirement, override), f"{short(override)} ({_OVERRIDDEN})") for override in applying]


def _instead(requirement: Requirement, override: Requirement) -> Requirement:
    extras = tuple(sorted({*requirement.extras, *override.extras}))
    none = not extras and (requirement.none or override.none)
    return Requirement(override.name, extras, override.specifier, override.url, None, none)


def _alternative(requirement: Requirement, other: Requirement) -> Requirement:
    """The same extras of the other distribution, in its own versions if any are stated."""
    return replace(requirement, name=other.name, specifier=other.specifier or requirement.specifier, url=None)


def short(requirement: Requirement) -> str:
    """A requirement in words, without its marker."""
    name, extras, specifier = requirement.name, requirement.extras, requirement.specifier
    return str(Requirement(name, extras, specifier, requirement.url, None, requirement.none))
