"""Which names an archive's entries may have, whatever kind of archive it is."""

import re
import unicodedata
from itertools import pairwise

__all__ = ["TARGET_LIMIT", "Refused", "check_clashes", "check_name", "check_target"]

TARGET_LIMIT = 4096  # bytes of a path, as systems have it

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # C0, DEL and C1: terminals obey some of each


class Refused(Exception):
    """The archive is damaged or means different things to different readers; the text says why."""


def check_name(name: str) -> None:
    """A name is '/'-separated, relative, stays inside, and can be printed; raises Refused."""
    if _CONTROL.search(name):
        raise Refused(f"entry {name!r} has control characters in its name")
    if "\\" in name:
        raise Refused(f"entry {name!r} has a backslash in its name")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Refused(f"entry {name!r} is an absolute path")
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        raise Refused(f"entry {name!r} leaves the archive")
    if "" in parts or "." in parts:
        raise Refused(f"entry {name!r} has an empty part in its name")
    # a character takes at most four bytes
    if len(name.encode()) > 2048 or any(len(part.encode()) > 255 for part in parts if len(part) > 63):
        raise Refused(f"entry {name[:80]!r}… has a name that is too long")


def check_target(name: str, target: str) -> None:
    """A link may lead anywhere, for nobody follows it; but its target can be printed and is a path; raises Refused."""
    if _CONTROL.search(target):
        raise Refused(f"entry {name!r} is a link to a path with control characters")
    if not target or len(target.encode()) > TARGET_LIMIT:
        raise Refused(f"entry {name!r} is a link to a path that is {'too long' if target else 'empty'}")


def check_clashes(names: list[str], *, case_sensitive: bool) -> None:
    """No two entries may be one file: the same name, one below the other, or equal but for spelling.

    Unicode has several spellings of one text (UAX 15), and some file systems keep one of them.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = name if name.isascii() else unicodedata.normalize("NFC", name)
        key = key if case_sensitive else unicodedata.normalize("NFC", key.casefold())
        key = key.removesuffix("/")
        if key in seen:
            raise Refused(f"entries {seen[key]!r} and {name!r} are one file")
        seen[key] = name
    # sorted so that what lies in a folder comes right behind it: to look every name's folders up would take, for names
    # of a thousand parts, milliseconds each
    keys = sorted(seen, key=lambda key: key.replace("/", "\0"))
    for above, below in pairwise(keys):
        if below.startswith(f"{above}/") and not seen[above].endswith("/"):
            raise Refused(f"entry {seen[above]!r} is a file and the directory of {seen[below]!r}")
