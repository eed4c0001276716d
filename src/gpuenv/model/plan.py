"""Steps from the present environment to the locked one: decided here, obeyed by `sync`, printed by `--dry-run`."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from gpuenv.model.lock import LockedArtifact

__all__ = ["Installed", "Plan"]


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution as it stands, or shall stand, in a view. sha256: of its artifact."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to fetch into the store, what a view gains and loses. Everything sorted by name."""

    fetch: tuple[LockedArtifact, ...]
    install: tuple[Installed, ...]
    remove: tuple[Installed, ...]
    kept: int

    @classmethod
    def between(
        cls, present: Mapping[str, Installed], wanted: Mapping[str, LockedArtifact], stored: Set[str]
    ) -> "Plan":
        """The plan from `present` (by name) to `wanted` (by name), with the artifacts in `stored` (sha256) at hand."""
        goal = {name: Installed(name, a.version, a.sha256) for name, a in sorted(wanted.items())}
        return cls(
            fetch=tuple(artifact for _, artifact in sorted(wanted.items()) if artifact.sha256 not in stored),
            install=tuple(item for name, item in goal.items() if present.get(name) != item),
            remove=tuple(item for name, item in sorted(present.items()) if goal.get(name) != item),
            kept=sum(present.get(name) == item for name, item in goal.items()),
        )

    @property
    def empty(self) -> bool:
        """Nothing to do."""
        return not (self.fetch or self.install or self.remove)
