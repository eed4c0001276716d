"""One process of ld.so: who meets a need, by which rule, and what a failure leaves. Toy files, no file system."""

import posixpath
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.ldso import Binary, Edge, Map, Opening, Process, System, expand


class Toy:
    """Files by path; one that is given twice is one file at two places."""

    def __init__(self, files: Mapping[str, Binary], cache: Mapping[str, str], levels: tuple[str, ...] = ()) -> None:
        self.files = files
        self.cache = cache
        self.levels = levels

    def file(self, path: str) -> Binary | None:
        """What lies at a path."""
        return self.files.get(posixpath.normpath(path))

    def holds(self, folder: str, name: str) -> bool:
        """Is it there?"""
        return self.file(folder + name) is not None

    def subfolders(self, folder: str) -> tuple[str, ...]:
        """Those of `levels`, whether they are there or not."""
        return tuple(f"{folder}glibc-hwcaps/{level}/" for level in self.levels)

    def cached(self, name: str) -> str | None:
        """What the table has."""
        return self.cache.get(name)


def lib(
    name: str, *needed: str, rpath: str = "", runpath: str = "", soname: str | None = None, fit: str = "fit"
) -> Binary:
    """A file that is told by `name`."""
    parts = tuple(rpath.split(":")) if rpath else ()
    run = tuple(runpath.split(":")) if runpath else ()
    return Binary(name, soname, needed, parts, run, fit)  # type: ignore[arg-type]


def process(
    files: Mapping[str, Binary],
    *,
    main: Binary | None = None,
    cache: Mapping[str, str] | None = None,
    library_path: tuple[str, ...] = (),
    levels: tuple[str, ...] = (),
) -> Process:
    """A program at /bin/python that has just started."""
    every = {"/bin/python": main or lib("python"), **files}
    system = System(Toy(every, cache or {}, levels), default=("/usr/lib",), library_path=library_path, lib="lib64")
    started, opening = Process.start(system, "/bin/python")
    assert opening.missing is None
    return started


def where(opening: Opening) -> dict[str, str | None]:
    """Each need of what was opened by its name, and the path of what meets it."""
    needs = [pair for one in opening.scope for pair in zip(one.binary.needed, one.needs, strict=False)]
    return {name: to.path if to else None for name, to in needs}


def how(opening: Opening) -> dict[str, str]:
    """Each need that was searched for by its name, and the rule that met it."""
    return {edge.name: edge.how for edge in opening.edges if edge.by is not None}


def paths(maps: tuple[Map, ...] | list[Map]) -> list[str]:
    return [one.path for one in maps]


def test_a_process_starts_with_what_its_program_needs() -> None:
    """The program's needs are open, breadth-first, and its loader under the name by which libraries need it."""
    files = {
        "/bin/python": lib("python", "liba.so", "libb.so", runpath="$ORIGIN/../lib"),
        "/lib/liba.so": lib("a", "libc.so", "ld.so.2", runpath="$ORIGIN"),
        "/lib/libb.so": lib("b"),
        "/lib/libc.so": lib("c"),
        "/lib64/ld.so.2": lib("ld", soname="ld.so.2"),
    }
    system = System(Toy(files, {}), loader="/lib64/ld.so.2")
    started, opening = Process.start(system, "/bin/python")
    assert paths(opening.scope) == [
        "",
        "/bin/../lib/liba.so",
        "/bin/../lib/libb.so",
        "/bin/../lib/libc.so",
        "/lib64/ld.so.2",
    ]
    assert started.named("ld.so.2") is opening.scope[-1]


def test_the_order_of_the_search() -> None:
    """DT_RPATH, LD_LIBRARY_PATH, DT_RUNPATH, ld.so.cache, the system's folders: the first that has the file counts."""
    at = {name: lib(f"{name}-dep") for name in ("/r/dep", "/llp/dep", "/run/dep", "/cached/dep", "/usr/lib/dep")}

    def found(user: Binary, *there: str) -> tuple[str | None, str]:
        files = {"/user": user, **{name: at[name] for name in there}}
        cache = {"dep": "/cached/dep"} if "/cached/dep" in there else {}
        opening = process(files, cache=cache, library_path=("/llp",)).open("/user")
        return where(opening)["dep"], how(opening)["dep"]

    old, new = lib("user", "dep", rpath="/r"), lib("user", "dep", rpath="/r", runpath="/run")
    assert found(old, *at) == ("/r/dep", "rpath")
    assert found(old, "/llp/dep", "/cached/dep") == ("/llp/dep", "library-path")
    assert found(new, *at) == ("/llp/dep", "library-path")
    assert found(new, "/r/dep", "/run/dep", "/cached/dep") == ("/run/dep", "runpath")
    assert found(new, "/cached/dep", "/usr/lib/dep") == ("/cached/dep", "cache")
    assert found(new, "/usr/lib/dep") == ("/usr/lib/dep", "default")
    assert found(new, "/r/dep") == (None, "missing")


def test_rpath_is_inherited_along_the_loaders() -> None:
    """DT_RPATH of all that loaded a file counts, past one with DT_RUNPATH, which counts for its own needs alone."""
    files = {
        "/a": lib("a", "b", rpath="/libs"),
        "/libs/b": lib("b", "c", runpath="/elsewhere:/libs"),
        "/libs/c": lib("c", "d"),
        "/libs/d": lib("d"),
    }
    assert where(process(files).open("/a")) == {"b": "/libs/b", "c": "/libs/c", "d": "/libs/d"}
    files["/libs/c"] = lib("c", "d", runpath="/elsewhere")
    assert where(process(files).open("/a"))["d"] is None
    files["/a"] = lib("a", "b", runpath="/libs")
    files["/libs/c"] = lib("c", "d")
    assert where(process(files).open("/a")) == {"b": "/libs/b", "c": "/libs/c", "d": None}


def test_the_programs_rpath_counts_for_what_has_no_runpath() -> None:
    """DT_RPATH of the program is the last of the chain, whoever asked; its DT_RUNPATH is nobody else's."""
    files = {"/a": lib("a", "b"), "/python-lib/b": lib("b")}
    by_rpath = process(files, main=lib("python", rpath="/python-lib"))
    assert where(by_rpath.open("/a")) == {"b": "/python-lib/b"}
    by_runpath = process(files, main=lib("python", runpath="/python-lib"))
    assert where(by_runpath.open("/a")) == {"b": None}
    files["/a"] = lib("a", "b", runpath="/nowhere")
    assert where(process(files, main=lib("python", rpath="/python-lib")).open("/a")) == {"b": None}


def test_the_caller_is_the_loader_of_what_it_opens() -> None:
    """A dlopen without a slash is searched for by the caller's paths, and its DT_RPATH goes on to what is opened."""
    files = {"/a": lib("a", rpath="/libs"), "/libs/plugin": lib("plugin", "dep"), "/libs/dep": lib("dep")}
    here = process(files)
    caller = here.open("/a").map
    assert here.open("plugin").map is None
    opening = here.open("plugin", caller)
    assert paths(opening.scope) == ["/libs/plugin", "/libs/dep"]


def test_what_is_open_counts_by_any_of_its_names() -> None:
    """A need is met by what is open under that SONAME, or under the name by which it was needed, wherever it lies."""
    files = {
        "/one/libx.so.1.2": lib("x1", soname="libx.so.1"),
        "/two/libx.so.1": lib("x2", soname="libx.so.1"),
        "/two/liby.so": lib("y", soname="liby.so.5"),
        "/a": lib("a", "libx.so.1", "liby.so", runpath="/two"),
        "/b": lib("b", "liby.so", "liby.so.5"),
    }
    here = process(files)
    here.open("/one/libx.so.1.2")
    assert where(here.open("/a")) == {"libx.so.1": "/one/libx.so.1.2", "liby.so": "/two/liby.so"}
    assert where(here.open("/b")) == {"liby.so": "/two/liby.so", "liby.so.5": "/two/liby.so"}
    second = here.open("/two/libx.so.1")
    assert second.map is not None and second.map.path == "/two/libx.so.1"
    assert here.named("libx.so.1") is here.named("/one/libx.so.1.2")


def test_one_file_at_two_places_is_opened_once() -> None:
    """A link or a hard link to what is open is the open file, and from then on known by the new name too."""
    same = lib("one")
    files = {"/a/libone.so": same, "/b/libother.so": same, "/user": lib("user", "libother.so", runpath="/b")}
    here = process(files)
    first = here.open("/a/libone.so").map
    opening = here.open("/user")
    assert (where(opening), how(opening)) == ({"libother.so": "/a/libone.so"}, {"libother.so": "same"})
    assert here.named("libother.so") is first


def test_origin_is_the_folder_of_the_path_as_opened() -> None:
    """The same file opened at two places looks beside each of them; `..` stays, for the kernel to follow."""
    files = {f"/{env}/pkg/user": lib("user", "dep", runpath="$ORIGIN/../libs") for env in ("one", "two")}
    files |= {"/one/libs/dep": lib("dep1"), "/two/libs/dep": lib("dep2")}
    assert where(process(files).open("/one/pkg/user")) == {"dep": "/one/pkg/../libs/dep"}
    assert where(process(files).open("/two/pkg/user")) == {"dep": "/two/pkg/../libs/dep"}


def test_a_need_with_a_slash_is_a_path() -> None:
    """Such a need is opened where it says, with $ORIGIN put in, and not searched for."""
    files = {
        "/p/user": lib("user", "$ORIGIN/sub/dep", "/abs/dep", rpath="/r"),
        "/p/sub/dep": lib("d1"),
        "/r/dep": lib("d2"),
    }
    opening = process(files).open("/p/user")
    assert where(opening) == {"$ORIGIN/sub/dep": "/p/sub/dep", "/abs/dep": None}
    assert opening.missing is not None and opening.missing.name == "/abs/dep"


def test_files_for_other_processors_are_passed_over() -> None:
    """In a search they do not count; opened by path they fail, as does a search that ends at what is no library."""
    files = {
        "/user": lib("user", "dep", runpath="/other:/mine"),
        "/other/dep": lib("d1", fit="other"),
        "/mine/dep": lib("d2"),
    }
    assert where(process(files).open("/user")) == {"dep": "/mine/dep"}
    assert process(files).open("/other/dep").map is None
    files["/other/dep"] = lib("d1", fit="broken")
    opening = process(files).open("/user")
    assert (where(opening), how(opening)) == ({"dep": None}, {"dep": "broken"})


def test_levels_of_processors_come_first() -> None:
    """Below each folder those of `glibc-hwcaps` are looked into before it, the best first."""
    files = {
        "/user": lib("user", "dep", "low", runpath="/a:/b"),
        "/a/dep": lib("plain"),
        "/a/low": lib("low"),
        "/a/glibc-hwcaps/v2/dep": lib("better"),
        "/b/glibc-hwcaps/v3/dep": lib("best, too late"),
    }
    found = where(process(files, levels=("v3", "v2")).open("/user"))
    assert found == {"dep": "/a/glibc-hwcaps/v2/dep", "low": "/a/low"}


def test_a_failure_leaves_nothing_open() -> None:
    """Where one need is not met, all that the dlopen had opened is gone, names included; what was open before stays."""
    files = {
        "/base": lib("base", soname="libbase.so"),
        "/user": lib("user", "libgood.so", "libbase.so", "libgone.so", runpath="/libs"),
        "/libs/libgood.so": lib("good", soname="libgood.so.1"),
        "/libs/libgone.so": lib("gone", "libnowhere.so"),
        "/late": lib("late", "libgood.so.1"),
    }
    here = process(files)
    here.open("/base")
    before = paths(here.maps)
    opening = here.open("/user")
    assert opening.map is None
    assert where(opening) == {
        "libgood.so": "/libs/libgood.so",
        "libbase.so": "/base",
        "libgone.so": "/libs/libgone.so",
        "libnowhere.so": None,
    }
    assert paths(here.maps) == before
    assert here.named("libgood.so") is None and here.named("libgood.so.1") is None
    assert here.open("/late").map is None
    files["/libs/libgone.so"] = lib("gone")
    again = process(files)
    again.open("/base")
    assert again.open("/user").map is not None
    assert again.open("/late").map is not None


def test_what_may_be_missing_fails_nothing() -> None:
    """Where another machine has what this one lacks, the rest is opened as it would be there."""
    files = {"/bin/python": lib("python"), "/user": lib("user", "driver", "dep", runpath="/"), "/dep": lib("dep")}
    system = System(Toy(files, {}), absent=lambda name: name == "driver")
    here, _ = Process.start(system, "/bin/python")
    opening = here.open("/user")
    assert opening.map is not None and where(opening) == {"driver": None, "dep": "/dep"}
    assert here.open("driver").map is None
    files["/bad"] = lib("bad", "driver", "gone")
    assert here.open("/bad").map is None


def test_what_is_closed_is_forgotten() -> None:
    """After dlclose its names lead to whoever has them too, else nowhere."""
    files = {"/a/x": lib("x1", soname="x"), "/b/x": lib("x2", soname="x"), "/user": lib("user", "x")}
    here = process(files)
    here.open("/a/x")
    here.open("/b/x")
    assert where(here.fork().open("/user")) == {"x": "/a/x"}
    here.close("/a/x")
    assert where(here.fork().open("/user")) == {"x": "/b/x"}
    here.close("/b/x")
    assert where(here.open("/user")) == {"x": None}


def test_forks_go_their_own_ways() -> None:
    """What is opened in a copy of a process is not open in the other."""
    files = {"/a": lib("a", soname="liba"), "/user": lib("user", "liba")}
    here = process(files)
    there = here.fork()
    here.open("/a")
    assert where(here.open("/user")) == {"liba": "/a"}
    assert where(there.open("/user")) == {"liba": None}


def test_paths_with_words_in_them() -> None:
    """Tokens count with and without braces, anywhere, and not where a longer word begins with them."""
    said = [
        expand(text, "/o", "lib64", "x86_64") for text in ("$ORIGIN/../x", "${ORIGIN}x/$LIB", "$ORIGINAL/${PLATFORM}")
    ]
    assert said == ["/o/../x", "/ox/lib64", "$ORIGINAL/x86_64"]


names = st.sampled_from(["liba", "libb", "libc", "libd"])
folders = st.sampled_from(["$ORIGIN", "$ORIGIN/..", "/x", "/y"])


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Binary]:
    """Some files in a few folders."""
    found = {}
    for path in draw(st.sets(st.tuples(st.sampled_from(["/x", "/y", "/x/z"]), names), min_size=1)):
        binary = lib(
            draw(st.sampled_from(["1", "2", "3", "/".join(path)])),
            *draw(st.lists(names, max_size=3)),
            rpath=":".join(draw(st.lists(folders, max_size=2))),
            runpath=":".join(draw(st.lists(folders, max_size=1))),
            soname=draw(st.none() | names),
        )
        found["/".join(path)] = binary
    one = {binary.id: binary for binary in found.values()}
    return {path: one[binary.id] for path, binary in found.items()}


@given(worlds(), st.data())
def test_laws_of_a_process(files: dict[str, Binary], data: st.DataObject) -> None:
    """No file is open twice; all needs of the open ones are met; a dlopen that fails changes nothing."""
    here = process(files)
    for path in data.draw(st.lists(st.sampled_from(sorted(files)), max_size=6)):
        before = paths(here.maps)
        again = here.named(path)
        opening = here.open(path)
        assert len({one.binary.id for one in here.maps}) == len(here.maps)
        assert all(None not in one.needs and len(one.needs) == len(one.binary.needed) for one in here.maps)
        if opening.map is None or again is not None:
            assert paths(here.maps) == before
            assert opening.map is again
        else:
            assert opening.scope[0] is opening.map
            assert set(opening.scope) <= set(here.maps)
            assert here.named(path) is opening.map
        assert here.open(path).map is opening.map


def test_edges_tell_the_order() -> None:
    """The needs of a file come before those of what it needs, each with who asked."""
    files = {"/a": lib("a", "b", "c", runpath="/"), "/b": lib("b", "d", runpath="/"), "/c": lib("c"), "/d": lib("d")}
    edges: tuple[Edge, ...] = process(files).open("/a").edges
    assert [(edge.by.path if edge.by else None, edge.name) for edge in edges] == [
        (None, "/a"),
        ("/a", "b"),
        ("/a", "c"),
        ("/b", "d"),
    ]
