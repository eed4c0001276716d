"""Writing TOML fragments."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.toml.write import inline, key, quote

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    texts | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_inline_reads_back(value: object) -> None:
    """Whatever is written stands on one line and reads back as the same value."""
    text = inline(value)  # type: ignore[arg-type]
    assert "\n" not in text
    assert tomllib.loads(f"a = {text}") == {"a": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", '"plain"'),
        ('say "hi"\\\n\x1b\x7f', '"say \\"hi\\"\\\\\\n\\u001B\\u007F"'),
        (True, "true"),
        (7, "7"),
        ([], "[]"),
        ({}, "{}"),
        (["a", "b"], '["a", "b"]'),
        ({"index": "amd", "a b": 1}, '{ index = "amd", "a b" = 1 }'),
    ],
)
def test_inline_has_one_form(value: object, text: str) -> None:
    """Every value has exactly one text, in the order of its mapping."""
    assert inline(value) == text  # type: ignore[arg-type]


def test_keys_are_bare_where_they_can_be() -> None:
    """Only a key that TOML does not allow bare is quoted."""
    assert (key("mi300"), key("a.b"), key(""), quote("")) == ("mi300", '"a.b"', '""', '""')


def test_what_toml_lacks_is_refused() -> None:
    """None and floats have no form here."""
    for value in (None, 1.5):
        with pytest.raises(TypeError, match="no TOML for"):
            inline(value)  # type: ignore[arg-type]
