"""What a doctor finds: checks that are met or not, and binaries that cannot be opened."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["SECTIONS", "Check", "Diagnosis", "Section", "Unopened"]

Section = Literal["machine", "host", "store", "view", "binding"]
SECTIONS: tuple[Section, ...] = ("machine", "host", "store", "view", "binding")


class Check(NamedTuple):
    """One thing that has to be so. demanded_by: who asks for it. detail: what is there, or what is wrong."""

    section: Section
    what: str
    demanded_by: str
    met: bool
    detail: str


class Unopened(NamedTuple):
    """A binary that cannot be opened. path: in its wheel. problem: the loader's words."""

    package: str
    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was looked at for one target. environment: there is one, and its binaries were opened.

    opened: how many binaries could be. unjudged: those that lack symbols, not libraries: they are opened beside others
    that have them, or by a program that does, which no process that opens them alone can tell.
    """

    target: str
    checks: tuple[Check, ...]
    environment: bool
    opened: int = 0
    unopened: tuple[Unopened, ...] = ()
    unjudged: tuple[Unopened, ...] = ()

    @property
    def fits(self) -> bool:
        """Is the machine one for the target, with every library that binaries ask of it?"""
        return all(check.met for check in self.checks if check.section in ("machine", "host"))

    @property
    def well(self) -> bool:
        """Is everything as it has to be?"""
        return all(check.met for check in self.checks) and not self.unopened
