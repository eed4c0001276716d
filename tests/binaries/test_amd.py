"""AMD's bundles and code objects: what LLVM's tools made, what they no longer make, and what lies."""

import random
import struct
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.amd import BUNDLE_MAGIC, CCOB_MAGIC, code_object, read_bundle, read_compressed
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, Unit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "binaries" / "amd"
PLAIN = (FIXTURES / "plain.bundle").read_bytes()
COMPRESSED = sorted(FIXTURES.glob("*.ccob"))
GFX942 = "hipv4-amdgcn-amd-amdhsa--gfx942"
HOST = "host-x86_64-unknown-linux-gnu-"
Entries = list[tuple[str, int, int]]


def table(entries: Entries) -> bytes:
    """The head of a bundle: ids, offsets, sizes."""
    lines = [struct.pack("<QQQ", offset, size, len(name)) + name.encode() for name, offset, size in entries]
    return BUNDLE_MAGIC + struct.pack("<Q", len(entries)) + b"".join(lines)


def bundle(entries: Entries, size: int = 8192) -> bytes:
    """A bundle with zeros for images."""
    return table(entries).ljust(size, b"\0")


def ccob(
    plain: bytes, version: int = 3, method: int = 1, total: int | None = None, promised: int | None = None
) -> bytes:
    """A compressed bundle, which may lie about its sizes."""
    packed = zstd.compress(plain) if method == 1 else zlib.compress(plain)
    form = {1: "<I", 2: "<II", 3: "<QQ"}[version]
    whole = 16 + struct.calcsize(form) + len(packed)
    sizes = (whole if total is None else total, len(plain) if promised is None else promised)
    header = struct.pack("<4sHH", CCOB_MAGIC, version, method) + struct.pack(form, *sizes[2 - len(form) + 1 :])
    return header + b"hashhash" + packed


def read(data: bytes, piece: int = 1 << 20, limit: int | None = None) -> tuple[Unit | None, int]:
    """The unit at the beginning of some bytes, and where the tape then stands."""
    tape = Tape([data[at : at + piece] for at in range(0, len(data), piece)])
    reader = read_compressed if data.startswith(CCOB_MAGIC) else read_bundle
    unit = reader(tape, len(data) if limit is None else limit)
    return unit, tape.position


def targets(unit: Unit | None) -> list[str]:
    """`gfx90a:xnack+` for each image."""
    assert unit is not None
    return [":".join((code.arch, *code.features)) for code in unit.codes]


def test_a_plain_bundle_of_llvm() -> None:
    """clang-offload-bundler's images have their target, size and version; the host's entry is none."""
    unit, end = read(PLAIN)
    assert unit and (unit.offset, unit.size, end) == (0, len(PLAIN), len(PLAIN))
    assert sorted(targets(unit)) == ["gfx1100", "gfx9-4-generic", "gfx90a:xnack+", "gfx90a:xnack-"]
    assert {code.arch: code.isa for code in unit.codes} == {"gfx1100": "5", "gfx9-4-generic": "6", "gfx90a": "5"}
    sizes = {path.stem: path.stat().st_size for path in FIXTURES.glob("*.co")}
    assert {code.bytes for code in unit.codes if code.arch == "gfx1100"} == {sizes["gfx1100"]}
    assert not any(code.compressed for code in unit.codes)


@pytest.mark.parametrize("path", COMPRESSED, ids=lambda path: path.stem)
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_compressed_bundles_hold_the_same(path: Path, piece: int) -> None:
    """All versions and methods give the plain bundle's images, in whatever pieces a file comes, and the same end."""
    data = path.read_bytes()
    unit, end = read(data + bytes(4096), piece)
    assert unit and (unit.size, end) == (len(data), len(data))
    plain = read(PLAIN)[0]
    assert plain and targets(unit) == targets(plain)
    assert [code.bytes for code in unit.codes] == [code.bytes for code in plain.codes]
    assert all(code.compressed for code in unit.codes)


def test_bundles_in_a_row() -> None:
    """Bundles of all kinds behind one another, with padding, are found one by one at their offsets."""
    parts = [PLAIN, *(path.read_bytes() for path in COMPRESSED)]
    data, offsets = b"", []
    for part in parts:
        data += bytes(-len(data) % 4096 + 64)
        offsets.append(len(data))
        data += part
    tape, found = Tape([data[at : at + 1000] for at in range(0, len(data), 1000)]), []
    while magic := tape.find(BUNDLE_MAGIC, CCOB_MAGIC):
        reader = read_compressed if magic == CCOB_MAGIC else read_bundle
        unit = reader(tape, len(data) - tape.position)
        assert unit
        found.append((unit.offset, unit.size))
    assert found == [(offset, len(part)) for offset, part in zip(offsets, parts, strict=True)]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("hip-amdgcn-amd-amdhsa-gfx906", "gfx906"),
        ("hip-amdgcn-amd-amdhsa--gfx906:xnack-:sramecc+", "gfx906:sramecc+:xnack-"),
        ("hipv4-amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack+", "gfx90a:sramecc+:xnack+"),
        ("hipv4-amdgcn-amd-amdhsa-unknown-gfx9-4-generic:xnack-", "gfx9-4-generic:xnack-"),
        ("hip-amdgcn-amd-amdhsa-gfx9-4-generic", "gfx9-4-generic"),
        ("openmp-amdgcn-amd-amdhsa--gfx90a", "gfx90a"),
        ("hipv4-amdgcn-amd-amdhsa--gfx1310", "gfx1310"),
        ("hip-spirv64-amd-amdhsa--amdgcnspirv", "amdgcnspirv"),
        ("openmp-nvptx64-nvidia-cuda--sm_90", None),
        ("sycl-spir64_gen-unknown-unknown", None),
        ("openmp-amdgcn-amd-amdhsa-", "amdgcn"),
        ("hip-amdgcn-amd-amdhsa-gfx906+sram-ecc", "amdgcn"),
        (HOST, None),
    ],
)
def test_ids_name_targets(name: str, target: str | None) -> None:
    """Ids of all of clang's forms give their target; hosts, other vendors' are no code."""
    unit, _ = read(bundle([(name, 4096, 100)]))
    assert targets(unit) == ([target] if target else [])
    assert unit and unit.size == 4196


def test_an_id_without_a_target_leaves_it_to_the_image() -> None:
    """What an id in words of before clang 12 does not say, a plain image's own header does."""
    image = (FIXTURES / "gfx90a-xnack-on.co").read_bytes()
    entries = [("hip-amdgcn-amd-amdhsa-gfx90a+xnack", 4096, len(image))]
    assert targets(read(bundle(entries, 4096) + image)[0]) == ["gfx90a:xnack+"]


def test_empty_images_are_placeholders() -> None:
    """An image of no bytes is no code, and may lie anywhere."""
    unit, end = read(bundle([(HOST, 1 << 60, 0), (GFX942, 0, 0)]))
    assert unit == Unit(0, len(table([(HOST, 0, 0), (GFX942, 0, 0)])), ())
    assert end == unit.size


@pytest.mark.parametrize(
    "data",
    [
        BUNDLE_MAGIC,
        BUNDLE_MAGIC + bytes(100),
        BUNDLE_MAGIC + b"sycl-spir64_gen\0" + BUNDLE_MAGIC + b"sycl-spir64\0.eh_frame_hdr\0.eh_frame\0",
        BUNDLE_MAGIC + b"\0clang-offload-bundler\0-type\0-targets\0-input\0-output\0-unbundle\0 and so on and on",
        BUNDLE_MAGIC + struct.pack("<QQQQ", 2, 0, 0, 1 << 40) + bytes(100),
        BUNDLE_MAGIC + struct.pack("<QQQQ", 2, 0, 0, 12) + bytes(100),
        BUNDLE_MAGIC + bytes(8) + table([(GFX942, 4096, 0)])[32:].ljust(4096),
        BUNDLE_MAGIC + table([(GFX942 + "x" * 300, 4096, 0)])[24:].ljust(4096),
        CCOB_MAGIC,
        CCOB_MAGIC + bytes(60),
        CCOB_MAGIC + b"\0compressed offload bundle\0version\0" + bytes(60),
        CCOB_MAGIC + b"\3\0\1\0" + bytes(60),
        CCOB_MAGIC + b"\3\0\0\0" + bytes(60),
    ],
)
def test_strings_are_no_bundles(data: bytes) -> None:
    """The magics as constants of a compiler, or by chance, are passed over, and the tape does not move."""
    assert read(data) == (None, 0)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([(GFX942, 4096, 5000)], "ends after 9,096 bytes, there are 8,192"),
        ([(GFX942, 1 << 63, 1 << 63)], "ends after 18,446,744,073,709,551,616 bytes"),
        ([(GFX942, 10, 100)], "where something else lies"),
        ([(GFX942, 4096, 100), (GFX942, 4195, 100)], "where something else lies"),
        ([(HOST, 4096, 0), ("hip\n-amdgcn-\x1b[31m", 4096, 100)], "no readable name for image 2 of 2"),
        ([(HOST, 4096, 0), ("hip-amdgcn-" + "x" * 300, 4096, 100)], "no readable name for image 2 of 2"),
    ],
)
def test_lying_tables_are_refused(entries: Entries, words: str) -> None:
    """Images behind the end, over the table or over one another, and unreadable ids, plain and compressed alike."""
    for data in (bundle(entries), *(ccob(bundle(entries), version, 1) for version in (1, 2, 3))):
        with pytest.raises(BinaryError, match=words):
            read(data)


@pytest.mark.parametrize("count", [3, 5000, 1 << 32, 1 << 60, (1 << 64) - 1])
def test_lying_counts_are_refused(count: int) -> None:
    """A table that says it has more images than there are is refused at once."""
    data = table([(HOST, 4096, 0), (GFX942, 4096, 1)])
    lie = data[:24] + struct.pack("<Q", count) + data[32:]
    for broken in (lie, lie.ljust(8192, b"\0"), ccob(lie), ccob(lie.ljust(8192, b"\0"), method=0)):
        with pytest.raises(BinaryError, match="offload bundle at byte 0"):
            read(broken)


def test_a_long_table_is_read_whole() -> None:
    """A table of many images, longer than what is looked at first, is read to its end; one without an end is not."""
    entries = [(f"{GFX942[:-3]}{number:03x}", 1 << 20, 0) for number in range(0x900, 0x900 + 1000)]
    entries[-1] = (entries[-1][0], 1 << 20, 7)
    data = bundle(entries, (1 << 20) + 7)
    for whole in (data, ccob(data), ccob(data, method=0)):
        assert targets(read(whole)[0]) == [entries[-1][0].rpartition("-")[2]]
    with pytest.raises(BinaryError, match="5,000 images"):
        read(bundle([*entries, *entries, *entries, *entries, *entries], 1 << 21))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ccob(PLAIN, total=1 << 60), "says it has 1,152,921,504,606,846,976 bytes"),
        (ccob(PLAIN, total=0), "says it has 0 bytes"),
        (ccob(PLAIN, version=2, total=24), "says it has 24 bytes"),
        (ccob(PLAIN, promised=1 << 62), "more than can be"),
        (ccob(PLAIN, promised=0), "does not hold an offload bundle"),
        (ccob(PLAIN, promised=200), "no readable name for image 3 of 5"),
        (ccob(PLAIN, promised=5000), "there are 5,000"),
        (ccob(PLAIN, version=1, promised=len(PLAIN) - 1), "there are 19,607"),
        (ccob(PLAIN + b"more", version=1, method=0, promised=len(PLAIN)), "cannot be decompressed .zlib"),
        (ccob(PLAIN + b"more", version=1, method=1, promised=len(PLAIN)), "cannot be decompressed .zstd"),
        (ccob(b"something else"), "does not hold an offload bundle"),
        (ccob(PLAIN)[:32] + zstd.compress(PLAIN)[:4] + b"\xff" * 2000, "cannot be decompressed .zstd"),
        (ccob(PLAIN, method=0)[:34] + b"\xff" * 2000, "cannot be decompressed .zlib"),
        (ccob(PLAIN).replace(b"CCOB\3", b"CCOB\4", 1), "version 4, newer than known"),
    ],
)
def test_lying_headers_are_refused(data: bytes, words: str) -> None:
    """Sizes that cannot be, streams that are damaged or something else, and a future version, are errors in words."""
    with pytest.raises(BinaryError, match=words):
        read(data)


@pytest.mark.parametrize("method", [0, 1])
def test_bombs_are_not_set_off(method: int) -> None:
    """64 MiB of zeros behind the table do no harm: the table is all that is decompressed, or the promise bounds it."""
    bomb = bundle([(GFX942, 4096, 100)], 64 << 20)
    assert targets(read(ccob(bomb, 3, method))[0]) == ["gfx942"]
    with pytest.raises(BinaryError, match="cannot be decompressed"):
        read(ccob(bomb, 1, method, promised=8192))


@pytest.mark.parametrize("path", [FIXTURES / "plain.bundle", *COMPRESSED], ids=lambda path: path.stem)
def test_cut_off_bundles(path: Path) -> None:
    """A bundle cut anywhere is an error or, where too little is left to tell, none; never more than that."""
    data = path.read_bytes()
    for end in [*range(min(len(data), 1000)), *range(1000, len(data), 97)]:
        try:
            assert read(data[:end]) == (None, 0)
            assert end < 100
        except BinaryError as error:
            assert "byte" in error.message


def test_a_file_that_ends_before_its_limit() -> None:
    """Where fewer bytes come than the caller said, the reader says so."""
    for data in (PLAIN, *(path.read_bytes() for path in COMPRESSED)):
        with pytest.raises(BinaryError, match="the file ends after"):
            read(data[:-1], limit=len(data))


@given(st.sampled_from([PLAIN, *(path.read_bytes() for path in COMPRESSED)]), st.integers(0), st.randoms())
def test_changed_bytes_give_units_or_an_error(data: bytes, at: int, chance: random.Random) -> None:
    """Whatever is changed in the first bytes, there is a unit inside the file, none, or a BinaryError."""
    broken = bytearray(data)
    for step in range(chance.randint(1, 4)):
        broken[(at + step) % min(len(broken), 400)] = chance.randrange(256)
    try:
        unit, end = read(bytes(broken) if broken[:4] == data[:4] else data[:4] + bytes(broken[4:]))
    except BinaryError:
        return
    if unit:
        assert unit.size == end <= len(data)
        assert all(0 < code.bytes < 1 << 48 for code in unit.codes)


@pytest.mark.parametrize(
    ("stem", "arch", "features", "isa"),
    [
        ("gfx90a", "gfx90a", (), "4"),
        ("gfx90a-xnack-on", "gfx90a", ("xnack+",), "5"),
        ("gfx90a-xnack-off", "gfx90a", ("xnack-",), "5"),
        ("gfx942", "gfx942", (), "6"),
        ("gfx1100", "gfx1100", (), "5"),
        ("gfx9-4-generic", "gfx9-4-generic", (), "6"),
        ("gfx11-generic", "gfx11-generic", (), "6"),
    ],
)
def test_code_objects_of_llvm(stem: str, arch: str, features: tuple[str, ...], isa: str) -> None:
    """The first 64 bytes say processor, stated features and version of what LLVM 22 compiled."""
    data = (FIXTURES / f"{stem}.co").read_bytes()
    assert code_object(data[:64], len(data)) == Code("amd", "code-object", arch, len(data), features, isa)


def header(abi: int, flags: int, machine: int = 224, osabi: int = 64) -> bytes:
    """An ELF header."""
    ident = b"\x7fELF\x02\x01\x01" + bytes([osabi, abi]) + bytes(7)
    return ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, flags, 64, 56, 0, 64, 0, 0)


@pytest.mark.parametrize(
    ("abi", "flags", "arch", "features", "isa"),
    [
        (0, 0, "amdgcn", (), "2"),
        (1, 0x2F, "gfx906", ("sramecc-", "xnack-"), "3"),
        (1, 0x32F, "gfx906", ("sramecc+", "xnack+"), "3"),
        (1, 0x136, "gfx1030", (), "3"),
        (2, 0xE3F, "gfx90a", ("sramecc+", "xnack-"), "4"),
        (4, 0x0200095F, "gfx9-4-generic", ("sramecc-",), "6"),
        (4, 0x5B, "gfx12-5-generic", (), "6"),
        (9, 0xFE, "amdgcn-0xfe", (), "11"),
    ],
)
def test_flags_of_all_versions(abi: int, flags: int, arch: str, features: tuple[str, ...], isa: str) -> None:
    """Versions 2 to 6, and later ones, are read by their own rules; what is unknown keeps its number."""
    assert code_object(header(abi, flags)) == Code("amd", "code-object", arch, 0, features, isa)


def test_other_files_are_no_code_objects() -> None:
    """Other machines, drivers that are not ROCm's, other formats and short files are None."""
    assert code_object(header(4, 0x4C, machine=62)) is None
    assert code_object(header(4, 0x4C, osabi=65)) is None
    assert code_object(b"\x7fELF\x01" + header(4, 0x4C)[5:]) is None
    assert code_object(header(4, 0x4C)[:63]) is None
    assert code_object(b"") is None
    assert code_object(b"BC\xc0\xde" + bytes(60)) is None
