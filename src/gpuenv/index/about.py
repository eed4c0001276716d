"""What a bundle says of itself in its first frame: its native facts, and the wheel that it was."""

import re
from collections.abc import Iterator
from pathlib import Path

from gpuenv.archive.bundled import Bundle, open_bundle
from gpuenv.archive.names import Refused
from gpuenv.archive.ranges import SparseFile
from gpuenv.errors import ArchiveError
from gpuenv.model.distribution import About
from gpuenv.model.facts import decode_facts, own
from gpuenv.model.filename import stem_of

__all__ = ["AboutBundle", "about_bundle", "about_file"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def about_file(path: Path, filename: str) -> About:
    """What a bundle on this disk says; raises ArchiveError where it cannot be read."""
    with open_bundle(path, case_sensitive=True) as bundle:
        return about_bundle(bundle, filename)


def about_bundle(bundle: Bundle, filename: str) -> About:
    """What an open bundle of this name says; archives inside a bundle are not looked into, whatever it says of them."""
    facts = decode_facts(bundle.native) if bundle.native is not None else None
    return About(own(facts) if facts is not None else None, _origin(bundle, filename))


def _origin(bundle: Bundle, filename: str) -> str | None:
    """The digest of the wheel whose installed files are the same: of the same name, and no file of it is a link now."""
    said = bundle.origin
    same = said.keys() == {"filename", "sha256"} and stem_of(said["filename"]) == stem_of(filename)
    return said["sha256"] if same and _SHA256.fullmatch(said["sha256"]) else None


class AboutBundle:
    """The same of a bundle of which only parts are here, to be read again when more have come."""

    def __init__(self, file: SparseFile, filename: str) -> None:
        self._file = file
        self._filename = filename

    def read(self) -> About:
        """What it says; raises MissingRange where too little is here, ArchiveError where it cannot be read."""
        try:
            bundle = Bundle(self._filename, _Parts(self._file), case_sensitive=True)
        except Refused as refused:
            raise ArchiveError(f"{self._filename} is refused: {refused}") from None
        return about_bundle(bundle, self._filename)


class _Parts:
    """The source of bytes that a sparse file is."""

    distant = True

    def __init__(self, file: SparseFile) -> None:
        self.size = file.size
        self._file = file

    def read(self, offset: int, size: int, /) -> bytes:
        """See Source.read; raises MissingRange."""
        self._file.seek(offset)
        return self._file.read(size)

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        """See Source.stream."""
        yield self.read(start, stop - start)

    def close(self) -> None:
        """Nothing was opened."""
