"""Reading pages: fenced blocks with the comment that marks them, and the steps of a `console` block.

Comments right before a block: `<!-- file: PATH -->` writes the block to a file, `<!-- append: PATH -->` adds it to one,
`<!-- live -->` needs the real network, `<!-- test command -->` is what `.ci/run` runs. A comment of its own,
`<!-- new machine -->`, starts a machine with an empty store that has the project's committed files.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "Step", "agree", "blocks", "documents", "steps"]

ROOT = Path(__file__).resolve().parents[2]
_PART = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$|^<!-- (?P<alone>new machine) -->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block. mark: the words of the comment before it. line: where it begins."""

    language: str
    text: str
    mark: str
    line: int


@dataclass(frozen=True)
class Step:
    """A command and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def documents() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """Every fenced block; a `new machine` comment is a block without language."""
    return [
        Block(
            found["language"] or "",
            found["text"] or "",
            found["mark"] or found["alone"] or "",
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _PART.finditer(text)
    ]


def steps(block: Block) -> Iterator[Step]:
    """The commands of a `console` block: lines that begin with `$ `, continued where they end in a backslash."""
    lines = block.text.splitlines()
    if not lines or not lines[0].startswith("$ "):
        raise ValueError(f"line {block.line}: a console block begins with `$ `")
    while lines:
        command = lines.pop(0)[2:]
        while command.endswith("\\"):
            command = f"{command[:-1]}{lines.pop(0).strip()}"
        shown = []
        while lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        yield Step(command, tuple(shown))


def agree(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Is this what was printed? A line `...` stands for any lines, `…` within a line for any text."""
    patterns = [
        r"(?:.*\n)*?" if line == "..." else ".*".join(re.escape(part) for part in line.rstrip().split("…")) + r"\n"
        for line in shown
    ]
    return re.fullmatch("".join(patterns), "".join(f"{line.rstrip()}\n" for line in printed)) is not None
