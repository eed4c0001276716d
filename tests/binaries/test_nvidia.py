"""Fatbins, cubins, PTX and LTO IR say what NVIDIA's tools say of them, and damage never ends in a traceback."""

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.nvidia import FATBIN_MAGIC, cubin_code, lto_code, ptx_code, read_fatbin
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, Unit

HERE = Path(__file__).resolve().parents[2] / "fixtures" / "binaries" / "nvidia"
TOLD = [line.split(maxsplit=3) for line in (HERE / "cuobjdump.txt").read_text("utf-8").splitlines()]
FATBINS = sorted(path.name for path in HERE.glob("*.fatbin"))
CUBINS = sorted(path.name for path in HERE.glob("*.cubin"))
KINDS = {"elf": "sass", "ptx": "ptx", "nvvm": "lto"}
LZ4 = (HERE / "lz4.fatbin").read_bytes()


def pieces(data: bytes, size: int = 1 << 20) -> list[bytes]:
    """Bytes in chunks, as a file would come."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(data: bytes, chunk: int = 1 << 20) -> Unit | None:
    """The container at the very beginning of some bytes."""
    return read_fatbin(Tape(pieces(data, chunk)), len(data))


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """Random access to bytes."""
    return lambda offset, size: data[offset : offset + size]


def entry(payload: bytes = b"", *, kind: int = 2, arch: int = 90, flags: int = 0x11, header: int = 64) -> bytes:
    """One entry of a container."""
    version = 0x0101
    fields = struct.pack("<HHIQIIHHIIIQQQ", kind, version, header, len(payload), 0, 0, 4, 8, arch, 0, 0, flags, 0, 0)
    return fields.ljust(header, b"\0") + payload


def container(*entries: bytes) -> bytes:
    """A container of entries."""
    body = b"".join(entries)
    return struct.pack("<4sHHQ", FATBIN_MAGIC, 1, 16, len(body)) + body


@pytest.mark.parametrize("name", FATBINS)
@pytest.mark.parametrize("chunk", [1 << 20, 61])
def test_a_fatbin_holds_what_cuobjdump_lists(name: str, chunk: int) -> None:
    """Kind, architecture with suffix, PTX ISA version and compression are those of NVIDIA's own listing."""
    data = (HERE / name).read_bytes()
    unit = read(data, chunk)
    assert unit is not None
    assert (unit.offset, unit.size) == (0, len(data))
    expected = []
    for _, kind, arch, rest in (line for line in TOLD if line[0] == name):
        version, compressed = rest.split()
        ptx = kind == "ptx"
        isa = version.replace(",", ".") if ptx else None
        expected.append((KINDS[kind], arch.replace("sm", "compute") if ptx else arch, isa, compressed == "compressed"))
    assert [(code.kind, code.arch, code.isa, code.compressed) for code in unit.codes] == expected


def test_bytes_are_those_of_payloads() -> None:
    """The bytes of the images and of all headers add up to the container."""
    unit = read(container(entry(b"x" * 24), entry(b"y" * 8, header=80)))
    assert unit is not None
    assert [code.bytes for code in unit.codes] == [24, 8]
    assert unit.size == 16 + 64 + 24 + 80 + 8


def test_a_container_within_a_file_is_found_and_left_behind() -> None:
    """The tape stands behind the container, and its offset is counted from the beginning of the file."""
    data = b"\1" * 1000 + LZ4 + b"\2" * 9 + LZ4 + b"end"
    tape = Tape(pieces(data, 512))
    found = []
    while tape.find(FATBIN_MAGIC):
        unit = read_fatbin(tape, len(data) - tape.position)
        assert unit is not None
        found.append(unit.offset)
        assert tape.position == unit.offset + unit.size
    assert found == [1000, 1009 + len(LZ4)]


@pytest.mark.parametrize(
    "data",
    [
        FATBIN_MAGIC,
        FATBIN_MAGIC + bytes(200),
        # a comparison with the masked first half of a header, as cuSPARSELt has it, and with all of it
        FATBIN_MAGIC + bytes.fromhex("000010004839d0740fb866000000c3660f1f8400") + b"\x90" * 100,
        FATBIN_MAGIC + bytes.fromhex("010010004839d0740fb866000000c3660f1f8400") + b"\x90" * 100,
        container(),
        container() + entry(),
        struct.pack("<4sHHQ", FATBIN_MAGIC, 1, 24, 64) + bytes(8) + entry(),
        container(entry()[:2] + b"\0\0" + entry()[4:]),
        struct.pack("<4sHHQ", FATBIN_MAGIC, 2, 16, 64) + entry(),
        container(entry(kind=3)),
    ],
)
def test_a_magic_number_alone_is_no_container(data: bytes) -> None:
    """Program code that mentions the magic, or an empty container, is passed over, and the tape has not moved."""
    tape = Tape([b"before" + data])
    tape.skip(6)
    assert read_fatbin(tape, len(data)) is None
    assert tape.position == 6
    assert tape.peek(4) == FATBIN_MAGIC


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            struct.pack("<4sHHQ", FATBIN_MAGIC, 1, 16, 12 << 30) + entry(),
            "12,884,901,904 bytes, the file ends after 80",
        ),
        (container(entry(), entry()[:8] + struct.pack("<Q", 1 << 63) + entry()[16:]), r"says it has 64 \+ 9,223,372"),
        (container(entry(), entry()[:4] + bytes(4) + entry()[8:]), r"says it has 0 \+ 0 bytes"),
        (container(entry(), b"\0" * 63) + entry(), "ends within the header of an entry, at byte 80"),
        (container(entry(arch=0)), "architecture 0, which cannot be"),
        (container(entry(arch=1 << 31)), "architecture 2,147,483,648, which cannot be"),
    ],
)
def test_a_container_that_lies_is_damage(data: bytes, words: str) -> None:
    """Counts larger than what is there, and headers that cannot be, are refused with a sentence."""
    with pytest.raises(BinaryError, match=words):
        read(data)


def test_a_file_that_ends_before_its_size_is_damage() -> None:
    """A caller's size that is larger than what comes does not make an incomplete container whole."""
    with pytest.raises(BinaryError, match="the file ends before"):
        read_fatbin(Tape([LZ4[:-8]]), len(LZ4))


def test_every_truncation_is_refused_or_no_container() -> None:
    """A fatbin cut anywhere is damage, or too short to be told from other bytes."""
    for end in range(len(LZ4)):
        if end < 80:
            assert read(LZ4[:end]) is None
        else:
            with pytest.raises(BinaryError):
                read(LZ4[:end])


def test_an_endless_chain_of_empty_entries_ends() -> None:
    """A container of nothing but headers is given up after some ten thousand images, in little time."""
    begin = time.monotonic()
    with pytest.raises(BinaryError, match="more than 65,536 images"):
        read(container(*[entry()] * 70_000))
    assert time.monotonic() - begin < 5


@given(st.data())
def test_turned_bytes_never_end_in_a_traceback(data: st.DataObject) -> None:
    """Whatever stands in a few bytes of the headers, there is a container within its bounds, none, or BinaryError."""
    broken = bytearray(LZ4)
    for at, value in data.draw(st.lists(st.tuples(st.integers(4, 175), st.integers(0, 255)), min_size=1, max_size=4)):
        broken[at] = value
    tape = Tape(pieces(bytes(broken), 100))
    try:
        unit = read_fatbin(tape, len(broken))
    except BinaryError:
        return
    assert tape.position == (unit.size if unit else 0) <= len(broken)
    assert sum(code.bytes for code in unit.codes) <= unit.size if unit else True


def test_kinds_without_a_name_serve_no_gpu() -> None:
    """Tile IR and kinds yet to come are shown as data for no GPU; tables without code are not shown."""
    unit = read(container(entry(kind=128, arch=100), entry(kind=512), entry(kind=32, arch=0), entry(kind=256, arch=0)))
    assert unit is not None
    assert [(code.kind, code.arch) for code in unit.codes] == [("data", "tile_100"), ("data", "kind512_90")]


@pytest.mark.parametrize("name", CUBINS)
def test_a_cubin_says_its_architecture(name: str) -> None:
    """The architecture is cuobjdump's, with the `f` that only the noted command line has."""
    data = (HERE / name).read_bytes()
    arch, *noted = next(line[2:] for line in TOLD if line[0] == name)
    expected = f"{arch}f" if noted and f"-arch {arch}f" in noted[0] else arch
    assert cubin_code(reader(data), len(data)) == Code("nvidia", "sass", expected, len(data))
    assert name.removesuffix(".cubin").endswith(expected)


def test_a_cubin_is_read_here_and_there() -> None:
    """Of a cubin only its header, the table of sections and the few sections that say something are read."""
    data = (HERE / "130-linked-sm_100f.cubin").read_bytes()
    asked = []

    def counted(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return data[offset : offset + size]

    cubin_code(counted, len(data))
    assert asked[0] == (0, 64)
    assert len(asked) <= 6


@pytest.mark.parametrize("name", ["118-sm_60.cubin", "130-linked-sm_100f.cubin"])
def test_a_cut_cubin_is_damage_or_still_says_it(name: str) -> None:
    """A cubin cut anywhere raises BinaryError, or says the architecture of its header."""
    data = (HERE / name).read_bytes()
    for end in range(len(data)):
        try:
            code = cubin_code(reader(data[:end]), end)
        except BinaryError:
            continue
        assert code.arch.startswith(("sm_60", "sm_100"))


@given(st.data())
def test_turned_bytes_of_a_cubin_never_end_in_a_traceback(data: st.DataObject) -> None:
    """Whatever stands in the header, the section table and the notes, the result is an architecture or BinaryError."""
    whole = bytearray((HERE / "130-linked-sm_100f.cubin").read_bytes())
    table = struct.unpack_from("<Q", whole, 40)[0]
    places = st.one_of(st.integers(0, 63), st.integers(table, len(whole) - 1), st.integers(0x470, 0x680))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        whole[at] = value
    try:
        code = cubin_code(reader(bytes(whole)), len(whole))
    except BinaryError:
        return
    assert code.kind == "sass"


def test_a_cubin_whose_sections_lie_beyond_its_end_is_damage() -> None:
    """A section table, or a section, that reaches beyond the file is named with its place."""
    data = bytearray((HERE / "130-sm_90a.cubin").read_bytes())
    struct.pack_into("<Q", data, 40, 1 << 40)
    with pytest.raises(BinaryError, match=r"sections are listed at byte 1,099,511,627,776"):
        cubin_code(reader(bytes(data)), len(data))


@pytest.mark.parametrize(
    ("name", "told", "instead", "arch"),
    [
        ("129-sm_100f.cubin", b"-arch sm_100f ", b"-arch sm_103f ", "sm_100"),
        ("129-sm_100f.cubin", b"-arch sm_100f ", b"x-arch sm_100f", "sm_100"),
        ("129-sm_100f.cubin", b"\xd0\x07\0\0NVIDIA", b"\xd1\x07\0\0NVIDIA", "sm_100"),
        # the record that says `a` behind one with a size, whose eight bytes look like the record that does not
        ("130-sm_90a.cubin", b"\2\x09\1\0\2\2\1\0\2\5\5\0", b"\4\x0b\4\0\2\x09\0\0\2\x09\1\0", "sm_90a"),
        ("130-sm_90a.cubin", b"\2\x09\1\0\2\2\1\0", b"\2\2\1\0\2\x09\1\0", "sm_90a"),
        ("130-sm_90a.cubin", b"\2\x09\1\0", b"\2\x09\0\0", "sm_90"),
        ("130-sm_90a.cubin", b"\2\x09\1\0", b"\2\x08\1\0", "sm_90"),
    ],
)
def test_a_suffix_stands_only_where_the_tools_put_it(name: str, told: bytes, instead: bytes, arch: str) -> None:
    """Another architecture's command line, another note and another record do not give a suffix."""
    data = (HERE / name).read_bytes()
    assert data.count(told) == 1
    assert cubin_code(reader(data.replace(told, instead)), len(data)).arch == arch


def test_a_section_that_reaches_beyond_the_cubin_is_damage() -> None:
    """The notes of a cubin have to lie within it."""
    data = bytearray((HERE / "130-sm_90a.cubin").read_bytes())
    (table,) = struct.unpack_from("<Q", data, 40)
    note = next(at for at in range(table, len(data), 64) if data[at + 4 : at + 8] == b"\x07\0\0\0")
    struct.pack_into("<Q", data, note + 32, len(data))
    with pytest.raises(BinaryError, match="a section of the cubin reaches to byte"):
        cubin_code(reader(bytes(data)), len(data))


def test_an_elf_file_of_a_processor_is_no_cubin() -> None:
    """Another machine's ELF file is refused."""
    with pytest.raises(BinaryError, match="not an ELF file for NVIDIA GPUs"):
        cubin_code(reader(b"\x7fELF\2\1\1".ljust(18, b"\0") + b"\x3e\0" + bytes(44)), 64)


@pytest.mark.parametrize(
    ("text", "arch", "isa"),
    [
        (b".version 8.7\n.target sm_90a, texmode_independent\n", "compute_90a", "8.7"),
        (b"// .version 1.0\n\n.version 9.0 // x\n/* .target\n sm_20 */ .target\tsm_103f\n", "compute_103f", "9.0"),
        (b"\r\n.version 7.0\r\n.target sm_75\r\n", "compute_75", "7.0"),
    ],
)
def test_ptx_says_its_target(text: bytes, arch: str, isa: str) -> None:
    """The first directives are read past comments and blank lines."""
    assert ptx_code(text) == Code("nvidia", "ptx", arch, len(text), isa=isa)


def test_ptx_from_nvcc_says_its_target() -> None:
    """A PTX file as nvcc writes it, with its comments, is PTX for compute_103f."""
    text = (HERE / "compute_103f.ptx").read_bytes()
    assert ptx_code(text) == Code("nvidia", "ptx", "compute_103f", len(text), isa="9.0")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x7fELF",
        b".version 8.7\n",
        b".target sm_90\n.version 8.7\n",
        b"version 8.7\n.target sm_90\n",
        b".version 8.7\n.target sm_9x\n",
        b".version 8.7\n.target sm_90",  # cut: a suffix may follow
        b"/* " * 50_000,
        b"/**/" * 50_000 + b"!",
        b" " * 100_000 + b"!",
    ],
)
def test_other_text_is_no_ptx(text: bytes) -> None:
    """Text that does not begin with both directives is none, found out in little time."""
    begin = time.monotonic()
    assert ptx_code(text) is None
    assert time.monotonic() - begin < 1


@given(st.binary(max_size=200))
def test_any_bytes_are_ptx_or_not(data: bytes) -> None:
    """Bytes behind the beginning of a PTX text or an LTO IR file never raise."""
    ptx_code(b".version 8.7\n" + data)
    lto_code(b"\xed\x43\x4e\x7f" + data)


@pytest.mark.parametrize(("name", "arch"), [("lto_90.ltoir", "sm_90"), ("lto_90a.ltoir", "sm_90a")])
def test_lto_ir_says_its_architecture(name: str, arch: str) -> None:
    """The head of an LTO IR file is enough; any other file is none."""
    head = (HERE / name).read_bytes()[:64]
    assert lto_code(head) == Code("nvidia", "lto", arch, 64)
    assert lto_code(head[1:]) is None
    assert lto_code(head[:20]) is None
