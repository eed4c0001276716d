"""RECORD (the binary distribution format, PEP 376, 427): a new one, or for files that changed, came or went."""

import csv
import io
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable

from gpuenv.errors import ArchiveError

__all__ = ["SIGNATURES", "new_record", "record_row", "rewritten_record"]

SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # which RECORD does not list


def record_row(path: str, sha256: bytes, size: int) -> list[str]:
    """The row of a file. sha256: its digest."""
    return [path, f"sha256={urlsafe_b64encode(sha256).rstrip(b'=').decode()}", str(size)]


def new_record(path: str, rows: Iterable[list[str]]) -> bytes:
    """A RECORD of files, by path, and of itself. path: its own."""
    return _written([*sorted(rows), [path, "", ""]])


def rewritten_record(before: bytes, path: str, away: Collection[str], new: Iterable[list[str]]) -> bytes:
    """A RECORD without the rows of `away`, and with new ones for files that it does not list; unchanged where it fits.

    path: its own. Raises ArchiveError for a RECORD that cannot be read.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(before.decode(), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from None
    kept = [row for row in rows if row[0] not in away]
    listed = {row[0] for row in kept} | {path, *(f"{path.removesuffix('RECORD')}{name}" for name in SIGNATURES)}
    added = sorted(row for row in new if row[0] not in listed)
    if kept == rows and not added:
        return before
    at = next((number for number, row in enumerate(kept) if row[0] == path), len(kept))
    return _written([*kept[:at], *added, *kept[at:]])


def _written(rows: Iterable[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
