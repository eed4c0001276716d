"""Wheels and bundles on this machine, and what their binaries say."""

from pathlib import Path

from gpuenv.archive.tree import open_tree
from gpuenv.model.facts import NativeFacts
from gpuenv.model.version import distribution_of
from gpuenv.workflow.facts import FactsCache, read_tree
from gpuenv.workflow.project import Project
from gpuenv.workflow.published import PublishedFacts

__all__ = ["facts_of"]


def facts_of(path: Path, sha256: str, project: Project) -> NativeFacts:
    """The facts of a wheel or bundle with this digest: kept ones, published ones, or else those read now.

    Raises ArchiveError where it is damaged.
    """
    kept = FactsCache(project.cache)
    if not project.refresh:
        known = kept.get(sha256) or PublishedFacts().get(distribution_of(path.name), sha256)
        if known is not None:
            return known
    with open_tree(path) as tree:
        facts = read_tree(tree, sha256, path.name, project)
    kept.put(sha256, facts)
    return facts
