"""`gpuenv why` and `gpuenv tree`: why something is in the lock, and the whole graph of it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gpuenv.cli import options as o
from gpuenv.cli.common import IndexFlags, Session

if TYPE_CHECKING:
    from gpuenv.report.tree import Glyphs

__all__ = ["tree", "why"]


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


def tree(
    session: Session,
    *,
    packages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PACKAGE...]", help="Where the tree begins; default: at the project."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of one target only; default: of each.", metavar="T")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Edges from the top, at most.", metavar="N")] = None,
    invert: Annotated[bool, typer.Option("--invert", "-i", help="Who needs the packages.")] = False,
    chosen: o.Chosen,
) -> None:
    """Show what is in gpuenv.lock, and who needs it, as a tree; nothing is solved or fetched."""
    from gpuenv.report.tree import tree_document, tree_page
    from gpuenv.workflow.sync import roots_of
    from gpuenv.workflow.tree import tree as work

    project = session.project(IndexFlags((), None))
    found = work(project, roots_of(project.manifest, chosen), packages or (), target=target, inverted=invert)
    session.warn(found.warnings)
    session.answer(tree_document(found.targets, found.warnings, inverted=invert, depth=depth))
    if not session.as_json:
        every = bool(session.verbose)
        session.show(tree_page(found.project, found.targets, depth=depth, every=every, glyphs=_glyphs()))


def _glyphs() -> "Glyphs":
    """Lines where stdout can show them."""
    from gpuenv.report.tree import ASCII, LINES

    try:
        "".join(one for pair in LINES for one in pair).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return ASCII
    return LINES
