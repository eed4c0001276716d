"""Healing an object from what it has: permissions, what was added to it, facts and listing. Contents of files stay."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpuenv.archive.staging import remove_tree
from gpuenv.model.holdings import Damage
from gpuenv.store.restate import restate
from gpuenv.store.survey import digest_of, survey
from gpuenv.store.tree import TreeFile, TreeLink
from gpuenv.store.unpack import write_facts
from gpuenv.store.verify import OWN

__all__ = ["mend"]


def mend(root: Path, damaged: Iterable[Damage], *, origin_paths: Callable[[Path], Sequence[str]]) -> None:
    """Undo damage of kinds `IN_PLACE` in the object at `root`; raises OSError where the file system refuses."""
    found = list(damaged)
    for one in sorted(found, key=lambda one: one.path):  # directories before what is in them
        if one.kind == "mode":
            os.chmod(root / one.path, one.mode, follow_symlinks=False)  # noqa: PTH101
    for one in found:
        if one.kind == "added":
            path = root / one.path
            with _writable(path.parent):
                remove_tree(path)
    if any(one.kind in ("facts", "listing") for one in found):
        right = restate(root, *_tree(root, origin_paths), root.name)
        if right is not None:
            with _writable(root):
                for name in OWN:
                    if (root / name).is_dir() and not (root / name).is_symlink():
                        remove_tree(root / name)
                write_facts(root, *right)


@contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """A read-only directory may be changed meanwhile; its times stay."""
    before = directory.stat()
    directory.chmod(0o755)
    try:
        yield
    finally:
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
        directory.chmod(before.st_mode & 0o7777)


def _tree(root: Path, origin_paths: Callable[[Path], Sequence[str]]) -> tuple[list[TreeFile], list[TreeLink]]:
    """The object's files and links as they are."""
    files, links = [], []
    for path, found in survey(root).entries.items():
        if found.kind == "file" and path not in OWN:
            sha256, _ = digest_of(f"{root}/{path}", lambda _: None)
            origins = tuple(origin_paths(root / path))
            files.append(TreeFile(path, found.size, sha256, bool(found.mode & 0o100), origins))
        elif found.kind == "link":
            links.append(TreeLink(path, found.target))
    return files, links
