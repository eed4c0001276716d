"""Which distributions bring a soname, as a table that somebody keeps: shipped with gpuenv, or written by an index."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuenv.model.facts import Vendor
from gpuenv.model.requirement import Requirement

__all__ = ["NO_PROVIDERS", "ProviderTable"]


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """Providers by soname, in the order in which to try them.

    any: whatever runtime is used. by_runtime: for one major version of a vendor's runtime, ("nvidia", 13).
    digest: `sha256:…` of the table as it was read, "" for none.
    """

    any: Mapping[str, tuple[Requirement, ...]] = field(default_factory=dict)
    by_runtime: Mapping[tuple[Vendor, int], Mapping[str, tuple[Requirement, ...]]] = field(default_factory=dict)
    digest: str = ""

    def of(self, soname: str, runtime: tuple[Vendor, int] | None = None) -> tuple[Requirement, ...]:
        """The providers of a soname. runtime: whose, and which major version; None: any, the newest first."""
        if runtime is not None:
            wanted = [runtime] if soname in self.by_runtime.get(runtime, {}) else []
        else:
            wanted = sorted(self.by_runtime, key=lambda one: (one[0], -one[1]))
        rows = [self.by_runtime[one].get(soname, ()) for one in wanted]
        return tuple(dict.fromkeys(one for row in (*rows, self.any.get(soname, ())) for one in row))


NO_PROVIDERS = ProviderTable()
