"""Device code as a filter: which wheels may matter to a GPU, and why one of them does not serve it.

Facts decide, not names; names and requirements only say whose facts are worth knowing, for reading them may cost
hundreds of megabytes. That choice depends on the wheel alone, never on what happens to be known.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from gpuenv.model.coverage import full_name
from gpuenv.model.distribution import Metadata, WheelFile
from gpuenv.model.facts import NativeFacts, ObjectFacts, Vendor, natural
from gpuenv.model.filename import version_of
from gpuenv.model.host_libraries import vendor_of
from gpuenv.model.linkage import Linkage, Role, linkage, runtime_majors
from gpuenv.model.machine import cuda_of_driver
from gpuenv.model.requirement import InvalidRequirement, parse_requirement
from gpuenv.model.rules import PackageRules
from gpuenv.model.runtimes import NAMES
from gpuenv.model.target import Target
from gpuenv.model.verdict import Outcome, Verdict
from gpuenv.model.version import normal_name
from gpuenv.solve.preference import accelerator_of

__all__ = [
    "build_refusal",
    "cuda_level",
    "device_extras",
    "device_refusal",
    "has_companions",
    "idle_patterns",
    "level_refusal",
    "matters_by_metadata",
    "matters_by_name",
    "only_code",
    "remarks",
    "required_names",
    "runtime_name",
    "too_old",
    "ways",
]

# Distributions of GPU vendors, and the marks that others put on their GPU builds.
_NAMES = re.compile(
    r"(nvidia|cuda|cupy|rocm|hip|amd|triton|jax-(cuda|rocm)|torch)(-|$)|.*-(cuda|cu|rocm)-?\d*x?(-|$)|.*-gpu$"
    r"|.*-device-(gfx|sm-?)\d"
)
_LOCAL = re.compile(r"\+.*(cu|rocm|hip)\d")
# Whoever requires one of these works on a GPU, if its wheel is native.
_COMPANIONS = re.compile(r"(nvidia-|cuda-|cupy|rocm|triton|torch$|pytorch-triton|jax-(cuda|rocm))")
# Extras that bring the code for one architecture, by its vendor.
_DEVICE_EXTRAS: dict[Vendor, re.Pattern[str]] = {
    "amd": re.compile(r"device-gfx\d"),
    "nvidia": re.compile(r"device-sm-?\d"),
}
_SHOWN = 6


def matters_by_name(name: str, version: str, wheel: WheelFile) -> bool:
    """Do its name, its local version or its tag say that it may carry device code? name: normalised."""
    unchecked = wheel.tags.rsplit("-", 1)[1].startswith("linux_")  # nobody promised that it runs anywhere
    return bool(_NAMES.match(name) or _LOCAL.search(version)) or unchecked


def matters_by_metadata(metadata: Metadata) -> bool:
    """Does it require what only GPU software requires, or have extras by architecture?"""
    if any(device_extras(metadata.extras, vendor) for vendor in _DEVICE_EXTRAS):
        return True
    return any(_COMPANIONS.match(name) for name in required_names(metadata.every_line))


def device_extras(extras: Iterable[str], vendor: Vendor) -> tuple[str, ...]:
    """Those of some extras (normalised) that are named for one architecture of a vendor, `device-gfx942`."""
    return tuple(extra for extra in extras if _DEVICE_EXTRAS[vendor].match(extra))


def only_code(facts: NativeFacts, vendor: Vendor) -> str:
    """The architectures of a vendor that files of device code are for; "" where there are binaries for the host."""
    return "" if any(found.for_host for found in facts.objects) else _architectures(facts.objects, vendor)


def has_companions(metadata: Metadata, claimed: Iterable[str]) -> bool:
    """Does it say that others bring its device code?

    By requirements that ask for the variant that it is, or by an extra `device-gfx942` for each architecture claimed.
    """
    if all(normal_name(f"device-{architecture}") in metadata.extras for architecture in claimed):
        return True
    return any("variant_" in line.partition(";")[2] for line in metadata.every_line)


def _claim_refusal(claimed: Sequence[str], asked: Linkage, facts: NativeFacts) -> str | None:
    """Why it is not true that a variant has code for every GPU of the target, as its properties say it has.

    claimed: architectures of the GPUs' vendor; none: nothing is said.
    """
    for verdict in asked.verdicts if claimed else ():
        told = verdict.newer_ptx or verdict.unwanted_ptx
        if verdict.outcome is not Outcome.SERVED and not told:
            gpu = str(verdict.gpu)
            said, whom = (gpu, "it") if gpu in claimed else (", ".join(claimed[:_SHOWN]), gpu)
            has = _architectures(facts.objects, verdict.gpu.vendor)
            return f"claims {said}, and carries no code for {whom}" + (f" (only {has})" if has else "")
    return None


def required_names(lines: Iterable[str]) -> Iterator[str]:
    """The distributions that Requires-Dist lines name."""
    for line in lines:
        try:
            yield parse_requirement(line).name
        except InvalidRequirement:  # such a line means nothing
            continue


def build_refusal(wheel: WheelFile, target: Target) -> str | None:
    """Why a build for a newer ROCm than the target wants does not serve it, as its local version says."""
    found = accelerator_of(version_of(wheel.filename).partition("+")[2])
    if not target.rocm or found is None or found.kind != "amd":
        return None
    if found.level[:2] <= tuple(map(int, target.rocm.split(".")[:2])):
        return None
    return f"is built for ROCm {'.'.join(map(str, found.level))}, the target wants ROCm {target.rocm}"


def level_refusal(facts: NativeFacts, target: Target, rules: PackageRules) -> str | None:
    """Why the target's driver is too old for every runtime that the wheel is for, if it is."""
    level, majors = cuda_level(target), runtime_majors(facts, target, rules=rules)
    if level is not None and majors and min(majors) > level:
        return f"is for CUDA {min(majors)}, the target's driver runs CUDA {level} at most"
    return None


def ways(facts: NativeFacts, target: Target, rules: PackageRules) -> tuple[Linkage, ...]:
    """What the artifact asks of the target, with each CUDA that both know, newest first; of ROCm the one wanted."""
    level = cuda_level(target)
    known = () if target.rocm else runtime_majors(facts, target, rules=rules)
    wanted: list[int | None] = [*sorted((m for m in known if level is None or m <= level), reverse=True)] or [None]
    return tuple(linkage(facts, target, runtime_major=major, rules=rules) for major in wanted)


def device_refusal(
    asked: Linkage, facts: NativeFacts, target: Target, name: str, claimed: Sequence[str] = ()
) -> str | None:
    """Why one way to use a wheel does not serve every GPU of the target; None: it does, or carries no device code.

    claimed: the architectures that it says it has code for, as a wheel variant; then it must have some.
    """
    if target.gpu_code == "forbid" and asked.own_code:
        return f"carries device code ({asked.own_code[0]}), which the target forbids"
    if refusal := _claim_refusal(claimed, asked, facts):
        return refusal
    for verdict in asked.verdicts:
        if verdict.outcome is Outcome.REFUSED and verdict.newer_ptx:
            return f"has only PTX {verdict.newer_ptx} for {verdict.gpu}, too new for the target's driver"
        if verdict.outcome is Outcome.REFUSED and verdict.unwanted_ptx:
            whose = "package" if target.ptx else "target"
            return (
                f"has only PTX for {verdict.gpu} ({', '.join(verdict.unwanted_ptx)}), and the {whose}'s `ptx` is false"
            )
        if verdict.outcome is Outcome.REFUSED:
            return _none(facts, asked, verdict)
        if verdict.outcome is Outcome.OTHER_VENDOR and not target.falls_back(name):
            other = "amd" if verdict.gpu.vendor == "nvidia" else "nvidia"
            has = _architectures(facts.objects, other)
            return f"has code for {other.upper()} GPUs only ({has}), none for {verdict.gpu}"
    return None


def _none(facts: NativeFacts, asked: Linkage, verdict: Verdict) -> str:
    """What there is instead; of what is loaded, where something that sleeps has more."""
    vendor = verdict.gpu.vendor
    asleep = {placed.path for placed in asked.roles if placed.role is Role.ASLEEP}
    loaded = [found for found in facts.objects if found.path not in asleep]
    has, whole = _architectures(loaded, vendor), _architectures(facts.objects, vendor)
    if has in ("", whole):
        return f"has no code for {verdict.gpu} (only {whole})"
    return f"has no code for {verdict.gpu} in what is loaded (only {has})"


def too_old(asked: Linkage, target: Target) -> str | None:
    """Why the target's system is too old for the live binaries, if it is."""
    for beyond in asked.cpu[-1:] if target.cpu else ():
        return f"needs a processor of {beyond.level} ({beyond.objects[0]}), the target has {target.cpu}"
    for lack in [lack for lack in asked.lacks if lack.sure][-1:]:
        has = f"musl {target.musl}" if target.musl else f"glibc {target.glibc}"
        return f"needs {lack.version} of {lack.library} ({lack.objects[0]}), the target has {has}"
    return None


def idle_patterns(rules: PackageRules, facts: NativeFacts) -> tuple[str, ...]:
    """The patterns of paths among the project's exceptions for a package that are about none of its binaries."""
    patterns = (*rules.live, *rules.dormant, *(allowed.objects for allowed in rules.missing))
    return tuple(
        pattern
        for pattern in dict.fromkeys(patterns)
        if pattern != "*" and not any(fnmatchcase(found.path, pattern) for found in facts.objects)
    )


def runtime_name(vendor: Vendor | None, major: int) -> str:
    """`CUDA 13`."""
    return f"{NAMES[vendor] if vendor else 'runtime'} {major}"


def cuda_level(target: Target) -> int | None:
    """The highest CUDA major version that the driver of a target runs; None where the target does not say."""
    if vendor_of(target) != "nvidia":
        return None
    if target.cuda:
        return int(target.cuda.partition(".")[0])
    return cuda_of_driver(target.driver) if target.driver else None


def remarks(facts: NativeFacts, asked: Linkage) -> Iterator[str]:
    """What is odd about a wheel that serves: little coverage of a live binary, and binaries that are damaged."""
    yield from (f"{damage.path} is damaged: {damage.problem}" for damage in facts.damaged)
    for beyond in asked.cpu[-1:]:
        yield f"{_file(beyond.objects[0])} needs a processor of {beyond.level}"
    for lack in [lack for lack in asked.lacks if not lack.sure][-1:]:
        yield f"{_file(lack.objects[0])} needs {lack.version} of {lack.library}, newer than the target's"
    for verdict in asked.verdicts:
        if verdict.outcome is Outcome.SPECIAL:
            yield _none(facts, asked, verdict)
        if verdict.outcome is Outcome.SERVED:
            for gap in verdict.gaps:
                yield f"{_file(gap.path)} has code for {verdict.gpu} in {gap.served} of its {gap.units} containers"


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _architectures(objects: Iterable[ObjectFacts], vendor: str) -> str:
    """The architectures of a vendor, with features, that binaries have code for, in natural order."""
    names = {full_name(code) for found in objects for code in found.device_code if code.vendor == vendor}
    ordered = sorted(names, key=lambda name: (natural(name.partition(":")[0]), name))
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
