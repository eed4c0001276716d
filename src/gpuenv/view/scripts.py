"""Commands of a view: launchers for entry points, and the wheels' own scripts with their first line rewritten."""

from collections.abc import Callable
from pathlib import Path

from installer.scripts import Script

from gpuenv.errors import StoreError
from gpuenv.model.stored import StoredObject
from gpuenv.view.merge import Merged

__all__ = ["launchers", "rewritten_scripts"]

_PYTHON = b"#!python"


def launchers(objects: tuple[StoredObject, ...], python: str) -> dict[str, tuple[str, bytes]]:
    """For each command of the objects' entry points: the distribution it belongs to, and the file's content."""
    found: dict[str, tuple[str, bytes]] = {}
    for stored in objects:
        for section, points in (("console", stored.console), ("gui", stored.gui)):
            for point in points:
                script = Script(point.name, point.module, point.attribute, "gui" if section == "gui" else "console")
                name, content = script.generate(python, "posix")
                owner, other = found.setdefault(name, (stored.name, content))
                if other != content:
                    raise two_commands(owner, stored.name, name)
    return found


def rewritten_scripts(merged: Merged, *, place: Callable[[str], Path], python: str) -> dict[str, tuple[str, bytes]]:
    """Take the scripts that start with `#!python` (or `#!pythonw`) out of `merged`, and return what they become.

    By name: the distribution and the content (binary distribution format, "Installing a wheel", spread step d).
    place: the folder of an object, by its key.
    """
    found: dict[str, tuple[str, bytes]] = {}
    for number, placement in enumerate(merged.placements):
        if placement.directory != "bin" or placement.source.path != "scripts":
            continue
        kept = []
        for file in placement.files:
            path = place(placement.source.stored.key) / "scripts" / file.name
            with path.open("rb") as stream:
                line = stream.readline(512)
                if not line.startswith(_PYTHON) or line.rstrip()[len(_PYTHON) :][:1] not in (b"", b"w", b" "):
                    kept.append(file)
                    continue
                found[file.name] = (placement.source.stored.name, _shebang(python) + b"\n" + stream.read())
        merged.placements[number] = placement._replace(files=tuple(kept))
    return found


def _shebang(python: str) -> bytes:
    """The first line or lines that `installer` gives to every launcher: long paths and spaces go through sh."""
    _, content = Script("x", "x", "x", "console").generate(python, "posix")
    return content.partition(b"\n# -*- coding")[0]


def two_commands(one: str, other: str, name: str) -> StoreError:
    """Two distributions bring different programs of one name."""
    return StoreError(
        f"{one} and {other} both install the command {name}",
        hints=(f"only one of {one} and {other} can be in an environment; exclude one of them",),
    )
