"""The flags of each command, then one workflow call, then words."""

from typing import Annotated, TypeVar

import typer

from gpuenv.cli.common import Session, command
from gpuenv.workflow.lock import LockMode, LockResult, why_stale
from gpuenv.workflow.lock import check as check_lock
from gpuenv.workflow.lock import lock as run_lock

__all__ = ["register"]

Answer = TypeVar("Answer")

Index = Annotated[
    list[str] | None,
    typer.Option(help="A further index, NAME=URL or a folder, before those of the manifest.", metavar="[NAME=]URL"),
]
DefaultIndex = Annotated[
    str | None,
    typer.Option(help="The index to ask last.", envvar=["GPUENV_DEFAULT_INDEX", "UV_DEFAULT_INDEX"], metavar="URL"),
]
Upgrade = Annotated[bool, typer.Option("--upgrade", "-U", help="Forget the present pins.")]
UpgradePackage = Annotated[
    list[str] | None, typer.Option("--upgrade-package", "-P", help="Forget the pin of one package.", metavar="NAME")
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Believe no cached index page.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app, in the order of the help."""
    command(app, "lock")(lock)


def lock(
    session: Session,
    *,
    check: Annotated[bool, typer.Option("--check", help="Fail if gpuenv.lock is stale; write nothing.")] = False,
    upgrade: Upgrade = False,
    upgrade_package: UpgradePackage = None,
    refresh: Refresh = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Solve, say what would change, write nothing.")] = False,
    index: Index = None,
    default_index: DefaultIndex = None,
) -> None:
    """Solve every target and write gpuenv.lock."""
    project = session.project(refresh=refresh, index=index, default_index=default_index)
    if check:
        if session.as_json:
            reason = why_stale(project)
            session.answer({"fresh": reason is None, "reason": reason})
            raise typer.Exit(0 if reason is None else 1)
        check_lock(project)
        session.say("gpuenv.lock answers pyproject.toml")
        return
    mode = LockMode.DRY_RUN if dry_run else LockMode.WRITE
    result = _solved(run_lock(project, mode=mode, upgrade=upgrade, upgrade_packages=upgrade_package or ()))
    session.warn(result.warnings)
    if session.as_json:
        from gpuenv.report.document import lock_document

        session.answer(lock_document(project.decode_lock(result.data), result.changed, result.changes, result.warnings))
    elif not result.changed:
        session.say("gpuenv.lock is up to date")
    else:
        from gpuenv.report.difference import lock_summary

        session.say(lock_summary(project.decode_lock(result.data), result.changes, dry_run=dry_run))


def _solved(answer: object) -> LockResult:
    """The result, or NoSolution in words."""
    if isinstance(answer, LockResult):
        return answer
    from gpuenv.report.conflict import no_solution

    raise no_solution(answer)  # type: ignore[arg-type]
