"""What a publisher adds to a distribution that is built already: that it is a variant, and its default extras.

Only the `.dist-info` changes: `variant.json` or `default-extras.json` comes in, METADATA gets a keyword, RECORD rows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.default_extras import FILE, KEYWORD, DefaultExtras, encode
from gpuenv.model.filename import VARIANT
from gpuenv.model.selectors import PLACEHOLDERS, nearest_selectors, parse_selector, template_problem
from gpuenv.model.version import normal_name

__all__ = ["NOTHING", "Amendment", "amended", "check_extras", "with_keyword"]

_KEYWORDS = re.compile(rb"^Keywords:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_EXTRA = re.compile(rb"^Provides-Extra:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_FIRST = re.compile(rb"Metadata-Version:[^\n]*\n", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is added. variant: a `variant.json`. label: in it. extras: default extras by environment.

    Where they are None, all stays as it was.
    """

    variant: bytes | None = None
    label: str = ""
    extras: DefaultExtras | None = None


NOTHING = Amendment()


def amended(amendment: Amendment, dist_info: str, read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """The files of a `.dist-info` that change, but for RECORD, by path.

    read: a file's content by path, None for one that is not there. Raises UsageError for a distribution that is a
    variant already, and for default extras that it does not have.
    """
    found = {}
    if amendment.variant is not None:
        path = f"{dist_info}/{VARIANT}"
        if read(path) is not None:
            raise UsageError("it is a variant already", hints=["take the wheel that it was made of"])
        found[path] = amendment.variant
    if amendment.extras is not None:
        path = f"{dist_info}/METADATA"
        metadata = read(path)
        if metadata is None:
            raise ArchiveError(f"{path} is missing")
        check_extras(amendment.extras, [one.decode("utf-8", "replace") for one in _EXTRA.findall(_head(metadata))])
        found[path] = with_keyword(metadata)
        found[f"{dist_info}/{FILE}"] = encode(amendment.extras)
    return found


def check_extras(extras: DefaultExtras, provided: list[str]) -> None:
    """Raise UsageError for what nobody would ever choose: extras that the distribution does not have, wrong selectors.

    What a template will mean nobody knows yet, but its placeholders must be some that there are.
    """
    known = {normal_name(extra) for extra in provided}
    for selector, names in extras:
        if parse_selector(selector) is None:
            hints = [f"did you mean `{near}`?" for near in nearest_selectors(selector)]
            raise UsageError(f"`{selector}`, which default extras are for, is no selector", hints=hints)
        if problem := next((why for name in names if (why := template_problem(name))), None):
            raise UsageError(
                f"{problem}, in the default extras for `{selector}`",
                hints=[f"known: {', '.join(f'`{{{one}}}`' for one in PLACEHOLDERS)}"],
            )
        if wrong := [name for name in names if "{" not in name and name not in known]:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise UsageError(f"`{wrong[0]}`, a default extra for `{selector}`, is no extra of it: {has}")


def with_keyword(metadata: bytes) -> bytes:
    """METADATA with the keyword that says that the file of default extras is there."""
    word = KEYWORD.encode()
    found = _KEYWORDS.search(_head(metadata))
    if found is None:
        first = _FIRST.match(metadata)
        at = first.end() if first else 0
        return metadata[:at] + b"Keywords: " + word + b"\n" + metadata[at:]
    if word in re.split(rb"[,\s]+", found[1]):
        return metadata
    at = found.start(1)
    return metadata[:at] + word + (b"," if found[1].strip() else b"") + metadata[at:]


def _head(metadata: bytes) -> bytes:
    found = _HEAD_END.search(metadata)
    return metadata[: found.start() + 1] if found else metadata
