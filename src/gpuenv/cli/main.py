"""`main`: runs the app; whatever fails ends here, as words and an exit code."""

import inspect
import os
import sys
import traceback
from typing import Any

import typer

from gpuenv import __version__
from gpuenv.cli import commands
from gpuenv.cli.common import COMMON, fail, take_common
from gpuenv.errors import GpuenvError, StoreError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gpuenv",
    help="Wheels, native libraries and GPU architectures as one graph, one lock, one store.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _top(ctx: typer.Context, version: bool = False, **common: Any) -> None:
    if version:
        print(f"gpuenv {__version__}")  # noqa: T201
        raise typer.Exit
    ctx.obj = {flag: value for flag, value in common.items() if value != COMMON[flag][2]}


_version = inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
take_common(_top, [_version])
app.callback(invoke_without_command=False)(_top)
commands.register(app)

# Typer brings its own copy of click in some versions; its base of BadParameter is the usage error of either.
_ClickUsage: Any = typer.BadParameter.__base__


def main() -> None:
    """The console script."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except typer.Exit as leave:
        return leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as problem:
        if _tracebacks(arguments):
            traceback.print_exc()
        error = _words(problem)
        fail(error, as_json=as_json)
        return error.exit_code


def _words(problem: Exception) -> GpuenvError:
    """Every failure as one of ours."""
    if isinstance(problem, GpuenvError):
        return problem
    if isinstance(problem, _ClickUsage):
        return UsageError(problem.format_message(), hints=["gpuenv --help"])
    if isinstance(problem, OSError):
        where = f": {problem.filename}" if problem.filename else ""
        return StoreError(f"{problem.strerror or problem}{where}")
    return GpuenvError(
        f"unexpected {type(problem).__name__}: {problem}",
        hints=["this is a defect of gpuenv: please report it with the output of the same command and -vv"],
    )


def _tracebacks(arguments: list[str]) -> bool:
    return any(a.startswith("-vv") for a in arguments) or arguments.count("-v") + arguments.count("--verbose") > 1
