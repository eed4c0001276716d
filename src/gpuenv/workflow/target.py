"""target: what this machine is, the target that describes it, and which of the project's targets it fits."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuenv.errors import InterpreterMissing, ManifestError, Misfit, UsageError
from gpuenv.host.interpreters import choose, find_interpreters
from gpuenv.host.machine import detect
from gpuenv.model.machine import Machine, lacks
from gpuenv.model.target import SUPPORTED_PYTHONS, Target
from gpuenv.workflow.project import Project

if TYPE_CHECKING:
    from gpuenv.model.interpreter import Interpreter

__all__ = ["Judged", "check", "describe", "judge", "named", "pasteable", "this_machine"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A target of the project. dependencies: what it alone requires. lacks: what this machine lacks for it.

    taken: `sync` takes it by itself, for it is the first that this machine fits.
    """

    target: Target
    dependencies: tuple[str, ...]
    lacks: tuple[str, ...]
    taken: bool = False


def this_machine(project: Project) -> Machine:
    """What this machine is, as found and as variables say."""
    return detect(project.environ)


def judge(project: Project) -> tuple[Judged, ...]:
    """The project's targets in the order of the manifest."""
    machine, found = this_machine(project), _interpreters(project)
    manifest = project.manifest
    judged: list[Judged] = []
    for name, target in manifest.targets.items():
        own = tuple(str(requirement) for requirement in manifest.target_dependencies.get(name, ()))
        missing = _lacks(machine, target, found)
        judged.append(Judged(target, own, missing, not missing and not any(one.taken for one in judged)))
    return tuple(judged)


def named(judged: Sequence[Judged], name: str | None) -> Judged:
    """The target of that name; without a name the one that `sync` takes, else the first."""
    if name is None:
        return next((one for one in judged if one.taken), judged[0])
    for one in judged:
        if one.target.name == name:
            return one
    from gpuenv.manifest.node import nearest

    raise UsageError(
        f"`{name}` is not a target of this project", hints=nearest(name, (one.target.name for one in judged))
    )


def check(judged: Sequence[Judged]) -> None:
    """Raise Misfit unless this machine fits one of these targets."""
    if any(not one.lacks for one in judged):
        return
    if len(judged) == 1:
        raise Misfit(f"this machine does not fit target {judged[0].target.name}", causes=judged[0].lacks)
    causes = [f"{one.target.name}: {'; '.join(one.lacks)}" for one in judged]
    raise Misfit("this machine fits none of the project's targets", causes=causes)


def describe(
    project: Project, machine: Machine, name: str | None = None, requires_python: str | None = None
) -> list[Target]:
    """Targets for what this machine is: one for each vendor of its GPUs, the one with more GPUs first; or one without.

    name: of the first; by default the architectures themselves, or `cpu`. requires_python: the project's, by default
    that of pyproject.toml if there is a readable one.
    """
    of_vendor = {
        vendor: [device for device in machine.devices if device.vendor == vendor and device.arch]
        for vendor in ("nvidia", "amd")
    }
    vendors = sorted((vendor for vendor in of_vendor if of_vendor[vendor]), key=lambda v: -len(of_vendor[v]))
    kinds = [tuple(sorted({device.arch or "" for device in of_vendor[vendor]})) for vendor in vendors] or [()]
    python = _python(project, _requires_python(project) if requires_python is None else requires_python)
    return [
        Target(
            "-".join(gpus) or "cpu" if name is None else name if number == 0 else f"{name}-{vendors[number]}",
            platform=machine.platform,
            python=python,
            glibc=_glibc(machine),
            musl=machine.musl,
            macos=machine.macos,
            gpu=gpus,
            cuda=machine.cuda_level if gpus and gpus[0].startswith("sm_") else None,
        )
        for number, gpus in enumerate(kinds)
    ]


def pasteable(target: Target) -> str:
    """The target's table as pyproject.toml has it; raises UsageError if it cannot be one."""
    from gpuenv.manifest.edit import init_table

    # an environment that serves all of several architectures may be hard to find: who pastes this should know
    note = "# the environment has to serve every architecture of `gpu`\n" if len(target.gpu) > 1 else ""
    before = '[project]\nname = "project"\nversion = "0.1.0"\n'
    try:
        after = init_table(before, name="project", targets=[target])
    except ManifestError as error:
        what = (*error.causes, error.message)[0].rpartition(": ")[2]
        raise UsageError(what, hints=["a name has lower-case letters, digits, `.`, `_` and `-`"]) from None
    return f"{note}{after.removeprefix(before).strip()}\n"


def _lacks(machine: Machine, target: Target, found: "Sequence[Interpreter]") -> tuple[str, ...]:
    missing = lacks(machine, target)
    if machine.platform != target.platform:
        return missing
    try:
        choose(target.python, found)
    except InterpreterMissing as error:
        return (*missing, error.message)
    return missing


def _interpreters(project: Project) -> "list[Interpreter]":
    return find_interpreters(project.environ, project.cache, own=sys.executable)


def _python(project: Project, requires_python: str) -> str:
    """The Python of the first usable interpreter that the project admits, else the one of a plain target."""
    from gpuenv.model.version import parse_specifier

    admits = parse_specifier(requires_python).contains
    found = [one for one in _interpreters(project) if one.implementation == "CPython"]
    usable = [
        one.tag for one in found if one.minor in SUPPORTED_PYTHONS and not one.free_threaded and admits(one.version)
    ]
    return usable[0] if usable else Target("").python


def _glibc(machine: Machine) -> str | None:
    """2.28, which most wheels are built for, so that the target fits others too; less where this machine has less."""
    if machine.musl or not machine.platform.startswith("linux-"):
        return None
    have = ".".join((machine.glibc or "2.28").split(".")[:2])
    return min("2.28", have, key=lambda version: tuple(map(int, version.split("."))))


def _requires_python(project: Project) -> str:
    try:
        return project.manifest.requires_python
    except (ManifestError, UsageError):
        return ""
