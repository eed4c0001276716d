"""What `gpuenv pack` is asked, as flags or as `[tool.gpuenv.pack]`, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuenv.model.default_extras import DefaultExtras
from gpuenv.model.made import Made
from gpuenv.model.requirement import Requirement

__all__ = ["Mentioned", "PackSettings", "PackedBundle", "Packing", "SonameNeed", "VariantClaim"]


class VariantClaim(NamedTuple):
    """What a publisher says of a variant; None and empty: not said.

    properties: `amd :: gfx_arch :: gfx942`. namespaces: of all variants of the version, best first. providers: by
    namespace, the requirement whose plugin tells what a machine supports.
    """

    label: str | None = None
    properties: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    providers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class PackSettings:
    """What to pack, and as what; None and empty: not said.

    tree, output: folders. name, version, tag: of the bundle. prefix: where the tree was installed, absolute. best:
    smaller, in minutes. split: several bundles. requires: further requirements. provides: requirements by the soname
    that they bring. exclude: patterns of paths in the tree. variant: what NAME is a variant of. default_extras: of NAME
    by environment; None: those that follow from the parts.
    """

    tree: str | None = None
    name: str | None = None
    version: str | None = None
    tag: str | None = None
    output: str | None = None
    prefix: str | None = None
    summary: str | None = None
    best: bool = False
    split: bool = False
    requires: tuple[Requirement, ...] = ()
    provides: Mapping[str, Requirement] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    variant: VariantClaim | None = None
    default_extras: DefaultExtras | None = None


@dataclass(frozen=True, slots=True)
class PackedBundle:
    """One bundle. files: path in the environment and in the tree. links: path and target. made: None where none was.

    sonames: of its libraries, sorted. requires: lines of its metadata. extras: that it provides. bytes: of its files.
    label: of the variant that it is. default_extras: by environment.
    """

    filename: str
    name: str
    version: str
    tag: str
    files: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    sonames: tuple[str, ...]
    requires: tuple[str, ...]
    extras: tuple[str, ...]
    bytes: int
    label: str = ""
    default_extras: DefaultExtras = ()
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class SonameNeed:
    """A library that a tree needs and does not bring. by: the binaries, sorted. requirement: whose it is, if known."""

    soname: str
    by: tuple[str, ...]
    requirement: Requirement | None = None


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A file that still names the tree's prefix. text: a path that it names. line: 0 in a binary. count: of all."""

    path: str
    text: str
    line: int
    count: int


@dataclass(frozen=True, slots=True)
class Packing:
    """What came of a tree. tree: where it lies. prefix: in the tree, "" for its top.

    left_out: path in the tree, and why. rewritten: paths of files that named the prefix. warnings: what else to know.
    """

    tree: str
    prefix: str
    bundles: tuple[PackedBundle, ...]
    needs: tuple[SonameNeed, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    rewritten: tuple[str, ...] = ()
    mentioned: tuple[Mentioned, ...] = ()
    warnings: tuple[str, ...] = ()
