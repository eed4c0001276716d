"""Edit TOML and keep comments, order and layout: the door to `tomlkit`, imported only by commands that edit."""

from collections.abc import Callable, Sequence
from typing import Any

import tomlkit
from tomlkit.items import AoT, Table

from gpuenv.toml.array import ArrayText, literal

__all__ = ["Editor", "literal"]


class Editor:
    """A TOML document in the hand of someone who edits its arrays. The text is known to parse."""

    def __init__(self, text: str) -> None:
        self._crlf = text.count("\r\n") == text.count("\n") > 0
        self._document = tomlkit.parse(text.replace("\r\n", "\n") if self._crlf else text)

    def __str__(self) -> str:
        text = self._document.as_string()
        return text.replace("\n", "\r\n") if self._crlf else text

    def insert(self, path: Sequence[str], position: int, text: str) -> None:
        """Put a string before the item at `position` of the array at `path`."""
        self._rewrite(path, lambda array: array.insert(position, literal(text)))

    def replace(self, path: Sequence[str], position: int, text: str) -> None:
        """Put a string in the place of an item."""
        self._rewrite(path, lambda array: array.replace(position, literal(text)))

    def remove(self, path: Sequence[str], position: int) -> None:
        """Take an item away, with the comment on its line."""
        self._rewrite(path, lambda array: array.remove(position))

    def create(self, path: Sequence[str], texts: Sequence[str]) -> None:
        """Set the last key of `path`, in a table that exists, to an array with one string a line."""
        *tables, key = path
        lines = "".join(f"    {literal(text)},\n" for text in texts)
        table, array = self._table(tables), _array(f"[\n{lines}]")
        last = _last_key(table)
        if last is None:
            table[key] = array
        else:  # not behind the comments at the table's end: they speak of what follows
            table.value._insert_after(last, key, array)

    def _rewrite(self, path: Sequence[str], change: Callable[[ArrayText], None]) -> None:
        *tables, key = path
        table = self._table(tables)
        array = ArrayText(table[key].as_string())
        change(array)
        table[key] = _array(str(array))

    def _table(self, path: Sequence[str]) -> Any:
        table: Any = self._document
        for key in path:
            table = table[key]
        return table


def _last_key(table: Any) -> Any:
    """The last key of a table written under a header, if comments or blank lines follow it."""
    if not isinstance(table, Table):
        return None
    body = table.value.body
    at = max((position for position, (key, _) in enumerate(body) if key is not None), default=-1)
    return body[at][0] if 0 <= at < len(body) - 1 and not isinstance(body[at][1], Table | AoT) else None


def _array(text: str) -> Any:
    return tomlkit.parse(f"value = {text}\n").item("value")
