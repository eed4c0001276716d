"""Which part of a tree each file belongs to: libraries and programs, what compilers need, kernels of one GPU. Pure."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gpuenv.bundle.tree import FoundLink
from gpuenv.model.facts import ObjectFacts

__all__ = ["DEVEL", "RUNTIME", "Part", "split"]

RUNTIME, DEVEL = "", "devel"

_DEVEL = re.compile(
    r"include/|(?:.*/)?(?:cmake|pkgconfig|aclocal)/|.*\.(?:a|cmake|pc|h|hh|hpp|hxx|cuh)\Z|share/man/man[23]/"
)


class Part(NamedTuple):
    """One bundle of a tree. name: what is added to the name, `devel`, `device-gfx942`, or RUNTIME. arch: `gfx942`."""

    name: str
    arch: str | None
    files: tuple[str, ...]
    links: tuple[FoundLink, ...]


def split(files: Iterable[str], links: Iterable[FoundLink], objects: Mapping[str, ObjectFacts]) -> tuple[Part, ...]:
    """The parts, the runtime first. objects: facts by path in the environment, as all paths are.

    A file of device code is of its architecture's part if it has code for one alone. A link is with what it leads to
    in the end: no bundle has a link that leads nowhere in itself.
    """
    part_of = {path: _part(path, objects.get(path)) for path in files}
    linked = _with_targets(tuple(links), part_of)
    names = {*part_of.values(), *linked.values()}
    arches = {arch for name in names if (arch := name.partition("device-")[2])}
    order = sorted(names, key=lambda name: (name != RUNTIME, name.startswith("device-"), name))
    return tuple(
        Part(
            name.replace("_", "-"),
            next((arch for arch in arches if name == f"device-{arch}"), None),
            tuple(path for path in sorted(part_of) if part_of[path] == name),
            tuple(sorted(link for link, part in linked.items() if part == name)),
        )
        for name in order
    )


def _part(path: str, facts: ObjectFacts | None) -> str:
    if facts is not None and not facts.for_host:
        arches = {code.arch for code in facts.device_code}
        if len(arches) == 1:
            return f"device-{arches.pop()}"
    return DEVEL if facts is None and _DEVEL.match(path) else RUNTIME


def _with_targets(links: tuple[FoundLink, ...], part_of: Mapping[str, str]) -> dict[FoundLink, str]:
    below: dict[str, set[str]] = defaultdict(set)
    for path, part in part_of.items():
        folder = path.rpartition("/")[0]
        while folder:
            below[folder].add(part)
            folder = folder.rpartition("/")[0]
    by_path = {link.path: link for link in links}
    found = {}
    for link in links:
        path, seen = link.path, 0
        while path in by_path and seen <= len(by_path):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), by_path[path].target))
            seen += 1
        parts = {part_of[path]} if path in part_of else below.get(path, {RUNTIME})
        found[link] = RUNTIME if RUNTIME in parts else min(parts)
    return found
