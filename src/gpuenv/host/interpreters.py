"""Find the base interpreters of this machine: explicit path, PATH, pyenv's folder, uv's folder.

Each one found is asked once who it is; answers are kept in `interpreters-v1.json` until the file changes.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gpuenv.errors import InterpreterMissing, UsageError
from gpuenv.model.interpreter import Interpreter

__all__ = ["Probe", "choose", "find_interpreters", "requested"]

CACHE = "interpreters-v1.json"
_NAME = re.compile(r"python(3(\.\d+)?t?)?\Z")
_PROGRAM = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_QUESTION = """\
import json, sys, sysconfig
print(json.dumps([
    "%d.%d.%d" % sys.version_info[:3],
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name),
    getattr(sys, "_base_executable", None) or sys.executable,
]))
"""

Probe = Callable[[str], str]


def find_interpreters(
    environ: Mapping[str, str],
    cache: Path,
    *,
    extra: Sequence[tuple[str, str]] = (),
    own: str | None = None,
    probe: Probe | None = None,
) -> list[Interpreter]:
    """Every base interpreter, in the order of preference; broken ones are left out.

    cache: gpuenv's cache directory. extra: (path, source) to look at first. own: the one that runs us,
    which comes last. probe: asks one executable, for tests.
    """
    places: dict[str, str] = {}
    for path, source in (*extra, *_candidates(environ), *([(own, "gpuenv's own")] if own else [])):
        real = _real(path)
        if real is not None:
            places.setdefault(real, source)
    known = _read_cache(cache)
    answers = {path: _stamp(path) for path in places}
    unknown = [path for path, stamp in answers.items() if known.get(path, [None])[0] != stamp]
    if unknown:
        for path, answer in zip(unknown, _ask_all(unknown, probe or _ask), strict=True):
            known[path] = [answers[path], answer]
        _write_cache(cache, {path: value for path, value in known.items() if os.path.exists(path)})  # noqa: PTH110
    found: dict[str, Interpreter] = {}
    for path, source in places.items():
        interpreter = _decode(path, known[path][1], source)
        if interpreter is not None:
            found.setdefault(interpreter.path, interpreter)
    return list(found.values())


def choose(python: str, found: Sequence[Interpreter], *, request: str | None = None) -> Interpreter:
    """The interpreter for a target's `python`, the newest patch of the first source that has one.

    request: what `--python` said, if it is a version; both must agree. Raises InterpreterMissing.
    """
    wanted = python if request is None or _is_path(request) else request
    fitting = [one for one in found if one.serves(python) and one.serves(wanted)]
    if request is not None and _is_path(request):
        fitting = [one for one in fitting if one.source == "--python"]
    if fitting:
        first = fitting[0].source
        return max((one for one in fitting if one.source == first), key=lambda one: _numbers(one.version))
    listed = [f"{one.implementation} {one.version}{'t' if one.free_threaded else ''} at {one.path}" for one in found]
    raise InterpreterMissing(
        f"no interpreter for Python {wanted}",
        causes=(f"found {'; '.join(listed)}" if listed else "found no interpreter at all",),
        hints=(
            f"install CPython {wanted}, for example with your system's package manager or pyenv",
            "name one with --python /path/to/python",
        ),
    )


def requested(request: str) -> tuple[tuple[str, str], ...]:
    """What `--python` adds to the search: a path becomes an `extra` of `find_interpreters`, a version adds nothing."""
    if _is_path(request):
        path = Path(request).expanduser()
        path = path / "bin" / "python" if path.is_dir() else path
        if _real(str(path)) is None:
            raise UsageError(f"--python {request} is no interpreter")
        return ((str(path.absolute()), "--python"),)
    if not re.match(r"\d+\.\d+(\.\d+)?t?\Z", request):
        raise UsageError(f"--python {request} is neither a version nor a path", hints=("for example --python 3.12",))
    return ()


def _is_path(request: str) -> bool:
    return "/" in request


def _candidates(environ: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    home = environ.get("HOME", "")
    pyenv = environ.get("PYENV_ROOT") or (f"{home}/.pyenv" if home else "")
    data = environ.get("XDG_DATA_HOME") or (f"{home}/.local/share" if home else "")
    uv = environ.get("UV_PYTHON_INSTALL_DIR") or (f"{data}/uv/python" if data else "")
    for folder in environ.get("PATH", "").split(os.pathsep):
        if folder.startswith("/"):
            yield from ((path, "PATH") for path in _programs(folder))
    for base, source in ((f"{pyenv}/versions" if pyenv else "", "pyenv"), (uv, "uv")):
        for name in _names(base):
            yield from ((path, source) for path in _programs(f"{base}/{name}/bin"))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder), reverse=True) if folder else []  # noqa: PTH208
    except OSError:
        return []


def _programs(folder: str) -> list[str]:
    """Interpreters by name: `python3.13` before `python3` before `python`."""
    return [f"{folder}/{name}" for name in sorted(filter(_NAME.match, _names(folder)), key=len, reverse=True)]


def _real(path: str) -> str | None:
    """The program behind a path, links followed and virtual environments left; None for scripts such as pyenv's shims.

    A virtual environment's `bin/python` is a link to its base, or a copy with `pyvenv.cfg` beside `bin`: then the
    `home` it names is searched.
    """
    real = os.path.realpath(path)
    try:
        with open(real, "rb") as file:  # noqa: PTH123
            if file.read(4) not in _PROGRAM or not os.access(real, os.X_OK):
                return None
        with open(os.path.join(os.path.dirname(os.path.dirname(real)), "pyvenv.cfg"), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123
            home = re.search(r"^home\s*=\s*(.+?)\s*$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return real if os.path.exists(real) else None  # noqa: PTH110
    except (OSError, UnicodeDecodeError):
        return None
    base = f"{home[1]}/{os.path.basename(real)}" if home else ""  # noqa: PTH119
    return _real(base) if base and os.path.dirname(base) != os.path.dirname(real) else None  # noqa: PTH120


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return [0, 0]
    return [found.st_mtime_ns, found.st_size]


def _ask_all(paths: Sequence[str], probe: Probe) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(8, len(paths))) as pool:
        return list(pool.map(probe, paths))


def _ask(path: str) -> str:
    """What the interpreter says about itself; empty if it is broken."""
    import subprocess

    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def _decode(path: str, answer: object, source: str) -> Interpreter | None:
    try:
        version, free_threaded, implementation, base = json.loads(str(answer))
    except (ValueError, TypeError):
        return None
    where = os.path.realpath(base) if base and os.path.exists(base) else path  # noqa: PTH110
    return Interpreter(where, str(version), bool(free_threaded), str(implementation), source)


def _read_cache(cache: Path) -> dict[str, list[object]]:
    try:
        found = json.loads((cache / CACHE).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {path: value for path, value in found.items() if isinstance(value, list) and len(value) == 2}


def _write_cache(cache: Path, known: Mapping[str, object]) -> None:
    """A cache that cannot be written costs time, nothing else."""
    temporary = cache / f".{CACHE}-{os.urandom(8).hex()}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known), "utf-8")
        temporary.replace(cache / CACHE)
    except OSError:
        return


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
