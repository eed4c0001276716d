"""What an index offers: pages, releases, wheel files and their metadata.

These are msgspec structs, encoded as arrays, because the index cache holds thousands of them decoded.
"""

from collections.abc import Mapping

import msgspec

from gpuenv.model.facts import NativeFacts
from gpuenv.model.filename import BUNDLE, label_of, split_filename, tags_of
from gpuenv.model.providers import ProviderTable
from gpuenv.model.variants import Variants


class WheelFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One wheel on an index page (PEP 503, 592, 658, 691, 700, 714), or a wheel named by a direct URL.

    url: absolute, without credentials; `file://` for wheels in folders.
    sha256: lower-case hex, None if the index does not say.
    size: bytes, None if the index does not say.
    uploaded: UTC instant `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, None if the index does not say.
    yanked: None if not yanked, else the reason (possibly empty).
    metadata_sha256: None if no metadata file is offered, "" if one is offered without a digest.
    native_sha256: the same of its native facts (`<file>.native.json`).
    """

    filename: str
    url: str
    sha256: str | None = None
    size: int | None = None
    requires_python: str | None = None
    uploaded: str | None = None
    yanked: str | None = None
    metadata_sha256: str | None = None
    native_sha256: str | None = None

    @property
    def tags(self) -> str:
        """The compressed tag triple of the file name, `py3-none-any` (PEP 425)."""
        return tags_of(self.filename)

    @property
    def build(self) -> tuple[int, str]:
        """The build tag as the wheel specification sorts it; `(-1, "")` where there is none."""
        if self.filename.count("-") == 4:
            return (-1, "")
        name = split_filename(self.filename)
        if name is None or not name.build:
            return (-1, "")
        rest = name.build.lstrip("0123456789")
        return (int(name.build[: len(name.build) - len(rest)] or 0), rest)

    @property
    def label(self) -> str:
        """Which variant of its release it is (PEP 825); "" for a wheel that is none."""
        return label_of(self.filename)

    @property
    def is_bundle(self) -> bool:
        """Is it a wheel's tree in another package: tar and zstd?"""
        return self.filename.endswith(BUNDLE)

    @property
    def key(self) -> str:
        """What the file's facts are stored under: its sha256, or its URL while no digest is known."""
        return self.sha256 or self.url


class Release(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of a distribution on one page: its wheels, and whether a source distribution exists.

    version: canonical text (PEP 440). variants: the file that says what the labels of its wheels stand for (PEP 825).
    """

    version: str
    wheels: tuple[WheelFile, ...]
    sdist: bool = False
    variants: WheelFile | None = None


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the indexes know about one name: releases, newest first. No releases: no index knows the name.

    index: name of the index that served the page, "" where none did.
    skipped: how many files had names that no standard can read.
    """

    name: str
    index: str
    releases: tuple[Release, ...]
    skipped: int = 0


class Metadata(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of a wheel's core metadata (PEP 566, 643) that a solve needs.

    requires: Requires-Dist lines that may apply without any extra.
    by_extra: lines that can apply only when the extra (normalised) is asked for.
    extras: Provides-Extra, normalised. default_extras: Default-Extra (PEP 771), normalised. default_extras_by: what the
    publisher's `default-extras.json` says, by selector; None where METADATA does not say that there is one; text: why
    that cannot be read.
    """

    name: str
    version: str
    requires_python: str | None
    requires: tuple[str, ...]
    by_extra: dict[str, tuple[str, ...]]
    extras: tuple[str, ...]
    default_extras: tuple[str, ...] = ()
    default_extras_by: tuple[tuple[str, tuple[str, ...]], ...] | str | None = None

    def lines(self, extra: str) -> tuple[str, ...]:
        """The requirements that may apply without any extra (""), or can apply only for one."""
        return self.by_extra.get(extra, ()) if extra else self.requires

    @property
    def every_line(self) -> tuple[str, ...]:
        """All requirements, those that apply for no extra first; one of several extras comes several times."""
        return (*self.requires, *(line for lines in self.by_extra.values() for line in lines))


class About(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a bundle says of itself.

    facts: without a digest; None where it says nothing that is read here. origin: the sha256 of the wheel that it was,
    if the same files are installed from either.
    """

    facts: NativeFacts | None
    origin: str | None


class Catalog(msgspec.Struct, frozen=True):
    """Everything that a solve for one target may look at; it grows between solves, never during one.

    pages: by normalised name. metadata, facts: by `WheelFile.key`. direct: wheels behind direct URLs, by URL.
    provides: what an index says of who provides what, by the index's name. variants: what labels stand for, by the
    `WheelFile.key` of a release's variants file or of a wheel behind a URL; text: why that cannot be used.
    """

    pages: Mapping[str, Page]
    metadata: Mapping[str, Metadata]
    direct: Mapping[str, WheelFile]
    facts: Mapping[str, NativeFacts] = {}
    provides: Mapping[str, ProviderTable] = {}
    variants: Mapping[str, Variants | str] = {}
