"""`gpuenv target`: the project's targets, one of them, or what this machine is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpuenv.cli.common import IndexFlags, Session
from gpuenv.errors import UsageError

if TYPE_CHECKING:
    from gpuenv.model.machine import Machine
    from gpuenv.model.properties import Told
    from gpuenv.workflow.project import Project
    from gpuenv.workflow.target import Judged

__all__ = ["target"]

_ACTIONS = ("list", "show", "detect")


def target(
    session: Session,
    *,
    action: Annotated[
        str,
        typer.Argument(
            metavar="[list|show|detect]",
            help="The project's targets (the default), one of them in full, or what this machine is.",
        ),
    ] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="With `show`, the target; default: the one that sync takes, else the first. "
            "With `detect`, what to call the target that describes this machine.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail unless this machine fits the target shown, or any of those listed.")
    ] = False,
    plugins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="With `detect`, also run this variant provider, in an environment of its own, and take what it says "
            "of this machine into the target.",
        ),
    ] = None,
) -> None:
    """List the project's targets and whether this machine fits them, show one, or say what this machine is."""
    if action not in _ACTIONS:
        raise UsageError(f"`{action}` is not `list`, `show` or `detect`", hints=[f"gpuenv target show {action}"])
    if action == "detect":
        if check:
            raise UsageError("`--check` goes with `list` and `show`: `detect` looks at no target")
        _detect(session, name, plugins or [])
        return
    if plugins:
        raise UsageError("`--plugins` goes with `detect`", hints=[f"gpuenv target detect --plugins {plugins[0]}"])
    if action == "list" and name is not None:
        raise UsageError("`list` takes no name", hints=[f"gpuenv target show {name}"])
    from gpuenv.workflow import target as work

    judged = work.judge(session.project(IndexFlags((), None)))
    if action == "show":
        judged = (work.named(judged, name),)
        _show(session, judged[0])
    else:
        _list(session, judged)
    if session.as_json:
        raise typer.Exit(int(check and all(one.lacks for one in judged)))
    if check:
        work.check(judged)


def _list(session: Session, judged: "Sequence[Judged]") -> None:
    from gpuenv.report.target import target_document, targets_page

    documents = [target_document(one.target, one.dependencies, one.lacks, one.taken) for one in judged]
    session.answer({"targets": documents})
    session.show(targets_page((one.target, one.lacks, one.taken) for one in judged))


def _show(session: Session, one: "Judged") -> None:
    from gpuenv.model.properties import supported_properties
    from gpuenv.report.target import supports_document, target_document, target_page

    supports = supported_properties(one.target)
    document = target_document(one.target, one.dependencies, one.lacks, one.taken)
    session.answer({**document, "supports": supports_document(one.target, supports)})
    session.show(target_page(one.target, one.dependencies, one.lacks, supports))


def _detect(session: Session, name: str | None, plugins: Sequence[str]) -> None:
    from gpuenv.report.target import machine_document, machine_page, told_page, unknown_gpus
    from gpuenv.workflow import target as work

    project = session.here()
    machine = work.this_machine(project)
    targets, told = work.describe(project, machine, name), _told(project, machine, plugins)
    if told:
        from gpuenv.model.properties import with_told

        targets = [with_told(target, told) for target in targets]
    tables = {one.name: work.pasteable(one) for one in targets}
    session.warn(unknown_gpus(machine))
    session.answer(machine_document(machine, tables, told))
    pages = [machine_page(machine), *([told_page(told)] if told else [])]
    session.show("\n\n".join([*pages, *(table.rstrip("\n") for table in tables.values())]))


def _told(project: "Project", machine: "Machine", plugins: Sequence[str]) -> "tuple[Told, ...]":
    if not plugins:
        return ()
    from gpuenv.workflow.plugins import ask

    answer = ask(project, machine, plugins)
    if isinstance(answer, tuple):
        return answer
    from gpuenv.report.conflict import no_solution

    raise no_solution(answer)
