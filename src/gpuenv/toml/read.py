"""Read TOML 1.0: text to plain values, and syntax errors as values that point at the place."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

__all__ = ["SyntaxProblem", "parse"]

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why a text is not TOML. line and column count from 1; text is the line without its end."""

    message: str
    line: int
    column: int
    text: str

    def picture(self, label: str) -> str:
        """The place, the line and a caret below it, three lines that stay aligned under any indent."""
        lead = "".join("\t" if char == "\t" else " " for char in self.text[: self.column - 1])
        return f"{label}:{self.line}:{self.column}\n    {self.text}\n    {lead}^"


def parse(text: str) -> dict[str, Any] | SyntaxProblem:
    """Parse a document; a syntax error is an answer, so that the caller decides what kind of failure it is."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        return _problem(text, "Nested too deeply (at line 1, column 1)")
    except ValueError as error:  # TOMLDecodeError is one; so is an integer with too many digits
        return _problem(text, str(error))


def _problem(text: str, words: str) -> SyntaxProblem:
    lines = text.split("\n")
    found = _PLACE.search(words)
    if found and found["line"]:
        line, column = int(found["line"]), int(found["column"])
    else:
        line = len(lines) if lines[-1] or len(lines) == 1 else len(lines) - 1
        column = len(lines[line - 1].rstrip("\r")) + 1
    message = _PLACE.sub("", words)
    return SyntaxProblem(message[:1].lower() + message[1:], line, column, lines[line - 1].rstrip("\r"))
