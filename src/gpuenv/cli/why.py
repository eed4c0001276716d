"""`gpuenv why`: why a package, a soname, a GPU or a class of runtimes is in the lock."""

from typing import Annotated

import typer

from gpuenv.cli.common import IndexFlags, Session

__all__ = ["why"]


def why(
    session: Session,
    *,
    node: Annotated[
        str,
        typer.Argument(
            metavar="NODE",
            help="A package (`numpy`), a soname (`libcublas.so.13`), a GPU (`sm_90`, `gfx942`), "
            "or a class of runtimes (`cuda`, `openmp`).",
        ),
    ],
    target: Annotated[str | None, typer.Option(help="Of one target only; default: of each.", metavar="T")] = None,
) -> None:
    """Say why something is in gpuenv.lock, as far as lock and known facts tell; nothing is solved or fetched."""
    from gpuenv.report.why import why_document, why_page
    from gpuenv.workflow import why as work

    found = work.why(session.project(IndexFlags((), None)), node, target)
    session.warn(found.warnings)
    session.answer(why_document(found.node, found.kind, found.targets, found.unread, found.warnings))
    if not session.as_json:
        session.show(why_page(found.node, found.targets, found.unread, every=bool(session.verbose)))
