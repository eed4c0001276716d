"""Is an object still what its name says? Every byte is read; what differs is named.

The name covers every file's path, size, content and executable bit; the facts follow from the files. So each object is
checked against itself alone: no database, no network.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gpuenv.model.holdings import Checked, Damage
from gpuenv.model.stored import Directory, StoredFile, decode_listing, decode_object
from gpuenv.store.bytecode import is_list, read_list
from gpuenv.store.restate import restate
from gpuenv.store.survey import CACHE, Found, Survey, digest_of, survey
from gpuenv.store.tree import TreeFile, TreeLink, links_in, tree_hash

__all__ = ["IN_PLACE", "check_object"]

KEY = re.compile(r"[a-z2-7]{32}-[a-z0-9][a-z0-9._-]*-[0-9][^-/]*\Z")
OWN = ("facts.msgpack", "listing.msgpack")
# Kinds that are healed without the wheel.
IN_PLACE = frozenset({"mode", "added", "bytecode", "facts", "listing"})
_ELF = b"\x7fELF"
_HEADER = 16  # bytes: magic, flags, then time and size of the source, or its hash (PEP 552)
_Tree = tuple[list[TreeFile], list[TreeLink]]
_TAGGED = re.compile(r"(?P<module>[^/]+?)\.[a-z]+-?\d+t?(\.opt-\w+)?\.pyc\Z")


def check_object(
    root: Path,
    *,
    origin_paths: Callable[[Path], Sequence[str]],
    drop: bool,
    advance: Callable[[int], None],
) -> Checked:
    """Compare the object at `root` with its name, its listing and its facts.

    origin_paths: the `$ORIGIN` paths of an ELF file. drop: remove bytecode that no list vouches for.
    advance: told of bytes as they are read. Raises FileNotFoundError where there is no object (any more).
    """
    if not KEY.match(root.name) or root.is_symlink() or not root.is_dir():
        return Checked(root.name, (Damage(root.name, "", "is no object: nothing here gives such a name", "name"),))
    return _Check(root, origin_paths, advance).checked(drop=drop)


class _Check:
    """One object under the eye: what is there, and what was read of it."""

    def __init__(
        self, root: Path, origin_paths: Callable[[Path], Sequence[str]], advance: Callable[[int], None]
    ) -> None:
        self._root = root
        self._origin_paths = origin_paths
        self._advance = advance
        self._damaged: list[Damage] = []
        self._bytes = 0

    def checked(self, *, drop: bool) -> Checked:
        """The whole comparison."""
        mode = self._root.stat().st_mode & 0o7777
        self._check_mode("", mode, 0o555)
        try:
            seen = survey(self._root)
        except PermissionError as error:
            path = os.path.relpath(str(error.filename), self._root)
            self._say(path, f"cannot be read: {error.strerror}", "mode", 0o555)
            return Checked(self._root.name, tuple(self._damaged))
        listing = self._listing()
        tree = self._unlisted(seen) if listing is None else self._listed(seen, listing)
        self._facts(seen, tree, listing)
        dropped, left = self._bytecode(seen, drop=drop)
        return Checked(self._root.name, tuple(self._damaged), len(seen.entries), self._bytes, dropped, left)

    def _say(self, path: str, problem: str, kind: str, mode: int = 0) -> None:
        self._damaged.append(Damage(self._root.name, path, problem, kind, mode))

    def _check_mode(self, path: str, mode: int, wanted: int) -> None:
        if mode != wanted:
            self._say(path, f"has the permissions {mode:04o} instead of {wanted:04o}", "mode", wanted)

    # what the listing says

    def _listing(self) -> tuple[Directory, ...] | None:
        """The listing, if it is the one that the object is named by."""
        try:
            found = decode_listing((self._root / "listing.msgpack").read_bytes())
        except OSError:
            found = None
        if found is None:
            return None
        files = (_tree_file(path, file) for path, file in _files(found))
        return found if tree_hash(files, links_in(found)) == self._root.name[:32] else None

    def _listed(self, seen: Survey, listing: Iterable[Directory]) -> _Tree | None:
        """Compare with the listing; files and links, if every one is as it was unpacked."""
        wanted, links = dict(_files(listing)), list(links_in(listing))
        folders = {directory.path for directory in listing if directory.path}
        missing: dict[str, StoredFile] = {}
        read: list[TreeFile] = []
        for path, file in wanted.items():
            found = seen.entries.get(path)
            if found is None:
                missing[path] = file
            elif (same := self._compare(path, file, found)) is not None:
                read.append(same)
        whole = [self._is_linked(link, seen) for link in links]
        self._folders(seen, folders)
        for name in OWN:
            if name in seen.entries and seen.entries[name].kind == "file":
                self._check_mode(name, seen.entries[name].mode, 0o444)
        known = {
            *wanted,
            *(link.path for link in links),
            *folders,
            *OWN,
            *(_cache_of(path) for path in wanted if path.endswith(".py")),
        }
        self._gone_and_new(seen, missing, [path for path in seen.entries if path not in known])
        return (read, links) if len(read) == len(wanted) and all(whole) else None

    def _is_linked(self, link: TreeLink, seen: Survey) -> bool:
        found = seen.entries.get(link.path)
        if found is not None and (found.kind, found.target) == ("link", link.target):
            return True
        if found is not None:
            self._say(link.path, f"is {_words(found)} instead of a link to {link.target}", "type")
        elif not _below_a_link(seen, link.path):
            self._say(link.path, "is missing", "missing")
        return False

    def _compare(self, path: str, file: StoredFile, found: Found) -> TreeFile | None:
        if found.kind != "file":
            self._say(path, f"is {_words(found)} instead of a file", "type")
            return None
        if found.size != file.size:
            self._say(path, f"has {found.size} bytes instead of {file.size}", "size")
            return None
        same = self._read(path, file.executable, found)
        if same is None or same.sha256 != file.sha256:
            if same is not None:
                self._say(path, "has other bytes than were unpacked", "content")
            return None
        self._check_mode(path, found.mode, 0o555 if file.executable else 0o444)
        return same

    def _read(self, path: str, executable: bool, found: Found) -> TreeFile | None:
        full = f"{self._root}/{path}"
        try:
            sha256, head = digest_of(full, self._advance)
        except OSError as error:
            self._say(path, f"cannot be read: {error.strerror}", "content")
            return None
        self._bytes += found.size
        origins = tuple(self._origin_paths(Path(full))) if head == _ELF else ()
        return TreeFile(path, found.size, sha256, executable, origins)

    def _folders(self, seen: Survey, folders: Iterable[str]) -> None:
        for path in sorted(folders):
            found = seen.entries.get(path)
            if found is not None and found.kind != "directory":
                self._say(path, f"is {_words(found)} instead of a directory", "type")
            elif found is not None:
                self._check_mode(path, found.mode, 0o555)
        for path, found in seen.entries.items():
            if path.rpartition("/")[2] != CACHE or found.kind != "directory":
                continue
            if found.mode & 0o7022:
                self._say(path, f"has the permissions {found.mode:04o}: others may write bytecode", "mode", 0o755)

    def _gone_and_new(self, seen: Survey, missing: Mapping[str, StoredFile], new: Sequence[str]) -> None:
        """Files that are missing, and entries that nothing lists; those that are both were renamed."""
        unlisted = set(new)
        by_content: dict[tuple[int, bytes], str] = {}
        sizes = {file.size for file in missing.values()}
        for path in sorted(unlisted):
            found = seen.entries[path]
            if missing and found.kind == "file" and found.size in sizes:
                same = self._read(path, False, found)
                if same is not None:
                    by_content[found.size, same.sha256] = path
        for path, file in missing.items():
            if (moved := by_content.get((file.size, file.sha256))) is not None:
                unlisted.discard(moved)
                self._say(path, f"was renamed to {moved}", "renamed")
            elif not _below_a_link(seen, path):
                self._say(path, "is missing", "missing")
        for path in sorted(unlisted):
            # of a tree that was put there its top is named alone
            if path.rpartition("/")[0] not in unlisted:
                if path.endswith(".pyc") and seen.entries[path].kind == "file":
                    self._say(path, "is bytecode without a place in it", "added")
                else:
                    self._say(path, f"is {_words(seen.entries[path])} that is no part of it", "added")

    def _unlisted(self, seen: Survey) -> _Tree | None:
        """Without a listing: files and links, if together they are those that the object is named by."""
        files: list[TreeFile] = []
        links = [TreeLink(path, found.target) for path, found in seen.entries.items() if found.kind == "link"]
        complete = True
        for path, found in seen.entries.items():
            if found.kind == "file" and path not in OWN:
                one = self._read(path, bool(found.mode & 0o100), found)
                complete &= one is not None
                files += [one] if one is not None else []
            elif found.kind not in ("directory", "link"):
                complete &= path in OWN
        if complete and tree_hash(files, links) == self._root.name[:32]:
            self._say("listing.msgpack", "cannot be read, or lists other files than are here", "listing")
            return files, links
        self._say("listing.msgpack", "cannot be read, and the files are not those of the object's name", "content")
        return None

    def _facts(self, seen: Survey, tree: _Tree | None, listing: tuple[Directory, ...] | None) -> None:
        """Facts, and what the name does not cover of the listing, follow from the files."""
        try:
            facts = decode_object((self._root / "facts.msgpack").read_bytes())
        except OSError:
            facts = None
        if seen.entries.get("facts.msgpack", Found("missing", 0, 0, 0)).kind != "file":
            facts = None
        if facts is None or facts.key != self._root.name:
            self._say("facts.msgpack", "cannot be read, or is about another object", "facts")
        if tree is None:
            return
        right = restate(self._root, *tree, self._root.name)
        if right is None:
            self._say("", "says itself that it is another distribution", "name")
            return
        if facts is not None and facts.key == self._root.name and facts != right[0]:
            self._say("facts.msgpack", "does not say what the files say", "facts")
        if listing is not None and listing != right[1]:
            self._say("listing.msgpack", "does not say what the files say", "listing")

    # bytecode

    def _bytecode(self, seen: Survey, *, drop: bool) -> tuple[int, int]:
        """Name bytecode that Python did not make of the modules here; remove all that no list accounts for."""
        dropped = left = 0
        listed = self._listed_bytecode(seen)
        for path in seen.bytecode:
            problem = self._foreign(path, seen)
            if path in listed and problem is None:
                if self._is(path, listed[path]):
                    continue
                problem = "is not the bytecode that was compiled"
            gone = drop and _remove(f"{self._root}/{path}")
            dropped, left = dropped + gone, left + (not gone)
            if problem is not None:
                self._say(path, f"{problem}{': dropped' if gone else ''}", "bytecode")
        return dropped, left

    def _listed_bytecode(self, seen: Survey) -> dict[str, bytes | None]:
        """Hashes by path, as the lists say that are there; None for a list itself, which vouches for others alone."""
        found: dict[str, bytes | None] = {}
        for path in filter(is_list, seen.bytecode):
            known = read_list(self._root / path)
            if known is not None:
                found |= {path: None, **known.files}
        return found

    def _is(self, path: str, sha256: bytes | None) -> bool:
        if sha256 is None:
            return True
        try:
            return digest_of(f"{self._root}/{path}", lambda _: None)[0] == sha256
        except OSError:
            return False

    def _foreign(self, path: str, seen: Survey) -> str | None:
        """Why a file of a `__pycache__` cannot be Python's own; None where it may be, or is no bytecode."""
        if not path.endswith(".pyc"):
            return None
        folder, _, name = path.rpartition("/")
        tagged = _TAGGED.match(name)
        source = f"{folder.rpartition('/')[0]}/{tagged['module']}.py" if tagged else ""
        module = seen.entries.get(source)
        if module is None:
            return "is bytecode of no module that is here"
        try:
            if module.kind == "link":
                leads = os.stat(f"{self._root}/{source}")  # noqa: PTH116
                module = module._replace(mtime=int(leads.st_mtime), size=leads.st_size)
            with open(f"{self._root}/{path}", "rb") as file:  # noqa: PTH123 - thousands of them
                header = file.read(_HEADER)
        except OSError:
            return None
        flags, time, size = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12))
        if flags == 0 and len(header) == _HEADER and (time, size) == (module.mtime & 0xFFFFFFFF, module.size):
            return None
        # Python compares a checked hash with the source itself at each import; an unchecked one it believes
        return None if flags == 0b11 else f"is bytecode that was not made of {source}"


def _files(listing: Iterable[Directory]) -> Iterator[tuple[str, StoredFile]]:
    for directory in listing:
        start = f"{directory.path}/" if directory.path else ""
        for file in directory.files:
            yield start + file.name, file


def _tree_file(path: str, file: StoredFile) -> TreeFile:
    return TreeFile(path, file.size, file.sha256, file.executable)


def _cache_of(path: str) -> str:
    """The `__pycache__` beside a module."""
    return f"{path.rpartition('/')[0]}/{CACHE}".lstrip("/")


def _words(found: Found) -> str:
    if found.kind == "link":
        return f"a link to {found.target}"
    return {"file": "a file", "directory": "a directory"}.get(found.kind, "a special file")


def _below_a_link(seen: Survey, path: str) -> bool:
    """Is a directory above a missing file named already, as something else than a directory?"""
    while path := path.rpartition("/")[0]:
        if path in seen.entries:
            return seen.entries[path].kind != "directory"
    return False


def _remove(path: str) -> bool:
    try:
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108
    except OSError:
        return False
    return True
