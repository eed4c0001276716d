"""Arrays as text: items come and go, the rest stays."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.toml.array import ArrayText, literal

SAMPLES = [
    "[]",
    "[ ]",
    "[\n]",
    '["a"]',
    '[ "a", "b" ]',
    '["a","b",]',
    '[\n  "a",\n  "b"\n]',
    '[\n\t"a", # x\n\t# y\n\n\t"b" # z\n]',
    '[\n  "a", "b",\n  \'c\',\n]',
    '["a",\n "b"]',
    '[{ x = ["a, b"] }, """q"\n,""", "c" , # d\n]',
    '[ # top\n  "a"\n  , "b"]',
]


def values(text: str) -> list[object]:
    found: list[object] = tomllib.loads(f"a = {text}\n")["a"]
    return found


@pytest.mark.parametrize("text", SAMPLES)
def test_array_taken_apart_is_the_same_text(text: str) -> None:
    """Taking an array apart and writing it again changes nothing."""
    assert str(ArrayText(text)) == text


@given(st.sampled_from(SAMPLES), st.data())
def test_changes_do_what_a_list_does(text: str, data: st.DataObject) -> None:
    """After any changes the text holds what a list would hold, and only the comments of removed lines are gone."""
    expected, array = values(text), ArrayText(text)
    chance, removed = st.booleans(), False
    for _ in range(data.draw(st.integers(1, 4))):
        take = data.draw(chance)
        if expected and take:
            position = data.draw(st.integers(0, len(expected) - 1))
            del expected[position]
            array.remove(position)
            removed = True
        else:
            position = data.draw(st.integers(0, len(expected)))
            expected.insert(position, "n")
            array.insert(position, '"n"')
    assert values(str(array)) == expected
    if not removed:
        assert str(array).count("#") == text.count("#")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a", '"a"'),
        ('a; os_name == "nt"', "'a; os_name == \"nt\"'"),
        ("both \" and '", '"both \\" and \'"'),
    ],
)
def test_literal_avoids_escapes(text: str, form: str) -> None:
    """A string with double quotes stands in single ones where it can."""
    assert literal(text) == form
    assert values(f"[{form}]") == [text]


@pytest.mark.parametrize(
    ("text", "position", "after"),
    [
        ('["a", # x\n "b"]', 1, '["a" # x\n]'),
        ('[ # top\n  "a"]', 0, "[ # top\n]"),
        ('[\n  "a", "b",\n]', 0, '[\n  "b",\n]'),
    ],
)
def test_comments_never_swallow_what_follows(text: str, position: int, after: str) -> None:
    """A comment that ends up last keeps the end of its line."""
    array = ArrayText(text)
    array.remove(position)
    assert str(array) == after
