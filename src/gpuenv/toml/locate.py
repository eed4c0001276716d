"""Find the line where a key of a TOML document stands. Runs only when there is an error to show.

`tomllib` keeps no positions, so this walks the text again. The text is known to parse: the walk recognises just
enough of TOML 1.0 to tell keys from values, and checks nothing.
"""

import re

__all__ = ["KeyPath", "locate"]

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def locate(text: str, path: KeyPath) -> tuple[int, str] | None:
    """The number (from 1) and the text of the line where `path` stands, or else its nearest ancestor that has one.

    Path parts are keys and positions in arrays: `("tool", "gpuenv", "index", 1, "name")`. None: not even the first
    key stands in the text.
    """
    places = _Walk(text).places()
    for length in range(len(path), 0, -1):
        position = places.get(path[:length])
        if position is not None:
            number = text.count("\n", 0, position) + 1
            return number, text.split("\n")[number - 1].rstrip("\r")
    return None


class _Walk:
    """One pass over a document that notes where each key path first stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._places: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}  # arrays of tables -> how many tables so far

    def places(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip()
        while self._at < len(self._text):
            table = self._header() if self._text[self._at] == "[" else self._pair(table)
            self._skip()
        return self._places

    def _header(self) -> KeyPath:
        start = self._at
        array = self._text.startswith("[[", start)
        self._at += 2 if array else 1
        path: KeyPath = ()
        keys = self._keys()
        for position, key in enumerate(keys):
            path = (*path, key)
            self._note(path, start)
            if array and position == len(keys) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
                self._note(path, start)
        self._at += 2 if array else 1
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        start = self._at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._skip()
        self._value(path)
        return table

    def _value(self, path: KeyPath) -> None:
        if self._text.startswith("[", self._at):
            self._sequence(path, "]")
        elif self._text.startswith("{", self._at):
            self._sequence(path, "}")
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            self._at = max(found.end() if found else 0, self._at)

    def _sequence(self, path: KeyPath, close: str) -> None:
        self._at += 1
        count = 0
        self._skip()
        while self._at < len(self._text) and self._text[self._at] != close:
            before = self._at
            if close == "}":
                self._pair(path)
            else:
                self._note((*path, count), self._at)
                self._value((*path, count))
            count += 1
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip()
            self._at = max(self._at, before + 1)
        self._at += 1

    def _keys(self) -> list[str]:
        keys = [self._key()]
        self._skip()
        while self._text.startswith(".", self._at):
            self._at += 1
            self._skip()
            keys.append(self._key())
            self._skip()
        return keys

    def _key(self) -> str:
        self._skip()
        found = _STRING.match(self._text, self._at)
        if found:
            self._at = found.end()
            inner = found[0][1:-1]
            return _unescape(inner) if found[0][0] == '"' else inner
        bare = _BARE_KEY.match(self._text, self._at)
        self._at = bare.end() if bare else self._at + 1
        return bare[0] if bare else ""

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _note(self, path: KeyPath, position: int) -> None:
        self._places.setdefault(path, position)


def _unescape(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        digits = found[1] or found[2]
        return chr(int(digits, 16)) if digits else _ESCAPES.get(found[3], found[3])

    return _ESCAPE.sub(one, text)
