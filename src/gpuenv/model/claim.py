"""What a wheel variant says it is, as a lock has it."""

from typing import NamedTuple

__all__ = ["WheelVariant"]


class WheelVariant(NamedTuple):
    """label: as in the wheel's file name. properties: what it stands for, `namespace :: feature :: value`, sorted."""

    label: str
    properties: tuple[str, ...]
