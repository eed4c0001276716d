"""Compare gpuenv's ELF reader with binutils' readelf, over real files.

    python benchmarks/compare_readelf.py FILE.so WHEEL.whl FOLDER …

Every ELF file among them, in wheels and below folders, is read by both: class, byte order, machine, type, flags,
SONAME, NEEDED, RPATH, RUNPATH, interpreter, executable stack, level of x86-64, needed and defined symbol versions,
PyInit symbols, sections. One line an argument, one line more for each difference; exit code 1 if there is any.
`--time` also reads the same facts through pyelftools, if it is installed, and prints the seconds of each.
"""

import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpuenv.binaries.elf import MAGIC, Elf, read_elf
from gpuenv.errors import BinaryError

MACHINES = {
    "Advanced Micro Devices X86-64": "x86_64",
    "AArch64": "aarch64",
    "Intel 80386": "i386",
    "ARM": "arm",
    "PowerPC64": "ppc64",
    "IBM S/390": "s390x",
    "RISC-V": "riscv64",
    "MIPS R3000": "mips",
    "AMD GPU": "amdgpu",
    "NVIDIA CUDA architecture": "cuda",
    "LoongArch": "loongarch64",
}
TYPES = {"REL": "relocatable", "EXEC": "executable", "DYN": "shared", "CORE": "core", "NONE": "none"}
Facts = dict[str, Any]


def ours(path: Path) -> Facts:
    """What gpuenv says of a file, without what readelf does not print."""
    with path.open("rb") as stream:

        def read(offset: int, size: int) -> bytes:
            stream.seek(offset)
            return stream.read(size)

        elf = read_elf(read, path.stat().st_size)
    facts = {name: getattr(elf, name) for name in Elf.__slots__ if name != "machine_number"}
    facts["sections"] = [(one.name, one.type, one.offset, one.size) for one in elf.sections]
    return facts


def theirs(path: Path) -> Facts:
    """The same, out of what readelf prints."""
    command = ["readelf", "-hlSdVnW", "--dyn-syms", str(path)]
    done = subprocess.run(command, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True)
    text = done.stdout.decode("utf-8", "replace")

    def one(pattern: str) -> str | None:
        found = re.search(pattern, text, re.MULTILINE)
        return found[1] if found else None

    def parts(value: str | None) -> tuple[str, ...]:
        return tuple(value.split(":")) if value else ()

    kind = one(r"^  Type: +(.+)$") or ""
    pie = "Position-Independent Executable" in kind
    stack = one(r"^  GNU_STACK +(?:0x\w+ +){5}([R W E]{3})")
    endian = "little" if "little" in (one(r"^  Data: +(.+)$") or "") else "big"
    machine = MACHINES.get(one(r"^  Machine: +(.+)$") or "", "?")
    needed, defined = versions(text)
    levels = re.findall(r"x86-64-v[234]", one(r"x86 ISA needed: (.*)$") or "")
    return {
        "bits": int(one(r"^  Class: +ELF(\d+)") or 0),
        "endian": endian,
        "machine": machine + ("le" if machine == "ppc64" and endian == "little" else ""),
        "type": "executable" if pie else TYPES.get(kind.split(" ")[0], kind),
        "osabi": path.read_bytes()[7],  # readelf has words for it
        "abi_version": int(one(r"^  ABI Version: +(\d+)") or 0),
        "flags": int(one(r"^  Flags: +(0x\w+)") or "0", 16),
        "soname": one(r"\(SONAME\) +Library soname: \[(.*)\]$"),
        "needed": tuple(re.findall(r"\(NEEDED\) +Shared library: \[(.*)\]$", text, re.MULTILINE)),
        "rpath": parts(one(r"\(RPATH\) +Library rpath: \[(.*)\]$")),
        "runpath": parts(one(r"\(RUNPATH\) +Library runpath: \[(.*)\]$")),
        "versions_needed": needed,
        "versions_defined": defined,
        "interpreter": one(r"\[Requesting program interpreter: (.*)\]$"),
        "executable_stack": "E" in (stack or ""),
        "cpu": max(levels, default=None),
        "init_symbols": symbols(text),
        "sections": sections(text),
    }


def versions(text: str) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Needed and defined symbol versions."""
    needed: dict[str, set[str]] = {}
    library = ""
    for file, name in re.findall(
        r"^  \w+: (?:Version: \d+  File: (.*)  Cnt: \d+|  Name: (.*)  Flags: .*)$", text, re.MULTILINE
    ):
        library = file or library
        needed.setdefault(library, set()).update([name] if name else [])
    rows = re.findall(r"^  \w+: Rev: \d+  Flags: (.*?)  +Index: \d+  Cnt: \d+  Name: (.*)$", text, re.MULTILINE)
    defined = dict.fromkeys(name for flags, name in rows if "BASE" not in flags)
    return {one: tuple(sorted(needed[one])) for one in sorted(needed)}, tuple(defined)


def symbols(text: str) -> tuple[str, ...]:
    """Defined, exported symbols by which Python starts a module."""
    rows = re.findall(
        r"^ *\d+: \w+ +\w+ \w+ +(?:GLOBAL|WEAK|UNIQUE) +(?:DEFAULT|PROTECTED) +(?:\[.*?\] +)?(\w+) (PyInitU?_[^@\n]*)",
        text,
        re.MULTILINE,
    )
    return tuple(sorted({name for section, name in rows if section != "UND"}))


def sections(text: str) -> list[tuple[str, str, int, int]]:
    """Name, type, offset, and size in the file."""
    found = []
    for name, kind, offset, size in re.findall(
        r"^  \[ *\d+\] (.*?) +([A-Z0-9_+.x: a-f]+?) +[0-9a-f]{8,16} ([0-9a-f]{6,}) ([0-9a-f]{6,}) [0-9a-f]{2,} ",
        text,
        re.MULTILINE,
    ):
        if kind != "NULL":
            found.append((name, kind, int(offset, 16), 0 if kind == "NOBITS" else int(size, 16)))
    return found


def differences(path: Path) -> tuple[list[str], float]:
    """A line for each fact that differs, and the seconds that gpuenv took."""
    begin = time.perf_counter()
    try:
        mine = ours(path)
    except BinaryError as error:
        return [f"error: {error}"], 0.0
    spent = time.perf_counter() - begin
    reference = theirs(path)
    found = []
    for name, value in mine.items():
        other = reference[name]
        if name == "sections":
            # readelf has words for the types of processors and systems, which are numbers here
            value = [(a, "" if b.startswith("0x") else b, *rest) for a, b, *rest in value]
            other = [(a, "" if mine[1] == "" else b, *rest) for (a, b, *rest), mine in zip(other, value, strict=False)]
            other += reference[name][len(value) :]
        if value != other:
            if isinstance(value, list):
                value, other = ([one for one in a if one not in b][:3] for a, b in ((value, other), (other, value)))
            found.append(f"{name}: {str(value)[:300]} here, {str(other)[:300]} in readelf")
    return found, spent


def through_pyelftools(path: Path) -> float:
    """Seconds that pyelftools takes for the same facts."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
    from elftools.elf.sections import SymbolTableSection

    begin = time.perf_counter()
    with path.open("rb") as stream:
        file = ELFFile(stream)
        for segment in file.iter_segments("PT_DYNAMIC"):
            if isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    [getattr(tag, name, None) for name in ("soname", "needed", "rpath", "runpath")]
        for section in file.iter_sections():
            if isinstance(section, GNUVerDefSection | GNUVerNeedSection):
                [[one.name for one in group] for _, group in section.iter_versions()]
            if isinstance(section, SymbolTableSection) and section.name == ".dynsym":
                [symbol for symbol in section.iter_symbols() if symbol.name.startswith("PyInit")]
    return time.perf_counter() - begin


def members(argument: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every ELF file of an argument; those of wheels live until the next one is asked for."""
    if argument.suffix == ".whl":
        with zipfile.ZipFile(argument) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    if member.read(4) != MAGIC:
                        continue
                with archive.open(info) as member, (scratch / "member").open("wb") as target:
                    while piece := member.read(1 << 20):
                        target.write(piece)
                yield info.filename, scratch / "member"
        return
    files = sorted(argument.rglob("*")) if argument.is_dir() else [argument]
    for path in files:
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                if stream.read(4) == MAGIC:
                    yield str(path), path


def main(arguments: list[str]) -> int:
    """Compare; returns the exit code."""
    timed = "--time" in arguments
    total: Counter[str] = Counter()
    seconds = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        for argument in [Path(text) for text in arguments if text != "--time"]:
            files, lines = 0, []
            for name, path in members(argument, Path(folder)):
                files += 1
                found, spent = differences(path)
                lines += [f"    {name}: {text}" for text in found]
                seconds[0] += spent
                seconds[1] += through_pyelftools(path) if timed else 0
            print(f"{files:6} files  {len(lines):4} differences  {argument.name}")
            print("\n".join(lines) + "\n" if lines else "", end="", flush=True)
            total.update(files=files, differences=len(lines))
    print(f"{total['files']:6} files  {total['differences']:4} differences  in all; {seconds[0]:.2f} s here", end="")
    print(f", {seconds[1]:.2f} s in pyelftools" if timed else "")
    return 1 if total["differences"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
