"""Finding the line of a key path."""

import tomllib
from collections.abc import Iterator

import pytest

from gpuenv.toml.locate import KeyPath, locate

DOCUMENT = '''\
# a comment with [tool.gpuenv] in it
title = """
[tool.gpuenv]
python = "no" """
[project]
name = "train"
dependencies = [
    "torch>=2.8",  # keep, "numpy"
    'numpy',
]
urls.home = "https://index.example/#a"

[tool."gpuenv".targets . mi300]  # header
gpu = ["gfx942", """gfx\\
90a""", "gfx906"]
[tool.gpuenv.targets]
h100 = { gpu = ["sm_90"], cuda = "13.0" }

[[tool.gpuenv.index]]
name = "amd"
[[tool.gpuenv.index]]
  name = "other"
  nested = [
    { a = 1 },
    # the second
    { a = 2, b = [
      3 ] },
  ]
[tool.gpuenv.index.more]
x = 2026-11-01T00:00:00Z
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("project",), 5),
        (("project", "name"), 6),
        (("project", "dependencies"), 7),
        (("project", "dependencies", 0), 8),
        (("project", "dependencies", 1), 9),
        (("project", "urls", "home"), 11),
        (("tool", "gpuenv"), 13),
        (("tool", "gpuenv", "targets", "mi300", "gpu", 1), 14),
        (("tool", "gpuenv", "targets", "mi300", "gpu", 2), 15),
        (("tool", "gpuenv", "targets", "h100", "cuda"), 17),
        (("tool", "gpuenv", "index", 0, "name"), 20),
        (("tool", "gpuenv", "index", 1), 21),
        (("tool", "gpuenv", "index", 1, "name"), 22),
        (("tool", "gpuenv", "index", 1, "nested", 1, "b", 0), 27),
        (("tool", "gpuenv", "index", 1, "more", "x"), 30),
    ],
)
def test_path_is_found_on_its_line(path: KeyPath, line: int) -> None:
    """Headers, arrays of tables, dotted and quoted keys, inline tables and multi-line arrays are all seen."""
    assert locate(DOCUMENT, path) == (line, DOCUMENT.split("\n")[line - 1])


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("tool", "gpuenv", "targets", "mi300", "rocm"), 13),
        (("tool", "gpuenv", "index", 7), 19),
        (("project", "name", "deeper", 3), 6),
    ],
)
def test_missing_path_falls_back_to_its_nearest_ancestor(path: KeyPath, line: int) -> None:
    """What does not stand in the text is shown where its table stands."""
    found = locate(DOCUMENT, path)
    assert found is not None
    assert found[0] == line


def test_nothing_of_the_path_is_nowhere() -> None:
    """A path whose first key is missing has no line."""
    assert locate(DOCUMENT, ("absent", "name")) is None
    assert locate("", ("a",)) is None


def paths(value: object, here: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    if here:
        yield here, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*here, key))
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from paths(item, (*here, position))


def test_every_path_of_a_document_is_found() -> None:
    """Each path that the real parser knows has a line, and a scalar's key stands on its line."""
    for path, value in paths(tomllib.loads(DOCUMENT)):
        found = locate(DOCUMENT, path)
        assert found is not None
        if isinstance(path[-1], str) and not isinstance(value, dict | list):
            assert path[-1] in found[1]


def test_lines_end_without_carriage_return() -> None:
    """A line of a CRLF document is shown without its end, and counts as one line."""
    assert locate("a = 1\r\nb = 2\r\n", ("b",)) == (2, "b = 2")
