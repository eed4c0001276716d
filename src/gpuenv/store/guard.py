"""The store's one lock: syncs share it, `gc` has it alone. So nothing goes that a sync has just found or made."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gpuenv.errors import StoreError
from gpuenv.store.access import as_the_store_is

__all__ = ["alone", "together"]

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextlib.contextmanager
def together(root: Path) -> Iterator[None]:
    """Keep `gc` out while objects are looked up, made and linked, for whom the store is; waits for one that is at it.

    Where the file system has no locks it goes on without: there `gc` refuses.
    """
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    fd = _opened(root)
    try:
        if fd is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_SH)
        with as_the_store_is(root):
            yield
    finally:
        if fd is not None:
            os.close(fd)


def _opened(root: Path) -> int | None:
    """The lock file, opened as far as this user may; None where there is none to be had."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with contextlib.suppress(OSError), as_the_store_is(root):
            return os.open(root / "lock", flags | os.O_CLOEXEC, 0o666)
    return None


@contextlib.contextmanager
def alone(root: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep syncs out; calls `waiting` if some are at it, and waits for them.

    Raises StoreError where the file system has no locks.
    """
    try:
        fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _refused(error) from error
    try:
        _take(fd, waiting)
        yield
    finally:
        os.close(fd)


def _take(fd: int, waiting: Callable[[], None]) -> None:
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> StoreError:
    hints = ["run it on the machine that has the store on a file system of its own"]
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hints = ["run it as the user who owns the store"]
    causes = [f"the store cannot be locked against syncs: {error.strerror}"]
    return StoreError("nothing was removed", causes=causes, hints=hints)
