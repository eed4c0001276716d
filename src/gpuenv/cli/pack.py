"""`gpuenv pack`: an installed tree as bundles."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuenv.cli.amend import AddedFlags
from gpuenv.cli.common import Flags, IndexFlags, Session
from gpuenv.cli.options import DryRun
from gpuenv.errors import UsageError

if TYPE_CHECKING:
    from gpuenv.model.requirement import Requirement
    from gpuenv.workflow.project import Project

__all__ = ["pack"]


def _settings(
    *,
    name: Annotated[str | None, typer.Option(help="Name of the distribution.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version (PEP 440).")] = None,
    tag: Annotated[
        str | None, typer.Option(help="Its tag; default: the oldest manylinux that the binaries keep.", metavar="TAG")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for bundles; default: this one.")
    ] = None,
    prefix: Annotated[
        Path | None, typer.Option(help="Where the tree was installed: `/opt/rocm`; default: as it looks.")
    ] = None,
    summary: Annotated[str | None, typer.Option(help="One line about it.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Smaller bundles, in minutes instead of seconds.")] = False,
    split: Annotated[
        bool, typer.Option("--split", help="Bundles of their own for headers and for the kernels of each GPU.")
    ] = False,
    requires: Annotated[list[str] | None, typer.Option(help="A further requirement.", metavar="REQ")] = None,
    provides: Annotated[
        list[str] | None, typer.Option(help="Who brings a library that the tree needs.", metavar="SONAME=REQ")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave paths of the tree out, such as `lib/python3*`.", metavar="PATTERN")
    ] = None,
) -> dict[str, object]:
    """Those settings that flags give, by name."""
    given = {
        "name": name,
        "version": version,
        "tag": tag,
        "output": str(output) if output else None,
        "prefix": str(prefix) if prefix else None,
        "summary": summary,
        "best": best,
        "split": split,
        "requires": tuple(_requirement(text) for text in requires or ()),
        "provides": dict(_provided(text) for text in provides or ()),
        "exclude": tuple(exclude or ()),
    }
    return {key: value for key, value in given.items() if value}


def pack(
    session: Session,
    *,
    tree: Annotated[
        Path | None, typer.Argument(metavar="[TREE]", help="A prefix, or a folder with usr or opt in it.")
    ] = None,
    given: Annotated[dict[str, object], Flags(_settings)],
    added: AddedFlags,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
) -> None:
    """Make bundles of an installed tree. Without flags, as `[tool.gpuenv.pack]` of pyproject.toml says."""
    from gpuenv.model.packing import PackSettings
    from gpuenv.report.pack import pack_document, pack_lines, pack_listing, pack_warnings
    from gpuenv.workflow.pack import pack as work
    from gpuenv.workflow.pack import settings_of

    project = _project(session)
    said: PackSettings = settings_of(project) or PackSettings()
    more = {key: value for key, value in added._asdict().items() if value is not None}
    more |= {"tree": str(tree)} if tree else {}
    settings = replace(said, **given, **more)  # type: ignore[arg-type]
    packing = work(project, settings, dry_run=dry_run, force=force)
    session.warn(pack_warnings(packing))
    session.answer(pack_document(packing))
    if not session.as_json:
        session.say(pack_lines(packing))
    if dry_run:
        session.show(pack_listing(packing))


def _project(session: Session) -> "Project":
    """The project upward from here, if there is one; publishers need none."""
    try:
        return session.project(IndexFlags((), None))
    except UsageError:
        return session.here()


def _provided(text: str) -> "tuple[str, Requirement]":
    soname, equals, requirement = text.partition("=")
    if not equals or not soname or "/" in soname:
        hints = ["for example --provides libnuma.so.1=numa-libs"]
        raise UsageError(f"`{text}` is not SONAME=REQUIREMENT", hints=hints)
    return soname, _requirement(requirement)


def _requirement(text: str) -> "Requirement":
    from gpuenv.model.requirement import InvalidRequirement, parse_requirement

    try:
        return parse_requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0].strip()
        raise UsageError(f"`{text}` is not a requirement (PEP 508)", causes=[reason]) from None
