"""A publisher's default extras by environment: the file `default-extras.json` of a wheel's `.dist-info`.

    {"version": 1, "default-extras": {"amd": ["device-{gfx}"], "any": []}}

METADATA says by a keyword that the file is there, so that nobody looks for it in wheels that have none.
"""

import json
import re
from collections.abc import Iterable, Mapping

from gpuenv.model.version import normal_name

__all__ = ["FILE", "KEYWORD", "LIMIT", "BadDefaultExtras", "DefaultExtras", "checked", "encode", "parse"]

DefaultExtras = tuple[tuple[str, tuple[str, ...]], ...]

FILE, KEYWORD = "default-extras.json", "gpuenv-default-extras"
LIMIT = 1 << 20  # bytes of such a file that is read

_VERSION = 1
_SELECTOR = re.compile(r"[a-z0-9][a-z0-9_.:+-]{0,63}")
_EXTRA = re.compile(r"(?:[A-Za-z0-9]|\{[a-z_]+\})(?:[A-Za-z0-9._-]|\{[a-z_]+\}){0,127}")
_MOST = 1000


class BadDefaultExtras(ValueError):
    """What is no table of default extras; the text says why."""


def parse(data: bytes) -> DefaultExtras:
    """The selectors of a file, sorted, each with its extras or templates of them; raises BadDefaultExtras.

    Keys that version 1 does not have, keys that come twice, and versions to come are refused. A selector need not be
    one that gpuenv knows: whoever asks passes over it.
    """
    if len(data) > LIMIT:
        raise BadDefaultExtras(f"it has {len(data)} bytes, more than {LIMIT}")
    try:
        said = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadDefaultExtras(str(error) or "it is no JSON") from None
    if not isinstance(said, dict):
        raise BadDefaultExtras("it is no JSON object")
    version = said.get("version")
    if type(version) is not int or version != _VERSION:
        raise BadDefaultExtras(f"its version is {json.dumps(version)[:40]}, and 1 is the only one known")
    if said.keys() != {"version", "default-extras"}:
        raise BadDefaultExtras("it must have the keys `version` and `default-extras` and no others")
    table = said["default-extras"]
    if not isinstance(table, dict) or not all(isinstance(extras, list) for extras in table.values()):
        raise BadDefaultExtras("`default-extras` must be an object of arrays")
    return checked(table)


def checked(table: Mapping[str, Iterable[object]]) -> DefaultExtras:
    """A table as a value; raises BadDefaultExtras for what is neither selector nor extra."""
    if len(table) > _MOST:
        raise BadDefaultExtras(f"it has {len(table)} selectors")
    found = []
    for selector, extras in sorted(table.items()):
        if not _SELECTOR.fullmatch(selector):
            raise BadDefaultExtras(f"{json.dumps(selector)[:80]} is no selector, such as `gfx942` or `amd`")
        found.append((selector, tuple(_extra(selector, extra) for extra in extras)))
    return tuple(found)


def _extra(selector: str, extra: object) -> str:
    if not isinstance(extra, str) or not _EXTRA.fullmatch(extra):
        raise BadDefaultExtras(f"{json.dumps(extra)[:80]}, for `{selector}`, is no extra, such as `device-{{gfx}}`")
    return extra if "{" in extra else normal_name(extra)


def encode(extras: DefaultExtras) -> bytes:
    """The file of a table; the same table gives the same bytes."""
    table = {selector: list(names) for selector, names in sorted(extras)}
    return json.dumps({"version": _VERSION, "default-extras": table}, indent=1).encode() + b"\n"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found
