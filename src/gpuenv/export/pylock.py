"""A locked target as `pylock.toml` (PEP 751), checked by `packaging` before anybody gets it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from packaging.pylock import Pylock, PylockValidationError

from gpuenv.errors import Inexpressible
from gpuenv.model.filename import BUNDLE, label_of
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.target import PLATFORMS, Target
from gpuenv.model.version import parse_version
from gpuenv.toml.write import inline

__all__ = ["Placed", "pylock", "requirements"]

_SHOWN = 5


class Placed(NamedTuple):
    """An artifact and where it is. url: absolute. path: relative to the exported file. index_url: None for a folder."""

    artifact: LockedArtifact
    url: str | None
    path: str | None
    index_url: str | None


def pylock(target: Target, placed: Iterable[Placed]) -> str:
    """The text of the file for one target; the same lock gives the same text.

    Raises Inexpressible for artifacts that the standard has no words for: variants, bundles.
    """
    rows = _rows(placed)
    document = {
        "lock-version": "1.0",
        "environments": [_environment(target)],
        "requires-python": "=={}.{}.*".format(*target.python_minor),
        "created-by": "gpuenv",
        "packages": [_package(one) for one in rows],
    }
    try:
        Pylock.from_dict(document)
    except PylockValidationError as error:
        raise Inexpressible(f"no pylock.toml can say what target {target.name} has", causes=[str(error)]) from None
    return "".join(f"{line}\n" for line in _lines(document))


def requirements(target: Target, placed: Iterable[Placed]) -> str:
    """The same as requirements with hashes, for `pip install --require-hashes`; whose index is left to the user."""
    rows = _rows(placed)
    lines = [f"# target {target.name}: {_environment(target)}, Python {'.'.join(map(str, target.python_minor))}"]
    lines += [f"{_requirement(one)} --hash=sha256:{one.artifact.sha256}" for one in rows]
    return "".join(f"{line}\n" for line in lines)


def _requirement(one: Placed) -> str:
    artifact = one.artifact
    if artifact.index is not None:
        return f"{artifact.name}=={artifact.version}"
    return f"{artifact.name} @ {one.url}" if one.url is not None else f"./{one.path}"


def _rows(placed: Iterable[Placed]) -> list[Placed]:
    """All of them by name; raises Inexpressible where some cannot be named, with the reason of each."""
    rows = sorted(placed, key=lambda one: one.artifact.name)
    wrong = [(row.artifact, why) for row in rows if (why := _inexpressible(row.artifact)) is not None]
    if not wrong:
        return rows
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    bundles = [one for one, _ in wrong if not label_of(one.filename)]
    raise Inexpressible(
        "other installers do not know what the lock has",
        causes=[*(f"{one.filename} {why}" for one, why in wrong[:_SHOWN]), *more],
        hints=["offer wheels instead of bundles: gpuenv repack --to wheel FILE"] if bundles else [],
    )


def _inexpressible(artifact: LockedArtifact) -> str | None:
    """Why no other format can name a file; None where it can."""
    if label_of(artifact.filename):
        return "is a wheel variant, and PEP 751 has no such file names"
    if artifact.filename.endswith(BUNDLE):
        return "is a bundle, and other installers take wheels alone"
    return None


def _environment(target: Target) -> str:
    sys_platform, _, _, machine = PLATFORMS[target.platform]
    return f'sys_platform == "{sys_platform}" and platform_machine == "{machine}" and implementation_name == "cpython"'


def _package(one: Placed) -> dict[str, Any]:
    artifact = one.artifact
    wheel: dict[str, Any] = {"name": artifact.filename}
    wheel |= {"url": one.url} if one.url is not None else {"path": one.path}
    wheel |= {"size": artifact.size} if artifact.size else {}
    wheel["hashes"] = {"sha256": artifact.sha256}
    index = {"index": one.index_url} if one.index_url else {}
    return {"name": artifact.name, "version": str(parse_version(artifact.version)), **index, "wheels": [wheel]}


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    packages: Sequence[Mapping[str, Any]] = document["packages"]
    for key, value in document.items():
        if key != "packages":
            yield f"{key} = {inline(value)}"
    if not packages:
        yield "packages = []"
    for package in packages:
        yield ""
        yield "[[packages]]"
        yield from (f"{key} = {inline(value)}" for key, value in package.items())
