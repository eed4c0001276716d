"""The flags of each command, then one workflow call, then words."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gpuenv.cli import options as o
from gpuenv.cli.common import Session, command
from gpuenv.errors import UsageError
from gpuenv.workflow.edit import add as run_add
from gpuenv.workflow.edit import init as run_init
from gpuenv.workflow.edit import remove as run_remove
from gpuenv.workflow.lock import LockMode, LockResult, why_stale
from gpuenv.workflow.lock import check as check_lock
from gpuenv.workflow.lock import lock as run_lock
from gpuenv.workflow.project import Project
from gpuenv.workflow.run import replace_process
from gpuenv.workflow.sync import Asked, LockUse, SyncResult
from gpuenv.workflow.sync import sync as run_sync

if TYPE_CHECKING:
    from gpuenv.model.answer import Conflict

__all__ = ["register"]

Answer = TypeVar("Answer", LockResult, SyncResult)


def register(app: typer.Typer) -> None:
    """Add the commands to the app, in the order of the help."""
    command(app, "init")(init)
    command(app, "add")(add)
    command(app, "remove")(remove)
    command(app, "lock")(lock)
    command(app, "sync")(sync)
    command(app, "run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})(run)


def init(
    session: Session,
    *,
    target: Annotated[str | None, typer.Option(help="Name of the target; default: `default`.", metavar="NAME")] = None,
    name: Annotated[str | None, typer.Option(help="Name of a new project; default: the folder's.")] = None,
) -> None:
    """Write or complete the table tool.gpuenv of pyproject.toml, with a target that describes this machine."""
    described = run_init(session.new_project(), target=target, name=name)
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
    index: o.Index = None,
    default_index: o.DefaultIndex = None,
) -> None:
    """Add requirements to pyproject.toml, then lock and sync; where that fails the file is as before."""
    project = session.project(index=index, default_index=default_index)
    _edited(session, project, run_add(project, requirements, group=group, target=target), no_sync)


def remove(
    session: Session,
    *,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Distributions.")],
    group: o.EditGroup = None,
    target: o.EditTarget = None,
    no_sync: o.NoSync = False,
    index: o.Index = None,
    default_index: o.DefaultIndex = None,
) -> None:
    """Remove requirements from pyproject.toml, then lock and sync; where that fails the file is as before."""
    project = session.project(index=index, default_index=default_index)
    _edited(session, project, run_remove(project, names, group=group, target=target), no_sync)


def lock(
    session: Session,
    *,
    check: Annotated[bool, typer.Option("--check", help="Fail if gpuenv.lock is stale; write nothing.")] = False,
    upgrade: o.Upgrade = False,
    upgrade_package: o.UpgradePackage = None,
    refresh: o.Refresh = False,
    dry_run: o.DryRun = False,
    index: o.Index = None,
    default_index: o.DefaultIndex = None,
) -> None:
    """Solve every target and write gpuenv.lock."""
    project = session.project(refresh=refresh, index=index, default_index=default_index)
    if check:
        _check(session, project)
        return
    mode = LockMode.DRY_RUN if dry_run else LockMode.WRITE
    result = _solved(run_lock(project, mode=mode, upgrade=upgrade, upgrade_packages=upgrade_package or ()))
    if session.as_json:
        from gpuenv.report.document import lock_document

        session.answer(lock_document(project.decode_lock(result.data), result.changed, result.changes, result.warnings))
    else:
        _tell_lock(session, project, result, dry_run=dry_run)


def sync(
    session: Session,
    *,
    target: o.TargetName = None,
    python: o.Python = None,
    locked: o.Locked = False,
    frozen: o.Frozen = False,
    dry_run: o.DryRun = False,
    link_mode: o.LinkMode = None,
    extra: o.Extra = None,
    all_extras: o.AllExtras = False,
    group: o.Group = None,
    all_groups: o.AllGroups = False,
    no_group: o.NoGroup = None,
    no_default_groups: o.NoDefaultGroups = False,
    index: o.Index = None,
    default_index: o.DefaultIndex = None,
) -> None:
    """Make .venv hold exactly what gpuenv.lock says for this machine's target."""
    asked = Asked(
        target=target,
        python=python,
        link_mode=link_mode,
        extras=tuple(extra or ()),
        all_extras=all_extras,
        groups=tuple(group or ()),
        all_groups=all_groups,
        without_groups=tuple(no_group or ()),
        default_groups=not no_default_groups,
    )
    project = session.project(index=index, default_index=default_index)
    result = _solved(run_sync(project, asked, use=_use(locked, frozen), dry_run=dry_run))
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
    target: o.TargetName = None,
    python: o.Python = None,
    locked: o.Locked = False,
    frozen: o.Frozen = False,
    no_sync: o.NoSync = False,
    extra: o.Extra = None,
    group: o.Group = None,
    index: o.Index = None,
    default_index: o.DefaultIndex = None,
) -> None:
    """Sync if needed, then become the command; the exit code is the command's."""
    project = session.project(index=index, default_index=default_index)
    if not no_sync:
        asked = Asked(target=target, python=python, extras=tuple(extra or ()), groups=tuple(group or ()))
        result = _solved(run_sync(project, asked, use=_use(locked, frozen)))
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


def _edited(session: Session, project: Project, answer: "LockResult | Conflict", no_sync: bool) -> None:
    """What `add` and `remove` do after the edit: sync, and tell."""
    locked = _solved(answer)
    synced = None if no_sync else _solved(run_sync(replace(project), Asked()))
    if session.as_json:
        from gpuenv.report.document import lock_document

        now = project.decode_lock(locked.data)
        document = lock_document(now, locked.changed, locked.changes, locked.warnings)
        session.answer({**document, "view": str(synced.view) if synced else None})
        return
    if synced is None:
        _tell_lock(session, project, locked)
    else:
        session.warn(locked.warnings)
        _tell_sync(session, synced)


def _tell_lock(session: Session, project: Project, result: LockResult, *, dry_run: bool = False) -> None:
    session.warn(result.warnings)
    if not result.changed:
        session.say("gpuenv.lock is up to date")
        return
    from gpuenv.report.difference import lock_summary

    session.say(lock_summary(project.decode_lock(result.data), result.changes, dry_run=dry_run))


def _tell_sync(session: Session, result: SyncResult, *, dry_run: bool = False) -> None:
    from gpuenv.report.plan import sync_summary

    session.warn(result.warnings)
    session.say(sync_summary(result.target, result.packages, result.changed, result.plan, dry_run=dry_run))


def _use(locked: bool, frozen: bool) -> LockUse:
    if locked and frozen:
        raise UsageError("--locked and --frozen exclude each other")
    if locked:
        return LockUse.LOCKED
    return LockUse.FROZEN if frozen else LockUse.REFRESH


def _solved(answer: "Answer | Conflict") -> Answer:
    """The result, or NoSolution in words."""
    if isinstance(answer, LockResult | SyncResult):
        return answer
    from gpuenv.report.conflict import no_solution

    raise no_solution(answer)
