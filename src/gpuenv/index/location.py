"""Which index is the default: what pip or uv are told, else the constant that a library carries."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

if TYPE_CHECKING:
    from gpuenv.model.manifest import Index

__all__ = ["default_index"]

_VARIABLES = ("GPUENV_DEFAULT_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def default_index(
    environ: Mapping[str, str] = os.environ, project_dir: Path | None = None, *, root: Path = Path("/")
) -> "Index":
    """The index called `default`: environment variables, then pip's configuration files, then distlib's constant.

    A value without a scheme is a directory in the layout of a simple index, relative to `project_dir`. `root` is where
    the system's own files are looked for.
    """
    for variable in _VARIABLES:
        if value := environ.get(variable, "").strip():
            # uv writes NAME=URL where it wants to name the index
            return _index(re.sub(r"^[\w.-]+=(?=\S)", "", value), project_dir)
    for path in _pip_files(environ, root):
        if configured := _index_url(path):
            return _index(configured, project_dir)
    import distlib.index

    return _index(urljoin(distlib.index.DEFAULT_INDEX, "/simple/"), project_dir)


def _index(value: str, project_dir: Path | None) -> "Index":
    # the model brings the parsers of requirements and markers along
    from gpuenv.model.manifest import DEFAULT_INDEX, Index

    if "://" not in value and not value.startswith("file:"):
        value = ((project_dir or Path()) / value).absolute().as_uri()
    return Index(name=DEFAULT_INDEX, location=value, default=True)


def _pip_files(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """pip's configuration files, strongest first; PIP_CONFIG_FILE set to the null device turns all of them off."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    if named:
        yield Path(named)
    if site := environ.get("VIRTUAL_ENV"):
        yield Path(site) / "pip.conf"
    home = Path(environ.get("HOME") or "~").expanduser()
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield home / ".pip" / "pip.conf"
    yield root / "etc" / "pip.conf"
    for folder in (environ.get("XDG_CONFIG_DIRS") or str(root / "etc" / "xdg")).split(os.pathsep):
        yield Path(folder) / "pip" / "pip.conf"


def _index_url(path: Path) -> str | None:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    if not parser.has_section("global"):
        return None
    # pip reads `index_url` and `index-url` alike
    options = {key.replace("_", "-"): value for key, value in parser.items("global")}
    return (options.get("index-url") or "").strip() or None
