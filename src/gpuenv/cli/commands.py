"""The flags of each command, then one workflow call, then words."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gpuenv.cli import options as o
from gpuenv.cli.common import Session, command
from gpuenv.cli.doctor import doctor
from gpuenv.cli.export import export
from gpuenv.cli.facts import facts
from gpuenv.cli.generations import generations, rollback
from gpuenv.cli.index import index
from gpuenv.cli.inspect import inspect
from gpuenv.cli.pack import pack
from gpuenv.cli.repack import repack
from gpuenv.cli.store import store
from gpuenv.cli.target import target as target_command
from gpuenv.cli.why import tree, why
from gpuenv.workflow.edit import add as run_add
from gpuenv.workflow.edit import init as run_init
from gpuenv.workflow.edit import remove as run_remove
from gpuenv.workflow.lock import LockMode, LockResult, why_stale
from gpuenv.workflow.lock import check as check_lock
from gpuenv.workflow.lock import lock as run_lock
from gpuenv.workflow.project import Project
from gpuenv.workflow.run import replace_process
from gpuenv.workflow.sync import Asked, SyncResult
from gpuenv.workflow.sync import sync as run_sync

if TYPE_CHECKING:
    from gpuenv.model.answer import Conflict

__all__ = ["register"]

Answer = TypeVar("Answer", LockResult, SyncResult)


def register(app: typer.Typer) -> None:
    """Add the commands to the app, in the order of the help."""
    command(app, "init", init)
    command(app, "add", add)
    command(app, "remove", remove)
    command(app, "lock", lock)
    command(app, "sync", sync)
    command(app, "run", run, context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
    command(app, "tree", tree)
    command(app, "why", why)
    command(app, "target", target_command)
    command(app, "doctor", doctor)
    command(app, "inspect", inspect)
    command(app, "export", export)
    command(app, "pack", pack)
    command(app, "repack", repack)
    command(app, "index", index)
    command(app, "generations", generations)
    command(app, "rollback", rollback)
    app.add_typer(store)
    command(app, "facts", facts)


def init(
    session: Session,
    *,
    target: Annotated[str | None, typer.Option(help="Name of the target; default: `default`.", metavar="NAME")] = None,
    name: Annotated[str | None, typer.Option(help="Name of a new project; default: the folder's.")] = None,
) -> None:
    """Write or complete the table tool.gpuenv of pyproject.toml, with a target that describes this machine."""
    described = run_init(session.here(), target=target, name=name)
    if session.as_json:
        session.answer({"target": described.name, "platform": described.platform, "python": described.python})
    else:
        session.say(f"wrote target {described.name}: {described.platform}, Python {described.python}")


def add(
    session: Session,
    *,
    requirements: Annotated[list[str], typer.Argument(metavar="REQ...", help="Requirements, as in PEP 508.")],
    group: o.EditGroup = None,
    target: o.EditTarget = None,
    no_sync: o.NoSync = False,
    indexes: o.Indexes,
) -> None:
    """Add requirements to pyproject.toml, then lock and sync; where that fails the file is as before."""
    project = session.project(indexes)
    # what was added is wanted at hand, in a group that is not synced by default too
    asked = Asked(groups=(group,) if group else ())
    _edited(session, project, run_add(project, requirements, group=group, target=target), asked, sync=not no_sync)


def remove(
    session: Session,
    *,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Distributions.")],
    group: o.EditGroup = None,
    target: o.EditTarget = None,
    no_sync: o.NoSync = False,
    indexes: o.Indexes,
) -> None:
    """Remove requirements from pyproject.toml, then lock and sync; where that fails the file is as before."""
    project = session.project(indexes)
    answer = run_remove(project, names, group=group, target=target)
    _edited(session, project, answer, Asked(), sync=not no_sync)


def lock(
    session: Session,
    *,
    check: Annotated[bool, typer.Option("--check", help="Fail if gpuenv.lock is stale; write nothing.")] = False,
    upgrade: o.Upgrade = False,
    upgrade_package: o.UpgradePackage = None,
    refresh: o.Refresh = False,
    dry_run: o.DryRun = False,
    indexes: o.Indexes,
) -> None:
    """Solve every target and write gpuenv.lock."""
    project = session.project(indexes, refresh=refresh)
    if check:
        _check(session, project)
        return
    mode = LockMode.DRY_RUN if dry_run else LockMode.WRITE
    result = _solved(run_lock(project, mode=mode, upgrade=upgrade, upgrade_packages=upgrade_package or ()))
    if session.as_json:
        session.answer(_lock_document(project, result))
    else:
        _tell_lock(session, project, result, dry_run=dry_run)


def sync(
    session: Session,
    *,
    asked: o.Environment,
    use: o.WithLock,
    reinstall: o.Reinstall = False,
    dry_run: o.DryRun = False,
    indexes: o.Indexes,
) -> None:
    """Make .venv hold exactly what gpuenv.lock says for this machine's target."""
    project = session.project(indexes)
    result = _solved(run_sync(project, asked, use=use, dry_run=dry_run, anew=reinstall))
    if session.as_json:
        from gpuenv.report.document import sync_document

        session.answer(
            sync_document(result.target, result.environment, result.view, result.changed, result.plan, result.warnings)
        )
    else:
        _tell_sync(session, result, dry_run=dry_run)


def run(
    session: Session,
    *,
    arguments: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="The command and its arguments.")],
    asked: o.Environment,
    use: o.WithLock,
    no_sync: o.NoSync = False,
    indexes: o.Indexes,
) -> None:
    """Sync if needed, then become the command; the exit code is the command's. What others installed stays."""
    project = session.project(indexes)
    if not no_sync:
        result = _solved(run_sync(project, asked, use=use, exact=False))
        if result.changed:
            _tell_sync(session, result)
    replace_process(project.venv, arguments, project.environ)


def _check(session: Session, project: Project) -> None:
    if not session.as_json:
        check_lock(project)
        session.say("gpuenv.lock answers pyproject.toml")
        return
    reason = why_stale(project)
    session.answer({"fresh": reason is None, "reason": reason})
    raise typer.Exit(0 if reason is None else 1)


def _edited(session: Session, project: Project, answer: "LockResult | Conflict", asked: Asked, *, sync: bool) -> None:
    """What `add` and `remove` do after the edit: sync, and tell."""
    locked = _solved(answer)
    synced = _solved(run_sync(project.afresh(), asked)) if sync else None
    if session.as_json:
        session.answer({**_lock_document(project, locked), "view": str(synced.view) if synced else None})
        return
    if synced is None:
        _tell_lock(session, project, locked)
    else:
        session.warn(locked.warnings)
        _tell_passed_over(session, locked)
        _tell_sync(session, synced)


def _lock_document(project: Project, result: LockResult) -> dict[str, object]:
    from gpuenv.report.document import lock_document

    now = project.decode_lock(result.data)
    return lock_document(now, result.changed, result.changes, result.warnings, result.passed_over, result.saved)


def _tell_lock(session: Session, project: Project, result: LockResult, *, dry_run: bool = False) -> None:
    session.warn(result.warnings)
    if result.changed:
        from gpuenv.report.difference import lock_summary

        now = project.decode_lock(result.data)
        session.say(lock_summary(now, result.changes, dry_run=dry_run, saved=result.saved))
    else:
        session.say("gpuenv.lock is up to date")
    _tell_passed_over(session, result)


def _tell_passed_over(session: Session, result: LockResult | SyncResult) -> None:
    if result.passed_over:
        from gpuenv.report.difference import passed_over

        for note in passed_over(result.passed_over):
            session.say(f"note: {note}")


def _tell_sync(session: Session, result: SyncResult, *, dry_run: bool = False) -> None:
    from gpuenv.report.plan import sync_summary

    session.warn(result.warnings)
    _tell_passed_over(session, result)
    session.say(sync_summary(result.target, result.packages, result.changed, result.plan, dry_run=dry_run))


def _solved(answer: "Answer | Conflict") -> Answer:
    """The result, or NoSolution in words."""
    if isinstance(answer, LockResult | SyncResult):
        return answer
    from gpuenv.report.conflict import no_solution

    raise no_solution(answer)
