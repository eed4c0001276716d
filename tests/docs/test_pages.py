"""Every console block of README.md and docs/ runs here, page by page, and prints what the page shows."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.machine import PYTHON, machine
from tests.docs.pages import ROOT, Block, agree, blocks, documents, steps

LANGUAGES = {"console", "text", "toml", "json", "python", "yaml", "dockerfile"}
MARKS = ("file: ", "append: ", "live", "test command", "new machine")
LIVE_SECONDS = 300.0


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def runs(block: Block) -> bool:
    return block.language == "console" and block.mark not in ("live", "test command")


@pytest.mark.parametrize("page", [p for p in documents() if any(map(runs, blocks(p.read_text("utf-8"))))], ids=name_of)
def test_page_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    """The commands of a page, one after the other on one machine, succeed or fail as shown and print what is shown."""
    with machine(tmp_path) as here:
        for block in blocks(page.read_text("utf-8").replace("3.12", PYTHON)):
            kind, _, path = block.mark.partition(": ")
            if kind in ("file", "append"):
                here.put(path, block.text, append=kind == "append")
            elif kind == "new machine":
                here.new()
            for step in steps(block) if runs(block) else ():
                code, printed = here.run(step.command)
                told = f"{name_of(page)}:{block.line}: $ {step.command}\n" + "\n".join(printed)
                assert (code != 0) == any(line.startswith("error:") for line in step.shown), (
                    f"{told}\n(exit code {code})"
                )
                assert not step.shown or agree(step.shown, printed), told


@pytest.mark.parametrize("page", documents(), ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    """Every block names a language that is known here, and every comment before one a mark that means something."""
    found = [block for block in blocks(page.read_text("utf-8")) if not block.mark.startswith("new machine")]
    assert {block.language for block in found} <= LANGUAGES
    assert [block for block in found if block.mark and not block.mark.startswith(MARKS)] == []


def test_the_readme_has_both_commands() -> None:
    """README.md gives one line that shows what gpuenv does and one line that tests it, each marked."""
    found = blocks((ROOT / "README.md").read_text("utf-8"))
    commands = {block.mark: [step.command for step in steps(block)] for block in found if block.language == "console"}
    assert len(commands["live"]) == len(commands["test command"]) == 1
    assert all(" && " in command and ".dev/bin/" in command for (command,) in commands.values())


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a", "b"), ["a", "b "], True),
        (("a",), ["a", "b"], False),
        (("a", "..."), ["a"], True),
        (("...", "c"), ["a", "b", "c"], True),
        (("...", "c"), ["a", "c", "b"], False),
        (("fits … of 3",), ["fits 2 of 3"], True),
        (("a.b",), ["axb"], False),
    ],
)
def test_differences_are_seen(shown: tuple[str, ...], printed: list[str], same: bool) -> None:
    """Output agrees with a page line by line; `...` and `…` stand for anything, nothing else does."""
    assert agree(shown, printed) is same


@pytest.mark.live
@pytest.mark.parametrize("page", documents(), ids=name_of)
def test_live_blocks(page: Path, tmp_path: Path) -> None:
    """Blocks that need the real network succeed in a fresh copy of the repository with a fresh home."""
    found = [block for block in blocks(page.read_text("utf-8")) if block.mark == "live"]
    if not found:
        pytest.skip("the page has no live block")
    left_out = shutil.ignore_patterns(".*", "__pycache__", "gpuenv.lock")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=left_out, symlinks=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GPUENV_", "XDG_"))}
    home = tmp_path / "home"
    home.mkdir()
    for block in found:
        for step in steps(block):
            done = subprocess.run(
                ["bash", "-c", step.command],
                cwd=tmp_path / "copy",
                env=environ | {"HOME": str(home)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIVE_SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
