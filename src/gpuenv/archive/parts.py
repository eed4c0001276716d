"""What an artifact consists of, however it is packed: files, links, and trees inside the tree."""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, Self

from gpuenv.archive.source import Read

__all__ = ["File", "Kind", "Link", "Tree", "relative"]

Kind = Literal["zip", "tar", "folder", "file"]


class Link(NamedTuple):
    """A link that an artifact carries; nobody follows it here, so that it may lead anywhere.

    target: as a symbolic link says it, relative to the folder of `path`. source: an entry of a ZIP, a line of LINKS
    (PEP 778), an entry of a tar (hard links too), or a symbolic link in a folder.
    """

    path: str
    target: str
    source: Literal["zip", "LINKS", "tar", "folder"]


@dataclass(frozen=True, slots=True)
class File:
    """One file of an artifact.

    path: inside the artifact, '/' between its parts; `a/_devel.tar.xz!/b` is the file b of a tar inside. size: in
    bytes. crc: ZIP's CRC-32. read: any part of it, not compared with any checksum; only where that is cheap.
    """

    path: str
    size: int
    crc: int | None
    read: Read | None = field(repr=False, compare=False)
    content: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        """All of it from its first byte, in pieces of at most 1 MiB; may be called again.

        Size and checksum are compared at the end: whoever stops before has seen what nobody checked. Raises
        ArchiveError where it is damaged or cannot be read.
        """
        return self.content()


class Tree:
    """The files of one artifact, open for reading: a context manager.

    name: of the artifact. kind: what it is. size: its own in bytes, of a folder the sum of its files.
    parallel: files is a sequence, and may be read in any order and by several threads at once. Otherwise files can be
    iterated over once, in the order of the archive, and each file is good until the next one is asked for.
    nested: archives inside that are looked into; their files and links carry their full path. Each is not parallel in
    itself, but several trees may be read at once. `files` leaves out the nested archives themselves.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        size: int,
        files: Iterable[File],
        links: Sequence[Link],
        *,
        nested: Sequence["Tree"] = (),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.size = size
        self.files = files
        self.parallel = isinstance(files, tuple)
        self.nested = tuple(nested)
        self._links = links
        self._close = close

    @property
    def links(self) -> tuple[Link, ...]:
        """Its links; where it is not parallel, those that came so far, all when the iteration ended."""
        return tuple(self._links)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what lies behind it."""
        for tree in self.nested:
            tree.close()
        self._close()


def relative(path: str, target: str) -> str:
    """What a symbolic link at `path` would say to lead to `target`; both are paths inside the artifact."""
    return posixpath.relpath(f"/{target}", posixpath.dirname(f"/{path}"))
