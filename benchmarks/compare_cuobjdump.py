"""Compares the fatbin containers that gpuenv reads with what NVIDIA's cuobjdump lists.

    python benchmarks/compare_cuobjdump.py torch-*.whl libcufft.so.12 kernels.fatbin --cuobjdump path/to/cuobjdump

Files, wheels and folders are taken; of these all that begins as an ELF file or a fatbin does. cuobjdump looks only
into the sections .nv_fatbin and __nv_relfatbin, so containers elsewhere are copied into a fatbin file of their own and
listed from there: one row for each section, its containers, its entries by gpuenv and by cuobjdump, and how many of
either the other does not have. An entry is its kind, architecture, PTX ISA version, and whether it is compressed.

cuobjdump decompresses what it lists (a minute for half a gigabyte); --timeout bounds each of its runs. It gives up at
the first payload that it does not like, after it has said what the payload is; then it is asked again entry by entry,
and the row has a note; an architecture too old for it is compared by its name alone. Exits 1 on differences. Needs
readelf and cuobjdump (the nvidia-cuda-cuobjdump wheel); temporary files take as much room as the largest file.
"""

import argparse
import json
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gpuenv.binaries.nvidia import FATBIN_MAGIC, cubin_code, read_fatbin
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, Unit

Entry = tuple[str, str, str, bool]  # kind, architecture, PTX ISA version, compressed
SEEN_BY_CUOBJDUMP = (".nv_fatbin", "__nv_relfatbin")
KINDS = {"elf": "sass", "cubin": "sass", "ptx": "ptx", "relocatable ptx": "ptx", "nvvm": "lto"}
TABLES = ("index", "concatenated entry")
CHUNK = 1 << 20


@dataclass
class Row:
    """One section of one file. ours, theirs: entries; missing: theirs that we lack; extra: ours that they lack."""

    file: str
    section: str
    containers: int
    ours: int
    theirs: int
    missing: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    note: str = ""
    seconds: tuple[float, float] = (0.0, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table, and say by the exit code whether there are differences."""
    options = parse(arguments)
    rows: list[Row] = []
    for name, path in files(options.paths):
        for row in compare(name, path, options):
            rows.append(row)
            print(line(row), flush=True)
            for kind, entries in (("only cuobjdump", row.missing), ("only gpuenv", row.extra)):
                for entry, count in entries.items():
                    print(f"    {kind}: {count} x {entry}")
            for text in filter(None, (row.problem, row.note)):
                print(f"    {text}")
    differences = sum(sum(row.missing.values()) + sum(row.extra.values()) + bool(row.problem) for row in rows)
    device = len({row.file for row in rows})
    total = sum(row.ours for row in rows)
    print(f"{device} files with device code, {total:,} entries, {differences} differences")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    return 1 if differences else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags of this script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|WHEEL|FOLDER")
    parser.add_argument("--cuobjdump", default=shutil.which("cuobjdump"), help="the program (default: the one on PATH)")
    parser.add_argument("--readelf", default="readelf")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run of cuobjdump (default: 600)")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(arguments)
    if not options.cuobjdump:
        parser.error("no cuobjdump on PATH; give it by --cuobjdump")
    print(f"{'file':52} {'section':16} {'units':>6} {'ours':>7} {'theirs':>7} {'diff':>5} {'s ours':>7} {'theirs':>7}")
    return options


def line(row: Row) -> str:
    """One line of the table."""
    name = row.file if len(row.file) <= 52 else "…" + row.file[-51:]
    diff = sum(row.missing.values()) + sum(row.extra.values())
    ours, theirs = row.seconds
    counts = f"{row.containers:6} {row.ours:7} {row.theirs:7} {diff:5} {ours:7.2f} {theirs:7.2f}"
    return f"{name:52} {row.section:16} {counts}"


def files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Name and place of every file to look at; those of a wheel lie on the disk only until the next is asked for."""
    for path in paths:
        if path.is_dir():
            yield from ((str(one.relative_to(path)), one) for one in sorted(path.rglob("*")) if wanted(one))
        elif zipfile.is_zipfile(path) and path.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as scratch:
                for member in archive.infolist():
                    with archive.open(member) as source:
                        head = source.read(4)
                        if head not in (b"\x7fELF", FATBIN_MAGIC):
                            continue
                        place = Path(scratch, "member" + Path(member.filename).suffix)
                        with place.open("wb") as copy:
                            copy.write(head)
                            shutil.copyfileobj(source, copy, CHUNK)
                    yield member.filename, place
        elif wanted(path):
            yield path.name, path


def wanted(path: Path) -> bool:
    """Whether a file begins as an ELF file or a fatbin does."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) in (b"\x7fELF", FATBIN_MAGIC)


def compare(name: str, path: Path, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of one file; none for a file without device code."""
    begin = time.monotonic()
    try:
        if is_cubin(path):
            yield compare_cubin(name, path, options)
            return
        units = list(containers(path))
    except BinaryError as error:
        yield Row(name, "", 0, 0, 0, problem=f"gpuenv: {error}")
        return
    ours = time.monotonic() - begin
    sections = section_table(path, options.readelf)
    by_section: dict[str, list[Unit]] = {}
    for unit in units:
        place = next((s for s, start, size in sections if start <= unit.offset < start + size), "")
        by_section.setdefault(place, []).append(unit)
    seen = [unit for section in SEEN_BY_CUOBJDUMP for unit in by_section.pop(section, [])]
    if seen or any(section in SEEN_BY_CUOBJDUMP for section, _, _ in sections):
        yield row_of(name, "nv fatbins", seen, (path, path), ours, options)
    for section, some in sorted(by_section.items()):
        if not sections:
            yield row_of(name, "(the file)", some, (path, path), ours, options)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch, "copied.fatbin")
            copy_units(path, some, copy)
            yield row_of(name, section, some, (path, copy), ours, options)


def is_cubin(path: Path) -> bool:
    """Whether a file is ELF for NVIDIA GPUs."""
    with path.open("rb") as stream:
        head = stream.read(20)
    return head[:4] == b"\x7fELF" and head[18:20] == b"\xbe\0"


def compare_cubin(name: str, path: Path, options: argparse.Namespace) -> Row:
    """A cubin, whose `f` cuobjdump does not say."""
    data = path.read_bytes()
    arch = cubin_code(lambda offset, size: data[offset : offset + size], len(data)).arch
    found = subprocess.run(
        [options.cuobjdump, "-elf", path], capture_output=True, text=True, errors="replace", timeout=options.timeout
    )
    told = re.search(r"\bsm=(\w+)", found.stdout)
    theirs = f"sm_{told[1]}" if told else "nothing"
    same = arch.removesuffix("f") == theirs
    return Row(name, "(a cubin)", 1, 1, 1, {} if same else {theirs: 1}, {} if same else {arch: 1})


def containers(path: Path) -> Iterator[Unit]:
    """Every container of a file, wherever it lies, as gpuenv sees it."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        tape = Tape(iter(lambda: stream.read(CHUNK), b""))
        # the others are what gpuenv looks for at the same time
        while (found := tape.find(FATBIN_MAGIC, b"CCOB", b"__CLANG_OFFLOAD_BUNDLE__")) is not None:
            unit = read_fatbin(tape, size - tape.position) if found == FATBIN_MAGIC else None
            if unit is None:
                tape.skip(len(found))
            else:
                yield unit


def section_table(path: Path, readelf: str) -> list[tuple[str, int, int]]:
    """Name, offset and size of the sections that take room in an ELF file, by readelf; none for another file."""
    found = subprocess.run([readelf, "-SW", path], capture_output=True, text=True, errors="replace")
    pattern = re.compile(r"^ *\[ *\d+\] (\S+) +(\S+) +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+) ", re.MULTILINE)
    table = [(m[1], int(m[3], 16), int(m[4], 16)) for m in pattern.finditer(found.stdout) if m[2] != "NOBITS"]
    return [row for row in table if row[2]]


def copy_units(path: Path, units: Sequence[Unit], to: Path) -> None:
    """Write containers one after the other into a file."""
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        to.open("wb") as out,
    ):
        for unit in units:
            out.write(data[unit.offset : unit.offset + unit.size])


def row_of(
    name: str,
    section: str,
    units: Sequence[Unit],
    paths: tuple[Path, Path],
    seconds: float,
    options: argparse.Namespace,
) -> Row:
    """The containers gpuenv found in a file against what cuobjdump lists. paths: that file, and the one to list."""
    source, path = paths
    begin = time.monotonic()
    theirs, problem = listing(path, options)
    refused: Counter[str] = Counter()
    note = ""
    if problem and units:
        note = f"asked entry by entry after: {problem}"
        theirs, refused, problem = listing_by_entry(source, units, options)
        if refused:
            note += f"; {refused.total():,} entries were refused for their architecture, of which we have as many"
    ours = Counter(entry(code) for unit in units for code in unit.codes)
    extra = ours - theirs
    for one in extra:
        known = min(extra[one], refused[one[1].partition("_")[2]])
        extra[one] -= known
        refused[one[1].partition("_")[2]] -= known
    missing = (theirs - ours) + Counter(
        {("refused", f"sm_{arch}", "", False): count for arch, count in refused.items()}
    )
    return Row(
        name,
        section,
        len(units),
        ours.total(),
        theirs.total(),
        {words(one): count for one, count in sorted(missing.items())},
        {words(one): count for one, count in sorted((+extra).items())},
        problem,
        note,
        (seconds, time.monotonic() - begin),
    )


def listing_by_entry(
    path: Path, units: Sequence[Unit], options: argparse.Namespace, most: int = 5000
) -> tuple[Counter[Entry], Counter[str], str]:
    """The same of each entry in a container of its own, and the architectures of those for which it has no support.

    A run that fails after it has said what the entry is will do.
    """
    entries: Counter[Entry] = Counter()
    refused: Counter[str] = Counter()
    with path.open("rb") as stream, tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch, "alone.fatbin")
        for unit in units:
            at = unit.offset + 16
            while at < unit.offset + unit.size:
                stream.seek(at)
                header, payload = struct.unpack("<4xIQ", stream.read(16))
                stream.seek(at)
                at += header + payload
                alone.write_bytes(
                    struct.pack("<4sHHQ", FATBIN_MAGIC, 1, 16, header + payload) + stream.read(header + payload)
                )
                one, problem = listing(alone, options)
                entries += one
                if not one and (unsupported := re.search(r"Support for 'sm_(\w+)' has been removed", problem)):
                    refused[unsupported[1]] += 1
                if entries.total() + refused.total() > most:
                    return entries, refused, f"stopped after {most:,} entries"
    return entries, refused, ""


def entry(code: Code) -> Entry:
    """What is compared of an entry."""
    return code.kind, code.arch, code.isa or "", code.compressed


def words(one: Entry) -> str:
    """An entry for people."""
    kind, arch, isa, compressed = one
    return " ".join((kind, arch, *([f"ISA {isa}"] if isa else []), *(["compressed"] if compressed else [])))


def listing(path: Path, options: argparse.Namespace) -> tuple[Counter[Entry], str]:
    """The entries that cuobjdump lists, and what it complains of."""
    command = [options.cuobjdump, "-all", path]
    try:
        found = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=options.timeout,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return Counter(), f"cuobjdump took more than {options.timeout:g} s"
    entries: Counter[Entry] = Counter()
    for block in re.split(r"^Fatbin ", found.stdout, flags=re.MULTILINE)[1:]:
        told = block.split(" code:\n")[0]
        if told in TABLES:
            continue
        kind = KINDS.get(told, "data")
        arch = re.search(r"^arch = sm_(\w+)$", block, re.MULTILINE)
        version = re.search(r"^code version = \[(\d+),(\d+)\]$", block, re.MULTILINE)
        prefix = "compute" if kind == "ptx" else "sm"
        isa = f"{version[1]}.{version[2]}" if version and kind == "ptx" else ""
        compressed = re.search(r"^compressed$", block, re.MULTILINE) is not None
        entries[kind, f"{prefix}_{arch[1] if arch else '?'}", isa, compressed] += 1
    problem = "" if not found.returncode else f"cuobjdump: {found.stderr.strip()[:200]}"
    return entries, problem


if __name__ == "__main__":
    sys.exit(main())
