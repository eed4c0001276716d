"""Ask variant providers (PEP 850) what this machine supports: plugins, which are other people's code.

Each is run by the interpreter of the environment that it is installed in, in a process of its own, which may take so
much time and say so much and no more. The answer comes back as JSON; what plugins print is dropped.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import PluginError

__all__ = ["PATIENCE", "Reported", "ask_plugins"]

PATIENCE = 60.0  # seconds for all plugins of one distribution
_MOST = 1 << 20  # bytes of an answer

# Runs in whatever Python the environment has. A distribution without entry points is one whose module has the functions
# (PEP 850). Methods of classes need an instance, and those of the first protocol an argument.
_CHILD = """\
import importlib, importlib.metadata, inspect, json, os, sys
told = os.dup(1)
os.dup2(2, 1)
name = sys.argv[1]
def loaders():
    points = [one for one in importlib.metadata.distribution(name).entry_points if one.group == "variant_plugins"]
    if points:
        return [(point.name, point.load) for point in points]
    module = name.replace("-", "_")
    return [(module, lambda: importlib.import_module(module))]
def made(plugin):
    try:
        return plugin() if isinstance(plugin, type) else plugin
    except TypeError:
        return plugin
def asked(plugin):
    call = plugin.get_supported_configs
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(call).parameters.values()
    missing = [one for one in parameters if one.kind in kinds and one.default is one.empty]
    return call(*[None] * len(missing))
def reported(point, plugin):
    features = [[feature.name, list(feature.values)] for feature in asked(plugin)]
    return [getattr(plugin, "namespace", None) or point, features]
try:
    answer = json.dumps({"reported": [reported(point, made(load())) for point, load in loaders()]})
except BaseException as error:
    answer = json.dumps({"error": (type(error).__name__ + ": " + " ".join(str(error).split()))[:500]})
with open(told, "w", encoding="utf-8") as file:
    file.write(answer)
os._exit(0)
"""


class Reported(NamedTuple):
    """What one plugin says. features: with their supported values, both best first, as the plugin writes them."""

    package: str
    namespace: str
    features: tuple[tuple[str, tuple[str, ...]], ...]


def ask_plugins(
    python: Path, package: str, environ: Mapping[str, str], *, folder: Path, patience: float = PATIENCE
) -> tuple[Reported, ...]:
    """What the plugins of a distribution say of this machine.

    python: of the environment that has the distribution. package: its normalised name. environ: the plugins'
    variables. folder: where they run. Raises PluginError for one that fails, hangs, or says something else.
    """
    command = [str(python), "-I", "-B", "-c", _CHILD, package]
    devnull = subprocess.DEVNULL
    here, there = os.pipe()
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=devnull, stdout=there, stderr=devnull, start_new_session=True
        )
    except OSError as error:
        os.close(here)
        raise _unusable(package, f"{python} does not start: {error.strerror}") from error
    finally:
        os.close(there)
    try:
        said = _read(here, time.monotonic() + patience)
    finally:
        os.close(here)
        _end(process)
    if said is None:
        raise _unusable(package, f"it has not answered within {patience:g} seconds")
    if len(said) > _MOST:
        raise _unusable(package, f"its answer is larger than {_MOST >> 20} MiB")
    return _decoded(package, said)


def _read(descriptor: int, until: float) -> bytes | None:
    """All that is written until the end, or a little more than the limit; None if time is over before."""
    said = bytearray()
    while len(said) <= _MOST:
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        if not (more := os.read(descriptor, 1 << 16)):
            break
        said += more
    return bytes(said)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and all that it started, unless they left its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _decoded(package: str, said: bytes) -> tuple[Reported, ...]:
    try:
        answer = json.loads(said)
        if "error" in answer:
            raise _unusable(package, str(answer["error"]))
        return tuple(_reported(package, *one) for one in answer["reported"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _unusable(package, "its answer is not one" if said else "it ended without an answer") from None


def _reported(package: str, namespace: object, features: list[tuple[object, list[object]]]) -> Reported:
    return Reported(
        package, _text(namespace), tuple((_text(name), tuple(map(_text, values))) for name, values in features)
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _unusable(package: str, why: str) -> PluginError:
    problem = f"the variant provider {package} does not tell what this machine supports"
    hint = "write what is known of the machine into its target by hand: properties = ["
    return PluginError(problem, causes=[why], hints=[f'{hint}"NAMESPACE :: FEATURE :: VALUE"]'])
