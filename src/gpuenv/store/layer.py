"""Reading one store: what the user's own store and the read-only ones below it have in common.

A base store belongs to somebody else: a cluster's image, a store with one writer. It is read and never written, not
even a lock file or a mark; where it is not there or cannot be read, it is passed over with one warning.
"""

import os
from pathlib import Path

from gpuenv.model.stored import StoredObject, decode_object
from gpuenv.store.marks import damaged_keys, is_damaged

__all__ = ["Base", "Layer"]


class Layer:
    """The objects of one store, by the digests of their wheels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._marks: frozenset[str] | None = None

    def find(self, sha256: str) -> StoredObject | None:
        """The object that the wheel with this digest unpacks to, if it is here and not known to be damaged.

        Costs one small file. Raises OSError where it is here and cannot be read.
        """
        found = self._facts(sha256)
        return None if found is not None and self._marked(sha256) else found

    def _facts(self, sha256: str) -> StoredObject | None:
        try:
            with open(f"{self.root}/artifacts/{sha256}/facts.msgpack", "rb") as file:  # noqa: PTH123 - hot path
                return self._decoded(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _decoded(self, data: bytes) -> StoredObject | None:
        return decode_object(data)

    def _marked(self, sha256: str) -> bool:
        """Is the object of this wheel known to be damaged? Marks are listed once; who has one is asked for again."""
        if self._marks is None:
            self._marks = damaged_keys(self.root)
        if not self._marks:
            return False
        key = os.path.basename(os.readlink(f"{self.root}/artifacts/{sha256}"))  # noqa: PTH115, PTH119
        return key in self._marks and is_damaged(self.root, key)


class Base(Layer):
    """A store that is only read. problem: why all or some of it is passed over, None where nothing is."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.problem: str | None = None
        try:
            os.stat(root / "artifacts")  # noqa: PTH116 - says why, unlike Path.exists
            self.there = True
        except (FileNotFoundError, NotADirectoryError):
            self.there = False
            self.problem = "holds no objects" if root.is_dir() else "is not there"
        except OSError as error:
            self.there = False
            self.problem = f"cannot be read: {error.strerror}"

    def find(self, sha256: str) -> StoredObject | None:
        """Like `Layer.find`; what cannot be read is not here."""
        try:
            return super().find(sha256) if self.there else None
        except OSError as error:
            self.problem = f"cannot be read: {error.strerror}: {error.filename}"
            return None

    def _decoded(self, data: bytes) -> StoredObject | None:
        found = super()._decoded(data)
        if found is None:
            self.problem = "holds objects that this gpuenv cannot read"
        return found
