"""File names of wheels and bundles taken apart (PEP 427), those of wheel variants among them (PEP 825).

A sixth part is a build tag where it stands third and begins with a digit, for Python tags never do; else it stands
last and is a variant's label. Pages hold a hundred thousand names, nearly all of them plain: what is asked of every
name counts hyphens before it splits anything.
"""

import re
from typing import NamedTuple

__all__ = [
    "BUNDLE",
    "VARIANT",
    "VARIANTS",
    "FileName",
    "is_native",
    "label_of",
    "split_filename",
    "stem_of",
    "tags_of",
    "version_of",
    "with_label",
]

BUNDLE = ".whl.tar.zst"
VARIANTS = "-variants.json"  # NAME-VERSION-variants.json maps the labels of one version's wheels to properties
VARIANT = "variant.json"  # the same of one wheel, in its .dist-info
_LABEL = re.compile(r"[0-9a-z_.]+\Z")
_PLAIN = 4  # hyphens in the name of a wheel with neither build tag nor label


class FileName(NamedTuple):
    """The parts of a file name as they are written. tags: `py3-none-any`. build, label: "" where there is none."""

    name: str
    version: str
    build: str
    tags: str
    label: str


def stem_of(filename: str) -> str | None:
    """The file name of a wheel or bundle without what says how it is packed; None for any other name."""
    if filename.endswith(".whl"):
        return filename[:-4]
    return filename.removesuffix(BUNDLE) if filename.endswith(BUNDLE) else None


def split_filename(filename: str) -> FileName | None:
    """The file name of a wheel or bundle in its parts; None for what is no such name."""
    parts = (stem_of(filename) or "").split("-")
    if not all(parts) or "/" in filename or "\\" in filename:
        return None
    built = len(parts) > _PLAIN + 1 and parts[2][0].isdigit()
    first = 3 if built else 2
    if len(parts) - first not in (3, 4):
        return None
    label = "".join(parts[first + 3 :])
    if label and not _LABEL.match(label):
        return None
    return FileName(parts[0], parts[1], parts[2] if built else "", "-".join(parts[first : first + 3]), label)


def version_of(filename: str) -> str:
    """The version that the file name of a wheel, a bundle or a variants file states, as it is written there."""
    return filename.split("-", 2)[1]


def tags_of(filename: str) -> str:
    """The compressed tag triple of a file name, `py3-none-any` (PEP 425)."""
    stem = stem_of(filename) or filename
    if stem.count("-") > _PLAIN and (name := split_filename(filename)):
        return name.tags
    return "-".join(stem.rsplit("-", 3)[1:])


def label_of(filename: str) -> str:
    """The label of a wheel variant; "" for a wheel that is none."""
    if filename.count("-") <= _PLAIN:
        return ""
    name = split_filename(filename)
    return name.label if name else ""


def with_label(filename: str, label: str) -> str:
    """The file name of the variant of a wheel or bundle that is none; "" makes none of it."""
    stem = stem_of(filename) or filename
    return f"{stem}-{label}{filename[len(stem) :]}" if label else filename


def is_native(filename: str) -> bool:
    """Does a wheel's file name say that it is for one kind of machine, so that binaries may be in it (PEP 425)?"""
    if filename.count("-") > _PLAIN:
        return not tags_of(filename).endswith("-any")
    return not filename.endswith(("-any.whl", f"-any{BUNDLE}"))
