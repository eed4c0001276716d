"""`gpuenv doctor`: what is wrong with this machine or this environment, before a program finds out."""

from typing import Annotated

import typer

from gpuenv.cli.common import IndexFlags, Session

__all__ = ["doctor"]


def doctor(
    session: Session,
    *,
    target: Annotated[
        str | None,
        typer.Option(help="The target; default: that of `.venv`, else the one that sync takes.", metavar="T"),
    ] = None,
) -> None:
    """Compare this machine with the target, look the environment over, and open every binary in it.

    The exit code is 1 where something is not as it has to be.
    """
    from gpuenv.report.doctor import doctor_document, doctor_page
    from gpuenv.workflow.doctor import doctor as work

    found = work(session.project(IndexFlags((), None)), target)
    session.answer(doctor_document(found))
    session.show(doctor_page(found))
    raise typer.Exit(0 if found.well else 1)
