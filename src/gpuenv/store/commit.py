"""Making a finished directory visible at once and for good: syncfs(2), renameat2(2), chmod, fsync."""

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

from gpuenv.archive.staging import sync_folder

__all__ = ["exchange", "publish", "replace", "settle", "sync_filesystem"]

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


@functools.cache
def _libc(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    return function


def sync_filesystem(directory: Path) -> None:
    """Everything written so far to the file system of `directory` reaches the disk before this returns."""
    syncfs = _libc("syncfs")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs is not None and syncfs(fd) == 0:
            return
        if syncfs is not None and ctypes.get_errno() not in _UNSUPPORTED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
    finally:
        os.close(fd)
    os.sync()


def publish(staged: Path, final: Path) -> bool:
    """Rename `staged` to `final` unless that exists; make it read-only. False: somebody else was first.

    The directory becomes read-only after the rename: moving a read-only directory is refused to ordinary users.
    """
    if not _rename(staged, final):
        return False
    settle(final)
    return True


def replace(staged: Path, final: Path) -> None:
    """Exchange `staged` and `final`, both there, in one step; what was at `final` is then at `staged`.

    Where the file system cannot exchange, `final` is gone for a moment between two renames.
    """
    if final.is_dir() and not final.is_symlink():
        final.chmod(0o755)  # moving a read-only directory is refused to ordinary users
    try:
        if _renameat2(staged, final, _EXCHANGE) is None:
            old = staged.with_name(f"{staged.name}.old")
            final.rename(old)
            staged.rename(final)
            old.rename(staged)
    finally:
        settle(final)


def exchange(one: Path, other: Path) -> bool:
    """Put two paths each in the place of the other in one step; False where the file system cannot."""
    return _renameat2(one, other, _EXCHANGE) is not None


def settle(final: Path) -> None:
    """Make a directory read-only, and its name safe: the end of a publication, also of one whose process was killed."""
    if final.is_dir() and not final.is_symlink():
        final.chmod(0o555)
    sync_folder(final.parent)


def _renameat2(source: Path, target: Path, flag: int) -> bool | None:
    """Rename with a flag: True; False if `target` must not exist and does; None where the system cannot."""
    renameat2 = _libc("renameat2")
    if renameat2 is None:
        return None
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EEXIST, errno.ENOTEMPTY):
        return False
    if code in _UNSUPPORTED:
        return None
    raise OSError(code, os.strerror(code), str(target))


def _rename(staged: Path, final: Path) -> bool:
    done = _renameat2(staged, final, _NOREPLACE)
    return _rename_plainly(staged, final) if done is None else done


def _rename_plainly(staged: Path, final: Path) -> bool:
    """rename(2) replaces an empty directory only; objects are never empty, so whoever is second fails."""
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True
