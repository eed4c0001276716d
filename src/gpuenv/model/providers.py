"""Which distributions bring a soname, as a table that somebody keeps: shipped with gpuenv, or written by an index."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from gpuenv.model.facts import Vendor
from gpuenv.model.requirement import InvalidRequirement, Requirement, parse_requirement
from gpuenv.model.rules import AllowedMissing
from gpuenv.model.version import normal_name

__all__ = ["NO_PROVIDERS", "VERSION", "ProviderTable", "decode_providers", "decode_rows"]

# Of the form of a table, shipped or served; a table of a newer one is refused.
VERSION = 1

_ROWS, _ROW = 50_000, 64
_SONAME = re.compile(r"[!-.0-~]{1,255}")  # no slash: a soname is no path
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_RUNTIME = re.compile(r"(nvidia|amd) ([1-9][0-9]?)")
_VENDORS: dict[str, Vendor] = {"nvidia": "nvidia", "amd": "amd"}


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """Providers by soname, in the order in which to try them.

    any: whatever runtime is used. by_runtime: for one major version of a vendor's runtime, ("nvidia", 13).
    digest: `sha256:…` of the table as it was read, "" for none.
    optional: what binaries of a distribution name and do without, which they do not say themselves.
    """

    any: Mapping[str, tuple[Requirement, ...]] = field(default_factory=dict)
    by_runtime: Mapping[tuple[Vendor, int], Mapping[str, tuple[Requirement, ...]]] = field(default_factory=dict)
    digest: str = ""
    optional: Mapping[str, tuple[AllowedMissing, ...]] = field(default_factory=dict)

    def of(self, soname: str, runtime: tuple[Vendor, int] | None = None) -> tuple[Requirement, ...]:
        """The providers of a soname. runtime: whose, and which major version; None: any, the newest first."""
        if runtime is not None:
            wanted = [runtime] if soname in self.by_runtime.get(runtime, {}) else []
        else:
            wanted = sorted(self.by_runtime, key=lambda one: (one[0], -one[1]))
        rows = [self.by_runtime[one].get(soname, ()) for one in wanted]
        return tuple(dict.fromkeys(one for row in (*rows, self.any.get(soname, ())) for one in row))

    def knows(self, soname: str) -> bool:
        """Is there a row for the soname, for whatever runtime? If so, environments bring it, never the machine."""
        return soname in self.any or any(soname in rows for rows in self.by_runtime.values())

    def runtimes(self, soname: str) -> tuple[tuple[Vendor, int], ...]:
        """The runtimes for each of which somebody else brings the soname, sorted; none where it is one for all."""
        return tuple(sorted(runtime for runtime, rows in self.by_runtime.items() if soname in rows))


NO_PROVIDERS = ProviderTable()


def decode_providers(document: Mapping[str, object], digest: str) -> ProviderTable:
    """A table from plain values: `version`, `any`, and a section for each runtime, `nvidia 13`.

    digest: `sha256:…` of what was read. Raises ValueError, with the place, for anything else, and for a newer version.
    """
    sections = dict(document)
    version = sections.pop("version", None)
    if type(version) is not int or version < 1:
        raise ValueError("it has no version")
    if version > VERSION:
        raise ValueError(f"it is of version {version}, and this gpuenv reads version {VERSION}")
    rows = decode_rows(sections.pop("any", {}), "any: ")
    optional = _optional(sections.pop("optional", {}))
    by_runtime: dict[tuple[Vendor, int], Mapping[str, tuple[Requirement, ...]]] = {}
    for name, section in sections.items():
        match = _RUNTIME.fullmatch(name)
        if not match:
            raise ValueError(f"{name!r} is no runtime, such as 'nvidia 13'")
        by_runtime[_VENDORS[match[1]], int(match[2])] = decode_rows(section, f"{name}: ")
    return ProviderTable(rows, by_runtime, digest, optional)


def decode_rows(rows: object, place: str = "") -> dict[str, tuple[Requirement, ...]]:
    """Rows of a table: a soname, and one requirement or a list of them, without URL and without marker.

    place: put before the messages of the ValueError that anything else raises.
    """
    if not isinstance(rows, Mapping):
        raise ValueError(f"{place}not a table of sonames")
    if len(rows) > _ROWS:
        raise ValueError(f"{place}{len(rows)} sonames, more than {_ROWS}")
    decoded = {}
    for soname, providers in rows.items():
        if not isinstance(soname, str) or not _SONAME.fullmatch(soname):
            raise ValueError(f"{place}{_shown(soname)} is no soname")
        asked = [providers] if isinstance(providers, str) else providers
        if not isinstance(asked, list) or not 0 < len(asked) <= _ROW:
            raise ValueError(f"{place}{soname}: not a list of 1 to {_ROW} requirements")
        decoded[soname] = tuple(dict.fromkeys(_requirement(text, f"{place}{soname}: ") for text in asked))
    return decoded


def _optional(rows: object) -> dict[str, tuple[AllowedMissing, ...]]:
    """Distributions, and the sonames that each can do without."""
    if not isinstance(rows, Mapping):
        raise ValueError("optional: not a table of distributions")
    decoded = {}
    for name, sonames in rows.items():
        whole = isinstance(sonames, list) and all(isinstance(one, str) and _SONAME.fullmatch(one) for one in sonames)
        if not whole or not _NAME.fullmatch(name):
            raise ValueError(f"optional: {_shown(name)}: not the name of a distribution with a list of sonames")
        decoded[normal_name(name)] = tuple(map(AllowedMissing, sonames))
    return decoded


def _requirement(text: object, place: str) -> Requirement:
    if not isinstance(text, str):
        raise ValueError(f"{place}{_shown(text)} is no requirement")
    if _NAME.fullmatch(text):
        return _named(text)
    try:
        found = parse_requirement(text)
    except InvalidRequirement:
        raise ValueError(f"{place}{_shown(text)} is no requirement") from None
    if found.url is not None or found.marker is not None:
        raise ValueError(f"{place}{_shown(text)} has a URL or a marker")
    return found


@cache
def _named(name: str) -> Requirement:
    """A requirement that is a name alone, as most are; many times cheaper than to parse it."""
    return Requirement(normal_name(name), (), "", None, None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
