"""A Conflict in words: the shortest true chain from what the project asked to the fact that forbids it, then hints."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpuenv.errors import NoSolution
from gpuenv.model.answer import Conflict, Demand, Refusal
from gpuenv.model.architecture import parse_gpu
from gpuenv.model.rules import RUNTIME_NAMES
from gpuenv.model.runtimes import runtime_of
from gpuenv.model.target import SUPPORTED_PYTHONS
from gpuenv.model.url import redacted
from gpuenv.model.version import InvalidSpecifier, parse_specifier
from gpuenv.report.variant_hints import VARIANT_HINTS
from gpuenv.toml.write import key

__all__ = ["no_solution"]

_SHOWN_REFUSALS = 3
_RUNTIME = "runtime:"
_CONSTRAINTS = "tool.gpuenv.constraints"
_OVERRIDES = "tool.gpuenv.overrides"
_ALTERNATIVES = "tool.gpuenv.alternatives"


def no_solution(conflict: Conflict) -> NoSolution:
    """The error a person reads."""
    causes = [line for chain in conflict.chains for line in _chain(chain)]
    causes = list(dict.fromkeys([*causes, *_facts(conflict)]))
    return NoSolution(
        f"no solution for target {conflict.target}",
        causes=[redacted(cause) for cause in causes],
        hints=[redacted(hint) for hint in dict.fromkeys([*_hints(conflict), *_default_hints(conflict)])],
    )


def _chain(chain: Sequence[Demand]) -> Iterable[str]:
    for demand in chain:
        who = f"{demand.parent} {demand.version}".strip()
        also = f" (so do {demand.tried - 1} other versions of it that were tried)" if demand.tried > 2 else ""
        also = " (so does the other version that was tried)" if demand.tried == 2 else also
        verb = "allows only" if demand.parent == _CONSTRAINTS else demand.verb
        yield f"{who} {verb} {demand.requires}{also}"


# facts: where the chains end


def _facts(conflict: Conflict) -> Iterable[str]:
    subject = conflict.subject
    if subject.startswith(_RUNTIME):
        yield f"one-runtime in tool.gpuenv allows one {_runtime(conflict)} in an environment"
    elif conflict.provides:
        yield f"target {conflict.target} brings {subject.removeprefix('host:').title()} {conflict.provides}"
    elif not conflict.known:
        yield f"no configured index {'provides' if conflict.soname else 'knows'} {subject}"
    elif excluded := _excludes_itself(conflict):
        yield f"{excluded} excludes itself"
    elif conflict.satisfying:
        yield f"{subject} {conflict.satisfying} satisfies all of these, and fails for another reason"
    elif conflict.refusals:
        yield from _refused(subject, conflict.refusals)
    elif not conflict.newest:
        yield f"{subject} can come from one URL only"
    elif len({chain[-1].requires for chain in conflict.chains}) > 1:
        yield f"no version of {subject} satisfies all of these"
    else:
        yield f"no version of {subject} satisfies this ({_there_is(conflict)})"


def _runtime(conflict: Conflict) -> str:
    return RUNTIME_NAMES[conflict.subject.removeprefix(_RUNTIME)]


def _there_is(conflict: Conflict) -> str:
    others = [version for version in conflict.nearest if version != conflict.newest]
    if not others:
        return f"the newest is {conflict.newest}"
    verb = "is" if len(others) == 1 else "are"
    return f"there {verb} {', '.join(others)}, and the newest is {conflict.newest}"


def _excludes_itself(conflict: Conflict) -> str:
    """The version of the subject, if one, that demands another version of it."""
    for chain in conflict.chains:
        if chain[-1].version and chain[-1].parent.partition("[")[0] == conflict.subject:
            return f"{conflict.subject} {chain[-1].version}"
    return ""


def _refused(subject: str, refusals: Sequence[Refusal]) -> Iterable[str]:
    """Versions with the same reason share a line, newest first."""
    by_reason = _by_reason(refusals)
    for reason, versions in list(by_reason.items())[:_SHOWN_REFUSALS]:
        shown = versions[0] if len(versions) == 1 else f"{versions[0]} (and {len(versions) - 1} older)"
        yield f"{subject} {shown} {reason}"
    if hidden := sum(len(versions) for versions in list(by_reason.values())[_SHOWN_REFUSALS:]):
        yield f"{hidden} older version{'s' if hidden > 1 else ''} would not do either"


def _by_reason(refusals: Sequence[Refusal]) -> dict[str, list[str]]:
    """The refused versions by reason, newest first."""
    found: dict[str, list[str]] = {}
    for refusal in refusals:
        found.setdefault(refusal.reason, []).append(refusal.version)
    return found


# hints: what would help, best first


def _hints(conflict: Conflict) -> Iterable[str]:
    if conflict.subject.startswith(_RUNTIME):
        name = conflict.subject.removeprefix(_RUNTIME)
        yield f'take "{name}" out of `one-runtime` in [tool.gpuenv], and be warned instead'
    elif conflict.provides:
        yield from _python_hints(conflict)
    elif conflict.soname:
        yield from _provider_hints(conflict, [conflict.subject])
    elif not conflict.known:
        yield f"check the spelling of `{conflict.subject}`, or add the index that has it under [[tool.gpuenv.index]]"
    elif conflict.refusals:
        yield from _refusal_hints(conflict)
    elif not _excludes_itself(conflict) and not conflict.satisfying:
        yield from _demand_hints(conflict)


def _python_hints(conflict: Conflict) -> Iterable[str]:
    for chain in conflict.chains:
        asked = chain[-1].requires.removeprefix("Python ")
        if python := _python_for(asked):
            yield f'set python = "{python}" in [tool.gpuenv.targets.{conflict.target}]'
        if not chain[-1].version:
            yield "widen requires-python in [project]"


def _refusal_hints(conflict: Conflict) -> Iterable[str]:
    """One hint for each kind of refusal, about the newest version of which it is true."""
    kinds: dict[str, Refusal] = {}
    for refusal in conflict.refusals:
        of_wheel = replace(refusal, reason=_OF_VARIANT.sub("", refusal.reason))
        kinds.setdefault(next((start for start in _HINTS if of_wheel.reason.startswith(start)), ""), of_wheel)
    shown = list(_by_reason(conflict.refusals))[:_SHOWN_REFUSALS]
    for kind, refusal in kinds.items():
        if kind and (kind != _NO_TAG or refusal.reason in shown):  # to compare with wheels one has to see them
            yield from _HINTS[kind](conflict, refusal)


def _demand_hints(conflict: Conflict) -> Iterable[str]:
    """Who could give way: the project's own lines first, then an override, which beats all but a constraint."""
    settled = False
    for last in (chain[-1] for chain in conflict.chains):
        for settings in (_CONSTRAINTS, _OVERRIDES):
            if last.parent == settings or last.requires.endswith(f"(as {settings} says)"):
                yield f"change `{last.requires.partition(' (')[0]}` in {settings}"
                settled = True
        if instead := _INSTEAD.search(last.requires):
            yield f"change `{instead[1]}` in {_ALTERNATIVES}"
            settled = True
    yield from _own_lines(conflict)
    # an override beats requirements, but not a binary that needs a library
    by_soname = any(chain[-1].verb == "is provided by" for chain in conflict.chains)
    if by_soname and len(conflict.chains) == 1:
        soname = next(chain[-1].parent for chain in conflict.chains if chain[-1].verb == "is provided by")
        yield f'name who has it: "{soname}" = "NAME" in [tool.gpuenv.providers]'
    if settled or by_soname or len(conflict.chains) < 2:
        return
    if conflict.nearest:
        override = f'overrides = ["{conflict.subject}=={conflict.nearest[0]}"]'
        yield f"if you know better, decide for all: {override} in [tool.gpuenv]"
    elif not conflict.newest:
        url = next(c[-1].requires.partition(" @ ")[2] for c in conflict.chains if " @ " in c[-1].requires)
        yield f'decide for all: {conflict.subject} = {{ url = "{url}" }} in [tool.gpuenv.sources]'


def _own_lines(conflict: Conflict) -> Iterable[str]:
    for last in (chain[-1] for chain in conflict.chains):
        own = not last.version and last.verb == "requires" and not last.parent.startswith("tool.gpuenv")
        if own and "as tool.gpuenv" not in last.requires:
            yield f"change `{last.requires}` in pyproject.toml"


def _python_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    if python := _python_for(refusal.reason.removeprefix("requires Python ")):
        table = f"[tool.gpuenv.targets.{conflict.target}]"
        yield f'{conflict.subject} {refusal.version} would do with python = "{python}" in {table}'


def _wheel_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    """A newer glibc, where that alone is missing; else a pointer to what decides."""
    table = f"[tool.gpuenv.targets.{conflict.target}]"
    if found := _NO_WHEEL.match(refusal.reason):
        python, machine, tags = found.groups()
        newer = [
            int(glibc)
            for tag, glibc, arch in _MANYLINUX.findall(tags)
            if (tag == python or tag.startswith("py3")) and arch == machine
        ]
        if newer:
            yield f'if those machines have it, set glibc = "2.{min(newer)}" in {table}'
            return
    yield f"compare platform, python and glibc in {table} with the wheels named above"


def _source_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    folder = '{ name = "built", path = "wheels" }'
    yield f"build a wheel of {conflict.subject} {refusal.version} into a folder, and add it: index = [{folder}]"


def _yanked_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f"to take a yanked version all the same, require `{conflict.subject}=={refusal.version}`"


def _prerelease_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f"to take a pre-release, require `{conflict.subject}>={refusal.version}`"


def _newer_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield "move exclude-newer in [tool.gpuenv] to a later date"


def _device_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    gpu = refusal.reason.removeprefix("has no code for ").partition(" ")[0]
    yield f"add an index whose {conflict.subject} has code for {gpu} under [[tool.gpuenv.index]]"


def _driver_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    major = refusal.reason.removeprefix("is for CUDA ").partition(",")[0]
    yield f'if the driver is newer than that, say so: cuda = "{major}.0" in [tool.gpuenv.targets.{conflict.target}]'


def _ptx_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f"if the driver is newer than that, set `cuda` or `driver` in [tool.gpuenv.targets.{conflict.target}]"


def _no_ptx_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    whose = f"targets.{conflict.target}" if " the target's `ptx`" in refusal.reason else f"packages.{conflict.subject}"
    yield f"let the driver compile it: take ptx = false out of [tool.gpuenv.{whose}]"


def _vendor_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    gpu = refusal.reason.rpartition(" ")[2]
    yield f"add an index that has {conflict.subject} for {gpu} under [[tool.gpuenv.index]]"
    yield f"let it run on the CPU: cpu-fallback = true in [tool.gpuenv.targets.{conflict.target}]"


def _unprovided_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    """Who else could bring what nobody does; or a newer libc, where it is a matter of that."""
    table = f"[tool.gpuenv.targets.{conflict.target}]"
    if found := _SYMBOL_VERSION.match(refusal.reason):
        if found[1] == "GLIBC":
            yield f'if those machines have it, set glibc = "{found[2]}" in {table}'
        return
    sonames = _sonames_in(refusal)
    yield from _provider_hints(conflict, sonames)
    table = f"[tool.gpuenv.packages.{conflict.subject}]"
    yield f"if the program never loads {_them(sonames)}: missing = [{_quoted(sonames)}] in {table}"


def _provider_hints(conflict: Conflict, sonames: Sequence[str]) -> Iterable[str]:
    """Who could bring sonames: an index, a distribution, the machine."""
    them = _them(sonames)
    whose = f'"{sonames[0]}" = "NAME"' + (" and so on" if len(sonames) > 1 else "") + " in [tool.gpuenv.providers]"
    yield f"add an index that has {them} under [[tool.gpuenv.index]], or name who does: {whose}"
    entries = dict.fromkeys(_host_entry(soname, conflict.vendor) for soname in sonames)
    table = f"[tool.gpuenv.targets.{conflict.target}]"
    yield f"let the machine bring {them}: host-libraries = [{_quoted(entries)}] in {table}"


def _host_entry(soname: str, vendor: str) -> str:
    """What `host-libraries` would say: a folder counts for the target's own GPUs alone."""
    runtime = runtime_of(soname)
    return _FOLDERS[runtime[0]] if runtime and runtime[0] in _FOLDERS and runtime[0] == vendor else soname


def _them(sonames: Sequence[str]) -> str:
    return "them" if len(sonames) > 1 else "it"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _lacking_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    """Whoever holds a provider at versions without the library could give way; else another one has to be named."""
    settings = [
        f"change `{last.requires.partition(' (')[0]}` in {name}"
        for last in (chain[-1] for chain in conflict.chains)
        for name in (_CONSTRAINTS, _OVERRIDES)
        if last.parent == name or last.requires.endswith(f"(as {name} says)")
    ]
    hints = [*settings, *_own_lines(conflict)]
    yield from hints or [f'name who has it: "{_sonames_in(refusal)[0]}" = "NAME" in [tool.gpuenv.providers]']


def _sonames_in(refusal: Refusal) -> list[str]:
    """The sonames that a reason names, without the binaries that need them, which stand in brackets."""
    found = [match[0] for match in _SONAME.finditer(refusal.reason) if not match[0].startswith("(")]
    return found or ["libNAME.so"]


def _extra_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    """The nearest extra that there is, and none at all: rows for the most specific selector beat all others."""
    found = _EXTRA.search(refusal.reason)
    if found is None:
        return
    gpu, rule, has = key(found[1]), found[2], found[3]
    where = "in [tool.gpuenv.default-extras]"
    if has:
        # without a GPU it is the name in the rule that is wrong, for every target
        selector = gpu if parse_gpu(found[1]) else key(rule.partition(" = ")[0])
        # a template names what a GPU's own extra is called: that there is none is no slip of the pen
        advice = f"if {has} serves {found[1]}, take it" if "{" in rule else "take another"
        yield f'{advice}: {conflict.subject} = {{ {selector} = ["{has}"] }} {where}'
    yield f"take none: {conflict.subject} = {{ {gpu} = [] }} {where}"


def _announced_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f"say yourself what to take: {conflict.subject} = {{ any = [] }} in [tool.gpuenv.default-extras]"


def _default_hints(conflict: Conflict) -> Iterable[str]:
    """Default extras on the way to the conflict, which nobody named, can be given up."""
    for demand in (demand for chain in conflict.chains for demand in chain):
        if found := _BY_DEFAULT.fullmatch(demand.requires):
            selector = key(found[2] or "any")
            yield f"take no default extra: {found[1]} = {{ {selector} = [] }} in [tool.gpuenv.default-extras]"


def _processor_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    level = refusal.reason.removeprefix("needs a processor of ").partition(" ")[0]
    yield f'if those machines have it, set cpu = "{level}" in [tool.gpuenv.targets.{conflict.target}]'


def _forbidden_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield f"add an index that has a build of {conflict.subject} without it under [[tool.gpuenv.index]]"
    yield f'allow it: take gpu-code = "forbid" out of [tool.gpuenv.targets.{conflict.target}]'


def _url_hint(conflict: Conflict, refusal: Refusal) -> Iterable[str]:
    yield from _own_lines(conflict)


def _python_for(specifier: str) -> str:
    """The Python nearest to what is asked for that targets can have, "" if there is none."""
    try:
        asked = parse_specifier(specifier)
    except InvalidSpecifier:
        return ""
    admitted = [python for python in SUPPORTED_PYTHONS if asked.contains(f"{python}.0")]
    if not admitted:
        return ""
    return admitted[-1] if admitted[0] == SUPPORTED_PYTHONS[0] else admitted[0]


_NO_TAG = "has no wheel for "
# How `solve.offers` begins a reason, and what can be done about it.
_HINTS = {
    "requires Python ": _python_hint,
    _NO_TAG: _wheel_hint,
    "was uploaded ": _newer_hint,
    "was yanked": _yanked_hint,
    "has only a source distribution": _source_hint,
    "is a pre-release": _prerelease_hint,
    "has no code for ": _device_hint,
    "has code for ": _vendor_hint,
    "is for CUDA ": _driver_hint,
    "has only PTX for ": _no_ptx_hint,
    "has only PTX ": _ptx_hint,
    "carries device code": _forbidden_hint,
    "needs a processor of ": _processor_hint,
    "needs ": _unprovided_hint,
    "is what ": _url_hint,
    "is not for ": _url_hint,
    "has no extra ": _extra_hint,
    "announces ": _announced_hint,
    **VARIANT_HINTS,
    "has no upload time": lambda conflict, refusal: (),
    "has no ": _lacking_hint,
}
_NO_WHEEL = re.compile(r"has no wheel for (\S+) on linux-(\S+) with glibc \S+ \(only (.*)\)")
_INSTEAD = re.compile(r" \(instead of (\S+), as tool\.gpuenv\.alternatives says\)$")
_BY_DEFAULT = re.compile(r"([^\s\[]+)\[\S+\] \(default: (?:project, (\S+) = .*|publisher, .*|Default-Extra)\)")
_EXTRA = re.compile(r" asks for on (\S+) \((.*)\); it has (?:no extras$|([a-z0-9-]+))")
_OF_VARIANT = re.compile(r"as variant \S+ ")
_SONAME = re.compile(r"[^\s,;]+\.so(\.[^\s,;]+)?")
_SYMBOL_VERSION = re.compile(r"needs ([A-Z]+)_([0-9.]+) of ")
# Where a maker's installer puts the libraries.
_FOLDERS = {"amd": "/opt/rocm/lib", "nvidia": "/usr/local/cuda/lib64"}
_MANYLINUX = re.compile(r"(\w+)-\w+-manylinux_2_(\d+)_(\w+)")
