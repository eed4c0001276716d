"""Which directories of an object a view may link whole: facts computed from paths alone."""

from gpuenv.model.stored import Reach
from gpuenv.store.tree import TreeFile, directories_of, reaches_of, shallow_part

D = b"\0" * 32


def binary(path: str, *origins: str, executable: bool = False) -> TreeFile:
    return TreeFile(path, 1, D, executable, origins)


def test_reaches_leave_their_own_directory() -> None:
    """`$ORIGIN` and what lies below it is no reach; what lies beside is, and says whether the object holds it."""
    files = [
        binary("site-packages/p/lib/a.so", "$ORIGIN", "$ORIGIN/deep", "${ORIGIN}/../q", "$ORIGIN/../../nvidia/lib"),
        binary("site-packages/p/q/b.so"),
        binary("site-packages/p/lib/c.so", "$ORIGIN/../../../data/lib"),
        binary("data/lib/d.so"),
    ]
    assert reaches_of(files) == (
        Reach("site-packages/p/lib", "data/lib", False),
        Reach("site-packages/p/lib", "site-packages/nvidia/lib", False),
        Reach("site-packages/p/lib", "site-packages/p/q", True),
    )


def test_the_shallow_part_goes_as_deep_as_views_must() -> None:
    """Directories above escaping binaries are in the facts, up to the one that holds both ends."""
    files = [
        binary("site-packages/p/x/lib/a.so", "$ORIGIN/../../elsewhere"),
        binary("site-packages/q/lib/a.so", "$ORIGIN/../../elsewhere"),
        binary("site-packages/plain/deep/a.py"),
        binary("site-packages/d.dist-info/METADATA"),
    ]
    part = shallow_part(directories_of(files), reaches_of(files), "d.dist-info")
    assert [directory.path for directory in part] == [
        "",
        "site-packages",
        "site-packages/d.dist-info",
        "site-packages/p/x",
        "site-packages/p/x/lib",
        "site-packages/q",
        "site-packages/q/lib",
    ]


def test_programs_that_search_beside_themselves_are_solid() -> None:
    """An executable whose `$ORIGIN` path leaves its directory must not become a symbolic link; libraries may."""
    files = [
        binary("scripts/tool", "$ORIGIN/../lib", executable=True),
        binary("scripts/local", "$ORIGIN", executable=True),
        binary("scripts/library", "$ORIGIN/../lib"),
    ]
    (_, scripts) = directories_of(files)
    assert [file.name for file in scripts.files if file.solid] == ["tool"]
