"""Namespaces (unshare(1)): file systems of a test's own; an ordinary user without capabilities, for root as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["Disk", "as_user", "run_inside"]

ROOT = Path(__file__).resolve().parents[2]
_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")
_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def as_user(*command: object) -> list[str]:
    """The command line of a process that may do no more than an ordinary user who owns what root owns."""
    return [*(_USER if os.geteuid() == 0 else ()), *map(str, command)]


def run_inside(file: str, folder: Path) -> None:
    """Run the tests of a file in `tests/faults/inside` where they may mount; skip where that is forbidden."""
    probe = [*_MOUNTS, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        allowed = subprocess.run(probe, capture_output=True, timeout=60).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("namespaces are not allowed here")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(folder / "inside")]
    done = subprocess.run(
        [*_MOUNTS, sys.executable, "-m", "pytest", *options, f"tests/faults/inside/{file}"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " passed" in done.stdout


class Disk:
    """A small file system that can be filled up: a tmpfs."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=20000,mode=0755", "none", path], check=True)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "-l", self.path], check=True)

    def leave(self, *, blocks: int | None = None, inodes: int | None = None) -> None:
        """Leave so many 4 KiB blocks or inodes; None: enough."""
        now = os.statvfs(self.path)
        size = 64 << 20 if blocks is None else max(1, now.f_blocks - now.f_bfree + blocks) * now.f_frsize
        count = 20000 if inodes is None else now.f_files - now.f_ffree + inodes
        subprocess.run(["mount", "-o", f"remount,size={size},nr_inodes={count}", self.path], check=True)
