"""Where the files of an installed tree go in an environment: below its prefix, folders of one architecture as `lib`.

    usr/lib/x86_64-linux-gnu/libfoo.so.1  ->  lib/libfoo.so.1
    opt/rocm/lib64/librocm.so             ->  lib/librocm.so
    usr/include/foo.h                     ->  include/foo.h

Paths "in the tree" begin at its top; paths "in the environment" are what they become. Pure.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gpuenv.bundle.tree import FoundFile, FoundLink, FoundTree
from gpuenv.errors import ArchiveError, UsageError

__all__ = ["SYSTEM", "Arranged", "LeftOut", "Place", "arrange", "locate"]

# Prefixes that a system has anyway: what names one of them need not mean the tree.
SYSTEM = frozenset({"/", "/usr", "/usr/local"})

_PARTS = frozenset({"bin", "lib", "lib64", "libexec", "include", "share", "sbin", "etc"})
_TRIPLET = r"[a-z0-9_]+-(?:linux|kfreebsd|hurd)-(?:gnu|musl)[a-z0-9_]*"
_MOVED = re.compile(rf"(?:lib64|lib/{_TRIPLET}|include/{_TRIPLET})(?=/|\Z)")
_PYTHON = re.compile(r"lib/python3?(?:\.\d+t?)?/(?:site|dist)-packages(?:/|\Z)")
_MERGED = frozenset({"bin", "sbin", "lib", "lib64", "etc"})  # what a system has for usr beside it
_LOOPS = 40  # links one after the other, as Linux counts
_STEPS = 10_000
_SHOWN = 5


class LeftOut(NamedTuple):
    """What is not packed. path: in the tree."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree was installed. inside: the prefix's path in the tree, "" for its top.

    prefixes: absolute paths that mean it in its files, longest first.
    """

    inside: str
    prefixes: tuple[str, ...]

    def moved(self, path: str) -> str | None:
        """What a path in the tree becomes in the environment; None for what lies outside the prefix."""
        beside = self.inside == "usr" and path.partition("/")[0] in _MERGED
        inside = f"{self.inside}/" if self.inside and not beside else ""
        if not f"{path}/".startswith(inside):
            return None
        rest = path[len(inside) :]
        found = _MOVED.match(rest)
        return found[0].partition("/")[0].removesuffix("64") + rest[found.end() :] if found else rest

    def named(self, absolute: str) -> str | None:
        """The path in the tree that an absolute path means; None for what is not below a prefix."""
        for prefix in self.prefixes:
            if absolute == prefix or absolute.startswith(f"{prefix}/"):
                path = posixpath.normpath(posixpath.join(self.inside, absolute[len(prefix) :].lstrip("/") or "."))
                return "" if path == "." else path
        return None


class Arranged(NamedTuple):
    """A tree in its new order. files: by path in the environment. links: path and target there, sorted."""

    files: dict[str, FoundFile]
    links: tuple[FoundLink, ...]
    left_out: tuple[LeftOut, ...]


def locate(tree: FoundTree, given: str | None, more: Iterable[str] = ()) -> Place:
    """Where a tree was installed. given: the prefix, if the user says it. more: further texts that mean it.

    A tree either is a prefix (`bin`, `lib`, `include`, … at its top), or holds one below `usr` or `opt`, as packages of
    a distribution do. Raises UsageError where it holds none, or several.
    """
    inside = _inside(tree, given)
    tops = {f"/{inside}"} if inside else {str(tree.folder), *_tails(tree.folder.parts)}
    said = {*tops, *more, *([given] if given else [])}
    prefixes = {posixpath.normpath(text) for text in said if text.startswith("/")} - {"/"}
    return Place(inside, tuple(sorted(prefixes, key=lambda text: (-len(text), text))))


def _inside(tree: FoundTree, given: str | None) -> str:
    if given is not None:
        if not given.startswith("/"):
            raise UsageError(f"the prefix {given} is not an absolute path", hints=["for example --prefix /opt/rocm"])
        path = posixpath.normpath(given).strip("/")
        return path if path in tree.folders else ""
    tops = {path for path in tree.folders if "/" not in path}
    if tops & _PARTS and not tops & {"usr", "opt"}:
        return ""
    below = [path for path in tree.folders if re.fullmatch(r"usr(?:/local)?|opt/[^/]+(?:/[^/]+)?", path)]
    found = sorted(path for path in below if any(f"{path}/{part}" in tree.folders for part in _PARTS))
    # a folder of a prefix may look like one: /opt/rocm/llvm
    found = [path for path in found if path == "usr/local" or not any(path.startswith(f"{top}/") for top in found)]
    if len(found) == 1:
        return found[0]
    if found:
        hints = [f"--prefix /{path}" for path in found]
        raise UsageError(
            f"{tree.folder} holds several prefixes: {', '.join(f'/{path}' for path in found)}", hints=hints
        )
    causes = ["it has no folder bin, lib, include or share, neither at its top nor in a prefix below usr or opt"]
    raise UsageError(f"{tree.folder} is not an installed tree", causes=causes)


def _tails(parts: tuple[str, ...]) -> Iterator[str]:
    """What an installation into a staging folder was meant for: /tmp/stage/opt/rocm was for /opt/rocm."""
    for number, part in enumerate(parts):
        if part in ("usr", "opt") and number + 1 <= len(parts) - (part == "opt"):
            yield "/" + "/".join(parts[number:])


def arrange(tree: FoundTree, place: Place) -> Arranged:
    """Put everything where it goes. Raises ArchiveError for what has no place, two files for one place, and loops."""
    files: dict[str, FoundFile] = {}
    left_out: list[LeftOut] = []
    for file in tree.files:
        path = place.moved(file.path)
        if path is None:
            left_out.append(LeftOut(file.path, f"it lies outside /{place.inside}"))
        elif path.endswith(".la"):
            left_out.append(LeftOut(file.path, "libtool's archives name absolute paths, and nobody needs them"))
        elif path in files:
            causes = [f"{files[path].path} and {file.path} would both be {path}"]
            raise ArchiveError(f"{tree.folder} cannot be packed", causes=causes, hints=["--exclude PATTERN"])
        else:
            files[path] = file
    _refuse_modules(tree, files)
    links = _Links(tree, place, files)
    led = {link: found for found in tree.links if (link := links.kept(found, left_out)) is not None}
    kept = _held(led, files, left_out)
    taken = Counter(link.path for link in kept)
    twice = sorted(path for path, count in taken.items() if count > 1 or path in files)
    if twice:
        causes = [f"several files or links would be {path}" for path in twice[:_SHOWN]]
        raise ArchiveError(f"{tree.folder} cannot be packed", causes=causes, hints=["--exclude PATTERN"])
    return Arranged(dict(sorted(files.items())), tuple(sorted(kept)), tuple(sorted(left_out)))


def _held(led: dict[FoundLink, FoundLink], files: Iterable[str], left_out: list[LeftOut]) -> set[FoundLink]:
    """Those links that do not lead to one that was left out. led: with each, what it is in the tree."""
    there = {folder for path in files for folder in (path, *_above(path))}
    kept = set(led)
    while True:
        known = there | {link.path for link in kept}
        lost = {link for link in kept if _target_of(link) not in known}
        if not lost:
            return kept
        left_out += [LeftOut(led[link].path, f"it leads to {led[link].target}, which is left out") for link in lost]
        kept -= lost


def _target_of(link: FoundLink) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))


def _refuse_modules(tree: FoundTree, files: dict[str, FoundFile]) -> None:
    for path, file in files.items():
        if found := _PYTHON.match(path):
            folder = posixpath.join(file.path[: -len(path)], found[0]).rstrip("/") if file.path.endswith(path) else path
            causes = [f"{file.path} is for one Python's site-packages, which other tools look after"]
            hints = [f"leave it out: --exclude '{folder}'"]
            raise ArchiveError(f"{tree.folder} has modules of Python", causes=causes, hints=hints)


class _Outside(Exception):
    """A link leads out of what is packed."""


class _Missing(Exception):
    """A link leads through a folder that is not there."""


class _Links:
    """The links of a tree, followed as a system would, but never out of the tree."""

    def __init__(self, tree: FoundTree, place: Place, files: dict[str, FoundFile]) -> None:
        self._tree = tree
        self._place = place
        self._targets = {link.path: link.target for link in tree.links}
        self._files = {file.path for file in files.values()}
        self._folders = {folder for path in self._files for folder in _above(path)}
        self._steps = 0

    def kept(self, link: FoundLink, left_out: list[LeftOut]) -> FoundLink | None:
        """A link as the bundle has it; None where it goes, with its reason in `left_out` if somebody may miss it."""
        self._steps = 0
        path = self._place.moved(link.path)
        if path is None:
            left_out.append(LeftOut(link.path, f"it lies outside /{self._place.inside}"))
            return None
        try:
            named = self._follow(link, last=False)
            final = self._final(named, link)
        except _Outside:
            left_out.append(LeftOut(link.path, f"it leads out of the tree, to {link.target}"))
            return None
        except _Missing:
            named = final = ""
        target = self._place.moved(named) if named else None
        if target is None or (final not in self._files and final not in self._folders):
            left_out.append(LeftOut(link.path, f"it leads to {link.target}, which is not there"))
            return None
        if target == path:  # lib64 -> lib, usr/lib/libfoo.so -> x86_64-linux-gnu/libfoo.so
            return None
        if not target or f"{path}/".startswith(f"{target}/"):
            left_out.append(LeftOut(link.path, f"it leads to {link.target}, a folder that it lies in"))
            return None
        return FoundLink(path, posixpath.relpath(f"/{target}", posixpath.dirname(f"/{path}")))

    def _final(self, path: str, link: FoundLink) -> str:
        """What is there in the end, through all links."""
        for _ in range(_LOOPS):
            if path not in self._targets:
                return path
            path = self._follow(FoundLink(path, self._targets[path]), last=False)
        raise self._loop(link)

    def _follow(self, link: FoundLink, *, last: bool, depth: int = 0) -> str:
        """The path in the tree that a link names, its folders without links; last: the whole without links."""
        if depth > _LOOPS:
            raise self._loop(link)
        target = link.target
        parts = link.path.split("/")[:-1]
        if target.startswith("/"):
            named = target.lstrip("/") if self._place.inside else self._place.named(target)
            if named is None:
                raise _Outside
            target, parts = named, []
        steps = [step for step in target.split("/") if step not in ("", ".")]
        self._steps += len(steps)
        if self._steps > _STEPS:
            raise self._loop(link)
        for number, step in enumerate(steps):
            if step == "..":
                if not parts:
                    raise _Outside
                parts.pop()
                continue
            path = "/".join([*parts, step])
            if path in self._targets and (last or number + 1 < len(steps)):
                path = self._follow(FoundLink(path, self._targets[path]), last=True, depth=depth + 1)
            parts = path.split("/") if path else []
            if path and path not in self._tree.folders and number + 1 < len(steps):
                raise _Missing
        return "/".join(parts)

    def _loop(self, link: FoundLink) -> ArchiveError:
        causes = [f"the link {link.path} -> {link.target} leads in a circle"]
        return ArchiveError(f"{self._tree.folder} cannot be packed", causes=causes, hints=[f"--exclude '{link.path}'"])


def _above(path: str) -> Iterator[str]:
    """Every folder above a path, the top too."""
    while path:
        path = path.rpartition("/")[0]
        yield path
