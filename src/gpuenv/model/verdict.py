"""Which GPUs an artifact's device code serves, as far as its binaries that are loaded go."""

import re
from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from gpuenv.model.architecture import Fit, Gpu, fit, parse_gpu, ptx_isa_of
from gpuenv.model.coverage import Coverage, coverage, served
from gpuenv.model.facts import NativeFacts, ObjectFacts, Vendor
from gpuenv.model.host_libraries import cuda_of
from gpuenv.model.roles import is_vendors
from gpuenv.model.rules import PackageRules
from gpuenv.model.target import Target

__all__ = ["Gap", "Outcome", "Verdict", "driver_isa", "judged_binaries", "own_code", "verdicts"]

_NAMED = re.compile(r"(?<![a-z0-9])(?:sm_?[0-9]{2,3}[af]?|gfx[0-9a-f]{3,4})(?![0-9])")


class Outcome(Enum):
    """What an artifact's device code means for a GPU.

    SERVED: a live binary has code that runs. NO_CODE: it carries no device code. REFUSED: it carries code for GPUs of
    that vendor, and none that is live runs. OTHER_VENDOR: all its own code is for another vendor's GPUs. SPECIAL: all
    its code lies in files that are named for single architectures, others than this one: kernels for some GPUs, which
    who uses it does without elsewhere.
    """

    SERVED = "served"
    NO_CODE = "no code"
    REFUSED = "refused"
    OTHER_VENDOR = "other vendor"
    SPECIAL = "special"


class Gap(NamedTuple):
    """A live binary with code for the GPU in fewer than half of its containers: `served` of `units`."""

    path: str
    served: int
    units: int


class Verdict(NamedTuple):
    """One GPU of the target. coverage: by live binaries together. gaps: worst first.

    newer_ptx: where it is refused, the PTX ISA that its driver would have to compile to serve it, `9.0`. unwanted_ptx:
    where it is refused, the PTX (`compute_90`) that would serve it, did not the rules or the target say that none does.
    """

    gpu: Gpu
    outcome: Outcome
    coverage: Coverage
    gaps: tuple[Gap, ...]
    newer_ptx: str | None = None
    unwanted_ptx: tuple[str, ...] = ()


def own_code(judged: Iterable[ObjectFacts]) -> tuple[str, ...]:
    """The paths of those that carry device code, for whatever GPU, and are no libraries of a GPU's maker."""
    return tuple(sorted(found.path for found in judged if found.device_code and not is_vendors(found)))


def judged_binaries(facts: NativeFacts, dormant: Collection[str]) -> tuple[list[ObjectFacts], list[ObjectFacts]]:
    """The binaries whose device code is the artifact's, and the loose files of device code that count.

    Kernels of a package are judged by its own binaries: the maker's libraries that it carries along (triton has CUDA's
    profiler) are its tools, and count where there is nothing else. Loose files of device code refuse nothing, for who
    has them has others or a compiler (numba has a test's, flashinfer some that it would else make).
    """
    binaries = [found for found in facts.objects if found.for_host and found.path not in dormant]
    files = [found for found in facts.objects if not found.for_host and found.path not in dormant]
    own = [found for found in binaries if not is_vendors(found)]
    judged = [found for found in own or binaries if found.device_code]
    return judged, files if judged or not binaries else []


class _Ask(NamedTuple):
    """How device code is judged. isa: the newest PTX ISA that the driver compiles. ptx: does PTX serve at all?"""

    isa: str | None
    ptx: bool
    trusted: bool


def verdicts(
    judged: list[ObjectFacts],
    files: list[ObjectFacts],
    awake: Collection[str],
    target: Target,
    rules: PackageRules,
) -> tuple[Verdict, ...]:
    """How far the artifact serves each GPU of the target.

    Of a maker's library by itself any PTX counts: cuSPARSELt has for sm_75 little else, in one container, and whoever
    requires it (torch) need not use it there.
    """
    only_makers = bool(judged) and all(map(is_vendors, judged))
    ask = _Ask(None if only_makers else driver_isa(target), target.ptx and rules.ptx, rules.gpu_code == "trust")
    live = [found for found in judged if found.path in awake]
    return tuple(_verdict(gpu, judged, live, files, ask) for gpu in map(parse_gpu, target.gpu) if gpu)


def driver_isa(target: Target) -> str | None:
    """The newest PTX ISA that the target's driver compiles; None where that is not known."""
    cuda = cuda_of(target)
    return ptx_isa_of(cuda) if cuda else None


def _verdict(
    gpu: Gpu, judged: list[ObjectFacts], live: list[ObjectFacts], files: list[ObjectFacts], ask: _Ask
) -> Verdict:
    whole = served([*live, *files], gpu, driver_isa=ask.isa, ptx=ask.ptx)
    vendors: set[Vendor] = {code.vendor for found in judged for code in found.device_code}
    if whole.best is not None:
        outcome = Outcome.SERVED
    elif ask.trusted:
        outcome = Outcome.NO_CODE
    elif gpu.vendor in vendors:
        special = all(_NAMED.search(found.path.rpartition("/")[2]) for found in judged if found.device_code)
        outcome = Outcome.SPECIAL if special else Outcome.REFUSED
    else:
        own = any(not is_vendors(found) for found in judged)
        outcome = Outcome.OTHER_VENDOR if vendors and own else Outcome.NO_CODE
    gaps = []
    for found in live if outcome is Outcome.SERVED else ():
        part = coverage(found, gpu, driver_isa=ask.isa, ptx=ask.ptx)
        # makers' libraries are full of kernels for one architecture or two
        if 2 * part.served < part.units and not is_vendors(found):
            gaps.append(Gap(found.path, part.served, part.units))
    gaps.sort(key=lambda gap: (gap.served / gap.units, gap.path))
    if outcome is not Outcome.REFUSED:
        return Verdict(gpu, outcome, whole, tuple(gaps))
    unwanted = () if ask.ptx else served(live, gpu, driver_isa=ask.isa).by
    return Verdict(gpu, outcome, whole, (), _newer_ptx(gpu, live, ask), tuple(name for name, _ in unwanted))


def _newer_ptx(gpu: Gpu, live: Iterable[ObjectFacts], ask: _Ask) -> str | None:
    """The oldest PTX ISA of code that would serve a GPU if its driver compiled it."""
    if ask.isa is None or not ask.ptx:
        return None
    isas = {code.isa for found in live for code in found.device_code if code.isa and fit(code, gpu) is Fit.JIT}
    return min(isas, key=_numbers, default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version))
