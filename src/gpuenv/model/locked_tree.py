"""Who needs whom in one target of a lock, downward from the project or upward from a package, for trees of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from gpuenv.model.lock import PROJECT, LockedArtifact, LockedPackage, LockedTarget, split_key

__all__ = ["Branch", "LockedTree", "Node", "tree_above", "tree_below", "within"]

Artifacts: TypeAlias = Mapping[str, LockedArtifact]  # by file name


class Branch(NamedTuple):
    """One edge. node: where it leads, a key of the tree's nodes; "" for the project.

    part: of the project that it begins or ends at: `project`, `extra:NAME`, `group:NAME`; "" for none. required: by
    metadata. sonames: what binaries need of the package; one of the two is there, unless somebody asked for the node.
    """

    node: str
    part: str = ""
    required: bool = False
    sonames: tuple[str, ...] = ()


class Node(NamedTuple):
    """A package with the extras that were taken together.

    variant: a label; "" for none. default_extras: the rule that chose each of the extras, if one did. instead_of: the
    names that it stands for. branches: ordered by name; None beyond the depth that was asked for.
    """

    name: str
    extras: tuple[str, ...]
    version: str
    variant: str
    default_extras: tuple[tuple[str, str], ...]
    instead_of: tuple[str, ...]
    branches: tuple[Branch, ...] | None

    @property
    def title(self) -> str:
        """The package as it is required: `name[extra,other]`."""
        return _title(self.name, self.extras)


class LockedTree(NamedTuple):
    """nodes: by title. absent: asked for, and not there. whole: its roots are the project's, not what was asked for."""

    roots: tuple[Branch, ...]
    nodes: Mapping[str, Node]
    absent: tuple[str, ...] = ()
    whole: bool = False


def tree_below(
    locked: LockedTarget, artifacts: Artifacts, parts: Iterable[str], asked: Iterable[str] = ()
) -> LockedTree:
    """What parts of the project need, or what packages need of what those parts need.

    asked: keys, `name` for all that is taken of a package or `name[extra]`; none: the tree begins at the project.
    """
    parts = sorted(parts, key=_project_first)
    keys = locked.keys(parts)
    asked = tuple(dict.fromkeys(asked))
    roots = [Branch(_whole(key, keys)) for key in asked if key in keys]
    if not asked:
        asking = {PROJECT: ()} | {part: locked.roots.get(part, ()) for part in parts}
        native = {PROJECT: locked.libraries}
        roots = [one for part, keys in asking.items() for one in _gathered(keys, native.get(part, {}), part)]
    tree = _grown(locked, artifacts, roots, _needs, tuple(key for key in asked if key not in keys))
    return tree._replace(whole=not asked)


def tree_above(locked: LockedTarget, artifacts: Artifacts, parts: Iterable[str], asked: Iterable[str]) -> LockedTree:
    """Who needs packages, up to those parts of the project. asked: as `tree_below` has it, at least one."""
    parts = sorted(parts, key=_project_first)
    keys = locked.keys(parts)
    asked = tuple(dict.fromkeys(asked))
    needed = _needed_by(locked, parts, keys)
    roots = [Branch(key) for key in asked if key in keys]
    absent = tuple(key for key in asked if key not in keys)
    return _grown(locked, artifacts, roots, lambda package, extras: needed[_title(package.name, extras)], absent)


def within(tree: LockedTree, depth: int) -> LockedTree:
    """The tree without what is deeper. depth: edges from the top, which is the project or what was asked for."""
    nodes: dict[str, Node] = {}
    level, row = int(tree.whole), [branch.node for branch in tree.roots]
    while row:
        new = [title for title in dict.fromkeys(row) if title and title not in nodes]
        row = []
        for title in new:
            node = tree.nodes[title]
            cut = level >= depth and bool(node.branches)
            nodes[title] = node._replace(branches=None) if cut else node
            row += [branch.node for branch in nodes[title].branches or ()]
        level += 1
    return tree._replace(nodes=nodes)


def _grown(
    locked: LockedTarget,
    artifacts: Artifacts,
    roots: Iterable[Branch],
    branches: Callable[[LockedPackage, tuple[str, ...]], Iterable[Branch]],
    absent: tuple[str, ...],
) -> LockedTree:
    """The roots and all that branches lead to. branches: of a package with extras."""
    nodes: dict[str, Node] = {}
    todo = [branch.node for branch in roots]
    while todo:
        title = todo.pop()
        if not title or title in nodes:
            continue
        name, listed = split_key(title)
        extras, package = tuple(listed.split(",")) if listed else (), locked.packages[name]
        artifact, rules = artifacts[package.artifact], package.default_extras
        nodes[title] = Node(
            name=name,
            extras=extras,
            version=artifact.version,
            variant=artifact.variant.label if artifact.variant else "",
            default_extras=tuple((extra, rules[extra]) for extra in extras if extra in rules),
            instead_of=package.instead_of,
            branches=tuple(branches(package, extras)),
        )
        todo += [branch.node for branch in nodes[title].branches or ()]
    return LockedTree(tuple(roots), nodes, absent)


def _needs(package: LockedPackage, extras: tuple[str, ...]) -> Iterator[Branch]:
    """What a package needs with extras, and with those of its own that they take."""
    required, taken, todo = [*package.requires], set(extras), [*extras]
    while True:
        own = {extra for name, extra in map(split_key, required) if name == package.name and extra} - taken
        taken |= own
        todo += sorted(own)
        if not todo:
            break
        required += package.extras.get(todo.pop(), ())
    others = [key for key in required if split_key(key)[0] != package.name]
    return _gathered(others, {by: found for by, found in package.libraries.items() if by != package.name})


def _gathered(required: Iterable[str], libraries: Mapping[str, tuple[str, ...]], part: str = "") -> Iterator[Branch]:
    """One branch for each package, by name; the extras that are asked for of one are taken together."""
    extras: dict[str, set[str]] = {}
    for key in required:
        name, extra = split_key(key)
        extras.setdefault(name, set()).update([extra] if extra else [])
    for name in sorted({*extras, *libraries}):
        title = _title(name, tuple(sorted(extras.get(name, ()))))
        yield Branch(title, part, name in extras, libraries.get(name, ()))


def _needed_by(locked: LockedTarget, parts: Iterable[str], keys: Iterable[str]) -> Mapping[str, tuple[Branch, ...]]:
    """By key, who needs it: packages and their extras by name, then parts of the project."""
    found: dict[str, dict[tuple[str, str], Branch]] = {key: {} for key in keys}

    def note(required: Iterable[str], libraries: Mapping[str, tuple[str, ...]], by: Branch) -> None:
        who, edge = split_key(by.node)[0], (by.node, by.part)
        for on in {one for key in required for one in (key, split_key(key)[0])} - {who}:
            found[on][edge] = by._replace(required=True)
        for on in libraries.keys() - {who}:
            found[on][edge] = found[on].get(edge, by)._replace(sonames=libraries[on])

    for part in parts:
        note(locked.roots.get(part, ()), {}, Branch("", part))
    note((), locked.libraries, Branch("", PROJECT))
    for key in found:
        name, extra = split_key(key)
        package = locked.packages[name]
        if extra:
            note(package.extras.get(extra, ()), {}, Branch(key))
        else:
            note(package.requires, package.libraries, Branch(key))
    return {key: _ordered(edges.values()) for key, edges in found.items()}


def _ordered(edges: Iterable[Branch]) -> tuple[Branch, ...]:
    """Without extras of packages that need the same anyway."""
    edges = [*edges]
    plain = {one.node for one in edges}
    kept = (one for one in edges if not (split_key(one.node)[1] and split_key(one.node)[0] in plain))
    return tuple(sorted(kept, key=lambda one: (not one.node, one.node, _project_first(one.part))))


def _project_first(part: str) -> tuple[bool, str]:
    return part != PROJECT, part


def _title(name: str, extras: tuple[str, ...]) -> str:
    return f"{name}[{','.join(extras)}]" if extras else name


def _whole(key: str, keys: Iterable[str]) -> str:
    """A package with all of its extras that are needed; a key with an extra as it is."""
    if split_key(key)[1]:
        return key
    extras = (extra for name, extra in map(split_key, keys) if name == key and extra)
    return _title(key, tuple(sorted(extras)))
