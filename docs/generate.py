"""Writes reference/cli.md from the command line itself: `python docs/generate.py`. A test holds the page up to date."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from gpuenv.cli.common import COMMON
from gpuenv.cli.main import app

PAGE = Path(__file__).parent / "reference" / "cli.md"

HEAD = """\
# The command line

<!-- Made by docs/generate.py; edit the help texts in src/gpuenv/cli instead. -->

`gpuenv COMMAND --help` says the same. Exit codes are those of [errors](errors.md); what `--json` prints is described in
[JSON](json.md); variables have [a page of their own](environment-variables.md).
"""

COMMON_TEXT = """\
## Everywhere

Every command takes these flags, before its name or after it.
"""

SHAPES = {"Path": "DIR", "path": "DIR", "text": "TEXT", "integer": "N"}


def cli_reference() -> str:
    """The text of the page."""
    group: Any = get_command(app)
    parts = [HEAD, COMMON_TEXT, _table(p for p in group.params if p.name in COMMON)]
    for name, command in group.commands.items():
        own = [p for p in command.params if p.name not in COMMON and p.name != "help"]
        arguments = [p for p in own if p.param_type_name == "argument"]
        usage = " ".join(["gpuenv", name, "[FLAGS]", *(str(p.metavar) for p in arguments)])
        parts += [f"## `gpuenv {name}`\n", f"```text\n{usage}\n```\n", f"{command.help}\n"]
        parts += [f"{a.metavar}: {a.help}\n" for a in arguments]
        parts.append(_table(p for p in own if p not in arguments))
    return "\n".join(parts).rstrip("\n") + "\n"


def _table(options: Iterator[Any]) -> str:
    rows = [f"| {_names(option)} | {_meaning(option)} |" for option in options]
    return "\n".join(["| flag | meaning |", "|---|---|", *rows, ""])


def _names(option: Any) -> str:
    shape = "" if option.is_flag or option.count else f" {_shape(option)}"
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{name}{shape}`" for name in names).replace("|", "\\|")


def _shape(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    choices = getattr(option.type, "choices", None)
    return "|".join(choices) if choices else SHAPES.get(option.type.name, "TEXT")


def _meaning(option: Any) -> str:
    text = option.help or ""
    if option.multiple:
        text += " May be given several times."
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    if variables:
        text += f" Also {' or '.join(f'`{name}`' for name in variables)}."
    return text


if __name__ == "__main__":
    PAGE.write_text(cli_reference(), encoding="utf-8")
