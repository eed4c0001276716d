"""Every failure a user can meet.

GpuenvError                 exit 2   something unexpected
+-- UsageError              exit 2   wrong flags or arguments
+-- ManifestError           exit 2   pyproject.toml does not say what it should
+-- LockfileError           exit 2   gpuenv.lock cannot be read
+-- NetworkError            exit 2   an index or file host did not answer, or not usefully
|   +-- OfflineError        exit 2   the network is needed and forbidden
+-- StoreError              exit 2   the store or a view cannot be read or written
+-- NoSolution              exit 1   no set of distributions satisfies the project
+-- StaleLock               exit 1   gpuenv.lock does not answer pyproject.toml
+-- NotLocked               exit 1   gpuenv.lock has nothing of what was asked
+-- IntegrityError          exit 1   bytes are not what the index or the lock says
+-- ArchiveError            exit 1   an archive is damaged or tries something it must not
+-- BinaryError             exit 1   a binary is damaged, or says what cannot be
+-- Unserved                exit 1   a GPU is not served by what was inspected
+-- Misfit                  exit 1   this machine does not fit the target
|   +-- InterpreterMissing  exit 1   no interpreter of the target's Python
+-- Misbound                exit 1   programs of an environment would not load what the lock says
+-- Occupied                exit 1   something that gpuenv did not make is in the way
+-- PluginError             exit 1   a variant provider does not tell what the machine supports
+-- Inexpressible           exit 1   another format has no words for what the lock has

The exit code stands on the class, hints on the instance; `cli` is the only place that catches them.
"""

import errno
from collections.abc import Sequence


class GpuenvError(Exception):
    """A failure in the user's words: one message, the chain of causes, at most three pasteable hints."""

    exit_code = 2
    kind = "error"

    def __init__(self, message: str, *, causes: Sequence[str] = (), hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.causes = tuple(causes)
        self.hints = tuple(hints)[:3]


class UsageError(GpuenvError):
    """Wrong flags or arguments."""

    kind = "usage"


class ManifestError(GpuenvError):
    """pyproject.toml does not say what it should."""

    kind = "manifest"


class LockfileError(GpuenvError):
    """gpuenv.lock cannot be read. newer: because it has a format of a newer gpuenv."""

    kind = "lockfile"
    newer = False


class NetworkError(GpuenvError):
    """An index or file host did not answer, or not usefully."""

    kind = "network"


class TooLarge(NetworkError):
    """An answer has more bytes than anything that was asked for can have."""


class OfflineError(NetworkError):
    """The network is needed and forbidden."""

    kind = "offline"


class StoreError(GpuenvError):
    """The store or a view cannot be read or written."""

    kind = "store"

    @classmethod
    def refused(cls, message: str, error: OSError, place: object) -> "StoreError":
        """A failure of the file system, in its own words; what helps is said of `place`, a folder that stays."""
        name = error.filename2 or error.filename  # of two paths, the one that was to be made
        where = f": {name}" if name else ""
        return cls(message, causes=(f"{error.strerror or error}{where}",), hints=_remedies(error, place))


def _remedies(error: OSError, place: object) -> tuple[str, ...]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (f"free some space or inodes: df -h {place}; df -i {place}",)
    if error.errno == errno.EROFS:
        return (f"its file system is read-only: findmnt --target {place}",)
    if error.errno in (errno.EACCES, errno.EPERM):
        return (f"its permissions must let you: ls -ld {place}",)
    return ()


class NoSolution(GpuenvError):
    """No set of distributions satisfies the project."""

    exit_code = 1
    kind = "no-solution"


class StaleLock(GpuenvError):
    """gpuenv.lock does not answer pyproject.toml."""

    exit_code = 1
    kind = "stale-lock"


class NotLocked(GpuenvError):
    """gpuenv.lock has nothing of what was asked."""

    exit_code = 1
    kind = "not-locked"


class IntegrityError(GpuenvError):
    """Bytes are not what the index or the lock says."""

    exit_code = 1
    kind = "integrity"


class ArchiveError(GpuenvError):
    """An archive is damaged or tries something it must not."""

    exit_code = 1
    kind = "archive"


class NoSuchMember(ArchiveError):
    """An archive that can be read does not hold a file, or holds it several times."""


class BinaryError(GpuenvError):
    """A binary is damaged, or says what cannot be."""

    exit_code = 1
    kind = "binary"


class Unserved(GpuenvError):
    """A GPU is not served by what was inspected."""

    exit_code = 1
    kind = "unserved"


class Misfit(GpuenvError):
    """This machine does not fit the target."""

    exit_code = 1
    kind = "misfit"


class InterpreterMissing(Misfit):
    """No interpreter of the target's Python."""

    kind = "interpreter-missing"


class Misbound(GpuenvError):
    """Programs of an environment would not load what the lock says."""

    exit_code = 1
    kind = "misbound"


class Occupied(GpuenvError):
    """Something that gpuenv did not make is in the way."""

    exit_code = 1
    kind = "occupied"


class PluginError(GpuenvError):
    """A variant provider does not tell what the machine supports."""

    exit_code = 1
    kind = "plugin"


class Inexpressible(GpuenvError):
    """Another format has no words for what the lock has."""

    exit_code = 1
    kind = "inexpressible"
