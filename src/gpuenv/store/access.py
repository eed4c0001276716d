"""Who may write a store: asked before anything is fetched, and who may read what is written there."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gpuenv.errors import StoreError

__all__ = ["as_the_store_is", "refuse_unwritable", "writable"]


def writable(root: Path) -> bool:
    """May this user write the store, or make it where there is none?"""
    there = root
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110 - what may not be seen counts as not there
        there = there.parent
    return os.access(there, os.W_OK | os.X_OK, effective_ids=True)


def refuse_unwritable(root: Path) -> None:
    """Raise StoreError where this user may only read the store, with the way to use it all the same."""
    if writable(root):
        return
    hints = ["use another store: unset GPUENV_STORE, or --store DIR"]
    if os.access(root / "objects", os.R_OK | os.X_OK, effective_ids=True):
        hints = [f"export GPUENV_BASE_STORES={root}, and unset GPUENV_STORE: a store of your own above this one"]
    raise StoreError(f"the store {root} cannot be written", causes=_why(root), hints=hints)


def _why(root: Path) -> list[str]:
    try:
        status = root.stat()
    except OSError as error:
        return [f"{error.strerror}: {root}"]
    if status.st_uid != os.geteuid():
        return [f"it belongs to {_name_of(status.st_uid)}, and its permissions are {stat.S_IMODE(status.st_mode):04o}"]
    return ["its file system is read-only" if os.statvfs(root).f_flag & os.ST_RDONLY else "it is write-protected"]


def _name_of(user: int) -> str:
    try:
        import pwd

        return f"the user {pwd.getpwuid(user).pw_name}"
    except (ImportError, KeyError):
        return f"the user {user}"


@contextlib.contextmanager
def as_the_store_is(root: Path) -> Iterator[None]:
    """What is made meanwhile is readable and writable for those for whom the store's own folder is.

    The folder was made by its owner's umask or permissions, and says more about whom it is for than the umask of
    whoever syncs now. Others than owner and group never write.
    """
    try:
        mode = stat.S_IMODE(root.stat().st_mode)
    except OSError:
        yield
        return
    before = os.umask(~mode & 0o077 | 0o002)
    try:
        yield
    finally:
        os.umask(before)
