"""Which index is the default."""

from pathlib import Path

import pytest

from gpuenv.index import default_index
from gpuenv.model.url import redact

FAR = "https://index.example/simple/"


@pytest.mark.parametrize("variable", ["GPUENV_DEFAULT_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"])
def test_variables_name_the_default(variable: str, tmp_path: Path) -> None:
    """Each variable names the default index, uv's with a name in front too, and a path becomes a file URL."""
    for value, location in ((FAR, FAR), (f"corp={FAR}", FAR), ("mirror", (tmp_path / "mirror").as_uri())):
        index = default_index({variable: value, "HOME": str(tmp_path)}, tmp_path, root=tmp_path)
        assert (index.name, index.location, index.default) == ("default", location, True)


def test_own_variable_wins() -> None:
    """gpuenv's variable is stronger than uv's, and uv's than pip's."""
    both = {"PIP_INDEX_URL": "https://a.example/", "UV_DEFAULT_INDEX": "https://b.example/"}
    assert default_index(both).location == "https://b.example/"
    assert default_index({**both, "GPUENV_DEFAULT_INDEX": FAR}).location == FAR


def test_pip_files_are_read_strongest_first(tmp_path: Path) -> None:
    """PIP_CONFIG_FILE, the virtual environment, the user's file and the system's are asked in this order."""
    places = [
        tmp_path / "named.conf",
        tmp_path / "venv" / "pip.conf",
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
        tmp_path / "home" / ".pip" / "pip.conf",
        tmp_path / "etc" / "pip.conf",
        tmp_path / "etc" / "xdg" / "pip" / "pip.conf",
    ]
    environ = {"PIP_CONFIG_FILE": str(places[0]), "VIRTUAL_ENV": str(tmp_path / "venv"), "HOME": str(tmp_path / "home")}
    for number, place in reversed(list(enumerate(places))):
        place.parent.mkdir(parents=True, exist_ok=True)
        key = "index_url" if number % 2 else "index-url"
        place.write_text(f"[global]\n{key} = https://n{number}.example/%(x)s\n")
        assert default_index(environ, root=tmp_path).location == f"https://n{number}.example/%(x)s"
    places[0].write_text("no section")
    assert default_index(environ, root=tmp_path).location.startswith("https://n1.")
    off = {**environ, "PIP_CONFIG_FILE": "/dev/null"}
    assert ".example" not in default_index(off, root=tmp_path).location


def test_without_configuration_a_library_knows(tmp_path: Path) -> None:
    """With nothing configured the constant of distlib gives the host, and PEP 503 the path."""
    location = default_index({"HOME": str(tmp_path)}, root=tmp_path).location
    assert location.startswith("https://") and location.endswith("/simple/")


def test_redacted_urls_hold_no_secrets() -> None:
    """User information, query and fragment do not survive."""
    assert redact("https://me:pw@index.example:8443/a?sig=1#x") == "https://index.example:8443/a"
