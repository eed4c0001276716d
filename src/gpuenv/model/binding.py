"""Where a finished view leads a need elsewhere than the lock, as values."""

from typing import Literal, NamedTuple

__all__ = ["Binding", "Finding", "Kind"]

Kind = Literal["unresolved", "shadowed", "escaping", "doubled"]


class Finding(NamedTuple):
    """One need of one binary that ld.so meets otherwise than it should, or one library that is open twice.

    kind: `unresolved`: by nothing; `shadowed`: by another package's file; `escaping`: by a file outside the view;
    `doubled`: the binary has a SONAME that another open file has. package: whose binary it is. path: in its wheel.
    found: the file that is taken, from the view or absolute. by: the package that it is of, None for none. wanted: the
    packages that should meet it, sorted. locked: the lock says so, or paths of the binary that lead to a package that
    is required; or nothing at all is there.
    """

    kind: Kind
    package: str
    path: str
    soname: str
    found: str | None = None
    by: str | None = None
    wanted: tuple[str, ...] = ()
    locked: bool = False

    @property
    def words(self) -> str:
        """In one line, without the package: `libb.so.1 is not found, which b brings (a/core.so)`."""
        return f"{self.soname} {self.detail} ({self.path})"

    @property
    def detail(self) -> str:
        """What is wrong with the soname: `is lib/libb.so.1 of c instead of b's`."""
        names = " or ".join(self.wanted)
        found = f"{self.found} of {self.by}" if self.by else str(self.found)
        said = {
            "unresolved": f"is not found, which {names} brings",
            "shadowed": f"is {found} instead of {names}'s",
            "escaping": f"is {self.found} instead of {names}'s, outside the environment",
            "doubled": f"is open twice: {found} was there before",
        }
        return said[self.kind]


class Binding(NamedTuple):
    """What came of a check. needs: how many were looked at; packages: of how many."""

    needs: int = 0
    packages: int = 0
    findings: tuple[Finding, ...] = ()
