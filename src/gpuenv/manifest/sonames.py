"""Sonames and patterns as the manifest writes them: file names of libraries, patterns of them, paths in a wheel."""

import re
from collections.abc import Callable

from gpuenv.manifest.node import Node

__all__ = ["decode_soname", "decode_soname_pattern", "decode_wheel_pattern", "is_soname", "several"]

_SONAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*\.so(\.[A-Za-z0-9_.+~-]+)?")
_SONAME_PATTERN = re.compile(r"[A-Za-z0-9_.+~*?\[\]!-]+")
_WILDCARDS = re.compile(r"[*?\[]")


def is_soname(text: str) -> bool:
    """Is it the file name of a shared library, `libfoo.so.3`?"""
    return _SONAME.fullmatch(text) is not None


def decode_soname(node: Node, text: str) -> str:
    """A soname. node: where the text stands, as a value or as a key."""
    if not is_soname(text):
        raise node.error(f"`{text}` is not a soname", hints=_meant(text, "for example `libopenblas.so.0`"))
    return text


def decode_soname_pattern(node: Node, text: str) -> str:
    """A soname, or an fnmatch pattern of them (`libQt*.so.*`)."""
    if not is_soname(text) and not (_SONAME_PATTERN.fullmatch(text) and _WILDCARDS.search(text)):
        example = "for example `libodbc.so.2` or `libQt*.so.*`"
        raise node.error(f"`{text}` is neither a soname nor a pattern of sonames", hints=_meant(text, example))
    return text


def decode_wheel_pattern(node: Node, text: str) -> str:
    """An fnmatch pattern of paths in a wheel (`plugins/*.so`); `*` stands for slashes too."""
    if text.startswith("/") or ".." in text.split("/") or "\\" in text or not text.isprintable():
        hints = ["relative to the root of the wheel, with `/`; for example `plugins/*.so`"]
        raise node.error(f"`{text}` is not a pattern of paths in a wheel", hints=hints)
    return text


def several(node: Node, decode: Callable[[Node, str], str]) -> tuple[str, ...]:
    """An array of such texts, each once, in the order written."""
    return tuple(dict.fromkeys(decode(item, item.text()) for item in node.items()))


def _meant(text: str, example: str) -> tuple[str, ...]:
    name = text.rpartition("/")[2]
    return (f"the file name alone: `{name}`",) if name != text and is_soname(name) else (example,)
