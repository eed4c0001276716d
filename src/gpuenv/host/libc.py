"""The C library of this machine: glibc says its version itself, musl's stands in its loader."""

import os
import re
from pathlib import Path

__all__ = ["glibc", "musl", "musl_loader"]


def glibc() -> str | None:
    """The version of the running C library, None if it is not glibc."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None
    found = re.match(r"glibc (\d+\.\d+)", text or "")
    return found[1] if found else None


def musl_loader(architecture: str) -> str:
    """Where musl's loader lies, below a root."""
    return f"lib/ld-musl-{architecture}.so.1"


def musl(root: Path, architecture: str) -> str | None:
    """The version of musl: its loader holds the text that it would print (`musl libc … Version 1.2.5`)."""
    try:
        found = re.search(rb"\0(1\.\d{1,2})\.\d{1,2}(?:-git[^\0]*)?\0", (root / musl_loader(architecture)).read_bytes())
    except OSError:
        return None
    return found[1].decode() if found else None
