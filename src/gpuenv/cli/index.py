"""`gpuenv index`: a static index over a folder of wheels and bundles."""

from pathlib import Path
from typing import Annotated

import typer

from gpuenv.cli.common import Session

__all__ = ["index"]


def index(
    session: Session,
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of wheels and bundles.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the pages; default: `simple` in DIR.")
    ] = None,
) -> None:
    """Make a folder an index for any web server: pages, metadata, native facts, and who provides which soname."""
    from gpuenv.report.bundles import index_document, index_line
    from gpuenv.workflow.index import make_index

    made = make_index(folder, output, session.here())
    session.answer(index_document(made))
    session.warn(made.warnings)
    if not session.as_json:
        session.say(index_line(made))
