"""What someone asks for: a name, extras, versions or a URL, and when (PEP 508)."""

from dataclasses import dataclass
from functools import cache

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as _Parsed

from gpuenv.model.version import SpecifierSet, normal_name

__all__ = ["InvalidRequirement", "Requirement", "evaluate_marker", "parse_requirement"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement as written, decoded.

    name, extras: normalised. specifier: PEP 440 text, sorted as `packaging` prints it. marker: PEP 508 text or None.
    """

    name: str
    extras: tuple[str, ...]
    specifier: str
    url: str | None
    marker: str | None

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        where = f" @ {self.url}" if self.url else self.specifier
        when = f" ; {self.marker}" if self.marker and self.url else f"; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}{where}{when}"


@cache
def parse_requirement(text: str) -> Requirement:
    """Decode a PEP 508 requirement; raises InvalidRequirement."""
    parsed = _Parsed(text)
    return Requirement(
        name=normal_name(parsed.name),
        extras=tuple(sorted({normal_name(extra) for extra in parsed.extras})),
        specifier=_text(parsed.specifier),
        url=parsed.url,
        marker=str(parsed.marker) if parsed.marker else None,
    )


def _text(specifier: SpecifierSet) -> str:
    return ",".join(sorted(str(part) for part in specifier))


@cache
def _marker(text: str) -> Marker:
    return Marker(text)


@cache
def evaluate_marker(text: str, environment: tuple[tuple[str, str], ...], extra: str = "") -> bool:
    """Is the PEP 508 marker true in `environment` (sorted pairs, `Target.marker_environment`) for one extra?"""
    return _marker(text).evaluate({**dict(environment), "extra": extra})
