"""Is a binary that a tool rewrote still the same, but for its search path? And may a tool rewrite it at all?

What a loader relies on is compared: tables of names and versions, segments with their alignment, the stack's
permissions. Contents that the tool copies are compared by the sizes of their sections.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from gpuenv.binaries.elf import Elf, read_elf
from gpuenv.binaries.elfheader import PT_GNU_STACK, PT_LOAD, ElfFile, Segment
from gpuenv.errors import BinaryError

__all__ = ["Rewritable", "change", "look"]

_SAME = (
    "bits", "endian", "machine", "type", "osabi", "abi_version", "flags", "soname", "needed", "versions_needed",
    "versions_defined", "interpreter", "executable_stack", "cpu", "init_symbols",
)  # fmt: skip
# Where a library's device code was split off for AMD's GPUs, sections have no bytes that ordinary ones have.
_SPLIT = (".rocm_kpack_ref", ".hipFatBinSegment", ".hip_fatbin")
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


def change(before: Rewritable, path: Path, entries: tuple[str, ...]) -> str | None:
    """What else is other than it was in a binary that was given more entries, in words; None: nothing."""
    try:
        after = look(path)
    except BinaryError as error:
        return f"it is damaged: {error.message}"
    for name in _SAME:
        if getattr(before.elf, name) != getattr(after.elf, name):
            return f"its {name.replace('_', ' ')} changed"
    if after.search_path != (*before.search_path, *entries) or after.has_rpath != before.has_rpath:
        return f"its search path became {':'.join(after.search_path)}"
    return _segments(before.segments, after.segments) or _sections(before.elf, after.elf)


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


def _sections(before: Elf, after: Elf) -> str | None:
    had, has = (
        Counter((one.name, one.size) for one in elf.sections if one.type == "PROGBITS") for elf in (before, after)
    )
    lost = had - has
    return f"its section {min(lost)[0]} changed" if lost else None
