"""What the search is about: keys of nodes, needs on them, candidates for them (design: "One graph").

Inside one solve needs and candidates are compared by identity; values are compared in `gpuenv.model`.
"""

from enum import StrEnum
from typing import NamedTuple

from gpuenv.model.answer import Missing
from gpuenv.model.distribution import WheelFile
from gpuenv.model.version import Version

__all__ = ["Candidate", "Key", "Kind", "Need", "NotKnownYet"]


class NotKnownYet(Exception):
    """The search met something that is not in the catalog; carries what."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing)
        self.missing = missing


class Kind(StrEnum):
    """The kinds of nodes."""

    DISTRIBUTION = "distribution"
    SONAME = "soname"
    DEVICE = "device"
    HOST = "host"


class Key(NamedTuple):
    """The name of a node.

    detail: an extra of a distribution, the runtime major of a soname, the architecture of device code, else "".
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
        """The key without its extra."""
        return Key(self.kind, self.name) if self.detail and self.kind is Kind.DISTRIBUTION else self


class Candidate:
    """One way to satisfy a node: a version of a distribution by one artifact for one runtime major.

    wheel is None for what the target itself brings. base: for `name[extra]`, the candidate without the extra.
    text: the version as text, kept because it is asked for very often.
    """

    __slots__ = ("base", "index", "key", "runtime", "text", "version", "wheel")

    def __init__(
        self,
        key: Key,
        version: Version,
        wheel: WheelFile | None,
        index: str | None = None,
        runtime: str | None = None,
        base: "Candidate | None" = None,
    ) -> None:
        self.key = key
        self.version = version
        self.text = str(version)
        self.wheel = wheel
        self.index = index
        self.runtime = runtime
        self.base = base

    def __repr__(self) -> str:
        return f"<{self.key} {self.text}>"


class Need:
    """A requirement on a node: versions (PEP 440 text), or one URL, or exactly one candidate.

    text: the requirement as its author wrote it. origin: where it stands, for roots (`project`, `group:dev`).
    """

    __slots__ = ("exact", "key", "origin", "specifier", "text", "url")

    def __init__(
        self,
        key: Key,
        specifier: str = "",
        *,
        url: str | None = None,
        exact: Candidate | None = None,
        text: str = "",
        origin: str = "",
    ) -> None:
        self.key = key
        self.specifier = specifier
        self.url = url
        self.exact = exact
        self.text = text or f"{key}{specifier}"
        self.origin = origin

    def __repr__(self) -> str:
        return f"<need {self.text}>"
