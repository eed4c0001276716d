"""What a solve answers: a Solution, a Conflict, or what it must be told before it can say (Missing)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuenv.model.demand import HostDemand, Learnt
from gpuenv.model.distribution import WheelFile
from gpuenv.model.selectors import Chosen
from gpuenv.model.wheel_variant import WheelVariant

__all__ = ["Conflict", "Demand", "Missing", "PassedOver", "Pin", "Refusal", "Solution"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution of a solution.

    index: the index it came from, None for a direct URL. requires, extras: keys (`numpy`, `fastapi[standard]`) that
    it requires on this target, alone and for each extra that was asked for. libraries: by distribution, the sonames
    that its binaries need of it. host: what its binaries need of the machine. runtime: the major version of CUDA or
    ROCm that its binaries are used with. facts: how its native facts were learnt; None: they were not asked for.
    origin: the sha256 of the wheel that a bundle was, if the same files are installed from either. default_extras:
    those that a bare requirement took. instead_of: the names that were required and for which it stands. variant: what
    the wheel says it is, None for one that is no variant.
    """

    name: str
    version: str
    wheel: WheelFile
    index: str | None
    requires: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: tuple[HostDemand, ...] = ()
    runtime: int | None = None
    facts: Learnt | None = None
    origin: str | None = None
    default_extras: tuple[Chosen, ...] = ()
    instead_of: tuple[str, ...] = ()
    variant: WheelVariant | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that the demands admit but the target does not, and the fact that forbids it."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A pin that is older than what is asked for admits, because binaries or default extras do not serve the target.

    newer: the versions after it that were looked at, newest first, each with the reason.
    """

    name: str
    version: str
    newer: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """Every requirement is met: one pin a name. roots: the keys asked for, by `project`, `extra:X`, `group:X`.

    libraries, host: what the project itself needs (`native`), as a pin has it. passed_over: sorted by name.
    """

    pins: Mapping[str, Pin]
    roots: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: tuple[HostDemand, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """The solve cannot go on before these are in the catalog.

    pages: names. wheels: files whose metadata is wanted; the first is needed, the rest likely. direct: URLs.
    facts: files whose native facts are wanted. provides: indexes that may say who provides what. variants: files that
    say what labels stand for, and wheels behind URLs that say it of themselves.
    """

    pages: tuple[str, ...] = ()
    wheels: tuple[WheelFile, ...] = ()
    direct: tuple[str, ...] = ()
    facts: tuple[WheelFile, ...] = ()
    provides: tuple[str, ...] = ()
    variants: tuple[WheelFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """One link of a chain: who requires what. version: of `parent`, "" for the project and its settings.

    tried: how many versions of the parent were found to require exactly this. verb: `requires`, of binaries `needs`,
    of a soname `is provided by`.
    """

    parent: str
    version: str
    requires: str
    tried: int = 1
    verb: str = "requires"


@dataclass(frozen=True, slots=True)
class Conflict:
    """No solution: the node that cannot be had, the chains of demands that lead to it, and what was refused.

    subject: the key of the node. known: an index knows the name. newest: its newest version, "" if there is none.
    refusals: newest first. provides: what the target brings, for nodes that the target itself satisfies.
    roots: the fewest root requirements that conflict. satisfying: the newest version that meets all demands on the
    subject and fails for another reason, "" if there is none. nearest: versions that would serve the target: beside
    the one that is asked for, or for several demands the newest that each of them alone admits. soname: is the node
    a library that nobody provides? vendor: whose GPUs the target has, "" for none.
    """

    target: str
    subject: str
    chains: tuple[tuple[Demand, ...], ...]
    known: bool
    newest: str
    refusals: tuple[Refusal, ...]
    provides: str = ""
    roots: tuple[str, ...] = ()
    satisfying: str = ""
    nearest: tuple[str, ...] = ()
    soname: bool = False
    vendor: str = ""
