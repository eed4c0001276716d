"""The little that the store asks of ELF files: which of their search paths are relative to the file itself."""

import struct
from pathlib import Path

__all__ = ["origin_paths"]

_RELATIVE = ("$ORIGIN", "${ORIGIN}")
# what pyelftools raises on garbage, besides its own errors
_DAMAGED = (struct.error, ValueError, LookupError, AttributeError, TypeError, OverflowError, AssertionError, OSError)


def origin_paths(file: Path) -> tuple[str, ...]:
    """The `$ORIGIN` entries of DT_RPATH and DT_RUNPATH (System V gABI; ld.so(8)), in order.

    Empty for whatever is no ELF file, has no dynamic section, or is damaged.
    """
    with file.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return ()
        stream.seek(0)
        from elftools.common.exceptions import ELFError
        from elftools.construct import ConstructError
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.elffile import ELFFile

        try:
            for segment in ELFFile(stream).iter_segments("PT_DYNAMIC"):
                assert isinstance(segment, DynamicSegment)  # noqa: S101
                texts = [
                    getattr(tag, tag.entry.d_tag.removeprefix("DT_").lower())
                    for tag in segment.iter_tags()
                    if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")
                ]
                paths = dict.fromkeys(path for text in texts for path in str(text).split(":"))
                return tuple(path for path in paths if path.startswith(_RELATIVE))
        except (ELFError, ConstructError, *_DAMAGED):
            return ()
    return ()
