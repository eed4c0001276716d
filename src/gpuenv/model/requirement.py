"""What someone asks for: a name, extras, versions or a URL, and when (PEP 508)."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from packaging.markers import Marker, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as _Parsed

from gpuenv.model.markers import NO_VARIANT, InvalidMarker, VariantEnvironment, asks_for_variant, parse_marker
from gpuenv.model.version import SpecifierSet, normal_name

__all__ = ["InvalidRequirement", "Requirement", "evaluate_marker", "parse_requirement"]


_NO_EXTRAS = re.compile(r"\s*[A-Za-z0-9._-]+\s*\[\s*\]")
_DEPTH = 32  # parentheses within parentheses
_AFTER_NAME, _AFTER_URL = re.compile(r";"), re.compile(r"[ \t]+;")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement as written, decoded.

    name, extras: normalised. specifier: PEP 440 text, sorted as `packaging` prints it. marker: PEP 508 text or None.
    none: it is written with empty brackets, `name[]`, and so wants no default extras either (PEP 771).
    """

    name: str
    extras: tuple[str, ...]
    specifier: str
    url: str | None
    marker: str | None
    none: bool = False

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras or self.none else ""
        where = f" @ {self.url}" if self.url else self.specifier
        when = f" ; {self.marker}" if self.marker and self.url else f"; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}{where}{when}"

    def applies(
        self, environment: tuple[tuple[str, str], ...], extra: str = "", variant: VariantEnvironment = NO_VARIANT
    ) -> bool:
        """Has it no marker, or one that is true there? See evaluate_marker."""
        return self.marker is None or evaluate_marker(self.marker, environment, extra, variant)


@cache
def parse_requirement(text: str) -> Requirement:
    """Decode a PEP 508 requirement, the marker of which may ask for variants (PEP 825); raises InvalidRequirement."""
    if text.count("(") > _DEPTH and max(accumulate((at == "(") - (at == ")") for at in text)) > _DEPTH:
        raise InvalidRequirement(f"it has more than {_DEPTH} parentheses within one another")
    rest, of_variant = _without_variant(text) if asks_for_variant(text) else (text, None)
    parsed = _Parsed(rest)
    if wrong := next((name for name in (parsed.name, *sorted(parsed.extras)) if name[-1] in "-_."), None):
        raise InvalidRequirement(f"`{wrong}` is no name: it ends neither in a letter nor in a digit")
    return Requirement(
        name=normal_name(parsed.name),
        extras=tuple(sorted({normal_name(extra) for extra in parsed.extras})),
        specifier=_text(parsed.specifier),
        url=parsed.url,
        marker=of_variant or (str(parsed.marker) if parsed.marker else None),
        none=_NO_EXTRAS.match(text) is not None,
    )


def _without_variant(text: str) -> tuple[str, str | None]:
    """A requirement without the marker that asks for a variant, and that; a `;` in a URL has no blank before it."""
    at = _AFTER_URL.search(text) if "@" in text.partition(";")[0] else _AFTER_NAME.search(text)
    if at is None or not asks_for_variant(text[at.end() :]):
        return text, None
    try:
        return text[: at.start()], str(parse_marker(text[at.end() :]))
    except InvalidMarker as error:
        raise InvalidRequirement(str(error)) from None


def _text(specifier: SpecifierSet) -> str:
    return ",".join(sorted(str(part) for part in specifier))


@cache
def _marker(text: str) -> Marker:
    return Marker(text)


@cache
def evaluate_marker(
    text: str, environment: tuple[tuple[str, str], ...], extra: str = "", variant: VariantEnvironment = NO_VARIANT
) -> bool:
    """Is the marker true in `environment` (sorted pairs, `Target.marker_environment`) for one extra and one variant?

    variant: that of the wheel that brings the marker; leave it out for wheels that have none. Raises ValueError for
    comparisons that mean nothing: `os_name ~= "x"`, two texts, what only lock files know.
    """
    known = {**dict(environment), "extra": extra}
    try:
        return parse_marker(text).evaluate(known, variant) if asks_for_variant(text) else _marker(text).evaluate(known)
    except UndefinedEnvironmentName as error:
        raise InvalidMarker(f"{error} is nothing that a marker compares with") from None
