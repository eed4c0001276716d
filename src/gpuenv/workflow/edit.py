"""`gpuenv add`, `remove` and `init`: edit pyproject.toml, then lock; if that fails the file is exactly as before."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv.errors import UsageError
from gpuenv.workflow.lock import LockResult, lock
from gpuenv.workflow.project import Project, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuenv.model.answer import Conflict
    from gpuenv.model.target import Target

__all__ = ["add", "init", "remove"]


def add(
    project: Project, requirements: Sequence[str], *, group: str | None = None, target: str | None = None
) -> "LockResult | Conflict":
    """Record requirements (PEP 508) and lock."""
    from gpuenv.manifest.edit import add_requirements

    return _edited(project, lambda text: add_requirements(text, requirements, group=group, target=target))


def remove(
    project: Project, names: Sequence[str], *, group: str | None = None, target: str | None = None
) -> "LockResult | Conflict":
    """Drop requirements by name and lock."""
    from gpuenv.manifest.edit import remove_requirements

    return _edited(project, lambda text: remove_requirements(text, names, group=group, target=target))


def _edited(project: Project, change: Callable[[str], str]) -> "LockResult | Conflict":
    before = project.manifest_path.read_bytes()
    after = change(project.manifest_text()).encode()
    with _restored_on_failure(project.manifest_path, before) as keep:
        write_atomically(project.manifest_path, after)
        answer = lock(project.afresh())
        if isinstance(answer, LockResult):
            keep()
        return answer


@contextmanager
def _restored_on_failure(path: Path, before: bytes) -> "Iterator[Callable[[], None]]":
    """Put the file's old bytes back unless the block calls what it is given; Ctrl-C counts as failure too."""
    kept = False

    def keep() -> None:
        nonlocal kept
        kept = True

    try:
        yield keep
    finally:
        if not kept and path.read_bytes() != before:
            write_atomically(path, before)


def init(project: Project, *, target: str | None = None, name: str | None = None) -> "Target":
    """Write or complete `[tool.gpuenv]` with a target that describes this machine; returns the target.

    target: its name, by default that of the documented default target, which only a project without targets may get.
    """
    from gpuenv.manifest.decode import decode
    from gpuenv.manifest.edit import init_table
    from gpuenv.manifest.targets import DEFAULT_TARGET
    from gpuenv.workflow.target import describe, this_machine

    path = project.manifest_path
    text = project.manifest_text() if path.exists() else None
    known = decode(text) if text is not None and "[project]" in text else None
    if known and known.configured and target is None:
        hints = ["name a further one: gpuenv init --target NAME", "edit [tool.gpuenv.targets] in pyproject.toml"]
        raise UsageError("pyproject.toml has targets already", hints=hints)
    # a target has GPUs of one vendor: of two, the one with more GPUs
    described, *_ = describe(
        project, this_machine(project), target or DEFAULT_TARGET, known.requires_python if known else ""
    )
    after = init_table(text, name=name or _project_name(project.root), targets=[described])
    write_atomically(path, after.encode())
    return described


def _project_name(folder: Path) -> str:
    from gpuenv.model.version import normal_name

    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in folder.resolve().name).strip("-")
    return normal_name(letters) if letters else "project"
