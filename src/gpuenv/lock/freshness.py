"""Does the lock still answer the manifest? A comparison of inputs, never a solve; a stale lock says why."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from gpuenv.model.lock import Lock
from gpuenv.model.manifest import Index, Manifest, Source
from gpuenv.model.requirement import Requirement
from gpuenv.model.rules import NativeRules, PackageRules, Scan
from gpuenv.model.target import stated
from gpuenv.model.url import without_credentials
from gpuenv.toml.write import inline

__all__ = ["inputs_of", "why_stale"]

T = TypeVar("T")


def inputs_of(manifest: Manifest) -> dict[str, object]:
    """What of the manifest decides the lock, as plain TOML values in a fixed order; empty parts are left out."""
    inputs: dict[str, object] = {
        "requires-python": manifest.requires_python,
        "dependencies": _texts(manifest.dependencies),
        "extras": {name: _texts(items) for name, items in sorted(manifest.extras.items())},
        "groups": {name: _texts(items) for name, items in sorted(manifest.groups.items())},
        "target-dependencies": {name: _texts(items) for name, items in sorted(manifest.target_dependencies.items())},
        "constraints": _texts(manifest.constraints),
        "overrides": _texts(manifest.overrides),
        "exclude-newer": manifest.exclude_newer or "",
        "default-extras": _by_selector(manifest.default_extras, list),
        "alternatives": _by_selector(manifest.alternatives, str),
        "optional-variants": list(manifest.optional_variants),
        "indexes": [_index(index) for index in manifest.indexes],
        "sources": [_source(source) for source in sorted(manifest.sources, key=repr)],
        **_rules(manifest.rules),
    }
    return {name: value for name, value in inputs.items() if value}


def why_stale(lock: Lock, manifest: Manifest) -> str | None:
    """The first reason why the lock does not answer the manifest, or None."""
    wanted = inputs_of(manifest)
    for part in dict.fromkeys([*wanted, *lock.inputs]):
        if reason := _difference(part, lock.inputs.get(part), wanted.get(part)):
            return reason
    locked = {name: stated(locked.target) for name, locked in lock.targets.items()}
    asked = {name: stated(target) for name, target in manifest.targets.items()}
    for name in sorted(locked.keys() ^ asked.keys()):
        return f"targets.{name} is {'new' if name in asked else 'no longer in pyproject.toml'}"
    return _difference("targets", locked, asked)


def _difference(path: str, before: object, now: object) -> str | None:
    if before == now:
        return None
    if isinstance(before, Mapping) or isinstance(now, Mapping):
        old, new = before or {}, now or {}
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for name in sorted({*old, *new}):
                if reason := _difference(f"{path}.{name}", old.get(name), new.get(name)):
                    return reason
    if isinstance(before, list) or isinstance(now, list):
        old, new = before or [], now or []
        if isinstance(old, list) and isinstance(new, list) and (old or new):
            return _items(path, old, new)
    if now is None or now == "":
        return f"{path} is no longer in pyproject.toml"
    return f"{path} is new" if before is None else f"{path} changed from {_written(before)} to {_written(now)}"


def _written(value: object) -> str:
    return value if isinstance(value, str) else inline(value)  # type: ignore[arg-type]  # plain TOML values


def _items(path: str, old: list[object], new: list[object]) -> str:
    for item in new:
        if item not in old:
            return f"{path}: {_item(item)} was added"
    for item in old:
        if item not in new:
            return f"{path}: {_item(item)} was removed"
    return f"{path}: the order changed"


def _item(item: object) -> str:
    return f"`{item['name']}`" if isinstance(item, Mapping) and "name" in item else f"`{item}`"


def _texts(requirements: tuple[Requirement, ...]) -> list[object]:
    return sorted({str(_public(requirement)) for requirement in requirements})  # type: ignore[return-value]


def _by_selector(tables: Mapping[str, Mapping[str, T]], plain: Callable[[T], object]) -> dict[str, object]:
    return {
        name: {selector: plain(row) for selector, row in sorted(table.items())}
        for name, table in sorted(tables.items())
        if table
    }


def _rules(rules: NativeRules) -> dict[str, object]:
    return {
        "native": sorted(rules.native),
        "scan": rules.scan.value if rules.scan is not Scan.GPU else "",
        "strict-host": rules.strict_host,
        "one-runtime": sorted(rules.one_runtime),
        "providers": {soname: list(map(str, asked)) for soname, asked in sorted(rules.providers.items())},
        "packages": {name: said for name, one in sorted(rules.packages.items()) if (said := _package(one))},
    }


def _package(rules: PackageRules) -> dict[str, object]:
    missing: dict[str, list[str]] = {}
    for allowed in sorted(set(rules.missing)):
        missing.setdefault(allowed.objects, []).append(allowed.soname)
    said: dict[str, object] = {
        "missing": dict(sorted(missing.items())),
        "live": sorted(rules.live),
        "dormant": sorted(rules.dormant),
        "gpu-code": rules.gpu_code if rules.gpu_code != "check" else "",
        "ptx": "" if rules.ptx else False,
    }
    return {name: value for name, value in said.items() if value or value is False}


def _public(requirement: Requirement) -> Requirement:
    """The requirement as it may be written down: its URL without credentials."""
    return replace(requirement, url=without_credentials(requirement.url)) if requirement.url else requirement


def _index(index: Index) -> dict[str, object]:
    table: dict[str, object] = {
        "name": index.name,
        "path" if index.folder else "url": index.public_location,
        "explicit": index.explicit,
        "default": index.default,
        "packages": list(index.packages),
        "targets": list(index.targets),
    }
    return {name: value for name, value in table.items() if value}


def _source(source: Source) -> dict[str, object]:
    url = without_credentials(source.url) if source.url else None
    table = {"name": source.package, "index": source.index, "url": url, "target": source.target}
    return {name: value for name, value in table.items() if value}
