"""The shared libraries of this environment by short name: where they lie, and opened in the order of their needs.

Environments carry this file, so it imports nothing of gpuenv and runs on Python 3.9. Names and meaning follow
`rocm_sdk`, AMD's module for ROCm's libraries; here they are for all libraries that the environment's table has, which
lies beside the package. Paths are those of the environment as it was when this module was imported: a sync that
switches `.venv` meanwhile mixes nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ctypes import CDLL

__all__ = ["LibraryNotFoundError", "find_libraries", "initialize_process", "preload_libraries"]

_TABLE = "_gpuenv_libraries.json"
_FORMAT = 1
_VARIABLES = ("GPUENV_PRELOAD_LIBRARIES", "ROCM_SDK_PRELOAD_LIBRARIES")
_NAME = re.compile(r"(?:lib)?(.+?)(\.so(?:\..+)?)?")


class LibraryNotFoundError(ModuleNotFoundError):
    """The environment has no such library, or several by that name, or no libraries that others may open."""


class _Library(NamedTuple):
    """A row of the table. path: from site-packages. package, version: the distribution. needs: sonames of the table."""

    soname: str
    path: str
    package: str
    version: str
    needs: tuple[str, ...]


def _site_packages() -> str:
    """The folder of the table, links resolved: that of this package, else the interpreter's own."""
    folders = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120
    if not os.path.exists(os.path.join(folders[0], _TABLE)):  # noqa: PTH110, PTH118
        from sysconfig import get_path

        folders.append(get_path("purelib"))
    return os.path.realpath(folders[-1])


_SITE = _site_packages()
_opened: dict[str, tuple[CDLL, bool]] = {}  # soname -> the library and whether its symbols are global


def find_libraries(*shortnames: str) -> list[Path]:
    """The files of libraries, in the order asked: `cublas`, `libcublas` and `libcublas.so.13` are names of one.

    Raises LibraryNotFoundError, a ModuleNotFoundError, for names that the environment has no library for, and for those
    that it has several for.
    """
    return [_path(library) for library in _libraries(shortnames)]


def preload_libraries(*shortnames: str, rtld_global: bool = True) -> None:
    """Open libraries, each after those of the table that it needs. What is open already stays so, and is not reopened.

    What is loaded later finds them by soname. rtld_global: their symbols are for all. Raises LibraryNotFoundError as
    `find_libraries` does, OSError for what the loader refuses.
    """
    from ctypes import CDLL, RTLD_GLOBAL, RTLD_LOCAL

    table = _table()
    wanted = {library.soname for library in _libraries(shortnames)}
    todo = list(wanted)
    while todo:
        needs = set(table[todo.pop()].needs) - wanted
        wanted |= needs
        todo += needs
    for soname, library in table.items():
        if soname in wanted and not (soname in _opened and (_opened[soname][1] or not rtld_global)):
            handle = CDLL(str(_path(library)), mode=RTLD_GLOBAL if rtld_global else RTLD_LOCAL)
            _opened[soname] = handle, rtld_global


def initialize_process(
    *,
    preload_shortnames: Iterable[str] | None = None,
    rtld_global: bool = True,
    env_override: bool = True,
    check_version: str | re.Pattern[str] | Mapping[str, str | re.Pattern[str]] | None = None,
    fail_on_version_mismatch: bool = False,
    **_later: object,
) -> None:
    """Make a process ready for native code that needs libraries: check their versions, and open them.

    preload_shortnames, rtld_global: as in `preload_libraries`. env_override: open what GPUENV_PRELOAD_LIBRARIES (else
    ROCM_SDK_PRELOAD_LIBRARIES) names, too, with commas or semicolons between; RuntimeError if that fails.
    check_version: what the versions of the packages that bring `preload_shortnames` have to be, `*` for any text, or a
    compiled pattern; a mapping says it by short name. A mismatch is a warning, with fail_on_version_mismatch a
    RuntimeError before anything is opened. Other keywords, which a later version may know, mean nothing.
    """
    asked = tuple(preload_shortnames or ())
    if check_version is not None:
        _check(check_version, asked, fail=fail_on_version_mismatch)
    preload_libraries(*asked, rtld_global=rtld_global)
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None) if env_override else None
    if variable is not None:
        text = os.environ[variable]
        try:
            preload_libraries(*filter(None, map(str.strip, re.split("[,;]", text))), rtld_global=rtld_global)
        except (ImportError, OSError) as error:
            raise RuntimeError(f"cannot open what the variable {variable} names, {text!r}: {error}") from error


def _check(
    check: str | re.Pattern[str] | Mapping[str, str | re.Pattern[str]], asked: tuple[str, ...], *, fail: bool
) -> None:
    stated = check if isinstance(check, Mapping) else dict.fromkeys(asked, check)
    if not stated:
        raise ValueError("check_version says of no library what its version has to be: name some to preload")
    wrong: dict[str, None] = {}
    for library, wanted in zip(_libraries(stated), stated.values()):  # noqa: B905 - not before Python 3.10
        pattern = re.compile(re.escape(wanted).replace(r"\*", ".*") + r"\Z") if isinstance(wanted, str) else wanted
        if not pattern.match(library.version):
            shown = wanted if isinstance(wanted, str) else wanted.pattern
            wrong[f"wants {library.package} {shown}, and the environment has {library.version}"] = None
    if wrong and fail:
        raise RuntimeError("this program " + "; ".join(wrong))
    if wrong:
        from warnings import warn

        warn("this program " + "; ".join(wrong), stacklevel=3)


def _path(library: _Library) -> Path:
    return Path(os.path.normpath(os.path.join(_SITE, library.path)))  # noqa: PTH118


def _libraries(shortnames: Iterable[str]) -> list[_Library]:
    found, problems = [], []
    for name in shortnames:
        matching = list(_matching(name))
        found += matching[:1]
        if len(matching) > 1:
            several = " or ".join(f"{one.soname} ({one.package})" for one in matching)
            problems.append(f"{name} may be {several}: ask for one of them")
        elif not matching:
            problems.append(f"no library {name}{_nearest(name)}")
    if problems:
        raise LibraryNotFoundError("in this environment: " + "; ".join(problems))
    return found


def _matching(name: str) -> Iterator[_Library]:
    """Rows by soname, else by short name, else by short name in other letters (`miopen` for libMIOpen.so.1)."""
    table = _table()
    if name in table:
        yield table[name]
        return
    base, suffix = _split(name)
    if suffix in ("", ".so"):
        exact = [library for library in table.values() if _split(library.soname)[0] == base]
        yield from exact or (one for one in table.values() if _split(one.soname)[0].lower() == base.lower())


def _split(name: str) -> tuple[str, str]:
    """`libcublas.so.13` -> (`cublas`, `.so.13`)."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2] or "") if match else (name, "")


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    names = list(dict.fromkeys(_split(soname)[0] for soname in _table()))
    close = get_close_matches(_split(name)[0], names, n=3)
    exact = [soname for soname in _table() if _split(soname)[0] == _split(name)[0]]
    return f" (nearest: {', '.join(exact or close)})" if exact or close else ""


@lru_cache(maxsize=1)
def _table() -> dict[str, _Library]:
    """The libraries by soname, each after those that it needs."""
    try:
        with open(os.path.join(_SITE, _TABLE), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            text = file.read()
    except FileNotFoundError:
        raise LibraryNotFoundError(f"gpuenv made no table of libraries in {_SITE}") from None
    read = json.loads(text)
    if read["format"] != _FORMAT:
        raise RuntimeError(f"the table of libraries has format {read['format']}, and this module reads {_FORMAT}")
    return {
        soname: _Library(soname, row["path"], row["package"], row["version"], tuple(row["needs"]))
        for soname, row in read["libraries"].items()
    }
