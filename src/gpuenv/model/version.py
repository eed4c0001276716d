"""Versions, specifiers and names: the door to `packaging` (PEP 440, PEP 503, PEP 685)."""

import re
from functools import cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = [
    "InvalidSpecifier",
    "InvalidVersion",
    "SpecifierSet",
    "Version",
    "distribution_of",
    "normal_name",
    "parse_specifier",
    "parse_version",
]

_NORMAL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")


@cache
def normal_name(name: str) -> str:
    """The normalised form of a distribution or extra name (PEP 503, 685)."""
    return name if _NORMAL.match(name) else canonicalize_name(name)


def distribution_of(filename: str) -> str:
    """The normalised name of the distribution that a wheel's file name states (PEP 427, 503)."""
    return normal_name(filename.partition("-")[0])


@cache
def parse_version(text: str) -> Version:
    """Parse a PEP 440 version; raises InvalidVersion."""
    return Version(text)


@cache
def parse_specifier(text: str) -> SpecifierSet:
    """Parse a PEP 440 specifier set; raises InvalidSpecifier."""
    return SpecifierSet(text)
