"""What the search is about: keys of nodes, needs on them, candidates for them (design: "One graph").

Inside one solve needs and candidates are compared by identity; values are compared in `gpuenv.model`.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.model.answer import Missing
from gpuenv.model.distribution import WheelFile
from gpuenv.model.version import Version

if TYPE_CHECKING:
    from gpuenv.solve.native import Way

__all__ = ["DEFAULTS", "Candidate", "Key", "Kind", "Need", "NotKnownYet"]

# In the place of an extra: whichever a bare requirement takes by default.
DEFAULTS = "*"


class NotKnownYet(Exception):
    """The search met something that is not in the catalog; carries what."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing)
        self.missing = missing


class Kind(StrEnum):
    """The kinds of nodes. MAJOR: with which major version of CUDA or ROCm a wheel is used that works with several.

    RUNTIME: a class of runtimes of which the project wants one in an environment. LIBRARY: a library of a distribution
    that others need, with what it needs itself.
    """

    DISTRIBUTION = "distribution"
    SONAME = "soname"
    LIBRARY = "library"
    MAJOR = "major"
    RUNTIME = "runtime"
    HOST = "host"


class Key(NamedTuple):
    """The name of a node.

    detail: an extra of a distribution, or DEFAULTS; of a library its soname; of a soname who may bring it and in which
    symbol versions; of a major the wheel; else "".
    """

    kind: Kind
    name: str
    detail: str = ""

    def __str__(self) -> str:
        if self.kind is Kind.DISTRIBUTION:
            return f"{self.name}[{self.detail}]" if self.detail else self.name
        return f"{self.kind}:{self.name}" + (f"/{self.detail}" if self.detail else "")

    @property
    def base(self) -> "Key":
        """The distribution that an extra or a library is of; else the key itself."""
        of_distribution = self.kind in (Kind.DISTRIBUTION, Kind.LIBRARY)
        return Key(Kind.DISTRIBUTION, self.name) if self.detail and of_distribution else self


class Candidate:
    """One way to satisfy a node: a version of a distribution by one artifact, a provider of a soname, a major.

    wheel is None for what is no distribution. base: for an extra or a library, the distribution's own candidate.
    text: the version as text, kept because it is asked for very often. needs: what a candidate without a wheel
    requires. label: its name in explanations. brings: distributions that it would bring in. way: of a major.
    """

    __slots__ = ("base", "brings", "index", "key", "label", "needs", "text", "version", "way", "wheel")

    def __init__(
        self,
        key: Key,
        version: Version,
        wheel: WheelFile | None = None,
        index: str | None = None,
        base: "Candidate | None" = None,
        *,
        needs: "tuple[Need, ...]" = (),
        label: str = "",
        brings: frozenset[str] = frozenset(),
        way: "Way | None" = None,
    ) -> None:
        self.key = key
        self.version = version
        self.text = str(version)
        self.wheel = wheel
        self.index = index
        self.base = base
        self.needs = needs
        self.label = label
        self.brings = brings
        self.way = way

    def __repr__(self) -> str:
        return f"<{self.key} {self.text}>"


class Need:
    """A requirement on a node: versions (PEP 440 text), or one URL, or exactly one candidate.

    text: the requirement as its author wrote it. origin: where it stands, for roots (`project`, `group:dev`).
    carries: the SONAME of a library that the distribution must have, "" for none; versions: symbol versions of it.
    instead: the name that was required, where the project has an alternative for it; else "". any_of: specifiers, of
    which one must admit the version, too.
    """

    __slots__ = ("any_of", "carries", "exact", "instead", "key", "origin", "specifier", "text", "url", "versions")

    def __init__(
        self,
        key: Key,
        specifier: str = "",
        *,
        url: str | None = None,
        exact: Candidate | None = None,
        text: str = "",
        origin: str = "",
        carries: str = "",
        versions: tuple[str, ...] = (),
        instead: str = "",
        any_of: tuple[str, ...] = (),
    ) -> None:
        self.any_of = any_of
        self.carries = carries
        self.instead = instead
        self.versions = versions
        self.key = key
        self.specifier = specifier
        self.url = url
        self.exact = exact
        self.text = text or f"{key}{specifier}"
        self.origin = origin

    def of_library(self, soname: str) -> "Need":
        """The same need on a library of the distribution."""
        return Need(Key(Kind.LIBRARY, self.key.name, soname), self.specifier, url=self.url, text=self.text)

    def __repr__(self) -> str:
        return f"<need {self.text}>"
