"""What a long step says while it works; drawn by `report`, silent by default."""

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Steps begin, advance and end; a step is known by its label."""

    def begin(self, label: str, total: int | None = None) -> None:
        """A step starts; total in bytes or items, None while unknown."""

    def advance(self, label: str, amount: int = 1) -> None:
        """Some of it is done."""

    def end(self, label: str) -> None:
        """It is finished, or given up."""


class Silent:
    """Says nothing."""

    def begin(self, label: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, label: str, amount: int = 1) -> None:
        """Nothing."""

    def end(self, label: str) -> None:
        """Nothing."""
