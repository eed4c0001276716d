"""Writes those reference pages that the code itself makes: `python docs/generate.py`. A test holds them up to date.

reference/cli.md is made from the command line, reference/native-facts.schema.json from the struct it describes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from typer.main import get_command

from gpuenv.cli.common import COMMON
from gpuenv.cli.main import app
from gpuenv.model.facts import NativeFacts

REFERENCE = Path(__file__).parent / "reference"

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
        parts += _section(f"gpuenv {name}", command, "##")
    return "\n".join(parts).rstrip("\n") + "\n"


def _section(name: str, command: Any, level: str) -> list[str]:
    """A command with its usage and flags; a group of commands with theirs, one level below."""
    heading = f"{level} `{name}`\n"
    if below := getattr(command, "commands", None):
        sections = (_section(f"{name} {one}", below[one], f"{level}#") for one in below)
        return [heading, f"{command.help}\n", *(part for section in sections for part in section)]
    own = [p for p in command.params if p.name not in COMMON and p.name != "help"]
    arguments = [p for p in own if p.param_type_name == "argument"]
    options = [p for p in own if p not in arguments]
    usage = " ".join([name, "[FLAGS]", *(str(p.metavar) for p in arguments)])
    parts = [heading, f"```text\n{usage}\n```\n", f"{command.help}\n"]
    parts += [f"{a.metavar}: {a.help}\n" for a in arguments]
    return [*parts, _table(iter(options))] if options else parts


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


def facts_schema() -> str:
    """The JSON Schema (2020-12) of native facts."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(NativeFacts)}
    return json.dumps(schema, indent=2) + "\n"


PAGES = {"cli.md": cli_reference, "native-facts.schema.json": facts_schema}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
