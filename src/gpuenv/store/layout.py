"""What a wheel is (binary distribution format, PEP 427) and where each of its files goes in an object."""

import csv
import io
import posixpath
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from email import message_from_bytes
from typing import NamedTuple

from gpuenv.archive.artifact import Artifact
from gpuenv.archive.links import links_of, parse_links
from gpuenv.archive.names import Refused, check_name
from gpuenv.archive.unpacking import Archived, Placed, SymbolicLink
from gpuenv.errors import ArchiveError
from gpuenv.model.stored import SITE_PACKAGES, EntryPoint
from gpuenv.model.version import InvalidVersion, normal_name, parse_version
from gpuenv.store.devel import device_links, is_devel
from gpuenv.store.entrypoints import BadName, check_program, parse_entry_points
from gpuenv.store.tree import TreeLink

__all__ = ["Recorded", "WheelLayout", "is_bytecode", "place_of", "read_layout", "read_record", "read_tags"]

_SCHEMES = {key: key for key in ("scripts", "data", "headers")} | dict.fromkeys(("purelib", "platlib"), SITE_PACKAGES)
_UNHASHED = {"RECORD", "RECORD.jws", "RECORD.p7s"}
_ALGORITHMS = {"sha256", "sha384", "sha512"}
# What a view makes itself at its root, besides programs.
_OURS = {"pyvenv.cfg", "gpuenv.json", "lib64"}


class Recorded(NamedTuple):
    """A hash that RECORD gives: algorithm and raw digest."""

    algorithm: str
    digest: bytes


class WheelLayout(NamedTuple):
    """A wheel or bundle read and agreed with itself: its facts, and its files and links by place.

    recorded: hashes by place. links: wherever they lead. expanded: places of archives that stand for their content.
    """

    dist_info: str
    purelib: bool
    tags: tuple[str, ...]
    console: tuple[EntryPoint, ...]
    gui: tuple[EntryPoint, ...]
    places: tuple[Placed, ...]
    recorded: Mapping[str, Recorded]
    links: tuple[TreeLink, ...]
    expanded: tuple[Placed, ...]


def read_layout(archive: Artifact, *, name: str, version: str) -> WheelLayout:
    """Check that the wheel is what it is called and complete; raises ArchiveError."""
    try:
        return _read(archive, name, version)
    except (BadName, Refused) as error:
        raise ArchiveError(f"{archive.name} is refused: {error}") from error


def _read(archive: Artifact, name: str, version: str) -> WheelLayout:
    members = {member.name: member for member in archive.members}
    dist_info = _dist_info(members, name, version)
    purelib, tags = read_tags(_text(archive, members, f"{dist_info}/WHEEL"))
    metadata = message_from_bytes(_text(archive, members, f"{dist_info}/METADATA").encode())
    if not _same(str(metadata["Name"]), str(metadata["Version"]), name, version):
        raise BadName(f"its METADATA says {metadata['Name']} {metadata['Version']}, not {name} {version}")
    points = members.get(f"{dist_info}/entry_points.txt")
    console, gui = parse_entry_points(_text(archive, members, points.name)) if points else ((), ())
    record = read_record(_text(archive, members, f"{dist_info}/RECORD"))
    links = _links(archive, members, dist_info)
    _check_record(record, members, {link.path for link in links}, dist_info)
    places = _places(archive.members, name, version)
    return WheelLayout(
        dist_info,
        purelib,
        tags,
        console,
        gui,
        places,
        {place.path: found for place in places if (found := record.get(place.member.name)) is not None},
        _placed_links(links, name, version),
        tuple(place for place in places if is_devel(place.member.name)),
    )


def read_tags(text: str) -> tuple[bool, tuple[str, ...]]:
    """What WHEEL says: is its root purelib, and its tags, sorted; raises BadName for a version that is not known."""
    wheel = message_from_bytes(text.encode())
    if not re.match(r"(1\.\d+|2\.0)\Z", str(wheel["Wheel-Version"] or "").strip()):
        raise BadName(f"Wheel-Version {wheel['Wheel-Version']!r} is not known")
    purelib = str(wheel["Root-Is-Purelib"]).strip().lower() == "true"
    return purelib, tuple(sorted(str(tag).strip() for tag in wheel.get_all("Tag", [])))


def _text(archive: Artifact, members: Mapping[str, Archived], path: str) -> str:
    if path not in members:
        raise BadName(f"it has no {path}")
    try:
        return archive.read(members[path]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadName(f"{path} is not UTF-8") from error


def _same(said_name: str, said_version: str, name: str, version: str) -> bool:
    try:
        return normal_name(said_name) == normal_name(name) and parse_version(said_version) == parse_version(version)
    except InvalidVersion:
        return said_version == version


def _dist_info(members: Mapping[str, Archived], name: str, version: str) -> str:
    tops = {path.partition("/")[0] for path in members if "/" in path}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        raise BadName(f"it has {len(found)} .dist-info directories instead of one")
    said_name, _, said_version = found[0].removesuffix(".dist-info").rpartition("-")
    if not _same(said_name, said_version, name, version):
        raise BadName(f"its {found[0]} does not belong to {name} {version}")
    return found[0]


def read_record(text: str) -> dict[str, Recorded | None]:
    """RECORD: digests by path in the wheel, None where the row gives none; raises BadName."""
    rows: dict[str, Recorded | None] = {}
    for row in csv.reader(io.StringIO(text)):
        if not row:
            continue
        if len(row) != 3 or row[0] in rows:
            raise BadName(f"RECORD has a malformed or second row for {row[0]!r}")
        algorithm, _, digest = row[1].partition("=")
        if row[1] and algorithm not in _ALGORITHMS:
            raise BadName(f"RECORD hashes {row[0]!r} with {algorithm!r}, which is not accepted")
        try:
            rows[row[0]] = Recorded(algorithm, urlsafe_b64decode(digest + "=" * (-len(digest) % 4))) if row[1] else None
        except ValueError as error:
            raise BadName(f"RECORD has a malformed hash for {row[0]!r}") from error
    return rows


def _check_record(
    record: Mapping[str, Recorded | None], members: Mapping[str, Archived], links: Collection[str], dist_info: str
) -> None:
    """Every file but RECORD and its signatures is listed with a hash, and every listed file is there.

    links: paths that may be listed, with whatever hash.
    """
    exempt = {f"{dist_info}/{name}" for name in _UNHASHED}
    for path in members:
        if path not in exempt and record.get(path) is None and not is_bytecode(path):
            raise BadName(f"RECORD does not {'give a hash for' if path in record else 'list'} {path!r}")
    for path in record:
        there = path in members or path in links or path in exempt
        if not there and not path.endswith("/") and not is_bytecode(path):
            raise BadName(f"RECORD lists {path!r}, which is not there")


def is_bytecode(path: str) -> bool:
    """Is this file of a wheel left out of its object, because Python makes it anew?"""
    return path.endswith((".pyc", ".pyo")) or "/__pycache__/" in f"/{path}"


def _places(members: Sequence[Archived], name: str, version: str) -> tuple[Placed, ...]:
    """Where each member goes. Bytecode is left out: it is derived, and Python makes it anew."""
    places: dict[str, Placed] = {}
    for member in members:
        if is_bytecode(member.name):
            continue
        target = place_of(member.name, name, version)
        if target in places:
            raise BadName(f"{places[target].member.name!r} and {member.name!r} go to the same place")
        places[target] = Placed(member, target, member.executable or target.startswith("scripts/"))
    for target, place in places.items():
        position = target.find("/")
        while (position := target.find("/", position + 1)) > 0:
            if target[:position] in places:
                raise BadName(f"{place.member.name!r} lies below another file of the wheel")
    return tuple(places.values())


def _links(archive: Artifact, members: Mapping[str, Archived], dist_info: str) -> tuple[SymbolicLink, ...]:
    """Every link of the artifact, however it is said, by its path there: its own, of LINKS, of AMD's lists."""
    found = list(archive.links)
    if (listed := f"{dist_info}/LINKS") in members:
        pairs = parse_links(_text(archive, members, listed).encode(), listed)
        paths = [*members, *(link.path for link in found)]
        found += (SymbolicLink(link.path, link.target) for link in links_of(pairs, paths))
    found += device_links(archive)
    return tuple(dict.fromkeys(link for link in found if not is_bytecode(link.path)))


def _placed_links(links: Sequence[SymbolicLink], name: str, version: str) -> tuple[TreeLink, ...]:
    return tuple(TreeLink(place_of(link.path, name, version), _retold(link, name, version)) for link in links)


def _retold(link: SymbolicLink, name: str, version: str) -> str:
    """What a link says at its place: the same, unless it or its target moves; raises BadName."""
    if link.target.startswith("/"):
        raise BadName(f"link {link.path!r} is absolute: to {link.target!r}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))
    data = {path.partition("/")[0] for path in (link.path, target) if ".data/" in path}
    if not any(top.endswith(".data") for top in data):
        return link.target
    check_name(target)
    here, there = _scheme(link.path, name, version), _scheme(target, name, version)
    if here[0] != there[0]:
        raise BadName(f"link {link.path!r} leads out of where it is installed: to {target!r}")
    return posixpath.relpath(f"/{there[1]}", posixpath.dirname(f"/{here[1]}"))


def place_of(path: str, name: str, version: str) -> str:
    """Where a file of a wheel goes in its object: `site-packages/…`, `scripts/…`; raises BadName."""
    return "/".join(_scheme(path, name, version))


def _scheme(path: str, name: str, version: str) -> tuple[str, str]:
    top, _, rest = path.partition("/")
    if not top.endswith(".data") or not rest:
        return SITE_PACKAGES, path
    said_name, _, said_version = top.removesuffix(".data").rpartition("-")
    if not _same(said_name, said_version, name, version):
        raise BadName(f"its {top} does not belong to {name} {version}")
    key, _, below = rest.partition("/")
    if key not in _SCHEMES or not below:
        raise BadName(f"{path!r} is for a scheme that does not exist")
    scheme = _SCHEMES[key]
    if scheme == "scripts":
        check_program(below)
    if scheme == "data":
        _check_data(below)
    return scheme, below


def _check_data(path: str) -> None:
    """A data file lands at the root of a view: it must not stand where the view's own parts do."""
    top, *below = path.lower().split("/")
    if top in _OURS or (top in {"bin", "lib", "include"} and not below):
        raise BadName(f"data file {path!r} would replace a part of the environment itself")
    if top == "bin":
        check_program(path.split("/")[1])
