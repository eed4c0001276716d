"""Which shared libraries this machine has of its own: in folders that are named, else where the loader looks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from gpuenv.host.loading import open_libraries

__all__ = ["HostLibrary", "find_libraries"]

PATIENCE = 30.0  # seconds for all libraries together
# Decide what the loader finds and does (ld.so(8)); everything else of the caller's variables is kept away.
_VARIABLES = ("LD_LIBRARY_PATH",)
_NOT_THERE = "cannot open shared object file"


class HostLibrary(NamedTuple):
    """A soname on this machine. path: of the file, None where it has none or the loader does not say.

    problem: None: it can be used; "": there is no such library; else why it cannot be opened. named: it lies in a
    folder that was named, where the loader does not look by itself.
    """

    soname: str
    path: Path | None = None
    problem: str | None = None
    named: bool = False


def find_libraries(
    sonames: Iterable[str], *, python: Path, folders: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, HostLibrary]:
    """Each soname as a program of the interpreter `python` meets it.

    folders: where to look first. environ: the caller's variables, of which those count that change where the loader
    looks. Opens the libraries in a process of its own, which takes some 50 ms.
    """
    wanted = sorted(set(sonames))
    found = {}
    for soname in wanted:
        named = next((path for folder in folders if (path := Path(folder) / soname).is_file()), None)
        if named is not None:
            found[soname] = HostLibrary(soname, named, None, named=True)
    left = [soname for soname in wanted if soname not in found]
    if left:
        variables = {name: value for name in _VARIABLES if (value := (environ or {}).get(name))}
        for opened in open_libraries(python, left, environ=variables, now=False, patience=PATIENCE):
            found[opened.name] = _judged(opened.name, opened.path, opened.problem)
    return found


def _judged(soname: str, path: str | None, problem: str | None) -> HostLibrary:
    if problem is not None and problem.startswith(f"{soname}: {_NOT_THERE}"):
        problem = ""
    return HostLibrary(soname, Path(path) if path and path.startswith("/") else None, problem)
