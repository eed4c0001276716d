"""After the search: which distribution meets which need of whose binaries, and what is left to the machine."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from gpuenv.model.answer import Pin
from gpuenv.model.carries import carries
from gpuenv.model.clash import clashes, runtimes
from gpuenv.model.demand import HostDemand
from gpuenv.model.host_libraries import HostPolicy, allowed_by
from gpuenv.model.rules import RUNTIME_NAMES
from gpuenv.solve.companions import code_elsewhere
from gpuenv.solve.native import Way
from gpuenv.solve.nodes import Candidate, Key, Kind, Need
from gpuenv.solve.search import Found

__all__ = ["Bound", "bind"]

_SHOWN = 3


class Bound(NamedTuple):
    """The pins with what their binaries need. libraries, host: what the project itself needs."""

    pins: dict[str, Pin]
    libraries: dict[str, tuple[str, ...]]
    host: tuple[HostDemand, ...]
    warnings: tuple[str, ...]


def bind(found: Found, pins: Mapping[str, Pin]) -> Bound:
    """Bind every need of the chosen wheels' live binaries.

    What no table knows is met where a distribution that the needing one requires, directly or not, carries it: that
    one is imported first, and the loader takes what is loaded already. Anything else is a demand on the machine.
    """
    ways = {name: _way(found, name) for name in pins}
    bound = {}
    for name, pin in pins.items():
        way = ways[name]
        wanted = {one: asked for one in _wanted(found, name) if (asked := _way_of_library(found, one)) is not None}
        if way is None and not wanted:
            bound[name] = pin
            continue
        needs = [need for one in (_chosen(found, name), *wanted) for need in found.provider.get_dependencies(one)]
        libraries = _providers(found, needs)
        host: list[HostDemand] = []
        for demand in _demands(way, wanted.values()):
            carrier = _carrier(found, pins, name, demand.soname)
            if carrier is None:
                host.append(demand)
            else:
                libraries[carrier].add(demand.soname)
        bound[name] = replace(
            pin,
            libraries=_sorted(libraries),
            host=tuple(sorted(host)),
            runtime=way.asked.runtime_major if way else None,
            facts="read",
        )
    roots = [need for needs in found.roots.values() for need in needs]
    own = found.provider.natives.root_host()
    policy = allowed_by(found.provider.target)
    warnings = [*_host_warnings(bound, policy), *_root_warnings(found, own, policy), *_clashes(found, bound, ways)]
    warnings += code_elsewhere(found, pins, ways)
    return Bound(bound, _sorted(_providers(found, roots)), own, tuple(warnings))


def _chosen(found: Found, name: str) -> Candidate:
    return found.chosen[Key(Kind.DISTRIBUTION, name)]


def _way(found: Found, name: str) -> Way | None:
    return found.provider.natives.way_of(_chosen(found, name), found.chosen)


def _wanted(found: Found, name: str) -> list[Candidate]:
    """The libraries of a distribution that others need."""
    keys = sorted(key for key in found.chosen if key.kind is Kind.LIBRARY and key.name == name)
    return [found.chosen[key] for key in keys]


def _way_of_library(found: Found, library: Candidate) -> Way | None:
    way = found.provider.natives.library_way(library.wheel, library.key.detail) if library.wheel else None
    return way if isinstance(way, Way) and (way.wanted or way.host) else None


def _demands(way: Way | None, more: Iterable[Way]) -> Iterator[HostDemand]:
    """What a distribution asks of the machine, each soname once."""
    by_soname: dict[str, HostDemand] = {}
    for one in (*([way] if way else []), *more):
        for demand in one.host:
            by_soname.setdefault(demand.soname, demand)
    return iter(by_soname.values())


def _providers(found: Found, needs: Iterable[Need]) -> dict[str, set[str]]:
    """Distribution -> the sonames of it that some needs are about, through the choice of a major."""
    libraries: dict[str, set[str]] = defaultdict(set)
    for need in needs:
        if need.key.kind is Kind.MAJOR:
            for name, sonames in _providers(found, found.chosen[need.key].needs).items():
                libraries[name] |= sonames
        elif need.key.kind is Kind.SONAME:
            for row in found.chosen[need.key].needs:
                if row.carries:
                    libraries[row.key.name].add(need.key.name)
    return libraries


def _carrier(found: Found, pins: Mapping[str, Pin], name: str, soname: str) -> str | None:
    """The distribution, among those that one requires, whose binaries were looked at and have a library."""
    natives, target = found.provider.natives, found.provider.target
    for other in _required(pins, name):
        candidate = _chosen(found, other)
        facts = natives.judge(candidate.wheel).facts if candidate.wheel else None
        if facts is not None and carries(facts, soname, target) is not None:
            return other
    return None


def _required(pins: Mapping[str, Pin], name: str) -> Iterator[str]:
    """The names that a distribution requires, directly or not, without itself, sorted."""
    seen = {name}
    todo = [name]
    while todo:
        pin = pins[todo.pop()]
        keys = [*pin.requires, *(key for extra in pin.extras.values() for key in extra)]
        for required in (key.partition("[")[0] for key in keys):
            if required not in seen:
                seen.add(required)
                todo.append(required)
    return iter(sorted(seen - {name}))


def _sorted(libraries: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(sonames)) for name, sonames in sorted(libraries.items())}


def _host_warnings(pins: Mapping[str, Pin], policy: HostPolicy) -> Iterator[str]:
    """What the machine must have and the target does not say it has."""
    for name, pin in pins.items():
        if host := tuple(demand for demand in pin.host if not policy.hosts(demand.soname)):
            yield f"{name} {pin.version} needs {_listed(host)} of the machine ({host[0].by})"


def _root_warnings(found: Found, host: tuple[HostDemand, ...], policy: HostPolicy) -> Iterator[str]:
    if host := tuple(demand for demand in host if not policy.hosts(demand.soname)):
        yield f"{found.provider.project_name} needs {_listed(host)} of the machine (`native` in tool.gpuenv)"


def _listed(host: tuple[HostDemand, ...]) -> str:
    sonames = [demand.soname for demand in host]
    more = f" and {len(sonames) - _SHOWN} more" if len(sonames) > _SHOWN else ""
    return ", ".join(sonames[:_SHOWN]) + more


def _clashes(found: Found, pins: Mapping[str, Pin], ways: Mapping[str, Way | None]) -> Iterator[str]:
    """Runtimes of which one process should have one, and has several kinds; who brings or needs each, and where."""
    by_distribution = {}
    for name in pins:
        wheel = _chosen(found, name).wheel
        facts = found.provider.natives.judge(wheel).facts if wheel else None
        way = ways[name]
        if facts is not None and way is not None:
            by_distribution[name] = runtimes(facts, way.asked)
    for clash in clashes(by_distribution):
        told = [f"{kind.name}: {_witnesses(pins, kind.witnesses)}" for kind in clash.kinds]
        yield f"several kinds of {RUNTIME_NAMES[clash.runtime]} in one environment ({'; '.join(told)})"


def _witnesses(pins: Mapping[str, Pin], witnesses: tuple[tuple[str, str], ...]) -> str:
    shown = [f"{name} {pins[name].version} in {path}" for name, path in witnesses[:_SHOWN]]
    more = [f"and {len(witnesses) - _SHOWN} more"] if len(witnesses) > _SHOWN else []
    return ", ".join([*shown, *more])
