"""The canonical form of an object's tree: its hash, its directories, and which of them a view may link whole."""

import hashlib
import posixpath
from base64 import b32encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.stored import SITE_PACKAGES, Directory, Reach, StoredFile, StoredLink

__all__ = ["DEVEL", "TreeFile", "TreeLink", "directories_of", "links_in", "reaches_of", "shallow_part", "tree_hash"]

# With what the name of AMD's development tree begins, the one whose links may lead to other distributions.
DEVEL = "_rocm_sdk_devel"


class TreeFile(NamedTuple):
    """A file of an object. path: relative to the object. sha256: 32 bytes. origins: its `$ORIGIN` paths."""

    path: str
    size: int
    sha256: bytes
    executable: bool
    origins: tuple[str, ...] = ()


class TreeLink(NamedTuple):
    """A symbolic link of an object. path: relative to the object. target: its text, relative to its directory."""

    path: str
    target: str


def tree_hash(files: Iterable[TreeFile], links: Iterable[TreeLink] = ()) -> str:
    """160 bits of sha256 over type, executable bit, size, content and path of every file and link, sorted; base 32.

    The content of a link is its text. It depends on nothing else: not on where the store lies, nor on times, owners or
    bytecode.
    """
    digest = hashlib.sha256(b"gpuenv tree 1\n")
    for _, line in sorted([*map(_line, files), *map(_link_line, links)]):
        digest.update(line.encode())
    return b32encode(digest.digest()[:20]).decode().lower()


def _line(file: TreeFile) -> tuple[str, str]:
    return file.path, f"{'x' if file.executable else 'f'} {file.size} {file.sha256.hex()} {file.path}\0"


def _link_line(link: TreeLink) -> tuple[str, str]:
    text = link.target.encode()
    return link.path, f"l {len(text)} {hashlib.sha256(text).hexdigest()} {link.path}\0"


class _Held(NamedTuple):
    """What a directory holds."""

    directories: set[str]
    files: list[StoredFile]
    links: list[StoredLink]


def directories_of(files: Iterable[TreeFile], links: Iterable[TreeLink] = ()) -> tuple[Directory, ...]:
    """Every directory of the tree with what it holds, sorted by path."""
    found = {"": _Held(set(), [], [])}
    for file in files:
        directory, _, name = file.path.rpartition("/")
        _add(found, directory)
        solid = file.executable and any(_outside(directory, path) for path in file.origins)
        found[directory].files.append(StoredFile(name, file.size, file.sha256, file.executable, solid))
    for link in links:
        directory, _, name = link.path.rpartition("/")
        _add(found, directory)
        found[directory].links.append(StoredLink(name, link.target))
    return tuple(
        Directory(
            path,
            tuple(sorted(held.directories)),
            tuple(sorted(held.files, key=lambda file: file.name)),
            tuple(sorted(held.links, key=lambda link: link.name)),
        )
        for path, held in sorted(found.items())
    )


def links_in(listing: Iterable[Directory]) -> Iterator[TreeLink]:
    """The links of a listing."""
    for directory in listing:
        start = f"{directory.path}/" if directory.path else ""
        for link in directory.links:
            yield TreeLink(start + link.name, link.target)


def _add(found: dict[str, _Held], directory: str) -> None:
    """Enter a directory and those above it, each in the one that holds it."""
    if directory in found:
        return
    parent, _, name = directory.rpartition("/")
    _add(found, parent)
    found[parent].directories.add(name)
    found[directory] = _Held(set(), [], [])


def reaches_of(files: Sequence[TreeFile], leads: Mapping[str, str] = {}) -> tuple[Reach, ...]:
    """Where ELF files look for libraries, and links lead, outside their own directory: each pair of directories once.

    leads: what each link leads to in the end, by its path. A library is looked for from where it was opened, so one
    that a link leads to looks from the link's directory, too.
    """
    held: set[str] = {""}
    for path in (*(file.path for file in files), *leads):
        directory = path.rpartition("/")[0]
        while directory not in held:
            held.add(directory)
            directory = directory.rpartition("/")[0]
    found: set[tuple[str, str]] = set(_led(leads, held))
    origins = {file.path: file.origins for file in files if file.origins}
    opened = [*origins.items(), *((path, origins[lead]) for path, lead in leads.items() if lead in origins)]
    for path, texts in opened:
        directory = path.rpartition("/")[0]
        found |= {(directory, wanted) for text in texts if (wanted := _outside(directory, text)) is not None}
    return tuple(
        Reach(directory, wanted, wanted in held and _scheme(directory) == _scheme(wanted))
        for directory, wanted in sorted(found)
    )


def _led(leads: Mapping[str, str], held: set[str]) -> Iterator[tuple[str, str]]:
    """The directories that links lead to, or to a file of, out of their own."""
    for path, lead in leads.items():
        directory = path.rpartition("/")[0]
        wanted = lead if lead in held else lead.rpartition("/")[0]
        if not f"{wanted}/".startswith(f"{directory}/"):
            yield directory, wanted


def _scheme(path: str) -> str:
    return path.partition("/")[0]


def _outside(directory: str, path: str) -> str | None:
    """The directory that `$ORIGIN/..` leads to from `directory`, None if that is in `directory` itself."""
    rest = path.removeprefix("$ORIGIN").removeprefix("${ORIGIN}").lstrip("/")
    wanted = posixpath.normpath(posixpath.join(directory, rest))
    return None if wanted == directory or wanted.startswith(f"{directory}/") else wanted


def shallow_part(directories: Sequence[Directory], reaches: Sequence[Reach], dist_info: str) -> tuple[Directory, ...]:
    """The directories that a view is likely to look into: the upper ones, and those above escaping binaries."""
    wanted = {"", SITE_PACKAGES, "scripts", "data", f"{SITE_PACKAGES}/{dist_info}"}
    for reach in reaches:
        if not reach.inside:
            wanted |= {path for path in _ancestors(reach.directory) if not reach.wanted.startswith(f"{path}/")}
    by_path: Mapping[str, Directory] = {directory.path: directory for directory in directories}
    return tuple(by_path[path] for path in sorted(wanted) if path in by_path)


def _ancestors(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
