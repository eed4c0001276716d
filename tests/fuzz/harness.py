"""The promises of everything that reads hostile bytes, one function for each door: bytes in, an AssertionError out.

A target gets any bytes at all. Some put them where they lead deep: behind a right header, into an archive whose
checksums are right. What readers say of bytes is theirs; here stands only what holds of all bytes: which errors may
leave, that a file read as a stream says what it says read at random, that facts survive JSON, that a report has no
control characters.
"""

import hashlib
import io
import struct
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gpuenv.archive.bundled import Bundle
from gpuenv.archive.links import links_of, parse_links
from gpuenv.archive.names import Refused
from gpuenv.archive.source import window
from gpuenv.archive.tree import Tree, open_tree_from
from gpuenv.archive.unpacking import Placed
from gpuenv.archive.zstd import decompress_chunks
from gpuenv.binaries import object as reader
from gpuenv.binaries.artifact import read_artifact
from gpuenv.binaries.object import read_object
from gpuenv.bundle.variant import encode_variants
from gpuenv.errors import ArchiveError, BinaryError
from gpuenv.model import default_extras
from gpuenv.model.architecture import parse_gpu
from gpuenv.model.facts import NativeFacts, ObjectFacts, decode_facts, encode_facts
from gpuenv.model.markers import NO_VARIANT, VariantEnvironment
from gpuenv.model.requirement import InvalidRequirement, evaluate_marker, parse_requirement
from gpuenv.model.variant_choice import abi_requirements, declared, rank, served_apart, why_not
from gpuenv.model.variants import BadVariants, Supported, merge, parse_variants
from gpuenv.model.version import parse_specifier
from gpuenv.report.inspect import glance, inspect_document, object_lines
from tests.fuzz import shapes

__all__ = ["TARGETS", "Target"]

Target = Callable[[bytes], None]

PATHS = (
    "lib.so",
    "a.co",
    "a_gfx942.dat",
    "a.ptx",
    "a.kpack",
    "pkg/module.cpython-312-x86_64-linux-gnu.so",
    "pkg/bücher.so",
    "gfx90a/gfx942e4.db.txt",
)
_GPUS = tuple(gpu for name in ("sm_90", "sm_75", "gfx942", "gfx90a:xnack+") if (gpu := parse_gpu(name)))
_MACHINES: tuple[Supported, ...] = (
    (("nvidia", (("sm_arch", ("90_real", "80_real")),)), ("x86_64", (("level", ("v3", "v1")),))),
    (("nvidia", (("sm_arch", ("100_real", "80_real")),)), ("x86_64", (("level", ("v3", "v1")),))),
)
_ENDLESS = "its tables refer to each other without end"


@dataclass(frozen=True)
class _File:
    """Bytes as a file to read, in pieces of `piece` bytes; at random too where `seekable`."""

    path: str
    data: bytes
    piece: int
    seekable: bool

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def read(self) -> Callable[[int, int], bytes] | None:
        return (lambda offset, size: self.data[offset : offset + size]) if self.seekable else None

    def chunks(self) -> Iterator[bytes]:
        return _pieces(self.data, self.piece)


@dataclass(frozen=True)
class _Source:
    """Bytes as the source of an archive."""

    data: bytes
    distant: bool

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int, /) -> bytes:
        assert offset >= 0 <= size, "a read before the start"
        return self.data[offset : offset + size]

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        return _pieces(window(self.read, start, stop - start)(0, stop - start), 1021)

    def close(self) -> None:
        """Nothing is open."""


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@contextmanager
def _nothing_near() -> Iterator[None]:
    """A stream of which hardly anything is kept, as if the file were much larger."""
    head, near, reader.HEAD, reader.NEAR = reader.HEAD, reader.NEAR, 64, 1
    try:
        yield
    finally:
        reader.HEAD, reader.NEAR = head, near


def _facts(file: _File) -> ObjectFacts | str | None:
    try:
        return read_object(file)
    except BinaryError as error:
        return f"BinaryError: {error.message}"


def file(data: bytes) -> None:
    """A file: the first byte chooses its path, the rest is its content."""
    if data:
        check_file(PATHS[data[0] % len(PATHS)], data[1:])


def check_file(path: str, data: bytes) -> None:
    """Read at random and as a stream a file says the same, or fails in the same words; the facts can be kept, shown."""
    near = _facts(_File(path, data, max(len(data), 1), seekable=True))
    odd = _facts(_File(path, data, len(data) // 64 * 2 + 7, seekable=False))
    assert near == odd, f"read at random: {near}\nas a stream: {odd}"
    if data.startswith(b"\x7fELF"):
        with _nothing_near():
            far = _facts(_File(path, data, len(data) // 64 * 2 + 7, seekable=False))
        # who asks for more than there are tables is refused, and only where nothing is at hand
        assert near == far or _ENDLESS in str(far), f"read at random: {near}\nfrom far away: {far}"
    if isinstance(near, ObjectFacts):
        check_facts(NativeFacts(None, len(data), objects=(near,)))
    elif near is not None:
        assert_printable(near.replace(_name_in(near), ""))


def _name_in(message: str) -> str:
    """Names are quoted as they are: the report escapes them."""
    return message.partition("its section ")[2].partition(" ends at byte")[0]


def check_facts(facts: NativeFacts) -> None:
    """Facts survive JSON; every report of them is made of printable characters and newlines."""
    assert decode_facts(encode_facts(facts)) == facts
    assert_printable(glance("a file", facts, _GPUS))
    assert_printable(object_lines(facts))
    assert_printable(object_lines(facts, _GPUS))
    inspect_document("a file", facts, "read", _GPUS)


def assert_printable(text: str) -> None:
    """No control characters, no halves of pairs; newlines are allowed."""
    bad = {char for char in set(text) - {"\n"} if unicodedata.category(char) in ("Cc", "Cs")}
    assert not bad, f"control characters {bad!r} in {text!r}"


def archive(data: bytes) -> None:
    """An artifact: whatever it holds can be read or is refused; here and far away it says the same."""
    here = _artifact(data, distant=False)
    there = _artifact(data, distant=True)
    # far away, local headers of what does not matter are never seen
    if here is not None:
        assert here == there, f"here: {here}\nfar away: {there}"


def _artifact(data: bytes, *, distant: bool) -> NativeFacts | None:
    try:
        with open_tree_from("some.whl", _Source(data, distant)) as tree:
            _walk(tree)
        with open_tree_from("some.whl", _Source(data, distant)) as tree:
            facts = read_artifact(tree, None, workers=1)
    except ArchiveError as error:
        assert_printable(error.message)
        return None
    check_facts(facts)
    return facts


def _walk(tree: Tree) -> None:
    """All files' bytes and all links; reading at random gives what the stream gave."""
    for part in (tree, *tree.nested):
        for one in part.files:
            whole = b"".join(one.chunks())
            assert len(whole) == one.size
            assert_printable(one.path)
            if one.read is not None:
                assert one.read(0, one.size + 1) == whole
                assert one.read(one.size // 2, 7) == whole[one.size // 2 :][:7]
        for link in part.links:
            assert_printable(link.path + link.target)


def links(data: bytes) -> None:
    """A LINKS file, and behind a zero byte the paths that are there: each pair becomes one link, or all is refused."""
    text, _, paths = data.partition(b"\0")
    there = [path for path in paths.decode("utf-8", "ignore").split("\n") if path]
    try:
        pairs = parse_links(text, "some-1.dist-info/LINKS")
    except Refused as refused:
        assert_printable(str(refused))
        return
    found = links_of(pairs, there)
    assert len(found) == len(set(pairs))
    for link in found:
        assert_printable(link.path + link.target)


def _shaped(shape: Callable[[bytes], bytes], path: str) -> Target:
    def target(data: bytes) -> None:
        check_file(path, shape(data))

    return target


def _packed(data: bytes) -> None:
    archive(shapes.packed(data))


def _tar(data: bytes) -> None:
    archive(shapes.tar(data))


def _zip(data: bytes) -> None:
    archive(shapes.zipped(data))


def bundled(data: bytes) -> None:
    """A bundle: what it says it holds is what comes out and what any reader of tar sees, or it is refused."""
    made = shapes.bundled(data)
    try:
        bundle = Bundle("some.whl.tar.zst", _Source(made, distant=False), case_sensitive=True)
        found = _unpacked(bundle)
    except Refused as refused:
        assert_printable(str(refused))
        return
    except ArchiveError as error:
        assert_printable(error.message)
        return
    pieces = iter([made])
    plain = b"".join(piece or b"" for piece in decompress_chunks(lambda: next(pieces, b""), 1 << 30))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = [member for member in tar.getmembers() if member.name not in (".", "")]
        files = {one.name: tar.extractfile(one).read() for one in members if one.isreg()}  # type: ignore[union-attr]
    own = [name for name in files if name.endswith((".dist-info/bundle.json", ".dist-info/native.json"))]
    assert {name: files[name] for name in files if name in found or name not in own} == found
    assert {(one.name, one.linkname) for one in members if one.issym()} == set(bundle.links)
    assert all(one.isreg() or one.issym() for one in members)


def _unpacked(bundle: Bundle) -> dict[str, bytes]:
    """Its files, from the disk; nothing else is there."""
    places = [Placed(member, f"f/{number}", member.executable) for number, member in enumerate(bundle.members)]
    with tempfile.TemporaryDirectory() as folder:
        written = bundle.unpack(Path(folder), places, mtime=400000000, workers=1)
        found = {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    assert len(found) == len(places)
    for one, place in zip(written, places, strict=True):
        data = found[place.path[2:]]
        assert one == (hashlib.sha256(data).digest(), data[:4])
        assert len(data) == place.member.size
    for link in bundle.links:
        assert_printable(link.path + link.target)
    return {place.member.name: found[place.path[2:]] for place in places}


def variants(data: bytes) -> None:
    """What labels stand for: refused, or it survives being written, and each label serves or there is a reason."""
    try:
        found = parse_variants(data)
    except BadVariants as error:
        assert_printable(str(error))
        return
    again = parse_variants(encode_variants(found))
    assert (again.namespaces, again.labels, again.providers) == (found.namespaces, found.labels, found.providers)
    assert merge(found, found) == found
    for machines in (_MACHINES, _MACHINES[:1], ()):
        serving = rank(found, machines)
        assert sorted(serving) == [name for name in found.labels if not why_not(found, name, machines)]
        for name in serving:
            assert declared(found, name, machines).label == name
        assert len(served_apart(found, machines)) in (0, len(machines))
    for name in found.labels:
        assert_printable(why_not(found, name, _MACHINES))
        for _, prefixes in abi_requirements(found, name):
            assert [str(parse_specifier(f"=={prefix}.*")) for prefix in prefixes]


def extras(data: bytes) -> None:
    """A publisher's default extras: refused, or they survive being written."""
    try:
        found = default_extras.parse(data)
    except default_extras.BadDefaultExtras as error:
        assert_printable(str(error))
        return
    assert default_extras.parse(default_extras.encode(found)) == found


def requirement(data: bytes) -> None:
    """A requirement that may ask for variants: refused, or what it is written as reads the same, and can be asked."""
    text = data.decode("utf-8", "replace")
    try:
        found = parse_requirement(text)
    except InvalidRequirement:
        return
    if found.url is None:  # one that begins with `;` reads as a marker
        assert parse_requirement(str(found)) == found
    some = VariantEnvironment("cu13", (("nvidia", "sm_arch", "90_real"),))
    for variant in (NO_VARIANT, some) if found.marker else ():
        with suppress(ValueError):  # comparisons that mean nothing
            evaluate_marker(found.marker or "", (("python_version", "3.12"),), "x", variant)


def _cubin(data: bytes) -> None:
    check_file("a.cubin", data[:18] + struct.pack("<H", 190) + data[20:] if len(data) > 20 else data)


TARGETS: dict[str, Target] = {
    "archive": archive,
    "bundle": _shaped(shapes.bundle, "a.co"),
    "bundled": bundled,
    "ccob": _shaped(shapes.ccob, "a.hsaco"),
    "cubin": _cubin,
    "extras": extras,
    "fatbin": _shaped(shapes.fatbin, "a.fatbin"),
    "file": file,
    "kpack": _shaped(shapes.kpack, "a.kpack"),
    "links": links,
    "lto": _shaped(shapes.lto, "a.ltoir"),
    "packed": _packed,
    "ptx": _shaped(shapes.ptx, "a.ptx"),
    "requirement": requirement,
    "tar": _tar,
    "variants": variants,
    "zip": _zip,
}
