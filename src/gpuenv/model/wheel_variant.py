"""What a wheel variant says it is, as pins and locks have it. A lock is read without what reads variants files."""

from typing import NamedTuple

__all__ = ["WheelVariant"]


class WheelVariant(NamedTuple):
    """label: as in the wheel's file name. properties: what it stands for, `namespace :: feature :: value`, sorted."""

    label: str
    properties: tuple[str, ...]
