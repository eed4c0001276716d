"""repack: wheels become bundles, bundles become wheels, each in a file of its own."""

import errno
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.wheel import open_wheel
from gpuenv.bundle.amend import NOTHING, Amendment
from gpuenv.bundle.repack import bundle_name, repack, rewheel
from gpuenv.bundle.towheel import LinksAs, to_wheel, wheel_name
from gpuenv.bundle.variant import amendment_of
from gpuenv.errors import StoreError, UsageError
from gpuenv.model.filename import BUNDLE, split_filename, with_label
from gpuenv.model.made import Made, State
from gpuenv.workflow.artifacts import facts_of
from gpuenv.workflow.facts import sha256_of
from gpuenv.workflow.outputs import write_output
from gpuenv.workflow.project import Project

if TYPE_CHECKING:
    from gpuenv.archive.bundled import SymbolicLink
    from gpuenv.model.default_extras import DefaultExtras
    from gpuenv.model.packing import VariantClaim

__all__ = ["Settings", "repack_files"]

Kind = Literal["bundle", "wheel"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is wanted. output: a folder; None: beside each file. variant, default_extras: what is added.

    The rest as in `bundle.repack` and `bundle.towheel`.
    """

    to: Kind = "bundle"
    output: Path | None = None
    links: LinksAs = "copy"
    restore_links: bool = False
    best: bool = False
    force: bool = False
    variant: "VariantClaim | None" = None
    default_extras: "DefaultExtras | None" = None


def repack_files(files: Sequence[str], project: Project, settings: Settings) -> Iterator[Made]:
    """Repack file after file; what was made before one fails stays.

    Raises UsageError before anything is made, ArchiveError for a damaged file, Occupied where another file is in the
    way of a result.
    """
    added = amendment_of(settings.variant, settings.default_extras)
    for source, path in _pairs(files, settings, added):
        if settings.to == "bundle":
            yield _bundle(source, path, project, settings, added)
        else:
            yield _wheel(source, path, project, settings, added)


def _pairs(files: Sequence[str], settings: Settings, added: Amendment) -> list[tuple[Path, Path]]:
    """Each file and what it becomes."""
    made: dict[Path, str] = {}
    found = []
    for text in files:
        source = _source(text, settings.to, added)
        name = bundle_name(source.name) if settings.to == "bundle" else wheel_name(source.name)
        path = (settings.output or source.parent) / with_label(name, added.label)
        if path in made:
            raise UsageError(f"{made[path]} and {text} would both become {path}")
        made[path] = text
        found.append((source, path))
    return found


def _source(text: str, to: Kind, added: Amendment) -> Path:
    if "://" in text:
        raise UsageError(f"{text} is a URL, and files are repacked", hints=[f"fetch it first: curl -LO {text}"])
    source = Path(text)
    if source.is_dir():
        raise UsageError(f"{text} is a folder", hints=[f"name its files: gpuenv repack {source / '*.whl'}"])
    if not source.is_file():
        raise UsageError(f"there is no {text}")
    said = split_filename(source.name)
    if added.label and said is None:
        raise UsageError(f"{source.name} is not the name of a wheel or bundle")
    if added.label and said is not None and said.label:
        hints = ["take the wheel that it was made of"]
        raise UsageError(f"{source.name} is a variant already, labelled {said.label}", hints=hints)
    wheels = to == "bundle" or added != NOTHING
    if (wheels and source.name.endswith(".whl")) or (to == "wheel" and source.name.endswith(BUNDLE)):
        return source
    if to == "bundle" and source.name.endswith(BUNDLE):
        raise UsageError(f"{text} is a bundle already", hints=[f"make it a wheel: gpuenv repack --to wheel {text}"])
    raise UsageError(
        f"{text} is no {'wheel' if to == 'bundle' else 'bundle'}: its name does not end in "
        f"{'.whl' if to == 'bundle' else BUNDLE}"
    )


def _bundle(source: Path, path: Path, project: Project, settings: Settings, added: Amendment) -> Made:
    digest = sha256_of(source)
    facts = facts_of(source, digest, project)
    with open_wheel(source, links=True) as archive:
        total = sum(member.size for member in archive.members)
    label = f"packing {path.name}"
    project.progress.begin(label, total)
    try:
        state, repacked = write_output(
            path,
            lambda file: repack(
                source,
                file.write,
                sha256=digest,
                facts=facts,
                restore_links=settings.restore_links,
                amendment=added,
                best=settings.best,
                progress=lambda amount: project.progress.advance(label, amount),
            ),
            force=settings.force,
        )
    finally:
        project.progress.end(label)
    return _made(path, source, repacked.links, state)


def _wheel(source: Path, path: Path, project: Project, settings: Settings, added: Amendment) -> Made:
    bundled = source.name.endswith(BUNDLE)
    with open_bundle(source) if bundled else open_wheel(source, links=True) as archive:
        total = sum(member.size for member in archive.members)
    label = f"packing {path.name}"

    def advance(amount: int) -> None:
        project.progress.advance(label, amount)

    def fill(file: IO[bytes]) -> "tuple[SymbolicLink, ...]":
        if not bundled:
            return rewheel(source, file, added, advance).links
        with tempfile.TemporaryDirectory(prefix="gpuenv-") as folder:
            try:
                place = Path(folder)
                return to_wheel(source, file, place, links=settings.links, amendment=added, progress=advance).links
            except OSError as error:
                raise _refused(error, source, Path(folder)) from error

    project.progress.begin(label, total)
    try:
        state, links = write_output(path, fill, force=settings.force)
    finally:
        project.progress.end(label)
    return _made(path, source, links, state)


def _refused(error: OSError, source: Path, folder: Path) -> StoreError:
    failure = StoreError.refused(f"{source} cannot be made a wheel", error, folder.parent)
    if error.errno == errno.ENOSPC:
        failure.hints = (*failure.hints, "set TMPDIR to a folder with more room")
    return failure


def _made(path: Path, source: Path, links: "Sequence[SymbolicLink]", state: State) -> Made:
    return Made(path, source, sha256_of(path), path.stat().st_size, source.stat().st_size, len(links), state)
