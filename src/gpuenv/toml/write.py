"""Write TOML 1.0 fragments, deterministically and fast: what the lock is made of."""

import re
from collections.abc import Mapping, Sequence

__all__ = ["Value", "inline", "key", "quote"]

Value = str | int | bool | Sequence["Value"] | Mapping[str, "Value"]

_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f]*\Z')
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def quote(text: str) -> str:
    """A basic string on one line; whatever a basic string may not hold is escaped."""
    if _PLAIN.match(text):
        return f'"{text}"'
    return '"' + _SPECIAL.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}", text) + '"'


def key(text: str) -> str:
    """A key: bare where TOML allows it, else quoted."""
    return text if _BARE_KEY.match(text) else quote(text)


def inline(value: Value) -> str:
    """A value on one line; tables keep the order of their mapping. Raises TypeError for what TOML or gpuenv lacks."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key(name)} = {inline(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(inline(item) for item in value)}]"
    raise TypeError(f"no TOML for {type(value).__name__}")
