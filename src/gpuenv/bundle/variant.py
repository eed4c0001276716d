"""What makes a wheel a variant: the label in its name, and `variant.json` in its `.dist-info` (PEP 825, 850).

The same document with all labels of a version is `NAME-VERSION-variants.json` of an index. Both name for each namespace
the plugin that tells what a machine supports: with no such provider, installers take no wheel of that namespace.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from gpuenv.bundle.amend import Amendment
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.default_extras import DefaultExtras
from gpuenv.model.packing import VariantClaim
from gpuenv.model.requirement import InvalidRequirement, parse_requirement
from gpuenv.model.variants import (
    ABI_DEPENDENCY,
    NULL,
    BadVariants,
    Property,
    VariantProvider,
    Variants,
    merge,
    parse_property,
    parse_variants,
)

__all__ = ["amendment_of", "digest_label", "encode_variants", "merged", "variant_of"]

SCHEMA = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
# What tells the properties of a machine: distribution and, where it is not the default, the object that is called.
_PROVIDERS = {
    "nvidia": ("nvidia-variant-provider", "nvidia_variant_provider.plugin:NvidiaVariantPlugin"),
    "amd": ("rocm-bootstrap", "rocm_bootstrap.variant_provider:AMDVariantPlugin"),
    "intel": ("intel-variant-provider", None),
    "x86_64": ("x86-64-variant-provider", None),
    "aarch64": ("aarch64-variant-provider", None),
    "tpu": ("tpu-variant-provider", "tpu_variant_provider.plugin:TpuVariantPlugin"),
}


def amendment_of(claim: VariantClaim | None, extras: DefaultExtras | None) -> Amendment:
    """What a publisher adds, written out; raises UsageError as `variant_of` does."""
    if claim is None:
        return Amendment(extras=extras)
    variants = variant_of(claim)
    return Amendment(encode_variants(variants), next(iter(variants.labels)), extras)


def variant_of(claim: VariantClaim) -> Variants:
    """The document of one wheel; raises UsageError for a claim that the standards do not know."""
    try:
        properties = sorted({parse_property(text) for text in claim.properties})
    except ValueError as error:
        raise UsageError(str(error), hints=["for example --variant 'amd :: gfx_arch :: gfx942'"]) from None
    used = list(dict.fromkeys(parse_property(text).namespace for text in claim.properties))
    namespaces = list(dict.fromkeys(claim.namespaces or used))
    if missing := [name for name in used if name not in namespaces]:
        raise UsageError(f"the namespaces {', '.join(namespaces)} leave out {missing[0]}, which the variant uses")
    if not namespaces:
        hints = ["name those of the other variants: --variant-namespace amd"]
        raise UsageError("a variant without properties must say which namespaces its version has", hints=hints)
    if unused := sorted(claim.providers.keys() - set(namespaces)):
        raise UsageError(f"{unused[0]} has a provider, and is no namespace of the variant")
    label = claim.label or (digest_label(properties) if properties else NULL)
    if (label == NULL) != (not properties):
        raise UsageError(f"the label `{NULL}` is that of the variant without properties, and of no other")
    providers = {name: _provider(name, claim.providers.get(name)) for name in namespaces}
    try:
        return parse_variants(_document(namespaces, {label: properties}, providers), label)
    except BadVariants as error:
        raise UsageError("no variant can be written", causes=[str(error)]) from None


def digest_label(properties: Iterable[Property]) -> str:
    """The label of a variant that nobody named: of the SHA-256 of its properties, as variantlib has it."""
    text = "".join(f"{one}\n" for one in sorted(properties))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def merged(stated: Sequence[tuple[str, Variants]]) -> Variants:
    """What the variants of one version say together. stated: file name and its document, at least one.

    Raises ArchiveError that names two files that contradict each other.
    """
    found = stated[0][1]
    for number, (filename, variants) in enumerate(stated):
        try:
            found = merge(found, variants)
        except BadVariants as error:
            other = next((name for name, before in stated[:number] if _contradict(before, variants)), stated[0][0])
            raise ArchiveError(
                f"{other} and {filename} contradict each other as variants of one version",
                causes=[str(error)],
                hints=["name the same namespaces for both: gpuenv repack --variant-namespace …"]
                if found.namespaces != variants.namespaces
                else [],
            ) from None
    return found


def _contradict(one: Variants, other: Variants) -> bool:
    try:
        merge(one, other)
    except BadVariants:
        return True
    return False


def encode_variants(variants: Variants) -> bytes:
    """The document; the same variants give the same bytes. Without providers it has the schema that it was read by."""
    providers = {name: _written(provider) for name, provider in variants.providers.items()}
    return _document(variants.namespaces, variants.labels, providers, SCHEMA if providers else variants.schema)


def _document(
    namespaces: Iterable[str],
    labels: Mapping[str, Iterable[Property]],
    providers: Mapping[str, Mapping[str, object]],
    schema: str = SCHEMA,
) -> bytes:
    document = {
        "$schema": schema,
        "default-priorities": {"namespace": list(namespaces)},
        **({"providers": dict(sorted(providers.items()))} if providers else {}),
        "variants": {label: _tables(properties) for label, properties in sorted(labels.items())},
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _tables(properties: Iterable[Property]) -> dict[str, dict[str, list[str]]]:
    """Values by namespace and feature, each sorted."""
    return {
        namespace: {
            feature: [one.value for one in values] for feature, values in groupby(within, key=lambda one: one.feature)
        }
        for namespace, within in groupby(sorted(properties), key=lambda one: one.namespace)
    }


def _provider(namespace: str, stated: str | None) -> dict[str, object]:
    if namespace == ABI_DEPENDENCY:
        return {"builtin": ABI_DEPENDENCY}
    if stated is None and namespace not in _PROVIDERS:
        hints = [f"name it: --variant-provider {namespace}=REQUIREMENT"]
        raise UsageError(f"nobody is known to tell which properties of `{namespace}` a machine has", hints=hints)
    requirement, plugin = (stated, None) if stated is not None else _PROVIDERS[namespace]
    try:
        name = parse_requirement(str(requirement)).name
    except InvalidRequirement:
        raise UsageError(f"`{requirement}` is not a requirement (PEP 508)") from None
    plugin = plugin or next((api for known, api in _PROVIDERS.values() if known == name), None)
    return {"requires": [str(requirement)], **({"plugin-api": plugin} if plugin else {})}


def _written(provider: VariantProvider) -> dict[str, object]:
    found: dict[str, object] = {"optional": True} if provider.optional else {}
    if provider.builtin:
        return found | {"builtin": provider.builtin}
    if provider.static:
        order = [feature for feature, _ in provider.static]
        found["static-properties"] = {feature: list(values) for feature, values in provider.static}
        return found | ({"feature-order": order} if len(order) > 1 else {})
    found["requires"] = list(provider.requires)
    return found | ({"plugin-api": provider.plugin_api} if provider.plugin_api else {})
