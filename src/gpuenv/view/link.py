"""Writing a merged tree: directories, relative links into the store, hard links, copies."""

import errno
import os
import shutil
from pathlib import Path

from gpuenv.view.merge import Merged, Placement
from gpuenv.view.plan import LinkMode

__all__ = ["place", "write_tree"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}


def write_tree(root: Path, merged: Merged, *, objects: Path, mode: LinkMode) -> None:
    """Make the directories and links below `root`, empty, which ends up two levels below the store."""
    base = str(root)
    for directory in merged.directories:
        os.mkdir(f"{base}/{directory}")  # noqa: PTH102 - plain strings in this module: thousands of them
    for path, source in merged.folded:
        up = "../" * (path.count("/") + 2)
        os.symlink(f"{up}objects/{source.stored.key}/{source.path}", f"{base}/{path}")  # noqa: PTH211
    for placement in merged.placements:
        place(base, placement, objects=str(objects), mode=mode)


def place(base: str, placement: Placement, *, objects: str, mode: LinkMode) -> None:
    """Put the files of one object's directory into one directory of the view."""
    directory, (stored, path), files = placement
    target = f"{base}/{directory}/" if directory else f"{base}/"
    origin = f"{objects}/{stored.key}/{path}/"
    depth = directory.count("/") + 1 if directory else 0
    link = f"{'../' * (depth + 2)}objects/{stored.key}/{path}/"
    for file in files:
        name = file.name
        if mode is LinkMode.SYMLINK and not file.solid:
            os.symlink(link + name, target + name)  # noqa: PTH211
        elif mode is LinkMode.COPY:
            shutil.copy2(origin + name, target + name)
        else:
            _hard_link(origin + name, target + name, link + name, solid=file.solid)


def _hard_link(origin: str, target: str, link: str, *, solid: bool) -> None:
    """A hard link; where the system refuses one, a copy of what must not be a symbolic link, else that."""
    try:
        os.link(origin, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        if solid:
            shutil.copy2(origin, target)
        else:
            os.symlink(link, target)  # noqa: PTH211
