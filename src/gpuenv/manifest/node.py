"""A value of pyproject.toml together with its place, so that every complaint names key path and line."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from gpuenv.errors import ManifestError
from gpuenv.model.requirement import Requirement, parse_requirement
from gpuenv.model.target import Target
from gpuenv.model.url import redacted
from gpuenv.model.version import normal_name
from gpuenv.toml.locate import KeyPath, locate
from gpuenv.toml.write import key as toml_key

__all__ = ["Document", "Node", "nearest"]

_Decoded = TypeVar("_Decoded")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_SOME_TARGET = Target("some").marker_environment
_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a float",
    list: "an array",
    dict: "a table",
}


def nearest(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The hints for a word that is not known: the one that was probably meant, else all that would do."""
    choices = list(dict.fromkeys(known))
    close = get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    if close:
        return (f"did you mean `{close[0]}`?",)
    return ("known: " + ", ".join(f"`{choice}`" for choice in choices),) if choices else ()


@dataclass(frozen=True, slots=True)
class Document:
    """The text that is decoded, and what to call it in messages."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it stands. Readers return plain values and raise ManifestError for anything else."""

    document: Document
    path: KeyPath
    value: object

    def __str__(self) -> str:
        parts = [f"[{part}]" if isinstance(part, int) else f".{toml_key(part)}" for part in self.path]
        return "".join(parts).removeprefix(".")

    def error(self, problem: str, *, causes: Sequence[str] = (), hints: Sequence[str] = ()) -> ManifestError:
        """What is wrong with this value: its key path, the problem, and the line that says it."""
        found = locate(self.document.text, self.path)
        line = [f"{self.document.label}:{found[0]}: {found[1].strip()}"] if found else []
        return ManifestError(
            redacted(f"{self}: {problem}"),
            causes=[redacted(cause) for cause in (*line, *causes)],
            hints=[redacted(hint) for hint in hints],
        )

    def child(self, part: str | int, value: object) -> "Node":
        """A value inside this one."""
        return Node(self.document, (*self.path, part), value)

    def entries(self) -> dict[str, "Node"]:
        """The entries of a table whose keys are free."""
        if not isinstance(self.value, dict):
            raise self.wrong("a table")
        return {name: self.child(name, value) for name, value in self.value.items()}

    def fields(self, *known: str) -> dict[str, "Node"]:
        """The entries of a table that may have these keys and no others."""
        found = self.entries()
        for name, node in found.items():
            if name not in known:
                raise node.error("unknown key", hints=nearest(name, known))
        return found

    def named(self, what: str) -> Iterator[tuple[str, "Node"]]:
        """The entries of a table whose keys are names (PEP 503, 685, 735): normalised, each once."""
        seen: dict[str, str] = {}
        for written, node in self.entries().items():
            name = node.name(written, what)
            if name in seen:
                raise node.error(f"is the same {what} as `{seen[name]}`")
            seen[name] = written
            yield name, node

    def items(self) -> list["Node"]:
        """The items of an array."""
        if not isinstance(self.value, list):
            hint = [f'write `["{self.value}"]`'] if isinstance(self.value, str) and len(self.value) < 60 else []
            raise self.wrong("an array", hints=hint)
        return [self.child(position, item) for position, item in enumerate(self.value)]

    def text(self) -> str:
        """A string that says something, without spaces around it."""
        if not isinstance(self.value, str):
            number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
            raise self.wrong("a string", hints=["put the value in quotes"] if number else [])
        if not self.value.strip():
            raise self.error("is empty")
        return self.value.strip()

    def flag(self) -> bool:
        """A boolean."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """An array of strings."""
        return tuple(item.text() for item in self.items())

    def matching(self, pattern: "re.Pattern[str]", what: str, example: str) -> str:
        """A string that the whole pattern matches."""
        text = self.text()
        if not pattern.fullmatch(text):
            raise self.error(f"`{text}` is not {what}", hints=[f"for example `{example}`"])
        return text

    def one_of(self, known: Iterable[str], what: str) -> str:
        """A string that is one of a few."""
        text, choices = self.text(), tuple(known)
        if text not in choices:
            raise self.error(f"unknown {what} `{text}`", hints=nearest(text, choices))
        return text

    def name(self, text: str, what: str) -> str:
        """A name as packaging standards allow it, normalised."""
        if not _NAME.match(text):
            raise self.error(
                f"`{text}` is not a valid {what}", hints=["letters and digits, with `.`, `_` and `-` between"]
            )
        return normal_name(text)

    def requirement(self) -> Requirement:
        """A PEP 508 requirement; one with a marker that means nothing on any target is none."""
        text = self.text()
        try:
            found = parse_requirement(text)
            found.applies(_SOME_TARGET)
        except ValueError as error:  # what packaging raises, for markers that do not compare too
            reason = str(error).partition("\n")[0].strip()
            raise self.error(f"`{text}` is not a requirement (PEP 508)", causes=[reason]) from None
        return found

    def requirements(self) -> tuple[Requirement, ...]:
        """An array of PEP 508 requirements."""
        return tuple(item.requirement() for item in self.items())

    def decoded(self, read: Callable[[str], _Decoded], wrong: type[Exception], what: str) -> _Decoded:
        """A string as another library reads it."""
        text = self.text()
        try:
            return read(text)
        except wrong:
            raise self.error(f"`{text}` is not {what}") from None

    def wrong(self, wanted: str, *, hints: Sequence[str] = ()) -> ManifestError:
        """A value of another type than wanted."""
        kind = _KINDS.get(type(self.value), "a date or time")
        return self.error(f"must be {wanted}, not {kind}", hints=hints)
