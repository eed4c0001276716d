"""The flags that several commands share, by uv's names where uv has one."""

from typing import Annotated, Literal

import typer

Index = Annotated[
    list[str] | None,
    typer.Option(help="A further index, NAME=URL or a folder, before those of the manifest.", metavar="[NAME=]URL"),
]
DefaultIndex = Annotated[
    str | None,
    typer.Option(help="The index to ask last.", envvar=["GPUENV_DEFAULT_INDEX", "UV_DEFAULT_INDEX"], metavar="URL"),
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
Extra = Annotated[list[str] | None, typer.Option(help="Include an extra of the project.", metavar="E")]
AllExtras = Annotated[bool, typer.Option("--all-extras", help="Include all extras.")]
Group = Annotated[list[str] | None, typer.Option(help="Include a dependency group.", metavar="G")]
AllGroups = Annotated[bool, typer.Option("--all-groups", help="Include all dependency groups.")]
NoGroup = Annotated[list[str] | None, typer.Option(help="Leave a dependency group out.", metavar="G")]
NoDefaultGroups = Annotated[bool, typer.Option("--no-default-groups", help="Leave the default groups out.")]
