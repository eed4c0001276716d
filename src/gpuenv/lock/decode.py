"""Text -> Lock, strictly, in format 1; a second format gets a reader of its own."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from gpuenv.errors import LockfileError
from gpuenv.lock.encode import VERSION
from gpuenv.model.demand import HostDemand, Learnt
from gpuenv.model.filename import BUNDLE, FileName, split_filename
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.target import Target
from gpuenv.model.version import normal_name, parse_version
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.toml.read import SyntaxProblem, parse

__all__ = ["decode", "salvage"]

_AGAIN = "run `gpuenv lock` to make it anew"
_SHA256 = re.compile("[0-9a-f]{64}")
_PROPERTY = re.compile("[a-z0-9_]+ :: [a-z0-9_]+ :: [a-z0-9_.]+")
_MARKERS = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
_WHEEL = re.compile(r'"([A-Za-z0-9_.]+)-([A-Za-z0-9_.!+]+)-[^"/]*\.whl(?:\.tar\.zst)?(?:#[0-9a-f]+)?"')


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
    inputs, exclude_newer = _table(document["inputs"]), _text_or_none(document, "exclude-newer")
    lock = Lock(inputs, exclude_newer, indexes, artifacts, targets, _providers(document))
    for name, table in document["targets"].items():
        if lock.environment(targets[name], targets[name].packages.values()) != table["environment"]:
            raise ValueError(f"targets.{name}.environment is not the digest of its packages")
    return lock


def _providers(document: Mapping[str, Any]) -> str | None:
    digest = _text_or_none(document, "providers")
    if digest is not None and not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError("providers is not a digest")
    return digest


def _index(table: Mapping[str, Any]) -> LockedIndex:
    folder = "path" in table
    return LockedIndex(_text(table["name"]), table.get("path") if folder else table.get("url"), folder)


def _artifact(identity: str, table: Mapping[str, Any], bases: Mapping[str, str]) -> LockedArtifact:
    filename = identity.partition("#")[0]
    name = split_filename(filename)
    if name is None:
        raise ValueError(f"{identity!r} is not the name of a wheel")
    sha256, origin = _text(table["sha256"]), _text_or_none(table, "origin")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 of {filename} is not one")
    if origin is not None and not (filename.endswith(BUNDLE) and _SHA256.fullmatch(origin)):
        raise ValueError(f"the origin of {filename} is not one")
    index = table.get("index")
    url = _text(table["url"]) if "url" in table else bases[_text(index)] + _text(table["path"])
    facts = table.get("facts")
    if facts not in (None, *get_args(Learnt)):
        raise ValueError(f"the facts of {filename} are {facts!r}")
    return LockedArtifact(
        filename,
        normal_name(name.name),
        str(parse_version(name.version)),
        index,
        url,
        sha256,
        _size(table["size"], filename),
        facts,
        origin,
        _variant(table.get("variant"), name),
    )


def _variant(said: object, name: FileName) -> WheelVariant | None:
    """What a wheel with a label must say it is; nothing else has one."""
    if said is None and not name.label:
        return None
    if said is None:
        raise ValueError(f"{name.name} {name.version} is a variant, and its line does not say which")
    table = _table(said)
    label, properties = _text(table["label"]), _texts(table["properties"])
    ordered = all(one < other for one, other in pairwise(properties))
    if not name.label or label != name.label or not ordered or not all(map(_PROPERTY.fullmatch, properties)):
        raise ValueError(f"{name.name} {name.version} is no such variant: {said!r}")
    return WheelVariant(label, properties)


def _size(value: object, filename: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"the size of {filename} is not one")
    return value


def _target(name: str, table: Mapping[str, Any], artifacts: Mapping[str, LockedArtifact]) -> LockedTarget:
    packages = {}
    for line in table["packages"]:
        package = _package(line, artifacts)
        packages[package.name] = package
    roots = _lists(table["roots"])
    locked = LockedTarget(_facts(name, table), roots, packages, *_native(table))
    for libraries in (locked.libraries, *(package.libraries for package in packages.values())):
        for provider in libraries:
            packages[provider]  # the KeyError says which is missing
    locked.keys(roots)  # every key that is named is there
    return locked


def _facts(name: str, table: Mapping[str, Any]) -> Target:
    fallback, code = table.get("cpu-fallback", False), table.get("gpu-code", "allow")
    if code not in ("allow", "forbid"):
        raise ValueError(f"gpu-code is {code!r}")
    return Target(
        name,
        platform=_text(table["platform"]),
        python=_text(table["python"]),
        glibc=_text_or_none(table, "glibc"),
        musl=_text_or_none(table, "musl"),
        macos=_text_or_none(table, "macos"),
        gpu=_texts(table.get("gpu", [])),
        cuda=_text_or_none(table, "cuda"),
        driver=_text_or_none(table, "driver"),
        rocm=_text_or_none(table, "rocm"),
        cpu=_text_or_none(table, "cpu"),
        cpu_fallback=_texts(fallback) if isinstance(fallback, list) else _flag(fallback),
        gpu_code=code,
        ptx=_flag(table.get("ptx", True)),
        host_libraries=_texts(table.get("host-libraries", [])),
        properties=tuple(map(_property, _texts(table.get("properties", [])))),
    )


def _package(line: Mapping[str, Any], artifacts: Mapping[str, LockedArtifact]) -> LockedPackage:
    artifact, runtime = artifacts[line["use"]], line.get("runtime")
    if runtime is not None and (not isinstance(runtime, int) or isinstance(runtime, bool) or runtime < 0):
        raise ValueError(f"the runtime of {artifact.name} is {runtime!r}")
    requires, extras = _texts(line.get("requires", [])), _lists(line.get("extras", {}))
    defaults = {extra: _text(why) for extra, why in _table(line.get("default-extras", {})).items()}
    instead = _texts(line.get("instead-of", []))
    return LockedPackage(artifact.name, line["use"], requires, extras, *_native(line), runtime, defaults, instead)


def _native(table: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], tuple[HostDemand, ...]]:
    """The libraries and demands on the machine of one package, or of the project."""
    demands = (_demand(soname, said) for soname, said in table.get("host", {}).items())
    return _lists(table.get("libraries", {})), tuple(sorted(demands))


def _demand(soname: str, said: object) -> HostDemand:
    if isinstance(said, str):
        return HostDemand(soname, said)
    if not isinstance(said, dict):
        raise TypeError(f"{said!r} is not a demand on the machine")
    return HostDemand(soname, _text(said["by"]), _texts(said["versions"]))


def _lists(table: object) -> dict[str, tuple[str, ...]]:
    return {name: _texts(items) for name, items in _table(table).items()}


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not a table")
    return value


def _texts(items: object) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is not an array")
    return tuple(map(_text, items))


def _property(text: str) -> str:
    if not _PROPERTY.fullmatch(text):
        raise ValueError(f"{text!r} is not a property")
    return text


def _text_or_none(table: Mapping[str, Any], key: str) -> str | None:
    return _text(table[key]) if key in table else None


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
