"""`gpuenv repack`: wheels as bundles, and bundles as wheels."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gpuenv.cli.amend import AddedFlags
from gpuenv.cli.common import Session
from gpuenv.errors import UsageError

__all__ = ["repack"]

_LINKS = {"copy": "as copies", "LINKS": "in LINKS"}


def repack(
    session: Session,
    *,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Wheels; with `--to wheel`, bundles.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for what is made; default: beside each file.")
    ] = None,
    to: Annotated[Literal["bundle", "wheel"], typer.Option(help="What to make.")] = "bundle",
    best: Annotated[bool, typer.Option("--best", help="Smaller bundles, in minutes instead of seconds.")] = False,
    restore_links: Annotated[
        bool, typer.Option("--restore-links", help="Make equal libraries `libX.so`, `libX.so.1` links again.")
    ] = False,
    links: Annotated[
        Literal["copy", "LINKS"] | None,
        typer.Option(help="In a wheel, a link is a copy (default), or a line of LINKS, which only gpuenv reads yet."),
    ] = None,
    added: AddedFlags,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
) -> None:
    """Make bundles of wheels: the same files, packed better. Or wheels of bundles, for other installers.

    With flags that add something, `--to wheel` takes wheels too.
    """
    from gpuenv.report.bundles import repack_document, repack_line
    from gpuenv.workflow.repack import Settings, repack_files

    wrong = ["--best"] * best + ["--restore-links"] * restore_links if to == "wheel" else ["--links"] * bool(links)
    if wrong:
        raise UsageError(f"{wrong[0]} says nothing of a {to}")
    settings = Settings(to, output, links or "copy", restore_links, best, force, *added)
    made = []
    for one in repack_files(files, session.here(), settings):
        made.append(one)
        if not session.as_json:
            session.say(repack_line(one, _LINKS[settings.links] if to == "wheel" else "restored"))
    session.answer(repack_document(made))
