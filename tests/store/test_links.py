"""Symbolic links in objects: made as their authors meant them, from whatever brought them, or refused."""

import csv
import io
import json
import os
import py_compile
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.unpacking import SymbolicLink
from gpuenv.binaries.elf import origin_paths
from gpuenv.errors import ArchiveError
from gpuenv.model.holdings import Checked
from gpuenv.model.stored import FORMAT, FORMAT_WITH_LINKS, Reach, StoredObject, decode_listing, encode
from gpuenv.store.derive import Recipe, derive
from gpuenv.store.entrypoints import BadName
from gpuenv.store.linked import leads_of
from gpuenv.store.mend import mend
from gpuenv.store.store import Store
from gpuenv.store.tree import TreeFile, TreeLink, tree_hash
from gpuenv.store.verify import IN_PLACE, check_object
from tests.support.binaries import library
from tests.support.wheels import make_wheel

DIGEST = "0" * 64
INFO = "demo-1.0.dist-info"
LIB = "demo-1.0.data/data/lib"
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "",
    "demo/lib/libx.so.1.2": library("libx.so.1", [], runpath="$ORIGIN/../../other/lib"),
    "demo/deep/er/data": "data",
    "top.txt": "top",
    f"{LIB}/libd.so.1": "d",
    "demo-1.0.data/purelib/more/mod.py": "x = 1\n",
    "demo-1.0.data/scripts/tool": "#!/bin/sh\n",
}
LINKS = {
    "demo/lib/libx.so": "libx.so.1",
    "demo/lib/libx.so.1": "libx.so.1.2",
    "demo/lib64": "lib",
    "demo/lib64.old": "./lib64/",
    "demo/deep/top": "../../top.txt",
    f"{LIB}/libd.so": "libd.so.1",
    "demo-1.0.data/scripts/alias": "tool",
}
PLACED = {
    "site-packages/demo/lib/libx.so": "libx.so.1",
    "site-packages/demo/lib/libx.so.1": "libx.so.1.2",
    "site-packages/demo/lib64": "lib",
    "site-packages/demo/lib64.old": "./lib64/",
    "site-packages/demo/deep/top": "../../top.txt",
    "data/lib/libd.so": "libd.so.1",
    "scripts/alias": "tool",
}


def demo(folder: Path, files: Mapping[str, bytes | str] = FILES) -> Path:
    """The wheel of the tests, without links."""
    return make_wheel(folder, "demo", files=files)


def bundled(folder: Path, links: Mapping[str, str], files: Mapping[str, bytes | str] = FILES) -> Path:
    """It as a bundle with links."""
    found = []
    with zipfile.ZipFile(demo(folder, files)) as archive:
        for info in archive.infolist():
            data = archive.read(info)
            executable = bool(info.external_attr >> 16 & 0o111)
            found.append(Content(info.filename, len(data), executable, partial(iter, [data])))
    path = folder / "demo.bundle"
    with path.open("wb") as file:
        write_bundle(file.write, INFO, found, [SymbolicLink(*link) for link in links.items()])
    return path


def zipped(folder: Path, links: Mapping[str, str], files: Mapping[str, bytes | str] = FILES) -> Path:
    """It as a ZIP with entries that are links."""
    return make_wheel(folder, "demo", files=files, links=links)


def listed(folder: Path, links: Mapping[str, str], files: Mapping[str, bytes | str] = FILES) -> Path:
    """It as a wheel with LINKS (PEP 778)."""
    out = io.StringIO()
    csv.writer(out).writerows(
        (path, os.path.normpath(os.path.join(os.path.dirname(path), target)))  # noqa: PTH118, PTH120
        for path, target in links.items()
    )
    return demo(folder, {**files, f"{INFO}/LINKS": out.getvalue()})


def ingest(store: Store, artifact: Path) -> StoredObject:
    return store.ingest(artifact, sha256=DIGEST, name="demo", version="1.0", origin_paths=origin_paths)


def links_below(root: Path) -> dict[str, str]:
    """The links of an object as they are."""
    return {str(path.relative_to(root)): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}  # noqa: PTH115


def check(root: Path) -> Checked:
    return check_object(root, origin_paths=origin_paths, drop=True, advance=lambda _: None)


def opened(path: Path) -> Path:
    path.parent.chmod(0o755)
    return path


@pytest.mark.parametrize("pack", [bundled, zipped])
def test_links_are_real_in_an_object(pack: Callable[..., Path], tmp_path: Path) -> None:
    """Links of a bundle, and of a ZIP, are links with the same text, by scheme; the object is clean and says so."""
    store = Store(tmp_path / "store")
    stored = ingest(store, pack(tmp_path, LINKS))
    root = store.path(stored)
    assert links_below(root) == PLACED
    assert (root / "site-packages/demo/lib64.old/libx.so").samefile(root / "site-packages/demo/lib/libx.so.1.2")
    assert stored.format == FORMAT_WITH_LINKS
    assert check(root).damaged == ()


def test_links_of_a_list_are_the_same(tmp_path: Path) -> None:
    """LINKS of PEP 778 gives links to the same places, and says paths in the shortest way."""
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, listed(tmp_path, LINKS)))
    assert links_below(root) == PLACED | {"site-packages/demo/lib64.old": "lib64"}
    assert check(root).damaged == ()


def test_a_tree_without_links_keeps_its_name(tmp_path: Path) -> None:
    """The hash of trees without links is as it was before there were any, and so is their format."""
    store = Store(tmp_path / "store")
    plain, packed = ingest(store, demo(tmp_path)), ingest(store, bundled(tmp_path, {}))
    assert plain == packed
    assert plain.format == FORMAT
    files = [TreeFile("a", 1, b"\0" * 32, False), TreeFile("b/c", 2, b"\1" * 32, True)]
    assert tree_hash(files) == "374xhqqqpk7vabblx3d7ptumysemeyvm"
    old = [["", ["site-packages"], []], ["site-packages", [], [["a", 1, b"\0" * 32, False, False]]]]
    listing = decode_listing(msgspec.msgpack.encode(old))
    assert listing is not None
    assert [directory.links for directory in listing] == [(), ()]
    assert decode_listing(encode(listing)) == listing


def test_a_link_between_parts_of_one_scheme_is_retold(tmp_path: Path) -> None:
    """Where link and target come together in the object, the link says how it gets there."""
    links = {"demo/mod.py": "../demo-1.0.data/purelib/more/mod.py", "demo-1.0.data/purelib/more/up": "../../../top.txt"}
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, bundled(tmp_path, links)))
    assert links_below(root) == {"site-packages/demo/mod.py": "../more/mod.py", "site-packages/more/up": "../top.txt"}


def test_a_link_may_stand_in_record(tmp_path: Path) -> None:
    """RECORD may list a link with whatever hash, and facts are the same when they are made again."""
    wheel = demo(tmp_path, {**FILES, "demo/lib/libx.so.1": FILES["demo/lib/libx.so.1.2"]})
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name != "demo/lib/libx.so.1":
                found.append(Content(name, len(archive.read(name)), False, partial(iter, [archive.read(name)])))
    path = tmp_path / "demo.bundle"
    with path.open("wb") as file:
        write_bundle(file.write, INFO, found, [SymbolicLink("demo/lib/libx.so.1", "libx.so.1.2")])
    store = Store(tmp_path / "store")
    stored = ingest(store, path)
    assert stored.unlike == ()
    assert check(store.path(stored)).damaged == ()


REFUSED = {
    "absolute": ({"demo/x": "/etc/passwd"}, "'demo/x' is absolute"),
    "out of the scheme": ({"demo/x": "../../data/lib/libd.so.1"}, "'demo/x' leads out"),
    "up and back": ({"demo/x": "../../site-packages/top.txt"}, "'demo/x' leads out"),
    "out of everything": ({"demo/x": "../../../../../etc/passwd"}, "'demo/x' leads out"),
    "out by another": ({"demo/up": "..", "demo/deep/x": "../up/../../secret"}, "leads out"),
    "another scheme": ({"demo/x": f"../{LIB}/libd.so.1"}, "'demo/x' leads out of where it is installed"),
    "nowhere": ({"demo/x": "missing"}, "'demo/x' leads nowhere"),
    "nowhere and back": ({"demo/x": "missing/../__init__.py"}, "'demo/x' leads nowhere"),
    "nowhere by another": ({"demo/x": "y", "demo/y": "z"}, "leads nowhere"),
    "to bytecode": ({"demo/x": "__init__.pyc"}, "'demo/x' leads nowhere"),
    "itself": ({"demo/x": "x"}, "'demo/x' leads in a circle"),
    "a circle": ({"demo/x": "y", "demo/y": "z", "demo/z": "x"}, "leads in a circle"),
    "a circle of folders": ({"demo/x": "y/a", "demo/y": "x/b"}, "leads in a circle"),
    "its own folder": ({"demo/x": "."}, "'demo/x' leads to a directory that it is in"),
    "a folder above": ({"demo/deep/er/x": "../.."}, "leads to a directory that it is in"),
    "two folders": ({"demo/deep/x": "../lib", "demo/lib/y": "../deep"}, "leads to a directory that it is in"),
    "through a file": ({"demo/x": "__init__.py/y"}, "'demo/x' leads through a file"),
    "behind a file": ({"demo/x": "__init__.py/."}, "'demo/x' leads through a file"),
    "back from a file": ({"demo/x": "__init__.py/../lib"}, "'demo/x' leads through a file"),
    "a file's slash": ({"demo/x": "__init__.py/"}, "'demo/x' leads through a file"),
    "too many": ({f"demo/l{n}": f"l{n + 1}" for n in range(41)} | {"demo/l41": "lib"}, "more than 40 links"),
    "metadata": ({f"{INFO}/LICENSE": "../top.txt"}, "in a .dist-info"),
    "a distribution": ({"other-1.0.dist-info": "demo"}, "in a .dist-info"),
    "a part of a view": ({"demo-1.0.data/data/lib": "more"}, "would replace a part of the environment"),
    "python": ({"demo-1.0.data/scripts/python3": "tool"}, "python3"),
    "no text": ({"demo/x": "a\x1b[2J"}, "control characters"),
}


@pytest.mark.parametrize("pack", [bundled, zipped])
@pytest.mark.parametrize(("links", "reason"), REFUSED.values(), ids=REFUSED)
def test_hostile_links_are_refused(
    links: dict[str, str], reason: str, pack: Callable[..., Path], tmp_path: Path
) -> None:
    """What leaves its scheme, leads nowhere or round in circles is refused by name; nothing of it is visible."""
    files = {path: data for path, data in FILES.items() if not any(path.startswith(f"{link}/") for link in links)}
    store = Store(tmp_path / "store")
    with pytest.raises(ArchiveError, match=reason):
        ingest(store, pack(tmp_path, links, files))
    assert list(store.objects.iterdir()) == []
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "links", "reason"),
    [
        (["a/b"], [("a/b", "c")], "stands where there is something else"),
        (["a/b/c"], [("a/b", "c")], "stands where there is something else"),
        (["a/b"], [("a/b/c", "../b")], "lies below the file"),
        (["a/b"], [("a/x", "b"), ("a/x/y", "b")], "stands where there is something else"),
        (["a/b"], [("a/x", "b"), ("a/x", "b")], "two links of one name"),
        (["a/b"], [("a/x\n", "b")], "control characters"),
        (["a/b"], [("a/x", "")], "empty"),
    ],
)
def test_one_place_has_one_entry(files: Sequence[str], links: Sequence[tuple[str, str]], reason: str) -> None:
    """A link stands nowhere where a file, a directory or another link is, nor above or below it."""
    with pytest.raises(BadName, match=reason):
        leads_of(files, [TreeLink(*link) for link in links])


def test_what_links_reach_is_known(tmp_path: Path) -> None:
    """Links out of their directory are reaches, and a library reaches from where a link opens it."""
    files = {**FILES, "demo/deep/lib.so": library("lib.so", [], runpath="$ORIGIN/../../far")}
    stored = ingest(Store(tmp_path / "store"), bundled(tmp_path, {"demo/x/lib.so": "../deep/lib.so"}, files))
    assert [reach for reach in stored.reaches if reach.directory == "site-packages/demo/x"] == [
        Reach("site-packages/demo/x", "site-packages/demo/deep", True),
        Reach("site-packages/demo/x", "site-packages/far", False),
    ]


def change(root: Path) -> Path:
    link = opened(root / "site-packages/demo/lib/libx.so")
    link.unlink()
    return link


def retarget(root: Path) -> None:
    change(root).symlink_to("libx.so.1.2")


def lose(root: Path) -> None:
    change(root)


def copy(root: Path) -> None:
    change(root).write_bytes((root / "site-packages/demo/lib/libx.so.1.2").read_bytes())


def add(root: Path) -> None:
    opened(root / "site-packages/demo/new").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("damage", "path", "problem", "kind"),
    [
        (retarget, "demo/lib/libx.so", "is a link to libx.so.1.2 instead of a link to libx.so.1", "type"),
        (lose, "demo/lib/libx.so", "is missing", "missing"),
        (copy, "demo/lib/libx.so", "is a file instead of a link to libx.so.1", "type"),
        (add, "demo/new", "is a link to /etc/passwd that is no part of it", "added"),
    ],
)
def test_damage_to_links_is_named(
    damage: Callable[[Path], None], path: str, problem: str, kind: str, tmp_path: Path
) -> None:
    """A link that is gone, leads elsewhere, became a file or was added is named; the first three are fetched again."""
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, bundled(tmp_path, LINKS)))
    damage(root)
    (root / f"site-packages/{path}").parent.chmod(0o555)
    found = check(root).damaged
    assert [(one.path, one.problem, one.kind) for one in found] == [(f"site-packages/{path}", problem, kind)]
    if kind in IN_PLACE:
        mend(root, found, origin_paths=origin_paths)
        assert check(root).damaged == ()
        assert Path("/etc/passwd").exists()


def test_lost_facts_come_back_with_links(tmp_path: Path) -> None:
    """Listing and facts of an object with links are made again from what lies there."""
    store = Store(tmp_path / "store")
    stored = ingest(store, bundled(tmp_path, LINKS))
    root = store.path(stored)
    listing = (root / "listing.msgpack").read_bytes()
    for name in ("facts.msgpack", "listing.msgpack"):
        opened(root / name).unlink()
    root.chmod(0o555)
    mend(root, check(root).damaged, origin_paths=origin_paths)
    assert check(root).damaged == ()
    assert (root / "listing.msgpack").read_bytes() == listing
    assert store.find(DIGEST) == stored


def test_bytecode_of_a_linked_module_is_its_own(tmp_path: Path) -> None:
    """What Python compiles when it imports a module by a link is no foreign bytecode."""
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, bundled(tmp_path, {"demo/alias.py": "__init__.py"})))
    folder = root / "site-packages/demo"
    py_compile.compile(str(folder / "alias.py"), cfile=str(folder / "__pycache__/alias.cpython-311.pyc"))
    found = check(root)
    assert (found.damaged, found.dropped) == ((), 1)  # no list vouches for it, and it is nothing bad


def test_derived_objects_have_the_links(tmp_path: Path) -> None:
    """A derived object holds the links of its original."""
    store = Store(tmp_path / "store")
    stored = ingest(store, bundled(tmp_path, LINKS))
    recipe = Recipe(stored.key, {"site-packages/demo/lib/libx.so.1.2": ("$ORIGIN/../other",)}, "tool 1")

    def patch(_: Path, made: Path, entries: tuple[str, ...]) -> None:
        made.write_bytes(library("libx.so.1", [], runpath=":".join(entries)))

    made = derive(store, stored, recipe, patch, origin_paths)
    assert made.key != stored.key
    assert links_below(store.path(made)) == PLACED
    assert check(store.path(made)).damaged == ()


# AMD's development files


def devel(folder: Path, entries: Mapping[str, str | tuple[str]], packing: str = "xz", **more: bytes | str) -> Path:
    """A wheel like rocm-sdk-devel: a tar inside. entries: contents by path, or (target of a link,)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packing}") as tar:  # type: ignore[call-overload]
        for path, content in entries.items():
            info = tarfile.TarInfo(path)
            if isinstance(content, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, content[0]
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755 if "/bin/" in path else 0o644
                tar.addfile(info, io.BytesIO(content.encode()))
    name = f"_devel.tar.{packing}" if packing else "_devel.tar"
    return demo(folder, {"rocm_sdk_devel/__init__.py": "", f"rocm_sdk_devel/{name}": out.getvalue(), **more})


TREE: dict[str, str | tuple[str]] = {
    "_rocm_sdk_devel/__init__.py": "",
    "_rocm_sdk_devel/include/hip.h": "header",
    "_rocm_sdk_devel/bin/hipcc": "#!/bin/sh\n",
    "_rocm_sdk_devel/lib/libamdhip64.so.7": ("../../_rocm_sdk_core/lib/libamdhip64.so.7",),
    "_rocm_sdk_devel/lib/libamdhip64.so": ("libamdhip64.so.7",),
    "_rocm_sdk_devel/lib64": ("lib",),
}


@pytest.mark.parametrize("packing", ["", "gz", "xz"])
def test_a_development_archive_is_expanded(packing: str, tmp_path: Path) -> None:
    """AMD's tar becomes the tree that it stands for, links to the packages beside it too, and is gone itself."""
    store = Store(tmp_path / "store")
    stored = ingest(store, devel(tmp_path, TREE, packing))
    root = store.path(stored)
    site = root / "site-packages"
    assert list((site / "rocm_sdk_devel").glob("_devel*")) == []
    assert (site / "_rocm_sdk_devel/include/hip.h").read_text() == "header"
    assert os.access(site / "_rocm_sdk_devel/bin/hipcc", os.X_OK)
    assert links_below(root) == {
        f"site-packages/{path}": entry[0] for path, entry in TREE.items() if isinstance(entry, tuple)
    }
    reach = Reach("site-packages/_rocm_sdk_devel/lib", "site-packages/_rocm_sdk_core/lib", False)
    assert reach in stored.reaches
    assert check(root).damaged == ()


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"demo/x.py": "x"}, "_devel.tar.xz: entry 'demo/x.py' is not in _rocm_sdk_devel"),
        ({"../x": "x"}, "leaves the archive"),
        ({"/etc/x": "x"}, "absolute"),
        ({"_rocm_sdk_devel/x": ("../../../../etc/passwd",)}, "leads out"),
        ({"_rocm_sdk_devel/x": ("/etc/passwd",)}, "absolute"),
        ({"_rocm_sdk_devel/x": ("missing",)}, "leads nowhere"),
        ({"_rocm_sdk_devel/x": ("..",), "_rocm_sdk_devel/x/y.py": "x"}, "stands where there is something else"),
        ({"_rocm_sdk_devel/x": "1", "_rocm_sdk_devel/x/y": "2"}, "would overwrite another file"),
        ({"_rocm_sdk_devel/x": ("../other/missing/../../../top",)}, "leads out"),
        ({"_rocm_sdk_devel/x": ("../other/link/../file",)}, "leads out"),
    ],
)
def test_hostile_development_archives_are_refused(
    entries: Mapping[str, str | tuple[str]], reason: str, tmp_path: Path
) -> None:
    """The tar may fill its own directory alone, and its links stay in site-packages."""
    store = Store(tmp_path / "store")
    with pytest.raises(ArchiveError, match=reason):
        ingest(store, devel(tmp_path, entries))
    assert list(store.objects.iterdir()) == []


def device(folder: Path, said: object) -> Path:
    """A wheel like rocm-sdk-device-gfx942, with its list of links."""
    text = said if isinstance(said, str) else json.dumps(said)
    path = "_rocm_sdk_libraries/.devel_links/gfx942.json"
    return demo(folder, {"_rocm_sdk_libraries/lib/a.dat": "kernel", path: text})


def test_device_files_lie_in_the_development_tree_too(tmp_path: Path) -> None:
    """The links that a device wheel lists for AMD's tool are made at once."""
    row = {"relpath": "lib/a.dat", "target": "../../_rocm_sdk_libraries/lib/a.dat"}
    store = Store(tmp_path / "store")
    root = store.path(ingest(store, device(tmp_path, {"version": "7", "links": [row]})))
    assert (root / "site-packages/_rocm_sdk_devel/lib/a.dat").read_text() == "kernel"
    assert check(root).damaged == ()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("{", "no list of links"),
        ([], "no list of links"),
        ({"links": [{"relpath": "x"}]}, "no list of links"),
        ({"links": [{"relpath": "../demo/x", "target": "y"}]}, "leaves the archive"),
        ({"links": [{"relpath": "/x", "target": "y"}]}, "empty part"),
        ({"links": [{"relpath": "x", "target": "../../../y"}]}, "leads out"),
    ],
)
def test_malformed_lists_are_refused(said: object, reason: str, tmp_path: Path) -> None:
    """A list that is none, or that leads out of the tree, is refused."""
    with pytest.raises(ArchiveError, match=reason):
        ingest(Store(tmp_path / "store"), device(tmp_path, said))


# laws

NAMES = st.sampled_from(["a", "b", "c", "l", "m"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "l", "m", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


@settings(deadline=None)
@given(st.sets(PATHS, max_size=5), st.dictionaries(PATHS, TARGETS, max_size=4))
def test_links_lead_where_the_system_says(files: set[str], links: dict[str, str]) -> None:
    """An accepted link leads to what realpath(3) finds, inside its scheme; one that leads nowhere is broken there."""
    made = [TreeLink(f"s/{path}", target) for path, target in links.items()]
    with tempfile.TemporaryDirectory() as text:
        root = Path(os.path.realpath(text))
        (root / "s").mkdir()
        try:
            for path in files:
                (root / "s" / path).parent.mkdir(parents=True, exist_ok=True)
                (root / "s" / path).touch()
            for link in made:
                (root / link.path).parent.mkdir(parents=True, exist_ok=True)
                (root / link.path).symlink_to(link.target)
        except (OSError, ValueError):
            return  # two things at one place
        try:
            leads = leads_of([f"s/{path}" for path in files], made)
        except BadName as refused:
            found = re.match(r"link '([^']+)' leads (nowhere|through a file|in a circle)", str(refused))
            assert found is None or not (root / found[1]).exists()
            return
        assert {path: os.path.realpath(root / path, strict=True) for path in leads} == {
            path: str(root / lead) for path, lead in leads.items()
        }
        assert all(lead == "s" or lead.startswith("s/") for lead in leads.values())
        assert sum(1 for _ in os.walk(root, followlinks=True)) < 10_000
