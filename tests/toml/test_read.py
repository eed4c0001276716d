"""Reading TOML: values, and syntax errors that point at the place."""

import pytest

from gpuenv.toml.read import SyntaxProblem, parse


def problem(text: str) -> SyntaxProblem:
    found = parse(text)
    assert isinstance(found, SyntaxProblem)
    return found


def test_document_becomes_plain_values() -> None:
    """A document that parses comes back as dictionaries, lists and scalars."""
    assert parse('[a]\nb = [1, "x", true]\n') == {"a": {"b": [1, "x", True]}}


@pytest.mark.parametrize(
    ("text", "line", "column", "shown"),
    [
        ("a = 1\nname torch\n", 2, 6, "name torch"),
        ("a = 1\nb = [1, 2", 2, 10, "b = [1, 2"),
        ("a = 1\nb = [1, 2\n", 2, 10, "b = [1, 2"),
        ("a = 1\r\nb = ?\r\n", 2, 5, "b = ?"),
        ("[a]\n[a]\n", 2, 3, "[a]"),
        ("a =", 1, 4, "a ="),
    ],
)
def test_syntax_error_knows_its_place(text: str, line: int, column: int, shown: str) -> None:
    """Line, column and the line's text are those of the mistake, also at the end of the document and with CRLF."""
    found = problem(text)
    assert (found.line, found.column, found.text) == (line, column, shown)


def test_message_is_words_without_the_place() -> None:
    """The message starts in lower case and leaves line and column to the picture."""
    assert problem("a = 1\nname torch\n").message == "expected '=' after a key in a key/value pair"


def test_picture_keeps_its_caret_below_the_mistake() -> None:
    """The caret stands under the column, and tabs before it stay tabs."""
    assert problem("\tname torch\n").picture("pyproject.toml") == ("pyproject.toml:1:7\n    \tname torch\n    \t     ^")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000])
def test_what_python_cannot_hold_is_a_problem_too(text: str) -> None:
    """Nesting and digits beyond what Python reads are problems, never a crash."""
    assert problem(text).line == 1
