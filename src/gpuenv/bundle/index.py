"""A static simple index over wheels and bundles: pages, sidecars, variants, and who provides which soname.

All of it as bytes by path.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

from gpuenv.bundle.variant import encode_variants, merged
from gpuenv.model.carries import provided
from gpuenv.model.facts import NativeFacts, encode_facts
from gpuenv.model.filename import BUNDLE, VARIANTS, is_native
from gpuenv.model.variants import Variants
from gpuenv.model.version import Version, normal_name, parse_version

__all__ = ["PROVIDES", "Entry", "StaticIndex", "providers", "static_index"]

PROVIDES = "provides.json"
_API = "1.1"
_MOST = 64  # providers of a soname that are read


class Entry(NamedTuple):
    """A wheel or bundle. name: normalised. metadata: its METADATA. facts: with its digest and size in them.

    variants: its `variant.json`; None where it is no variant.
    """

    filename: str
    name: str
    version: Version
    sha256: str
    size: int
    requires_python: str | None
    metadata: bytes
    facts: NativeFacts
    variants: Variants | None = None


class StaticIndex(NamedTuple):
    """What is to be written. pages: by path in the folder of the index. beside: by name in that of the files."""

    pages: dict[str, bytes]
    beside: dict[str, bytes]
    projects: int
    sonames: int


def static_index(entries: Iterable[Entry], up: str) -> StaticIndex:
    """The index of these files. up: the relative path from a project's page to the folder of the files, `../..`.

    The same files give the same bytes; there is no time in them. Raises ArchiveError where variants of one version
    contradict each other.
    """
    projects: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda one: (one.name, one.version, one.filename)):
        projects[entry.name].append(entry)
    rows = providers([entry for found in projects.values() for entry in found])
    table = _json({"version": 1, "sonames": rows})
    pages, beside = {}, {PROVIDES: table}
    for name, found in projects.items():
        files = [_file(entry, quote(up)) for entry in found]
        for filename, data in _variants(found):
            files.append(_record(filename, quote(up), _digest(data), len(data)))
            beside[filename] = data
        versions = list(dict.fromkeys(str(entry.version) for entry in found))
        pages[f"{name}/index.json"] = _json(
            {"meta": {"api-version": _API}, "name": name, "files": files, "versions": versions}
        )
        pages[f"{name}/index.html"] = _html(f"Links for {name}", map(_anchor, files))
        beside |= {f"{entry.filename}.metadata": entry.metadata for entry in found}
        beside |= {f"{one.filename}.native.json": encode_facts(one.facts) for one in found if _has_facts(one)}
    listed = [{"name": name} for name in projects]
    pages[PROVIDES] = table
    pages["index.json"] = _json({"meta": {"api-version": _API}, "projects": listed})
    pages["index.html"] = _html("Simple index", (f'<a href="{name}/">{name}</a><br>\n' for name in projects))
    return StaticIndex(pages, beside, len(projects), len(rows))


def _file(entry: Entry, up: str) -> dict[str, object]:
    """The record of a file (PEP 691, 700, 714), and the digest of what its binaries say."""
    file = _record(entry.filename, up, entry.sha256, entry.size)
    if entry.requires_python:
        file["requires-python"] = entry.requires_python
    file["core-metadata"] = {"sha256": _digest(entry.metadata)}
    if _has_facts(entry):
        file["native-facts"] = {"sha256": _digest(encode_facts(entry.facts))}
    return file


def _record(filename: str, up: str, sha256: str, size: int) -> dict[str, object]:
    return {"filename": filename, "url": f"{up}/{quote(filename)}", "hashes": {"sha256": sha256}, "size": size}


def _variants(entries: Iterable[Entry]) -> Iterator[tuple[str, bytes]]:
    """For each version with variants the file that says what their labels stand for (PEP 825). entries: sorted."""
    for version, files in groupby(entries, key=lambda one: one.version):
        if stated := [(one.filename, one.variants) for one in files if one.variants is not None]:
            name = stated[0][0].partition("-")[0]
            yield f"{normal_name(name).replace('-', '_')}-{version}{VARIANTS}", encode_variants(merged(stated))


def _has_facts(entry: Entry) -> bool:
    """Does anybody ask what its binaries say?"""
    return is_native(entry.filename) or bool(entry.facts.objects)


def _anchor(file: Mapping[str, object]) -> str:
    """The same in HTML (PEP 503, 629, 658, 714)."""
    hashes = {key: value["sha256"] for key, value in file.items() if isinstance(value, dict)}
    attributes = {"href": f"{file['url']}#sha256={hashes['hashes']}"}
    if "requires-python" in file:
        attributes["data-requires-python"] = str(file["requires-python"])
    for key in ("core-metadata", "native-facts"):
        if key in hashes:
            attributes[f"data-{key}"] = f"sha256={hashes[key]}"
    text = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {text}>{escape(str(file['filename']))}</a><br>\n"


def _html(title: str, lines: Iterable[str]) -> bytes:
    head = f'<meta charset="utf-8">\n<meta name="pypi:repository-version" content="{_API}">\n<title>{title}</title>\n'
    return f"<!DOCTYPE html>\n<html>\n<head>\n{head}</head>\n<body>\n{''.join(lines)}</body>\n</html>\n".encode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def providers(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Sonames and who provides them, best first: requirements, with versions where only some have the library.

    Best are distributions of libraries alone, where there is one nobody else counts: what has Python modules carries
    the library for these. Among them those of which only bundles exist, which were made to provide it; then by name.
    """
    having: dict[str, dict[str, set[Version]]] = defaultdict(lambda: defaultdict(set))
    binary: dict[str, set[Version]] = defaultdict(set)
    modules, wheels = set(), set()
    for entry in entries:
        version = parse_version(entry.version.public)
        if any(found.for_host for found in entry.facts.objects):
            binary[entry.name].add(version)
        if any(found.python is not None for found in entry.facts.objects):
            modules.add(entry.name)
        if not entry.filename.endswith(BUNDLE):
            wheels.add(entry.name)
        for soname in provided(entry.facts):
            having[soname][entry.name].add(version)
    rows = {}
    for soname, found in sorted(having.items()):
        names = sorted(found.keys() - modules or found, key=lambda name: (name in wheels, name))
        rows[soname] = [_requirement(name, found[name], binary[name]) for name in names[:_MOST]]
    return rows


def _requirement(name: str, having: set[Version], binary: set[Version]) -> str:
    """The name, with the versions that have the library where others with binaries do not."""
    if having == binary:
        return name
    below = [f">={min(having)}"] if min(binary) < min(having) else []
    above = [f"<{min(version for version in binary if version > max(having))}"] if max(binary) > max(having) else []
    return name + ",".join([*below, *above])
