"""The store: objects written once, named by content, visible only when whole.

    <store>/objects/<hash>-<name>-<version>/    site-packages/ scripts/ data/ headers/, facts.msgpack, listing.msgpack
    <store>/artifacts/<sha256>                  a link to the object that the wheel with this digest unpacks to
    <store>/damaged/<key>                       a mark: this object is known to be damaged
    <store>/downloads/  locks/  tmp/

The presence of an object's final name is its validity; no database is authoritative.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.archive.staging import staging, sweep
from gpuenv.errors import StoreError
from gpuenv.model.stored import StoredObject, decode_object
from gpuenv.store.layer import Base, Layer
from gpuenv.store.marks import is_damaged, unmark

__all__ = ["OriginPaths", "Staged", "Store"]

OriginPaths = Callable[[Path], Sequence[str]]
_WAITING = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EINTR}


class Staged(NamedTuple):
    """An unpacked wheel that nobody sees yet: its facts, where it waits, and the digest of its wheel."""

    stored: StoredObject
    directory: Path
    sha256: str


class Store:
    """One store below `root`; made on first use. Several processes may use it at once.

    bases: stores of others, nearest first, whose objects serve as well. They are read, and never written.
    """

    def __init__(self, root: Path, bases: Sequence[Path] = ()) -> None:
        self.root = root
        self.bases = tuple(Base(base) for base in bases)
        self._own = Layer(root)
        self._places: dict[str, Path] = {}
        self._swept = False

    @property
    def objects(self) -> Path:
        """Where objects live."""
        return self.root / "objects"

    @property
    def downloads(self) -> Path:
        """Where partial downloads wait, on the store's file system; made on first use."""
        directory = self.root / "downloads"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each base of which something was passed over so far."""
        return tuple(f"the base store {base.root} {base.problem}" for base in self.bases if base.problem)

    def path(self, stored: StoredObject) -> Path:
        """Where an object lies that `find` gave back: in this store, or in a base."""
        return self._places.get(stored.key, self.root) / "objects" / stored.key

    def base(self, stored: StoredObject) -> Path | None:
        """The base store that `find` took an object from; None where it is this store's own."""
        return self._places.get(stored.key)

    def find(self, sha256: str, called: tuple[str, str] | None = None) -> StoredObject | None:
        """The object that the wheel with this digest unpacks to, here or in a base, and not known to be damaged.

        called: name and version that it has to have; another one is not found, for its name in `artifacts/` was
        replaced. A mark of this store counts for bases, too. Costs one small file for each store that is asked.
        """
        try:
            found = self._own.find(sha256)
        except OSError as error:
            raise _store_error(f"cannot read the object of {sha256}", error, self.root) from error
        if found is not None and _is_called(found, called):
            self._places.pop(found.key, None)
            return found
        for base in self.bases:
            found = base.find(sha256)
            if found is not None and _is_called(found, called) and not is_damaged(self.root, found.key):
                return self.below(found, base)
        return None

    def below(self, stored: StoredObject, base: Base) -> StoredObject:
        """Note that an object is taken from a base."""
        self._places[stored.key] = base.root
        return stored

    @contextlib.contextmanager
    def lock_artifact(self, sha256: str) -> Iterator[None]:
        """Hold the one lock of this artifact among processes and threads, so that two syncs download it once.

        Where the file system has no locks both go on, download twice, and the second object is dropped.
        """
        from filelock import FileLock

        path = self.root / "locks" / f"{sha256}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            works = _locks_work(path)
        except OSError as error:
            raise _store_error("cannot lock in the store", error, self.root) from error
        with FileLock(path, thread_local=False) if works else contextlib.nullcontext():
            yield

    def ingest(self, wheel: Path, *, sha256: str, name: str, version: str, origin_paths: OriginPaths) -> StoredObject:
        """Unpack a wheel whose bytes are known to have this digest, check it, and make it an object.

        Raises ArchiveError if the wheel is damaged, hostile or not what it is called; StoreError if the disk refuses.
        """
        with self.stage(wheel, sha256=sha256, name=name, version=version, origin_paths=origin_paths) as staged:
            self.publish([staged])
            return staged.stored

    @contextlib.contextmanager
    def stage(
        self, wheel: Path, *, sha256: str, name: str, version: str, origin_paths: OriginPaths
    ) -> Iterator[Staged]:
        """Like `ingest` up to the moment of becoming visible: several staged wheels share one costly `publish`."""
        from gpuenv.archive.artifact import open_artifact  # what only a new object needs is imported for it alone
        from gpuenv.store.unpack import unpack_object

        with self._reported(f"cannot unpack {wheel.name}"):
            if not self._swept:
                self._swept = True
                sweep(self.root / "tmp")
            self.objects.mkdir(parents=True, exist_ok=True)
            (self.root / "trash").mkdir(exist_ok=True)  # gc could not make it on a full disk
            with staging(self.root / "tmp") as directory, open_artifact(wheel) as archive:
                target = directory / "object"
                target.mkdir()
                stored = unpack_object(archive, target, name=name, version=version, origin_paths=origin_paths)
                yield Staged(stored, target, sha256)

    def publish(self, staged: Sequence[Staged]) -> None:
        """Make staged wheels visible, all behind one flush of the file system."""
        if not staged:
            return
        from gpuenv.store.commit import publish, replace, settle, sync_filesystem
        from gpuenv.store.links import follow, inodes

        with self._reported("cannot write to the store"):
            sync_filesystem(self.root)
            for one in staged:
                final = self.objects / one.stored.key
                if publish(one.directory, final):
                    pass
                elif is_damaged(self.root, final.name) or not _is_whole(final):
                    before = inodes(final)
                    replace(one.directory, final)
                    follow(self.root, before, final)
                else:
                    settle(final)
                unmark(self.root, one.stored.key)
                self._name_artifact(one)

    def _name_artifact(self, staged: Staged) -> None:
        """Point `artifacts/<sha256>` at the object; whoever is last wins, all say the same."""
        final = self.root / "artifacts" / staged.sha256
        final.parent.mkdir(exist_ok=True)
        target = f"../objects/{staged.stored.key}"
        temporary = final.with_name(f".{secrets.token_hex(8)}")
        temporary.symlink_to(target)
        temporary.rename(final)

    @contextlib.contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _store_error(what, error, self.root) from error


def _is_called(stored: StoredObject, called: tuple[str, str] | None) -> bool:
    if called is None or (stored.name, stored.version) == called:
        return True
    from gpuenv.model.version import normal_name, parse_version

    name, version = called
    return (stored.name, stored.version) == (normal_name(name), str(parse_version(version)))


def _is_whole(directory: Path) -> bool:
    """Can the object's facts be read? Cheap; `verify` looks at every byte."""
    try:
        return decode_object((directory / "facts.msgpack").read_bytes()) is not None
    except OSError:
        return False


def _locks_work(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _WAITING
    finally:
        os.close(fd)
    return True


def _store_error(what: str, error: OSError, root: Path) -> StoreError:
    found = StoreError.refused(what, error, root)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        found.hints += ("put the store on a larger file system: --store DIR",)
    return found
