"""`gpuenv target`: the project's targets, one of them, or what this machine is."""

from typing import Annotated

import typer

from gpuenv.cli.common import IndexFlags, Session
from gpuenv.errors import UsageError

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
) -> None:
    """List the project's targets and whether this machine fits them, show one, or say what this machine is."""
    if action not in _ACTIONS:
        raise UsageError(f"`{action}` is not `list`, `show` or `detect`", hints=[f"gpuenv target show {action}"])
    if action == "detect":
        if check:
            raise UsageError("`--check` goes with `list` and `show`: `detect` looks at no target")
        _detect(session, name)
        return
    if action == "list" and name is not None:
        raise UsageError("`list` takes no name", hints=[f"gpuenv target show {name}"])
    from gpuenv.report.target import target_document, target_page, targets_page
    from gpuenv.workflow import target as work

    judged = work.judge(session.project(IndexFlags((), None)))
    if action == "show":
        judged = (work.named(judged, name),)
    documents = [target_document(one.target, one.dependencies, one.lacks, one.taken) for one in judged]
    session.answer(documents[0] if action == "show" else {"targets": documents})
    if session.as_json:
        raise typer.Exit(int(check and all(one.lacks for one in judged)))
    if action == "show":
        session.show(target_page(judged[0].target, judged[0].dependencies, judged[0].lacks))
    else:
        session.show(targets_page((one.target, one.lacks, one.taken) for one in judged))
    if check:
        work.check(judged)


def _detect(session: Session, name: str | None) -> None:
    from gpuenv.report.target import machine_document, machine_page, unknown_gpus
    from gpuenv.workflow import target as work

    project = session.here()
    machine = work.this_machine(project)
    tables = {one.name: work.pasteable(one) for one in work.describe(project, machine, name)}
    session.warn(unknown_gpus(machine))
    session.answer(machine_document(machine, tables))
    session.show("\n\n".join([machine_page(machine), *(table.rstrip("\n") for table in tables.values())]))
