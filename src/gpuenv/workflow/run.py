"""`gpuenv run`: sync if needed, then become the command."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gpuenv.errors import UsageError

__all__ = ["environment_of", "replace_process"]


def environment_of(venv: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that an activated `.venv` has."""
    changed = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
    changed["VIRTUAL_ENV"] = str(venv)
    changed["PATH"] = os.pathsep.join([f"{venv}/bin", *filter(None, [environ.get("PATH")])])
    return changed


def replace_process(venv: Path, command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become the command, found in `.venv/bin` first; raises UsageError if there is no such program."""
    import shutil

    if not (venv / "bin").is_dir():
        raise UsageError(f"there is no {venv.name} to run `{command[0]}` in", hints=["run `gpuenv sync`"])
    changed = environment_of(venv, environ)
    program = shutil.which(command[0], path=changed["PATH"])
    if program is None:
        from difflib import get_close_matches

        near = get_close_matches(command[0], os.listdir(venv / "bin"), n=1)  # noqa: PTH208 (names are enough)
        raise UsageError(
            f"there is no program `{command[0]}` in .venv or on PATH",
            hints=[f"did you mean `gpuenv run -- {near[0]}`?"] if near else (),
        )
    os.execve(program, list(command), changed)  # noqa: S606 (no shell is wanted)
