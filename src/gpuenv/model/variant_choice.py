"""Which variants of a wheel serve a target, and which serves best (PEP 825 and 850).

A wheel serves a machine if the machine supports, of every feature that the wheel names, at least one of the values.
What machines support is told by the caller, best first; nothing is looked up here.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from gpuenv.model.markers import VariantEnvironment
from gpuenv.model.variants import ABI_DEPENDENCY, NULL, Property, Supported, Variants
from gpuenv.model.version import normal_name

__all__ = ["abi_requirements", "architectures", "declared", "rank", "served_apart", "why_not"]

_OF_GPUS = frozenset({"nvidia", "amd", "intel"})
# what a vendor's provider calls the architectures that code was compiled for
_ARCHITECTURES = {"nvidia": "sm_arch", "amd": "gfx_arch"}
_NVIDIA = re.compile(r"([0-9]{2,3}[af]?)_(?:real|virtual)\Z")
_LAST = 1 << 62  # greater than any place in a list
_SHOWN = 4  # values that a message names

# (namespace, feature) -> place of the feature, and value -> place of the value
_Places = Mapping[tuple[str, str], tuple[int, Mapping[str, int]]]


def rank(variants: Variants, machines: Sequence[Supported], optional: Collection[str] = frozenset()) -> list[str]:
    """The labels that serve every one of `machines`, best first by the order of PEP 825; `null` is the last.

    machines: what is supported, once for each GPU of the target, once for a target without GPU. optional: namespaces
    the optional providers of which are used. With several machines a feature counts by the place that its best value
    has on the machine where that place is worst, then on the next.
    """
    places = [_places(variants, machine, optional) for machine in machines or ((),)]
    keys = {label: _key(variants, properties, places) for label, properties in variants.labels.items()}
    found = [(label == NULL, key, label) for label, key in keys.items() if key is not None]
    return [label for *_, label in sorted(found)]


def why_not(
    variants: Variants, label: str, machines: Sequence[Supported], optional: Collection[str] = frozenset()
) -> str:
    """Why a label does not serve the machines, in words; "" if it does.

    Told of is the first feature, by the order of the namespaces and then by name, no value of which is supported.
    """
    if label not in variants.labels:
        return f"no properties are known of the label `{label}`"
    for machine in machines or ((),):
        places = _places(variants, machine, optional)
        for (namespace, feature), values in _in_order(variants, variants.labels[label]):
            if _best(places, (namespace, feature), values) is None:
                return _words(variants, namespace, feature, values, places, optional)
    return ""


def served_apart(
    variants: Variants, machines: Sequence[Supported], optional: Collection[str] = frozenset()
) -> tuple[str, ...]:
    """The best label with code for GPUs of each machine ("" if it has none), where none serves all; else nothing.

    What is not empty asks for a target of its own for each label.
    """
    for_gpus = {
        label for label, properties in variants.labels.items() if any(one.namespace in _OF_GPUS for one in properties)
    }
    if not for_gpus or len(machines) < 2 or not for_gpus.isdisjoint(rank(variants, machines, optional)):
        return ()
    ranked = [rank(variants, [machine], optional) for machine in machines]
    best = tuple(next((label for label in labels if label in for_gpus), "") for labels in ranked)
    return best if any(best) else ()


def declared(
    variants: Variants, label: str, machines: Sequence[Supported], optional: Collection[str] = frozenset()
) -> VariantEnvironment:
    """What markers see of a chosen wheel: its properties that one of the machines supports.

    An environment that serves several machines needs what any of them needs.
    """
    places = [_places(variants, machine, optional) for machine in machines or ((),)]
    found = [
        one
        for one in variants.labels.get(label, ())
        if any(_best(each, one[:2], (one.value,)) is not None for each in places)
    ]
    return VariantEnvironment(label, tuple(found))


def abi_requirements(variants: Variants, label: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The distributions that a label's code was built against (PEP 850, `abi_dependency`).

    ((normalised name, (release prefix, ..)), ..): any of the prefixes will do, newest first; `2.9` is `==2.9.*`.
    """
    found: dict[str, list[str]] = {}
    for namespace, feature, value in variants.labels.get(label, ()):
        if _is_abi(variants, namespace) and _is_abi_property(feature, value):
            found.setdefault(normal_name(feature), []).append(value)
    return tuple((name, tuple(sorted(values, key=_release, reverse=True))) for name, values in sorted(found.items()))


def architectures(properties: Iterable[Property], vendor: str) -> tuple[str, ...]:
    """The architectures of a vendor, `nvidia` or `amd`, that properties name, as targets name them: `sm_90`."""
    named = (one for one in properties if one[:2] == (vendor, _ARCHITECTURES.get(vendor)))
    return tuple(dict.fromkeys(_architecture(one) for one in named))


def _architecture(claim: Property) -> str:
    match = _NVIDIA.match(claim.value) if claim.namespace == "nvidia" else None
    return f"sm_{match[1]}" if match else claim.value


def _in_order(variants: Variants, properties: Sequence[Property]) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """Each feature of sorted properties with its values, by the order of the namespaces."""
    features: dict[tuple[str, str], list[str]] = {}
    for namespace, feature, value in properties:
        features.setdefault((namespace, feature), []).append(value)
    for which in sorted(features, key=lambda which: (variants.namespaces.index(which[0]), which[1])):
        yield which, tuple(features[which])


def _key(
    variants: Variants, properties: Sequence[Property], places: Sequence[_Places]
) -> list[tuple[tuple[int, ...], ...]] | None:
    """What a variant is sorted by, lowest first; None if some machine supports nothing of one of its features.

    For each feature: namespace, feature and best value, the latter two as places on each machine, worst first.
    """
    keys = []
    for which, values in _in_order(variants, properties):
        best = [_best(each, which, values) for each in places]
        found = [one for one in best if one is not None]
        if len(found) < len(best):
            return None
        feature, value = (tuple(sorted(side, reverse=True)) for side in zip(*found, strict=True))
        keys.append(((variants.namespaces.index(which[0]),), feature, value))
    return [*sorted(keys), ((_LAST,),)]


def _best(places: _Places, which: tuple[str, str], values: Sequence[str]) -> tuple[int, int] | None:
    """The places of a feature and of the best of its values on one machine; None where it supports no value."""
    if which not in places:
        return None
    feature, known = places[which]
    best = min((known[value] for value in values if value in known), default=None)
    return None if best is None else (feature, best)


def _places(variants: Variants, machine: Supported, optional: Collection[str]) -> _Places:
    stated = dict(machine)
    found: dict[tuple[str, str], tuple[int, Mapping[str, int]]] = {}
    for namespace in variants.namespaces:
        features = _features(variants, namespace, stated, optional)
        for at, (feature, values) in enumerate(features):
            found.setdefault((namespace, feature), (at, _numbered(values)))
    return found


@lru_cache(maxsize=64)
def _numbered(values: tuple[str, ...]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for at, value in enumerate(values):
        found.setdefault(value, at)
    return found


def _features(
    variants: Variants,
    namespace: str,
    stated: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]],
    optional: Collection[str],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What is supported of a namespace: by its provider's own list, else by what is stated of the machine."""
    provider = variants.providers.get(namespace)
    if provider is None:
        return stated.get(namespace, ())
    if provider.optional and namespace not in optional:
        return ()
    if provider.builtin is not None:
        return _abi_features(variants, namespace) if provider.builtin == ABI_DEPENDENCY else ()
    return provider.static or stated.get(namespace, ())


def _is_abi(variants: Variants, namespace: str) -> bool:
    provider = variants.providers.get(namespace)
    return provider is not None and provider.builtin == ABI_DEPENDENCY


def _abi_features(variants: Variants, namespace: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """All that the labels name and the standard allows: a requirement decides later. By name, newest release first."""
    found: dict[str, set[str]] = {}
    for properties in variants.labels.values():
        for one in properties:
            if one.namespace == namespace and _is_abi_property(one.feature, one.value):
                found.setdefault(one.feature, set()).add(one.value)
    return tuple((name, tuple(sorted(found[name], key=_release, reverse=True))) for name in sorted(found))


def _is_abi_property(feature: str, value: str) -> bool:
    """Is it a normalised name with `_`, and a canonical release of one to three numbers?"""
    parts = value.split(".")
    canonical = all(part.isdecimal() and (part == "0" or part[0] != "0") for part in parts)
    return len(parts) <= 3 and canonical and normal_name(feature).replace("-", "_") == feature


def _release(value: str) -> tuple[int, ...]:
    return tuple(map(int, value.split(".")))


def _words(
    variants: Variants,
    namespace: str,
    feature: str,
    values: Sequence[str],
    places: _Places,
    optional: Collection[str],
) -> str:
    shown = f"`{namespace} :: {feature} :: {_listed(values)}`"
    provider = variants.providers.get(namespace)
    if provider is not None and provider.optional and namespace not in optional:
        return f"it needs {shown}, the provider of which is optional and not used"
    if provider is not None and provider.builtin is not None:
        if provider.builtin != ABI_DEPENDENCY:
            return f"it needs {shown} of the built-in provider `{provider.builtin}`, which gpuenv does not have"
        return f"it needs {shown}, which is no release of a distribution"
    if (namespace, feature) in places:
        has = sorted(places[namespace, feature][1].items(), key=lambda item: item[1])
        return f"it needs {shown}, and the target supports {_listed([value for value, _ in has])}"
    whole = any(known == namespace for known, _ in places)
    known = f"no `{namespace} :: {feature}`" if whole else f"nothing of `{namespace}`"
    return f"it needs {shown}, and the target supports {known}"


def _listed(values: Sequence[str]) -> str:
    more = f", … ({len(values)} values)" if len(values) > _SHOWN else ""
    return (", ".join(values[:_SHOWN]) or "no value") + more
