"""`gpuenv generations`, `gpuenv rollback` and `gpuenv store gc`: what was, back to it, and letting it go."""

from pathlib import Path
from typing import Annotated

import typer

from gpuenv.cli import options as o
from gpuenv.cli.common import IndexFlags, Session
from gpuenv.errors import UsageError

__all__ = ["gc", "generations", "rollback"]


def generations(
    session: Session,
    *,
    last: Annotated[int | None, typer.Option(min=1, help="Only the last so many.", metavar="N")] = None,
) -> None:
    """List what .venv was after each sync that changed it, oldest first; `*` marks what it is now."""
    from gpuenv.report.generations import generations_document, generations_page
    from gpuenv.workflow.rollback import history

    entries = history(session.project(IndexFlags((), None)))[-(last or 0) :]
    session.answer(generations_document(entries))
    if entries:
        session.show(generations_page(entries))
    elif not session.as_json:
        session.say("nothing was synced yet")


def rollback(
    session: Session,
    *,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[N]", help="The generation; default: the one before what .venv is now."),
    ] = None,
    keep_lock: Annotated[
        bool, typer.Option("--keep-lock", help="Leave gpuenv.lock as it is; the next sync goes forward again.")
    ] = False,
) -> None:
    """Make .venv what it was in a generation, and gpuenv.lock with it; nothing is fetched."""
    from gpuenv.report.generations import rollback_document, rollback_words
    from gpuenv.workflow.rollback import rollback as work

    done = work(session.project(IndexFlags((), None)), number, keep_lock=keep_lock)
    session.answer(rollback_document(done))
    if not session.as_json:
        session.say(rollback_words(done))
    session.warn(done.warnings)


def gc(
    session: Session,
    *,
    older_than: Annotated[
        str,
        typer.Option(help="Give up generations replaced longer ago than this: `12h`, `30 days`, `0`.", metavar="SPAN"),
    ] = "30 days",
    dry_run: o.DryRun = False,
    why: Annotated[
        Path | None, typer.Option(help="Remove nothing: say what keeps this object, view or file.", metavar="PATH")
    ] = None,
) -> None:
    """Remove what no generation of any project needs any more.

    The newest generation of each project stays, the present one, and what running processes use.
    """
    from gpuenv.report import generations as words
    from gpuenv.workflow.gc import collect, seconds, why_kept

    age = seconds(older_than)
    if why is not None:
        if dry_run:
            raise UsageError("`--why` removes nothing: it takes no `--dry-run`")
        kept = why_kept(session.store, why, older_than=age)
        session.answer(words.kept_document(kept))
        session.show(words.kept_page(kept))
        return

    def waiting() -> None:
        if not session.as_json:
            session.say("waiting for a sync to end")

    done = collect(session.store, older_than=age, waiting=waiting, dry_run=dry_run)
    session.answer(words.collection_document(done, dry_run=dry_run))
    if not session.as_json:
        session.say(words.collection_words(done, dry_run=dry_run, every=session.verbose > 0))
    session.warn(tuple(f"could not delete {session.store / 'trash' / name}" for name in done.left))
