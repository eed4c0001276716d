"""Which locked target this machine takes, which interpreter runs it, and which files of artifacts its store has."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuenv.errors import InterpreterMissing, Misfit
from gpuenv.host.interpreters import choose, find_interpreters, requested
from gpuenv.host.machine import detect
from gpuenv.model.interpreter import Interpreter
from gpuenv.model.lock import Lock, LockedArtifact, LockedTarget
from gpuenv.model.machine import Machine, lacks
from gpuenv.store.store import Store
from gpuenv.workflow.locked import targets_of
from gpuenv.workflow.project import Project

__all__ = ["Selected", "as_stored", "fits_first", "select"]


@dataclass(frozen=True, slots=True)
class Selected:
    """A locked target, its interpreter, the machine, and what it lacks where the user named the target anyway."""

    locked: LockedTarget
    interpreter: Interpreter
    machine: Machine
    warnings: tuple[str, ...] = ()


def select(project: Project, lock: Lock, *, target: str | None, python: str | None) -> Selected:
    """The named target, or the first of the manifest that this machine fits; raises Misfit if there is none."""
    found = find_interpreters(
        project.environ, project.cache, extra=requested(python) if python else (), own=sys.executable
    )
    machine = detect(project.environ)
    if target is not None:
        locked = targets_of(lock, target)[target]
        interpreter = choose(locked.target.python, found, request=python)
        return Selected(
            locked, interpreter, machine, tuple(f"target {target}: {what}" for what in lacks(machine, locked.target))
        )
    misfits = {}
    for name in _in_manifest_order(project, lock):
        locked = lock.targets[name]
        answer = _fit(machine, locked, found, python)
        if isinstance(answer, Interpreter):
            return Selected(locked, answer, machine)
        misfits[name] = answer
    raise _nothing_fits(misfits)


def fits_first(project: Project, lock: Lock, machine: Machine) -> str:
    """The first target of the manifest that the machine fits; the first of all where it fits none."""
    names = _in_manifest_order(project, lock)
    return next((name for name in names if not lacks(machine, lock.targets[name].target)), names[0])


def _in_manifest_order(project: Project, lock: Lock) -> Sequence[str]:
    stated = [name for name in project.manifest.targets if name in lock.targets]
    return stated or sorted(lock.targets)


def _fit(
    machine: Machine, locked: LockedTarget, found: Sequence[Interpreter], python: str | None
) -> Interpreter | Misfit:
    if missing := lacks(machine, locked.target):
        return Misfit("; ".join(missing))
    try:
        return choose(locked.target.python, found, request=python)
    except InterpreterMissing as error:
        return error


def _nothing_fits(misfits: dict[str, Misfit]) -> Misfit:
    """The only target's own reason, or a table with one for each."""
    if len(misfits) == 1:
        (name, only), *_ = misfits.items()
        only.causes = only.causes or (only.message,)
        if not isinstance(only, InterpreterMissing):
            only.message = f"this machine does not fit target {name}"
            only.hints = (f"make it all the same: gpuenv sync --target {name}",)
        return only
    table = [f"{name}: {misfit.message}" for name, misfit in misfits.items()]
    listed = next((error.causes for error in misfits.values() if isinstance(error, InterpreterMissing)), ())
    return Misfit(
        "this machine fits none of the project's targets",
        causes=[*table, *listed],
        hints=["name one to make it all the same: gpuenv sync --target NAME"],
    )


def as_stored(artifacts: Mapping[str, LockedArtifact], store: Store) -> dict[str, LockedArtifact]:
    """The artifacts, by name; for a bundle that the store lacks the wheel that it was, if the store has that."""
    return {name: _as_stored(artifact, store) for name, artifact in artifacts.items()}


def _as_stored(artifact: LockedArtifact, store: Store) -> LockedArtifact:
    wheel, called = artifact.wheel, (artifact.name, artifact.version)
    if wheel is None or store.find(artifact.sha256, called) is not None or store.find(wheel.sha256, called) is None:
        return artifact
    return wheel
