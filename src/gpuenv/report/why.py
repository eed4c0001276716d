"""What a lock says of a node, in words and as a document: a block for each target, equal ones once."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from gpuenv.model.architecture import Fit
from gpuenv.model.locked_graph import Link
from gpuenv.model.rules import RUNTIME_NAMES
from gpuenv.model.runtimes import NAMES
from gpuenv.model.verdict import Outcome
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.model.why import Brings, NeedsIt, Serves, WhyGpu, WhyPackage, WhyRuntime, WhySoname
from gpuenv.report.inspect import printable, size_text

__all__ = ["why_document", "why_page"]

Why: TypeAlias = WhyPackage | WhySoname | WhyGpu | WhyRuntime
Unread: TypeAlias = Mapping[str, tuple[str, ...]]

_LINES = 8  # of one kind, before "and 12 more"
_NAMES = 8  # in one line
_FITS = {
    Fit.EXACT: "exact",
    Fit.COMPATIBLE: "older code of the same major",
    Fit.GENERIC: "generic",
    Fit.JIT: "compiled by the driver",
}
_FACTS = {"read": "facts read from the file", "published": "facts published with gpuenv", None: "no facts asked for"}
_SUPPLIES = {
    "itself": "needs it and brings it itself",
    "system": "needs it",
    "driver": "needs it",
    "machine": "needs it of the machine",
    "allowed": "names it and does without",
    "unknown": "needs it",
}


def why_page(node: str, targets: Mapping[str, Why | None], unread: Unread, *, every: bool = False) -> str:
    """The answer for people. every: no list is cut short."""
    asking = any(isinstance(why, WhyGpu) for why in targets.values())
    blocks: dict[tuple[str, ...], list[str]] = {}
    for name, why in sorted(targets.items(), key=lambda item: item[1] is None):
        if why is None and asking:  # of other targets nothing was asked
            continue
        lines = _Lines(every).of(node, why, unread[name])
        blocks.setdefault(tuple(lines), []).append(name)
    return "\n".join(line for lines, names in blocks.items() for line in _block(", ".join(names), lines))


def _block(label: str, lines: Sequence[str]) -> Iterator[str]:
    start = f"{label}: "
    for number, line in enumerate(lines):
        yield f"{' ' * len(start) if number else start}{printable(line)}"


class _Lines:
    """The lines of one target's block."""

    def __init__(self, every: bool) -> None:
        self._every = every

    def of(self, node: str, why: Why | None, unread: tuple[str, ...]) -> list[str]:
        """All of them. unread: the packages whose facts are not at hand."""
        if why is None:
            return [f"{node} is not in the lock"]
        if isinstance(why, WhyPackage):
            return [*self._package(why)]
        lines = self._soname(node, why) if isinstance(why, WhySoname) else None
        lines = self._gpu(why, known=not unread) if isinstance(why, WhyGpu) else lines
        lines = self._runtime(node, why) if isinstance(why, WhyRuntime) else lines
        return [*(lines or ()), *self._unknown(unread)]

    def _unknown(self, unread: tuple[str, ...]) -> Iterator[str]:
        if unread:
            yield f"no facts at hand of {self._some(unread, ', ')}: `gpuenv sync` reads them"

    def _package(self, why: WhyPackage) -> Iterator[str]:
        for link in why.chain:
            yield from self._step(link, _title(why))
        if not why.chain:
            yield f"no dependency leads to {_title(why)}"
        others = [_dependence(link, why.artifact.name) for link in why.others]
        yield from _labelled("also", self._cut(others))
        artifact = why.artifact
        told = [size_text(artifact.size), f"index {artifact.index}" if artifact.index else artifact.url]
        told += [_FACTS[artifact.facts], *([f"{NAMES[why.runtime[0]]} {why.runtime[1]}"] if why.runtime else [])]
        yield from _labelled("file", [artifact.filename, ", ".join(told)])
        if artifact.variant:
            yield from _labelled("variant", [artifact.variant.label, *self._cut(artifact.variant.properties)])
        yield from self._unknown(why.unread)

    def _step(self, link: Link, goal: str) -> Iterator[str]:
        who = f"{link.by} {link.version}".rstrip()
        if not link.sonames:
            yield f"{who} requires {link.on}{_noted(link)}"
            return
        more = f" and {len(link.sonames) - 1} more" if len(link.sonames) > 1 else ""
        yield f"{who} needs {link.sonames[0]}{more}{_at(link.binary)}"
        provider = goal if goal.startswith(f"{link.on} ") else link.on
        yield f"{link.sonames[0]} is provided by {provider}"

    def _soname(self, soname: str, why: WhySoname) -> Iterator[str]:
        supplies = {need.supply for need in why.needs}
        providers = {need.by for need in why.needs}
        for one in why.brings:
            verb = "is provided by" if one.package in providers else "is carried by"
            yield f"{soname} {verb} {one.package} {one.version}{_at(one.path)}"
        if "machine" in supplies:
            yield f"{soname} has to be on the machine"
        if "system" in supplies:
            yield f"{soname} is the system's ({why.libc})"
        if "driver" in supplies:
            yield f"{soname} comes with the GPU's driver"
        if supplies == {"unknown"} and not why.brings:
            yield f"nobody is known to bring {soname}"
        yield from self._cut([self._need(need, len(providers - {None}) > 1) for need in why.needs])

    def _need(self, need: NeedsIt, several: bool) -> str:
        who = f"{need.package} {need.version}".rstrip()
        does = _SUPPLIES.get(need.supply, "needs it")
        does = f"needs it of {need.by}" if need.by and several else does
        does = "wants it for what is opened only where it is there" if need.plugin else does
        versions = need.versions if self._every else _newest(need.versions)
        return f"{who} {does}{self._in(need.binaries)}" + (f", with {', '.join(versions)}" if versions else "")

    def _gpu(self, why: WhyGpu, *, known: bool) -> Iterator[str]:
        refusing = [one for one in why.packages if one.refused]
        of, is_ = ("a GPU of the target", "is") if why.locked else ("no GPU of the target", "would be")
        if not why.packages:
            yield f"{why.gpu}, {of}: no package is known to have device code"
            return
        verdict = f"{is_} served" if why.served else f"{is_} not served".replace("be not", "not be")
        by = f" by {self._some([one.package for one in refusing], ', ')}" if refusing else ""
        limit = "" if known or why.locked or refusing else ", as far as is known"
        yield f"{why.gpu}, {of}, {verdict}{by}{limit}"
        telling = sorted(why.packages, key=lambda one: (not one.refused, not one.gaps, not one.own, one.package))
        yield from self._cut([self._serves(one) for one in telling])

    def _serves(self, one: Serves) -> str:
        who = f"{one.package} {one.version}:"
        has = f"it has {self._some(one.has, ', ')}"
        if one.outcome is Outcome.OTHER_VENDOR:
            return f"{who} code for other GPUs only, {has}" + ("" if one.refused else "; it runs on the CPU")
        if one.outcome is Outcome.SPECIAL:
            return f"{who} kernels for other GPUs alone, {has}"
        if one.newer_ptx:
            return f"{who} only PTX {one.newer_ptx}, newer than the target's driver compiles"
        if one.best is None:
            return f"{who} nothing that runs, {has}" + ("" if one.refused else "; it is trusted, as the project says")
        text = f"{who} {self._fits(one)}, {one.units} of {one.of} containers"
        if none := [_name(gap.path) for gap in one.gaps if not gap.served]:
            text += f"; nothing for it in {self._some(none, ', ')}"
        if few := [f"{gap.served} of {gap.units} in {_name(gap.path)}" for gap in one.gaps if gap.served]:
            text += f"; only {self._some(few, ', ')}"
        return text

    def _fits(self, one: Serves) -> str:
        """How its code serves, best first: with names for the best way, and for each if nothing is to be cut short."""
        fits = [(fit, [name for name, found in one.by if found == fit]) for fit in _FITS]
        told = [f"{_FITS[fit]} ({self._some(names, ' ')})" for fit, names in fits if names]
        return " or ".join(told if self._every else [told[0], *(one.partition(" (")[0] for one in told[1:])])

    def _runtime(self, runtime: str, why: WhyRuntime) -> Iterator[str]:
        for kind in why.kinds:
            label = f"{RUNTIME_NAMES[runtime]} {kind.name}" if kind.name.isdecimal() else kind.name
            yield from _labelled(label, self._cut([f"{name}{_at(path)}" for name, path in kind.witnesses]))
        if why.clash:
            yield f"several kinds of {RUNTIME_NAMES[runtime]} in one environment: one process should have one"

    def _cut(self, lines: Sequence[str]) -> list[str]:
        if self._every or len(lines) <= _LINES + 1:
            return [*lines]
        return [*lines[:_LINES], f"and {len(lines) - _LINES} more"]

    def _in(self, paths: Sequence[str]) -> str:
        if len(paths) < 2 or self._every:
            return _at(", ".join(paths))
        return f" ({paths[0]} and {len(paths) - 1} more)"

    def _some(self, names: Sequence[str], between: str) -> str:
        if self._every or len(names) <= _NAMES:
            return between.join(names)
        return f"{between.join(names[:_NAMES])} and {len(names) - _NAMES} more"


def _title(why: WhyPackage) -> str:
    return f"{why.artifact.name} {why.artifact.version}"


def _dependence(link: Link, name: str) -> str:
    who = f"{link.by} {link.version}".rstrip()
    if link.sonames:
        more = f" and {len(link.sonames) - 1} more" if len(link.sonames) > 1 else ""
        return f"{who} needs {link.sonames[0]}{more} of it{_at(link.binary)}"
    return f"{who} requires {'it' if link.on == name else link.on}{_noted(link)}"


def _noted(link: Link) -> str:
    return f" ({link.note})" if link.note else ""


def _newest(versions: Sequence[str]) -> list[str]:
    """The newest symbol version of each family: of `GLIBC_2.2.5` and `GLIBC_2.28` the latter."""
    newest: dict[str, str] = {}
    for version in versions:
        family = version.rpartition("_")[0] or version
        newest[family] = max(newest.get(family, version), version, key=_numbers)
    return list(newest.values())


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", version)]


def _labelled(label: str, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{' ' * (len(label) + 2) if number else f'{label}: '}{line}"


def _at(path: str | None) -> str:
    return f" ({path})" if path else ""


def _name(path: str) -> str:
    return path.rpartition("/")[2]


# the document


def why_document(
    node: str, kind: str, targets: Mapping[str, Why | None], unread: Unread, warnings: Sequence[str]
) -> dict[str, object]:
    """The document of `why --json`."""
    found = {name: _target(why) if why is not None else None for name, why in targets.items()}
    for name, record in found.items():
        if record is not None:
            record.setdefault("unread", list(unread[name]))
    return {"node": node, "kind": kind, "targets": found, "warnings": list(warnings)}


def _target(why: Why) -> dict[str, object]:
    return next(make(why) for type_, make in _RECORDS.items() if isinstance(why, type_))


def _package_record(why: WhyPackage) -> dict[str, object]:
    artifact = why.artifact
    return {
        "version": artifact.version,
        "chain": [_link(link) for link in why.chain],
        "others": [_link(link) for link in why.others],
        "filename": artifact.filename,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "index": artifact.index,
        "url": artifact.url,
        "facts": artifact.facts,
        "runtime": {"vendor": why.runtime[0], "major": why.runtime[1]} if why.runtime else None,
        "unread": list(why.unread),
        "default_extras": dict(why.default_extras),
        "instead_of": list(why.instead_of),
        "variant": _variant(artifact.variant),
    }


def _variant(said: WheelVariant | None) -> dict[str, object] | None:
    return {"label": said.label, "properties": list(said.properties)} if said else None


def _link(link: Link) -> dict[str, object]:
    return {
        "by": link.by,
        "version": link.version or None,
        "on": link.on,
        "sonames": list(link.sonames),
        "binary": link.binary,
        "note": link.note or None,
    }


def _soname_record(why: WhySoname) -> dict[str, object]:
    return {"needed_by": [_need(need) for need in why.needs], "brought_by": [_brings(one) for one in why.brings]}


def _need(need: NeedsIt) -> dict[str, object]:
    return {
        "package": need.package,
        "version": need.version or None,
        "binaries": list(need.binaries),
        "versions": list(need.versions),
        "supply": need.supply,
        "by": need.by,
        "plugin": need.plugin,
    }


def _brings(one: Brings) -> dict[str, object]:
    return {"package": one.package, "version": one.version, "path": one.path}


def _gpu_record(why: WhyGpu) -> dict[str, object]:
    return {
        "gpu": str(why.gpu),
        "locked": why.locked,
        "served": why.served,
        "packages": [_serves(one) for one in why.packages],
    }


def _serves(one: Serves) -> dict[str, object]:
    return {
        "package": one.package,
        "version": one.version,
        "outcome": one.outcome.name.lower().replace("_", "-"),
        "refused": one.refused,
        "own": one.own,
        "fit": one.best.name.lower() if one.best is not None else None,
        "by": {name: fit.name.lower() for name, fit in one.by},
        "units": one.units,
        "of": one.of,
        "gaps": [{"path": gap.path, "units": gap.served, "of": gap.units} for gap in one.gaps],
        "has": list(one.has),
        "newer_ptx": one.newer_ptx,
    }


def _runtime_record(why: WhyRuntime) -> dict[str, object]:
    return {
        "kinds": [
            {"kind": kind.name, "packages": [{"package": name, "path": path} for name, path in kind.witnesses]}
            for kind in why.kinds
        ],
        "clash": why.clash,
    }


_RECORDS: dict[type, Callable[..., dict[str, object]]] = {
    WhyPackage: _package_record,
    WhySoname: _soname_record,
    WhyGpu: _gpu_record,
    WhyRuntime: _runtime_record,
}
