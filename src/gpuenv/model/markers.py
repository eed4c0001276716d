"""Environment markers that ask for the variant of the wheel that brings them (PEP 825), beside those of PEP 508.

`packaging` knows no such marker. A marker is taken apart here into `and`, `or` and single comparisons; comparisons
without a variant are `packaging`'s. Markers that have no word `variant_` never come here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

from packaging.markers import InvalidMarker, Marker

__all__ = ["NO_VARIANT", "InvalidMarker", "VariantEnvironment", "VariantMarker", "asks_for_variant", "parse_marker"]

WORD = "variant_"
_DEPTH = 32  # parentheses within parentheses
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<operator>===|[=!~<>]=|[<>])|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)|(?P<other>\S))"""
)
_SEPARATOR = re.compile(r"\s*::\s*")
_PARTS = {"variant_namespaces": 1, "variant_features": 2, "variant_properties": 3}
_LABEL = "variant_label"
_LABEL_OPERATORS = ("==", "!=", "in", "not in")


class VariantEnvironment(NamedTuple):
    """What markers see of the wheel that brings them.

    label: "" for a wheel without variant. properties: (namespace, feature, value), those of the wheel that the target
    supports, sorted.
    """

    label: str
    properties: tuple[tuple[str, str, str], ...]


NO_VARIANT = VariantEnvironment("", ())


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison with a variant: `text operator variable`, or the other way round where `first`."""

    variable: str
    operator: str
    text: str
    first: bool = False

    def __str__(self) -> str:
        literal = f"'{self.text}'" if '"' in self.text else f'"{self.text}"'
        left, right = (self.variable, literal) if self.first else (literal, self.variable)
        return f"{left} {self.operator} {right}"

    def holds(self, variant: VariantEnvironment) -> bool:
        if self.variable != _LABEL:
            width = _PARTS[self.variable]
            found = self.text in {" :: ".join(one[:width]) for one in variant.properties}
        elif self.operator in ("==", "!="):
            found = self.text == variant.label
        else:
            found = variant.label in self.text if self.first else self.text in variant.label
        return found != (self.operator in ("!=", "not in"))


_Part: TypeAlias = "_Comparison | Marker | VariantMarker"


@dataclass(frozen=True, slots=True)
class VariantMarker:
    """A marker as alternatives (`or`), each of parts that must all hold (`and`)."""

    alternatives: tuple[tuple[_Part, ...], ...]

    def __str__(self) -> str:
        return " or ".join(" and ".join(map(_shown, parts)) for parts in self.alternatives)

    def evaluate(self, environment: Mapping[str, str], variant: VariantEnvironment = NO_VARIANT) -> bool:
        """Does it hold? Every comparison is made, so that one that means nothing raises as `packaging` does."""
        held = [[_holds(part, environment, variant) for part in parts] for parts in self.alternatives]
        return any(map(all, held))


def _holds(part: _Part, environment: Mapping[str, str], variant: VariantEnvironment) -> bool:
    match part:
        case _Comparison():
            return part.holds(variant)
        case VariantMarker():
            return part.evaluate(environment, variant)
        case _:
            return part.evaluate(dict(environment))


def _shown(part: _Part) -> str:
    return f"({part})" if isinstance(part, VariantMarker) else str(part)


def asks_for_variant(text: str) -> bool:
    """May the marker, or the requirement, say something of variants? False: `packaging` reads it."""
    return WORD in text


@cache
def parse_marker(text: str) -> VariantMarker:
    """Take a marker apart; raises InvalidMarker where a part of it is no comparison, or one that PEP 825 has not."""
    tokens = [(str(one.lastgroup), one[one.lastgroup or 0]) for one in _TOKEN.finditer(text)]
    marker, end = _alternatives(tokens, 0, 0)
    if end != len(tokens):
        raise InvalidMarker(f"`{tokens[end][1]}` is not expected in the marker {text}")
    return marker


def _alternatives(tokens: Sequence[tuple[str, str]], at: int, depth: int) -> tuple[VariantMarker, int]:
    if depth > _DEPTH:
        raise InvalidMarker(f"a marker with more than {_DEPTH} parentheses within one another")
    alternatives: list[tuple[_Part, ...]] = []
    parts: list[_Part] = []
    while True:
        if _word(tokens, at) == "(":
            inner, at = _alternatives(tokens, at + 1, depth + 1)
            if _word(tokens, at) != ")":
                raise InvalidMarker("a marker lacks `)`")
            at += 1
            parts.append(_unwrapped(inner))
        else:
            comparison, at = _comparison(tokens, at)
            parts.append(comparison)
        joint = _word(tokens, at)
        if joint != "and":
            alternatives.append(tuple(parts))
            parts = []
        if joint not in ("and", "or"):
            return VariantMarker(tuple(alternatives)), at
        at += 1


def _unwrapped(inner: VariantMarker) -> _Part:
    """What stands in parentheses for nothing else: one comparison, without them."""
    return inner.alternatives[0][0] if len(inner.alternatives) == len(inner.alternatives[0]) == 1 else inner


def _word(tokens: Sequence[tuple[str, str]], at: int) -> str:
    """The token there, "" for a literal or after the last."""
    return tokens[at][1] if at < len(tokens) and tokens[at][0] != "text" else ""


def _comparison(tokens: Sequence[tuple[str, str]], at: int) -> tuple[_Part, int]:
    words = 4 if _word(tokens, at + 1) == "not" else 3
    found = list(tokens[at : at + words])
    shown = " ".join(text for _, text in found)
    operator = " ".join(text for _, text in found[1:-1])
    if len(found) < words:
        raise InvalidMarker(f"the marker ends in `{shown}`, which is no comparison")
    left, right = found[0], found[-1]
    variables = [text for kind, text in (left, right) if kind == "word" and text.startswith(WORD)]
    if not variables:
        return Marker(shown), at + words
    if variables[0] not in (_LABEL, *_PARTS):
        raise InvalidMarker(f"`{variables[0]}` is no variable of markers")
    if (left[0] == "text") == (right[0] == "text"):
        raise InvalidMarker(f"`{shown}` compares no variable with a text")
    return _with_variant(variables[0], operator, left, right, shown), at + words


def _with_variant(
    variable: str, operator: str, left: tuple[str, str], right: tuple[str, str], shown: str
) -> _Comparison:
    first = left[0] == "word"
    text = (right if first else left)[1][1:-1]
    if variable == _LABEL:
        if operator not in _LABEL_OPERATORS:
            raise InvalidMarker(f"`{shown}`: a label is compared by {', '.join(_LABEL_OPERATORS)}")
        return _Comparison(variable, operator, text, first)
    if first or operator not in ("in", "not in"):
        raise InvalidMarker(f'`{shown}`: `{variable}` is a set, and is asked by `"…" in {variable}` or `not in`')
    return _Comparison(variable, operator, _SEPARATOR.sub(" :: ", text.strip()))
