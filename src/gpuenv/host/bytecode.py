"""Compile modules with an interpreter of any version, in several of its processes at once.

A compiler can die of a module (deep nesting). So it says which one it begins, and another goes on behind it.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

__all__ = ["Compiled", "Dialect", "Module", "compile_modules", "dialect_of"]

PATIENCE = 1800.0  # seconds for all modules of one call
_START = 20.0

_DIALECT = """\
import importlib.util, json, sys
print(json.dumps([sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex()]))
"""

# Runs in the interpreter that is compiled for, whatever version that is. The path that goes into the bytecode is
# relative to the root, so that the result depends on the source alone; an import puts the real one in its place.
_CHILD = """\
import hashlib, importlib.util, json, os, sys
from importlib._bootstrap_external import _code_to_timestamp_pyc
told = os.dup(1)
os.dup2(2, 1)
def tell(*what):
    os.write(told, json.dumps(what).encode() + b"\\n")
def compile_one(root, path):
    with open(os.path.join(root, path), "rb") as file:
        data, status = file.read(), os.fstat(file.fileno())
    try:
        code = compile(data, path, "exec", dont_inherit=True, optimize=0)
        made = _code_to_timestamp_pyc(code, int(status.st_mtime), status.st_size & 0xFFFFFFFF)
    except Exception:
        return None
    final = os.path.join(root, importlib.util.cache_from_source(path, optimization=""))
    temporary = final + "." + os.urandom(8).hex()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        with open(fd, "wb") as file:
            file.write(made)
        os.rename(temporary, final)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    return hashlib.sha256(made).hexdigest()
for number, (root, path) in enumerate(json.load(sys.stdin)):
    tell(number)
    try:
        tell(number, compile_one(root, path), None)
    except OSError as error:
        tell(number, None, error.strerror or str(error))
"""


class Module(NamedTuple):
    """A file of Python source. path: relative to root. size: bytes."""

    root: str
    path: str
    size: int


class Compiled(NamedTuple):
    """What came of a module. sha256: of its bytecode, None if it does not compile. problem: why that is not written."""

    module: Module
    sha256: bytes | None
    problem: str | None = None


class Dialect(NamedTuple):
    """What tells one interpreter's bytecode from another's: the tag in file names, and the magic number in files."""

    tag: str
    magic: bytes


def dialect_of(python: str) -> Dialect | None:
    """An interpreter's own; None where it cannot be started, or keeps no bytecode."""
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", _DIALECT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START,
            check=True,
        )
        tag, magic = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Dialect(tag, bytes.fromhex(magic)) if tag else None


def compile_modules(
    python: str, modules: Sequence[Module], *, at_once: int, patience: float = PATIENCE
) -> list[Compiled]:
    """Write the bytecode of modules into the `__pycache__` beside each, as an import with this interpreter would.

    at_once: how many processes. What a process dies of counts as not to be compiled; modules that were not reached
    within `patience` seconds are left out.
    """
    until = time.monotonic() + patience
    shares = _shares(modules, at_once)
    with ThreadPoolExecutor(max(len(shares), 1)) as pool:
        return [one for found in pool.map(lambda share: list(_compiled(python, share, until)), shares) for one in found]


def _shares(modules: Sequence[Module], at_once: int) -> list[list[Module]]:
    """Parts of about the same size together, the largest modules first."""
    shares: list[list[Module]] = [[] for _ in range(max(1, min(at_once, len(modules))))]
    sizes = [0] * len(shares)
    for module in sorted(modules, key=lambda one: -one.size):
        least = sizes.index(min(sizes))
        shares[least].append(module)
        sizes[least] += module.size + 1000  # opening and writing a file costs, too
    return [share for share in shares if share]


def _compiled(python: str, share: list[Module], until: float) -> Iterator[Compiled]:
    while share and (left := until - time.monotonic()) > 0:
        begun, told = _run(python, share, left)
        yield from told
        if len(told) == len(share):
            return
        if begun != len(told):  # not even begun: the interpreter does not start
            return
        if time.monotonic() < until:
            yield Compiled(share[begun], None)
        share = share[begun + 1 :]


def _run(python: str, share: Sequence[Module], seconds: float) -> tuple[int | None, list[Compiled]]:
    """One process: which module it had begun last, and what it told of those before."""
    asked = json.dumps([(module.root, module.path) for module in share]).encode()
    process = [python, "-I", "-S", "-W", "ignore", "-c", _CHILD]
    try:
        output = subprocess.run(
            process, input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False
        ).stdout
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    except OSError:
        return None, []
    begun, told = None, []
    for line in output.splitlines():
        try:
            number, *rest = json.loads(line)
        except ValueError:
            break  # cut off
        begun = number
        if rest:
            digest, problem = rest
            told.append(Compiled(share[number], bytes.fromhex(digest) if digest else None, problem))
    return begun, told
