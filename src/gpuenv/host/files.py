"""Small files below a root, as the kernel writes them: read, or taken as absent; never an error, never much."""

from pathlib import Path

__all__ = ["names", "numbered", "text"]

_MOST = 64 * 1024  # bytes; nothing of what is read here is longer
_ENTRIES = 4096


def text(path: Path, most: int = _MOST) -> str:
    """What a file holds, at most `most` bytes; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def names(folder: Path) -> list[str]:
    """What a folder holds, sorted; nothing if it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())[:_ENTRIES]
    except OSError:
        return []


def numbered(folder: Path) -> list[str]:
    """The names that are numbers, in the order of numbers."""
    return sorted((name for name in names(folder) if name.isascii() and name.isdecimal()), key=lambda n: (len(n), n))
