"""Small files that promise much, and long chains of tiny things: read or refused within seconds and 300 MB.

Each is read in a process of its own, whose greatest memory the system tells.
"""

import gzip
import io
import lzma
import resource
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from gpuenv.archive.tree import open_tree
from gpuenv.binaries import inventory
from gpuenv.binaries.artifact import read_artifact
from gpuenv.binaries.scan import scan
from gpuenv.binaries.tape import Tape
from gpuenv.errors import ArchiveError, BinaryError
from gpuenv.report.inspect import glance
from tests.support.binaries import fatbin

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_MEMORY = 150  # MB above what the process had before
MOST_TIME = 20.0  # seconds on a busy machine; without bounds these take minutes

TABLE = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<QQQQ", 1, 93, 0, 37) + b"hipv4-amdgcn-amd-amdhsa--gfx942:xnack"[:37]
ZSTD = b"\x28\xb5\x2f\xfd"


def ccob(version: int, body: bytes, promised: int, *, method: int = 1, total: int | None = None) -> bytes:
    """A compressed bundle whose header says what it is told to."""
    head = b"CCOB" + struct.pack("<HH", version, method)
    if version == 1:
        return head + struct.pack("<IQ", promised, 0) + body
    return head + struct.pack("<QQQ", 32 + len(body) if total is None else total, promised, 0) + body


def rle_frame(head: bytes, blocks: int) -> bytes:
    """A zstd frame: `head`, then 128 KiB of zeros in each of the four bytes of a block."""
    raw = (len(head) << 3).to_bytes(3, "little") + head
    block = (2 | 128 << 13).to_bytes(3, "little") + b"\0"
    last = (3 | 128 << 13).to_bytes(3, "little") + b"\0"
    return ZSTD + b"\0\x50" + raw + block * (blocks - 1) + last


def distinct_fatbins(count: int) -> bytes:
    """Containers of which none is like another."""
    container = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 64)
    entry = struct.Struct("<HHIQIIHHIIIQQQ")
    return b"".join(
        container + entry.pack(1, 0x0101, 64, 0, 0, 0, n & 0xFFFF, n >> 16, 8 + n % 9000, 0, 0, 17, 0, 0)[:64]
        for n in range(count)
    )


def elf(sections: bytes, count: int, content: bytes) -> bytes:
    """An ELF file with a table of sections behind its header, the first of them names."""
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, count, 1
    )  # fmt: skip
    return head + sections + content


def overlapping_sections(count: int = 65_279, *, long: bool) -> bytes:
    """All sections hold the whole table of names, which is one long name, and have a part of it as theirs."""
    names = b"x" * (1 << 20) + b"\0"
    row = struct.Struct("<IIQQQQIIQQ")
    begin = 64 + 64 * count
    rows = [bytes(64), row.pack(MIB, 3, 2, 0, begin, len(names), 0, 0, 1, 0)]
    rows += [
        row.pack(n if long else len(names) - 2 - n % 400, 1, 2, 0, begin, len(names), 0, 0, 1, 0)
        for n in range(count - 2)
    ]
    return elf(b"".join(rows), count, names)


def dynamic(tags: list[tuple[int, int]], strings: bytes, behind: bytes = b"") -> bytes:
    """An ELF file with a dynamic section; a tag of versions gets the address of what lies behind the strings."""
    at = 64 + 2 * 56
    begin = at + 16 * (len(tags) + 3)
    tags = [*tags, (5, begin), (10, len(strings)), (0, 0)]
    rows = [(tag, begin + len(strings) if tag in (0x6FFFFFFC, 0x6FFFFFFE) else value) for tag, value in tags]
    body = b"".join(struct.pack("<QQ", *row) for row in rows) + strings + behind
    segments = [(1, 4, 0, 0, at + len(body)), (2, 4, at, at, 16 * len(tags))]
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    packed = (struct.pack("<IIQQQQQQ", kind, flags, o, a, a, n, n, 8) for kind, flags, o, a, n in segments)
    return head + b"".join(packed) + body


def header(name: bytes, size: int = 0, kind: bytes = b"0") -> bytes:
    """A tar header with its right checksum."""
    number = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    text = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + number + b"%011o\0" % 0
    text = (text + b" " * 8 + kind).ljust(257, b"\0") + b"ustar\x0000"
    text = text.ljust(512, b"\0")
    return text[:148] + b"%06o\0 " % sum(text) + text[156:]


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    """A deflated ZIP archive; each member is as many times its bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, times in members:
            with archive.open(name, "w", force_zip64=True) as member:
                for _ in range(times):
                    member.write(content)
    return made.getvalue()


MIB = 1 << 20
RECORDS = header(b"x", MIB, b"x") + b"4 =\n" * (MIB // 4)
DEEP = (b"%04d/" + b"a/" * 1020).ljust(2047, b"a") + b"\0"  # a number of four digits takes as much as its format
END = bytes(1024)
VERNEED = struct.pack("<HHIII", 1, 65535, 0, 16, 16)

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "bundle that promises 2^60 bytes": (lambda: ccob(3, zstd.compress(TABLE), 1 << 60), "more than can be"),
    "bundle of 2^59 bytes": (lambda: ccob(3, ZSTD, 1 << 60, total=1 << 59), "up to the end of the file"),
    "bundle with a window of 2 GB": (lambda: ccob(3, ZSTD + b"\0\xa8\x09\0\0x", 100), "cannot be decompressed"),
    "bundles of 3 GB in version 1": (lambda: ccob(1, rle_frame(TABLE, 24_000), 0xFFFFFFFF) * 10, "device code"),
    "tiny bundles in version 1": (lambda: ccob(1, zstd.compress(TABLE), 93) * 1_500, "device code"),
    "tiny bundles in version 1, zlib": (lambda: ccob(1, zlib.compress(TABLE), 93, method=0) * 1_500, "device code"),
    "tiny bundles": (lambda: TABLE * 20_000, "device code"),
    "tiny containers": (lambda: fatbin(("sass", 90), payload=0) * 50_000, "50000 of 50000"),
    "containers all different": (lambda: distinct_fatbins(100_000), "more than 4,096 kinds"),
    "kpack in kpack in kpack": (lambda: b"KPAK" + struct.pack("<IQ", 1, 16) + b"\x91" * MIB, "cannot be read"),
    "sections with long names": (lambda: overlapping_sections(long=True), "takes 1,048,576 bytes"),
    "overlapping sections": (lambda: overlapping_sections(long=False), "x86_64"),
    "a name of 30 MiB": (lambda: dynamic([(14, 0)], b"\xff" * 30 * MIB + b"\0"), "a name in it takes"),
    "2^31 needed versions": (
        lambda: dynamic([(0x6FFFFFFE, 0), (0x6FFFFFFF, 1 << 31)], b"libx\0" * 1000, VERNEED * 65_535),
        "beyond their table",
    ),
    "window of 2 GB": (lambda: ZSTD + b"\0\xa8\x09\0\0x", "zstd stream is damaged"),
    "empty gzip streams": (lambda: gzip.compress(b"") * 100_000, "1000 gzip streams"),
    "empty xz streams": (lambda: lzma.compress(b"") * 100_000, "1000 xz streams"),
    "empty zstd frames": (lambda: zstd.compress(b"") * 200_000, "1000 zstd streams"),
    "tar of a terabyte": (lambda: header(b"a", 1 << 40) + END, "a decompression bomb"),
    "packed tar of 2^62 bytes": (lambda: gzip.compress(header(b"a", 1 << 62) + END), "a decompression bomb"),
    "records of extended headers": (lambda: gzip.compress(RECORDS * 3 + header(b"a"), 1), "extended headers say more"),
    "names of a thousand folders": (
        lambda: gzip.compress(
            b"".join(header(b"@", 2048, b"L") + DEEP % n + header(b"a") for n in range(1000)) + END, 1
        ),
        "no binaries",
    ),
    "many lists of links": (
        lambda: zipped(*((f"p{n}-1.dist-info/LINKS", b"a,b\n" * (MIB // 4), 1) for n in range(20))),
        "lists of links take 20971520 bytes",
    ),
    "many archives inside": (lambda: zipped(*((f"{n}/_devel.tar", b"", 1) for n in range(9))), "more than 8 archives"),
    "library of 100 MB in 100 kB": (lambda: zipped(("a.so", b"\x7fELF\x02\x01\x01" + bytes(MIB), 100)), "1 binary"),
}


def cost(work: Callable[[], str]) -> tuple[str, float, float]:
    """What is said of a file, or why it is refused; the seconds it takes; the megabytes it adds to this process."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        said = work()
    except ArchiveError as error:
        said = error.message
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return said, time.monotonic() - begin, (after - before) / 1024


def outcome(path: Path) -> tuple[str, float, float]:
    """What `inspect` would say."""

    def glanced() -> str:
        with open_tree(path) as tree:
            return glance("a file", read_artifact(tree, None))

    return cost(glanced)


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str, tmp_path: Path) -> None:
    """What promises too much is refused, what is only long is read; both soon and in little memory."""
    make, expected = BOMBS[name]
    path = tmp_path / "bomb.bin"
    path.write_bytes(make())
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(1) as pool:
        said, seconds, megabytes = pool.apply(outcome, (path,))
    assert expected in " ".join(said.split())
    assert seconds < MOST_TIME
    assert megabytes < MOST_MEMORY


def test_containers_and_images_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One container or image too many ends the reading of a file: each of them is remembered."""
    one, two = fatbin(("sass", 90)), fatbin(("sass", 90), ("sass", 75))
    for name, good, bad in (("_CONTAINERS_MOST", one * 5, one * 6), ("_IMAGES_MOST", two * 2, two * 3)):
        with monkeypatch.context() as patch:
            patch.setattr(inventory, name, 5)
            assert scan(Tape([good]), len(good)).device_code()
            with pytest.raises(BinaryError, match="it has more than"):
                scan(Tape([bad]), len(bad))
