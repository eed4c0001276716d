"""Entry points (entry points specification), and names that no wheel may put among a view's programs."""

import configparser
import re
from collections.abc import Iterable

from gpuenv.model.stored import EntryPoint

__all__ = ["BadName", "check_program", "parse_entry_points"]

_TARGET = re.compile(r"\s*(?P<module>\w+(\.\w+)*)\s*:\s*(?P<attribute>\w+(\.\w+)*)\s*(\[[^\]]*\])?\s*\Z")
_NAME = re.compile(r"[\w][\w.+-]*\Z|[\w][\w.+ -]*[\w.+-]\Z")
_RESERVED = re.compile(r"(python(w|[0-9.]*t?)|activate(\..*|_.*)?|deactivate|pyvenv\.cfg)(\.exe)?\Z", re.IGNORECASE)


class BadName(ValueError):
    """A wheel's own files say something that cannot be accepted; the text says what."""


def parse_entry_points(text: str) -> tuple[tuple[EntryPoint, ...], tuple[EntryPoint, ...]]:
    """The console and GUI commands of `entry_points.txt`, by name; raises BadName."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=True, default_section="\0")
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadName(f"entry_points.txt cannot be read: {error}".replace("\n", " ")) from error
    console, gui = (
        tuple(_decode(parser.items(section))) if parser.has_section(section) else ()
        for section in ("console_scripts", "gui_scripts")
    )
    return console, gui


def _decode(items: Iterable[tuple[str, str]]) -> Iterable[EntryPoint]:
    for name, target in sorted(items):
        check_program(name)
        found = _TARGET.match(target)
        if found is None:
            raise BadName(f"command {name!r} names no function: {target!r}")
        yield EntryPoint(name, found["module"], found["attribute"])


def check_program(name: str) -> None:
    """Raise BadName where a program of this name would leave the folder, or replace what makes a view work."""
    if not _NAME.match(name) or ".." in name:
        raise BadName(f"{name!r} is no name for a command")
    if _RESERVED.match(name):
        raise BadName(f"command {name!r} would replace a part of the environment itself")
