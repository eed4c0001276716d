"""`default-extras.json`: what a publisher says of default extras by environment, read strictly."""

import json

import pytest

from gpuenv.model.default_extras import LIMIT, BadDefaultExtras, checked, encode, parse


def document(table: object, **more: object) -> bytes:
    return json.dumps({"version": 1, "default-extras": table, **more}).encode()


def test_selectors_come_sorted_with_their_extras() -> None:
    """Names of extras are normalised, templates stay as they are, an empty list is one that says none."""
    found = parse(document({"nvidia": ["CUDA_13"], "amd": ["device-{gfx}", "Libraries"], "any": []}))
    assert found == (("amd", ("device-{gfx}", "libraries")), ("any", ()), ("nvidia", ("cuda-13",)))


def test_what_is_written_is_read_again() -> None:
    """The file of a table holds just that table, the same bytes whatever the order."""
    table = checked({"gfx90a:xnack+": ["x"], "linux-x86_64": ["{sm}"], "gfx9-4-generic": []})
    assert parse(encode(table)) == table
    assert encode(tuple(reversed(table))) == encode(table)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[]", "no JSON object"),
        (b"{", "Expecting"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'{"version": 1, "version": 1, "default-extras": {}}', "comes twice"),
        (document({}, more=1), "no others"),
        (b'{"version": 1}', "no others"),
        (b'{"version": 2, "default-extras": {}}', "its version is 2"),
        (b'{"version": 1.0, "default-extras": {}}', "its version is 1.0"),
        (b'{"version": true, "default-extras": {}}', "its version is true"),
        (document([]), "object of arrays"),
        (document({"amd": "x"}), "object of arrays"),
        (document({"amd": [1]}), "1, for `amd`, is no extra"),
        (document({"amd": ["a b"]}), "is no extra"),
        (document({"amd": ["{gfx"]}), "is no extra"),
        (document({"AMD": []}), "is no selector"),
        (document({str(number): [] for number in range(1001)}), "1001 selectors"),
        (b" " * (LIMIT + 1), "more than"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, words: str) -> None:
    """Whatever version 1 does not have is an error that says what is wrong."""
    with pytest.raises(BadDefaultExtras, match=words):
        parse(data)
