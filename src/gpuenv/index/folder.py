"""Local places: a folder of wheels as an index, and the metadata of a wheel on this disk."""

import hashlib
import os
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gpuenv.archive.ranges import SmallMember, SparseFile
from gpuenv.errors import ArchiveError, NetworkError
from gpuenv.index.cache import FileDigest, IndexCache, url_key
from gpuenv.index.metadata import check_identity, parse_metadata, with_extras, without_extras
from gpuenv.index.simple import group, split_variants, split_wheel
from gpuenv.model.default_extras import FILE as EXTRAS
from gpuenv.model.distribution import Metadata, Page, WheelFile
from gpuenv.model.filename import BUNDLE
from gpuenv.model.manifest import Index
from gpuenv.model.version import normal_name

if TYPE_CHECKING:
    from gpuenv.archive.bundled import SmallFact

__all__ = ["FolderIndex", "file_digest", "metadata_in", "path_of", "read_extras", "wheel_metadata"]


def path_of(url: str) -> Path:
    """The local path that a `file:` URL names (RFC 8089)."""
    return Path(unquote(urlsplit(url).path))


def metadata_in(
    file: SparseFile | BufferedReader, filename: str, wanted: str = "METADATA"
) -> "SmallMember | SmallFact":
    """METADATA of a wheel or bundle, or another file at the top level of its `*.dist-info`, to be read."""

    def is_wanted(member: str) -> bool:
        folder, slash, name = member.partition("/")
        return slash == "/" and name == wanted and folder.endswith(".dist-info")

    if not filename.endswith(BUNDLE):
        return SmallMember(file, is_wanted)
    from gpuenv.archive.bundled import SmallFact  # who meets no bundle does without zstd

    return SmallFact(file, is_wanted)


def read_extras(known: Metadata, file: BufferedReader, filename: str) -> Metadata:
    """The metadata of a wheel or bundle, with its default extras if it announces some, or why those cannot be read."""
    if known.default_extras_by is None:
        return known
    try:
        data = metadata_in(file, filename, EXTRAS).read()
    except ArchiveError as error:
        return without_extras(known, error)
    return with_extras(known, data)


def wheel_metadata(path: Path, filename: str) -> Metadata:
    """The metadata inside a wheel on this disk."""
    try:
        with path.open("rb") as file:
            known = read_extras(parse_metadata(metadata_in(file, filename).read()), file, filename)
    except OSError as error:
        raise NetworkError(f"cannot read {path}", causes=[str(error.strerror)]) from None
    except ArchiveError as error:
        raise ArchiveError(f"cannot read the metadata of {filename}", causes=[error.message]) from None
    return check_identity(known, filename)


def file_digest(path: Path, cache: IndexCache) -> FileDigest:
    """Size and SHA-256 of a file; a file that did not change since it was last hashed is not read again."""
    try:
        seen = path.stat()
        key = url_key(path.as_uri())
        held = cache.files.load(key)
        if held and (held.size, held.changed) == (seen.st_size, seen.st_mtime_ns):
            return held
        with path.open("rb") as file:
            found = FileDigest(seen.st_size, seen.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise NetworkError(f"cannot read {path}", causes=[str(error.strerror)]) from None
    cache.files.save(key, found)
    return found


class FolderIndex:
    """The wheels and bundles directly in one folder, with what says which variants they are.

    It is listed once; only files of a name that is asked for are read.
    """

    def __init__(self, index: Index, folder: Path, cache: IndexCache) -> None:
        self._index = index
        self._cache = cache
        self._paths: dict[str, list[Path]] = {}
        try:
            found = {entry.name for entry in os.scandir(folder)}
        except OSError as error:
            raise NetworkError(
                f'the folder of index "{index.name}" cannot be read: {folder}', causes=[str(error.strerror)]
            ) from None
        self._beside = found
        for name in sorted(found):
            if file := split_wheel(name) or split_variants(name):
                self._paths.setdefault(file.name, []).append(folder / name)

    def page(self, name: str) -> Page | None:
        """The releases of a name; None if the folder has nothing of it."""
        paths = self._paths.get(normal_name(name))
        return group(map(self._wheel, paths), name, self._index.name) if paths else None

    def _wheel(self, path: Path) -> WheelFile:
        digest = file_digest(path, self._cache)
        native = "" if f"{path.name}.native.json" in self._beside else None
        return WheelFile(path.name, path.as_uri(), sha256=digest.sha256, size=digest.size, native_sha256=native)
