"""From solutions to the Lock: each artifact once, nothing of the machine that solved."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gpuenv.lock import inputs_of
from gpuenv.model.answer import Pin, Solution
from gpuenv.model.filename import version_of
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.manifest import Index
from gpuenv.workflow.project import Project
from gpuenv.workflow.published import shipped_providers
from gpuenv.workflow.route import Routes

__all__ = ["assembled"]


def assembled(project: Project, routes: Routes, solutions: Mapping[str, Solution], exclude_newer: str | None) -> Lock:
    """The Lock of one solution a target. Files of one name and two digests are told apart by `NAME#digest`."""
    artifacts: dict[tuple[str, str], LockedArtifact] = {}
    for target, solution in solutions.items():
        urls = routes.urls(target)
        for pin in solution.pins.values():
            artifact = _artifact(project, routes, pin, urls)
            known = artifacts.get((artifact.filename, artifact.sha256))
            if known is None or known.facts is None:  # one target may rely on facts that another did not ask for
                artifacts[artifact.filename, artifact.sha256] = artifact
    twins = Counter(filename for filename, _ in artifacts)
    identities = {
        (filename, sha256): filename if twins[filename] == 1 else f"{filename}#{sha256[:8]}"
        for filename, sha256 in artifacts
    }
    used = sorted({artifact.index for artifact in artifacts.values() if artifact.index})
    return Lock(
        inputs=inputs_of(project.manifest),
        exclude_newer=exclude_newer,
        indexes=tuple(_index(project, routes.by_name[name]) for name in used),
        artifacts={identities[key]: artifact for key, artifact in artifacts.items()},
        targets={name: _target(project, name, solution, identities) for name, solution in solutions.items()},
        providers=shipped_providers().digest if any(artifact.facts for artifact in artifacts.values()) else None,
    )


def _index(project: Project, index: Index) -> LockedIndex:
    """The default index stays nameless: every machine has its own."""
    return LockedIndex(index.name, None if index is project.default_index else index.public_location, index.folder)


def _target(project: Project, name: str, solution: Solution, identities: Mapping[tuple[str, str], str]) -> LockedTarget:
    packages = {
        pin.name: LockedPackage(
            pin.name,
            identities[pin.wheel.filename, pin.wheel.sha256 or ""],
            pin.requires,
            pin.extras,
            pin.libraries,
            pin.host,
            pin.runtime,
            _reasons(pin),
            pin.instead_of,
        )
        for pin in solution.pins.values()
    }
    roots = {root: keys for root, keys in solution.roots.items() if keys}
    target = project.manifest.targets[name]
    return LockedTarget(target, roots, packages, solution.libraries, solution.host)


def _reasons(pin: Pin) -> dict[str, str]:
    """The rules that chose default extras, by extra; several GPUs may have chosen one by several."""
    found: dict[str, list[str]] = {}
    for chosen in pin.default_extras:
        found.setdefault(chosen.extra, []).append(chosen.why)
    return {extra: "; ".join(rules) for extra, rules in found.items()}


def _artifact(project: Project, routes: Routes, pin: Pin, urls: Mapping[str, str]) -> LockedArtifact:
    wheel = pin.wheel
    url = wheel.url
    if pin.index is None:
        url = _as_written(project, url, urls.get(pin.name))
    elif routes.by_name[pin.index].folder:
        folder = project.root / routes.by_name[pin.index].location
        url = Path(os.path.relpath(_path_of(url), folder.resolve())).as_posix()
    name, version, sha256, size = pin.name, version_of(wheel.filename), wheel.sha256 or "", wheel.size or 0
    told = pin.facts, pin.origin, pin.variant
    return LockedArtifact(wheel.filename, name, version, pin.index, url, sha256, size, *told)


def _as_written(project: Project, url: str, written: str | None) -> str:
    """A direct URL; a wheel inside the project's folder by its relative path, so that no machine's path is locked."""
    if written is not None and "://" not in written:
        return written
    if url.startswith("file:"):
        path = _path_of(url)
        if path.is_relative_to(project.root.resolve()):
            return path.relative_to(project.root.resolve()).as_posix()
    return url


def _path_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)).resolve()
