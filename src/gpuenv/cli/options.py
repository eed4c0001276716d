"""The flags that several commands share, by uv's names where uv has one, alone and in the bundles they come in."""

from typing import Annotated, Literal

import typer

from gpuenv.cli.common import Flags, IndexFlags
from gpuenv.errors import UsageError
from gpuenv.workflow.sync import Asked, LockUse

Index = Annotated[
    list[str] | None,
    typer.Option(help="A further index, NAME=URL or a folder, before those of the manifest.", metavar="[NAME=]URL"),
]
DefaultIndex = Annotated[
    str | None,
    typer.Option(help="The index to ask last, instead of the one that pip is configured for.", metavar="URL"),
]
Upgrade = Annotated[bool, typer.Option("--upgrade", "-U", help="Forget the present pins.")]
UpgradePackage = Annotated[
    list[str] | None, typer.Option("--upgrade-package", "-P", help="Forget the pin of one package.", metavar="NAME")
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Believe no cached index page.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")]
EditGroup = Annotated[str | None, typer.Option("--group", help="In a dependency group.", metavar="G")]
EditTarget = Annotated[str | None, typer.Option("--target", help="For one target alone.", metavar="T")]
NoSync = Annotated[bool, typer.Option("--no-sync", help="Leave .venv as it is.")]
TargetName = Annotated[
    str | None, typer.Option("--target", help="The target; default: the first that this machine fits.", metavar="T")
]
Python = Annotated[
    str | None,
    typer.Option(help="The interpreter: a path or a version.", metavar="PYTHON", envvar=["GPUENV_PYTHON", "UV_PYTHON"]),
]
Locked = Annotated[bool, typer.Option("--locked", help="Fail if gpuenv.lock is stale.")]
Frozen = Annotated[bool, typer.Option("--frozen", help="Take gpuenv.lock as it is.")]
LinkMode = Annotated[
    Literal["symlink", "hardlink", "copy"] | None,
    typer.Option(help="How .venv holds files.", envvar="GPUENV_LINK_MODE"),
]
CompileBytecode = Annotated[
    bool,
    typer.Option(
        "--compile-bytecode",
        help="Compile every module at once, not on first import.",
        envvar="GPUENV_COMPILE_BYTECODE",
    ),
]
Reinstall = Annotated[bool, typer.Option("--reinstall", help="Make .venv again, also if it is as it should be.")]
Extra = Annotated[list[str] | None, typer.Option(help="Include an extra of the project.", metavar="E")]
AllExtras = Annotated[bool, typer.Option("--all-extras", help="Include all extras.")]
Group = Annotated[list[str] | None, typer.Option(help="Include a dependency group.", metavar="G")]
AllGroups = Annotated[bool, typer.Option("--all-groups", help="Include all dependency groups.")]
NoGroup = Annotated[list[str] | None, typer.Option(help="Leave a dependency group out.", metavar="G")]
NoDefaultGroups = Annotated[bool, typer.Option("--no-default-groups", help="Leave the default groups out.")]


def _indexes(*, index: Index = None, default_index: DefaultIndex = None) -> IndexFlags:
    return IndexFlags(tuple(index or ()), default_index)


def _lock_use(*, locked: Locked = False, frozen: Frozen = False) -> LockUse:
    if locked and frozen:
        raise UsageError("--locked and --frozen exclude each other")
    if locked:
        return LockUse.LOCKED
    return LockUse.FROZEN if frozen else LockUse.REFRESH


def _chosen(
    *,
    extra: Extra = None,
    all_extras: AllExtras = False,
    group: Group = None,
    all_groups: AllGroups = False,
    no_group: NoGroup = None,
    no_default_groups: NoDefaultGroups = False,
) -> Asked:
    return Asked(
        extras=tuple(extra or ()),
        all_extras=all_extras,
        groups=tuple(group or ()),
        all_groups=all_groups,
        without_groups=tuple(no_group or ()),
        default_groups=not no_default_groups,
    )


Chosen = Annotated[Asked, Flags(_chosen)]


def _asked(
    *,
    target: TargetName = None,
    python: Python = None,
    link_mode: LinkMode = None,
    compile_bytecode: CompileBytecode = False,
    chosen: Chosen,
) -> Asked:
    return chosen._replace(target=target, python=python, link_mode=link_mode, compile_bytecode=compile_bytecode)


Indexes = Annotated[IndexFlags, Flags(_indexes)]
WithLock = Annotated[LockUse, Flags(_lock_use)]
Environment = Annotated[Asked, Flags(_asked)]
