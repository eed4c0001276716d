"""Core metadata sorted by extra."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from gpuenv.errors import IntegrityError
from gpuenv.index.metadata import check_identity, parse_metadata
from gpuenv.model.distribution import Metadata

EXTRAS = ("a", "b", "gpu-x")


def parse(*requires: str, extras: tuple[str, ...] = EXTRAS) -> Metadata:
    lines = ["Name: foo", "Version: 1.0", *(f"Provides-Extra: {extra}" for extra in extras)]
    return parse_metadata("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires), "", "body"]).encode())


def test_headers_are_read_to_the_first_empty_line() -> None:
    """Folded lines, either line end and any case of a key are read; the description is not."""
    found = parse_metadata(
        b"Metadata-Version: 2.1\r\nNAME: Foo\r\nVersion: 1.0\r\nRequires-Python: >=3.9,\r\n  <4\r\n"
        b"Provides-Extra: GPU_X\r\nRequires-Dist: bar\r\n\r\nRequires-Dist: not-a-header\r\n"
    )
    assert found == Metadata("Foo", "1.0", ">=3.9, <4", ("bar",), {}, ("gpu-x",))


@pytest.mark.parametrize(
    "marker",
    [
        "extra == 'a'",
        '"A" == extra',
        "(extra=='a')",
        "python_version < '3' and extra == 'a'",
        "(python_version < '3' or os_name == 'nt') and extra == \"a\"",
        "(python_version < '3' and (extra == 'a'))",
        "platform_version == 'extra or so' and extra == 'a'",
    ],
)
def test_lines_of_one_extra_wait_for_it(marker: str) -> None:
    """A line that can be true with one extra only is in that extra's list alone."""
    found = parse(f"bar ; {marker}")
    assert found.requires == ()
    assert found.by_extra == {"a": (f"bar ; {marker}",)}


@pytest.mark.parametrize(
    ("marker", "extras"),
    [
        ("python_version < '3'", set()),
        ("platform_version == 'extra'", set()),
        ("extra == 'a' or os_name == 'nt'", {"a"}),
        ("extra != 'a'", {"a"}),
        ("(extra == 'a' or extra == 'b') and os_name == 'nt'", {"a", "b"}),
        ("extra == 'a' and extra == 'b'", {"a", "b"}),
        ("extra in 'abc'", {"a", "b", "gpu-x"}),
        ("extra not in 'abc'", {"a", "b", "gpu-x"}),
        ("extra == ''", {"a", "b", "gpu-x"}),
        ("extra", {"a", "b", "gpu-x"}),
    ],
)
def test_other_lines_are_always_looked_at(marker: str, extras: set[str]) -> None:
    """A line whose marker has any other shape is in `requires`, and with each extra that might change its answer."""
    found = parse(f"bar; {marker}")
    assert found.requires == (f"bar; {marker}",)
    assert set(found.by_extra) == extras


def test_semicolons_in_urls_begin_no_marker() -> None:
    """The marker of a URL requirement begins after white space and a semicolon."""
    line = "bar @ https://index.example/a;extra == 'a'/bar.whl ; extra == 'b'"
    assert parse(line).by_extra == {"b": (line,)}


def test_invalid_lines_are_kept() -> None:
    """What no one can parse is left for the solver to report."""
    assert parse("bar (>=1.*", "!!; extra == 'a'").requires == ("bar (>=1.*",)


_ATOM = st.sampled_from(
    [
        f"extra {operator} '{extra}'"
        for operator in ("==", "!=", "in", "not in")
        for extra in (*EXTRAS, "GPU_x", "a b", "")
    ]
    + [f"'{extra}' == extra" for extra in EXTRAS]
    + ["os_name == 'posix'", "os_name == 'nt'", "python_version >= '3.9'", "platform_release == 'extra'"]
)
_MARKER = st.recursive(
    _ATOM,
    lambda inner: st.builds(
        lambda left, word, right, wrap: f"({left} {word} {right})" if wrap else f"{left} {word} {right}",
        inner,
        st.sampled_from(["and", "or"]),
        inner,
        st.booleans(),
    ),
    max_leaves=5,
)


@given(_MARKER)
def test_sorting_by_extra_changes_no_answer(marker: str) -> None:
    """Whichever extra is asked for, the lines looked at give the answer of the whole marker (PEP 508, 685)."""
    line = f"bar; {marker}"
    found = parse(line)
    whole = Requirement(line).marker
    assert whole is not None
    environment = {"os_name": "posix", "python_version": "3.12", "platform_release": ""}
    plain = whole.evaluate({**environment, "extra": ""})
    assert plain == (line in found.requires and plain)
    for extra in EXTRAS:
        wanted = plain or whole.evaluate({**environment, "extra": extra})
        assert wanted == (plain or (line in found.by_extra.get(extra, ()) and wanted))


@pytest.mark.parametrize(
    ("name", "version", "filename", "same"),
    [
        ("Foo.Bar", "1.0.0", "foo_bar-1.0-py3-none-any.whl", True),
        ("foo-bar", "1.0", "foo_bar-1.0+cu12-py3-none-any.whl", True),
        ("foo-bar", "1.0+cu11", "foo_bar-1.0+cu12-py3-none-any.whl", False),
        ("foo-bar", "1.1", "foo_bar-1.0-py3-none-any.whl", False),
        ("bar", "1.0", "foo_bar-1.0-py3-none-any.whl", False),
        ("foo-bar", "", "foo_bar-1.0-py3-none-any.whl", False),
    ],
)
def test_identity_is_compared(name: str, version: str, filename: str, same: bool) -> None:
    """Metadata of another distribution is refused; only a local version may be missing from it."""
    metadata = Metadata(name, version, None, (), {}, ())
    if same:
        assert check_identity(metadata, filename) is metadata
    else:
        with pytest.raises(IntegrityError, match="another distribution"):
            check_identity(metadata, filename)
