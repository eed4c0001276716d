"""One way to the files of an artifact, whatever it is: wheel, tar, folder, or a file by itself, here or far away.

    with open_tree(Path("torch-2.15.0-cp313-cp313-linux_x86_64.whl")) as tree:
        for part in (tree, *tree.nested):
            for file in part.files:
                for piece in file.chunks(): ...

The content says what it is, never the name: a ZIP archive (wheels), a tar archive, plain or packed with gzip, xz or
zstd (bundles), anything else one file. A wheel's `_devel.tar[.xz|.gz|.zst]` is looked into, and nothing else that is
packed inside; its files are called `PATH/_devel.tar.xz!/PATH`. Nothing is unpacked to where a name says.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpuenv.archive.folder import read_folder
from gpuenv.archive.packed import packing_of
from gpuenv.archive.parts import File, Kind, Link, Tree
from gpuenv.archive.source import FileSource, Read, Source
from gpuenv.archive.tarred import packed_tar, plain_tar
from gpuenv.archive.zipped import is_zip, read_zip
from gpuenv.errors import ArchiveError

__all__ = ["File", "FileSource", "Kind", "Link", "Read", "Source", "Tree", "open_tree", "open_tree_from"]

_MAGIC = 8
_ZIP, _END, _END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22


def open_tree(path: Path) -> Tree:
    """Open a file or a folder; raises ArchiveError where it cannot be read, is damaged, or is neither."""
    if path.is_dir():
        return read_folder(path)
    return open_tree_from(path.name, FileSource.open(path))


def open_tree_from(name: str, source: Source) -> Tree:
    """Open what a source holds; the tree closes the source, also where this fails.

    Raises ArchiveError where it is damaged or tries something it must not, and what the source itself raises.
    """
    try:
        ended = source.read(max(0, source.size - _END_SIZE), _MAGIC).startswith(_END)
        if source.distant and ended:
            # the end is here already, the beginning would be one more request; if this was wrong it is asked
            with contextlib.suppress(ArchiveError):
                return read_zip(name, source)
        head = source.read(0, _MAGIC)
        # a wheel whose first bytes are damaged is no other file without binaries
        if head.startswith(_ZIP) or (head.startswith(_END) and source.size >= _END_SIZE) or (ended and is_zip(source)):
            return read_zip(name, source)
        packing = packing_of(head)
        tree = packed_tar(name, source, packing) if packing else plain_tar(name, source)
        return tree or _single(name, source)
    except BaseException:
        source.close()
        raise


def _single(name: str, source: Source) -> Tree:
    def chunks() -> Iterator[bytes]:
        done = 0
        for piece in source.stream(0, source.size):
            done += len(piece)
            yield piece
        if done != source.size:
            raise ArchiveError(f"{name} changed while it was read")

    file = File(name, source.size, None, source.read, chunks)
    return Tree(name, "file", source.size, (file,), (), close=source.close)
