"""A wheel that was just unpacked, read where it lies: its directory says what there is, the folder has the bytes."""

import os
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from gpuenv.archive.tree import File, FileSource
from gpuenv.binaries.pieces import Pieces

__all__ = ["CheckedWheel", "Unpacked"]


class CheckedWheel(FileSource):
    """A wheel on this machine whose local headers were compared when it was unpacked.

    They are compared again for members that are read from the wheel, as of a distant one.
    """

    distant = True


class Unpacked:
    """The files of a folder, for one thread: the one that was read last stays open. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._source: FileSource | None = None
        self._path = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def file(self, packed: File, inside: str) -> File:
        """A file of the wheel whose bytes are read from the folder; the file itself where there is none of its size.

        inside: its path below the folder.
        """
        path = f"{self._folder}/{inside}"
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return packed
        if not stat.S_ISREG(status.st_mode) or status.st_size != packed.size:
            return packed
        read = partial(self._read, path)
        return replace(packed, read=read, content=lambda: Pieces(read, packed.size, packed.path))

    def _read(self, path: str, offset: int, size: int, /) -> bytes:
        if self._source is None or path != self._path:
            self._close()
            self._source = FileSource.open(Path(path), path, follow=False)
            self._path = path
        return self._source.read(offset, size)

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
