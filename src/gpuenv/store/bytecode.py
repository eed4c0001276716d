"""Which bytecode of an object is known: what `--compile-bytecode` made, by path and hash, one list an interpreter.

Bytecode is derived data and no part of an object's name. A list lies among what it lists, in the `__pycache__` of the
object's first directory with modules: `gpuenv.<tag>.bytecode`. It says what is accounted for when an object is checked;
everything else in a `__pycache__` is not.
"""

import os
import posixpath
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from gpuenv.model.stored import SITE_PACKAGES, Directory, StoredFile

__all__ = ["BytecodeList", "cache_of", "is_list", "list_path", "modules_of", "read_list", "write_list"]

FORMAT = 1
_LIST = re.compile(r"gpuenv\.[A-Za-z0-9_-]+\.bytecode\Z")


class BytecodeList(msgspec.Struct, frozen=True, array_like=True):
    """What one interpreter made of an object.

    magic: of the interpreter's bytecode. files: the sha256 of each, by path in the object. refused: modules that do not
    compile.
    """

    format: int
    magic: bytes
    files: Mapping[str, bytes]
    refused: tuple[str, ...] = ()


def modules_of(listing: Iterable[Directory]) -> dict[str, StoredFile]:
    """The modules of an object that can be imported, by path in it."""
    return {
        f"{directory.path}/{file.name}": file
        for directory in listing
        if directory.path.partition("/")[0] == SITE_PACKAGES
        for file in directory.files
        if file.name.endswith(".py")
    }


def cache_of(module: str, tag: str) -> str:
    """Where the bytecode of a module lies: `a/b.py` and `cpython-313` give `a/__pycache__/b.cpython-313.pyc`."""
    folder, name = posixpath.split(module)
    return posixpath.join(folder, "__pycache__", f"{name.removesuffix('.py')}.{tag}.pyc")


def list_path(modules: Iterable[str], tag: str) -> str:
    """Where in an object with these modules, of which there is one at least, the list of a tag lies."""
    return posixpath.join(min(map(posixpath.dirname, modules)), "__pycache__", f"gpuenv.{tag}.bytecode")


def is_list(path: str) -> bool:
    """Is this the name of a list?"""
    return _LIST.match(posixpath.basename(path)) is not None


def read_list(path: Path) -> BytecodeList | None:
    """A list; None where there is none or it is damaged."""
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=BytecodeList)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.format == FORMAT else None


def write_list(path: Path, magic: bytes, files: Mapping[str, bytes], refused: Iterable[str]) -> None:
    """Leave a list in one step; raises OSError where the store cannot be written."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.msgpack.encode(BytecodeList(FORMAT, magic, dict(sorted(files.items())), tuple(refused))))
    temporary.rename(path)
