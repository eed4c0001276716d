"""Which indexes a package may come from: the first that knows it, and no other (dependency confusion)."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from gpuenv.model.manifest import Index, Manifest, Source

__all__ = ["Routes"]


class Routes:
    """The manifest's indexes and sources, asked by package and target."""

    def __init__(self, manifest: Manifest, default: Index) -> None:
        self._sources = manifest.sources
        declared = manifest.indexes
        self._indexes = (
            *(index for index in declared if not index.default),
            *(tuple(index for index in declared if index.default) or (default,)),
        )
        self.by_name = {index.name: index for index in self._indexes}

    def of(self, package: str, target: str) -> tuple[Index, ...]:
        """The indexes to ask for a package, in order; the first that knows it is the only one that counts."""
        for source in self._sources_of(package, target):
            if source.index is not None:
                return (self.by_name[source.index],)
        here = [index for index in self._indexes if not index.targets or target in index.targets]
        claimed = [i for i in here if not i.explicit and any(fnmatchcase(package, p) for p in i.packages)]
        return tuple(claimed or [index for index in here if not index.explicit and not index.packages])

    def urls(self, target: str) -> dict[str, str]:
        """Packages that come from a URL on this target."""
        names = dict.fromkeys(source.package for source in self._sources)
        found = {name: next(self._sources_of(name, target), None) for name in names}
        return {name: source.url for name, source in found.items() if source is not None and source.url is not None}

    def _sources_of(self, package: str, target: str) -> Iterator[Source]:
        """Sources that apply, those for the target alone first."""
        mine = [source for source in self._sources if source.package == package]
        yield from (source for source in mine if source.target == target)
        yield from (source for source in mine if source.target is None)
