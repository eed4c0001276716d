"""Who meets a need, as ld.so would have it: paths from $ORIGIN, DT_RPATH that is inherited, DT_RUNPATH that is not."""

import pytest

from gpuenv.model.facts import NativeFacts, ObjectFacts, Symlink
from gpuenv.model.host_libraries import allowed_by
from gpuenv.model.loader import Binaries, also_at, installed_at, search_path
from gpuenv.model.target import Target

HOST = allowed_by(Target("cpu"))


def lib(
    path: str, *needed: str, soname: str | None = None, rpath: tuple[str, ...] = (), runpath: tuple[str, ...] = ()
) -> ObjectFacts:
    return ObjectFacts(path=path, size=1, format="elf", needed=needed, soname=soname, rpath=rpath, runpath=runpath)


def binaries(*objects: ObjectFacts, symlinks: tuple[Symlink, ...] = ()) -> Binaries:
    return Binaries(NativeFacts(None, 1, symlinks=symlinks), objects, HOST)


def met(found: Binaries, path: str) -> list[tuple[str, str | None, bool]]:
    """Needs of one binary: soname, who meets it, and whether its own paths lead there."""
    number = next(at for at, one in enumerate(found.objects) if one.path == path)
    return [
        (edge.soname, found.objects[edge.to].path if edge.to is not None else None, edge.own)
        for edge in found.edges[number]
    ]


def test_own_paths() -> None:
    """A need is found by its file name in the folders that a binary names from its own place."""
    found = binaries(
        lib("a/_c.so", "liba.so.1", "libb.so.1", runpath=("$ORIGIN/../a.libs", "${ORIGIN}/lib")),
        lib("a.libs/liba.so.1"),
        lib("a/lib/libb.so.1"),
    )
    assert met(found, "a/_c.so") == [("liba.so.1", "a.libs/liba.so.1", True), ("libb.so.1", "a/lib/libb.so.1", True)]


def test_a_soname_is_no_file_name() -> None:
    """A folder is searched for the file; a library of that soname under another name is met by load order."""
    found = binaries(lib("a/_c.so", "liba.so.1", runpath=("$ORIGIN",)), lib("a/liba-1f.so", soname="liba.so.1"))
    assert met(found, "a/_c.so") == [("liba.so.1", "a/liba-1f.so", False)]


def test_other_paths_lead_nowhere() -> None:
    """Absolute paths are another machine's, empty ones the working directory's, and $ORIGINAL is no $ORIGIN."""
    strange = ("/a", "", ".", "$ORIGINAL", "$LIB")
    found = binaries(lib("a/_c.so", "liba.so.1", runpath=strange), lib("a/liba.so.1"))
    assert search_path(found.objects[0]) == ()
    assert met(found, "a/_c.so") == [("liba.so.1", "a/liba.so.1", False)]


@pytest.mark.parametrize(("kind", "own"), [("rpath", True), ("runpath", False)])
def test_only_rpath_is_inherited(kind: str, own: bool) -> None:
    """What a module's DT_RPATH names is searched for its libraries' needs too, at any depth; its DT_RUNPATH is not."""
    paths = {"rpath": (), "runpath": (), kind: ("$ORIGIN/../a.libs",)}
    top = lib("a/_c.so", "liba.so", rpath=paths["rpath"], runpath=paths["runpath"])
    found = binaries(top, lib("a.libs/liba.so", "libb.so"), lib("a.libs/libb.so", "libc.so"), lib("a.libs/libc.so"))
    assert met(found, "a/_c.so") == [("liba.so", "a.libs/liba.so", True)]
    assert met(found, "a.libs/liba.so") == [("libb.so", "a.libs/libb.so", own)]
    assert met(found, "a.libs/libb.so") == [("libc.so", "a.libs/libc.so", own)]


def test_rpath_goes_on_past_runpath() -> None:
    """A binary with DT_RUNPATH does without the DT_RPATH of its loaders, but hands it on to what it loads itself."""
    found = binaries(
        lib("a/_c.so", "liba.so", rpath=("$ORIGIN/../a.libs",)),
        lib("a.libs/liba.so", "libb.so", "libc.so", runpath=("$ORIGIN/b",)),
        lib("a.libs/b/libb.so", "libc.so"),
        lib("a.libs/libc.so"),
    )
    own = {
        (place.path, edge.soname): edge.own
        for place, edges in zip(found.objects, found.edges, strict=True)
        for edge in edges
    }
    assert own["a.libs/liba.so", "libb.so"] and own["a.libs/b/libb.so", "libc.so"]
    assert not own["a.libs/liba.so", "libc.so"]


def test_runpath_shuts_out_rpath() -> None:
    """A binary with DT_RUNPATH looks nowhere else: neither in its own DT_RPATH nor in one inherited."""
    found = binaries(
        lib("a/_c.so", "liba.so", rpath=("$ORIGIN",)),
        lib("a/liba.so", "libb.so", rpath=("$ORIGIN",), runpath=("$ORIGIN/none",)),
        lib("a/libb.so"),
    )
    assert met(found, "a/liba.so") == [("libb.so", "a/libb.so", False)]


def test_the_host_goes_before_load_order() -> None:
    """A system library that the artifact carries is used where paths lead to it, and else the host's."""
    own = binaries(lib("a/_c.so", "libz.so.1", runpath=("$ORIGIN",)), lib("a/libz.so.1"))
    assert met(own, "a/_c.so") == [("libz.so.1", "a/libz.so.1", True)]
    assert met(binaries(lib("a/_c.so", "libz.so.1"), lib("a/libz.so.1")), "a/_c.so") == [("libz.so.1", None, False)]


@pytest.mark.parametrize(
    ("links", "own"),
    [
        ({"lib/liba.so.1": "liba.so.1.2"}, True),
        ({"lib/liba.so.1": "liba.so", "lib/liba.so": "./liba.so.1.2"}, True),
        ({"lib64": "lib", "lib/liba.so.1": "liba.so.1.2"}, True),
        ({"lib64": "usr/lib", "usr": ".", "lib/liba.so.1": "../lib64/liba.so.1.2"}, True),
        ({"lib/liba.so.1": "/lib/liba.so.1.2"}, False),
        ({"lib/liba.so.1": "liba.so", "lib/liba.so": "liba.so.1"}, False),
        ({"lib/liba.so.1": "../../../liba.so.1.2"}, False),
        ({"lib/liba.so.2": "liba.so.1.2"}, False),
    ],
)
def test_links_are_followed_as_the_system_does(links: dict[str, str], own: bool) -> None:
    """Chains of links and links to folders lead to a library by another name; circles and ways out lead nowhere."""
    data = "a-1.0.data/data/"
    symlinks = tuple(Symlink(data + path, target, "tar") for path, target in links.items())
    folder = "lib64" if "lib64" in links else "lib"
    user = lib("a/_c.so", "liba.so.1", runpath=(f"$ORIGIN/../../../../{folder}",))
    found = binaries(user, lib(f"{data}lib/liba.so.1.2", soname="liba.so.1"), symlinks=symlinks)
    assert met(found, "a/_c.so") == [("liba.so.1", f"{data}lib/liba.so.1.2", own)]


def test_names_by_links_are_bounded() -> None:
    """However many links lead to a folder of however many libraries, few names come of it, and soon."""
    places = {f"a/lib/lib{number}.so" for number in range(2000)}
    links = tuple(Symlink(f"a/{number}", "lib", "tar") for number in range(5000))
    assert len(also_at(NativeFacts(None, 1, symlinks=links), places)) == 1 << 16


def test_symlinks_are_names_of_their_targets() -> None:
    """A link that the artifact carries is found by its own name and place."""
    link = Symlink("a/lib/liba.so.1", "../real/liba.so.1.2", "LINKS")
    found = binaries(lib("a/_c.so", "liba.so.1", runpath=("$ORIGIN/lib",)), lib("a/real/liba.so.1.2"), symlinks=(link,))
    assert met(found, "a/_c.so") == [("liba.so.1", "a/real/liba.so.1.2", True)]


def test_a_need_that_is_a_path() -> None:
    """A need with a slash is not searched for: from $ORIGIN it names one file, else none."""
    found = binaries(lib("a/_c.so", "$ORIGIN/x/liba.so", "x/liba.so", "/a/x/liba.so"), lib("a/x/liba.so"))
    assert [to for _, to, _ in met(found, "a/_c.so")] == ["a/x/liba.so", None, None]


def test_top_level_module() -> None:
    """A module in site-packages itself has $ORIGIN too."""
    found = binaries(lib("_c.so", "liba.so", "libb.so", runpath=("$ORIGIN", "$ORIGIN/c.libs")), lib("liba.so"))
    assert met(found, "_c.so") == [("liba.so", "liba.so", True), ("libb.so", None, False)]


def test_circles() -> None:
    """Libraries that need each other and themselves are read to an end."""
    found = binaries(
        lib("a.so", "b.so", "a.so", rpath=("$ORIGIN",)), lib("b.so", "a.so", rpath=("$ORIGIN/..", "$ORIGIN"))
    )
    assert found.reached([0]) == {0, 1}
    assert found.loaders == [{1}, {0}]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("a/_c.so", "a/_c.so"),
        ("a-1.data/purelib/a/_c.so", "a/_c.so"),
        ("a-1.data/platlib/_c.so", "_c.so"),
        ("a-1.data/data/lib/liba.so", "../../../lib/liba.so"),
        ("a-1.data/scripts/tool", "../../../bin/tool"),
        ("a-1.data/other/x", "a-1.data/other/x"),
        ("a.data/_c.so", "a.data/_c.so"),
    ],
)
def test_where_files_are_installed(path: str, place: str) -> None:
    """The folders of NAME.data go where their scheme says (PEP 427)."""
    assert installed_at(path) == place


def test_data_files_are_reached_from_site_packages() -> None:
    """A module reaches a library in the environment's lib by a path that leaves site-packages."""
    found = binaries(lib("a/_c.so", "liba.so", runpath=("$ORIGIN/../../..",)), lib("a-1.data/data/lib/liba.so"))
    assert met(found, "a/_c.so") == [("liba.so", "a-1.data/data/lib/liba.so", True)]
