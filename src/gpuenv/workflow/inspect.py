"""inspect: what wheels, bundles, archives, folders, single files and URLs say of their binaries."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpuenv.archive.tree import Tree, open_tree, open_tree_from
from gpuenv.binaries.artifact import read_objects
from gpuenv.errors import UsageError
from gpuenv.model.coverage import coverage
from gpuenv.model.facts import NativeFacts, ObjectFacts, encode_facts, with_damage
from gpuenv.model.filename import BUNDLE, stem_of
from gpuenv.model.version import distribution_of
from gpuenv.workflow.facts import FactsCache, read_tree, sha256_of
from gpuenv.workflow.project import Project, write_atomically
from gpuenv.workflow.published import PublishedFacts

if TYPE_CHECKING:
    from gpuenv.model.architecture import Gpu

__all__ = ["Inspected", "PublishedFacts", "gpus_of_target", "inspect", "serves", "unserved", "write_sidecar"]

Origin = Literal["read", "kept", "published"]
_URL = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Inspected:
    """One artifact and what it says. path: as asked. origin: where its facts were known."""

    path: str
    facts: NativeFacts
    origin: Origin

    @property
    def name(self) -> str:
        """The last part of its path."""
        return _last(self.path)


def inspect(asked: Sequence[str], project: Project) -> Iterator[Inspected]:
    """The facts of each artifact in turn; a folder of wheels stands for its wheels.

    Facts of a known sha256 are taken from the cache or the published table, unless the project's `refresh` is set.
    What a bundle on this machine says of itself, and is not so, is damage. Raises UsageError for what does not exist,
    ArchiveError for what is damaged, NetworkError.
    """
    for path in _expanded(asked):
        with _opened(path, project) as (tree, sha256):
            found = _inspected(path, tree, sha256, project)
        yield _held_to_its_word(found) if _last(path).endswith(BUNDLE) and not path.startswith(_URL) else found


def unserved(asked: Sequence[str], gpus: Sequence["Gpu"], project: Project) -> list[tuple[str, "Gpu"]]:
    """The artifacts, each with a GPU, that have no code for it: found by reading no more than it takes."""
    missing = []
    for path in _expanded(asked):
        left = set(gpus)
        with _opened(path, project) as (tree, _):
            for finding in read_objects(tree):
                facts = finding.facts
                if isinstance(facts, ObjectFacts):
                    left = {gpu for gpu in left if not coverage(facts, gpu).served}
                if not left:
                    break
        missing += [(path, gpu) for gpu in gpus if gpu in left]
    return missing


def serves(facts: NativeFacts, gpu: "Gpu") -> bool:
    """Has any object of the artifact code for the GPU?"""
    return any(coverage(found, gpu).served for found in facts.objects)


def gpus_of_target(project: Project, name: str) -> tuple[str, ...]:
    """The GPUs that a target of the project names."""
    targets = project.manifest.targets
    if name not in targets:
        raise UsageError(f"`{name}` is not a target of this project", hints=[f"--target {name}" for name in targets])
    if not targets[name].gpu:
        raise UsageError(f"target `{name}` has no GPU", hints=["name one: --gpu sm_90"])
    return targets[name].gpu


def write_sidecar(inspected: Inspected) -> Path:
    """Write the facts beside the file, as `<file>.native.json`; returns where."""
    path = Path(inspected.path)
    if not path.is_file():
        raise UsageError(f"{inspected.path} is not a file: a sidecar lies beside one")
    sidecar = path.with_name(f"{path.name}.native.json")
    write_atomically(sidecar, encode_facts(inspected.facts))
    return sidecar


def _inspected(path: str, tree: Tree, sha256: str | None, project: Project) -> Inspected:
    kept = FactsCache(project.cache)
    if sha256 is not None and not project.refresh:
        known = kept.get(sha256)
        if known is not None:
            return Inspected(path, known, "kept")
        known = PublishedFacts().get(distribution_of(_last(path)), sha256)
        if known is not None:
            return Inspected(path, known, "published")
    # what a URL says of itself was compared with nothing: it may find facts, not name them
    seen = None if path.startswith(_URL) else sha256
    facts = read_tree(tree, seen, _last(path), project)
    kept.put(facts.sha256, facts)
    return Inspected(path, facts, "read")


def _held_to_its_word(found: Inspected) -> Inspected:
    """A bundle; with what it says of its own binaries and is not so as damage."""
    from gpuenv.archive.bundled import NATIVE
    from gpuenv.workflow.verify import lie_of

    lie = lie_of(Path(found.path), found.name, found.facts)
    if lie is None:
        return found
    return replace(found, facts=with_damage(found.facts, NATIVE, f"differs from the binaries: {lie}"))


def _expanded(asked: Sequence[str]) -> Iterator[str]:
    """A folder that holds wheels stands for them; any other folder for the tree below it."""
    for text in asked:
        folder = None if text.startswith(_URL) else Path(text)
        if folder is not None and not folder.exists():
            raise UsageError(f"there is no {text}")
        inside = folder.iterdir() if folder is not None and folder.is_dir() else ()
        wheels = sorted(path for path in inside if stem_of(path.name) is not None)
        yield from map(str, wheels) if wheels else [text]


@contextmanager
def _opened(path: str, project: Project) -> Iterator[tuple[Tree, str | None]]:
    """The tree of an artifact, and its sha256 where that is known or cheap to know."""
    if path.startswith(_URL):
        from gpuenv.index.remote import open_remote  # the HTTP library takes a fifth of a second to import

        source = open_remote(path, cache_dir=project.cache, offline=project.offline, environ=project.environ)
        with open_tree_from(_last(path), source) as tree:
            yield tree, source.sha256
        return
    place = Path(path)
    digest = sha256_of(place) if place.is_file() else None
    with open_tree(place) as tree:
        yield tree, digest


def _last(path: str) -> str:
    """The last part of a path or URL."""
    return path.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2] if "://" in path else Path(path).name
