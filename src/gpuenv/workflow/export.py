"""export: targets of the lock, as it is, in files that other installers read."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gpuenv.errors import UsageError
from gpuenv.export.pylock import Placed, pylock, requirements
from gpuenv.model.lock import Lock, LockedArtifact, LockedPackage, LockedTarget
from gpuenv.workflow.lock import check
from gpuenv.workflow.locked import read_lock, targets_of
from gpuenv.workflow.project import Project, write_atomically

__all__ = ["Exported", "Format", "export"]

Format = Literal["pylock", "requirements"]


class Exported(NamedTuple):
    """A file of one target. changed: it held something else, or was not there. unbound: packages, sorted, whose
    binaries need libraries of other packages, which only gpuenv puts where they are found.
    """

    target: str
    path: Path
    packages: int
    changed: bool
    unbound: tuple[str, ...]


def export(
    project: Project,
    roots: Sequence[str],
    *,
    kind: Format,
    target: str | None = None,
    output: Path | None = None,
    frozen: bool = False,
) -> list[Exported]:
    """Write a file for each target, or for the named one. roots: what of the lock is wanted, as `sync.roots_of` has it.

    output: of the only target; default: beside pyproject.toml, named after the target. frozen: the lock need not answer
    pyproject.toml. Raises StaleLock, and Inexpressible before anything is written.
    """
    lock = read_lock(project)
    if not frozen:
        check(project)
    chosen = targets_of(lock, target)
    if output is not None and len(chosen) > 1:
        hints = [f"gpuenv export --target {next(iter(chosen))} -o {output}"]
        raise UsageError(f"{output} can hold one target", hints=hints)
    _refuse_path(kind, output)
    files = []
    for name, locked in chosen.items():
        path = output or project.root / _filename(kind, name, alone=len(lock.targets) == 1)
        packages = locked.reachable(roots)
        placed = [_placed(project, lock, lock.artifacts[one.artifact], path) for one in packages]
        text = pylock(locked.target, placed) if kind == "pylock" else requirements(locked.target, placed)
        files.append((locked, path, packages, text.encode()))
    return [_written(*file) for file in files]


def _filename(kind: Format, target: str, *, alone: bool) -> str:
    """PEP 751 allows one name between the two dots, without dots of its own."""
    name = "" if alone else f".{target.replace('.', '-')}"
    return f"pylock{name}.toml" if kind == "pylock" else f"requirements{name}.txt"


def _refuse_path(kind: Format, output: Path | None) -> None:
    if output is None or kind != "pylock":
        return
    parts = output.name.split(".")
    if parts[0] != "pylock" or parts[-1] != "toml" or len(parts) not in (2, 3) or not all(parts):
        hints = ["for example -o pylock.toml, -o pylock.gpu.toml"]
        raise UsageError(f"installers take no {output.name} for a pylock.toml (PEP 751)", hints=hints)


def _placed(project: Project, lock: Lock, artifact: LockedArtifact, output: Path) -> Placed:
    index = next((one for one in lock.indexes if one.name == artifact.index), None)
    if "://" in artifact.url:
        return Placed(artifact, artifact.url, None, index.location if index and not index.folder else None)
    inside = posixpath.join(index.location or ".", artifact.url) if index and index.folder else artifact.url
    path = os.path.relpath(os.path.abspath(project.root / inside), os.path.abspath(output.parent))  # noqa: PTH100
    return Placed(artifact, None, Path(path).as_posix(), None)


def _written(locked: LockedTarget, path: Path, packages: Sequence[LockedPackage], data: bytes) -> Exported:
    changed = not path.is_file() or path.read_bytes() != data
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    unbound = tuple(sorted(one.name for one in packages if _others(one.libraries, one.name)))
    return Exported(locked.target.name, path, len(packages), changed, unbound)


def _others(libraries: Mapping[str, Sequence[str]], own: str) -> bool:
    return any(name != own for name in libraries)
