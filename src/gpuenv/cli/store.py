"""`gpuenv store`: where the store is, what it holds, whether it is whole, and its repair."""

from typing import Any

import typer

from gpuenv.cli.common import COMMON, Session, command, take_common

__all__ = ["store"]

store = typer.Typer(name="store", help="Look into the store: where it is, what it holds, whether it is whole.")


def _between(ctx: typer.Context, **common: Any) -> None:
    """Common flags may stand before `store`, between it and its command, and after that."""
    ctx.obj.update({flag: value for flag, value in common.items() if value != COMMON[flag][2]})


def path(session: Session) -> None:
    """Print where the store is, whether or not anything is in it yet."""
    session.answer({"path": str(session.store)})
    session.show(str(session.store))


take_common(_between, [])
store.callback()(_between)
command(store, "path", path)
