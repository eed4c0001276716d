"""Core metadata (PEP 566, 643, 685) as a solve needs it: the requirements, sorted by the extra that asks for them."""

import re
from functools import cache

import msgspec

from gpuenv.errors import ArchiveError, IntegrityError, NoSuchMember
from gpuenv.index.simple import split_wheel
from gpuenv.model.default_extras import FILE, KEYWORD, BadDefaultExtras, DefaultExtras, parse
from gpuenv.model.distribution import Metadata
from gpuenv.model.version import InvalidVersion, normal_name, parse_version

__all__ = ["check_identity", "parse_metadata", "with_extras", "without_extras"]

_WORD = re.compile(r"""\s*("[^"]*"|'[^']*'|[()]|[A-Za-z_.]+|[<>=!~]+)""")
_PLAIN = re.compile(r"""\s*extra\s*==\s*("[^"]*"|'[^']*')\s*\Z""")
_URL = re.compile(r"[^;(<>=!~]*@")

# (extra that must be asked for, extras named in some other way, may extras that are not named matter too?)
_Shape = tuple[str | None, tuple[str, ...], bool]


def parse_metadata(body: bytes) -> Metadata:
    """Decode the header block of a METADATA file.

    Requires-Dist is sorted by the text of its marker. A conjunction that holds `extra == "x"` once, at its top level,
    can be true for `x` only and goes to `by_extra["x"]`. Every other line goes to `requires`; if it names extras
    another way (`or`, `!=`, `in`, two of them), it also goes to `by_extra` of each extra that might make it true, so
    that whoever evaluates the whole marker with and without the extra gets PEP 508's answer. Lines that are no valid
    requirement are kept: the solver says so when they matter. An invalid Requires-Python is kept as text too.

    Where the field Keywords says that there is a `default-extras.json`, which is another file, `default_extras_by` is
    empty and not None.
    """
    fields = _fields(body)
    extras = tuple(dict.fromkeys(normal_name(text) for text in fields.get("provides-extra", ()) if text))
    requires: list[str] = []
    by_extra: dict[str, list[str]] = {extra: [] for extra in extras}
    for line in fields.get("requires-dist", ()):
        only, named, any_extra = _shape(_marker_of(line)) if "extra" in line else (None, (), False)
        if only is not None:
            by_extra.setdefault(only, []).append(line)
            continue
        requires.append(line)
        for extra in dict.fromkeys((*named, *(extras if any_extra else ()))):
            by_extra.setdefault(extra, []).append(line)
    return Metadata(
        name=fields.get("name", [""])[0],
        version=fields.get("version", [""])[0],
        requires_python=fields.get("requires-python", [""])[0] or None,
        requires=tuple(requires),
        by_extra={extra: tuple(lines) for extra, lines in by_extra.items() if lines},
        extras=extras,
        default_extras=tuple(dict.fromkeys(normal_name(text) for text in fields.get("default-extra", ()) if text)),
        default_extras_by=() if KEYWORD in re.split(r"[,\s]", ",".join(fields.get("keywords", ()))) else None,
    )


def with_extras(metadata: Metadata, data: bytes) -> Metadata:
    """The metadata with what the wheel's `default-extras.json` says, or why that cannot be read.

    It is then for the solver to pass over the release, and only where the file would count.
    """
    try:
        said: DefaultExtras | str = parse(data)
    except BadDefaultExtras as error:
        said = f"{FILE}, which cannot be read: {error}"
    return msgspec.structs.replace(metadata, default_extras_by=said)


def without_extras(metadata: Metadata, error: ArchiveError) -> Metadata:
    """The metadata of a wheel out of which its `default-extras.json` cannot be had, with the reason."""
    why = "is not there" if isinstance(error, NoSuchMember) else f"cannot be had: {error.message}"
    return msgspec.structs.replace(metadata, default_extras_by=f"{FILE}, which {why}")


def _fields(body: bytes) -> dict[str, list[str]]:
    """The headers up to the first empty line; a line that begins with white space continues the one before."""
    fields: dict[str, list[str]] = {}
    values: list[str] = []
    for line in body.decode("utf-8", "replace").lstrip("\ufeff").split("\n"):
        line = line.rstrip("\r")
        if not line:  # a line of white space alone continues a field: licences hold such lines
            break
        if line[0] in " \t":
            if values:
                values[-1] += " " + line.strip()
            continue
        key, colon, value = line.partition(":")
        values = fields.setdefault(key.strip().lower(), []) if colon else []
        values.append(value.strip())
    return fields


def _marker_of(line: str) -> str:
    """The marker of a requirement (PEP 508): after the first semicolon, which in a URL needs white space before it."""
    if _URL.match(line):
        found = re.search(r"\s;", line)
        return line[found.end() :] if found else ""
    return line.partition(";")[2]


@cache
def _shape(marker: str) -> _Shape:
    if found := _PLAIN.match(marker):
        return _finish([found.group(1)], [found.group(1)], False)
    if "extra" not in marker:
        return None, (), False
    words = _WORD.findall(marker)
    if "extra" not in words:
        return None, (), False
    demanded, rest = _conjuncts(words)
    named = [_compared(words, at) for at, word in enumerate(words) if word == "extra"]
    return _finish(demanded, named, rest)


def _compared(words: list[str], at: int) -> str:
    """The literal that the `extra` at this place is compared with by == or !=; an empty one for anything else."""
    for pair in (words[at + 1 : at + 3], words[max(0, at - 2) : at][::-1]):
        if len(pair) == 2 and pair[0] in ("==", "!=") and pair[1][0] in "\"'":
            return pair[1]
    return "''"


def _finish(demanded: list[str], named: list[str], rest: bool) -> _Shape:
    only = normal_name(demanded[0][1:-1]) if len(demanded) == 1 and not rest else ""
    if only:
        return only, (), False
    others = dict.fromkeys(normal_name(text[1:-1]) for text in named)
    # with == and != an extra that is not named changes nothing: the line's copy in `requires` answers for it
    return None, tuple(name for name in others if name), "" in others


def _conjuncts(words: list[str]) -> tuple[list[str], bool]:
    """The extras that a marker demands as top-level conjuncts, and whether it mentions extras in any other place."""
    parts, depth, start = [], 0, 0
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if depth == 0 and word == "or":
            return [], True
        if depth == 0 and word == "and":
            parts.append(words[start:at])
            start = at + 1
    parts.append(words[start:])
    demanded: list[str] = []
    rest = depth != 0
    for part in parts:
        if "extra" not in part:
            continue
        literal = _demand(part)
        if literal is not None:
            demanded.append(literal)
        elif len(part) > 2 and part[0] == "(" and part[-1] == ")":
            inner, other = _conjuncts(part[1:-1])
            demanded += inner
            rest = rest or other
        else:
            rest = True
    return demanded, rest


def _demand(part: list[str]) -> str | None:
    """The literal of `extra == "x"` or `"x" == extra`; None for any other expression."""
    if len(part) != 3 or part[1] != "==":
        return None
    literal = part[2] if part[0] == "extra" else part[0]
    return literal if literal[0] in "\"'" else None


def check_identity(metadata: Metadata, filename: str) -> Metadata:
    """The metadata, if its name and version are those of the wheel's file name; else IntegrityError.

    A local version that only the file name has is let through: publishers of GPU builds rename their wheels so.
    """
    wheel = split_wheel(filename)
    try:
        version = parse_version(metadata.version)
    except InvalidVersion:
        version = None
    same = wheel is not None and version is not None and normal_name(metadata.name) == wheel.name
    if wheel and version and same and (version == wheel.version or str(version) == wheel.version.public):
        return metadata
    raise IntegrityError(
        f"the metadata of {filename} belongs to another distribution",
        causes=[f"the metadata says {metadata.name or 'no name'} {metadata.version or 'without a version'}"],
    )
