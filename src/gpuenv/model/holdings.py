"""What a store holds, what is damaged in it, and what became of that: as values."""

from typing import NamedTuple

__all__ = ["Below", "Checked", "Damage", "Held", "Inventory", "Outcome", "Repair", "Tenant", "Verified"]


class Damage(NamedTuple):
    """One thing that is not as it has to be.

    object: the key, None for what belongs to none. path: relative to the object ("" for all of it), else to the store.
    kind: `content`, `size`, `missing`, `added`, `renamed`, `mode`, `type`, `bytecode`, `facts`, `listing`, `name`,
    `gone`, `base` (a base store lost it) or `link`. mode: with `mode`, the permissions that it has to have.
    """

    object: str | None
    path: str
    problem: str
    kind: str
    mode: int = 0


class Checked(NamedTuple):
    """What a look at one object came to. bytes: read; dropped, left: files of bytecode."""

    key: str
    damaged: tuple[Damage, ...]
    files: int = 0
    bytes: int = 0
    dropped: int = 0
    left: int = 0

    @property
    def whole(self) -> bool:
        """Nothing is wrong that a sync could hand out: bytecode that was dropped is gone."""
        return all(one.kind == "bytecode" for one in self.damaged)


class Held(NamedTuple):
    """An object of the store. size: bytes of its files, of a derived one of those that it has alone.

    projects: whose generations need it. views: how many do.
    """

    key: str
    name: str
    version: str
    size: int
    projects: tuple[str, ...]
    views: int
    damaged: bool


class Tenant(NamedTuple):
    """A project as the store knows it. own: bytes that only its generations need; shared: with other projects."""

    project: str
    generations: int
    views: int
    objects: int
    own: int
    shared: int


class Below(NamedTuple):
    """What views take from a base store. size: bytes of the objects' files. gone: objects that it lost by now."""

    path: str
    objects: int
    size: int
    gone: tuple[str, ...]


class Inventory(NamedTuple):
    """What a store holds, objects by name, projects by path; views: how many there are; bases: by path."""

    objects: tuple[Held, ...]
    projects: tuple[Tenant, ...]
    views: int
    bases: tuple[Below, ...] = ()

    @property
    def unused(self) -> tuple[Held, ...]:
        """The objects that no generation needs."""
        return tuple(one for one in self.objects if not one.projects)


class Verified(NamedTuple):
    """What a look at the store came to. views: how many were looked through. writable: marks and drops are possible."""

    objects: tuple[Checked, ...]
    elsewhere: tuple[Damage, ...]
    views: int
    writable: bool

    @property
    def damaged(self) -> tuple[Damage, ...]:
        """All that is wrong, by object and path."""
        found = [damage for checked in self.objects for damage in checked.damaged]
        return (*sorted(found, key=lambda one: (one.object or "", one.path)), *self.elsewhere)


class Outcome(NamedTuple):
    """What became of one damaged object, or of one link. problem: None where it is whole. fetched, derived: anew."""

    what: str
    problem: str | None = None
    fetched: bool = False
    derived: bool = False


class Repair(NamedTuple):
    """What was found, and what became of it."""

    found: Verified
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """What could not be healed."""
        return tuple(one for one in self.outcomes if one.problem is not None)
