"""Bundles of wheels that a test made."""

import hashlib
from pathlib import Path

from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.bundle.repack import bundle_name, repack
from gpuenv.model.facts import NativeFacts

__all__ = ["digest_of", "facts_in", "make_bundle"]


def make_bundle(wheel: Path, *, restore_links: bool = False, facts: NativeFacts | None = None) -> Path:
    """Repack a wheel beside it; returns the bundle's path. The wheel stays. facts: what the bundle says of itself."""
    bundle = wheel.with_name(bundle_name(wheel.name))
    with bundle.open("wb") as file:
        repack(wheel, file.write, sha256=digest_of(wheel), restore_links=restore_links, facts=facts)
    return bundle


def facts_in(path: Path) -> NativeFacts:
    """What the binaries of a wheel or bundle say."""
    with open_tree(path) as tree:
        return read_artifact(tree, digest_of(path))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
