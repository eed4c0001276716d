"""The ELF reader, over small files of every class and byte order, over what gcc makes here, and over damage."""

import importlib.util
import platform
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.archive.ranges import MissingRange, SparseFile
from gpuenv.binaries.dynamic import paths
from gpuenv.binaries.elf import Elf, origin_paths, ranges_of, read_elf
from gpuenv.errors import BinaryError
from tests.support.binaries import library

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures" / "binaries" / "elf"
LIBRARY = (FIXTURES / "x86_64.so").read_bytes()
FILES = {path.name: path.read_bytes() for path in sorted(FIXTURES.iterdir()) if path.suffix != ".py"}
LIBRARIES = {name: data for name, data in FILES.items() if name.endswith(".so")}


def parse(data: bytes) -> Elf:
    return read_elf(lambda offset, size: data[offset : offset + size], len(data))


def put(data: bytes, offset: int, form: str, *values: int) -> bytes:
    """The bytes with some numbers put over them, little-endian."""
    new = struct.pack("<" + form, *values)
    return data[:offset] + new + data[offset + len(new) :]


def entry(tag: int, data: bytes = LIBRARY) -> int:
    """Where the 64-bit dynamic entry with a tag begins."""
    section = next(one for one in parse(data).sections if one.type == "DYNAMIC")
    places = range(section.offset, section.offset + section.size, 16)
    return next(at for at in places if struct.unpack_from("<Q", data, at)[0] == tag)


def section(name: str) -> int:
    return next(one.offset for one in parse(LIBRARY).sections if one.name == name)


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A folder with the source of a small library."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "a.c").write_text("int a(void) { return 1; }\n")
    return tmp_path


def gcc(folder: Path, *flags: str) -> Elf:
    subprocess.run(["gcc", "-o", "a.out", *flags], cwd=folder, check=True)
    return parse((folder / "a.out").read_bytes())


@pytest.mark.parametrize(
    ("name", "bits", "endian", "flags"),
    [
        ("x86_64", 64, "little", 0),
        ("aarch64", 64, "little", 0),
        ("i386", 32, "little", 0),
        ("mips", 32, "big", 0x70001007),
        ("ppc64", 64, "big", 1),
        ("s390x", 64, "big", 0),
    ],
)
def test_every_class_and_byte_order(name: str, bits: int, endian: str, flags: int) -> None:
    """The same library says the same on six machines, with both kinds of symbol hashes."""
    elf = parse(FILES[f"{name}.so"])
    old = bits == 32  # made with the old tags
    search = ("$ORIGIN/../lib", "/opt/lib")
    assert replace(elf, sections=()) == Elf(
        bits=bits,  # type: ignore[arg-type]
        endian=endian,  # type: ignore[arg-type]
        machine=name,
        machine_number=elf.machine_number,
        type="shared",
        osabi=0,
        abi_version=0,
        flags=flags,
        soname="sample.so",
        needed=("libother.so.2",),
        rpath=search if old else (),
        runpath=() if old else search,
        versions_needed={"libother.so.2": ("OTHER_2",)},
        versions_defined=("SAMPLE_1", "SAMPLE_2"),
        init_symbols=("PyInit_sample",),
    )
    assert {".dynamic", ".text", ".shstrtab"} <= {one.name for one in elf.sections}


def test_sections_say_where_their_bytes_are() -> None:
    """A section has its offset and size in the file; one without bytes there has none."""
    library = parse(LIBRARY).sections
    names = next(one for one in library if one.name == ".shstrtab")
    assert LIBRARY[names.offset : names.offset + names.size].endswith(b".comment\0")
    assert all(one.offset + one.size <= len(LIBRARY) for one in library)
    assert [one.size for one in parse(FILES["x86_64.o"]).sections if one.name in (".text", ".bss")] == [6, 0]


def test_separate_debug_information_says_nothing_of_the_library() -> None:
    """A file made by `objcopy --only-keep-debug` has empty values, also with the sizes that older tools leave in it."""
    debug = FILES["x86_64.so.debug"]
    (segments,) = struct.unpack_from("<Q", debug, 32)
    older = put(debug, segments + 56 + 32, "Q", 0x200)  # a segment far beyond the end
    for elf in (parse(debug), parse(older)):
        assert (elf.type, elf.soname, elf.needed, elf.init_symbols) == ("shared", None, (), ())
        assert ("NOBITS", 0) in {(one.type, one.size) for one in elf.sections}


def test_object_files_say_little() -> None:
    """A relocatable file has a machine and sections, and no dynamic facts."""
    elf = parse(FILES["x86_64.o"])
    assert (elf.type, elf.machine, elf.needed, elf.versions_needed) == ("relocatable", "x86_64", (), {})


@pytest.mark.parametrize("data", LIBRARIES.values(), ids=LIBRARIES)
def test_sections_are_not_needed(data: bytes) -> None:
    """Without its table of sections a library says the same: the loader has no need of it either."""
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    bare = bytearray(data)
    struct.pack_into(order + ("Q" if wide else "I"), bare, 40 if wide else 32, 0)
    assert parse(bytes(bare)) == replace(parse(data), sections=())


def test_large_numbers_stand_in_the_first_section() -> None:
    """Counts and the index of names that are too large for the header are found where the gABI puts them."""
    (at,) = struct.unpack_from("<Q", LIBRARY, 40)
    segments, _, count, names = struct.unpack_from("<4H", LIBRARY, 56)
    data = put(put(LIBRARY, 56, "H", 0xFFFF), 60, "HH", 0, 0xFFFF)
    data = put(data, at + 32, "QII", count, names, segments)
    assert parse(data) == parse(LIBRARY)
    # without that section there is nothing to go by
    with pytest.raises(BinaryError, match="there is none"):
        parse(put(data, 40, "Q", 0))


def test_symbols_without_hashes() -> None:
    """Where no table of hashes says how many symbols there are, they go up to the next table."""
    data = put(LIBRARY, entry(0x6FFFFEF5), "Q", 21)
    assert parse(data).init_symbols == ("PyInit_sample",)


def test_hashes_of_s390x_are_wide() -> None:
    """The words of DT_HASH have 64 bits on s390x: a module's symbol is found where it comes last."""
    data = FILES["s390x.so"]
    table = next(one for one in parse(data).sections if one.name == ".dynsym")
    stop = table.offset + table.size
    (found,) = struct.unpack_from(">I", data, table.offset + 48)
    strings = next(one.offset for one in parse(data).sections if one.name == ".dynstr")
    assert data.startswith(b"PyInit_sample", strings + found)
    first, last = data[table.offset + 48 : table.offset + 72], data[stop - 24 : stop]
    swapped = data[: table.offset + 48] + last + data[table.offset + 72 : stop - 24] + first + data[stop:]
    assert parse(swapped).init_symbols == ("PyInit_sample",)


def test_symbols_beyond_the_next_table() -> None:
    """What the hashes say of the number of symbols holds, also where the address of a table lies among them."""
    data = put(LIBRARY, entry(3) + 8, "Q", section(".dynsym") + 24)
    assert parse(data).init_symbols == ("PyInit_sample",)


@pytest.mark.parametrize(("offset", "form", "value"), [(6, "H", 0), (4, "B", 2), (5, "B", 2)])
def test_only_exported_symbols_start_a_module(offset: int, form: str, value: int) -> None:
    """An undefined, a local and a hidden symbol are not exported."""
    base, data = section(".dynsym"), LIBRARY
    names = section(".dynstr")
    at = next(
        place
        for place in range(base, base + 216, 24)
        if LIBRARY.startswith(b"PyInit", names + struct.unpack_from("<I", LIBRARY, place)[0])
    )
    data = put(data, at + offset, form, value)
    assert parse(data).init_symbols == ()


def test_names_are_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 become U+FFFD, control characters stay."""
    data = LIBRARY.replace(b"sample.so\0", b"s\xff\x1b[0m.so\0")
    assert parse(data).soname == "s\ufffd\x1b[0m.so"


def test_empty_search_paths() -> None:
    """An empty path is none; an empty part stands for the current folder, and is kept."""
    assert (paths(""), paths("a::b:")) == ((), ("a", "", "b", ""))


def test_search_paths_by_gcc(compiled: Path) -> None:
    """DT_RPATH and DT_RUNPATH are kept apart."""
    old = gcc(compiled, "-shared", "a.c", "-Wl,-rpath,/x:$ORIGIN", "-Wl,--disable-new-dtags")
    new = gcc(compiled, "-shared", "a.c", "-Wl,-rpath,/x:$ORIGIN", "-Wl,--enable-new-dtags")
    assert (old.rpath, old.runpath) == (("/x", "$ORIGIN"), ())
    assert (new.rpath, new.runpath) == ((), ("/x", "$ORIGIN"))


def test_executables_by_gcc(compiled: Path) -> None:
    """Both kinds of executables are executables, have an interpreter, and say which glibc they want."""
    (compiled / "m.c").write_text("int main(void) { return 0; }\n")
    for flag in ("-pie", "-no-pie"):
        elf = gcc(compiled, "m.c", flag)
        assert (elf.type, elf.executable_stack) == ("executable", False)
        assert elf.interpreter
        assert elf.interpreter.startswith("/lib")
        assert any(version.startswith("GLIBC_2.") for version in elf.versions_needed["libc.so.6"])


def test_executable_stack_by_gcc(compiled: Path) -> None:
    """A library that asks for an executable stack is found out."""
    assert gcc(compiled, "-shared", "a.c", "-z", "execstack").executable_stack
    assert not gcc(compiled, "-shared", "a.c", "-z", "noexecstack").executable_stack


def test_many_symbols_by_gcc(compiled: Path) -> None:
    """The modules of a library with a thousand symbols are found, whichever hashes it has."""
    functions = [f"int function_{n}(void) {{ return {n}; }}" for n in range(1000)]
    functions += [f"void *PyInit_{name}(void) {{ return 0; }}" for name in ("b", "a")]
    (compiled / "many.c").write_text("\n".join([*functions, "void *PyInitU_tda(void) { return 0; }", "int PyInit;"]))
    gcc(compiled, "-c", "-fPIC", "many.c")
    (compiled / "a.out").rename(compiled / "many.o")
    for style in ("gnu", "sysv", "both"):
        elf = gcc(compiled, "-shared", "many.o", f"-Wl,--hash-style={style}")
        assert elf.init_symbols == ("PyInitU_tda", "PyInit_a", "PyInit_b")


def ask(data: bytes) -> tuple[Elf, int, int]:
    """Read through a file that is not here: the facts, how often bytes were missing, and how many were brought."""
    file = SparseFile(len(data))

    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    for rounds in range(20):
        try:
            return read_elf(read, len(data)), rounds, file.held
        except MissingRange as missing:
            file.add(missing.start, data[missing.start : missing.stop])
    raise AssertionError("it asks without end")


def test_few_bytes_are_asked_for(compiled: Path) -> None:
    """Of a library with 4 MB of data a few kilobytes are read, in a few rounds."""
    functions = "".join(f"int function_{n}(void) {{ return 0; }}\n" for n in range(200))
    (compiled / "large.c").write_text(functions + "char data[4000000] = {1}; void *PyInit_a(void) { return 0; }\n")
    gcc(compiled, "-shared", "-fPIC", "large.c")
    data = (compiled / "a.out").read_bytes()
    elf, rounds, held = ask(data)
    assert elf == parse(data)
    assert rounds <= 6
    assert held < 30_000


def test_a_stream_can_be_told_what_to_keep(compiled: Path) -> None:
    """The ranges told by the first bytes are all that is asked for."""
    gcc(compiled, "-shared", "-fPIC", "-s", "a.c")
    for data in [*LIBRARIES.values(), (compiled / "a.out").read_bytes()]:
        kept = SparseFile(len(data))
        for start, stop in [(0, min(4096, len(data))), *ranges_of(data[:4096], len(data))]:
            kept.add(start, data[start:stop])

        def read(offset: int, size: int, kept: SparseFile = kept) -> bytes:
            kept.seek(offset)
            return kept.read(size)

        assert read_elf(read, len(data)) == parse(data)


@pytest.mark.parametrize("name", ["x86_64.so", "mips.so", "x86_64.so.debug", "x86_64.o"])
def test_a_cut_file_is_an_error(name: str) -> None:
    """Cut off anywhere, a file is an error and never one that says less."""
    data = FILES[name]
    for cut in range(len(data)):
        with pytest.raises(BinaryError):
            parse(data[:cut])


def test_a_cut_file_without_sections_is_an_error() -> None:
    """What the loader would map has to be there, also where no table of sections tells of the end."""
    bare = put(LIBRARY, 40, "Q", 0)
    end = max(one.offset + one.size for one in parse(LIBRARY).sections if one.name in (".got.plt", ".dynamic"))
    assert parse(bare[:end]).soname == "sample.so"
    with pytest.raises(BinaryError, match="a segment of it ends at byte"):
        parse(bare[: end - 1])


def test_a_read_that_brings_too_little_is_an_error() -> None:
    """A file that is shorter than it was said to be is an error."""
    assert all(stop <= 1000 for _, stop in ranges_of(LIBRARY, 1000))
    with pytest.raises(BinaryError, match="ends within its"):
        read_elf(lambda offset, size: LIBRARY[offset : min(offset + size, 4000)], len(LIBRARY))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no ELF file"),
        (b"\x7fELF", "neither 32 nor 64"),
        (b"\x7fELF\x02\x01" + bytes(40), "within its ELF header"),
        (put(LIBRARY, 40, "Q", 1 << 40), "section header table lies beyond its end"),
        (put(LIBRARY, 32, "Q", 5000), "program header table lies beyond its end"),
        (put(LIBRARY, 54, "H", 57), "program headers have 57 bytes instead of 56"),
        (put(LIBRARY, struct.unpack_from("<Q", LIBRARY, 40)[0] + 64 + 32, "Q", 9000), "section .gnu.hash ends at byte"),
        (put(LIBRARY, entry(10) + 8, "Q", 1 << 40), "ends beyond its segment"),
        (put(LIBRARY, entry(5), "Q", 21), "names no string table"),
        (put(LIBRARY, entry(5) + 8, "Q", 1 << 40), "lies in no segment"),
        (put(LIBRARY, entry(14) + 8, "Q", 9999), "name in it lies beyond its string table"),
        (put(LIBRARY, section(".gnu.version_r") + 12, "I", 1 << 30), None),
        (
            put(put(LIBRARY, entry(0x6FFFFFFF) + 8, "Q", 9), section(".gnu.version_r") + 12, "I", 1 << 30),
            "versions lie",
        ),
        (put(LIBRARY, section(".gnu.version_r") + 8, "I", 1 << 30), "versions lie beyond their table"),
        (put(LIBRARY, section(".gnu.hash") + 8, "I", 1 << 30), "symbol hashes is shorter"),
        (put(LIBRARY, section(".gnu.hash") + 24, "I", 1 << 30), "symbol hashes is shorter"),
    ],
)
def test_damage_in_words(data: bytes, words: str | None) -> None:
    """What cannot be is said in words; what no loader follows does no harm."""
    if words is None:
        assert parse(data) == parse(LIBRARY)
        return
    with pytest.raises(BinaryError, match=words):
        parse(data)


def test_the_last_page_of_a_segment_is_whole() -> None:
    """Names that end behind their segment, in its last page, are there for the loader, which maps whole pages."""
    whole = library("libshort.so.1", ["libother.so.2"])
    short = put(put(whole, 64 + 32, "Q", 240), 64 + 40, "Q", 240)  # the table of names begins at byte 232
    assert (parse(short).soname, parse(short).needed) == ("libshort.so.1", ("libother.so.2",))
    assert len(whole) < 4096


def sections_named(names: bytes, offsets: list[int]) -> bytes:
    """A relocatable file with a table of names, and a section for each offset in it."""
    rows = [(0, 0, 0, 0), (0, 3, 64, len(names)), *((offset, 1, 64, 0) for offset in offsets)]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 0, 0) for name, kind, at, size in rows
    )
    fields = (1, 62, 1, 0, 0, 64 + len(names), 0, 64, 56, 0, 64, len(rows), 1)
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", *fields) + names + table


def test_names_of_sections_are_only_words() -> None:
    """A section whose name lies beyond the table of names, or does not end in it, has none."""
    elf = parse(sections_named(b"\0.a.b\0.c", [1, 3, 6, 99]))
    assert [one.name for one in elf.sections] == ["", ".a.b", ".b", "", ""]
    assert elf.type == "relocatable"


def test_names_that_overlap_are_bounded() -> None:
    """Long names within one another, which would fill the memory, are an error."""
    long = bytes(1) + b"a" * 200_000 + bytes(1)
    assert len(parse(sections_named(long, [1] * 300)).sections) == 301
    with pytest.raises(BinaryError, match="take more than 32 MiB"):
        parse(sections_named(long, list(range(1, 301))))


def test_chains_of_versions_end() -> None:
    """Libraries that all have the same long list of versions are given up on: a file could make it quadratic."""
    libraries, versions = 200, 2000
    table = b"".join(
        struct.pack("<HHIII", 1, 0xFFFF, 0, 16 * (libraries - n), 16 * (n + 1 < libraries)) for n in range(libraries)
    )
    table += struct.pack("<IHHII", 0, 0, 0, 0, 16) * versions + bytes(16)
    data = put(LIBRARY, entry(0x6FFFFFFF) + 8, "Q", libraries)
    # a segment of its own at the end of the file, in the place of another header; sections would be in the way
    data = put(put(data, entry(0x6FFFFFFE) + 8, "Q", 0x100000), 40, "Q", 0)
    (segments,) = struct.unpack_from("<Q", LIBRARY, 32)
    stack = segments + 56 * 3
    assert struct.unpack_from("<I", data, stack) == (0x6474E551,)
    data = put(data, stack, "IIQQQQQQ", 1, 4, len(LIBRARY), 0x100000, 0, len(table), len(table), 8)
    with pytest.raises(BinaryError, match="versions lie beyond their table"):
        parse(data + table)


@given(
    name=st.sampled_from(sorted(FILES)),
    places=st.lists(
        st.tuples(
            st.integers(0, 5500), st.sampled_from([b"\xff" * 8, b"\xff" * 4, bytes(8), b"\x7f", b"\x01", b"\x40\0"])
        ),
        max_size=6,
    ),
)
def test_damage_anywhere_is_an_error_or_harmless(name: str, places: list[tuple[int, bytes]]) -> None:
    """Bytes overwritten anywhere give facts or a BinaryError, nothing else."""
    data = FILES[name]
    for place, new in places:
        data = (data[:place] + new + data[place + len(new) :])[: len(data)]
    try:
        parse(data)
    except BinaryError as error:
        assert error.message


@given(data=st.binary(max_size=300), ident=st.sampled_from([b"\x01\x01", b"\x02\x01", b"\x01\x02", b"\x02\x02"]))
def test_noise_is_an_error_or_harmless(data: bytes, ident: bytes) -> None:
    """Noise behind the first bytes of an ELF file gives facts or a BinaryError, and ranges inside of it."""
    data = b"\x7fELF" + ident + data
    assert all(0 <= start < stop <= len(data) for start, stop in ranges_of(data, len(data)))
    try:
        parse(data)
    except BinaryError as error:
        assert error.message


def test_readelf_agrees(compiled: Path) -> None:
    """Over the fixtures and over libraries of this Python, readelf says the same (benchmarks/compare_readelf.py)."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    spec = importlib.util.spec_from_file_location("compare_readelf", ROOT / "benchmarks" / "compare_readelf.py")
    assert spec is not None
    assert spec.loader is not None
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    gcc(compiled, "-shared", "a.c")
    gcc(compiled, "-shared", "-o", "b.out", "a.c", *(["-Wl,-z,x86-64-v3"] if platform.machine() == "x86_64" else []))
    files = [*FIXTURES.glob("*.so*"), compiled / "a.out", compiled / "b.out", Path(sys.executable).resolve()]
    files += sorted(Path(sys.prefix).rglob("*.so"))[:12]
    assert [(path.name, text) for path in files for text in compare.differences(path)[0]] == []
    # the comparison sees a difference
    (compiled / "a.out").write_bytes((FIXTURES / "x86_64.so").read_bytes())
    told = compare.theirs(FIXTURES / "i386.so")
    assert {name for name, value in compare.ours(compiled / "a.out").items() if value != told[name]} == {
        "bits", "machine", "rpath", "runpath", "sections",
    }  # fmt: skip


def noted(*properties: tuple[int, bytes], kind: int = 4, alignment: int = 8, cut: int = 0) -> bytes:
    """A library with a note of properties (type, data), in a segment of a kind."""
    padded = b"".join(struct.pack("<II", what, len(data)) + data.ljust(8, b"\0") for what, data in properties)
    other = struct.pack("<III4s8s", 4, 8, 1, b"GNU", b"an ABI")
    note = other.ljust(24, b"\0") + struct.pack("<III4s", 4, len(padded), 5, b"GNU") + padded
    data = library(sections=[(".note.gnu.property", note)])
    place = next(one for one in parse(data).sections if one.name == ".note.gnu.property")
    fields = place.offset, place.offset, place.offset, place.size - cut, place.size, alignment
    return put(data, 64 + 2 * 56, "IIQQQQQQ", kind, 4, *fields)


def levels(bits: int) -> tuple[int, bytes]:
    """The property GNU_PROPERTY_X86_ISA_1_NEEDED."""
    return 0xC0008002, struct.pack("<I", bits)


@pytest.mark.parametrize(
    ("bits", "level"), [(0, None), (1, None), (0b10, "x86-64-v2"), (0b111, "x86-64-v3"), (0b1000, "x86-64-v4")]
)
def test_the_level_of_x86_64(bits: int, level: str | None) -> None:
    """The highest level that the linker wrote down as needed, wherever among the properties; the first is none."""
    used, feature = (0xC0010002, struct.pack("<I", 15)), (0xC0000002, struct.pack("<I", 3))
    assert parse(noted(feature, levels(bits), used)).cpu == level
    assert parse(noted(levels(bits), kind=0x6474E553)).cpu == level


def test_notes_that_say_no_level() -> None:
    """Other alignments, other machines, other lengths and notes that are cut off or nowhere say nothing."""
    assert parse(noted(levels(15))).cpu == "x86-64-v4"
    assert parse(noted(levels(15), alignment=4)).cpu is None
    assert parse(noted((levels(15)[0], bytes([15]) * 8))).cpu is None
    assert parse(noted(levels(15), cut=8)).cpu is None
    assert parse(put(noted(levels(15)), 18, "H", 183)).cpu is None
    for field, value in ((8, 1 << 40), (32, 1 << 40)):
        assert parse(put(noted(levels(15)), 64 + 2 * 56 + field, "Q", value)).cpu is None


def test_the_linker_writes_the_level(compiled: Path) -> None:
    """`ld -z x86-64-v3` is read back; without it there is no level."""
    if platform.machine() != "x86_64":
        pytest.skip("not x86-64")
    assert gcc(compiled, "-shared", "-fPIC", "a.c", "-Wl,-z,x86-64-v3").cpu == "x86-64-v3"
    assert gcc(compiled, "-shared", "-fPIC", "a.c").cpu is None


def test_only_relative_paths_count(compiled: Path) -> None:
    """Both spellings of `$ORIGIN` are found, absolute paths are not."""
    gcc(compiled, "-shared", "a.c", "-Wl,-rpath,$ORIGIN/../b:/usr/lib/x:${ORIGIN}/c")
    assert origin_paths(compiled / "a.out") == ("$ORIGIN/../b", "${ORIGIN}/c")


@pytest.mark.parametrize("name", LIBRARIES)
def test_relative_paths_of_every_machine(name: str) -> None:
    """DT_RPATH and DT_RUNPATH are read for every class and byte order."""
    assert origin_paths(FIXTURES / name) == ("$ORIGIN/../lib",)


def test_damaged_files_have_no_paths(tmp_path: Path) -> None:
    """Cut off or overwritten anywhere, an ELF file gives an answer and never an exception."""
    file = tmp_path / "library"
    for cut in range(0, len(LIBRARY), 97):
        file.write_bytes(LIBRARY[:cut])
        assert isinstance(origin_paths(file), tuple)
    for position in range(0, 1024, 3):
        file.write_bytes(put(LIBRARY, position, "q", -1))
        assert isinstance(origin_paths(file), tuple)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\x7fELF",
        b"\x7fELF" + b"\0" * 100,
        b"\x7fELF\x02\x01\x01" + struct.pack("<57x"),
        FILES["x86_64.o"],
    ],
    ids=["empty", "text", "magic", "zeros", "header", "object"],
)
def test_what_is_no_library_has_no_paths(data: bytes, tmp_path: Path) -> None:
    """Files without a dynamic section have no paths."""
    (tmp_path / "file").write_bytes(data)
    assert origin_paths(tmp_path / "file") == ()
