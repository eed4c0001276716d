"""Directories that nobody sees until they are whole: made in a `tmp` folder, renamed into place, swept after a crash.

Each staging directory `tmp/<random>` has a lock file `tmp/<random>.lock`, held by its maker. Who gets that lock knows
that the maker is gone. Where locks do not work (some network file systems), leftovers go when they are a day old.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DAY", "remove_tree", "staging", "sweep", "sync_folder"]

DAY = 86400.0
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextlib.contextmanager
def staging(tmp: Path) -> Iterator[Path]:
    """A fresh directory below `tmp`; whatever is left in it is removed at the end."""
    tmp.mkdir(parents=True, exist_ok=True)
    directory, lock = _claim(tmp)
    try:
        yield directory
    finally:
        remove_tree(directory)
        _forget(tmp / f"{directory.name}.lock")
        os.close(lock)


def _claim(tmp: Path) -> tuple[Path, int]:
    while True:
        name = secrets.token_hex(8)
        lock = tmp / f"{name}.lock"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(OSError):  # without locks only age protects
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:  # else a sweeper came between open and lock
                (tmp / name).mkdir(mode=0o700)
                return tmp / name, fd
        except BaseException:
            os.close(fd)
            _forget(lock)
            raise
        os.close(fd)


def sweep(tmp: Path, *, now: float | None = None, remove: bool = True) -> tuple[str, ...]:
    """Remove what killed runs left in `tmp`, or only look; return its names."""
    now = time.time() if now is None else now
    with contextlib.suppress(FileNotFoundError):
        names = sorted({entry.name.removesuffix(".lock") for entry in os.scandir(tmp)})
        return tuple(name for name in names if _sweep_one(tmp / name, now, remove))
    return ()


def _sweep_one(directory: Path, now: float, remove: bool) -> bool:
    lock = directory.with_name(f"{directory.name}.lock")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = None
    except OSError:
        return False
    try:
        if not _abandoned(fd, directory, now):
            return False
        if remove:
            remove_tree(directory)
            _forget(lock)
        return True
    finally:
        if fd is not None:
            os.close(fd)


def _abandoned(fd: int | None, directory: Path, now: float) -> bool:
    if fd is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
        else:
            return True
    try:
        return now - directory.lstat().st_mtime > DAY
    except FileNotFoundError:
        return fd is not None and now - os.fstat(fd).st_mtime > DAY


def sync_folder(folder: Path) -> None:
    """The names in a folder reach the disk before this returns."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(directory: Path) -> None:
    """Remove a tree whose directories may be read-only; nothing happens where there is none."""
    if directory.is_symlink() or not directory.is_dir():
        _forget(directory)
        return
    with contextlib.suppress(OSError):
        for here, _, _ in os.walk(directory):
            os.chmod(here, stat.S_IRWXU)  # noqa: PTH101 - strings from a walk
    shutil.rmtree(directory, ignore_errors=True)


def _forget(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
