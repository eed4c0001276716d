"""Text -> Lock, strictly, in format 1; a second format gets a reader of its own."""

import re
from collections.abc import Mapping
from typing import Any

from gpuenv.errors import LockfileError
from gpuenv.lock.encode import VERSION
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.target import Target
from gpuenv.model.version import normal_name, parse_version
from gpuenv.toml.read import SyntaxProblem, parse

__all__ = ["decode", "salvage"]

_AGAIN = "run `gpuenv lock` to make it anew"
_MARKERS = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
_WHEEL = re.compile(r'"([A-Za-z0-9_.]+)-([A-Za-z0-9_.!+]+)-[^"/]*\.whl(?:#[0-9a-f]+)?"')


def decode(text: str) -> Lock:
    """Decode gpuenv.lock; raises LockfileError for whatever is not one."""
    if _MARKERS.search(text):
        raise LockfileError(
            "gpuenv.lock has conflict markers of a merge",
            hints=["run `gpuenv lock`: it takes both sides as preferences and solves again"],
        )
    document = parse(text)
    if isinstance(document, SyntaxProblem):
        raise LockfileError(
            f"gpuenv.lock is not TOML: {document.message}", causes=[document.picture("gpuenv.lock")], hints=[_AGAIN]
        )
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        error = LockfileError(
            f"gpuenv.lock has format {version}; this gpuenv reads formats up to {VERSION}",
            hints=["upgrade gpuenv: pip install --upgrade gpuenv"],
        )
        error.newer = True
        raise error
    try:
        return _lock(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LockfileError(f"gpuenv.lock is damaged: {_words(error)}", hints=[_AGAIN]) from error


def salvage(text: str) -> dict[str, tuple[str, ...]]:
    """Versions by name from any text that once was a lock, conflict markers or not: preferences, no more."""
    found: dict[str, dict[str, None]] = {}
    for name, version in _WHEEL.findall(text):
        found.setdefault(normal_name(name), {})[version] = None
    return {name: tuple(sorted(versions, reverse=True)) for name, versions in sorted(found.items())}


def _words(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _lock(document: dict[str, Any]) -> Lock:
    if document["version"] != VERSION:
        raise ValueError(f"version is {document['version']!r}")
    indexes = tuple(_index(table) for table in document.get("index", []))
    bases = {table["name"]: table.get("files", "") for table in document.get("index", [])}
    artifacts = {identity: _artifact(identity, table, bases) for identity, table in document["artifacts"].items()}
    targets = {name: _target(name, table, artifacts) for name, table in document["targets"].items()}
    lock = Lock(document["inputs"], document.get("exclude-newer"), indexes, artifacts, targets)
    for name, table in document["targets"].items():
        if lock.environment(targets[name], targets[name].packages.values()) != table["environment"]:
            raise ValueError(f"targets.{name}.environment is not the digest of its packages")
    return lock


def _index(table: Mapping[str, Any]) -> LockedIndex:
    folder = "path" in table
    return LockedIndex(_text(table["name"]), table.get("path") if folder else table.get("url"), folder)


def _artifact(identity: str, table: Mapping[str, Any], bases: Mapping[str, str]) -> LockedArtifact:
    filename = identity.partition("#")[0]
    parts = filename.split("-")
    if len(parts) not in (5, 6) or not filename.endswith(".whl") or "/" in filename:
        raise ValueError(f"{identity!r} is not the name of a wheel")
    sha256 = _text(table["sha256"])
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"the sha256 of {filename} is not one")
    index = table.get("index")
    url = _text(table["url"]) if "url" in table else bases[_text(index)] + _text(table["path"])
    return LockedArtifact(
        filename,
        normal_name(parts[0]),
        str(parse_version(parts[1])),
        index,
        url,
        sha256,
        _size(table["size"], filename),
    )


def _size(value: object, filename: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"the size of {filename} is not one")
    return value


def _target(name: str, table: Mapping[str, Any], artifacts: Mapping[str, LockedArtifact]) -> LockedTarget:
    target = Target(
        name,
        platform=_text(table["platform"]),
        python=_text(table["python"]),
        glibc=table.get("glibc"),
        musl=table.get("musl"),
        macos=table.get("macos"),
        gpu=tuple(table.get("gpu", ())),
        cuda=table.get("cuda"),
        driver=table.get("driver"),
        rocm=table.get("rocm"),
        cpu_fallback=bool(table.get("cpu-fallback", False)),
    )
    packages = {}
    for line in table["packages"]:
        artifact = artifacts[line["use"]]
        extras = {extra: tuple(keys) for extra, keys in line.get("extras", {}).items()}
        packages[artifact.name] = LockedPackage(artifact.name, line["use"], tuple(line.get("requires", ())), extras)
    roots = {root: tuple(keys) for root, keys in table["roots"].items()}
    locked = LockedTarget(target, roots, packages)
    locked.reachable(frozenset(roots))  # every key that is named is there
    return locked


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
