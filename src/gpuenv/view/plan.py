"""What a view is to hold, as a value, and its name."""

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuenv.model.interpreter import Interpreter
from gpuenv.model.stored import StoredObject

__all__ = ["LinkMode", "ViewPlan", "default_links"]

FORMAT = "gpuenv view 1"


class LinkMode(enum.Enum):
    """How a view holds the files of objects."""

    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    COPY = "copy"


def default_links(user: int) -> tuple[LinkMode, bool]:
    """Link mode and folding for a user id. Root could write through a folded directory, so root gets file links."""
    return (LinkMode.HARDLINK, False) if user == 0 else (LinkMode.SYMLINK, True)


@dataclass(frozen=True)
class ViewPlan:
    """One environment of one project.

    project: the project's root; name: its name. venv: where the user meets the view, `<project>/.venv`; both absolute.
    target: the target's name. environment: `model.lock.environment_digest`. selection: groups and extras, sorted.
    fold: link whole directories where that is safe; means nothing but for SYMLINK. unfold: names of distributions
    that are linked file by file all the same. requested: names that the project asks for itself (PEP 376 REQUESTED).
    direct_urls: `direct_url.json` (PEP 610) by name. preload: by module, the libraries to open before it is imported
    (`view.preload.preload_list`). marker: what `current` gives back, JSON values.
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
    requested: frozenset[str] = frozenset()
    direct_urls: Mapping[str, str] = field(default_factory=dict)
    preload: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    marker: Mapping[str, object] = field(default_factory=dict)

    @property
    def site_packages(self) -> str:
        """Where Python looks for packages, relative to the view: `lib/python3.13t/site-packages`."""
        return f"lib/python{self.interpreter.tag}/site-packages"

    @property
    def folds(self) -> bool:
        """Whole directories may be links."""
        return self.fold and self.link_mode is LinkMode.SYMLINK

    @property
    def key(self) -> str:
        """The digest over everything that decides the view's content, apart from the marker."""
        parts = [
            FORMAT,
            self.environment,
            [self.interpreter.path, self.interpreter.version, self.interpreter.tag],
            [self.link_mode.value, self.folds, sorted(self.unfold)],
            sorted(self.selection),
            [str(self.project), str(self.venv), self.name, self.target],
            [sorted(self.requested), sorted(self.direct_urls.items())],
            sorted(stored.key for stored in self.objects),
            *([sorted(self.preload.items())] if self.preload else []),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    @property
    def path(self) -> Path:
        """Where the view lies once it is whole."""
        return self.store / "views" / f"{self.key}-{plain(self.name)}-{plain(self.target)}"


def plain(text: str) -> str:
    """A short text for people in a file name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:40] or "project"
