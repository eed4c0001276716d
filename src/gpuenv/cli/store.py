"""`gpuenv store`: where the store is, what it holds, whether it is whole, and its repair."""

from typing import Annotated, Any

import typer

from gpuenv.cli.common import COMMON, Session, command, take_common
from gpuenv.cli.generations import gc

__all__ = ["store"]

store = typer.Typer(name="store", help="Look into the store: where it is, what it holds, whether it is whole.")


def _between(ctx: typer.Context, **common: Any) -> None:
    """Common flags may stand before `store`, between it and its command, and after that."""
    ctx.obj.update({flag: value for flag, value in common.items() if value != COMMON[flag][2]})


def path(session: Session) -> None:
    """Print where the store is, whether or not anything is in it yet; stores below it are told beside."""
    bases = session.here().bases
    session.answer({"path": str(session.store), "bases": [str(base) for base in bases]})
    session.show(str(session.store))
    if not session.as_json:
        for base in bases:
            session.say(f"above the base store {base}")


def list_(
    session: Session,
    *,
    by_project: Annotated[
        bool, typer.Option("--by-project", help="A line a project: what is its own, and what it shares with others.")
    ] = False,
) -> None:
    """List the objects of the store with their sizes and whose they are, the largest first."""
    from gpuenv.report.store import inventory_document, objects_page, projects_page
    from gpuenv.workflow.store import inventory

    found = inventory(session.store)
    session.answer(inventory_document(found, session.store))
    session.show(projects_page(found) if by_project else objects_page(found))


Objects = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OBJECT...]", help="By name, name-version, key or path; default: everything."),
]


def verify(session: Session, *, objects: Objects = None) -> None:
    """Read every byte of the store and name what is not as it was unpacked; the exit code is 1 if anything is.

    Damaged objects are marked, so that `sync` fetches them again; bytecode that nothing vouches for is dropped.
    """
    from gpuenv.report.store import verify_document, verify_page
    from gpuenv.workflow.store import verify as work

    found = work(session.store, session.here().progress, objects or ())
    session.answer(verify_document(found))
    session.show(verify_page(found))
    raise typer.Exit(int(bool(found.damaged)))


def repair(session: Session, *, objects: Objects = None) -> None:
    """Verify, then heal what is damaged: in place, or from its wheel, which is fetched again.

    Environments stay as they are meanwhile. The exit code is 1 if something could not be repaired.
    """
    from gpuenv.report.store import repair_document, repair_page
    from gpuenv.workflow.repair import repair as work

    done = work(session.here(), objects or ())
    session.answer(repair_document(done))
    session.show(repair_page(done))
    raise typer.Exit(int(bool(done.failed)))


take_common(_between, [])
store.callback()(_between)
command(store, "path", path)
command(store, "list", list_)
command(store, "verify", verify)
command(store, "repair", repair)
command(store, "gc", gc)
