"""index: a folder of wheels and bundles becomes a static simple index, to be served by any web server."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.wheel import open_wheel
from gpuenv.bundle.index import PROVIDES, Entry, StaticIndex, static_index
from gpuenv.errors import ArchiveError, GpuenvError, Occupied, UsageError
from gpuenv.index.cache import IndexCache
from gpuenv.index.folder import file_digest, metadata_in
from gpuenv.index.metadata import check_identity, parse_metadata
from gpuenv.index.simple import split_wheel
from gpuenv.model.facts import NativeFacts, decode_facts
from gpuenv.model.made import MadeIndex
from gpuenv.model.providers import decode_rows
from gpuenv.model.version import BUNDLE, normal_name, stem_of
from gpuenv.workflow.artifacts import facts_of
from gpuenv.workflow.project import Project, write_atomically

__all__ = ["LEDGER", "make_index"]

# What earlier runs wrote: {"version": 1, "pages": {path: [sha256, …]}, "beside": {name: [sha256, …]}}.
LEDGER = ".gpuenv-index.json"

_PAGE = re.compile(r"(?:([^/]+)/)?index\.(?:html|json)")
_SIDECAR = re.compile(r"([^/]+)\.(?:metadata|native\.json)")
_SHOWN = 20

_Ledger = dict[str, dict[str, list[str]]]


def make_index(folder: Path, output: Path | None, project: Project) -> MadeIndex:
    """Write the index of the wheels and bundles directly in a folder. output: where; default: `simple` in the folder.

    Files that are the same already stay; what an earlier run wrote and is not wanted any more goes, nothing else does.
    Before anything is written ArchiveError is raised, which names each damaged or misnamed file, or Occupied for files
    in the way that somebody else wrote.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    output = output or folder / "simple"
    entries = _entries(folder, project)
    before = _ledger(output / LEDGER)
    if not entries and not before["pages"]:
        raise UsageError(f"no wheel and no bundle lies in {folder}")
    up = Path(os.path.relpath(folder.absolute(), output.absolute() / "name")).as_posix()
    index = static_index(entries, up)
    _check(index)
    places = _places(index, folder, output)
    _check_free(places, index, before, folder, output)
    now = _ledger_of(index)
    output.mkdir(parents=True, exist_ok=True)
    _write(output / LEDGER, _encode(_both(before, now)))
    written = [path for path, data in places.items() if _write(path, data)]
    removed = tuple(_stale(before, now, folder, output))
    for path in removed:
        _remove(path, output)
    _write(output / LEDGER, _encode(now))
    return MadeIndex(output, index.projects, len(entries), index.sonames, tuple(written), removed)


# what there is


def _entries(folder: Path, project: Project) -> list[Entry]:
    found, problems = [], []
    with closing(IndexCache(project.cache)) as cache:
        for path in sorted(path for path in folder.iterdir() if stem_of(path.name) is not None):
            try:
                found.append(_entry(path, cache, project))
            except (GpuenvError, OSError) as error:
                problems.append(_problem(path.name, error))
    if problems:
        files = "1 file" if len(problems) == 1 else f"{len(problems)} files"
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ArchiveError(f"{files} of {folder} cannot be in an index", causes=[*problems[:_SHOWN], *more])
    return found


def _problem(name: str, error: GpuenvError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{name}: {error.strerror}"
    text = ": ".join([error.message, *error.causes])
    return text if name in text else f"{name}: {text}"


def _entry(path: Path, cache: IndexCache, project: Project) -> Entry:
    """One file, looked at as closely as an installation would, but for the bytes of files that hold no binary."""
    wheel = split_wheel(path.name)
    if wheel is None:
        raise ArchiveError("is not the name of a wheel or bundle")
    if not path.is_file():
        raise ArchiveError("is not a file")
    digest = file_digest(path.absolute(), cache)
    stated = None
    if path.name.endswith(BUNDLE):
        with open_bundle(path) as bundle:
            stated = decode_facts(bundle.native) if bundle.native is not None else None
    else:
        with open_wheel(path):
            pass
    with path.open("rb") as file:
        metadata = metadata_in(file, path.name).read()
    known = check_identity(parse_metadata(metadata), path.name)
    facts = facts_of(path, digest.sha256, project)
    if stated is not None and _own(stated) != _own(facts):
        raise ArchiveError("its native.json does not say what its binaries say")
    return Entry(
        path.name, wheel.name, wheel.version, digest.sha256, digest.size, known.requires_python, metadata, facts
    )


def _own(facts: NativeFacts) -> list[object]:
    """What is said of its binaries; archives inside are looked into or not, by what holds them."""
    return [one for one in facts.objects if "!/" not in one.path]


def _check(index: StaticIndex) -> None:
    """Is the table of providers one that is read?"""
    try:
        decode_rows(json.loads(index.pages[PROVIDES])["sonames"])
    except ValueError as error:
        raise UsageError(f"{PROVIDES} cannot be written", causes=[str(error)]) from None


# what is written


def _places(index: StaticIndex, folder: Path, output: Path) -> dict[Path, bytes]:
    """Every file in the order in which they are written: what pages speak of first, the list of projects last."""
    beside = {folder / name: data for name, data in index.beside.items()}
    return beside | {output / name: data for name, data in index.pages.items()}


def _write(path: Path, data: bytes) -> bool:
    """Write a file in one step, unless it holds just that."""
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return True


def _check_free(places: Mapping[Path, bytes], index: StaticIndex, before: _Ledger, folder: Path, output: Path) -> None:
    """A file that is there must be ours, or beside a wheel, where nobody writes by hand; raises Occupied."""
    ours = {output / name: digests for name, digests in before["pages"].items()}
    for name, digests in before["beside"].items():
        ours[folder / name] = [*ours.get(folder / name, []), *digests]
    free = {folder / name for name in index.beside if name != PROVIDES}
    taken = []
    for path, data in places.items():
        if path in free or not (path.is_symlink() or path.exists()):
            continue
        found = path.read_bytes() if path.is_file() else None
        if found != data and (found is None or _digest(found) not in ours.get(path, [])):
            taken.append(str(path))
    if taken:
        raise Occupied(
            f"{'a file that is' if len(taken) == 1 else 'files that are'} no work of gpuenv would be replaced",
            causes=taken[:_SHOWN],
            hints=["move it away, or name another folder: --output DIR"],
        )


def _stale(before: _Ledger, now: _Ledger, folder: Path, output: Path) -> Iterator[Path]:
    """What earlier runs wrote, still as they wrote it, and nobody wants any more. Pages before what they speak of."""
    kept = {output / name for name in now["pages"]} | {folder / name for name in now["beside"]}
    for key, place in (("pages", output), ("beside", folder)):
        for name, digests in sorted(before[key].items()):
            path = place / name
            if path in kept or not path.is_file() or path.is_symlink() or path.parent.is_symlink():
                continue
            if _digest(path.read_bytes()) in digests:
                yield path


def _remove(path: Path, output: Path) -> None:
    """Remove a file, and the folder of a project with the last of its pages."""
    path.unlink(missing_ok=True)
    if path.parent.parent == output:
        with suppress(OSError):
            path.parent.rmdir()


# what earlier runs wrote


def _ledger(path: Path) -> _Ledger:
    """What stands in a ledger, as far as it speaks of files that this command writes; nothing where there is none."""
    found: _Ledger = {"pages": {}, "beside": {}}
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return found
    for key, is_ours in (("pages", _is_page), ("beside", _is_beside)):
        rows = said.get(key) if isinstance(said, dict) and said.get("version") == 1 else None
        for name, digests in rows.items() if isinstance(rows, dict) else ():
            if is_ours(name) and isinstance(digests, list):
                found[key][name] = [one for one in digests if isinstance(one, str)]
    return found


def _is_page(path: str) -> bool:
    page = _PAGE.fullmatch(path)
    return path == PROVIDES or (page is not None and (page[1] is None or _is_normal(page[1])))


def _is_normal(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None and normal_name(name) == name


def _is_beside(name: str) -> bool:
    sidecar = _SIDECAR.fullmatch(name)
    return name == PROVIDES or (sidecar is not None and stem_of(sidecar[1]) is not None)


def _ledger_of(index: StaticIndex) -> _Ledger:
    return {
        "pages": {name: [_digest(data)] for name, data in index.pages.items()},
        "beside": {name: [_digest(data)] for name, data in index.beside.items()},
    }


def _both(before: _Ledger, now: _Ledger) -> _Ledger:
    """While files are written each is either the old one or the new one."""
    return {
        key: {
            name: list(dict.fromkeys([*before[key].get(name, []), *now[key].get(name, [])]))
            for name in {**before[key], **now[key]}
        }
        for key in now
    }


def _encode(ledger: _Ledger) -> bytes:
    return json.dumps({"version": 1, **ledger}, sort_keys=True, indent=0).encode() + b"\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
