"""Files that name the place where they were installed, made to name it relative to themselves. Pure.

    prefix=/opt/rocm                                   prefix=${pcfiledir}/../..             pkg-config
    set(ROCM_LIB /opt/rocm/lib)                        set(ROCM_LIB ${_PACKED_PREFIX}/lib)       CMake, set above
    #!/opt/rocm/bin/python3                            #!/usr/bin/env python3

CMake's own computations are kept, and are made right where their file moved (`lib/x86_64-linux-gnu/cmake` is
`lib/cmake` in an environment) and where they ask for the real path: files of an environment are links. What no
format can say relative is found, and stays.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from gpuenv.bundle.arrange import SYSTEM, Place

__all__ = ["Mention", "Relocator", "pc_prefix"]

_TAIL = r"(?:/+[\w.+~@%-]+)*"
_FLAGS = r"(?:(?<=-I)|(?<=-L)|(?<=-F)|(?<![\w.+~@}/-]))"
_PC_PREFIX = re.compile(r"^(prefix[ \t]*=[ \t]*)(\S*)[ \t]*$", re.MULTILINE)
_BASES = r"\$\{(?:exec_prefix|prefix|_IMPORT_PREFIX|PACKAGE_PREFIX_DIR)\}"
_RELATIVE = re.compile(rf"({_BASES})((?:/+[\w.+~@%-]+)+)")
_HERE = re.compile(
    r"\b(get_filename_component|set)[ \t]*\([ \t]*(\w+)[ \t]+\"?\$\{(\w+)\}\"?(?:[ \t]+(\w+))?[ \t]*\)", re.IGNORECASE
)
_ASSIGNS = r"\b(?:get_filename_component|set)[ \t]*\([ \t]*%s\b"
_CHAIN = re.compile(
    r'^get_filename_component\(_IMPORT_PREFIX "\$\{CMAKE_CURRENT_LIST_FILE\}" (PATH|DIRECTORY)\)\n'
    r'(?:^get_filename_component\(_IMPORT_PREFIX "\$\{_IMPORT_PREFIX\}" (?:PATH|DIRECTORY)\)\n)*',
    re.MULTILINE,
)
# CMake asks whether its file was found by way of /lib -> /usr/lib, and falls back to the place of the installation.
_CROSSED = re.compile(
    r"(?:^# Use original install prefix[^\n]*\n^# cross-prefix symbolic link[^\n]*\n)?"
    r"^get_filename_component\(_realCurr [^\n]*\n^get_filename_component\(_realOrig [^\n]*\n"
    r"^if\(_realCurr STREQUAL _realOrig\)\n[^\n]*\n^endif\(\)\n(?:^unset\(_real(?:Orig|Curr)\)\n)*",
    re.MULTILINE,
)
_OWN_PREFIX = re.compile(r"\bset\s*\(\s*(?:_IMPORT_PREFIX|PACKAGE_PREFIX_DIR)\s+\"?$", re.IGNORECASE)
_PACKED = "_PACKED_PREFIX"
_GOES_ON = re.compile(rb"[\w.+~@%}-]")
_FLAG_BYTES = (b"-I", b"-L", b"-F")
_PATH = re.compile(rb"[\x21\x23-\x26\x2a-\x7e]*")
_HEAD, _LONGEST = 8192, 4096
_SHEBANG = re.compile(rb"#![ \t]*(/[^\s]*)([ \t]+[^\r\n]*)?(?=\r?\n|\Z)")


class Mention(NamedTuple):
    """An absolute path that a file still names. line: its number, 0 in a binary. times: how often such paths occur."""

    text: str
    line: int
    times: int


@dataclass(frozen=True, slots=True)
class _Site:
    """One file. old: its path in the tree. new: in the environment."""

    old: str
    new: str


class Relocator:
    """Rewrites the files of one tree. paths: everything in it, folders too, by path in the tree.

    linked: folders in the environment that links of the tree lead to.
    """

    def __init__(self, place: Place, paths: frozenset[str], linked: frozenset[str] = frozenset()) -> None:
        self._place = place
        self._paths = paths
        self._linked = linked
        names = "|".join(map(re.escape, place.prefixes)) or r"(?!)"
        self._absolute = re.compile(rf"{_FLAGS}(?:{names})(?![\w.+~@%-]){_TAIL}")
        self._bytes = [prefix.encode() for prefix in place.prefixes]

    def rewritten(self, old: str, new: str, data: bytes) -> bytes:
        """A file's bytes as the bundle has them. old: its path in the tree. new: in the environment."""
        site = _Site(old, new)
        if data.startswith(b"#!"):
            return self._shebang(data)
        if not new.endswith((".pc", ".cmake")):
            return data
        text = data.decode("utf-8", "surrogateescape")
        changed = self._pkg_config(text, site) if new.endswith(".pc") else self._cmake(text, site)
        return changed.encode("utf-8", "surrogateescape")

    def scan(self, chunks: Iterable[bytes], *, told: Sequence[str] = ()) -> Mention | None:
        """The absolute paths in a file that mean the tree, as far as their text can tell; None if there are none.

        chunks: all its bytes. told: texts that are dealt with, such as a search path.
        """
        first, count, lines, binary = "", 0, 0, False
        for start, data in enumerate(_windows(chunks)):
            binary = binary or (start == 0 and b"\0" in data.whole[:_HEAD])
            for position in self._positions(data):
                text = _path_at(data.whole, position)
                if text not in told and self._means_it(text):
                    if not count and not binary:
                        lines += data.whole.count(b"\n", 0, position) + 1
                    first, count = first or text, count + 1
            if not count:
                lines += data.whole.count(b"\n", 0, data.end)
        return Mention(first, 0 if binary else lines, count) if count else None

    def _positions(self, data: "_Window") -> list[int]:
        """Where a prefix begins, and nothing that only looks like one."""
        found: set[int] = set()
        for prefix in self._bytes:
            position = data.whole.find(prefix, 0, data.end + len(prefix) - 1)
            while position >= 0:
                before = data.whole[max(0, position - 2) : position]
                after = data.whole[position + len(prefix) : position + len(prefix) + 1]
                if not _GOES_ON.match(after) and (not _GOES_ON.match(before[-1:]) or before in _FLAG_BYTES):
                    found.add(position)
                position = data.whole.find(prefix, position + 1, data.end + len(prefix) - 1)
        return sorted(found)

    def stale(self, old: str, new: str, data: bytes) -> bool:
        """Does a CMake file that moved climb by other ways than those that are made right here?"""
        if not new.endswith(".cmake") or posixpath.dirname(self._bare(old)) == posixpath.dirname(new):
            return False
        text = data.decode("utf-8", "replace")
        climbs = re.findall(r"get_filename_component\(\s*\w+\s+\"?\$\{(\w+)\}/+\.\.", text, re.IGNORECASE)
        return not set(climbs) <= {*_folders(text), "_IMPORT_PREFIX", "PACKAGE_PREFIX_DIR"}

    def origin(self, old: str, new: str, entry: str) -> str | None:
        """An entry of a binary's search path as its new place wants it; None for one that leads nowhere in the tree."""
        if entry.startswith(("$ORIGIN", "${ORIGIN}")):
            rest = entry.removeprefix("$ORIGIN").removeprefix("${ORIGIN}").lstrip("/")
            named = posixpath.normpath(posixpath.join(posixpath.dirname(old), rest or "."))
            named = "" if named == "." else named
        else:
            found = self._place.named(posixpath.normpath(entry)) if entry.startswith("/") else None
            if found is None:
                return None
            named = found
        if named not in self._paths:
            return None
        target = self._place.moved(named)
        return None if target is None else _join("$ORIGIN", _from(new, target))

    def _bare(self, path: str) -> str:
        """A path in the tree from its prefix on, not moved."""
        return path.removeprefix(f"{self._place.inside}/") if self._place.inside else path

    def _means_it(self, text: str, *, own: bool = False) -> bool:
        """A path below a prefix that systems have anyway means the tree only if the tree alone can have it.

        own: the file says that the prefix is its own.
        """
        path = posixpath.normpath(text)
        prefix = next((one for one in self._place.prefixes if path == one or path.startswith(f"{one}/")), None)
        if prefix is None or prefix not in SYSTEM:
            return prefix is not None
        named = self._place.named(path)
        target = self._place.moved(named) if named in self._paths and named is not None else None
        return bool(target) and (own or "/" in str(target))

    def _target(self, text: str) -> str | None:
        """What an absolute path becomes in the environment; None if it does not mean the tree."""
        named = self._place.named(posixpath.normpath(text))
        return self._place.moved(named) if named is not None else None

    def _shebang(self, data: bytes) -> bytes:
        found = _SHEBANG.match(data)
        if found is None:
            return data
        program = found[1].decode("utf-8", "surrogateescape")
        if not self._means_it(program):
            return data
        name, more = posixpath.basename(program).encode("utf-8", "surrogateescape"), (found[2] or b"").strip()
        line = b"#!/usr/bin/env -S " + name + b" " + more if more else b"#!/usr/bin/env " + name
        return line + data[found.end() :]

    def _pkg_config(self, text: str, site: _Site) -> str:
        own = _PC_PREFIX.search(text)
        known = own is not None and posixpath.normpath(own[2] or ".") in self._place.prefixes
        root = "${prefix}" if known else _join("${pcfiledir}", _from(site.new, ""))

        def absolute(found: re.Match[str]) -> str:
            target = self._target(found[0])
            whole = known and posixpath.normpath(found[0]) in self._place.prefixes
            wanted = whole or self._means_it(found[0], own=known)
            return _join(root, target) if target is not None and wanted else found[0]

        lines = []
        for line in text.split("\n"):
            if known and own is not None and _PC_PREFIX.match(line):
                lines.append(own[1] + _join("${pcfiledir}", _from(site.new, "")))
            else:
                lines.append(line if line.startswith("#") else self._absolute.sub(absolute, line))
        return _RELATIVE.sub(self._relative, "\n".join(lines))

    def _cmake(self, text: str, site: _Site) -> str:
        text = _CROSSED.sub("", text)
        before, after = (len(path.split("/")) for path in (self._bare(site.old), site.new))

        def chain(found: re.Match[str]) -> str:
            lines = found[0].splitlines(keepends=True)
            return found[0] if len(lines) != before else "".join([lines[0], *[lines[-1]] * (after - 1)])

        def climbing(found: re.Match[str]) -> str:
            named = posixpath.normpath(posixpath.join(posixpath.dirname(site.old), found[2].lstrip("/") or "."))
            target = None if named.startswith("..") else self._place.moved("" if named == "." else named)
            if target is None:
                return found[0]
            relative = _from(site.new, target)
            same = relative == (posixpath.normpath(found[2].lstrip("/")) if found[2] else ".")
            return found[0] if same else _join(f"${{{found['folder']}}}", relative) + found[3]

        folders = _folders(text)
        climbs = rf"\$\{{(?P<folder>{'|'.join(sorted(folders))})\}}((?:/+[\w.+~@%-]+)*)(/?)"
        text = re.sub(climbs, climbing, _CHAIN.sub(chain, text))
        if not any(site.new.startswith(f"{folder}/") for folder in self._linked):
            names = "|".join(sorted(folders | {"CMAKE_CURRENT_LIST_FILE"}))
            text = re.sub(
                rf'(get_filename_component\(\w+ "?\$\{{(?:{names})\}}[^"\s)]*"? )REALPATH\)', r"\1ABSOLUTE)", text
            )
        made = self._absolute_in_cmake(text)
        if made != text:
            # collapsed as text: a folder of an environment may be a link to elsewhere
            climb = _join("${CMAKE_CURRENT_LIST_DIR}", _from(site.new, ""))
            made = f'get_filename_component({_PACKED} "{climb}" ABSOLUTE)\n{made}'
        return _RELATIVE.sub(self._relative, made)

    def _absolute_in_cmake(self, text: str) -> str:
        """A file's absolute paths begin with a variable; those in comments stay."""
        lines = []
        for line in text.split("\n"):
            made = line if line.lstrip().startswith("#") else self._absolute.sub(partial(self._packed, line), line)
            lines.append(made)
        return "\n".join(lines)

    def _packed(self, line: str, found: re.Match[str]) -> str:
        target = self._target(found[0])
        if target is None or not (self._means_it(found[0]) or _OWN_PREFIX.search(line[: found.start()])):
            return found[0]
        return _join(f"${{{_PACKED}}}", target)

    def _relative(self, found: re.Match[str]) -> str:
        """A path from the prefix on, moved."""
        path = posixpath.normpath(found[2].lstrip("/"))
        target = None if path.startswith("..") else self._place.moved(_join(self._place.inside, path))
        return found[0] if target is None or target == path else _join(found[1], target)


def pc_prefix(data: bytes) -> str | None:
    """The absolute prefix that a pkg-config file states, if it does."""
    found = _PC_PREFIX.search(data.decode("utf-8", "replace"))
    return posixpath.normpath(found[2]) if found and found[2].startswith("/") else None


def _folders(text: str) -> set[str]:
    """The variables of a CMake file that hold its own folder, and nothing else."""
    kinds = {"CMAKE_CURRENT_LIST_FILE": "file", "CMAKE_CURRENT_LIST_DIR": "folder"}
    for found in _HERE.finditer(text):
        command, name, source, mode = found.groups()
        kind = kinds.get(source)
        if command.lower() != "set" and (mode or "").upper() in ("PATH", "DIRECTORY"):
            kind = "folder" if kind == "file" else None
        once = len(re.findall(_ASSIGNS % name, text, re.IGNORECASE)) == 1
        if kind and once and name != "_IMPORT_PREFIX":
            kinds[name] = kind
    return {name for name, kind in kinds.items() if kind == "folder"}


class _Window(NamedTuple):
    """A piece of a file, and some of what comes before and after it. end: of what begins in this piece."""

    whole: bytes
    end: int


def _windows(chunks: Iterable[bytes]) -> Iterator[_Window]:
    """Pieces such that no path is cut: what begins in the last bytes of one comes again in the next."""
    kept = b""
    for chunk in chunks:
        whole = kept + chunk
        end = max(0, len(whole) - _LONGEST)
        yield _Window(whole, end)
        kept = whole[end:]
    yield _Window(kept, len(kept))


def _path_at(data: bytes, position: int) -> str:
    found = _PATH.match(data, position)
    return found[0].decode("utf-8", "replace").rstrip("\"'`;:,)>]}") if found else ""


def _from(path: str, target: str) -> str:
    """What leads from the folder of a path to another one; both in the environment."""
    return posixpath.relpath(f"/{target}", posixpath.dirname(f"/{path}"))


def _join(base: str, rest: str) -> str:
    parts = [part for part in (base, rest) if part and part != "."]
    return "/".join(parts)
