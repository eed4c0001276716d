"""What binaries ask of the machine, and how that was learnt."""

from typing import Literal, NamedTuple

__all__ = ["HostDemand", "Learnt"]

# Where facts of a wheel came from: itself or its index, or a table that somebody published.
Learnt = Literal["read", "published"]


class HostDemand(NamedTuple):
    """A library that the machine must have. by: the first binary that needs it. versions: its symbol versions."""

    soname: str
    by: str
    versions: tuple[str, ...] = ()
