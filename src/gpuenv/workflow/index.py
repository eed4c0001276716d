"""index: a folder of wheels and bundles becomes a static simple index, to be served by any web server."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from gpuenv.archive.bundled import Bundle, open_bundle
from gpuenv.archive.wheel import WheelArchive, open_wheel
from gpuenv.bundle.index import PROVIDES, Entry, StaticIndex, static_index
from gpuenv.errors import ArchiveError, GpuenvError, UsageError
from gpuenv.index.cache import IndexCache
from gpuenv.index.folder import file_digest, metadata_in, read_extras
from gpuenv.index.metadata import check_identity, parse_metadata
from gpuenv.index.simple import split_wheel
from gpuenv.model.facts import NativeFacts, decode_facts
from gpuenv.model.filename import BUNDLE, VARIANT, label_of, stem_of
from gpuenv.model.made import MadeIndex
from gpuenv.model.providers import decode_rows
from gpuenv.model.variants import BadVariants, Variants, parse_variants
from gpuenv.workflow.artifacts import facts_of
from gpuenv.workflow.ledger import LEDGER, check_free, ledger_of, places_of, read_ledger, stale
from gpuenv.workflow.project import Project, write_atomically
from gpuenv.workflow.variants import empty_claims

__all__ = ["make_index"]

_SHOWN = 20
_VARIANT = re.compile(rf"[^/]+\.dist-info/{re.escape(VARIANT)}")


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
    before = read_ledger(output / LEDGER)
    if not entries and not before.pages:
        raise UsageError(f"no wheel and no bundle lies in {folder}")
    up = Path(os.path.relpath(folder.absolute(), output.absolute() / "name")).as_posix()
    index = static_index(entries, up)
    _check(index)
    check_free(index, before, folder, output)
    now = ledger_of(index)
    _write(output / LEDGER, before.merged(now).encode())
    written = tuple(path for path, data in places_of(index, folder, output).items() if _write(path, data))
    removed = tuple(stale(before, now, folder, output))
    for path in removed:
        _remove(path, output)
    _write(output / LEDGER, now.encode())
    warnings = tuple(warning for entry in entries for warning in _warnings(entry))
    return MadeIndex(output, index.projects, len(entries), index.sonames, written, removed, warnings)


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
            variants = _variants(bundle)
    else:
        with open_wheel(path, links=True) as archive:
            variants = _variants(archive)
    with path.open("rb") as file:
        metadata = metadata_in(file, path.name).read()
        known = check_identity(parse_metadata(metadata), path.name)
        extras = read_extras(known, file, path.name).default_extras_by
        if isinstance(extras, str):
            raise ArchiveError(f"it announces {extras}")
    facts = facts_of(path, digest.sha256, project)
    if stated is not None and _own(stated) != _own(facts):
        raise ArchiveError("its native.json does not say what its binaries say")
    return Entry(
        path.name,
        wheel.name,
        wheel.version,
        digest.sha256,
        digest.size,
        known.requires_python,
        metadata,
        facts,
        variants,
    )


def _variants(archive: Bundle | WheelArchive) -> Variants | None:
    """What a file says that it is a variant of; None for one that is none, as its name says too."""
    label = label_of(archive.name)
    found = [one for one in archive.members if _VARIANT.fullmatch(one.name)]
    if not label and found:
        raise ArchiveError("it holds variant.json, and its name has no label")
    if label and not found:
        raise ArchiveError(f"its name has the label {label}, and it holds no variant.json")
    try:
        return parse_variants(archive.read(found[0]), label) if label else None
    except BadVariants as error:
        raise ArchiveError(f"its variant.json cannot be read: {error}") from None


def _warnings(entry: Entry) -> Iterator[str]:
    if entry.variants is None:
        return
    properties = entry.variants.labels[label_of(entry.filename)]
    if empty := ", ".join(empty_claims(properties, entry.facts, parse_metadata(entry.metadata))):
        yield f"{entry.filename} claims {empty}, and carries no code for it: a lock for such a GPU passes it over"


def _own(facts: NativeFacts) -> list[object]:
    """What is said of its binaries; archives inside are looked into or not, by what holds them."""
    return [one for one in facts.objects if "!/" not in one.path]


def _check(index: StaticIndex) -> None:
    """Is the table of providers one that is read?"""
    try:
        decode_rows(json.loads(index.pages[PROVIDES])["sonames"])
    except ValueError as error:
        raise UsageError(f"{PROVIDES} cannot be written", causes=[str(error)]) from None


def _write(path: Path, data: bytes) -> bool:
    """Write a file in one step, unless it holds just that."""
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return True


def _remove(path: Path, output: Path) -> None:
    """Remove a file, and the folder of a project with the last of its pages."""
    path.unlink(missing_ok=True)
    if path.parent.parent == output:
        with suppress(OSError):
            path.parent.rmdir()
