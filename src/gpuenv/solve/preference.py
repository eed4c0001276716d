"""All taste in one place: which node to decide next. (Which candidate first is `Offers.choices`: kept, then newest.)"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpuenv.solve.nodes import Key, Kind, Need

__all__ = ["Order"]


class Order:
    """Decide first what leaves no choice, then what made trouble before, then what was asked for first.

    In the order of discovery what the project names comes before what its dependencies need, so that the project's
    own requirements get the newest versions.
    """

    def __init__(self) -> None:
        self._discovered: dict[Key, int] = {}
        self._trouble: Counter[str] = Counter()
        self._causes: Sequence[Any] = ()

    def seen(self, needs: Iterable[Need]) -> None:
        """Remember when each node was first asked for."""
        for need in needs:
            self._discovered.setdefault(need.key, len(self._discovered))

    def next(self, keys: Iterable[Key], information: Mapping[Key, Iterator[Any]], causes: Sequence[Any]) -> Key:
        """The node to decide next."""
        if causes is not self._causes:
            self._causes = causes
            self._trouble.update({cause.requirement.key.name for cause in causes})
            self._trouble.update({cause.parent.key.name for cause in causes if cause.parent is not None})
        return min(keys, key=lambda key: self._rank(key, information))

    def _rank(self, key: Key, information: Mapping[Key, Iterator[Any]]) -> tuple[int, int, int, Key]:
        freedom = _LATE.get(key.kind)
        if freedom is None:
            freedom = min((_freedom(info.requirement) for info in information[key]), default=_ORPHAN)
        return (freedom, -self._trouble[key.name], self._discovered.get(key, 0), key)


_ORPHAN = 9
# What the target brings is decided first; who brings a soname when it is known what is there in any case.
_LATE = {Kind.HOST: 0, Kind.MAJOR: 10, Kind.SONAME: 11}


def _freedom(need: Need) -> int:
    if need.exact is not None or need.url is not None:
        return 1
    return 2 if need.specifier.startswith("==") and "*" not in need.specifier else 3
