"""Installed trees that a test makes: files by path, links among them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["make_tree"]


def make_tree(
    folder: Path,
    files: Mapping[str, bytes | str],
    links: Mapping[str, str] | None = None,
    *,
    executable: Iterable[str] = (),
) -> Path:
    """Write files and links below a folder; returns the folder. links: what each says, by path."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(0o755 if path in executable else 0o644)
    for path, target in (links or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    return folder
