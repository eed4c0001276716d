"""The commonest answer of all, fast: there is nothing to do.

Typer alone takes most of a tenth of a second to import, and most runs of `lock`, `sync` and `run` find everything up
to date. `glance` knows the plainest forms of these three commands. Where one of them has nothing to do it answers;
every flag that it does not know, and every doubt, is left to the Typer app. A test holds both to the same words.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import GpuenvError, UsageError
from gpuenv.workflow.lock import known_fresh
from gpuenv.workflow.project import Project, default_cache, default_store, find
from gpuenv.workflow.run import replace_process
from gpuenv.workflow.sync import Asked, SyncResult, up_to_date

__all__ = ["glance"]

# A lock that is known to be fresh is the same lock for --locked and for --frozen.
_SWITCHES = ("--quiet", "-q", "--offline", "--no-progress", "--locked", "--frozen", "--compile-bytecode")
_VALUES = ("--project", "--store", "--cache-dir", "--target", "--python", "--link-mode")
_NOT_OF_LOCK = {"--locked", "--frozen", "--target", "--python", "--link-mode", "--compile-bytecode"}
_FLAGS = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(
    ("", "0", "false", "no", "off"), False
)


class _Call(NamedTuple):
    command: str
    switches: frozenset[str]
    values: Mapping[str, str]
    arguments: tuple[str, ...]


def glance(arguments: Sequence[str]) -> int | None:
    """The exit code if the command was plain and found nothing to do, and was answered; None: ask the app."""
    call = _plain(list(arguments))
    if call is None:
        return None
    try:
        project = _project(call)
        if call.command == "lock":
            return None if known_fresh(project) is None else _say(call, "gpuenv.lock is up to date")
        done = up_to_date(project, _asked(call), exact=call.command == "sync")
        if done is None:
            return None
        if call.command == "run":
            replace_process(project.venv, call.arguments, project.environ)
        return _say(call, *_words(done))
    except (GpuenvError, OSError):
        return None


def _plain(arguments: list[str]) -> _Call | None:
    """The call, if every word of it is known here."""
    command, switches, values = "", set(), {}
    while arguments:
        word = arguments.pop(0)
        flag, equals, value = word.partition("=")
        if word in _SWITCHES:
            switches.add(word)
        elif equals and flag in _VALUES:
            values[flag] = value
        elif word in _VALUES and arguments:
            values[word] = arguments.pop(0)
        elif not command and word in ("lock", "sync", "run"):
            command = word
        elif command == "run" and (word == "--" or not word.startswith("-")):
            arguments = arguments if word == "--" else [word, *arguments]
            break
        else:
            return None
    if not command or (command == "run") != bool(arguments) or {"--locked", "--frozen"} <= switches:
        return None
    if command == "lock" and _NOT_OF_LOCK & {*switches, *values}:
        return None
    return _Call(command, frozenset(switches), values, tuple(arguments))


def _project(call: _Call) -> Project:
    folder = call.values.get("--project")
    store = call.values.get("--store") or os.environ.get("GPUENV_STORE")
    cache = call.values.get("--cache-dir") or os.environ.get("GPUENV_CACHE_DIR")
    return Project(
        root=find(Path(folder or ".").absolute(), search=folder is None),
        store=(Path(store) if store else default_store()).absolute(),
        cache=(Path(cache) if cache else default_cache()).absolute(),
    )


def _asked(call: _Call) -> Asked:
    """What the flags ask for, or else the variables that stand for them."""
    variables = os.environ
    return Asked(
        target=call.values.get("--target"),
        python=call.values.get("--python") or variables.get("GPUENV_PYTHON") or variables.get("UV_PYTHON") or None,
        link_mode=call.values.get("--link-mode") or variables.get("GPUENV_LINK_MODE") or None,
        compile_bytecode="--compile-bytecode" in call.switches or _flag(variables.get("GPUENV_COMPILE_BYTECODE", "")),
    )


def _flag(text: str) -> bool:
    """What a variable says; raises UsageError for other words than the plainest."""
    if text.lower() not in _FLAGS:
        raise UsageError(f"`{text}` is left to the app")
    return _FLAGS[text.lower()]


def _words(done: SyncResult) -> list[str]:
    from gpuenv.report.plan import sync_summary

    summary = sync_summary(done.target, done.packages, done.changed, done.plan, dry_run=False)
    return [*(f"warning: {warning}" for warning in done.warnings), summary]


def _say(call: _Call, *lines: str) -> int:
    if not call.switches & {"-q", "--quiet"}:
        print("\n".join(lines), file=sys.stderr)  # noqa: T201
    return 0
