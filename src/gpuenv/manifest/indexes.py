"""`[[tool.gpuenv.index]]` and `[tool.gpuenv.sources]`: where distributions come from."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from gpuenv.manifest.node import Node
from gpuenv.model.filename import split_filename
from gpuenv.model.manifest import DEFAULT_INDEX, Index, Source
from gpuenv.model.version import normal_name

__all__ = ["INDEX_KEYS", "decode_indexes", "decode_patterns", "decode_sources"]

INDEX_KEYS = ("name", "url", "path", "packages", "targets", "explicit", "default")
_SOURCE_KEYS = ("index", "url", "path", "target")
_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PACKAGES = re.compile(r"[A-Za-z0-9._*?\[\]!-]+")


def decode_indexes(node: Node, targets: Collection[str]) -> tuple[Index, ...]:
    """All indexes, in the order written."""
    if isinstance(node.value, dict):
        raise node.wrong("an array of tables", hints=[f"write `[[{node}]]`"])
    found: dict[str, Index] = {}
    default: str | None = None
    for item in node.items():
        fields = item.fields(*INDEX_KEYS)
        index = _index(item, fields, targets)
        if index.name in found:
            raise fields["name"].error(f"there is an index `{index.name}` already")
        if index.default and default:
            raise fields["default"].error(f"`{default}` is the default index already")
        default = index.name if index.default else default
        found[index.name] = index
    return tuple(found.values())


def _index(item: Node, fields: dict[str, Node], targets: Collection[str]) -> Index:
    if "name" not in fields:
        raise item.error("needs a `name`")
    name = fields["name"].matching(_INDEX_NAME, "an index name", "amd")
    flags = {key: key in fields and fields[key].flag() for key in ("explicit", "default")}
    if name == DEFAULT_INDEX and not flags["default"]:
        hints = ["choose another name, or set `default = true` to replace the default index"]
        raise fields["name"].error(f"`{DEFAULT_INDEX}` is the name of the default index", hints=hints)
    for key in ("packages", "targets", "explicit"):
        if flags["default"] and key in fields and fields[key].value is not False:
            raise fields[key].error("the default index serves every package of every target", hints=[f"remove `{key}`"])
    return Index(
        name=name,
        location=_location(item, fields),
        folder="path" in fields,
        packages=decode_patterns(fields["packages"]) if "packages" in fields else (),
        targets=_targets(fields["targets"], targets) if "targets" in fields else (),
        **flags,
    )


def _location(item: Node, fields: dict[str, Node]) -> str:
    if ("url" in fields) == ("path" in fields):
        raise item.error("needs `url` or `path`" if "url" not in fields else "has both `url` and `path`")
    if "url" in fields:
        return _url(fields["url"])
    return _path(fields["path"])


def _url(node: Node) -> str:
    text = node.text()
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not text.isprintable() or " " in text:
        hints = ["for a folder, use `path`"] if "://" not in text or text.startswith("file:") else []
        raise node.error(f"`{text}` is not an http or https URL", hints=hints)
    return text


def _path(node: Node) -> str:
    text = node.text()
    if "://" in text:
        raise node.error(f"`{text}` is a URL, not a path", hints=["use `url`"])
    if not text.isprintable():
        raise node.error("holds characters that cannot be printed")
    return text


def decode_patterns(node: Node) -> tuple[str, ...]:
    """An array of name patterns, normalised."""
    return tuple(_pattern(part) for part in node.items())


def _pattern(node: Node) -> str:
    """A name pattern, normalised as names are, wildcards kept."""
    text = node.matching(_PACKAGES, "a name or a pattern of names", "torch*")
    return re.sub(r"[-_.]+", "-", text.lower())


def _targets(node: Node, known: Collection[str]) -> tuple[str, ...]:
    found = tuple(item.one_of(known, "target") for item in node.items())
    if not found:
        raise node.error("is empty", hints=["remove it: every target looks here then"])
    return tuple(dict.fromkeys(found))


def decode_sources(node: Node, indexes: Collection[Index], targets: Collection[str]) -> tuple[Source, ...]:
    """All sources, in the order written; at most one for each package and target."""
    replaced = any(index.default for index in indexes)
    names = [index.name for index in indexes] + ([] if replaced else [DEFAULT_INDEX])
    found: list[Source] = []
    for package, entry in node.named("package name"):
        for item in entry.items() if isinstance(entry.value, list) else [entry]:
            source = _source(package, item, names, targets)
            if any((other.package, other.target) == (package, source.target) for other in found):
                whose = f"target `{source.target}`" if source.target else "every target"
                raise item.error(f"`{package}` has a source for {whose} already")
            found.append(source)
    return tuple(found)


def _source(package: str, item: Node, indexes: list[str], targets: Collection[str]) -> Source:
    fields = item.fields(*_SOURCE_KEYS)
    given = [key for key in ("index", "url", "path") if key in fields]
    if len(given) != 1:
        problem = "has more than one of" if given else "needs one of"
        raise item.error(f"{problem} `index`, `url` and `path`")
    kind = given[0]
    place = fields[kind]
    if kind == "index":
        location = place.one_of(indexes, "index")
    else:
        location = _url(place) if kind == "url" else _path(place)
        _is_wheel_of(package, location, place)
    return Source(
        package=package,
        index=location if kind == "index" else None,
        url=location if kind != "index" else None,
        target=fields["target"].one_of(targets, "target") if "target" in fields else None,
    )


def _is_wheel_of(package: str, location: str, node: Node) -> None:
    path = urlsplit(location).path if "://" in location else location
    filename = path.rpartition("/")[2]
    name = split_filename(filename)
    if name is None:
        raise node.error(
            f"`{filename}` is not the file name of a wheel or bundle", hints=[f"{package}-1.0-py3-none-any.whl"]
        )
    if normal_name(name.name) != package:
        raise node.error(f"is of `{normal_name(name.name)}`, not of `{package}`")
