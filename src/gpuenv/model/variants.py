"""Wheel variants as values: what the labels of a release stand for, read strictly and merged (PEP 825, 850).

A label stands for properties, `namespace :: feature :: value`. Two generations of the file exist, that of PEP 825
without providers (schema 0.1) and that of PEP 850 with them (0.2); which of them a file is, its `$schema` says.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

__all__ = [
    "ABI_DEPENDENCY",
    "LIMIT",
    "NULL",
    "BadVariants",
    "Property",
    "Supported",
    "VariantProvider",
    "Variants",
    "merge",
    "parse_property",
    "parse_variants",
]

# ((namespace, ((feature, (value, .. best first)), .. in feature order)), ..): what one machine supports
Supported = tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]

NULL = "null"  # the label of the variant without properties
ABI_DEPENDENCY = "abi_dependency"
LIMIT = 1 << 20  # bytes of a file that is read

_SCHEMA = re.compile(r"https://[a-z0-9.-]+/(?:[a-z0-9._-]+/)*v(\d{1,4})\.(\d{1,4})\.(\d{1,4})\.json")
_MAJOR = 0  # drafts; there is no other yet
_WITH_PROVIDERS = (0, 2)
_NEWEST = (0, 2)
_NAME = re.compile(r"[a-z0-9_]{1,255}")  # namespaces and features
_VALUE = re.compile(r"[a-z0-9_.]{1,255}")  # values and labels
_REQUIRES = re.compile(r"\S[\S ]{0,1023}")
_PLUGIN_API = re.compile(r"[\w.]{1,255}(?:\s*:\s*[\w.]{1,255})?")
_PROVIDER_KEYS = frozenset({"optional", "requires", "plugin-api", "static-properties", "feature-order", "builtin"})
_DIGITS = 20  # of a number, which has no place in these files
_MOST_NAMESPACES = 100
_MOST_PROPERTIES = 1000  # of one label: a lock lists them


class BadVariants(ValueError):
    """What says nothing of variants that the standards know; the text says what is wrong."""


class Property(NamedTuple):
    """One property, `nvidia :: sm_arch :: 90_real`."""

    namespace: str
    feature: str
    value: str

    def __str__(self) -> str:
        return " :: ".join(self)


class VariantProvider(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who says what machines support of one namespace (PEP 850): a plugin, a list, or the installer itself.

    optional: nobody is asked unless the user says so. requires, plugin_api: the plugin, which gpuenv never runs to
    lock. static: features in their order with values best first, in place of a plugin. builtin: `abi_dependency`.
    """

    optional: bool = False
    requires: tuple[str, ...] = ()
    plugin_api: str | None = None
    static: tuple[tuple[str, tuple[str, ...]], ...] = ()
    builtin: str | None = None


class Variants(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the labels of one release stand for: `{name}-{version}-variants.json`, or one wheel's `variant.json`.

    schema: the URL that the file states. namespaces: best first. labels: with sorted properties. providers: by
    namespace; empty where the file is of the generation before them.
    """

    schema: str
    namespaces: tuple[str, ...]
    labels: dict[str, tuple[Property, ...]]
    providers: dict[str, VariantProvider] = {}


def parse_property(text: str) -> Property:
    """A property from text, with any blanks around `::`; raises BadVariants."""
    parts = [part.strip() for part in text.split("::")]
    if len(parts) != 3 or not all(map(_NAME.fullmatch, parts[:2])) or not _VALUE.fullmatch(parts[2]):
        raise BadVariants(f"`{_short(text)}` is no property, `namespace :: feature :: value`")
    return Property(*parts)


def parse_variants(data: bytes, label: str | None = None) -> Variants:
    """Read a release's variants file, or a wheel's own `variant.json`, which has exactly the wheel's label.

    label: of the wheel. Raises BadVariants for more than LIMIT bytes, keys that the schema does not have or that come
    twice, and schemas of another major version; in files of a newer minor version unknown keys are passed over.
    """
    if len(data) > LIMIT:
        raise BadVariants(f"it has {len(data)} bytes, more than {LIMIT}")
    try:
        said = json.loads(data, object_pairs_hook=_once, parse_int=_integer)
    except BadVariants:
        raise
    except (ValueError, RecursionError):
        raise BadVariants("it is no JSON") from None
    top = _table(said, "the file")
    schema = _text(top.get("$schema"), "$schema", None)
    version = _version(schema)
    newer = version > _NEWEST
    known = {"$schema", "default-priorities", "variants"} | ({"providers"} if version >= _WITH_PROVIDERS else set())
    _keys(top, "the file", known, newer)
    if not known <= top.keys():
        raise BadVariants(f"it lacks `{min(known - top.keys())}`")
    priorities = _table(top["default-priorities"], "default-priorities")
    _keys(priorities, "default-priorities", {"namespace"}, newer)
    namespaces = _names(priorities.get("namespace"), "default-priorities.namespace", _NAME)
    if len(namespaces) > _MOST_NAMESPACES:
        raise BadVariants(f"it has {len(namespaces)} namespaces, more than {_MOST_NAMESPACES}")
    providers = _table(top.get("providers", {}), "providers")
    labels = _table(top["variants"], "variants")
    found = Variants(
        schema,
        namespaces,
        {name: _properties(name, labels[name], namespaces) for name in sorted(labels)},
        {name: _provider(f"providers.{_short(name)}", providers[name], newer) for name in sorted(providers)},
    )
    if version >= _WITH_PROVIDERS and found.providers.keys() != set(namespaces):
        raise BadVariants("the namespaces of `providers` are not those of `default-priorities`")
    if label is not None and list(found.labels) != [label]:
        raise BadVariants(f"it is for the labels {_listed(found.labels)}, and the wheel's name has `{label}`")
    return found


def merge(one: Variants, other: Variants) -> Variants:
    """Both as one, whichever comes first; raises BadVariants where they contradict each other (PEP 825, 850).

    The shorter list of namespaces begins the longer, a label has the same properties in both, a namespace the same
    provider. Where only one has providers, they must do for all namespaces.
    """
    short, long = sorted((one.namespaces, other.namespaces), key=lambda names: (len(names), names))
    if long[: len(short)] != short:
        raise BadVariants(f"the namespaces {_listed(short)} do not begin {_listed(long)}")
    for label in one.labels.keys() & other.labels.keys():
        if one.labels[label] != other.labels[label]:
            raise BadVariants(f"`{label}` has not the same properties in both")
    for namespace in one.providers.keys() & other.providers.keys():
        if one.providers[namespace] != other.providers[namespace]:
            raise BadVariants(f"`{namespace}` has not the same provider in both")
    labels, providers = {**one.labels, **other.labels}, {**one.providers, **other.providers}
    if providers and providers.keys() != set(long):
        raise BadVariants(f"no provider is known of {_listed(sorted(set(long) - providers.keys()))}")
    schema = max(one.schema, other.schema, key=lambda schema: (_version(schema), schema))
    return Variants(
        schema,
        long,
        {name: labels[name] for name in sorted(labels)},
        {name: providers[name] for name in sorted(providers)},
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadVariants("a key comes twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise BadVariants("it has a number that no variants file has")
    return int(text)


def _version(schema: str) -> tuple[int, int]:
    match = _SCHEMA.fullmatch(schema)
    if match is None or int(match[1]) != _MAJOR:
        raise BadVariants(f"its schema is `{_short(schema)}`, and gpuenv reads those of version {_MAJOR}")
    return int(match[1]), int(match[2])


def _properties(label: str, said: object, namespaces: Sequence[str]) -> tuple[Property, ...]:
    if not _VALUE.fullmatch(label):
        raise BadVariants(f"`{_short(label)}` is no label of a variant")
    place = f"variants.{label}"
    found = []
    for namespace, features in _table(said, place).items():
        if not _NAME.fullmatch(namespace):
            raise BadVariants(f"{place}: `{_short(namespace)}` is no namespace")
        for feature, values in _table(features, f"{place}.{namespace}").items():
            if namespace not in namespaces:
                raise BadVariants(f"{place}: `default-priorities.namespace` lacks `{namespace}`")
            if not _NAME.fullmatch(feature):
                raise BadVariants(f"{place}.{namespace}: `{_short(feature)}` is no name of a feature")
            where = f"{place}.{namespace}.{feature}"
            found += [Property(namespace, feature, value) for value in _names(values, where, _VALUE)]
    if len(found) > _MOST_PROPERTIES:
        raise BadVariants(f"{place}: it has {len(found)} properties, more than {_MOST_PROPERTIES}")
    if found and label == NULL:
        raise BadVariants(f"{place}: the null variant has no properties")
    if not found and label != NULL:
        raise BadVariants(f"{place}: it has no properties, and only the null variant has none")
    return tuple(sorted(found))


def _provider(place: str, said: object, newer: bool) -> VariantProvider:
    table = _table(said, place)
    _keys(table, place, _PROVIDER_KEYS, newer)
    if len(table.keys() & {"requires", "static-properties", "builtin"}) != 1:
        raise BadVariants(f"{place}: it must have one of `requires`, `static-properties` and `builtin`")
    if "plugin-api" in table and "requires" not in table:
        raise BadVariants(f"{place}: `plugin-api` is without `requires`")
    if "feature-order" in table and "static-properties" not in table:
        raise BadVariants(f"{place}: `feature-order` is without `static-properties`")
    optional = table.get("optional", False)
    if not isinstance(optional, bool):
        raise BadVariants(f"{place}.optional: it is neither true nor false")
    return VariantProvider(
        optional,
        _names(table["requires"], f"{place}.requires", _REQUIRES) if "requires" in table else (),
        _text(table["plugin-api"], f"{place}.plugin-api", _PLUGIN_API) if "plugin-api" in table else None,
        _static(place, table) if "static-properties" in table else (),
        _text(table["builtin"], f"{place}.builtin", _NAME) if "builtin" in table else None,
    )


def _static(place: str, table: Mapping[str, object]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    features = _table(table["static-properties"], f"{place}.static-properties")
    order = _names(table.get("feature-order", list(features)), f"{place}.feature-order", _NAME)
    if set(order) != features.keys() or ("feature-order" not in table and len(features) > 1):
        raise BadVariants(f"{place}: `feature-order` does not name each feature of `static-properties` once")
    return tuple((name, _names(features[name], f"{place}.static-properties.{name}", _VALUE)) for name in order)


def _keys(table: Mapping[str, object], place: str, known: frozenset[str] | set[str], newer: bool) -> None:
    unknown = table.keys() - known
    if unknown and not newer:
        raise BadVariants(f"{place} has `{_short(min(unknown))}`, which its schema does not have")


def _table(said: object, place: str) -> dict[str, object]:
    if not isinstance(said, dict):
        raise BadVariants(f"{place} is no object")
    return said


def _names(said: object, place: str, grammar: re.Pattern[str]) -> tuple[str, ...]:
    """A list of different texts that has at least one; raises BadVariants."""
    if not isinstance(said, list) or not said:
        raise BadVariants(f"{place}: it is no list that has something in it")
    found = tuple(_text(one, place, grammar) for one in said)
    if len(set(found)) < len(found):
        raise BadVariants(f"{place}: something comes twice in it")
    return found


def _text(said: object, place: str, grammar: re.Pattern[str] | None) -> str:
    if not isinstance(said, str):
        raise BadVariants(f"{place}: it has something other than text")
    if grammar is not None and not grammar.fullmatch(said):
        raise BadVariants(f"{place}: `{_short(said)}` is not allowed there")
    return said


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    shown = ", ".join(f"`{name}`" for name in list(names)[:4])
    return f"{shown}, …" if len(names) > 4 else shown or "(none)"


def _short(text: str) -> str:
    """For messages: printable, and not long."""
    shown = text[:81] if text[:81].isprintable() else ascii(text[:81])[1:-1]
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
