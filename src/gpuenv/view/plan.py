"""What a view is to hold, as a value, and its name."""

import enum
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.model.interpreter import Interpreter
from gpuenv.model.stored import StoredObject

if TYPE_CHECKING:
    from gpuenv.view.libraries import LibraryFiles

__all__ = ["LinkMode", "Links", "ViewPlan", "default_links"]

FORMAT = "gpuenv view 1"


class LinkMode(enum.Enum):
    """How a view holds the files of objects."""

    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    COPY = "copy"


def default_links(user: int) -> tuple[LinkMode, bool]:
    """Link mode and folding for a user id. Root could write through a folded directory, so root gets file links."""
    return (LinkMode.HARDLINK, False) if user == 0 else (LinkMode.SYMLINK, True)


class Links(NamedTuple):
    """How a view holds files: the fields of the same names of `ViewPlan`, as its marker keeps them."""

    link_mode: LinkMode
    fold: bool
    unfold: frozenset[str] = frozenset()
    link_modes: Mapping[str, LinkMode] = {}

    def beside(self, elsewhere: Iterable[str]) -> "Links":
        """The same, but for distributions of another store no hard links by default: these would be changes there.

        elsewhere: their names.
        """
        if self.link_mode is not LinkMode.HARDLINK:
            return self
        return self._replace(link_modes={**dict.fromkeys(elsewhere, LinkMode.SYMLINK), **self.link_modes})

    @property
    def document(self) -> dict[str, object]:
        """As JSON values."""
        modes = {name: mode.value for name, mode in sorted(self.link_modes.items())}
        return {"mode": self.link_mode.value, "fold": self.fold, "unfold": sorted(self.unfold), "modes": modes}

    @classmethod
    def of_marker(cls, marker: Mapping[str, object]) -> "Links | None":
        """What a view's marker says; None where it does not (views of older versions)."""
        try:
            said = marker["links"]
            modes = {str(name): LinkMode(mode) for name, mode in said["modes"].items()}  # type: ignore[index]
            return cls(LinkMode(said["mode"]), bool(said["fold"]), frozenset(said["unfold"]), modes)  # type: ignore[index]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


@dataclass(frozen=True)
class ViewPlan:
    """One environment of one project.

    project: the project's root; name: its name. venv: where the user meets the view, `<project>/.venv`; both absolute.
    target: the target's name. environment: `model.lock.environment_digest`. selection: groups and extras, sorted.
    fold: link whole directories where that is safe; means nothing but for SYMLINK. unfold: names of distributions
    that are linked file by file all the same. link_modes: by name, the mode of distributions that have another than the
    rest. elsewhere: by key, the folders of objects that lie in another store. requested: names that the project asks
    for itself (PEP 376 REQUESTED). direct_urls: `direct_url.json` (PEP 610) by name. preload: by module, the libraries
    to open before it is imported (`view.preload.preload_list`). libraries: their table and development links, if
    any. marker: what `current` gives back, JSON values.
    """

    store: Path
    project: Path
    venv: Path
    name: str
    target: str
    interpreter: Interpreter
    objects: tuple[StoredObject, ...]
    environment: str
    selection: tuple[str, ...] = ()
    link_mode: LinkMode = LinkMode.SYMLINK
    fold: bool = True
    unfold: frozenset[str] = frozenset()
    link_modes: Mapping[str, LinkMode] = field(default_factory=dict)
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    requested: frozenset[str] = frozenset()
    direct_urls: Mapping[str, str] = field(default_factory=dict)
    preload: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    libraries: "LibraryFiles | None" = None
    marker: Mapping[str, object] = field(default_factory=dict)

    @property
    def site_packages(self) -> str:
        """Where Python looks for packages, relative to the view: `lib/python3.13t/site-packages`."""
        return f"lib/python{self.interpreter.tag}/site-packages"

    @property
    def links(self) -> Links:
        """How the view holds files."""
        return Links(self.link_mode, self.fold, self.unfold, self.link_modes)

    def mode(self, name: str) -> LinkMode:
        """How the view holds the files of a distribution."""
        return self.link_modes.get(name, self.link_mode)

    def place(self, key: str) -> Path:
        """The folder of an object: in the view's own store, or wherever `elsewhere` says."""
        return self.elsewhere.get(key) or self.store / "objects" / key

    @property
    def folding(self) -> frozenset[str]:
        """The names of the distributions whose directories may be one link."""
        if not self.fold:
            return frozenset()
        linked = {stored.name for stored in self.objects if self.mode(stored.name) is LinkMode.SYMLINK}
        return frozenset(linked - self.unfold)

    @property
    def key(self) -> str:
        """The digest over everything that decides the view's content, apart from the marker."""
        names = {stored.name for stored in self.objects}
        elsewhere = {stored.key: str(self.place(stored.key)) for stored in self.objects if stored.key in self.elsewhere}
        modes = {name: mode.value for name, mode in self.link_modes.items() if name in names}
        parts = [
            FORMAT,
            self.environment,
            [self.interpreter.path, self.interpreter.version, self.interpreter.tag],
            [self.link_mode.value, self.fold, sorted(self.unfold & names), sorted(modes.items())],
            sorted(self.selection),
            [str(self.project), str(self.venv), self.name, self.target],
            [sorted(self.requested), sorted(self.direct_urls.items())],
            sorted(stored.key for stored in self.objects),
            *([sorted(self.preload.items())] if self.preload else []),
            *([self.libraries.document] if self.libraries else []),
            *([sorted(elsewhere.items())] if elsewhere else []),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    @property
    def path(self) -> Path:
        """Where the view lies once it is whole."""
        return self.store / "views" / f"{self.key}-{plain(self.name)}-{plain(self.target)}"


def plain(text: str) -> str:
    """A short text for people in a file name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:40] or "project"
