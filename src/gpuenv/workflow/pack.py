"""pack: an installed tree becomes bundles; what names its place is made relative, what its binaries say is told."""

import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from gpuenv.archive.parts import File, Link, Tree
from gpuenv.bundle.arrange import Arranged, Place, arrange, locate
from gpuenv.bundle.pack import Identity, PackedFile, PackPlan, plans, root_of, unmet, version_of, write_pack
from gpuenv.bundle.prefix import Relocator, pc_prefix
from gpuenv.bundle.split import RUNTIME, Part, split
from gpuenv.bundle.tag import check_tag, fitting_tag
from gpuenv.bundle.tree import FoundFile, FoundTree, chunks_of, read_part, read_tree
from gpuenv.bundle.variant import amendment_of
from gpuenv.errors import UsageError
from gpuenv.model.facts import NativeFacts
from gpuenv.model.made import Made
from gpuenv.model.packing import Mentioned, PackedBundle, Packing, PackSettings, SonameNeed
from gpuenv.model.requirement import Requirement
from gpuenv.model.version import normal_name
from gpuenv.workflow.facts import read_tree as read_facts
from gpuenv.workflow.facts import sha256_of
from gpuenv.workflow.outputs import write_outputs
from gpuenv.workflow.packed_paths import repathed
from gpuenv.workflow.project import Project
from gpuenv.workflow.published import shipped_providers

if TYPE_CHECKING:
    from gpuenv.model.manifest import Index, Manifest
    from gpuenv.model.providers import ProviderTable

__all__ = ["pack", "settings_of"]

_TEXT = 16 << 20  # bytes of a file that may be rewritten


class _Prepared(NamedTuple):
    """Files as they will be packed, by path in the environment, and what they say."""

    files: dict[str, PackedFile]
    facts: NativeFacts
    rewritten: tuple[str, ...]
    mentioned: tuple[Mentioned, ...]
    warnings: tuple[str, ...]


def settings_of(project: Project) -> PackSettings | None:
    """What `[tool.gpuenv.pack]` of the project says, its folders absolute; None where there is no such table."""
    manifest = _manifest(project)
    if manifest is None or manifest.pack is None:
        return None
    said = manifest.pack
    return replace(
        said,
        tree=str(project.root / said.tree) if said.tree else None,
        output=str(project.root / said.output) if said.output else None,
    )


def _manifest(project: Project) -> "Manifest | None":
    """The manifest of a project; None where there is no pyproject.toml, or one that is for other tools alone."""
    from gpuenv.toml.read import SyntaxProblem, parse

    if not project.manifest_path.is_file():
        return None
    data = parse(project.manifest_text())
    return project.manifest if isinstance(data, SyntaxProblem) or "project" in data else None


def pack(project: Project, settings: PackSettings, *, dry_run: bool = False, force: bool = False) -> Packing:
    """Pack a tree. dry_run: write nothing. force: replace bundles that hold something else.

    Raises UsageError for what is not said or cannot be, ArchiveError for a tree that cannot be packed, Occupied.
    """
    folder, identity = _asked(settings)
    tree = read_tree(folder, settings.exclude)
    place = locate(tree, settings.prefix, _meant(folder, tree))
    arranged = arrange(tree, place)
    if not arranged.files:
        raise UsageError(f"{folder} holds nothing to pack")
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as scratch:
        prepared = _prepared(project, tree, place, arranged, root_of(identity), Path(scratch))
        if settings.tag:
            check_tag(settings.tag, prepared.facts)
        identity = identity._replace(tag=settings.tag or fitting_tag(prepared.facts))
        needs = _needs(project, settings, prepared.facts, arranged, identity)
        requires = (*settings.requires, *(need.requirement for need in needs if need.requirement))
        wanted = plans(
            identity,
            _parts(arranged, prepared, settings, identity),
            prepared.files,
            prepared.facts,
            requires,
            amendment_of(settings.variant, settings.default_extras),
        )
        made = [] if dry_run else _write(project, wanted, folder, settings, force=force)
    return Packing(
        tree=str(folder),
        prefix=place.inside,
        bundles=tuple(_told(plan, made[number] if made else None) for number, plan in enumerate(wanted)),
        needs=needs,
        left_out=tuple((one.path, one.reason) for one in arranged.left_out),
        rewritten=prepared.rewritten,
        mentioned=prepared.mentioned,
        warnings=prepared.warnings,
    )


def _asked(settings: PackSettings) -> tuple[Path, Identity]:
    """The tree, and what its bundles are called but for the tag."""
    missing = [flag for flag in ("tree", "name", "version") if getattr(settings, flag) is None]
    if missing:
        text = " and ".join("TREE" if flag == "tree" else f"--{flag}" for flag in missing)
        hints = ["gpuenv pack TREE --name NAME --version VERSION", "or say it in [tool.gpuenv.pack] of pyproject.toml"]
        raise UsageError(f"{text} is missing", hints=hints)
    folder = Path(str(settings.tree))
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}", hints=["unpack it first"] if folder.is_file() else [])
    if Path(settings.output or ".").resolve().is_relative_to(folder.resolve()):
        hints = ["name a folder beside it: --output ../dist"]
        raise UsageError("bundles cannot be written into the tree that they are made of", hints=hints)
    name = str(settings.name)
    if not _is_name(name):
        raise UsageError(f"`{name}` is not a name", hints=["letters and digits, with `.`, `_` and `-` between"])
    summary = " ".join((settings.summary or "").split())
    return folder.absolute(), Identity(normal_name(name), version_of(str(settings.version)), "", summary)


def _is_name(text: str) -> bool:
    return text.isascii() and all(part.isalnum() for part in text.replace("_", "-").replace(".", "-").split("-"))


def _meant(folder: Path, tree: FoundTree) -> Iterator[str]:
    """Further absolute paths that mean the tree: where links to it lead, and what its pkg-config files say."""
    if not any(f"{top}" in tree.folders for top in ("usr", "opt")):
        yield str(folder.resolve())
    for file in tree.files:
        if file.path.endswith(".pc") and file.size < _TEXT and (found := pc_prefix(read_part(file, 0, file.size))):
            yield found


def _prepared(
    project: Project, tree: FoundTree, place: Place, arranged: Arranged, root: str, scratch: Path
) -> _Prepared:
    paths = {"", *tree.folders, *(file.path for file in tree.files), *(link.path for link in tree.links)}
    linked = {posixpath.normpath(posixpath.join(posixpath.dirname(path), to)) for path, to in arranged.links}
    relocator = Relocator(place, frozenset(paths), frozenset(linked))
    links = [Link(f"{root}{link.path}", link.target, "tar") for link in arranged.links]
    facts = _facts(project, tree.folder.name, arranged.files, links, root)
    ways = repathed(arranged.files, facts, root, relocator, scratch, project.environ)
    if ways.files:
        again = _facts(project, "what was rewritten", ways.files, (), root)
        by_path = {found.path: found for found in again.objects}
        facts = facts.with_objects(tuple(by_path.get(found.path, found) for found in facts.objects))
    current = arranged.files | ways.files
    original = {path: file.path for path, file in arranged.files.items()}
    packed: dict[str, PackedFile] = {}
    rewritten, mentioned = list(ways.files), []
    label = f"looking for {place.prefixes[-1]}"
    project.progress.begin(label, sum(file.size for file in current.values()))

    def look(path: str) -> _Looked:
        return _look(relocator, path, original[path], current[path], ways.told.get(path, ()))

    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for path, looked in zip(current, pool.map(look, current), strict=True):
                packed[path] = looked.file
                rewritten += [path] if looked.changed else []
                mentioned += [looked.mentioned] if looked.mentioned else []
                project.progress.advance(label, looked.file.size)
    finally:
        project.progress.end(label)
    damaged = (f"{one.path.removeprefix(root)} is a damaged binary: {one.problem}" for one in facts.damaged)
    warnings = (*ways.warnings, *damaged)
    return _Prepared(packed, facts, tuple(sorted(rewritten)), tuple(mentioned), warnings)


def _facts(project: Project, name: str, files: dict[str, FoundFile], links: Sequence[Link], root: str) -> NativeFacts:
    """What the binaries among some files say. root: put before their paths."""
    held = tuple(
        File(f"{root}{path}", file.size, None, partial(read_part, file), partial(chunks_of, file))
        for path, file in files.items()
    )
    with Tree(name, "folder", sum(file.size for file in held), held, links) as tree:
        return read_facts(tree, None, name, project)


class _Looked(NamedTuple):
    file: PackedFile
    changed: bool
    mentioned: Mentioned | None


def _look(relocator: Relocator, path: str, source: str, file: FoundFile, told: Sequence[str]) -> _Looked:
    """One file as it will be packed: rewritten if its format allows it, hashed, and searched for the prefix."""
    head = read_part(file, 0, 2)
    data, changed = None, False
    if file.size <= _TEXT and (head == b"#!" or path.endswith((".pc", ".cmake"))):
        before = read_part(file, 0, file.size)
        data = relocator.rewritten(source, path, before)
        changed = data != before
    chunks = partial(_pieces, data) if data is not None and changed else partial(chunks_of, file)
    digest = sha256()

    def hashed() -> Iterator[bytes]:
        for piece in chunks():
            digest.update(piece)
            yield piece

    found = relocator.scan(hashed(), told=told)
    mentioned = Mentioned(path, found.text, found.line, found.times) if found else None
    if mentioned is None and data is not None and relocator.stale(source, path, data):
        mentioned = Mentioned(path, "../..", 0, 1)
    size = len(data) if data is not None and changed else file.size
    packed = PackedFile(path, source, size, file.executable, digest.digest(), chunks)
    return _Looked(packed, changed, mentioned)


def _pieces(data: bytes) -> Iterator[bytes]:
    yield data


def _parts(arranged: Arranged, prepared: _Prepared, settings: PackSettings, identity: Identity) -> tuple[Part, ...]:
    if not settings.split:
        return (Part(RUNTIME, None, tuple(prepared.files), arranged.links),)
    root = root_of(identity)
    objects = {found.path.removeprefix(root): found for found in prepared.facts.objects}
    return split(prepared.files, arranged.links, objects)


def _needs(
    project: Project, settings: PackSettings, facts: NativeFacts, arranged: Arranged, identity: Identity
) -> tuple[SonameNeed, ...]:
    root = root_of(identity)
    wanted = unmet(facts, arranged.links)
    found = _providers(project, set(wanted) - set(settings.provides), identity.name) if wanted else {}
    return tuple(
        SonameNeed(
            soname,
            tuple(path.removeprefix(root) for path in by),
            settings.provides.get(soname) or found.get(soname),
        )
        for soname, by in wanted.items()
    )


def _providers(project: Project, sonames: set[str], own: str) -> dict[str, Requirement]:
    """Who brings sonames: the project's table, those of its indexes, the one that is shipped; never `own`."""
    manifest = _manifest(project)
    tables: list[Callable[[str], Sequence[Requirement]]] = []
    if manifest is not None:
        tables.append(lambda soname: manifest.rules.providers.get(soname, ()))
        tables += [table.of for table in _served(project, manifest.indexes)] if manifest.indexes and sonames else []
    tables.append(shipped_providers().of)
    found = {}
    for soname in sorted(sonames):
        rows = (one for table in tables for one in table(soname) if one.name != own)
        if (first := next(rows, None)) is not None:
            found[soname] = first
    return found


def _served(project: Project, indexes: "Sequence[Index]") -> "list[ProviderTable]":
    """The tables of those indexes that have one."""
    import asyncio

    async def ask() -> "list[ProviderTable | None]":
        async with project.client() as client:
            return [await client.provides(index) for index in indexes]

    return [table for table in asyncio.run(ask()) if table is not None]


def _write(
    project: Project, wanted: Sequence[PackPlan], folder: Path, settings: PackSettings, *, force: bool
) -> list[Made]:
    output = Path(settings.output or ".")
    paths = [output / plan.filename for plan in wanted]
    fills = [partial(_fill, project, plan, settings.best) for plan in wanted]
    written = write_outputs(zip(paths, fills, strict=True), force=force)
    return [
        Made(path, folder, sha256_of(path), path.stat().st_size, _size(plan), len(plan.links), state)
        for plan, path, (state, _) in zip(wanted, paths, written, strict=True)
    ]


def _fill(project: Project, plan: PackPlan, best: bool, file: IO[bytes]) -> None:
    label = f"packing {plan.filename}"
    project.progress.begin(label, _size(plan))
    try:
        shown = replace(plan, files=tuple(_shown(one, label, project) for one in plan.files))
        write_pack(file.write, shown, best=best)
    finally:
        project.progress.end(label)


def _size(plan: PackPlan) -> int:
    return sum(file.size for file in plan.files)


def _shown(file: PackedFile, label: str, project: Project) -> PackedFile:
    """The same file; whoever reads it sees the step advance."""

    def chunks() -> Iterator[bytes]:
        for piece in file.chunks():
            project.progress.advance(label, len(piece))
            yield piece

    return file._replace(chunks=chunks)


def _told(plan: PackPlan, made: Made | None) -> PackedBundle:
    return PackedBundle(
        filename=plan.filename,
        name=plan.identity.name,
        version=plan.identity.version,
        tag=plan.identity.tag,
        files=tuple((file.path, file.source) for file in plan.files),
        links=tuple((link.path, link.target) for link in plan.links),
        sonames=plan.sonames,
        requires=plan.requires,
        extras=tuple(extra for extra, _ in plan.extras),
        bytes=_size(plan),
        label=plan.amendment.label,
        default_extras=plan.amendment.extras or (),
        made=made,
    )
