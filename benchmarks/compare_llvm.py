"""Compares what gpuenv reads of AMD's device code with what LLVM's own tools say.

    python benchmarks/compare_llvm.py FILE|WHEEL… [--bundler clang-offload-bundler-19] [--readelf llvm-readelf-19]

Every offload bundle that gpuenv finds is cut out of its file. clang-offload-bundler lists it, which must be the same
targets, and unbundles it; llvm-readelf then reads the header of each image, which must name the same processor,
features and version as gpuenv reads out of the same 64 bytes, and as the bundle's table says. The sizes of the
unbundled images must be those of the table. LLVM 19 knows no CCOB version 3: such a bundle is given to it with the
header rewritten as version 2, the stream untouched. Files that are code objects themselves go to llvm-readelf only.
Images for processors newer than the bundler are listed by it and not unbundled (column `newer`); a processor newer
than llvm-readelf is compared by its number. Prints a table, exits 1 on differences. Needs Debian's
clang-19 and llvm-19; of a wheel, one member at a time lies in the temporary folder.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpuenv.binaries.amd import BUNDLE_MAGIC, CCOB_MAGIC, code_object, read_bundle, read_compressed
from gpuenv.binaries.tape import Tape
from gpuenv.model.architecture import AMD_PROCESSORS
from gpuenv.model.facts import Code, Unit

CHUNK = 1 << 20


@dataclass
class Row:
    """What came of one file."""

    name: str
    size: int
    units: int = 0
    refused: int = 0
    images: int = 0
    newer: int = 0
    headers: int = 0
    differences: list[str] = field(default_factory=list)


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def compare_file(path: Path, name: str, tools: argparse.Namespace) -> Row:
    """All bundles of a file, and the file itself where it is a code object."""
    row = Row(name, path.stat().st_size)
    tape = Tape(chunks(path))
    with tempfile.TemporaryDirectory() as folder:
        if code_object(tape.peek(64)):
            compare_headers({name: path}, row, tools)
        while magic := tape.find(BUNDLE_MAGIC, CCOB_MAGIC):
            read = read_bundle if magic == BUNDLE_MAGIC else read_compressed
            unit = read(tape, row.size - tape.position)
            if unit:
                compare_unit(path, unit, row, tools, Path(folder))
            else:
                row.refused += 1
                tape.skip(1)
    return row


def compare_unit(path: Path, unit: Unit, row: Row, tools: argparse.Namespace, folder: Path) -> None:
    """One bundle: its list, its images, their headers."""
    row.units += 1
    cut = folder / "bundle"
    with path.open("rb") as file:
        file.seek(unit.offset)
        cut.write_bytes(as_version_2(file.read(unit.size)))
    listed = run(tools.bundler, "-list", "-type=o", f"-input={cut}").split()
    theirs = Counter(name for name in listed if "amdgcn" in name)
    ours = {code: next((name for name in theirs if name.endswith("-" + target(code))), "") for code in unit.codes}
    where = f"{row.name} at {unit.offset}"
    if Counter(ours.values()) != theirs:
        row.differences.append(f"{where}: {Counter(map(target, unit.codes))} but {theirs}")
        return
    row.images += len(ours)
    files = {target(code): folder / f"{number}.o" for number, code in enumerate(ours)}
    outputs = [f"-output={file}" for file in files.values()]
    targets = f"-targets={','.join(ours.values())}"
    run(tools.bundler, "-unbundle", "-allow-missing-bundles", "-type=o", targets, f"-input={cut}", *outputs)
    for code in ours:
        if not files[target(code)].stat().st_size:
            row.newer += 1
            del files[target(code)]
            continue
        if (size := files[target(code)].stat().st_size) != code.bytes:
            row.differences.append(f"{where}: {target(code)} has {code.bytes} bytes but {size}")
        header = read_header(files[target(code)])
        if not header or target(header) != target(code) or (code.isa and code.isa != header.isa):
            row.differences.append(f"{where}: {code} holds {header}")
    compare_headers(files, row, tools)


def as_version_2(data: bytes) -> bytes:
    """CCOB version 3 with the sizes as 32 bits; anything else as it is."""
    if data[:6] != CCOB_MAGIC + b"\x03\x00":
        return data
    total, whole = struct.unpack_from("<QQ", data, 8)
    return CCOB_MAGIC + b"\x02\x00" + data[6:8] + struct.pack("<II", total - 8, whole) + data[24:]


def compare_headers(files: dict[str, Path], row: Row, tools: argparse.Namespace) -> None:
    """llvm-readelf's words for e_flags and the ABI version against ours."""
    said = run(tools.readelf, "-h", *map(str, files.values())).split("ELF Header:")[1:]
    for (name, path), text in zip(files.items(), said, strict=True):
        flags = re.search(r"Flags: +0x([0-9A-F]+)(.*)", text)
        version = re.search(r"ABI Version: +([0-9]+)", text)
        ours = read_header(path)
        row.headers += 1
        if not flags or not version or not ours:
            row.differences.append(f"{row.name}: {name} is {ours}, llvm-readelf says {text.strip()!r}")
            continue
        words = [word for word in flags[2].replace(",", " ").split() if not word.startswith("generic_v")]
        known = [word for word in words if word.startswith("gfx")]
        arch = known[0] if known else AMD_PROCESSORS[int(flags[1], 16) & 0xFF]
        features = tuple(sorted(word for word in words if word[-1] in "+-"))
        theirs = (arch, features, str(int(version[1]) + 2))
        if theirs != (ours.arch, ours.features, ours.isa):
            row.differences.append(f"{row.name}: {name} is {ours}, llvm-readelf says {theirs}")


def read_header(path: Path) -> Code | None:
    """Our reading of an ELF file's first bytes."""
    with path.open("rb") as file:
        return code_object(file.read(64))


def target(code: Code) -> str:
    """`gfx90a:xnack+`."""
    return ":".join((code.arch, *code.features))


def run(*command: str) -> str:
    """What a tool prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def members(path: Path) -> Iterator[tuple[Path, str]]:
    """The files to compare: a wheel's members that may hold device code, or the file itself."""
    if path.suffix != ".whl":
        yield path, path.name
        return
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        for info in wheel.infolist():
            if re.search(r"\.so(\.[0-9.]+)?$|\.(co|hsaco)$", info.filename):
                file = Path(wheel.extract(info, folder))
                yield file, f"{path.name.split('-')[0]}/{file.name}"
                file.unlink()


def main() -> int:
    """Compare all arguments, print the table and the differences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--bundler", default="clang-offload-bundler-19")
    parser.add_argument("--readelf", default="llvm-readelf-19")
    tools = parser.parse_args()
    rows = [compare_file(file, name, tools) for path in tools.files for file, name in members(path)]
    print(
        f"{'file':<56} {'MB':>6} {'units':>5} {'none':>4} {'images':>6} {'newer':>5} {'headers':>7} {'differences':>11}"
    )
    for row in rows:
        counts = f"{row.units:>5} {row.refused:>4} {row.images:>6} {row.newer:>5} {row.headers:>7}"
        print(f"{row.name[-56:]:<56} {row.size / 1e6:>6.1f} {counts} {len(row.differences):>11}")
    total = sum(len(row.differences) for row in rows)
    sums = [sum(getattr(row, name) for row in rows) for name in ("units", "refused", "images", "newer", "headers")]
    print(f"{f'{len(rows)} files':<63} {sums[0]:>5} {sums[1]:>4} {sums[2]:>6} {sums[3]:>5} {sums[4]:>7} {total:>11}")
    for difference in (text for row in rows for text in row.differences[:5]):
        print(difference)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
