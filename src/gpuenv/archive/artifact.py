"""An artifact of a distribution, whatever it is packed as: a wheel or a bundle, told by its first bytes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from gpuenv.archive.packed import packing_of
from gpuenv.archive.unpacking import Archived, Placed, SymbolicLink, Unpacked
from gpuenv.archive.wheel import open_wheel
from gpuenv.errors import ArchiveError

__all__ = ["Artifact", "open_artifact"]


class Artifact(Protocol):
    """A checked archive of a distribution, open for reading: a context manager."""

    name: str

    @property
    def members(self) -> Sequence[Archived]:
        """Its files."""

    @property
    def links(self) -> Sequence[SymbolicLink]:
        """Its symbolic links as they are packed. Where they lead to is not checked here."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def read(self, member: Archived, /) -> bytes:
        """The content of a file of the `.dist-info`."""

    def unpack(self, root: Path, places: Sequence[Placed], *, mtime: int, workers: int | None = None) -> list[Unpacked]:
        """Write files below `root`; return what was written, in the order asked. Raises ArchiveError, OSError."""


def open_artifact(path: Path, *, case_sensitive: bool = sys.platform == "linux") -> Artifact:
    """Open and check a wheel or a bundle, whatever the file is called; raises ArchiveError as these do."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise ArchiveError(f"{path.name} cannot be opened: {error.strerror}") from error
    if packing_of(head) == "zstd":
        from gpuenv.archive.bundled import open_bundle  # whoever has wheels alone needs no zstd

        return open_bundle(path, case_sensitive=case_sensitive)
    return open_wheel(path, case_sensitive=case_sensitive, links=True)
