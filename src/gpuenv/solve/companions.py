"""Device code in distributions of its own: do the parts of a runtime serve each GPU of the target?

The ordinary rule refuses no loose files of device code, for who has them may have others, or a compiler. What serves a
GPU is known of all parts together, after the search; what is amiss is a warning.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.answer import Pin
from gpuenv.model.coverage import served
from gpuenv.model.distribution import Metadata
from gpuenv.model.facts import NativeFacts
from gpuenv.model.host_libraries import vendor_of
from gpuenv.model.rules import PackageRules, Scan
from gpuenv.model.selectors import Machine, machines
from gpuenv.model.target import Target
from gpuenv.model.verdict import Outcome, driver_isa
from gpuenv.model.version import normal_name
from gpuenv.solve.device import device_extras, only_code, required_names
from gpuenv.solve.native import Way
from gpuenv.solve.nodes import Kind
from gpuenv.solve.search import Found

__all__ = ["Member", "code_elsewhere", "unserved"]

_SHOWN = 3
_DEVICE = "device-"
_NONE: frozenset[str] = frozenset()


class Member(NamedTuple):
    """One distribution of a solution.

    offers: its extras for architectures of the target's vendor. chosen: was one of them taken, or what a rule says for
    the target's GPUs? named: by extra, the distributions that it requires then. requires: those that it requires
    anyway. code: the architectures of its device code if it holds nothing else (it is a part), "" if not. serves: the
    GPUs that its code serves. excused: those for which it needs none. judged: were its binaries looked at?
    """

    name: str
    version: str
    offers: tuple[str, ...] = ()
    chosen: bool = False
    named: Mapping[str, frozenset[str]] = {}
    requires: frozenset[str] = frozenset()
    code: str = ""
    serves: frozenset[str] = frozenset()
    excused: frozenset[str] = frozenset()
    judged: bool = True

    @property
    def devices(self) -> frozenset[str]:
        """The distributions that its extras `device-…` require, without itself."""
        return _NONE.union(*(names for extra, names in self.named.items() if _is_device(extra))) - {self.name}


def code_elsewhere(found: Found, pins: Mapping[str, Pin], ways: Mapping[str, Way | None]) -> Iterator[str]:
    """Warnings about the parts of a solution. ways: how each distribution's binaries are used, None: nobody looked."""
    provider = found.provider
    target, rules, vendor = provider.target, provider.rules, vendor_of(provider.target)
    if vendor is None or target.gpu_code == "forbid" or rules.scan is Scan.NONE:
        return
    known, code, offers = provider.looked_at().metadata, {}, {}
    for name, pin in pins.items():
        facts, said = provider.natives.judge(pin.wheel).facts, known[pin.wheel.key]
        code[name] = only_code(facts, vendor) if facts else ""
        offers[name] = device_extras(said.extras, vendor)
    if not any(code.values()) and not any(offers.values()):
        return
    gpus = machines(target)
    taken = {key.name for key in found.chosen if key.kind is Kind.DISTRIBUTION and _is_device(key.detail)}
    members = {
        name: Member(
            name,
            pin.version,
            offers[name],
            name in taken or any(one.selector for one in pin.default_extras),
            _named(known[pin.wheel.key]),
            frozenset(key.partition("[")[0] for key in pin.requires),
            code[name],
            _serves(ways[name], provider.natives.judge(pin.wheel).facts, target, rules.of(name)),
            frozenset(gpu.name for gpu in gpus)
            if rules.of(name).gpu_code == "trust" or target.falls_back(name)
            else provider.defaults.declined(name, known[pin.wheel.key]),
            judged=ways[name] is not None,
        )
        for name, pin in pins.items()
    }
    yield from unserved(members, gpus)


def _named(said: Metadata) -> dict[str, frozenset[str]]:
    return {extra: frozenset(required_names(lines)) for extra, lines in said.by_extra.items()}


def _serves(way: Way | None, facts: NativeFacts | None, target: Target, rules: PackageRules) -> frozenset[str]:
    """The GPUs that its binaries serve, or its files of device code, which count here beside binaries, too."""
    if way is None or facts is None:
        return frozenset()
    loose = [found for found in facts.objects if found.device_code and not found.for_host]
    isa, ptx = driver_isa(target), target.ptx and rules.ptx
    return frozenset(
        str(verdict.gpu)
        for verdict in way.asked.verdicts
        if verdict.outcome is Outcome.SERVED or served(loose, verdict.gpu, driver_isa=isa, ptx=ptx).best is not None
    )


def unserved(members: Mapping[str, Member], gpus: Sequence[Machine]) -> Iterator[str]:
    """Which GPUs neither a runtime nor any of its parts has code for, and which runtimes were taken without parts.

    members: by name, in a fixed order. Nothing is said where parts were not looked at.
    """
    parts: dict[str, list[Member]] = defaultdict(list)
    for part in members.values():
        for owner in _owners(part, members) if part.code else ():
            parts[owner].append(part)
    for member in members.values():
        brought = [members[name] for name in member.devices if name in members]
        unknown = any(not one.judged and not one.offers for one in brought)
        family = [member, *parts[member.name]]
        without = [gpu for gpu in gpus if not any(gpu.name in one.serves | one.excused for one in family)]
        if not without or unknown:
            continue
        if parts[member.name]:
            yield _none_serves(member, parts[member.name], without, _wanted(member, without, members))
        elif member.offers and not brought and not member.chosen:
            yield _none_taken(member, without, _wanted(member, without, members))


def _owners(part: Member, members: Mapping[str, Member]) -> Iterable[str]:
    """Whose part it is: whose extras name it, those first that it requires; else whom alone it requires; else its own.

    A distribution that it requires, and that nobody looked at for it has nothing to do with GPUs, owns no part.
    """
    naming = [one.name for one in members.values() if any(part.name in names for names in one.named.values())]
    if naming:
        return [name for name in naming if name in part.requires] or naming
    only = [name for name in part.requires if name in members]
    return only if len(only) == 1 and members[only[0]].judged else [part.name]


def _none_serves(owner: Member, parts: Sequence[Member], without: Sequence[Machine], wanted: str) -> str:
    gpus = ", ".join(gpu.name for gpu in without)
    help_ = f"; name {wanted}" if wanted else ""
    if parts == [owner]:
        return f"{owner.name} {owner.version} has no code for {gpus} (only {owner.code}){help_}"
    told = [f"{part.name}: {part.code}" for part in parts[:_SHOWN]]
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return f"{owner.name} {owner.version}: none of its parts has code for {gpus} ({'; '.join(told)}{more}){help_}"


def _none_taken(member: Member, without: Sequence[Machine], wanted: str) -> str:
    told = f"{member.name} {member.version} was taken without device code for {', '.join(gpu.name for gpu in without)}"
    if wanted:
        return f"{told}: name {wanted}"
    more = f" and {len(member.offers) - _SHOWN} more" if len(member.offers) > _SHOWN else ""
    return f"{told}, and has no extra for it (it has {', '.join(member.offers[:_SHOWN])}{more})"


def _wanted(member: Member, without: Iterable[Machine], members: Mapping[str, Member]) -> str:
    """The requirement that brings parts for some GPUs that are not there, `"foo-libs[device-gfx942]"`; "" for none."""
    extras = []
    for gpu in without:
        names = (normal_name(f"{_DEVICE}{level}") for level in gpu.levels)
        more = (name for name in names if name in member.offers and member.named.get(name, _NONE) - members.keys())
        extras += [*more][:1]
    return f'"{member.name}[{",".join(dict.fromkeys(extras))}]"' if extras else ""


def _is_device(extra: str) -> bool:
    return extra.startswith(_DEVICE)
