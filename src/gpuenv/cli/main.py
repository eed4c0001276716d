"""`run` runs the app; whatever fails ends here, as words and an exit code."""

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuenv import __version__
from gpuenv.cli import commands
from gpuenv.cli.common import COMMON, fail, take_common
from gpuenv.errors import GpuenvError, StoreError, UsageError

__all__ = ["app", "run"]

app = typer.Typer(
    name="gpuenv",
    help="Wheels, native libraries and GPU architectures as one graph, one lock, one store.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _top(ctx: typer.Context, version: bool = False, **common: Any) -> None:
    ctx.obj.update({flag: value for flag, value in common.items() if value != COMMON[flag][2]})


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gpuenv {__version__}")  # noqa: T201
        raise typer.Exit


_flag = typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
_version = inspect.Parameter(
    "version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, _flag]
)
take_common(_top, [_version])
app.callback(invoke_without_command=False)(_top)
commands.register(app)

_INTERRUPTED = 130
# Typer brings its own copy of click in some versions; its base of BadParameter is the usage error of either.
_ClickUsage: Any = typer.BadParameter.__base__


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    given: dict[str, Any] = {}  # the common flags, as far as they were understood
    try:
        code = int(app(arguments or ["--help"], standalone_mode=False, obj=given) or 0)
        # Typer turns Ctrl-C into this code; no command of ours has it
        return _interrupted(as_json=_wants_json(arguments, given)) if code == _INTERRUPTED else code
    except typer.Exit as leave:
        return leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted(as_json=_wants_json(arguments, given))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as problem:
        if given.get("verbose", _verbosity(arguments)) > 1:
            import traceback

            traceback.print_exc()
        error = _words(problem)
        fail(error, as_json=_wants_json(arguments, given))
        return error.exit_code


def _interrupted(*, as_json: bool) -> int:
    if as_json:
        fail(GpuenvError("interrupted"), as_json=True)
    else:
        print("interrupted", file=sys.stderr)  # noqa: T201
    return _INTERRUPTED


def _words(problem: Exception) -> GpuenvError:
    """Every failure as one of ours."""
    if isinstance(problem, GpuenvError):
        return problem
    if isinstance(problem, _ClickUsage):
        text = problem.format_message().rstrip(".")
        return UsageError(text[:1].lower() + text[1:], hints=["gpuenv --help"])
    if isinstance(problem, OSError):
        found = StoreError.refused("", problem, Path(str(problem.filename or ".")).parent)
        return StoreError(*found.causes, hints=found.hints)
    return GpuenvError(
        f"unexpected {type(problem).__name__}: {problem}",
        hints=["this is a defect of gpuenv: please report it with the output of the same command and -vv"],
    )


def _wants_json(arguments: list[str], given: dict[str, Any]) -> bool:
    """Where the arguments could not be understood, what they seem to say counts."""
    return bool(given.get("json", "--json" in arguments))


def _verbosity(arguments: list[str]) -> int:
    return 2 if any(a.startswith("-vv") for a in arguments) else arguments.count("-v") + arguments.count("--verbose")
