"""Staging directories vanish when done, and leftovers of killed processes are swept, nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

from gpuenv.archive.staging import remove_tree, staging, sweep


def test_nothing_stays(tmp_path: Path) -> None:
    """A staging directory with read-only directories in it is gone at the end, with its lock."""
    with staging(tmp_path / "tmp") as directory:
        (directory / "closed").mkdir()
        (directory / "closed" / "file").touch()
        (directory / "closed").chmod(0o555)
        assert sweep(tmp_path / "tmp") == ()
        assert (directory / "closed" / "file").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    """What a killed process leaves is removed by the next sweep; what a living one holds is not."""
    code = (
        "import sys, time; from pathlib import Path; from gpuenv.archive.staging import staging\n"
        "with staging(Path(sys.argv[1])) as d:\n"
        "    (d / 'file').touch(); print(d, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        assert sweep(tmp_path) == ()
        process.kill()
    with staging(tmp_path) as mine:
        assert sweep(tmp_path) == (left.name,)
        assert not left.exists()
        assert mine.exists()


def test_leftovers_without_lock_go_after_a_day(tmp_path: Path) -> None:
    """Where no lock tells, age does."""
    (tmp_path / "old").mkdir()
    assert sweep(tmp_path) == ()
    assert sweep(tmp_path, now=time.time() + 90_000) == ("old",)
    assert list(tmp_path.iterdir()) == []


def test_remove_tree_does_not_follow_links(tmp_path: Path) -> None:
    """A link to a directory is removed, the directory stays."""
    (tmp_path / "kept").mkdir()
    os.symlink(tmp_path / "kept", tmp_path / "link")  # noqa: PTH211
    remove_tree(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "link").is_symlink()
