"""Do wheel variants tell the truth: what a lock says of them, and what they claim to have code for (PEP 825)?"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gpuenv.errors import IntegrityError
from gpuenv.model.architecture import parse_gpu
from gpuenv.model.coverage import served
from gpuenv.model.distribution import Metadata
from gpuenv.model.facts import NativeFacts
from gpuenv.model.filename import VARIANT
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.stored import StoredObject
from gpuenv.model.variant_choice import architectures
from gpuenv.model.variants import LIMIT, BadVariants, Property, parse_variants
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.store.store import Store

__all__ = ["empty_claims", "refuse_false_variants"]


def empty_claims(properties: tuple[Property, ...], facts: NativeFacts, metadata: Metadata) -> Iterator[str]:
    """The architectures that a variant names, has no code for, and does not say that others have it for."""
    from gpuenv.solve.device import has_companions  # dear to import, and of no use to sync

    for vendor in ("nvidia", "amd"):
        claimed = architectures(properties, vendor)
        if claimed and not has_companions(metadata, claimed):
            for name in claimed:
                gpu = parse_gpu(name)
                if gpu is not None and served(facts.objects, gpu).best is None:
                    yield name


def refuse_false_variants(
    store: Store, artifacts: Mapping[str, LockedArtifact], objects: Mapping[str, StoredObject]
) -> None:
    """Raise IntegrityError for the first wheel whose label or properties are not those it was locked for.

    artifacts, objects: by package. Wheels that are no variants are not looked at.
    """
    for name, artifact in sorted(artifacts.items()):
        if artifact.variant is None:
            continue
        stored = objects[name]
        lie = _lie(artifact.variant, store.path(stored) / "site-packages" / stored.dist_info / VARIANT)
        if lie:
            raise IntegrityError(
                f"{artifact.filename} is not the variant that it was locked for",
                causes=lie,
                hints=[
                    "report this file to who published it: its index and the wheel do not agree",
                    f"if it was gpuenv.lock that changed: gpuenv lock --upgrade-package {name}",
                ],
            )


def _lie(variant: WheelVariant, path: Path) -> list[str]:
    """What a wheel says of itself, and what its lock says, where they differ; empty where they agree."""
    try:
        with path.open("rb") as file:
            said = parse_variants(file.read(LIMIT + 1), variant.label)
    except FileNotFoundError:
        return ["it has no variant.json"]
    except OSError as error:
        return [f"its variant.json cannot be read: {error.strerror}"]
    except BadVariants as error:
        return [f"its variant.json cannot be used: {error}"]
    found = tuple(map(str, said.labels[variant.label]))
    if found == variant.properties:
        return []
    return [
        f"the wheel says {variant.label} is {', '.join(found) or 'without properties'}",
        f"the lock says {variant.label} is {', '.join(variant.properties) or 'without properties'}",
    ]
