"""Trees of locked targets: every edge once, the same ones downward and upward, whatever the graph is like."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.lock import LockedArtifact, LockedPackage, LockedTarget
from gpuenv.model.locked_tree import Branch, LockedTree, tree_above, tree_below, within
from gpuenv.model.target import Target
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.report.tree import ASCII, tree_page


def package(
    name: str, requires: Sequence[str] = (), extras: Mapping[str, Sequence[str]] | None = None
) -> LockedPackage:
    """A locked package without libraries."""
    return LockedPackage(name, f"{name}.whl", tuple(requires), {e: tuple(keys) for e, keys in (extras or {}).items()})


def artifacts(locked: LockedTarget, **labels: str) -> dict[str, LockedArtifact]:
    """An artifact for each package, of version 1; labels: of variants."""
    made = {}
    for name, one in locked.packages.items():
        variant = WheelVariant(labels[name], ()) if name in labels else None
        made[one.artifact] = LockedArtifact(one.artifact, name, "1", "default", "", "0" * 64, 1, variant=variant)
    return made


def target(
    roots: Mapping[str, Sequence[str]],
    *packages: LockedPackage,
    libraries: Mapping[str, tuple[str, ...]] | None = None,
) -> LockedTarget:
    """A locked target of these packages."""
    asked = {part: tuple(keys) for part, keys in roots.items()}
    return LockedTarget(Target("t"), asked, {one.name: one for one in packages}, libraries or {})


def page(
    locked: LockedTarget, *asked: str, inverted: bool = False, depth: int | None = None, **labels: str
) -> list[str]:
    """The tree of all parts as text, without the line that names the target."""
    of = tree_above if inverted else tree_below
    tree = of(locked, artifacts(locked, **labels), locked.roots, asked)
    return tree_page("train", {"t": tree}, depth=depth).splitlines()[1:]


def test_extras_are_taken_together() -> None:
    """One requirement with two extras is one branch; an extra that takes another of its package brings that one's."""
    extras = {"a": ["one"], "b": ["two"], "all": ["app[a]", "app[b]"]}
    locked = target({"project": ["app[all]"]}, package("app", ["base"], extras), *map(package, ("base", "one", "two")))
    assert page(locked) == ["train", "└── app[all] 1", "    ├── base 1", "    ├── one 1", "    └── two 1"]
    assert page(locked, "app")[0] == "app[a,all,b] 1"
    assert page(locked, "one", inverted=True) == ["one 1", "└── app[a] 1", "    └── app[all] 1", "        └── train"]
    both = target({"project": ["app[a]", "app[b]"]}, package("app", [], extras), package("one"), package("two"))
    assert page(both)[1] == "└── app[a,b] 1"
    own = target({"project": ["app"]}, package("app", ["app[a]"], extras), package("one"))
    assert page(own) == ["train", "└── app 1", "    └── one 1"]


def test_parts_of_the_project() -> None:
    """The project's own requirements come first; extras and groups are named, downward and upward."""
    roots = {"extra:gpu": ["a"], "group:test": ["a", "b"], "project": ["b"]}
    locked = target(roots, package("a"), package("b"), libraries={"a": ("liba.so.1",)})
    assert page(locked) == [
        "train",
        "├┄┄ a 1 (for liba.so.1)",
        "├── b 1",
        "├── a 1 (extra gpu)",
        "├── a 1 (group test)",
        "└── b 1 (group test)",
    ]
    assert page(locked, "a", inverted=True) == [
        "a 1",
        "├┄┄ train (for liba.so.1)",
        "├── train (extra gpu)",
        "└── train (group test)",
    ]


def test_libraries_are_edges_of_their_own_kind() -> None:
    """A need by soname alone has its own line; one that metadata states too is a requirement that names the soname."""
    libraries = {"both": ("libboth.so.1",), "user": ("libown.so",), "alone": ("libx.so", "liby.so", "libz.so")}
    user = LockedPackage("user", "user.whl", ("both",), {}, libraries)
    locked = target({"project": ["user"]}, user, package("both"), package("alone"))
    assert page(locked) == [
        "train",
        "└── user 1",
        "    ├┄┄ alone 1 (for libx.so and 2 more)",
        "    └── both 1 (for libboth.so.1)",
    ]
    assert page(locked, "alone", inverted=True)[1] == "└┄┄ user 1 (for libx.so and 2 more)"
    assert page(locked, "both", inverted=True)[1] == "└── user 1 (for libboth.so.1)"
    tree = tree_below(locked, artifacts(locked), locked.roots)
    whole = tree_page("train", {"t": tree}, every=True, glyphs=ASCII).splitlines()
    assert whole[3] == "    |.. alone 1 (for libx.so, liby.so, libz.so)"


def test_rules_and_names_that_a_package_stands_for() -> None:
    """The rule of each default extra, the variant and the names that a package stands for are beside it."""
    rules = {"x": "project, amd = {gfx}", "y": "project, amd = {gfx}", "z": "publisher, gpu = z"}
    ort = LockedPackage("ort", "ort.whl", (), {}, instead_of=("onnx", "onnx-gpu"))
    rocm = LockedPackage("rocm", "rocm.whl", (), dict.fromkeys(rules, ()), default_extras=rules)
    locked = target({"project": ["ort", "rocm[x]", "rocm[y]", "rocm[z]"], "group:g": ["rocm[x]", "rocm[y]"]}, ort, rocm)
    assert page(locked, rocm="gfx9") == [
        "train",
        "├── ort 1 (instead of onnx, onnx-gpu)",
        "├── rocm[x,y,z] 1 (variant gfx9; default x, y: project, amd = {gfx}; default z: publisher, gpu = z)",
        "└── rocm[x,y] 1 (group g; variant gfx9; default: project, amd = {gfx})",
    ]


def test_cycles_are_cut() -> None:
    """A package that needs itself through others is shown once more, and not opened."""
    locked = target({"project": ["a"]}, package("a", ["b"]), package("b", ["a", "c"]), package("c"))
    assert page(locked) == ["train", "└── a 1", "    └── b 1", "        ├── a 1 (cycle)", "        └── c 1"]
    assert page(locked, "a", inverted=True) == ["a 1", "├── b 1", "│   └── a 1 (cycle)", "└── train"]


def test_depth() -> None:
    """Nothing deeper than asked for is shown; what was shown too deep to be opened is opened where there is room."""
    leaf, mid, top = package("leaf"), package("mid", ["leaf"]), package("top", ["mid"])
    locked = target({"project": ["mid", "top"], "group:g": ["leaf"]}, leaf, mid, top)
    assert page(locked, depth=1) == ["train", "├── mid 1", "├── top 1", "└── leaf 1 (group g)"]
    assert page(locked, depth=2)[1:4] == ["├── mid 1", "│   └── leaf 1", "├── top 1"]
    assert page(locked, "top", depth=1) == ["top 1", "└── mid 1"]
    later = target({"project": ["a", "mid"]}, package("a", ["mid"]), mid, leaf)
    assert page(later, depth=2) == ["train", "├── a 1", "│   └── mid 1", "└── mid 1", "    └── leaf 1"]
    tree = tree_below(later, artifacts(later), later.roots)
    assert {title: node.branches is None for title, node in within(tree, 1).nodes.items()} == {"a": True, "mid": True}
    assert within(tree, 2).nodes["mid"].branches == (Branch("leaf", required=True),)
    assert within(tree, 9) == tree


def test_many_levels() -> None:
    """A chain of thousands of packages is no deeper than a program can go."""
    count = 3000
    names = [f"p{place:04}" for place in range(count)]
    chain = [package(name, [after]) for name, after in pairwise(names)]
    locked = target({"project": names[:1]}, *chain, package(names[-1]))
    assert page(locked)[-1].endswith(f" {names[-1]} 1")
    assert page(locked, names[-1], inverted=True)[-1].endswith("└── train")


NAMES = [f"p{place}" for place in range(6)]
KEYS = [*NAMES, *(f"{name}[x]" for name in NAMES)]


@st.composite
def targets(draw: st.DrawFn) -> LockedTarget:
    """Any graph of six packages with one extra, cycles, libraries and requirements of oneself among them."""
    some = st.lists(st.sampled_from(KEYS), max_size=3, unique=True).map(sorted)
    bound = st.dictionaries(st.sampled_from(NAMES), st.just(("lib.so",)), max_size=1)
    made = [LockedPackage(n, f"{n}.whl", tuple(draw(some)), {"x": tuple(draw(some))}, draw(bound)) for n in NAMES]
    return target({"project": draw(some), "group:g": draw(some)}, *made, libraries=draw(bound))


def edges(tree: LockedTree) -> set[tuple[str, str]]:
    """Who leads to whom by name, "" for the project; without extras that lead to others of their package."""
    found = {(node.name, one.node.partition("[")[0]) for node in tree.nodes.values() for one in node.branches or ()}
    found |= {("", one.node.partition("[")[0]) for one in tree.roots if tree.whole}
    return {(by, on) for by, on in found if by != on}


@given(targets(), st.sampled_from([("project",), ("group:g",), ("project", "group:g")]))
def test_both_ways(locked: LockedTarget, parts: tuple[str, ...]) -> None:
    """Downward holds what the lock reaches; upward has the same edges, reversed; both end, and show every node."""
    there = {one.name for one in locked.reachable(parts)}
    below = tree_below(locked, artifacts(locked), parts)
    assert {node.name for node in below.nodes.values()} == there
    above = tree_above(locked, artifacts(locked), parts, sorted(there))
    assert {(to, by) for by, to in edges(above)} == edges(below)
    for tree in (below, above):
        lines = tree_page("train", {"t": tree}).splitlines()
        assert all(any(line.lstrip("│├└─┄ ").startswith(f"{title} 1") for line in lines) for title in tree.nodes)
        drawn = sum(
            1 for line in lines if line.endswith(" 1") or " 1 (" in line or line.lstrip("│├└─┄ ").startswith("train")
        )
        assert drawn == len(tree.roots) + tree.whole + sum(len(node.branches or ()) for node in tree.nodes.values())


@pytest.mark.parametrize("asked", [["gone"], ["a", "gone[x]"]])
def test_absent(asked: list[str]) -> None:
    """What a target does not have is told of, beside what it has."""
    locked = target({"project": ["a"]}, package("a"))
    tree = tree_below(locked, artifacts(locked), ["project"], asked)
    assert tree.absent == (asked[-1],)
    assert page(locked, *asked)[-1] == f"no {asked[-1]}"


def test_no_control_characters() -> None:
    """What a lock says reaches a terminal as printable text."""
    locked = target({"project": ["a"]}, package("a"))
    assert page(locked, a="\x1b[2J")[1] == "└── a 1 (variant \\x1b[2J)"
