"""The tree of a lock as text and as a document: a block for each target, equal ones once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.lock import PROJECT
from gpuenv.model.locked_tree import Branch, LockedTree, Node, within

__all__ = ["ASCII", "LINES", "Glyphs", "tree_document", "tree_page"]


class Glyphs(NamedTuple):
    """What leads to a branch that metadata requires, to one for its libraries alone, each also if it is the last of
    its node, and what stands below a branch and below the last.
    """

    required: tuple[str, str]
    bound: tuple[str, str]
    below: tuple[str, str]


LINES = Glyphs(("├── ", "└── "), ("├┄┄ ", "└┄┄ "), ("│   ", "    "))
ASCII = Glyphs(("|-- ", "`-- "), ("|.. ", "`.. "), ("|   ", "    "))

_SEEN = "(*) is shown above with what is below it"


def tree_page(
    project: str,
    targets: Mapping[str, LockedTree],
    *,
    depth: int | None = None,
    every: bool = False,
    glyphs: Glyphs = LINES,
) -> str:
    """The trees for people. project: its name. every: no list is cut short."""
    blocks: dict[tuple[str, ...], list[str]] = {}
    for name, tree in targets.items():
        blocks.setdefault(tuple(_Drawing(project, tree, depth, every, glyphs).lines()), []).append(name)
    text = [_shown(line) for lines, names in blocks.items() for line in (f"{', '.join(names)}:", *lines, "")]
    seen = [_SEEN] if any(line.endswith(" (*)") for line in text) else []
    return "\n".join([*text, *seen] if seen else text[:-1])


def _shown(line: str) -> str:
    if line.isprintable():
        return line
    from gpuenv.report.inspect import printable  # dear to import, and hardly ever needed

    return printable(line)


class _Step(NamedTuple):
    """A branch to draw. before: what stands left of its own glyph; last: of its node; level: edges from the top."""

    branch: Branch
    before: str
    last: bool
    level: int


class _Drawing:
    """One target's tree; a node that is there already, with all that is asked for of it, is not opened again."""

    def __init__(self, project: str, tree: LockedTree, depth: int | None, every: bool, glyphs: Glyphs) -> None:
        self._tree = tree
        self._project = project
        self._depth = depth
        self._every = every
        self._glyphs = glyphs
        self._opened: dict[str, int] = {}

    def lines(self) -> Iterator[str]:
        """Its lines, top down."""
        path = [""] if self._tree.whole else []  # the titles from the top to the step
        yield from [self._project] if self._tree.whole else []
        todo = self._steps(self._tree.roots, "", len(path))
        while todo:
            step = todo.pop()
            del path[step.level :]
            node = self._tree.nodes.get(step.branch.node)
            mark, opened = self._state(step, node, path)
            yield f"{self._lead(step)}{self._words(step.branch, node)}{mark}"
            if node is not None and opened:
                path.append(node.title)
                below = step.before + (self._glyphs.below[step.last] if step.level else "")
                todo += self._steps(node.branches or (), below, step.level + 1)
        yield from (f"no {key}" for key in self._tree.absent)

    def _steps(self, branches: Sequence[Branch], before: str, level: int) -> list[_Step]:
        """Those to draw, the first one last."""
        steps = [_Step(branch, before, place == len(branches) - 1, level) for place, branch in enumerate(branches)]
        return steps[::-1]

    def _state(self, step: _Step, node: Node | None, path: Sequence[str]) -> tuple[str, bool]:
        """What is said of a node that is not opened, and whether it is."""
        if node is None or not node.branches or step.level == self._depth:
            return "", False
        if node.title in path:
            return " (cycle)", False
        opened = self._opened.get(node.title)
        if opened is not None and (self._depth is None or opened <= step.level):
            return " (*)", False
        self._opened[node.title] = step.level
        return "", True

    def _lead(self, step: _Step) -> str:
        if not step.level:
            return ""
        glyph = self._glyphs.required if step.branch.required else self._glyphs.bound
        return step.before + glyph[step.last]

    def _words(self, branch: Branch, node: Node | None) -> str:
        notes = [] if branch.part in ("", PROJECT) else [branch.part.replace(":", " ")]
        if node is not None:
            notes += [f"variant {node.variant}"] if node.variant else []
            notes += _rules(node)
            notes += [f"instead of {', '.join(node.instead_of)}"] if node.instead_of else []
        if branch.sonames:
            notes.append(f"for {self._some(branch.sonames)}")
        title = f"{node.title} {node.version}" if node is not None else self._project
        return title + (f" ({'; '.join(notes)})" if notes else "")

    def _some(self, names: Sequence[str]) -> str:
        if self._every or len(names) == 1:
            return ", ".join(names)
        return f"{names[0]} and {len(names) - 1} more"


def _rules(node: Node) -> Iterator[str]:
    """Which rules chose extras; the extras of each, where it is not all of them."""
    chosen: dict[str, list[str]] = {}
    for extra, rule in node.default_extras:
        chosen.setdefault(rule, []).append(extra)
    for rule, extras in chosen.items():
        which = f" {', '.join(extras)}" if len(extras) < len(node.extras) else ""
        yield f"default{which}: {rule}"


# the document


def tree_document(
    targets: Mapping[str, LockedTree], warnings: Sequence[str], *, inverted: bool, depth: int | None
) -> dict[str, object]:
    """The document of `tree --json`."""
    cut = {name: tree if depth is None else within(tree, depth) for name, tree in targets.items()}
    records = {name: _record(tree) for name, tree in cut.items()}
    return {"inverted": inverted, "depth": depth, "targets": records, "warnings": list(warnings)}


def _record(tree: LockedTree) -> dict[str, object]:
    return {
        "roots": [_branch(branch) for branch in tree.roots],
        "nodes": {title: _node(node) for title, node in sorted(tree.nodes.items())},
        "absent": list(tree.absent),
    }


def _node(node: Node) -> dict[str, object]:
    return {
        "name": node.name,
        "extras": list(node.extras),
        "version": node.version,
        "variant": node.variant or None,
        "default_extras": dict(node.default_extras),
        "instead_of": list(node.instead_of),
        "branches": None if node.branches is None else [_branch(branch) for branch in node.branches],
    }


def _branch(branch: Branch) -> dict[str, object]:
    return {
        "node": branch.node or None,
        "part": branch.part or None,
        "required": branch.required,
        "sonames": list(branch.sonames),
    }
