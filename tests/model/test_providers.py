"""Tables of providers: strict when read, in a fixed order when asked."""

import re
from typing import Any

import pytest

from gpuenv.model.providers import NO_PROVIDERS, ProviderTable, decode_providers, decode_rows
from gpuenv.model.rules import AllowedMissing

TABLE = {
    "version": 1,
    "any": {"libtbb.so.12": "tbb>=2021", "libmpi.so.12": ["mpich", "Impi_RT", "mpich"]},
    "nvidia 12": {"libcurand.so.10": "nvidia-curand-cu12"},
    "nvidia 13": {"libcurand.so.10": "nvidia-curand"},
    "amd 7": {"libamdhip64.so.7": "rocm-sdk-core<8,>=7"},
}


def words(table: ProviderTable, soname: str, *runtime: Any) -> list[str]:
    return [str(one) for one in table.of(soname, *runtime)]


def test_rows_in_order() -> None:
    """A row names one provider or several, in order of preference; names are normalised, and none comes twice."""
    table = decode_providers(TABLE, "sha256:0")
    assert table.digest == "sha256:0"
    assert words(table, "libtbb.so.12") == ["tbb>=2021"]
    assert words(table, "libmpi.so.12", ("nvidia", 12)) == ["mpich", "impi-rt"]
    assert words(table, "libamdhip64.so.7", ("amd", 7)) == ["rocm-sdk-core<8,>=7"]


def test_sections_of_runtimes() -> None:
    """A runtime's own row is taken for it alone; without a runtime all are, the newest first."""
    table = decode_providers(TABLE, "")
    assert words(table, "libcurand.so.10", ("nvidia", 12)) == ["nvidia-curand-cu12"]
    assert words(table, "libcurand.so.10", ("nvidia", 11)) == []
    assert words(table, "libcurand.so.10") == ["nvidia-curand", "nvidia-curand-cu12"]
    assert table.runtimes("libcurand.so.10") == (("nvidia", 12), ("nvidia", 13))
    assert table.runtimes("libtbb.so.12") == ()


def test_known_sonames() -> None:
    """A soname is known if any section has a row for it."""
    table = decode_providers(TABLE, "")
    assert table.knows("libamdhip64.so.7") and table.knows("libmpi.so.12")
    assert not table.knows("libodbc.so.2")
    assert not NO_PROVIDERS.knows("libmpi.so.12")
    assert NO_PROVIDERS.of("libmpi.so.12") == ()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "it is of version 2, and this gpuenv reads version 1"),
        ({"version": "1"}, "it has no version"),
        ({"version": True}, "it has no version"),
        ({"version": 0}, "it has no version"),
        ({"nvidia": {}}, "'nvidia' is no runtime, such as 'nvidia 13'"),
        ({"intel 1": {}}, "'intel 1' is no runtime, such as 'nvidia 13'"),
        ({"any": []}, "any: not a table of sonames"),
        ({"any": {"a/b.so": "c"}}, "any: 'a/b.so' is no soname"),
        ({"any": {"a b.so": "c"}}, "any: 'a b.so' is no soname"),
        ({"any": {"": "c"}}, "any: '' is no soname"),
        ({"any": {"a" * 256: "c"}}, "any: '" + "a" * 79 + "… is no soname"),
        ({"nvidia 12": {"a.so": []}}, "nvidia 12: a.so: not a list of 1 to 64 requirements"),
        ({"nvidia 12": {"a.so": ["b"] * 65}}, "nvidia 12: a.so: not a list of 1 to 64 requirements"),
        ({"nvidia 12": {"a.so": 1}}, "nvidia 12: a.so: not a list of 1 to 64 requirements"),
        ({"nvidia 12": {"a.so": [1]}}, "nvidia 12: a.so: 1 is no requirement"),
        ({"nvidia 12": {"a.so": "b =! 1"}}, "nvidia 12: a.so: 'b =! 1' is no requirement"),
        ({"any": {"a.so": "b @ https://index.example/b.whl"}}, "has a URL or a marker"),
        ({"any": {"a.so": "b; python_version > '3'"}}, "has a URL or a marker"),
    ],
)
def test_anything_else_is_refused(change: dict[str, Any], complaint: str) -> None:
    """What is no table of this version is a ValueError that names the place."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        decode_providers(TABLE | change, "")


def test_size_is_bounded() -> None:
    """A table has at most 50,000 rows."""
    rows = {f"lib{number}.so": "a" for number in range(50_001)}
    with pytest.raises(ValueError, match="50001 sonames, more than 50000"):
        decode_rows(rows)
    rows.popitem()
    assert len(decode_rows(rows)) == 50_000


def test_what_distributions_do_without() -> None:
    """A table may say which sonames a distribution names and does without, by pattern; nothing else may stand there."""
    table = decode_providers({"version": 1, "optional": {"Numba": ["libgomp.so.*"]}}, "")
    assert table.optional == {"numba": (AllowedMissing("libgomp.so.*"),)}
    wrong: list[Any] = [[], {"numba": "libgomp.so.1"}, {"numba": [1]}, {"num ba": ["libx.so"]}, {"numba": ["lib/x"]}]
    for rows in wrong:
        with pytest.raises(ValueError, match="optional: "):
            decode_providers({"version": 1, "optional": rows}, "")
