"""An installed tree as bundles: where files go, which links stay, what tag binaries keep, what each part holds."""

import hashlib
import os
import socket
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.parts import File, Tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.bundle.arrange import arrange, locate
from gpuenv.bundle.pack import Identity, PackedFile, plans, root_of, unmet, version_of, write_pack
from gpuenv.bundle.split import Part, split
from gpuenv.bundle.tag import ANY, check_tag, fitting_tag, glibc_of
from gpuenv.bundle.tree import FoundLink, read_tree
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts, decode_facts
from gpuenv.model.requirement import parse_requirement
from tests.support.binaries import library
from tests.support.trees import make_tree

LIB = "usr/lib/x86_64-linux-gnu"
FOO = Identity("foo-libs", "1.4", "py3-none-manylinux_2_28_x86_64", "Foo")


def placed(folder: Path, prefix: str | None = None) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Where files of a tree go, its links, and the reasons for what is left out."""
    tree = read_tree(folder)
    found = arrange(tree, locate(tree, prefix))
    files = {path: file.path for path, file in found.files.items()}
    return files, dict(found.links), {one.path: one.reason for one in found.left_out}


# where files go


def test_tree_of_a_distribution(tmp_path: Path) -> None:
    """What lies below usr goes to the root, as what systems have beside it; lib64 and folders of the machine merge."""
    files = {
        f"{LIB}/libfoo.so.1.4": "x",
        "usr/lib64/libbar.so.2": "x",
        "lib/x86_64-linux-gnu/libz.so.1": "x",
        "usr/include/x86_64-linux-gnu/foo/foo.h": "x",
        "usr/share/foo/data": "x",
        "etc/foo.conf": "x",
        "var/lib/foo/state": "x",
    }
    found, _, left = placed(make_tree(tmp_path, files))
    assert found == {
        "etc/foo.conf": "etc/foo.conf",
        "include/foo/foo.h": "usr/include/x86_64-linux-gnu/foo/foo.h",
        "lib/libbar.so.2": "usr/lib64/libbar.so.2",
        "lib/libfoo.so.1.4": f"{LIB}/libfoo.so.1.4",
        "lib/libz.so.1": "lib/x86_64-linux-gnu/libz.so.1",
        "share/foo/data": "usr/share/foo/data",
    }
    assert left == {"var/lib/foo/state": "it lies outside /usr"}


@pytest.mark.parametrize(
    ("files", "prefix", "expected"),
    [
        (["lib/a", "bin/b"], None, ["bin/b", "lib/a"]),
        (["opt/rocm-7.2.0/lib/a", "opt/rocm-7.2.0/llvm/bin/b"], None, ["lib/a", "llvm/bin/b"]),
        (["opt/vendor/foo/lib/a"], None, ["lib/a"]),
        (["usr/local/lib/a"], None, ["lib/a"]),
        (["usr/lib/a", "opt/rocm/lib/b"], "/opt/rocm", ["lib/b"]),
        (["lib/a"], "/opt/rocm", ["lib/a"]),
    ],
)
def test_prefix_of_a_tree(tmp_path: Path, files: list[str], prefix: str | None, expected: list[str]) -> None:
    """The prefix is the top of the tree, or the one folder below usr or opt that looks like one, or what is said."""
    assert list(placed(make_tree(tmp_path, dict.fromkeys(files, "x")), prefix)[0]) == expected


@pytest.mark.parametrize(
    ("files", "words", "hints"),
    [
        (["usr/lib/a", "opt/rocm/lib/b"], "several prefixes", ("--prefix /opt/rocm", "--prefix /usr")),
        (["usr/lib/a", "usr/local/lib/b"], "several prefixes", ("--prefix /usr", "--prefix /usr/local")),
        (["src/main.c"], "not an installed tree", ()),
    ],
)
def test_tree_without_one_prefix(tmp_path: Path, files: list[str], words: str, hints: tuple[str, ...]) -> None:
    """A tree that holds several prefixes, or none, is refused; the hints are those to choose from."""
    with pytest.raises(UsageError, match=words) as refusal:
        placed(make_tree(tmp_path, dict.fromkeys(files, "x")))
    assert refusal.value.hints == hints


def test_two_files_for_one_place(tmp_path: Path) -> None:
    """Files of lib and lib64 with one name cannot both be in lib: both are named."""
    with pytest.raises(ArchiveError) as refusal:
        placed(make_tree(tmp_path, {"lib/libfoo.so.1": "x", "lib64/libfoo.so.1": "y"}))
    assert refusal.value.causes == ("lib/libfoo.so.1 and lib64/libfoo.so.1 would both be lib/libfoo.so.1",)


def test_modules_of_python_are_refused(tmp_path: Path) -> None:
    """Files for one Python's site-packages are none of a bundle's; the hint leaves their folder out."""
    tree = make_tree(tmp_path, {"usr/lib/python3/dist-packages/foo.py": "", "usr/lib/libfoo.so": "x"})
    with pytest.raises(ArchiveError, match="modules of Python") as refusal:
        placed(tree)
    (hint,) = refusal.value.hints
    pattern = hint.partition("'")[2][:-1]
    assert [file.path for file in read_tree(tree, [pattern]).files] == ["usr/lib/libfoo.so"]


def test_libtool_archives_are_left_out(tmp_path: Path) -> None:
    """A .la is not packed, and that is said."""
    files, _, left = placed(make_tree(tmp_path, {"lib/libfoo.la": "x", "lib/libfoo.so": "x"}))
    assert (list(files), list(left)) == (["lib/libfoo.so"], ["lib/libfoo.la"])


# links


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        (f"{LIB}/libfoo.so", "libfoo.so.1", ("lib/libfoo.so", "libfoo.so.1")),
        ("usr/lib/libold.so", "x86_64-linux-gnu/libfoo.so.1", ("lib/libold.so", "libfoo.so.1")),
        ("usr/bin/tool", "../share/foo/tool.sh", ("bin/tool", "../share/foo/tool.sh")),
        ("usr/bin/tool", "/usr/share/foo/tool.sh", ("bin/tool", "../share/foo/tool.sh")),
        ("usr/include/bar", "../share/foo", ("include/bar", "../share/foo")),
        (f"{LIB}/libx.so", "../../lib/x86_64-linux-gnu/libfoo.so.1", ("lib/libx.so", "libfoo.so.1")),
        (f"{LIB}/through.so", "folder/libfoo.so.1", ("lib/through.so", "libfoo.so.1")),
        ("usr/lib/libfoo.so.1", "x86_64-linux-gnu/libfoo.so.1", None),
    ],
)
def test_links_that_stay(tmp_path: Path, path: str, target: str, expected: tuple[str, str] | None) -> None:
    """A link leads to the same file as before, relative, and as one step of a chain; onto itself it is none."""
    tree = make_tree(tmp_path, {f"{LIB}/libfoo.so.1": "x", "usr/share/foo/tool.sh": "x"}, {f"{LIB}/folder": "."})
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).symlink_to(target)
    _, links, left = placed(tree)
    assert list(links.items()) == ([expected] if expected else [])
    assert list(left) == [f"{LIB}/folder"]


def test_links_to_links_that_are_left_out(tmp_path: Path) -> None:
    """What leads to a link that is left out is left out, too, however long the chain."""
    links = {"usr/lib/a": "b", "usr/lib/b": "c", "usr/lib/c": ".."}
    _, kept, left = placed(make_tree(tmp_path, {"usr/lib/libfoo.so": "x"}, links))
    assert kept == {}
    assert left["usr/lib/a"] == "it leads to b, which is left out"
    assert sorted(left) == sorted(links)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("libgone.so.1", "it leads to libgone.so.1, which is not there"),
        ("libdangling.so", "it leads to libdangling.so, which is not there"),
        ("/etc/alternatives/foo", "it leads to /etc/alternatives/foo, which is not there"),
        ("../../../../../etc/passwd", "it leads out of the tree, to ../../../../../etc/passwd"),
        ("../../..", "it leads to ../../.., which is not there"),
        ("..", "it leads to .., a folder that it lies in"),
        ("../../../var/x", "it leads to ../../../var/x, which is not there"),
        ("nowhere/../libfoo.so.1", "it leads to nowhere/../libfoo.so.1, which is not there"),
        ("libfoo.so.1/../libfoo.so.1", "it leads to libfoo.so.1/../libfoo.so.1, which is not there"),
    ],
)
def test_links_that_are_left_out(tmp_path: Path, target: str, reason: str) -> None:
    """A link that leads nowhere, out of what is packed, or to a folder around itself, is left out with its reason."""
    links = {f"{LIB}/libx.so": target, f"{LIB}/libdangling.so": "libgone.so.1"}
    _, kept, left = placed(make_tree(tmp_path, {f"{LIB}/libfoo.so.1": "x", "var/x": "x"}, links))
    assert kept == {}
    assert left[f"{LIB}/libx.so"] == reason


@pytest.mark.parametrize(
    "links",
    [
        {"lib/a": "a"},
        {"lib/a": "b", "lib/b": "c", "lib/c": "a"},
        {"lib/a": "b/x", "lib/b": "a/y"},
        {f"lib/l{number}": f"l{number + 1}/l{number + 1}" for number in range(30)} | {"lib/l30": "."},
    ],
)
def test_links_in_a_circle(tmp_path: Path, links: dict[str, str]) -> None:
    """Links that lead to each other are refused by name, and those that would take forever to follow."""
    with pytest.raises(ArchiveError) as refusal:
        placed(make_tree(tmp_path, {"lib/libfoo.so": "x"}, links))
    assert "leads in a circle" in refusal.value.causes[0]


FOLDERS = ("usr/lib", LIB, "usr/share/a", "usr/bin")
ANY_STEPS = st.lists(
    st.sampled_from(["..", "lib", "x86_64-linux-gnu", "share", "a", "l0", "l1", "l2", "f0"]), min_size=1, max_size=4
)
GOOD_STEPS = st.sampled_from(
    ["f0", "l0", "l1", "../lib/l0", "../../lib/f0", "../share/a/f1", "../share/a", "x86_64-linux-gnu/f0", "../bin"]
).map(lambda text: text.split("/"))
STEPS = ANY_STEPS | GOOD_STEPS


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(FOLDERS), STEPS), min_size=1, max_size=4),
    st.sampled_from([("usr/lib/f0", "usr/share/a/f1"), (f"{LIB}/f0", "usr/bin/f1")]),
)
def test_links_lead_where_they_led(links: list[tuple[str, list[str]]], files: tuple[str, ...]) -> None:
    """Whatever links a tree has: those that stay lead to the file that the system finds in the tree."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder) / "tree", Path(folder) / "env"
        make_tree(here, {path: path for path in files})
        for number, (place, steps) in enumerate(links):
            (here / place).mkdir(parents=True, exist_ok=True)
            (here / place / f"l{number}").symlink_to("/".join(steps))
        try:
            tree = read_tree(here)
            found = arrange(tree, locate(tree, "/usr"))
        except ArchiveError:
            return  # a circle, or two for one place
        make_tree(there, {path: file.path for path, file in found.files.items()}, dict(found.links))
        old = {locate(tree, "/usr").moved(link.path): here / link.path for link in tree.links}
        for path in dict(found.links):
            was, now = old[path], there / path
            assert now.is_file() == was.is_file()
            if now.is_file():
                assert now.read_text() == was.read_text()
            else:
                assert now.is_dir()
                assert was.is_dir()


# trees that cannot be packed


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Pipes, sockets and names that no archive can have are refused, each by its name."""
    tree = make_tree(tmp_path, {"lib/libfoo.so": "x", "share/a\nb": "x", "share/back\\slash": "x"})
    os.mkfifo(tree / "lib" / "pipe")
    (tree / "share" / os.fsdecode(b"latin\xe9")).write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tree)  # the name of a socket may not be long
        try:
            listening.bind("lib/sock")
        finally:
            os.chdir(here)
        with pytest.raises(ArchiveError, match="cannot be packed") as refusal:
            read_tree(tree)
    assert refusal.value.causes == (
        "'lib/pipe' is a pipe",
        "'lib/sock' is a socket",
        "b'share/latin\\xe9' has a name that is not UTF-8",
        "entry 'share/a\\nb' has control characters in its name",
        "entry 'share/back\\\\slash' has a backslash in its name",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A file or folder that may not be read is named."""
    tree = make_tree(tmp_path, {"lib/secret": "x", "share/foo": "x"})
    (tree / "lib" / "secret").chmod(0)
    (tree / "share").chmod(0)
    try:
        with pytest.raises(ArchiveError) as refusal:
            read_tree(tree)
    finally:
        (tree / "share").chmod(0o755)
    assert [cause.partition(" ")[0] for cause in refusal.value.causes] == ["'lib/secret'", "'share'"]


def test_exclude_leaves_out(tmp_path: Path) -> None:
    """A pattern leaves out files, or a folder with all below it, before anything of it is looked at."""
    tree = make_tree(tmp_path, {"lib/a": "x", "share/man/man1/a.1": "x", "share/doc/b": "x"})
    os.mkfifo(tree / "share" / "man" / "pipe")
    assert [file.path for file in read_tree(tree, ["share/man", "*/doc/*"]).files] == ["lib/a"]


# tags


def facts_of(*objects: ObjectFacts) -> NativeFacts:
    return NativeFacts(None, 0, objects=objects)


def binary(path: str, machine: str = "x86_64", **versions: tuple[str, ...]) -> ObjectFacts:
    """A library that needs symbol versions of libraries: `libc_so_6=("GLIBC_2.17",)`."""
    needed = {f"{name.rpartition('_so_')[0]}.so.{name.rpartition('_so_')[2]}": them for name, them in versions.items()}
    needed = {name.replace("stdcxx", "stdc++"): them for name, them in needed.items()}
    return ObjectFacts(path, 1, "elf", machine=machine, type="shared", needed=tuple(needed), versions_needed=needed)


@pytest.mark.parametrize(
    ("objects", "tag"),
    [
        ([], ANY),
        ([binary("a", libc_so_6=("GLIBC_2.2.5",))], "py3-none-manylinux_2_5_x86_64"),
        ([binary("a", libc_so_6=("GLIBC_2.14", "GLIBC_2.28"))], "py3-none-manylinux_2_28_x86_64"),
        ([binary("a", libc_so_6=("GLIBC_2.29",))], "py3-none-manylinux_2_29_x86_64"),
        (
            [binary("a", libc_so_6=("GLIBC_2.4",)), binary("b", libstdcxx_so_6=("GLIBCXX_3.4.29",))],
            "py3-none-manylinux_2_34_x86_64",
        ),
        ([binary("a", "aarch64", libc_so_6=("GLIBC_2.17",))], "py3-none-manylinux_2_17_aarch64"),
    ],
)
def test_tag_that_fits(objects: list[ObjectFacts], tag: str) -> None:
    """The tag names the oldest glibc that has every symbol version; without binaries any machine will do."""
    facts = facts_of(*objects)
    assert fitting_tag(facts) == tag
    check_tag(tag, facts)


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([binary("a"), binary("b", "aarch64")], "several machines"),
        ([binary("a", libstdcxx_so_6=("GLIBCXX_3.4.99",))], "no manylinux tag promises"),
        ([binary("a", "em-99")], "no manylinux tag is known"),
        ([ObjectFacts("a", 1, "elf", machine="x86_64", needed=("libc.musl-x86_64.so.1",))], "is for musl"),
    ],
)
def test_no_tag_fits(objects: list[ObjectFacts], words: str) -> None:
    """Where no tag can be computed the reason is told, with the flag that gives one."""
    with pytest.raises(UsageError, match=words) as refusal:
        fitting_tag(facts_of(*objects))
    assert refusal.value.hints


@pytest.mark.parametrize(
    ("tag", "cause"),
    [
        ("py3-none-manylinux_2_17_x86_64", "lib/a needs GLIBC_2.28 of libc.so.6"),
        ("py3-none-manylinux2014_x86_64.manylinux_2_28_x86_64", "lib/a needs GLIBC_2.28 of libc.so.6"),
        ("py3-none-any", "lib/a is for x86_64"),
        ("py3-none-manylinux_2_28_aarch64", "lib/a is for x86_64"),
        ("py3-none-musllinux_1_2_x86_64", "lib/a needs glibc's libc.so.6"),
        ("py3-none-win_amd64", "lib/a is a binary for Linux"),
    ],
)
def test_tag_that_promises_too_much(tag: str, cause: str) -> None:
    """A tag that the binaries do not keep is refused, with the binary and the symbol."""
    with pytest.raises(UsageError, match="promises more") as refusal:
        check_tag(tag, facts_of(binary("lib/a", libc_so_6=("GLIBC_2.28",))))
    assert refusal.value.causes == (cause,)


@pytest.mark.parametrize("tag", ["", "any", "py3-none", "py3-none-a b", "py3-none-any-more-x"])
def test_no_tag_at_all(tag: str) -> None:
    """What is no tag is refused."""
    with pytest.raises(UsageError, match="is not a tag"):
        check_tag(tag, facts_of())


def test_symbols_of_a_library_in_the_tree() -> None:
    """A tree that carries its own libstdc++ asks no system for that one's symbols."""
    own = ObjectFacts("lib/libstdc++.so.6", 1, "elf", machine="x86_64", type="shared", soname="libstdc++.so.6")
    assert (
        fitting_tag(facts_of(own, binary("a", libstdcxx_so_6=("GLIBCXX_3.4.99",)))) == "py3-none-manylinux_2_5_x86_64"
    )


def test_glibc_of_a_tag() -> None:
    """Machine and glibc are read from a tag of either kind."""
    assert glibc_of("py3-none-manylinux_2_28_x86_64") == ("x86_64", "2.28")
    assert glibc_of("py3-none-manylinux2014_aarch64") == ("aarch64", "2.17")
    assert glibc_of("py3-none-any") is None


@pytest.mark.parametrize(
    ("text", "version"),
    [("7.2.0", "7.2.0"), ("5.2.3-8", "5.2.3.post8"), ("0.3.21+ds-4", "0.3.21+ds.4"), ("v1.0", "1.0")],
)
def test_versions(text: str, version: str) -> None:
    """A version is read as PEP 440 reads it, Debian's revision as a post-release."""
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("text", "hint"), [("1:2.3~rc1-4", "--version 1!2.3rc1.post4"), ("latest", "for example --version 7.2.0")]
)
def test_no_version(text: str, hint: str) -> None:
    """What is no version is refused, with the one that was meant where that can be told."""
    with pytest.raises(UsageError, match="is not a version") as refusal:
        version_of(text)
    assert refusal.value.hints == (hint,)


# parts


def kernels(path: str, *arches: str) -> ObjectFacts:
    codes = tuple(DeviceCode("amd", "data", arch) for arch in arches)
    return ObjectFacts(path, 1, "data", device_code=codes)


def test_parts_of_a_tree() -> None:
    """What runs, what compilers need and the kernels of each GPU are told apart; links go with what they lead to."""
    objects = {
        one.path: one
        for one in (
            kernels("lib/rocblas/library/Kernels_gfx942.co", "gfx942"),
            kernels("lib/rocblas/library/T_gfx90a.dat", "gfx90a"),
            kernels("lib/rocblas/library/all.kpack", "gfx942", "gfx90a"),
            binary("lib/librocblas.so.5.1"),
        )
    }
    files = [
        *objects,
        "include/rocblas.h",
        "lib/cmake/rocblas/c.cmake",
        "lib/libx.a",
        "bin/tool",
        "lib/rocblas/notes.txt",
    ]
    links = [
        FoundLink("lib/librocblas.so", "librocblas.so.5"),
        FoundLink("lib/librocblas.so.5", "librocblas.so.5.1"),
        FoundLink("lib/liby.a", "libx.a"),
        FoundLink("include/roc", "."),
        FoundLink("lib/rocblas/library/latest.co", "Kernels_gfx942.co"),
        FoundLink("lib/kernels", "rocblas/library"),
    ]
    found = {part.name: part for part in split(files, links, objects)}
    assert list(found) == ["", "devel", "device-gfx90a", "device-gfx942"]
    assert {name: part.files for name, part in found.items()} == {
        "": ("bin/tool", "lib/librocblas.so.5.1", "lib/rocblas/library/all.kpack", "lib/rocblas/notes.txt"),
        "devel": ("include/rocblas.h", "lib/cmake/rocblas/c.cmake", "lib/libx.a"),
        "device-gfx90a": ("lib/rocblas/library/T_gfx90a.dat",),
        "device-gfx942": ("lib/rocblas/library/Kernels_gfx942.co",),
    }
    assert {name: [link.path for link in part.links] for name, part in found.items()} == {
        "": ["lib/kernels", "lib/librocblas.so", "lib/librocblas.so.5"],
        "devel": ["include/roc", "lib/liby.a"],
        "device-gfx90a": [],
        "device-gfx942": ["lib/rocblas/library/latest.co"],
    }


def packed(**contents: bytes) -> dict[str, PackedFile]:
    """Files as they are packed, by path in the environment; `__` stands for a slash."""
    found = {}
    for name, data in contents.items():
        path = name.replace("__", "/").replace("_so", ".so")
        digest = hashlib.sha256(data).digest()
        found[path] = PackedFile(path, f"usr/{path}", len(data), False, digest, partial(iter, [data]))
    return found


def part_of(file: PackedFile, at: int, size: int) -> bytes:
    return next(file.chunks())[at : at + size]


def facts_below(root: str, files: dict[str, PackedFile]) -> NativeFacts:
    """What the files say as files of a bundle."""
    held = tuple(
        File(root + path, file.size, None, partial(part_of, file), file.chunks) for path, file in files.items()
    )
    with Tree("x", "folder", 0, held, ()) as tree:
        return read_artifact(tree, None)


def test_bundles_of_parts_require_each_other(tmp_path: Path) -> None:
    """Extras of the runtime name the parts, these require the runtime, and each says what its own binaries say."""
    files = packed(lib__libfoo_so=library("libfoo.so", ["libbar.so.2"]), include__foo=b"x", lib__k_gfx942=b"x")
    facts = facts_below(root_of(FOO), files)
    device = kernels(f"{root_of(FOO)}lib/k_gfx942", "gfx942")
    facts = facts.with_objects((*facts.objects, device))
    parts = [
        Part("", None, ("lib/libfoo.so",), (FoundLink("lib/libfoo.so.1", "libfoo.so"),)),
        Part("devel", None, ("include/foo",), ()),
        Part("device-gfx942", "gfx942", ("lib/k_gfx942",), ()),
    ]
    found = plans(FOO, parts, files, facts, [parse_requirement("bar>=2")])
    assert [plan.filename for plan in found] == [
        "foo_libs-1.4-py3-none-manylinux_2_28_x86_64.whl.tar.zst",
        "foo_libs_devel-1.4-py3-none-manylinux_2_28_x86_64.whl.tar.zst",
        "foo_libs_device_gfx942-1.4-py3-none-manylinux_2_28_x86_64.whl.tar.zst",
    ]
    assert found[0].lines == (
        "bar>=2",
        'foo-libs-devel==1.4; extra == "devel"',
        'foo-libs-device-gfx942==1.4; extra == "device-all"',
        'foo-libs-device-gfx942==1.4; extra == "device-gfx942"',
    )
    assert [plan.lines for plan in found[1:]] == [("foo-libs[]==1.4",)] * 2
    assert [[one.path for one in plan.facts.objects] for plan in found] == [
        ["foo_libs-1.4.data/data/lib/libfoo.so"],
        [],
        ["foo_libs_device_gfx942-1.4.data/data/lib/k_gfx942"],
    ]
    assert unmet(found[0].facts, found[0].links) == {"libbar.so.2": ("foo_libs-1.4.data/data/lib/libfoo.so",)}


def test_parts_without_a_runtime_are_refused() -> None:
    """A tree that has nothing to run cannot be split: what its parts require would not exist."""
    files = packed(include__foo=b"x")
    with pytest.raises(UsageError, match="nothing but files for compilers"):
        plans(FOO, [Part("devel", None, tuple(files), ())], files, facts_of(), [])


def test_bundle_that_was_written(tmp_path: Path) -> None:
    """A written bundle has the metadata of a wheel, a RECORD that fits, links, and the facts in its first frame."""
    files = packed(lib__libfoo_so=library("libfoo.so"), share__foo=b"x" * 10)
    links = (FoundLink("lib/libfoo.so.1", "libfoo.so"),)
    (plan,) = plans(FOO, [Part("", None, tuple(files), links)], files, facts_below(root_of(FOO), files), [])
    path = tmp_path / plan.filename
    with path.open("wb") as out:
        write_pack(out.write, plan)
    with open_bundle(path) as bundle:
        own = {
            one.name.rpartition("/")[2]: bundle.read(one).decode() for one in bundle.members if "dist-info" in one.name
        }
        assert [(link.path, link.target) for link in bundle.links] == [
            ("foo_libs-1.4.data/data/lib/libfoo.so.1", "libfoo.so")
        ]
        facts = decode_facts(bundle.native or b"")
        listed = {row.partition(",")[0] for row in own["RECORD"].splitlines()}
        assert listed == {one.name for one in bundle.members} | {link.path for link in bundle.links}
    assert facts == plan.facts
    assert "Name: foo-libs\nVersion: 1.4\nSummary: Foo\n" in own["METADATA"]
    assert "Root-Is-Purelib: false\nTag: py3-none-manylinux_2_28_x86_64\n" in own["WHEEL"]


def test_file_that_changed_meanwhile() -> None:
    """A file whose bytes are not those that were hashed ends the writing, with its name."""
    files = packed(share__foo=b"before")
    files["share/foo"] = files["share/foo"]._replace(chunks=partial(iter, [b"behind"]))
    (plan,) = plans(FOO, [Part("", None, tuple(files), ())], files, facts_of(), [])
    with pytest.raises(ArchiveError, match="usr/share/foo changed while it was packed"):
        write_pack(BytesIO().write, plan)


def test_same_plan_same_bytes() -> None:
    """The order in which files and links come does not matter to the bytes."""
    files = packed(**{f"share__f{number}": bytes([number]) * number for number in range(20)})
    links = [FoundLink(f"share/l{number}", f"f{number}") for number in range(20)]
    made = set()
    for seed in range(4):
        links = links[seed:] + links[:seed]
        shuffled = dict(reversed(files.items())) if seed % 2 else files
        (plan,) = plans(FOO, [Part("", None, tuple(shuffled), tuple(links))], shuffled, facts_of(), [])
        out = BytesIO()
        write_pack(out.write, plan)
        made.add(out.getvalue())
    assert len(made) == 1


def test_kernels_for_several_processors_have_rows_of_their_own() -> None:
    """A machine's own kernels go before those of a generic target; for NVIDIA nothing is chosen by itself."""
    files = packed(lib__libfoo_so=library("libfoo.so"), a=b"x", b=b"y")
    runtime = Part("", None, ("lib/libfoo.so",), ())

    def chosen(*arches: str) -> object:
        devices = [Part(f"device-{arch}", arch, (name,), ()) for arch, name in zip(arches, "ab", strict=False)]
        return plans(FOO, [runtime, *devices], files, facts_of(), [])[0].amendment.extras

    assert chosen("gfx942", "gfx90a") == (("amd", ("device-{gfx}",)),)
    assert chosen("gfx942", "gfx9-4-generic") == (
        ("amd", ("device-{gfx}",)),
        ("gfx9-4-generic", ("device-gfx9-4-generic",)),
        ("gfx942", ("device-gfx942",)),
    )
    assert chosen("sm_90") is chosen() is None
