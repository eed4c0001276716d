"""`gpuenv export`: the lock for other installers."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gpuenv.cli import options as o
from gpuenv.cli.common import Session

__all__ = ["export"]

_SHOWN = 3


def export(
    session: Session,
    *,
    format: Annotated[  # noqa: A002 - the flag's name
        Literal["pylock", "requirements"], typer.Option(help="PEP 751's pylock.toml, or requirements with hashes.")
    ] = "pylock",
    target: Annotated[str | None, typer.Option(help="The target; default: a file for each.", metavar="T")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; default: `pylock.T.toml`.", metavar="FILE")
    ] = None,
    frozen: o.Frozen = False,
    chosen: o.Chosen,
    indexes: o.Indexes,
) -> None:
    """Write locked targets as files that pip and uv install, a file for each target."""
    from gpuenv.workflow.export import export as work
    from gpuenv.workflow.sync import roots_of

    project = session.project(indexes)
    made = work(project, roots_of(project.manifest, chosen), kind=format, target=target, output=output, frozen=frozen)
    warnings = tuple(_warning(one.target, one.unbound) for one in made if one.unbound)
    session.warn(warnings)
    if not session.as_json:
        for one in made:
            count = f"{one.packages} {'package' if one.packages == 1 else 'packages'}"
            session.say(f"{one.path}: {count}{'' if one.changed else ' (unchanged)'}")
    files = [
        {"target": one.target, "path": str(one.path), "packages": one.packages, "changed": one.changed} for one in made
    ]
    session.answer({"format": format, "files": files, "warnings": list(warnings)})


def _warning(target: str, unbound: tuple[str, ...]) -> str:
    more = f" and {len(unbound) - _SHOWN} more" if len(unbound) > _SHOWN else ""
    return (
        f"target {target}: {', '.join(unbound[:_SHOWN])}{more} may not find libraries of other packages: "
        "other installers do not bind them"
    )
