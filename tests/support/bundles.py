"""Bundles of wheels that a test made."""

import hashlib
from pathlib import Path

from gpuenv.bundle.repack import bundle_name, repack

__all__ = ["make_bundle"]


def make_bundle(wheel: Path, *, restore_links: bool = False) -> Path:
    """Repack a wheel beside it; returns the bundle's path. The wheel stays."""
    bundle = wheel.with_name(bundle_name(wheel.name))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with bundle.open("wb") as file:
        repack(wheel, file.write, sha256=digest, restore_links=restore_links)
    return bundle
