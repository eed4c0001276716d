"""What every command shares: the common flags, the session made of them, the output and the error boundary."""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gpuenv.errors import GpuenvError, UsageError
from gpuenv.workflow.project import Project, default_cache, default_store, find

if TYPE_CHECKING:
    from gpuenv.model.progress import Progress

__all__ = ["COMMON", "Flags", "IndexFlags", "Session", "command", "fail", "take_common"]


class IndexFlags(NamedTuple):
    """The indexes that flags name: further ones, and the default."""

    further: tuple[str, ...]
    default: str | None


@dataclass
class Session:
    """One run of one command: its common flags, and the two ways out."""

    project_dir: Path | None
    as_json: bool
    quiet: bool
    verbose: int
    offline: bool
    no_progress: bool
    store: Path
    cache: Path

    def project(self, indexes: "IndexFlags", *, refresh: bool = False) -> Project:
        """The project that the command is about."""
        start = (self.project_dir or Path.cwd()).absolute()
        if self.project_dir is not None and not start.is_dir():
            raise UsageError(f"{self.project_dir} is not a folder")
        return self._project(
            find(start, search=self.project_dir is None),
            refresh=refresh,
            index_flags=indexes.further,
            default_index_flag=indexes.default,
        )

    def here(self, *, refresh: bool = False) -> Project:
        """A project that need not exist yet: this folder, or the one that --project names."""
        folder = (self.project_dir or Path.cwd()).absolute()
        if not folder.is_dir():
            raise UsageError(f"{self.project_dir} is not a folder")
        return self._project(folder, refresh=refresh)

    def _project(self, root: Path, **settings: Any) -> Project:
        return Project(
            root=root,
            store=self.store,
            cache=self.cache,
            environ=os.environ,
            offline=self.offline,
            progress=self._progress(),
            **settings,
        )

    def show(self, text: str) -> None:
        """Print what was asked for (stdout), unless -q or --json."""
        if text and not self.quiet and not self.as_json:
            print(text)  # noqa: T201

    def say(self, text: str) -> None:
        """Tell a person (stderr), unless -q."""
        if text and not self.quiet:
            print(text, file=sys.stderr)  # noqa: T201

    def warn(self, warnings: tuple[str, ...]) -> None:
        """Warn a person; with --json the document holds them."""
        if not self.as_json:
            for warning in warnings:
                self.say(f"warning: {warning}")

    def answer(self, document: Mapping[str, object]) -> None:
        """Print the one JSON document, if --json was given."""
        if self.as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201

    def _progress(self) -> "Progress":
        if self.quiet or self.no_progress or self.as_json or not sys.stderr.isatty():
            from gpuenv.model.progress import Silent

            return Silent()
        from gpuenv.report.progress import Bars

        return Bars()


def _flag(*names: str, text: str, **settings: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Everywhere", **settings)


# The flags that every command takes, before its name or after it: name -> (type, flag, default).
COMMON: dict[str, tuple[Any, Any, Any]] = {
    "project": (Path | None, _flag(text="Folder of the project; default: upward from here."), None),
    "json": (bool, _flag("--json", text="Print one JSON document on stdout, also on failure."), False),
    "quiet": (bool, _flag("--quiet", "-q", text="Say nothing but errors."), False),
    "verbose": (int, _flag("--verbose", "-v", text="Say more; -vv shows tracebacks.", count=True), 0),
    "offline": (bool, _flag("--offline", text="Use no network.", envvar=["GPUENV_OFFLINE", "UV_OFFLINE"]), False),
    "no_progress": (bool, _flag("--no-progress", text="Draw no bars.", envvar="GPUENV_NO_PROGRESS"), False),
    "store": (Path | None, _flag(text="Where objects and views are kept.", envvar="GPUENV_STORE"), None),
    "cache_dir": (Path | None, _flag(text="Where index pages are kept.", envvar="GPUENV_CACHE_DIR"), None),
}


@dataclass(frozen=True)
class Flags:
    """Says that a parameter is made from several flags: those that `make` takes. Stands in an `Annotated`."""

    make: Callable[..., Any]


def command(app: typer.Typer, name: str, function: Callable[..., None], **settings: Any) -> None:
    """Register `function(session, …)` as a command; it takes the common flags, and those of its `Flags` parameters."""

    @functools.wraps(function)
    def wrapper(ctx: typer.Context, **given: Any) -> None:
        before = ctx.find_root().obj
        common = {flag: _given(flag, given.pop(flag), before) for flag in COMMON}
        before.update(common)
        function(_session(common), **_arguments(function, given))

    take_common(wrapper, _flags_of(function))
    app.command(name, **settings)(wrapper)


def _parameters(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, Callable[..., Any] | None]]:
    """The parameters of a function but for its session, each with what makes it of flags, if something does."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        flags = next((m for m in getattr(parameter.annotation, "__metadata__", ()) if isinstance(m, Flags)), None)
        found.append((parameter, flags.make if flags else None))
    return [(parameter, make) for parameter, make in found if parameter.name != "session"]


def _flags_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The flags that a function takes, itself or by way of what makes its parameters."""
    return [flag for parameter, make in _parameters(function) for flag in (_flags_of(make) if make else [parameter])]


def _arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a function, of the values of all flags."""
    return {
        parameter.name: make(**_arguments(make, given)) if make else given[parameter.name]
        for parameter, make in _parameters(function)
    }


def take_common(function: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give a function the signature `(ctx, own…, common flags…)`, which is what Typer reads."""
    kind = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    flags = [
        inspect.Parameter(name, kind, default=default, annotation=Annotated[type_, flag])
        for name, (type_, flag, default) in COMMON.items()
    ]
    parameters = [context, *(parameter.replace(kind=kind) for parameter in own), *flags]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _given(flag: str, value: Any, before: Mapping[str, Any]) -> Any:
    """A flag's value after the command's name, else the one before it."""
    return before.get(flag, value) if value == COMMON[flag][2] else value


def _session(common: Mapping[str, Any]) -> Session:
    return Session(
        project_dir=common["project"],
        as_json=common["json"],
        quiet=common["quiet"],
        verbose=common["verbose"],
        offline=common["offline"],
        no_progress=common["no_progress"],
        store=(common["store"] or default_store()).absolute(),
        cache=(common["cache_dir"] or default_cache()).absolute(),
    )


def fail(error: GpuenvError, *, as_json: bool) -> None:
    """Say what went wrong: a JSON document on stdout, or `error:`, `cause:` and `hint:` lines on stderr."""
    if as_json:
        document = {"kind": error.kind, "message": error.message, "causes": error.causes, "hints": error.hints}
        print(json.dumps({"error": document}, indent=2, ensure_ascii=False))  # noqa: T201
        return
    lines = [_painted("error", "31", error.message)]
    for place, cause in enumerate(error.causes):
        lines += [f"{'  cause: ' if not place else '         '}{line}" for line in cause.split("\n")]
    lines += [_painted("hint", "36", hint) for hint in error.hints]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201


def _painted(word: str, colour: str, text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    return f"{word}: {text}" if plain else f"\x1b[1;{colour}m{word}\x1b[0m: {text}"
