"""Bundles made by hand that try what archives can: each is refused, and nothing is written but below its folder."""

import json
import struct
import sys
import tarfile
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.unpacking import Placed
from gpuenv.errors import ArchiveError
from tests.fuzz.test_bombs import MOST_MEMORY, MOST_TIME, cost, rle_frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INFO = "x-1.dist-info"
END = bytes(1024)
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"hides"
Part = tuple[bytes, int]  # packed, size


def entry(name: str, data: bytes = b"", kind: bytes = b"0", target: str = "", mode: int = 0o644) -> bytes:
    """An entry of a tar as Python writes it."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(data), kind, target, mode
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def mended(block: bytes) -> bytes:
    """A header with its right checksum."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block[:512]) + block[156:]


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    """An extended header."""
    text = b""
    for key, value in records:
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        length = len(line) + len(str(length + (len(str(length)) > 1)))
        text += str(length).encode() + line
    return mended(entry("pax", text, kind))


def frame(plain: bytes, *, checksum: bool = True) -> bytes:
    return zstd.compress(plain, options={zstd.CompressionParameter.checksum_flag: int(checksum)})


def part(plain: bytes) -> Part:
    return frame(plain), len(plain)


def promised(packed: bytes) -> bytes:
    """A frame that says it has a checksum, and has one that is wrong."""
    return packed[:4] + bytes([packed[4] | 4]) + packed[5:] + b"sums"


def joined(parts: Sequence[Part], *, before_table: bytes = b"", flags: int = 0, count: int | None = None) -> bytes:
    """Frames and their table."""
    table = b"".join(struct.pack("<II", len(packed), size) for packed, size in parts)
    head = struct.pack("<II", 0x184D2A5E, len(table) + 9)
    foot = struct.pack("<IBI", len(parts) if count is None else count, flags, 0x8F92EAB1)
    return b"".join(packed for packed, _ in parts) + before_table + head + table + foot


def first(rows: Sequence[Any], links: Sequence[Any] = (), said: bytes | None = None, **more: object) -> bytes:
    """The first frame: what the others hold."""
    about = {"bundle": 1, "links": links, "frames": [[[f"{INFO}/METADATA", 2]], *rows], **more}
    text = json.dumps(about).encode() if said is None else said
    return entry(f"{INFO}/bundle.json", text) + entry(f"{INFO}/METADATA", b"x\n")


def made(middle: bytes, rows: Sequence[Any], links: Sequence[Any] = (), last: bytes = b"", **more: object) -> bytes:
    """A bundle of three frames: facts, files, links."""
    return joined([part(first([rows], links, **more)), part(middle), part(last + END)])  # type: ignore[arg-type]


def said(text: bytes) -> bytes:
    """A bundle whose list of contents is this text."""
    return joined([part(first([], said=text)), part(END)])


FILE, ROW = entry("a.so", b"four"), ["a.so", 4]
GOOD = made(FILE, [ROW], [["b.so", "a.so"]], entry("b.so", kind=b"2", target="a.so"))
FACTS = part(first([[ROW]]))


def parts(*middle: Part, rows: Sequence[Any] = ([ROW],)) -> bytes:
    return joined([part(first(rows)), *middle, part(END)])


def sized(size: bytes) -> bytes:
    """The file with another field of its size."""
    return mended(FILE[:124] + size.ljust(12, b"\0") + FILE[136:])


def framed(window: int, dictionary: bool = False) -> bytes:
    """A frame of zstd of the file alone, raw, that asks for a window (its byte) or for a dictionary."""
    head = b"\x28\xb5\x2f\xfd" + (bytes([1, window, 7]) if dictionary else bytes([0, window]))
    return promised(head + (1 | len(FILE) << 3).to_bytes(3, "little") + FILE)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # tar
    "hard link for a link": (
        lambda: made(FILE, [ROW], [["b.so", "a.so"]], entry("b.so", kind=b"1", target="a.so")),
        "not the link",
    ),
    "hard link": (lambda: made(FILE + entry("b.so", kind=b"1", target="a.so"), [ROW]), "not the link"),
    "link among files": (
        lambda: made(FILE + entry("b.so", kind=b"2", target="a.so"), [ROW], [["b.so", "a.so"]]),
        "not the link",
    ),
    "link that is a file": (lambda: made(FILE, [ROW], [["b.so", "a.so"]], entry("b.so")), "not what its list"),
    "file that is a link": (lambda: made(entry("a.so", kind=b"2", target="/etc"), [["a.so", 0]]), "not the link"),
    "character device": (lambda: made(entry("a.so", kind=b"3"), [["a.so", 0]]), "is a device"),
    "block device": (lambda: made(entry("a.so", kind=b"4"), [["a.so", 0]]), "is a device"),
    "pipe": (lambda: made(entry("a.so", kind=b"6"), [["a.so", 0]]), "is a pipe"),
    "folder": (lambda: made(entry("a", kind=b"5"), [["a", 0]]), "not what its list"),
    "GNU sparse": (lambda: made(entry("a.so", kind=b"S"), [["a.so", 0]]), "sparse"),
    "pax sparse": (lambda: made(pax(("GNU.sparse.major", "1")) + FILE, [ROW]), "sparse"),
    "divided file": (lambda: made(entry("a.so", kind=b"M"), [["a.so", 0]]), "a divided file"),
    "unknown kind": (lambda: made(entry("a.so", kind=b"D"), [["a.so", 0]]), "of a kind that is not read"),
    "pax way out": (lambda: made(pax(("path", "../../out")) + FILE, [ROW]), "leaves the archive"),
    "pax other name": (lambda: made(pax(("path", "b.so")) + FILE, [ROW]), "not what its list"),
    "pax other size": (lambda: made(pax(("size", "3")) + FILE, [ROW]), "not what its list"),
    "pax huge size": (lambda: made(pax(("size", "9" * 19)) + FILE, [ROW]), "bomb"),
    "pax negative size": (lambda: made(pax(("size", "-4")) + FILE, [ROW]), "says that an entry has"),
    "pax other target": (
        lambda: made(
            FILE, [ROW], [["b", "a.so"]], pax(("linkpath", "/etc/shadow")) + entry("b", kind=b"2", target="a.so")
        ),
        "not the link",
    ),
    "two pax headers": (lambda: made(pax(("path", "b.so")) + pax(("path", "a.so")) + FILE, [ROW]), "the same thing"),
    "pax and GNU name": (
        lambda: made(pax(("path", "b.so")) + entry("././@LongLink", b"a.so\0", b"L") + FILE, [ROW]),
        "say the same thing",
    ),
    "pax for nothing": (lambda: made(FILE + pax(("path", "b.so")), [ROW]), "something else than entries"),
    "global header": (lambda: made(pax(("path", "b.so"), kind=b"g") + FILE, [ROW]), "gives all entries the same"),
    "huge header": (lambda: made(entry("pax", bytes(2 << 20), b"x") + FILE, [ROW]), "at most 1048576"),
    "huge name": (lambda: made(entry("x", b"a" * 70_000, b"L") + FILE, [ROW]), "at most 65536"),
    "size in base 256": (lambda: made(sized(b"\x80" + bytes(3) + b"\x40" + bytes(7)), [ROW]), "bomb"),
    "negative size": (lambda: made(sized(b"\xff" * 12), [ROW]), "where a number should be"),
    "wrong checksum": (lambda: made(b"b" + FILE[1:], [ROW]), "no tar header"),
    "same name twice": (lambda: made(FILE + FILE, [ROW, ROW]), "are one file"),
    "unlisted copy": (lambda: made(FILE + FILE, [ROW]), "not what its list"),
    "secretly executable": (lambda: made(entry("a.so", b"four", mode=0o755), [ROW]), "not what its list"),
    "not executable": (lambda: made(FILE, [[*ROW, "x"]]), "not what its list"),
    "bytes behind the end": (lambda: made(FILE, [ROW], last=END + FILE), "hide behind its end"),
    "end in the middle": (lambda: made(FILE + END, [ROW]), "something else than entries"),
    "end among the facts": (
        lambda: joined([part(first([[ROW]]) + END), part(FILE), part(END)]),
        "something else than entries",
    ),
    "no end": (lambda: joined([FACTS, part(FILE), part(FILE)]), "not what its list|cut off"),
    "link through a link": (
        lambda: made(FILE, [ROW], [["d", "."], ["d/e", "x"]], entry("d", kind=b"2", target=".")),
        "is a file and the directory",
    ),
    "file below a link": (lambda: made(FILE, [["d/a.so", 4]], [["d", "/etc"]]), "is a file and the directory"),
    "link with an escape sequence": (lambda: made(FILE, [ROW], [["b", "\x1b[2J"]]), "control characters"),
    "link to nothing": (lambda: made(FILE, [ROW], [["b", ""]]), "empty"),
    "link with a long target": (lambda: made(FILE, [ROW], [["b", "a/" * 4096]]), "too long"),
    # zstd and the table
    "skippable frame between": (lambda: parts(part(FILE), (SKIPPABLE, 512), rows=([ROW], [])), "damaged"),
    "skippable frame before": (lambda: parts((SKIPPABLE + part(FILE)[0], len(FILE))), "damaged"),
    "skippable frame behind": (lambda: parts((part(FILE)[0] + SKIPPABLE, len(FILE))), "damaged"),
    "skippable frame before the table": (
        lambda: joined([FACTS, part(FILE), part(END)], before_table=SKIPPABLE),
        "leaves bytes out",
    ),
    "two frames as one": (
        lambda: parts((frame(FILE[:512]) + frame(FILE[512:]), len(FILE))),
        "damaged, or longer",
    ),
    "empty frame behind": (lambda: parts((frame(FILE) + frame(b""), len(FILE))), "damaged, or longer"),
    "frames of nothing": (
        lambda: parts(*[part(b"")] * 2000, rows=[[]] * 2000),
        "holds nothing",
    ),
    "blocks of nothing": (
        lambda: parts((framed(0)[:6] + bytes(3) * 100_000 + framed(0)[6:], len(FILE))),
        "next to nothing",
    ),
    "window of 256 MiB": (lambda: parts((framed(0x90), len(FILE))), "damaged"),
    "window of 2 GiB": (lambda: parts((framed(0xA8), len(FILE))), "damaged"),
    "dictionary": (lambda: parts((framed(0, dictionary=True), len(FILE))), "damaged"),
    "frame longer than said": (lambda: parts((frame(FILE * 100), len(FILE))), "damaged, or longer"),
    "frame shorter than said": (lambda: parts((frame(FILE), len(FILE) + 512)), "damaged, or longer"),
    "frame cut off": (lambda: parts((frame(FILE)[:-3], len(FILE))), "damaged"),
    "no checksum": (lambda: parts((frame(FILE, checksum=False), len(FILE))), "has no checksum"),
    "facts without a checksum": (
        lambda: joined([(frame(first([[ROW]]), checksum=False), FACTS[1]), part(FILE), part(END)]),
        "has no checksum",
    ),
    "wrong checksum of a frame": (lambda: parts((promised(frame(FILE, checksum=False)), len(FILE))), "damaged"),
    "one frame": (lambda: joined([part(first([], frames=[]) + END)]), "it has one frame"),
    "facts that go on": (lambda: joined([part(first([[]])), part(FILE), part(END)]), "nothing is listed"),
    "frame that nothing goes on in": (lambda: parts(part(FILE), part(FILE), rows=([], [ROW])), "nothing is listed"),
    "two files that go on": (
        lambda: parts(part(FILE + entry("b.so")[:256]), part(entry("b.so")[256:]), rows=([ROW, ["b.so", 0]], [])),
        "nothing is listed",
    ),
    "file that goes on too long": (lambda: parts(part(FILE), part(FILE), rows=([ROW], [])), "not what its list"),
    "file that goes on with nothing": (
        lambda: parts(part(FILE), part(bytes(512)), rows=([ROW], [])),
        "something else than entries",
    ),
    "file that goes on too short": (
        lambda: parts(part(FILE[:600]), part(FILE[600:900]), rows=([ROW], [])),
        "something else than entries",
    ),
    "file that goes on at the end": (
        lambda: joined([FACTS, part(FILE[:512]), part(FILE[512:] + END)]),
        "no tar header",
    ),
    "flags": (lambda: joined([FACTS, part(FILE), part(END)], flags=0x80), "not read here"),
    "no frames": (lambda: joined([]), "not read here"),
    "more rows than are there": (lambda: joined([FACTS, part(FILE), part(END)], count=60_000), "not read here|damaged"),
    "fewer rows": (lambda: joined([FACTS, part(FILE), part(END)], count=2), "damaged"),
    "bytes behind the table": (lambda: GOOD + b"x", "no table"),
    "nothing": (lambda: b"", "no table"),
    # what it says of itself
    "lists in lists": (lambda: said(b"[" * 200_000), "no JSON"),
    "halves of characters": (
        lambda: said(b'{"bundle":1,"links":[],"frames":[[["\\ud800",1]]]}'),
        "malformed",
    ),
    "half a character as origin": (
        lambda: made(FILE, [ROW], origin={"filename": "\udfff"}),
        "malformed",
    ),
    "size with a point": (lambda: made(FILE, [["a.so", 4.0]]), "malformed"),
    "size without end": (lambda: made(FILE, [["a.so", float("inf")]]), "malformed"),
    "size of a thousand digits": (lambda: made(FILE, [["a.so", 10**1000]]), "larger than all of it"),
    "other encoding": (lambda: said('{"bundle":1}'.encode("utf-16")), "malformed|no JSON"),
    "million of nothings": (lambda: said(b'{"links":[' + b"[]," * 4_100_000 + b"[]]}"), "more than entries need"),
    "own file in the list": (
        lambda: made(FILE, [ROW], frames=[[[f"{INFO}/bundle.json", 2], [f"{INFO}/METADATA", 2]], [ROW]]),
        "does not list what",
    ),
    "contents of another": (
        lambda: joined([part(entry("bundle.json", b"{}")), part(END)]),
        "not the bundle.json of a .dist-info",
    ),
}  # fmt: skip


def unpack(path: Path, root: Path) -> None:
    with open_bundle(path) as bundle:
        places = [Placed(member, f"f/{number}", False) for number, member in enumerate(bundle.members)]
        bundle.unpack(root, places, mtime=400000000)


def test_the_bundle_that_the_others_are_made_of_is_none(tmp_path: Path) -> None:
    """What these tests make by hand is accepted as long as nothing is wrong with it."""
    path = tmp_path / "x-1-py3-none-any.whl.tar.zst"
    path.write_bytes(GOOD)
    (tmp_path / "root").mkdir()
    unpack(path, tmp_path / "root")
    assert sorted(file.read_bytes() for file in (tmp_path / "root" / "f").iterdir()) == [b"four", b"x\n"]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bundles_are_refused(case: str, tmp_path: Path) -> None:
    """Each is refused with its name and the reason, and only its folder has seen anything of it."""
    make, reason = HOSTILE[case]
    path = tmp_path / "x-1-py3-none-any.whl.tar.zst"
    path.write_bytes(make())
    (tmp_path / "root").mkdir()
    with pytest.raises(ArchiveError, match=r"x-1-py3-none-any\.whl\.tar\.zst is refused") as caught:
        unpack(path, tmp_path / "root")
    assert caught.match(reason)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "root"}
    assert not [file for file in (tmp_path / "root").rglob("*") if file.is_symlink()]


def test_names_that_differ_in_case_depend_on_the_file_system(tmp_path: Path) -> None:
    """`A.so` beside `a.so` is fine where both can live, refused where one would overwrite the other."""
    path = tmp_path / "x-1-py3-none-any.whl.tar.zst"
    for twin, other in ((FILE, "A.so"), (entry("b.so"), "B.so")):
        upper = entry(other, b"")
        path.write_bytes(made(twin + upper, [["a.so", 4] if twin is FILE else ["b.so", 0], [other, 0]]))
        with open_bundle(path, case_sensitive=True) as bundle:
            assert len(bundle.members) == 3
        with pytest.raises(ArchiveError, match="are one file"):
            open_bundle(path, case_sensitive=False)


ZERO_FRAME = (promised(rle_frame(END, 16_000)), 1024 + (16_000 * 128 << 10))
BOMBS: dict[str, Callable[[], bytes]] = {
    # 2 GB of zeros in a frame that says it has little, and a first one that says the same of itself
    "frame": lambda: parts((promised(rle_frame(FILE, 16_000)), len(FILE))),
    "first frame": lambda: joined([(promised(rle_frame(FACTS[0], 16_000)), FACTS[1]), part(FILE), part(END)]),
    "true first frame": lambda: joined([ZERO_FRAME, part(FILE), part(END)]),
    "frame that says so": lambda: parts(ZERO_FRAME),
    "facts": lambda: joined([part(first([]) + entry("x", bytes(60 << 20))), part(END)]),
    "list of lists": lambda: said(b'{"bundle":1,"links":[' + b"[]," * 1_900_000 + b"[]]}"),
}


def _outcome(path: Path, root: Path) -> tuple[str, float, float]:
    def unpacked() -> str:
        unpack(path, root)
        return ""

    return cost(unpacked)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, tmp_path: Path) -> None:
    """What unpacks to far more than it says, or says far more than it is, is refused soon and in little memory."""
    path = tmp_path / "bomb.whl.tar.zst"
    path.write_bytes(BOMBS[name]())
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(1) as pool:
        message, seconds, megabytes = pool.apply(_outcome, (path, tmp_path))
    assert "is refused" in message
    assert seconds < MOST_TIME
    assert megabytes < MOST_MEMORY * (3 if name == "list of lists" else 1)


def test_the_disk_holds_no_more_than_was_said(tmp_path: Path) -> None:
    """A frame that goes on for ever is given up where its list ends: at most a piece more is written."""
    path = tmp_path / "x-1-py3-none-any.whl.tar.zst"
    big = entry("a.so", bytes(100_000))
    path.write_bytes(parts((promised(rle_frame(big, 100)), len(big)), rows=([["a.so", 100_000]],)))
    (tmp_path / "root").mkdir()
    with pytest.raises(ArchiveError, match="damaged, or longer"):
        unpack(path, tmp_path / "root")
    assert sum(file.stat().st_size for file in (tmp_path / "root").rglob("*") if file.is_file()) <= 1 << 20


def test_setuid_and_owners_are_not_taken_over(tmp_path: Path) -> None:
    """Whatever bits and owners an entry has, files are readable, perhaps executable, and nothing else."""
    info = tarfile.TarInfo("a.so")
    info.mode, info.size, info.uid, info.uname = 0o6777, 4, 12345, "somebody"
    path = tmp_path / "x-1-py3-none-any.whl.tar.zst"
    path.write_bytes(made(info.tobuf() + b"four" + bytes(508), [["a.so", 4, "x"]]))
    (tmp_path / "root").mkdir()
    with open_bundle(path) as bundle:
        places = [Placed(member, member.name, member.executable) for member in bundle.members if member.name == "a.so"]
        bundle.unpack(tmp_path / "root", places, mtime=400000000)
    found = (tmp_path / "root" / "a.so").stat()
    assert (found.st_mode & 0o7777, found.st_uid != 12345) == (0o555, True)
