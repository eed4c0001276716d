"""`gpuenv facts`: a table of what many wheels say, to ship or to share."""

from pathlib import Path
from typing import Annotated

import typer

from gpuenv.cli.common import Session
from gpuenv.errors import NetworkError, UsageError

__all__ = ["facts"]


def facts(
    session: Session,
    *,
    lists: Annotated[
        list[Path], typer.Argument(metavar="LIST...", help="Files with a requirement and patterns of wheels a line.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table; what it has is kept.", metavar="TABLE")],
) -> None:
    """Read every wheel of a list from the default index and write a table of native facts."""
    import hashlib

    from gpuenv.workflow.publish import Wanted, parse_list, publish

    wanted: list[Wanted] = []
    for path in lists:
        try:
            wanted += parse_list(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {error}") from error
    result = publish(wanted, output, session.here())
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    session.answer(
        {
            "table": str(output),
            "sha256": digest,
            "wheels": result.wheels,
            "read": result.read,
            "bytes": result.bytes,
            "failed": list(result.failed),
        }
    )
    if session.as_json:
        raise typer.Exit(NetworkError.exit_code if result.failed else 0)
    session.say(f"{output}: {result.wheels} wheels, {result.read} of them new; sha256 {digest}")
    if result.failed:
        raise NetworkError("some wheels could not be read", causes=result.failed[:20])
