"""Writing a merged tree: directories, links into the store, hard links, copies, and links that objects have.

Links to objects of the view's own store are relative, so that it can move; those to objects elsewhere are absolute.
Copies share their blocks with the object where the file system can (reflinks).
"""

import contextlib
import errno
import fcntl
import io
import os
import shutil
from pathlib import Path

from gpuenv.view.merge import Merged, Placement, Source
from gpuenv.view.plan import LinkMode, ViewPlan

__all__ = ["copy_file", "link_file", "write_tree"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_AT_ONCE = 1 << 24  # bytes


def write_tree(root: Path, merged: Merged, plan: ViewPlan) -> bool:
    """Make the directories and links below `root`, empty, which ends up two levels below the plan's store.

    True: some of the links are symbolic, so that the view needs its objects.
    """
    base = str(root)
    for directory in merged.directories:
        os.mkdir(f"{base}/{directory}")  # noqa: PTH102 - plain strings in this module: thousands of them
    for path, source in merged.folded:
        os.symlink(_link(source, path.count("/"), plan), f"{base}/{path}")  # noqa: PTH211
    linked = bool(merged.folded)
    for placement in merged.placements:
        linked |= _place(base, placement, plan)
    return linked


def _link(source: Source, depth: int, plan: ViewPlan) -> str:
    """What a link at `depth` below the view's root says to lead to a directory of an object."""
    key, path = source.stored.key, source.path
    if key in plan.elsewhere:
        return f"{plan.place(key)}/{path}"
    return f"{'../' * (depth + 2)}objects/{key}/{path}"


def _place(base: str, placement: Placement, plan: ViewPlan) -> bool:
    """Put what one object's directory has into one directory of the view; True if by a link to the object."""
    directory, source, files, links = placement
    target = f"{base}/{directory}/" if directory else f"{base}/"
    origin = f"{plan.place(source.stored.key)}/{source.path}/"
    link = _link(source, directory.count("/") + 1 if directory else 0, plan) + "/"
    mode = plan.mode(source.stored.name)
    linked = False
    for file in files:
        name = file.name
        if mode is LinkMode.SYMLINK and not file.solid:
            os.symlink(link + name, target + name)  # noqa: PTH211
            linked = True
        elif mode is LinkMode.COPY:
            copy_file(origin + name, target + name)
        else:
            linked |= not _hard_link(origin + name, target + name, link + name, solid=file.solid)
    for own in links:
        os.symlink(own.target, target + own.name)  # noqa: PTH211
    return linked


def _hard_link(origin: str, target: str, link: str, *, solid: bool) -> bool:
    """A hard link; where the system refuses one, a copy of what must not be a symbolic link, else that (False)."""
    try:
        os.link(origin, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        if solid:
            copy_file(origin, target)
        else:
            os.symlink(link, target)  # noqa: PTH211
            return False
    return True


def link_file(origin: str, target: str, mode: LinkMode) -> None:
    """A hard link, or a copy where the mode says so or the system refuses links."""
    if mode is LinkMode.COPY:
        copy_file(origin, target)
    else:
        _hard_link(origin, target, "", solid=True)


def copy_file(origin: str, target: str) -> None:
    """A new file with the content, permissions and times of `origin`.

    A reflink where the file system has them (ioctl_ficlone(2)), else copied by the system (copy_file_range(2), which
    NFS leaves to its server), else read and written.
    """
    with open(origin, "rb", buffering=0) as source, open(target, "xb", buffering=0) as made:  # noqa: PTH123
        try:
            fcntl.ioctl(made, _FICLONE, source.fileno())
        except OSError:
            _copy_blocks(source, made)
    shutil.copystat(origin, target)


def _copy_blocks(source: io.FileIO, made: io.FileIO) -> None:
    with contextlib.suppress(OSError):  # what is left then is read and written
        while os.copy_file_range(source.fileno(), made.fileno(), _AT_ONCE):
            pass
    shutil.copyfileobj(source, made, _AT_ONCE)
