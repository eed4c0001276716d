"""Lock -> text: same lock, same bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from gpuenv.model.demand import HostDemand
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage
from gpuenv.model.target import stated
from gpuenv.toml.write import Value, inline, key, quote

__all__ = ["VERSION", "encode"]

VERSION = 1


def encode(lock: Lock) -> str:
    """The text of gpuenv.lock."""
    bases = {index.name: _base(index, lock.artifacts.values()) for index in lock.indexes}
    return "\n".join([*_head(lock), *_indexes(lock, bases), *_artifacts(lock, bases), *_targets(lock)]) + "\n"


def _head(lock: Lock) -> Iterator[str]:
    yield "# Made by gpuenv; edit pyproject.toml and run `gpuenv lock`."
    yield f"version = {VERSION}"
    if lock.exclude_newer:
        yield f"exclude-newer = {quote(lock.exclude_newer)}"
    if lock.providers:
        yield f"providers = {quote(lock.providers)}"
    yield ""
    yield "[inputs]"
    for name, value in lock.inputs.items():
        yield from _input(name, value)


def _input(name: str, value: object) -> Iterator[str]:
    """Lists and tables get a line an item, so that a changed requirement is a changed line."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _input(f"{name}.{key(inner)}", item)
    elif isinstance(value, list):
        yield f"{name} = ["
        yield from (f"  {inline(item)}," for item in value)
        yield "]"
    else:
        yield f"{name} = {inline(value)}"  # type: ignore[arg-type]  # inputs_of makes plain TOML values


def _indexes(lock: Lock, bases: Mapping[str, str]) -> Iterator[str]:
    for index in lock.indexes:
        yield ""
        yield "[[index]]"
        yield f"name = {quote(index.name)}"
        if index.location is not None:
            yield f"{'path' if index.folder else 'url'} = {quote(index.location)}"
        if bases[index.name]:
            yield f"files = {quote(bases[index.name])}"


def _artifacts(lock: Lock, bases: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield "[artifacts]"
    for identity, artifact in sorted(lock.artifacts.items()):
        base = bases.get(artifact.index or "", "")
        where: dict[str, Value] = {"index": artifact.index} if artifact.index else {}
        if artifact.index and artifact.url.startswith(base):
            where["path"] = artifact.url.removeprefix(base)
        else:
            where["url"] = artifact.url
        line = {**where, "sha256": artifact.sha256, "size": artifact.size}
        if artifact.facts:
            line["facts"] = artifact.facts
        if artifact.origin:
            line["origin"] = artifact.origin
        if artifact.variant:
            line["variant"] = {"label": artifact.variant.label, "properties": list(artifact.variant.properties)}
        yield f"{quote(identity)} = {inline(line)}"


def _targets(lock: Lock) -> Iterator[str]:
    for target, locked in sorted(lock.targets.items()):
        yield ""
        yield f"[targets.{key(target)}]"
        yield from (f"{fact} = {inline(value)}" for fact, value in stated(locked.target).items())
        yield f"environment = {quote(lock.environment(locked, locked.packages.values()))}"
        yield f"roots = {inline({root: list(keys) for root, keys in sorted(locked.roots.items())})}"
        for name, value in _native(locked.libraries, locked.host).items():
            yield f"{name} = {inline(value)}"
        yield "packages = ["
        yield from (f"  {inline(_package(package))}," for _, package in sorted(locked.packages.items()))
        yield "]"


def _package(package: LockedPackage) -> dict[str, Value]:
    line: dict[str, Value] = {"use": package.artifact}
    if package.requires:
        line["requires"] = list(package.requires)
    if package.extras:
        line["extras"] = {extra: list(keys) for extra, keys in sorted(package.extras.items())}
    if package.default_extras:
        line["default-extras"] = dict(sorted(package.default_extras.items()))
    if package.instead_of:
        line["instead-of"] = list(package.instead_of)
    line |= _native(package.libraries, package.host)
    if package.runtime is not None:
        line["runtime"] = package.runtime
    return line


def _native(libraries: Mapping[str, tuple[str, ...]], host: Iterable[HostDemand]) -> dict[str, Value]:
    """What binaries need: of other distributions, and of the machine; what they need nothing of is left out."""
    found: dict[str, Value] = {}
    if libraries:
        found["libraries"] = {name: list(sonames) for name, sonames in sorted(libraries.items())}
    demands: dict[str, Value] = {
        one.soname: {"by": one.by, "versions": list(one.versions)} if one.versions else one.by for one in sorted(host)
    }
    return found | {"host": demands} if demands else found


def _base(index: LockedIndex, artifacts: Iterable[LockedArtifact]) -> str:
    """Where the index's files live: scheme, host and first folder of most of them; "" for folders of wheels."""
    if index.folder:
        return ""
    votes: Counter[str] = Counter()
    for artifact in artifacts:
        if artifact.index == index.name:
            url = urlsplit(artifact.url)
            first = url.path.split("/")[1] + "/" if url.path.count("/") > 1 else ""
            votes[f"{url.scheme}://{url.netloc}/{first}"] += 1
    return min(votes, key=lambda base: (-votes[base], base), default="")
