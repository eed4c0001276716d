"""LINKS of PEP 778: the symbolic links of a wheel, as lines of `source,target` in its `*.dist-info`.

The proposal's prose has the link first, its example the file. A line is read by which of its two paths exists.
"""

import csv
import io
import re
from bisect import bisect_left
from collections.abc import Iterable

from gpuenv.archive.names import Refused, check_name
from gpuenv.archive.parts import Link, relative

__all__ = ["LINKS_LIMIT", "check_listed", "is_links", "links_of", "parse_links"]

LINKS_LIMIT = 1 << 20
_LINKS = re.compile(r"(?:.*/)?[^/]+\.dist-info/LINKS", re.DOTALL)


def is_links(path: str) -> bool:
    """Is this the file in which a distribution lists its links?"""
    return _LINKS.fullmatch(path) is not None


def check_listed(size: int) -> None:
    """`size`: of all LINKS of an archive, for a small one can hold a thousand of the largest; raises Refused."""
    if size > LINKS_LIMIT:
        raise Refused(f"its lists of links take {size} bytes together; at most {LINKS_LIMIT} are read")


def parse_links(data: bytes, path: str) -> list[tuple[str, str]]:
    """The pairs of a LINKS file at `path`, as paths inside the artifact; raises Refused for anything malformed."""
    base = path.rpartition("/")[0].rpartition("/")[0]
    if len(data) > LINKS_LIMIT:
        raise Refused(f"entry {path!r} is larger than {LINKS_LIMIT} bytes")
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"entry {path!r} cannot be read: {error}") from None
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise Refused(f"entry {path!r} is malformed: line {number} does not hold two paths")
        for name in row:
            _check(name, path)
    prefix = f"{base}/" if base else ""
    return [(prefix + first.removesuffix("/"), prefix + second.removesuffix("/")) for first, second in rows]


def _check(name: str, path: str) -> None:
    try:
        check_name(name)
    except Refused as refused:
        raise Refused(f"entry {path!r} is malformed: {refused}") from None


def links_of(pairs: Iterable[tuple[str, str]], paths: Iterable[str]) -> list[Link]:
    """Which path of each pair is the link; `paths` are the artifact's files and links.

    A link may lead to another. Where both paths exist, or neither does, the order of the prose holds: link, target.
    """
    pairs = list(dict.fromkeys(pairs))
    # folders exist through what is in them, which in this order comes right behind where they would be
    order = sorted(path.replace("/", "\0") for path in paths) if pairs else []
    there = {name for pair in pairs for name in pair if _is_there(name.replace("/", "\0"), order)}
    waiting: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        for name in pair:
            waiting.setdefault(name, []).append(number)
    found: dict[int, Link] = {}
    queue = sorted(there)
    while queue:
        known = queue.pop()
        for number in waiting.pop(known, ()):
            first, second = pairs[number]
            other = first if known == second else second
            if number in found:
                continue
            both = first in there and second in there
            link, target = (first, second) if both else (other, known)
            found[number] = _link(link, target)
            if other not in there:
                there.add(other)
                queue.append(other)
    return [found.get(number) or _link(*pair) for number, pair in enumerate(pairs)]


def _is_there(name: str, order: list[str]) -> bool:
    at = bisect_left(order, name)
    return at < len(order) and (order[at] == name or order[at].startswith(name + "\0"))


def _link(path: str, target: str) -> Link:
    return Link(path, relative(path, target), "LINKS")
