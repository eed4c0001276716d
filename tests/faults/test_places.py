"""Full disks and forbidden places, in namespaces of their own."""

from pathlib import Path

from tests.faults.places import run_inside


def test_full_disks(tmp_path: Path) -> None:
    """Store, cache or project on a disk without space or inodes."""
    run_inside("full.py", tmp_path)
