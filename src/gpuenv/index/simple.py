"""The simple API's two spellings, JSON (PEP 691, 700, 714) and HTML (PEP 503, 592, 629, 658), read into Pages."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import unescape
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import unquote, urljoin

import msgspec

from gpuenv.model.distribution import Page, Release, WheelFile
from gpuenv.model.filename import BUNDLE, VARIANTS, split_filename
from gpuenv.model.version import InvalidVersion, Version, normal_name, parse_version

__all__ = ["ACCEPT", "BadPage", "group", "read_html", "read_json", "read_page", "split_variants", "split_wheel"]

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
ACCEPT = f"{JSON}, {HTML};q=0.2, text/html;q=0.1"

_SDIST = re.compile(r"(.+)\.(?:tar\.gz|zip|tar\.bz2|tgz|tar\.xz|tar\.Z|tar)\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# a quoted value may hold `>`; the bounds keep a hostile page from being read over and over
_INSIDE = r"""((?:[^<>"']++|"[^"]{0,8192}+"|'[^']{0,8192}+'){0,64}+)>"""
_ANCHOR = re.compile(r"<a\s" + _INSIDE, re.IGNORECASE)
# how nearly every index writes an anchor; what does not look so is taken apart attribute by attribute
_USUAL = re.compile(
    r'<a href="([^"#&%?<>]*/([^"#&%?/<>]++))#sha256=([0-9a-f]{64})"(?: data-requires-python="([^"<>]*+)")?'
    r'(?: data-yanked="([^"<>]++)")?'  # not an empty one: a group that is left out would look the same
    r'(?: data-upload-time="([^"<>&]*+)")?(?: data-(?:dist-info|core)-metadata="sha256=([0-9a-f]{64})"){0,2}'
    r'(?: data-native-facts="sha256=([0-9a-f]{64})")?>'
)
_ANY_ANCHOR = re.compile(r"<a\s", re.IGNORECASE)
_HEAD_TAG = re.compile(r"<(base|meta)\s" + _INSIDE, re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([^\s=>"'/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_FRAGMENT = re.compile(r"(?:^|&)sha256=([0-9a-fA-F]{64})(?:&|$)")


class BadPage(Exception):
    """A page that is not what the standards say; the text says what is wrong."""


class _Digests(msgspec.Struct, gc=False):
    sha256: str | None = None


class _File(msgspec.Struct, gc=False, rename="kebab"):
    filename: str
    url: str
    hashes: _Digests | None = None
    requires_python: str | None = None
    yanked: bool | str | None = None
    core_metadata: bool | _Digests | None = None
    dist_info_metadata: bool | _Digests | None = None
    native_facts: bool | _Digests | None = None
    size: int | None = None
    upload_time: str | None = None


class _Meta(msgspec.Struct, frozen=True, gc=False, rename="kebab"):
    api_version: str = "1.0"


class _Project(msgspec.Struct, gc=False):
    files: list[_File]
    meta: _Meta = _Meta()


_decode = msgspec.json.Decoder(_Project).decode


def read_page(body: bytes, kind: str, url: str, name: str, index: str) -> Page:
    """Decode a page by its Content-Type; `url` is where it came from at last. Raises BadPage."""
    kind = kind.split(";")[0].strip().lower()
    if kind.startswith("application/vnd.pypi.simple.") and ".v1+" not in kind:
        raise BadPage(f"it speaks {kind}, and gpuenv speaks version 1 of the simple API")
    if kind.endswith("json"):
        return read_json(body, url, name, index)
    if kind.endswith("html") or (kind == "" and body.lstrip()[:1] == b"<"):
        return read_html(body, url, name, index)
    raise BadPage(f"it is neither JSON nor HTML but {kind or 'of no stated type'}")


def read_json(body: bytes, url: str, name: str, index: str) -> Page:
    """Decode a project page of the JSON API (PEP 691, with PEP 700, 708, 714 and 833 keys where they matter)."""
    try:
        project = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPage(f"it is not the JSON of a simple index: {error}") from None
    _check_version(project.meta.api_version)
    return group(_json_files(project.files, url), name, index)


def _json_files(files: list[_File], url: str) -> Iterator[WheelFile]:
    local = url.startswith("file:")
    for file in files:
        metadata = file.core_metadata if file.core_metadata is not None else file.dist_info_metadata
        yanked = file.yanked
        yield WheelFile(
            file.filename,
            _absolute(file.url, url, local),
            _digest(file.hashes.sha256) if file.hashes else None,
            file.size,
            file.requires_python or None,
            file.upload_time,
            (yanked if isinstance(yanked, str) else "") if yanked not in (None, False) else None,
            _offered(metadata),
            _offered(file.native_facts),
        )


def _offered(said: bool | _Digests | None) -> str | None:
    """The digest of a file beside another one: "" where it is there and none is stated, None where it is not."""
    return None if not said else "" if said is True else _digest(said.sha256) or ""


def _check_version(text: str) -> None:
    if text.strip().partition(".")[0] != "1":
        raise BadPage(f"it speaks version {text.strip()[:20]} of the simple API, and gpuenv speaks version 1")


def _digest(text: str | None) -> str | None:
    """A SHA-256 in lower-case hex, or None for anything else."""
    text = text.lower() if text else ""
    return text if _SHA256.match(text) else None


def _absolute(link: str, base: str, local: bool) -> str:
    """The link without fragment and user information; "" if it leads where a page may not lead."""
    link = link.partition("#")[0]
    # joining costs more than all the rest of a file, and nearly every index writes whole URLs
    if not link.startswith(("https://", "http://")):
        try:
            link = urljoin(base, link)
        except ValueError:
            return ""
        if not link.startswith(("https://", "http://", *(("file:",) if local else ()))):
            return ""
    scheme, _, rest = link.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}//{host.rpartition('@')[2]}{slash}{path}" if "@" in host else link


def read_html(body: bytes, url: str, name: str, index: str) -> Page:
    """Decode a project page of the HTML API (PEP 503, 592, 629, 658, 714).

    Only start tags of `a`, `base` and `meta` are looked at. Pages of megabytes are common, and html.parser takes
    several times as long for them.
    """
    text = body.decode("utf-8", "replace")
    if "<!--" in text:
        text = _COMMENT.sub("", text)
    base = url
    for tag, attributes in _HEAD_TAG.findall(text):
        values = _attributes(attributes)
        if tag.lower() == "base" and base == url:
            base = urljoin(url, unescape(values.get("href", "")))
        elif values.get("name") == "pypi:repository-version":
            _check_version(values.get("content", "1.0"))
    return group(_html_files(text, base, url.startswith("file:")), name, index)


def _attributes(text: str) -> dict[str, str]:
    """The attributes of a start tag, names in lower case; an attribute without a value has an empty one."""
    return {name.lower(): double or single or bare for name, double, single, bare in _ATTRIBUTE.findall(text)}


# a page repeats few values of Requires-Python many thousand times
_unescape = lru_cache(maxsize=1024)(unescape)


def _html_files(text: str, base: str, local: bool) -> Iterator[WheelFile]:
    usual = _USUAL.findall(text)
    if len(usual) == len(_ANY_ANCHOR.findall(text)):
        return _usual_files(usual, base, local)
    return _files(text, base, local)


def _usual_files(anchors: list[tuple[str, ...]], base: str, local: bool) -> Iterator[WheelFile]:
    """The files of a page on which every anchor looks as usual: taken apart in one step."""
    for link, filename, digest, python, yanked, uploaded, metadata, native in anchors:
        whole = link.startswith("https://") and "@" not in link
        yield WheelFile(
            filename,
            link if whole else _absolute(link, base, local),
            digest,
            None,
            _unescape(python) if python else None,
            uploaded or None,
            _unescape(yanked) if yanked else None,
            metadata or None,
            native or None,
        )


def _files(text: str, base: str, local: bool) -> Iterator[WheelFile]:
    for anchor in _ANCHOR.finditer(text):
        if usual := _USUAL.match(text, anchor.start()):
            yield from _usual_files([usual.groups("")], base, local)
            continue
        values = _attributes(anchor.group(1))
        href = values.get("href", "").strip()
        link, _, fragment = (unescape(href) if "&" in href else href).partition("#")
        if not link:
            continue
        found = _FRAGMENT.search(fragment) if fragment else None
        filename = link.partition("?")[0].rpartition("/")[2]
        python = values.get("data-requires-python")
        yanked = values.get("data-yanked")
        yield WheelFile(
            # PEP 503 has the text of an anchor say the same, and texts get abbreviated
            unquote(filename) if "%" in filename else filename,
            _absolute(link, base, local),
            found.group(1).lower() if found else None,
            None,
            _unescape(python) if python else None,
            # in no standard (PEP 700 is JSON only), but mirrors write it, and `exclude-newer` lives on it
            values.get("data-upload-time") or None,
            _unescape(yanked) if yanked else yanked,
            _attribute_digest(values.get("data-core-metadata", values.get("data-dist-info-metadata"))),
            _attribute_digest(values.get("data-native-facts")),
        )


def _attribute_digest(said: str | None) -> str | None:
    return None if said is None or said == "false" else _digest(said.removeprefix("sha256=")) or ""


class WheelName(NamedTuple):
    """A wheel's file name taken apart: normalised name and parsed version."""

    name: str
    version: Version


def split_wheel(filename: str) -> WheelName | None:
    """Read the file name of a wheel (binary distribution format, PEP 427) or bundle; None if it is neither."""
    name = split_filename(filename)
    try:
        return WheelName(normal_name(name.name), parse_version(name.version)) if name else None
    except InvalidVersion:
        return None


def split_variants(filename: str) -> WheelName | None:
    """Read the name of a file that says what labels stand for, `NAME-VERSION-variants.json`; None if it is none."""
    name, _, version = filename.removesuffix(VARIANTS).partition("-")
    if not filename.endswith(VARIANTS) or not (name and version) or "-" in version or "/" in filename:
        return None
    try:
        return WheelName(normal_name(name), parse_version(version))
    except InvalidVersion:
        return None


class _Grouper:
    """Sorts the files of one page into releases; remembers what it read, for a page repeats names and versions."""

    def __init__(self, name: str) -> None:
        self.name = normal_name(name)
        self.wheels: dict[str, list[WheelFile]] = {}
        self.sdists: set[Version] = set()
        self.variants: dict[Version, WheelFile] = {}
        self.skipped = 0
        self._names: dict[str, bool] = {}
        self._versions: dict[str, Version | None] = {}

    def add(self, file: WheelFile) -> None:
        filename = file.filename
        if not filename.endswith((".whl", BUNDLE)):
            of_other = self._of_variants if filename.endswith(VARIANTS) else self._of_sdist
            version = of_other(file) if file.url else None
        else:
            parts = filename.split("-")
            text = parts[1] if len(parts) > 1 else ""
            known = self.wheels.get(text)
            if known is None and (version := self._version(text)) is not None:
                known = self.wheels[text] = []
            else:
                version = self._versions[text]
            if known is None or not file.url or not self._is_wheel(filename, parts):
                version = None
            else:
                known.append(file)
        self.skipped += version is None

    def releases(self) -> dict[Version, list[WheelFile]]:
        """The wheels by version, newest first; two ways to write a version are one version."""
        found: dict[Version, list[WheelFile]] = {version: [] for version in self.sdists}
        for text, files in self.wheels.items():
            version = self._versions[text]
            if version is not None and files:
                found.setdefault(version, []).extend(files)
        return dict(sorted(found.items(), key=itemgetter(0), reverse=True))

    def _is_wheel(self, filename: str, parts: list[str]) -> bool:
        if len(parts) != 5:
            return split_filename(filename) is not None and self._named(parts[0])
        return "/" not in filename and "\\" not in filename and self._named(parts[0])

    def _of_variants(self, file: WheelFile) -> Version | None:
        found = split_variants(file.filename)
        if found is None or found.name != self.name:
            return None
        # a version may be written in two ways, and pages have no order
        first = self.variants.setdefault(found.version, file)
        self.variants[found.version] = min(first, file, key=lambda one: one.filename)
        return found.version

    def _of_sdist(self, file: WheelFile) -> Version | None:
        found = _SDIST.match(file.filename)
        # names of old source distributions hold hyphens, and so do some of their versions: the name decides
        parts = found.group(1).split("-") if found else []
        for cut in range(len(parts) - 1, 0, -1):
            if self._named("-".join(parts[:cut])):
                version = self._version("-".join(parts[cut:]))
                if version is not None:
                    self.sdists.add(version)
                return version
        return None

    def _named(self, text: str) -> bool:
        known = self._names.get(text)
        if known is None:
            known = self._names[text] = normal_name(text) == self.name
        return known

    def _version(self, text: str) -> Version | None:
        if text not in self._versions:
            try:
                self._versions[text] = parse_version(text)
            except InvalidVersion:
                self._versions[text] = None
        return self._versions[text]


def group(files: Iterable[WheelFile], name: str, index: str) -> Page:
    """Files of any kind to a Page: releases newest first, wheels in the order of the page, source only as a fact."""
    grouper = _Grouper(name)
    for file in files:
        grouper.add(file)
    releases = tuple(
        Release(str(version), tuple(wheels), version in grouper.sdists, grouper.variants.get(version))
        for version, wheels in grouper.releases().items()
    )
    return Page(grouper.name, index, releases, grouper.skipped)
