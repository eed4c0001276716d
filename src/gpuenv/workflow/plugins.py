"""target detect --plugins: what variant providers say of this machine. Nothing else ever runs one."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv.errors import ManifestError, PluginError, UsageError
from gpuenv.host.plugins import Reported, ask_plugins
from gpuenv.model.machine import Machine
from gpuenv.model.properties import Told
from gpuenv.model.requirement import InvalidRequirement, parse_requirement
from gpuenv.model.variants import BadVariants, parse_property
from gpuenv.workflow.lock import LockResult, lock
from gpuenv.workflow.project import Project
from gpuenv.workflow.sync import Asked, LockUse, sync
from gpuenv.workflow.target import describe

if TYPE_CHECKING:
    from gpuenv.model.answer import Conflict
    from gpuenv.model.manifest import Manifest

__all__ = ["ask"]


def ask(project: Project, machine: Machine, packages: Sequence[str]) -> "tuple[Told, ...] | Conflict":
    """Run the variant providers that these requirements name, in an environment of their own.

    They come from the project's indexes as far as these serve all targets and packages, are locked and synced like any
    project, and are gone afterwards together with the store that holds them. Conflict: nothing satisfies them.
    """
    names = dict.fromkeys(_name(text) for text in packages)
    with tempfile.TemporaryDirectory(prefix="gpuenv-plugins-") as temporary:
        root = Path(temporary, "project")
        root.mkdir()
        (root / "pyproject.toml").write_text(_manifest(project, machine, packages), "utf-8")
        own = _alike(project, root, Path(temporary, "store"))
        answer = lock(own)
        if not isinstance(answer, LockResult):
            return answer
        sync(own, Asked(), use=LockUse.FROZEN)
        python = own.venv / "bin" / "python"
        reported = [one for name in names for one in ask_plugins(python, name, project.environ, folder=root)]
    return tuple(map(_told, reported))


def _name(text: str) -> str:
    try:
        return parse_requirement(text).name
    except InvalidRequirement:
        raise UsageError(f"`{text}` is not a requirement", hints=["for example --plugins rocm-bootstrap"]) from None


def _told(reported: Reported) -> Told:
    package, namespace, features = reported
    found = [f"{namespace} :: {name} :: {value}" for name, values in features for value in values]
    try:
        properties = dict.fromkeys(str(parse_property(text)) for text in found)
    except BadVariants as error:
        problem = f"the variant provider {package} does not tell what this machine supports"
        raise PluginError(problem, causes=[str(error)]) from None
    return Told(package, namespace, tuple(properties))


def _alike(project: Project, root: Path, store: Path) -> Project:
    default = project.default_index
    return Project(
        root,
        store,
        project.cache,
        project.environ,
        offline=project.offline,
        refresh=project.refresh,
        index_flags=project.index_flags,
        default_index_flag=str(project.root / default.location) if default.folder else default.location,
        progress=project.progress,
    )


def _manifest(project: Project, machine: Machine, packages: Sequence[str]) -> str:
    """A project that requires the packages, for this machine, with the indexes and the date of the one that is here."""
    from gpuenv.manifest.edit import init_table
    from gpuenv.toml.write import Value, inline

    manifest = _written(project)
    settings: dict[str, Value] = {"index": _indexes(project, manifest)} if manifest else {}
    if manifest and manifest.exclude_newer:
        settings["exclude-newer"] = manifest.exclude_newer
    lines = [f"{name} = {inline(value)}\n" for name, value in settings.items() if value]
    head = f'[project]\nname = "plugins"\nversion = "0"\ndependencies = {inline(list(packages))}\n'
    glibc = ".".join(machine.glibc.split(".")[:2]) if machine.glibc and not machine.musl else None
    target = replace(describe(project, machine)[0], name="here", gpu=(), cuda=None, glibc=glibc)
    return init_table(f"{head}\n[tool.gpuenv]\n{''.join(lines)}", name="plugins", targets=[target])


def _written(project: Project) -> "Manifest | None":
    """The manifest that is here, without indexes of flags; None where there is none, or none that can be read."""
    from gpuenv.manifest.decode import decode

    try:
        return decode(project.manifest_text())
    except (ManifestError, UsageError):
        return None


def _indexes(project: Project, manifest: "Manifest") -> list[dict[str, str | bool | list[str]]]:
    found: list[dict[str, str | bool | list[str]]] = []
    for index in manifest.indexes:
        if index.targets or index.explicit:
            continue
        place = {"path": str(project.root / index.location)} if index.folder else {"url": index.location}
        more = {"packages": list(index.packages)} if index.packages else {"default": True} if index.default else {}
        found.append({"name": index.name, **place, **more})
    return found
