"""Archives that the tests of trees share, made on the spot."""

import gzip
import hashlib
import io
import lzma
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from gpuenv.archive.tree import Link, Tree, open_tree

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["NOISE", "contents", "entry", "packed", "seen", "tar_of", "zip_of"]

NOISE = hashlib.shake_256(b"noise").digest(5 << 18)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **fields: object) -> tarfile.TarInfo:
    """A tar header that says what the test wants it to."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(*entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of headers without content, and of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for one in entries:
            if isinstance(one, tarfile.TarInfo):
                archive.addfile(one)
            else:
                info = tarfile.TarInfo(one[0])
                info.size = len(one[1])
                archive.addfile(info, io.BytesIO(one[1]))
    return buffer.getvalue()


def zip_of(files: Mapping[str, bytes], links: Mapping[str, bytes] | None = None, *, stored: bool = False) -> bytes:
    """A ZIP archive of files and of symbolic links."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, data in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def packed(data: bytes, packing: str) -> bytes:
    """The bytes as gzip, xz or zstd have them; "" leaves them as they are."""
    if packing == "xz":
        return lzma.compress(data, preset=0)
    packers: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "zstd": zstd.compress}
    return packers[packing](data)


def contents(tree: Tree) -> dict[str, bytes]:
    """Every file of the tree and of those inside it."""
    return {file.path: b"".join(file.chunks()) for part in (tree, *tree.nested) for file in part.files}


def seen(path: Path, data: bytes) -> tuple[str, dict[str, bytes], list[Link]]:
    """Kind, files and links of the artifact that these bytes are."""
    path.write_bytes(data)
    with open_tree(path) as tree:
        files = contents(tree)
        return tree.kind, files, [link for part in (tree, *tree.nested) for link in part.links]
