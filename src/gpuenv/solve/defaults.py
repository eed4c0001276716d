"""Which extras a bare requirement takes: what the project says, else the publisher, else Default-Extra (PEP 771).

A rule that names extras none of which a release has makes that release unfit for a target with a GPU: nothing else says
so well that it has no code for it. Without a GPU nothing is taken, and somebody is told; but a name in the project's
own rules that no release has is misspelt.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from gpuenv.model.distribution import Metadata, WheelFile
from gpuenv.model.selectors import Chosen, Machine, Miss, Selectors, machines, parse_selector, siblings, walk
from gpuenv.model.target import Target

__all__ = ["DefaultChoice", "Defaults", "has_defaults", "meant"]

PROJECT, PUBLISHER = "project", "publisher"
_PLACES = {PROJECT: "tool.gpuenv.default-extras", PUBLISHER: "its default-extras.json"}
_SHOWN = 6
_RULES = 3


class DefaultChoice(NamedTuple):
    """What a bare requirement on one release takes. refusal: why the release does not serve; None: it does.

    sought: extras that the project names and this release lacks; if no other has one, the release does not serve for
    the reason in doubt.
    """

    extras: tuple[Chosen, ...] = ()
    refusal: str | None = None
    warnings: tuple[str, ...] = ()
    sought: frozenset[str] = frozenset()
    doubt: str = ""


def has_defaults(metadata: Metadata) -> bool:
    """Does its publisher give a distribution default extras?"""
    return bool(metadata.default_extras or metadata.default_extras_by)


class Defaults:
    """The default extras of one target. tables: the project's selectors by distribution."""

    def __init__(self, tables: Mapping[str, Selectors], target: Target) -> None:
        self._tables = tables
        self._machines = machines(target)
        self._known: dict[str, DefaultChoice] = {}

    def of(self, key: str, name: str, metadata: Metadata) -> DefaultChoice:
        """What a bare requirement on a name takes of the wheel with this key: what its GPUs take, together."""
        if key not in self._known:
            self._known[key] = self._choice(name, metadata)
        return self._known[key]

    def likely(self, name: str, wheel: WheelFile, metadata: Metadata) -> tuple[str, ...]:
        """The extras alone; of distributions that have none by default without a look at the target."""
        if name not in self._tables and not has_defaults(metadata):
            return ()
        return tuple(one.extra for one in self.of(wheel.key, name, metadata).extras)

    def declined(self, name: str, metadata: Metadata) -> frozenset[str]:
        """The GPUs, or the platform, on which a rule of the project or the publisher says that nothing is taken."""
        found = set()
        for machine in self._machines:
            said = (walk(table, machine, metadata.extras, who) for who, table in self._sources(name, metadata))
            if next((one for one in said if one is not None), None) == ():
                found.add(machine.name)
        return frozenset(found)

    def _sources(self, name: str, metadata: Metadata) -> list[tuple[str, Selectors]]:
        sources: list[tuple[str, Selectors]] = []
        if name in self._tables:
            sources.append((PROJECT, self._tables[name]))
        if metadata.default_extras_by and not isinstance(metadata.default_extras_by, str):
            said = {parse_selector(text) or text: extras for text, extras in metadata.default_extras_by}
            sources.append((PUBLISHER, said))
        return sources

    def _choice(self, name: str, metadata: Metadata) -> DefaultChoice:
        sources = self._sources(name, metadata)
        found: dict[tuple[str, str], Chosen] = {}
        warnings: dict[str, None] = {}
        sought, doubt = frozenset[str](), ""
        for machine in self._machines:
            taken = _taken(machine, sources, metadata)
            if taken is None:
                return DefaultChoice(refusal=f"announces {metadata.default_extras_by}")
            if isinstance(taken, Miss):
                if machine.is_gpu:
                    return DefaultChoice(refusal=_refusal(machine, taken, metadata.extras))
                warnings[_none_taken(taken, metadata.extras)] = None
                if all(one.who == PROJECT and one.plain for one in taken.rules):
                    sought = frozenset(one.extra for one in taken.rules)
                    doubt = _refusal(machine, taken, metadata.extras)
                continue
            found.update({(one.extra, one.why): one for one in taken})
            warnings.update(dict.fromkeys(_left(machine, taken, sources, metadata)))
        extras = tuple(found[key] for key in sorted(found))
        told = tuple(f"{name} {metadata.version} {text}" for text in warnings)
        return DefaultChoice(extras, None, told, sought, doubt)


def _taken(
    machine: Machine, sources: Sequence[tuple[str, Selectors]], metadata: Metadata
) -> tuple[Chosen, ...] | Miss | None:
    """What the first source that says something of a machine says; None: it may, and cannot be read."""
    for who, table in sources:
        taken = walk(table, machine, metadata.extras, who)
        if taken is not None:
            return taken
    if isinstance(metadata.default_extras_by, str):
        return None
    return tuple(Chosen(extra, "Default-Extra") for extra in metadata.default_extras if extra in metadata.extras)


def _left(
    machine: Machine, taken: Sequence[Chosen], sources: Sequence[tuple[str, Selectors]], metadata: Metadata
) -> Iterator[str]:
    """Extras that the rule that won names beside those that exist; and those of rules before it that seem misspelt."""
    for who, table in sources:
        if not taken or taken[0].who != who:
            continue
        won = taken[0].selector
        for miss in _misses(machine, table, won, who, metadata):
            yield f"{_asked(miss)}{meant(miss.rules[0].extra, metadata.extras)}"
        for level in machine.levels[: machine.levels.index(won)] if who == PROJECT else ():
            for miss in _misses(machine, table, level, who, metadata):
                if miss.rules[0].plain and (near := meant(miss.rules[0].extra, metadata.extras)):
                    yield f"{_asked(miss)}{near}"


def _misses(machine: Machine, table: Selectors, selector: str, who: str, metadata: Metadata) -> Iterator[Miss]:
    """The extras that one row names in vain, each by itself."""
    for template in table.get(selector, ()):
        miss = walk({selector: (template,)}, machine, metadata.extras, who)
        if isinstance(miss, Miss):
            yield miss


def _refusal(machine: Machine, miss: Miss, extras: Sequence[str]) -> str:
    """Which rule asks for what, and what there is: nearest first, but what the rule names on other machines last."""
    others = siblings(miss.rules[0].template, extras)
    near = get_close_matches(miss.rules[0].extra, extras, len(extras) or 1, 0.0)
    near.sort(key=lambda extra: extra in others)
    more = f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
    has = f"it has {', '.join(near[:_SHOWN])}{more}" if near else "it has no extras"
    return f"{_asked(miss, machine)}; {has}"


def _none_taken(miss: Miss, extras: Sequence[str]) -> str:
    return f"{_asked(miss)}: none is taken{meant(miss.rules[0].extra, extras)}"


def _asked(miss: Miss, machine: Machine | None = None) -> str:
    """`has no extra device-gfx942, which tool.gpuenv.default-extras asks for on gfx942 (amd = device-{gfx})`."""
    names = " or ".join(dict.fromkeys(one.extra for one in miss.rules[:_RULES]))
    rules = ", ".join(f"{one.selector} = {one.template}" for one in miss.rules[:_RULES])
    where = f" on {machine.name}" if machine else ""
    return f"has no extra {names}, which {_PLACES[miss.rules[0].who]} asks for{where} ({rules})"


def meant(extra: str, extras: Sequence[str]) -> str:
    """The end of a sentence about an extra that is none: which one was probably meant."""
    near = get_close_matches(extra, extras, 1, 0.6)
    return f"; did you mean `{near[0]}`?" if near else ""
