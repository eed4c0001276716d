"""Which view a project uses: one symbolic link, exchanged in one step. Cheap to import: every command reads it."""

import contextlib
import json
import os
import re
from pathlib import Path

from gpuenv.errors import Occupied, StoreError

__all__ = ["MARKER", "current", "current_view", "linked_view", "refuse_foreign", "switch"]

MARKER = "gpuenv.json"
_NEW = re.compile(r"-[0-9a-f]{16}")
_VIEW = re.compile(r".*/views/[0-9a-f]{32}-[^/]+/?\Z")


def current(venv: Path) -> dict[str, object] | None:
    """The marker of the view at `venv`: `ViewPlan.marker` and `objects`; None where there is no whole view."""
    try:
        with open(f"{venv}/{MARKER}", "rb") as file:  # noqa: PTH123
            found = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def current_view(venv: Path) -> Path | None:
    """The view that `venv` points at, None where it is no link of ours or leads nowhere."""
    return linked_view(venv) if current(venv) is not None else None


def linked_view(venv: Path) -> Path | None:
    """The view that `venv` points at, perhaps gone; None where it is no link of ours."""
    try:
        target = os.readlink(venv)  # noqa: PTH115
    except OSError:
        return None
    return Path(target) if _VIEW.match(target) else None


def switch(venv: Path, view: Path) -> bool:
    """Point `venv` at `view` in one step; False if it did already. Raises Occupied if it is not ours to replace."""
    try:
        if refuse_foreign(venv) == str(view):
            return False
        while not _exchange(venv, view):
            pass
        _sweep(venv)
    except OSError as error:
        raise StoreError.refused(f"cannot switch {venv.name}", error, venv.parent) from error
    return True


def _exchange(venv: Path, view: Path) -> bool:
    """One rename; False if another switch took the new link for a leftover."""
    temporary = venv.with_name(f"{venv.name}-{os.urandom(8).hex()}")
    temporary.symlink_to(view)
    try:
        temporary.rename(venv)
    except FileNotFoundError:
        return False
    except OSError:
        temporary.unlink()
        raise
    return True


def _sweep(venv: Path) -> None:
    """Remove the links that killed switches left."""
    with contextlib.suppress(OSError):
        for name in os.listdir(venv.parent):  # noqa: PTH208 - names are enough
            if _NEW.fullmatch(name.removeprefix(venv.name)) and linked_view(venv.with_name(name)) is not None:
                venv.with_name(name).unlink(missing_ok=True)


def refuse_foreign(venv: Path) -> str | None:
    """Where the link `venv` leads, None if there is nothing; raises Occupied if it is not ours to replace."""
    if venv.is_symlink():
        target = os.readlink(venv)  # noqa: PTH115
        if not _VIEW.match(target):
            raise _occupied(venv, f"it is a link to {target}")
        return target
    if venv.exists():
        raise _occupied(venv, "it is a directory" if venv.is_dir() else "it is a file")
    return None


def _occupied(venv: Path, what: str) -> Occupied:
    return Occupied(
        f"{venv.name} is in the way",
        causes=(f"{what}, and gpuenv did not make it",),
        hints=(f"move it away or delete it: mv {venv.name} {venv.name}.old",),
    )
