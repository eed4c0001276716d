"""Whether a library is an extension module of Python, of which name, and for which ABI."""

import re

from gpuenv.binaries.elf import Elf
from gpuenv.model.facts import PythonModule

__all__ = ["python_module"]

# PEP 3149, PEP 703 (`t`), PEP 803 (`abi3t`); a platform may follow
_ABI = re.compile(r"(cpython-\d+[a-z]*|abi3t?|pypy\d+-pp\d+|graalpy\d+-\d+-native)(?:-.*)?")
_SCHEME = re.compile(r"[^/]*\.data/(?:purelib|platlib)/")


def python_module(path: str, elf: Elf) -> PythonModule | None:
    """The extension module that the file at `path` in a wheel is; None for any other library.

    A module has a file name `NAME[.TAG].so` and exports `PyInit_NAME`, or `PyInitU_` and punycode if NAME is not ASCII
    (PEP 489). `PACKAGE/__init__.so` is the package itself. Folders that no package can be named by, such as
    `site-packages`, end the dotted name.
    """
    *folders, file = _SCHEME.sub("", path, count=1).split("/")
    stem, *tags = file.split(".")
    if not stem or not tags or tags.pop() != "so":
        return None
    packages: list[str] = []
    for folder in reversed(folders):
        if not folder.isidentifier():
            break
        packages.insert(0, folder)
    names = [[*packages, stem]]
    if stem == "__init__" and packages:
        names.insert(0, packages)
    for parts in names:
        symbol = _init_symbol(parts[-1])
        if symbol in elf.init_symbols:
            match = _ABI.fullmatch(".".join(tags))
            return PythonModule(".".join(parts), match[1] if match else "", symbol)
    return None


def _init_symbol(name: str) -> str:
    if name.isascii():
        return f"PyInit_{name}"
    encoded = name.encode("utf-8", "replace").decode("utf-8").encode("punycode")
    return "PyInitU_" + encoded.decode("ascii").replace("-", "_")
