"""Files for people: in their places only when all of a set are written."""

from pathlib import Path
from typing import IO

import pytest

from gpuenv.errors import Occupied
from gpuenv.workflow.outputs import write_outputs


def fill(file: IO[bytes]) -> int:
    return file.write(b"new")


def broken(file: IO[bytes]) -> int:
    file.write(b"half")
    raise OSError


def test_all_are_made_or_none(tmp_path: Path) -> None:
    """A set whose last file fails changes nothing, neither what is there nor what is not."""
    old = tmp_path / "old"
    old.write_bytes(b"old")
    with pytest.raises(OSError):
        write_outputs([(old, fill), (tmp_path / "one", fill), (tmp_path / "two", broken)], force=True)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"old": b"old"}
    same = [(old, fill), (tmp_path / "one", fill)]
    assert write_outputs(same, force=True) == [("replaced", 3), ("made", 3)]
    assert write_outputs(same) == [("unchanged", 3), ("unchanged", 3)]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["old", "one"]


def test_no_file_is_renamed_before_the_last_is_compared(tmp_path: Path) -> None:
    """Another file in the way of the last, or a folder whatever is forced, keeps the first from being made."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "folder").mkdir()
    for name, force in (("other", False), ("folder", False), ("folder", True)):
        with pytest.raises(Occupied, match=name):
            write_outputs([(tmp_path / "one", fill), (tmp_path / name, fill)], force=force)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "other"]
