"""Is a binary that a tool rewrote still the same, but for its search path? And may a tool rewrite it at all?

What a loader relies on is compared: tables of names and versions, segments with their alignment, the stack's
permissions; and code and data, byte by byte.
"""

from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gpuenv.binaries.elf import Elf, read_elf
from gpuenv.binaries.elfheader import PT_GNU_STACK, PT_LOAD, ElfFile, Section, Segment
from gpuenv.errors import BinaryError

__all__ = ["Rewritable", "change", "look"]

_SAME = (
    "bits", "endian", "machine", "type", "osabi", "abi_version", "flags", "soname", "needed", "versions_needed",
    "versions_defined", "interpreter", "executable_stack", "cpu", "init_symbols",
)  # fmt: skip
# Where a library's device code was split off for AMD's GPUs, sections have no bytes that ordinary ones have.
_SPLIT = (".rocm_kpack_ref", ".hipFatBinSegment", ".hip_fatbin")
_CHUNK = 1 << 20
_PT_GNU_RELRO, _PT_TLS = 0x6474E552, 7
_KEPT = {PT_GNU_STACK: "GNU_STACK", _PT_GNU_RELRO: "GNU_RELRO", _PT_TLS: "TLS"}


class Rewritable(NamedTuple):
    """A binary as it is. segments: its program headers."""

    elf: Elf
    segments: tuple[Segment, ...]

    @property
    def has_rpath(self) -> bool:
        """Is its search path a DT_RPATH? A loader ignores that beside a DT_RUNPATH."""
        return bool(self.elf.rpath) and not self.elf.runpath

    @property
    def search_path(self) -> tuple[str, ...]:
        """The entries that count."""
        return self.elf.runpath or self.elf.rpath

    @property
    def is_split(self) -> bool:
        """Has it code for AMD's GPUs, or had it some that lies elsewhere now?"""
        return any(section.name in _SPLIT for section in self.elf.sections)


def look(path: Path) -> Rewritable:
    """Read a binary; raises BinaryError where it is none, or is damaged."""
    with path.open("rb") as stream:

        def read(offset: int, size: int) -> bytes:
            stream.seek(offset)
            return stream.read(size)

        size = stream.seek(0, 2)
        return Rewritable(read_elf(read, size), tuple(ElfFile(read, size).segments))


def change(source: Path, target: Path, entries: tuple[str, ...], *, instead: bool = False) -> str | None:
    """What else is other than in `source`, in words, in a copy that was given more entries; None: nothing.

    instead: the entries are all that it was given. Raises BinaryError where `source` is no binary.
    """
    before = look(source)
    try:
        after = look(target)
    except BinaryError as error:
        return f"it is damaged: {error.message}"
    for name in _SAME:
        if getattr(before.elf, name) != getattr(after.elf, name):
            return f"its {name.replace('_', ' ')} changed"
    expected = entries if instead else (*before.search_path, *entries)
    if after.search_path != expected or after.has_rpath != before.has_rpath:
        return f"its search path became {':'.join(after.search_path)}"
    return _segments(before.segments, after.segments) or _sections(source, before.elf, target, after.elf)


def _segments(before: tuple[Segment, ...], after: tuple[Segment, ...]) -> str | None:
    for number, name in _KEPT.items():
        kept, made = ([(one.flags, one.alignment) for one in found if one.type == number] for found in (before, after))
        if kept != made:
            return f"its {name} segment changed"
    had, has = (Counter(one.alignment for one in found if one.type == PT_LOAD) for found in (before, after))
    if had - has:
        return "the alignment of a segment changed"
    for one in after:
        if one.type == PT_LOAD and one.alignment > 1 and (one.address - one.offset) % one.alignment:
            return f"the segment at {one.address:#x} is not aligned"
    return None


def _sections(source: Path, before: Elf, target: Path, after: Elf) -> str | None:
    """Compare code and data, section by section."""
    had, has = ([one for one in elf.sections if one.type == "PROGBITS"] for elf in (before, after))
    if [one.name for one in had] != [one.name for one in has]:
        had, has = (sorted(found, key=lambda one: one.name) for found in (had, has))
    with source.open("rb") as one, target.open("rb") as other:
        for old, new in zip_longest(had, has):
            if old is None or new is None or (old.name, old.size) != (new.name, new.size):
                return f"its section {(old or new).name} changed"
            if not _equal(one, old, other, new):
                return f"what is in its section {old.name} changed"
    return None


def _equal(one: BinaryIO, old: Section, other: BinaryIO, new: Section) -> bool:
    for at in range(0, old.size, _CHUNK):
        one.seek(old.offset + at)
        other.seek(new.offset + at)
        size = min(_CHUNK, old.size - at)
        if one.read(size) != other.read(size):
            return False
    return True
