"""The ledger of a static index: what `gpuenv index` wrote, so that its next runs replace and remove that and no more.

`.gpuenv-index.json`: {"version": 1, "pages": {path: [sha256, …]}, "beside": {name: [sha256, …]}}. Pages lie in the
folder of the index, the others beside the wheels. A file has two digests while a run writes it anew.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gpuenv.bundle.index import PROVIDES, StaticIndex
from gpuenv.errors import Occupied
from gpuenv.model.filename import VARIANTS, stem_of

__all__ = ["LEDGER", "Ledger", "check_free", "ledger_of", "places_of", "read_ledger", "stale"]

LEDGER = ".gpuenv-index.json"

_PAGE = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*/)?index\.(?:html|json)")
_SIDECAR = re.compile(r"([^/]+)\.(?:metadata|native\.json)")
_SHOWN = 20

_Digests = dict[str, list[str]]


class Ledger(NamedTuple):
    """Digests of what was written: of pages by path in the index, of others by name beside the wheels."""

    pages: _Digests
    beside: _Digests

    def merged(self, other: "Ledger") -> "Ledger":
        """Both: each file is as either says."""
        return Ledger(_merged(self.pages, other.pages), _merged(self.beside, other.beside))

    def encode(self) -> bytes:
        """The text of the file."""
        return json.dumps({"version": 1, **self._asdict()}, sort_keys=True, indent=0).encode() + b"\n"


def _merged(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> _Digests:
    return {key: list(dict.fromkeys([*one.get(key, []), *other.get(key, [])])) for key in {**one, **other}}


def ledger_of(index: StaticIndex) -> Ledger:
    """What a run that writes this index leaves."""
    return Ledger(
        {path: [_digest(data)] for path, data in index.pages.items()},
        {name: [_digest(data)] for name, data in index.beside.items()},
    )


def read_ledger(path: Path) -> Ledger:
    """What stands in a ledger, as far as it speaks of files that this command writes; nothing where there is none."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Ledger({}, {})
    rows = said if isinstance(said, dict) and said.get("version") == 1 else {}
    return Ledger(_digests(rows.get("pages"), _is_page), _digests(rows.get("beside"), _is_beside))


def _digests(rows: object, is_ours: Callable[[str], bool]) -> _Digests:
    return {
        name: [one for one in digests if isinstance(one, str)]
        for name, digests in (rows.items() if isinstance(rows, dict) else ())
        if is_ours(name) and isinstance(digests, list)
    }


def _is_page(path: str) -> bool:
    return path == PROVIDES or _PAGE.fullmatch(path) is not None


def _is_beside(name: str) -> bool:
    sidecar = _SIDECAR.fullmatch(name)
    return _is_read_by_others(name) or (sidecar is not None and stem_of(sidecar[1]) is not None)


def _is_read_by_others(name: str) -> bool:
    """Is it a file that other tools, or people, write too?"""
    return name == PROVIDES or ("/" not in name and name.endswith(VARIANTS))


def places_of(index: StaticIndex, folder: Path, output: Path) -> dict[Path, bytes]:
    """Every file in the order in which they are written: what pages speak of first, the list of projects last.

    folder: where the wheels lie. output: where the pages go.
    """
    beside = {folder / name: data for name, data in index.beside.items()}
    return beside | {output / path: data for path, data in index.pages.items()}


def check_free(index: StaticIndex, before: Ledger, folder: Path, output: Path) -> None:
    """A file that is there must be ours, or a sidecar of a wheel, which nobody writes by hand; raises Occupied."""
    ours = _placed(before, folder, output)
    sidecars = {folder / name for name in index.beside if not _is_read_by_others(name)}
    taken = []
    for path, data in places_of(index, folder, output).items():
        if path in sidecars or not (path.is_symlink() or path.exists()):
            continue
        found = path.read_bytes() if path.is_file() else None
        if found != data and (found is None or _digest(found) not in ours.get(path, [])):
            taken.append(str(path))
    if taken:
        raise Occupied(
            f"{'a file that is' if len(taken) == 1 else 'files that are'} no work of gpuenv would be replaced",
            causes=taken[:_SHOWN],
            hints=[f"move {'it' if len(taken) == 1 else 'them'} away: mv {shlex.quote(taken[0])} ELSEWHERE"],
        )


def stale(before: Ledger, now: Ledger, folder: Path, output: Path) -> Iterator[Path]:
    """What earlier runs wrote, still as they wrote it, and nobody wants any more. Pages before what they speak of."""
    kept = _placed(now, folder, output)
    for path, digests in _placed(before, folder, output).items():
        if path in kept or not path.is_file() or path.is_symlink() or path.parent.is_symlink():
            continue
        if _digest(path.read_bytes()) in digests:
            yield path


def _placed(ledger: Ledger, folder: Path, output: Path) -> dict[Path, list[str]]:
    """The digests by place, pages first."""
    found = {output / path: list(digests) for path, digests in sorted(ledger.pages.items())}
    for name, digests in sorted(ledger.beside.items()):
        found.setdefault(folder / name, []).extend(digests)
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
