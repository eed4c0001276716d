"""`gpuenv inspect`: what binaries say, as a page for people or a document for scripts."""

from typing import TYPE_CHECKING, Annotated

import typer

from gpuenv.cli.common import IndexFlags, Session
from gpuenv.cli.options import Refresh
from gpuenv.errors import BinaryError, Unserved, UsageError

if TYPE_CHECKING:
    from gpuenv.model.architecture import Gpu
    from gpuenv.workflow.inspect import Inspected

__all__ = ["inspect"]


def inspect(
    session: Session,
    *,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Wheels, bundles, archives, folders, binaries, or URLs.")
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="Fail unless there is code for this GPU: `sm_90`, `gfx942`.", metavar="ARCH"),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The same for every GPU of a target of this project.", metavar="T")
    ] = None,
    sidecar: Annotated[bool, typer.Option("--sidecar", help="Write the facts to FILE.native.json too.")] = False,
    refresh: Refresh = False,
) -> None:
    """Say what binaries provide, what they need, and which GPUs their code is for; no GPU is needed."""
    from gpuenv.report.inspect import glance, inspect_document, object_lines
    from gpuenv.workflow import inspect as work

    project = session.here(refresh=refresh)
    gpus = _gpus(gpu or (), work.gpus_of_target(session.project(IndexFlags((), None)), target) if target else ())
    if session.quiet and gpus and not session.as_json and not sidecar:
        _judge(work.unserved(files, gpus, project))
        return
    table = work.PublishedFacts()
    documents, unserved, damaged = [], [], []
    for found in work.inspect(files, project):
        if sidecar:
            session.say(f"wrote {work.write_sidecar(found)}")
        documents.append(inspect_document(found.path, found.facts, found.origin, gpus))
        if not session.as_json:
            page = glance(found.name, found.facts, gpus, table.providers)
            page += f"\n{object_lines(found.facts, gpus)}" if session.verbose else ""
            session.show(page if len(documents) == 1 else f"\n{page}")
        unserved += [(found.path, gpu) for gpu in gpus if not work.serves(found.facts, gpu)]
        damaged += [found] if found.facts.damaged else []
    if session.as_json:
        session.answer({"files": documents})
        if unserved or damaged:
            raise typer.Exit(1)
        return
    _complain(damaged)
    _judge(unserved)


def _gpus(names: "list[str] | tuple[str, ...]", more: "tuple[str, ...]") -> "list[Gpu]":
    from gpuenv.model.architecture import nearest_gpu, parse_gpu

    found = []
    for name in (*names, *more):
        parsed = parse_gpu(name)
        if parsed is None:
            near = nearest_gpu(name)
            raise UsageError(f"`{name}` is not a GPU architecture", hints=[f"did you mean `{near}`?"] if near else [])
        found.append(parsed)
    return list(dict.fromkeys(found))


def _complain(damaged: "list[Inspected]") -> None:
    causes = [f"{found.name}: {damage.path}: {damage.problem}" for found in damaged for damage in found.facts.damaged]
    if causes:
        raise BinaryError("damaged binaries", causes=causes[:20])


def _judge(unserved: "list[tuple[str, Gpu]]") -> None:
    if unserved:
        raise Unserved("no code for the GPU", causes=[f"{path}: nothing that {gpu} runs" for path, gpu in unserved])
