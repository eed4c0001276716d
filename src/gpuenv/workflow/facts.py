"""What is known of an artifact's binaries, wherever it is known: kept from before, published, stated, or read now."""

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpuenv.model.demand import Learnt
from gpuenv.model.distribution import WheelFile
from gpuenv.model.facts import SCHEMA, NativeFacts, decode_facts, encode_facts
from gpuenv.model.version import distribution_of
from gpuenv.workflow.project import Project, write_atomically
from gpuenv.workflow.published import PublishedFacts

if TYPE_CHECKING:
    from gpuenv.archive.tree import Tree
    from gpuenv.index import IndexClient
    from gpuenv.model.manifest import Index

__all__ = ["FactsCache", "OfferedFacts", "WheelFacts", "read_tree", "sha256_of"]


class FactsCache:
    """Facts by the sha256 of their artifact, one JSON file each; an unwritable folder forgets.

    stated: for artifacts whose digest is what an index says, of which only parts were compared with anything. They are
    believed as far as the index is, and kept apart from those that were hashed here.
    """

    def __init__(self, cache: Path, *, stated: bool = False) -> None:
        self._folder = cache / (f"facts-stated-v{SCHEMA}" if stated else f"facts-v{SCHEMA}")
        self._stated = stated

    def get(self, sha256: str) -> NativeFacts | None:
        """What was kept; None for nothing, and for what is not whole."""
        try:
            facts = decode_facts(self._path(sha256).read_bytes())
        except OSError:
            return None
        return facts if facts is not None and (self._stated or facts.sha256 == sha256) else None

    def put(self, sha256: str | None, facts: NativeFacts) -> None:
        """Keep facts of an artifact whose sha256 is known."""
        if sha256 is None:
            return
        path = self._path(sha256)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, encode_facts(facts), durable=False)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}.json"


class OfferedFacts:
    """Facts that indexes offer beside their files, by digest and server: nobody speaks for another one's files."""

    def __init__(self, cache: Path) -> None:
        self._facts = FactsCache(cache / "offered", stated=True)

    def get(self, sha256: str, url: str) -> NativeFacts | None:
        """What the server behind a file's URL said of it."""
        return self._facts.get(_key(sha256, url))

    def put(self, sha256: str, url: str, facts: NativeFacts) -> None:
        """Keep what it says."""
        self._facts.put(_key(sha256, url), facts)


def _key(sha256: str, url: str) -> str:
    server = urlsplit(url).netloc.rpartition("@")[2]
    return hashlib.sha256(f"{sha256} {server}".encode()).hexdigest()


class WheelFacts:
    """The native facts of wheels that an index offers, for a solve.

    Known ones at once, then those that the index or a bundle states, others by reading the wheel.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._kept = FactsCache(project.cache)
        self._offered = OfferedFacts(project.cache)
        self._stated = FactsCache(project.cache, stated=True)
        self._published = PublishedFacts()

    def known(self, wheel: WheelFile) -> NativeFacts | None:
        """What is known without asking anybody."""
        digest = wheel.sha256
        if digest is None:
            return None
        published = self._published.get(distribution_of(wheel.filename), digest)
        if published is not None:
            return published
        kept, offered, stated = self._kept.get(digest), self._offered.get(digest, wheel.url), self._stated.get(digest)
        # what a lock relies on from now on: sync compares with that
        if kept is not None and stated is not None and kept.objects != stated.objects:
            self._stated.put(digest, kept)
        if kept is not None and offered is not None and kept.objects != offered.objects:
            self._offered.put(digest, wheel.url, kept)
        return kept or offered or stated

    async def said(self, wheel: WheelFile, index: "Index | None", client: "IndexClient") -> NativeFacts | None:
        """What the index says of the wheel's binaries, or a bundle of its own; nobody compared it with them."""
        found = await client.native(wheel, index)
        if found is not None and wheel.sha256 is not None:
            self._offered.put(wheel.sha256, wheel.url, found)
        elif wheel.is_bundle:
            found = (await client.about(wheel, index)).facts
        return found

    def learnt(self, wheel: WheelFile) -> Learnt:
        """How the facts of a wheel that a lock relies on are known: published ones count before all others."""
        published = wheel.sha256 and self._published.get(distribution_of(wheel.filename), wheel.sha256)
        return "published" if published else "read"

    def read(self, wheel: WheelFile, index: "Index | None") -> NativeFacts:
        """The facts that the wheel itself holds: from a file here, or by those parts of a far one that matter."""
        # dear to import, and most locks read no wheel
        from gpuenv.archive.tree import open_tree, open_tree_from
        from gpuenv.index.folder import path_of
        from gpuenv.index.remote import open_remote

        project = self._project
        if wheel.url.startswith("file:"):
            tree = open_tree(path_of(wheel.url))
        else:
            # by its digest it is found where it had to be downloaded whole
            url = f"{wheel.url}#sha256={wheel.sha256}" if wheel.sha256 else wheel.url
            source = open_remote(
                url, index=index, cache_dir=project.cache, offline=project.offline, environ=project.environ
            )
            tree = open_tree_from(wheel.filename, source)
        with tree:
            facts = read_tree(tree, None, wheel.filename, project)
        self._stated.put(wheel.sha256, facts)
        return facts


def read_tree(tree: "Tree", sha256: str | None, name: str, project: Project) -> NativeFacts:
    """The facts that an open artifact holds, with progress under its name. sha256: of all its bytes, where seen."""
    from gpuenv.binaries.artifact import bytes_to_read, read_artifact

    label = f"reading {name}"
    project.progress.begin(label, bytes_to_read(tree))
    try:
        return read_artifact(tree, sha256, progress=lambda amount: project.progress.advance(label, amount))
    finally:
        project.progress.end(label)


def sha256_of(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
