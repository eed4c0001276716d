"""What the user wrote in pyproject.toml, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpuenv.model.requirement import Requirement
from gpuenv.model.rules import NativeRules
from gpuenv.model.target import Target
from gpuenv.model.url import without_credentials

if TYPE_CHECKING:
    from gpuenv.model.packing import PackSettings

__all__ = ["DEFAULT_INDEX", "Index", "Manifest", "Source"]

DEFAULT_INDEX = "default"


@dataclass(frozen=True, slots=True)
class Index:
    """A place that distributions come from: a simple API by URL, or a folder of wheels.

    name: `default` is the one that pip's configuration or a library's constant names.
    location: absolute URL, or the folder as written (relative to the project).
    packages: name patterns (fnmatch on normalised names) that come from here and from nowhere else.
    targets: only these targets look here; empty: all do. explicit: only for names that `sources` sends here.
    default: replaces the default index.
    """

    name: str
    location: str
    folder: bool = False
    explicit: bool = False
    default: bool = False
    packages: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    @property
    def public_location(self) -> str:
        """The location as it may be written down: without credentials."""
        return self.location if self.folder else without_credentials(self.location)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one package comes from: an index by name, or a wheel by URL or path; `target` None means every target."""

    package: str
    index: str | None = None
    url: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A decoded pyproject.toml.

    dependencies, extras, groups: requirements in the order written; groups have their includes (PEP 735) expanded.
    exclude_newer: an instant (`2026-11-01T00:00:00Z`) or a span (`7 days`), as written.
    builds: the project has a [build-system] and would be installed itself.
    configured: [tool.gpuenv] names targets; if not, `targets` holds the one documented default.
    target_dependencies: what only one target requires, by target name; a target without any is absent.
    development_links: name patterns (fnmatch on normalised names) of what programs are linked with; no lock asks.
    pack: what `gpuenv pack` makes of the project; no lock asks.
    default_extras: extras that bare requirements take, or templates for some, by distribution and selector.
    alternatives: distributions that stand for others, by the name that is required and selector.
    optional_variants: namespaces of wheel variants whose optional providers are used.
    """

    name: str
    requires_python: str
    dependencies: tuple[Requirement, ...]
    extras: Mapping[str, tuple[Requirement, ...]]
    groups: Mapping[str, tuple[Requirement, ...]]
    default_groups: tuple[str, ...]
    targets: Mapping[str, Target]
    indexes: tuple[Index, ...]
    sources: tuple[Source, ...]
    constraints: tuple[Requirement, ...]
    overrides: tuple[Requirement, ...]
    exclude_newer: str | None
    builds: bool
    configured: bool
    target_dependencies: Mapping[str, tuple[Requirement, ...]] = field(default_factory=dict)
    rules: NativeRules = field(default_factory=NativeRules)
    development_links: tuple[str, ...] = ()
    pack: "PackSettings | None" = None
    default_extras: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    alternatives: Mapping[str, Mapping[str, Requirement]] = field(default_factory=dict)
    optional_variants: tuple[str, ...] = ()
