"""One question to the solver, complete: what is asked, for which target, from which catalog, with which preferences."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuenv.model.distribution import Catalog
from gpuenv.model.linkage import Linkage
from gpuenv.model.providers import NO_PROVIDERS, ProviderTable
from gpuenv.model.requirement import Requirement
from gpuenv.model.rules import NativeRules
from gpuenv.model.selectors import Selectors
from gpuenv.model.target import Target

__all__ = ["Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that `solve` may look at.

    roots: requirements by `project`, `extra:X`, `group:X`. kept: versions to try first, by name: the old lock's.
    shared: those to try next: other targets', of each in the build that suits the target.
    sources: names that come from a URL, whoever asks for them.
    exclude_newer: UTC instant `YYYY-MM-DDTHH:MM:SSZ`; later files do not exist. rules: what the project says of
    native code. providers: the shipped table. provides: names of indexes that may say more of who provides what.
    default_extras: the project's selectors by distribution. alternatives: what stands for distributions on this target.
    may_default: more distributions whose bare requirements may take extras, as a search has found.
    optional_variants: namespaces of wheel variants whose optional providers are used.
    memo: what was computed of wheels, for the next solve of the same target; no answer depends on it.
    """

    project: str
    requires_python: str
    roots: Mapping[str, tuple[Requirement, ...]]
    target: Target
    catalog: Catalog
    constraints: tuple[Requirement, ...] = ()
    overrides: tuple[Requirement, ...] = ()
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    exclude_newer: str | None = None
    rules: NativeRules = field(default_factory=NativeRules)
    providers: ProviderTable = NO_PROVIDERS
    provides: tuple[str, ...] = ()
    default_extras: Mapping[str, Selectors] = field(default_factory=dict)
    alternatives: Mapping[str, Requirement] = field(default_factory=dict)
    may_default: frozenset[str] = frozenset()
    optional_variants: tuple[str, ...] = ()
    memo: dict[tuple[str, str], tuple[Linkage, ...]] = field(default_factory=dict, compare=False)
