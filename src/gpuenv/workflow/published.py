"""What is published with gpuenv: facts of well-known GPU wheels, and the table of who provides which soname.

The table of facts is a ZIP archive: `<distribution>.json` maps the sha256 of each wheel to its file name and facts,
`providers.json` maps a SONAME to the distributions that carry it. The same facts always yield the same bytes. The table
of providers, `providers.toml`, is written by hand and checked against wheels (docs/reference/providers.md).
"""

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gpuenv.errors import StoreError
from gpuenv.model.facts import NativeFacts, ObjectFacts, PublishedLine, decode_facts, decode_published, encode_facts
from gpuenv.model.version import distribution_of

if TYPE_CHECKING:
    from gpuenv.model.providers import ProviderTable

__all__ = [
    "PROVIDERS",
    "SHIPPED",
    "PublishedFacts",
    "PublishedWheel",
    "encode_table",
    "read_providers",
    "shipped_providers",
]

SHIPPED = Path(__file__).parent.parent / "published" / "facts.zip"
PROVIDERS = SHIPPED.with_name("providers.toml")
Value = TypeVar("Value")

_PROVIDERS = "providers.json"
_COMPILERS = ("libgomp", "libgfortran", "libquadmath", "libstdc++", "libgcc_s", "libomp.", "libiomp")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


class PublishedWheel(NamedTuple):
    """One line of the table."""

    filename: str
    facts: NativeFacts


class PublishedFacts:
    """A table, opened when it is first asked. An absent one knows nothing; a damaged one is a StoreError."""

    def __init__(self, path: Path = SHIPPED) -> None:
        self._path = path
        self._lines: dict[str, Mapping[str, PublishedLine]] = {}

    def get(self, distribution: str, sha256: str) -> NativeFacts | None:
        """The facts of one artifact of a distribution."""
        found = self._lines_of(f"{distribution}.json").get(sha256)
        return decode_facts(found.facts) if found else None

    def wheels(self) -> Iterable[PublishedWheel]:
        """Everything in the table, by distribution and file name."""
        for name in self._names:
            if name != _PROVIDERS:
                for line in sorted(self._lines_of(name).values(), key=lambda line: line.filename):
                    if (facts := decode_facts(line.facts)) is not None:
                        yield PublishedWheel(line.filename, facts)

    def providers(self, soname: str) -> tuple[str, ...]:
        """The distributions that carry a library of this SONAME."""
        return tuple(self._providers.get(soname, ()))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        if not self._path.is_file():
            return ()
        with self._open() as archive:
            return tuple(sorted(archive.namelist()))

    @cached_property
    def _providers(self) -> Mapping[str, Sequence[str]]:
        return self._member(_PROVIDERS, json.loads) if _PROVIDERS in self._names else {}

    def _lines_of(self, name: str) -> Mapping[str, PublishedLine]:
        if name not in self._names:
            return {}
        if name not in self._lines:
            self._lines[name] = self._member(name, decode_published)
        return self._lines[name]

    def _member(self, name: str, decode: Callable[[bytes], Value]) -> Value:
        try:
            with self._open() as archive:
                return decode(archive.read(name))
        except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
            raise StoreError(f"the table of published facts is damaged: {name}: {error}") from error

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._path)
        except (zipfile.BadZipFile, OSError) as error:
            raise StoreError(f"the table of published facts cannot be read: {error}") from error


@cache
def shipped_providers() -> "ProviderTable":
    """The table of providers in this gpuenv, read once; the lock records its digest."""
    return read_providers(PROVIDERS)


def read_providers(path: Path) -> "ProviderTable":
    """A table of providers in TOML; raises StoreError where it cannot be read, or is none of this version."""
    from gpuenv.model.providers import decode_providers
    from gpuenv.toml.read import SyntaxProblem, parse

    try:
        data = path.read_bytes()
        document = parse(data.decode())
        if isinstance(document, SyntaxProblem):
            raise ValueError(f"line {document.line}: {document.message}")
        return decode_providers(document, f"sha256:{hashlib.sha256(data).hexdigest()}")
    except (OSError, ValueError) as error:
        raise StoreError(f"the table of providers cannot be used: {path.name}: {error}") from error


def encode_table(wheels: Iterable[PublishedWheel]) -> bytes:
    """The table that holds these wheels. Every one needs a sha256."""
    known = sorted(wheels, key=lambda wheel: (wheel.filename, wheel.facts.sha256))
    members: dict[str, dict[str, Any]] = defaultdict(dict)
    for wheel in known:
        entry = {"filename": wheel.filename, "facts": json.loads(encode_facts(wheel.facts))}
        members[f"{distribution_of(wheel.filename)}.json"][str(wheel.facts.sha256)] = entry
    members[_PROVIDERS] = {soname: sorted(names) for soname, names in _providers(known).items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name in sorted(members):
            text = json.dumps(members[name], sort_keys=True, separators=(",", ":"))
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.compress_type = zipfile.ZIP_LZMA
            archive.writestr(info, text)
    return out.getvalue()


def _providers(wheels: Sequence[PublishedWheel]) -> dict[str, set[str]]:
    """SONAME to the distributions that are there to carry it.

    Many wheels bring private copies of a compiler's libraries, or of another distribution's. Those do not count: where
    a distribution of libraries alone (no Python module) carries a SONAME, only such ones do.
    """
    alone: dict[str, set[str]] = defaultdict(set)
    beside: dict[str, set[str]] = defaultdict(set)
    for wheel in wheels:
        group = beside if any(found.python for found in wheel.facts.objects) else alone
        for found in wheel.facts.objects:
            if found.soname and found.python is None and not _private(found):
                group[found.soname].add(distribution_of(wheel.filename))
    return {**beside, **alone}


def _private(found: ObjectFacts) -> bool:
    return ".libs/" in found.path or str(found.soname).startswith(_COMPILERS)
