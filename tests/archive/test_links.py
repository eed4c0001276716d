"""LINKS of PEP 778: which side of a line is the link, and what no line may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.archive.links import is_links, links_of, parse_links
from gpuenv.archive.names import Refused

NAME = "f-1.dist-info/LINKS"


@pytest.mark.parametrize(
    ("path", "yes"),
    [(NAME, True), (f"base/{NAME}", True), ("LINKS", False), ("f/LINKS", False), ("f.dist-info/x/LINKS", False)],
)
def test_which_files_list_links(path: str, yes: bool) -> None:
    """Only LINKS directly in a `*.dist-info` counts."""
    assert is_links(path) is yes


@pytest.mark.parametrize(
    ("pairs", "there", "expected"),
    [
        ([("a", "b")], ["b"], [("a", "b")]),
        ([("a", "b")], ["a"], [("b", "a")]),
        ([("a", "b")], ["a", "b"], [("a", "b")]),
        ([("a", "b")], [], [("a", "b")]),
        ([("d", "e")], ["e/f"], [("d", "e")]),
        ([("l/a", "m/b")], ["l/a"], [("m/b", "../l/a")]),
        ([("c", "b"), ("b", "a")], ["a"], [("c", "b"), ("b", "a")]),
        ([("b", "c"), ("a", "b")], ["a"], [("c", "b"), ("b", "a")]),
        ([("a", "b"), ("a", "b")], ["a"], [("b", "a")]),
    ],
)
def test_the_side_that_exists_is_the_target(
    pairs: list[tuple[str, str]], there: list[str], expected: list[tuple[str, str]]
) -> None:
    """The path that is no file is the link; folders and links of other lines count as there, both or neither: prose."""
    assert [link[:2] for link in links_of(pairs, there)] == expected


def test_paths_are_beside_the_dist_info() -> None:
    """Paths begin where the `*.dist-info` lies; quotes are CSV's."""
    assert parse_links(b'a,"b,c"\nd/,e\n', NAME) == [("a", "b,c"), ("d", "e")]
    assert parse_links(b"a,b", f"root/{NAME}") == [("root/a", "root/b")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a", "line 1 does not hold two"),
        (b"a,b\na,b,c", "line 2 does not hold two"),
        (b"a,", "empty part"),
        (b"a,../b", "leaves"),
        (b"/a,b", "absolute"),
        (b'a,"b\nc"', "control"),
        (b'a,"b', "cannot be read"),
        (b"a,\xff", "cannot be read"),
        (b"a,b\n" * 300_000, "larger than"),
    ],
)
def test_malformed_lines_are_refused(data: bytes, reason: str) -> None:
    """Lines are two clean relative paths each."""
    with pytest.raises(Refused, match=reason):
        parse_links(data, NAME)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No content makes the reader fail in another way."""
    try:
        pairs = parse_links(data, NAME)
    except Refused:
        return
    assert len(links_of(pairs, ["a"])) == len(set(pairs))


def test_a_long_chain_takes_no_longer_than_its_lines() -> None:
    """Twenty thousand links, each to the next, in the worst order, are one pass."""
    pairs = [(f"l{number}", f"l{number + 1}") for number in range(20_000)]
    assert [link.path for link in links_of(pairs, ["l20000"])] == [pair[0] for pair in pairs]
