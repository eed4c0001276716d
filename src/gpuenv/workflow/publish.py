"""facts: make, or go on with, a table of published facts: each wheel is fetched, checked, read and dropped."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.errors import GpuenvError, UsageError
from gpuenv.model.distribution import Release, WheelFile
from gpuenv.model.requirement import InvalidRequirement, Requirement, parse_requirement
from gpuenv.model.version import parse_specifier, parse_version
from gpuenv.workflow.project import Project, write_atomically
from gpuenv.workflow.published import PublishedFacts, PublishedWheel, encode_table

if TYPE_CHECKING:
    from gpuenv.index import IndexClient

__all__ = ["Published", "Wanted", "parse_list", "publish"]

AHEAD = 2  # wheels fetched while others are read
_SAVED_EVERY = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """One line of a list: the releases that a requirement allows, and of their wheels those that a pattern does."""

    requirement: Requirement
    patterns: tuple[str, ...]

    def wheels(self, releases: Sequence[Release]) -> Iterator[WheelFile]:
        """The wheels asked for, newest release first; pre-releases and yanked files are left out."""
        specifier = parse_specifier(self.requirement.specifier)
        for release in releases:
            if not specifier.contains(parse_version(release.version), prereleases=False):
                continue
            for wheel in release.wheels:
                if wheel.yanked is None and any(fnmatchcase(wheel.filename, pattern) for pattern in self.patterns):
                    yield wheel


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a list: wheels in the table now, those that were read this time, and those that failed."""

    wheels: int
    read: int
    bytes: int
    failed: tuple[str, ...]


def parse_list(text: str, place: str) -> tuple[Wanted, ...]:
    """A list of wheels: a line is a requirement (PEP 508), then patterns of file names; `#` begins a comment.

    `torch >=2.9 *-cp312-*x86_64.whl`. Without a pattern all wheels count. Raises UsageError with the line's number.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        patterns = tuple(word for word in words if word.endswith(".whl"))
        try:
            found.append(Wanted(parse_requirement(" ".join(w for w in words if w not in patterns)), patterns or ("*",)))
        except InvalidRequirement as error:
            raise UsageError(f"{place}:{number}: {error}") from error
    return tuple(found)


def publish(wanted: Sequence[Wanted], output: Path, project: Project) -> Published:
    """Add what `output` lacks of the wheels asked for, from the project's default index, and write it.

    The table is written as the work goes on, so that whoever stops loses little. A wheel that fails is named and left
    out. Raises NetworkError, StoreError.
    """
    held = {str(wheel.facts.sha256): wheel for wheel in PublishedFacts(output).wheels()}
    return asyncio.run(_publish(wanted, output, project, held))


async def _publish(
    wanted: Sequence[Wanted], output: Path, project: Project, held: dict[str, PublishedWheel]
) -> Published:
    read, amount, failed = 0, 0, []
    ahead, reading = asyncio.Semaphore(AHEAD), asyncio.Lock()

    async def one(client: "IndexClient", wheel: WheelFile, folder: Path) -> None:
        nonlocal read, amount
        async with ahead:
            try:
                whole, path = await _fetch(client, wheel, folder, project)
                async with reading:
                    facts = await asyncio.to_thread(_read, path, str(whole.sha256))
            except GpuenvError as error:
                failed.append(f"{wheel.filename}: {error.message}")
                return
            finally:
                (folder / wheel.filename).unlink(missing_ok=True)
        held[str(whole.sha256)] = facts
        read, amount = read + 1, amount + (whole.size or 0)
        if read % _SAVED_EVERY == 0:
            write_atomically(output, encode_table(held.values()))

    async with project.client() as client:
        todo = [wheel for wheel in await _listed(client, wanted, project) if wheel.sha256 not in held]
        with tempfile.TemporaryDirectory(prefix="gpuenv-facts-") as folder:
            await asyncio.gather(*(one(client, wheel, Path(folder)) for wheel in todo))
    write_atomically(output, encode_table(held.values()))
    return Published(len(held), read, amount, tuple(failed))


async def _listed(client: "IndexClient", wanted: Sequence[Wanted], project: Project) -> list[WheelFile]:
    """The wheels of a list, each once, line by line."""
    pages = await asyncio.gather(*(client.page(line.requirement.name, project.default_index) for line in wanted))
    missing = [line.requirement.name for line, page in zip(wanted, pages, strict=True) if page is None]
    if missing:
        raise UsageError(f"the index does not know {', '.join(missing)}")
    found = [
        wheel
        for line, page in zip(wanted, pages, strict=True)
        if page is not None
        for wheel in line.wheels(page.releases)
    ]
    return list({wheel.filename: wheel for wheel in found}.values())


async def _fetch(client: "IndexClient", wheel: WheelFile, folder: Path, project: Project) -> tuple[WheelFile, Path]:
    whole = await client.complete(wheel, project.default_index)
    path = folder / wheel.filename
    project.progress.begin(wheel.filename, whole.size)
    try:
        await client.download(
            whole.url,
            sha256=str(whole.sha256),
            size=int(whole.size or 0),
            index=project.default_index,
            into=path,
            progress=lambda amount: project.progress.advance(wheel.filename, amount),
        )
    finally:
        project.progress.end(wheel.filename)
    return whole, path


def _read(path: Path, sha256: str) -> PublishedWheel:
    with open_tree(path) as tree:
        return PublishedWheel(path.name, read_artifact(tree, sha256))
