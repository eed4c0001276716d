"""Links that objects have of their own, in views of every kind."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpuenv.errors import StoreError
from gpuenv.model.stored import StoredObject
from gpuenv.view.build import build_view
from tests.support.binaries import library
from tests.view.conftest import Bench

Files = Mapping[str, bytes | str]
FILES: Files = {
    "demo/__init__.py": "",
    "demo/lib/libx.so.1.2": library("libx.so.1"),
    "demo/sub/data.txt": "data",
    "demo-1.0.data/data/lib/libd.so.1": "d",
    "demo-1.0.data/scripts/tool": "#!/bin/sh\necho tool\n",
}
LINKS = {
    "demo/lib/libx.so": "libx.so.1",
    "demo/lib/libx.so.1": "libx.so.1.2",
    "demo/lib64": "lib",
    "demo/lib/data.txt": "../sub/data.txt",
    "demo-1.0.data/data/lib/libd.so": "libd.so.1",
    "demo-1.0.data/scripts/alias": "tool",
}


def linked(bench: Bench, name: str, files: Files, links: Mapping[str, str]) -> StoredObject:
    """A distribution with links, in the store."""
    return bench.add(name, dict(files), links=links)


def test_links_keep_their_text(bench: Bench) -> None:
    """In every mode each link says what it said, and leads to the file of the same view."""
    view = build_view(bench.plan(linked(bench, "demo", FILES, LINKS)))
    site = view / bench.plan().site_packages
    wanted = {
        site / "demo/lib/libx.so": "libx.so.1",
        site / "demo/lib/libx.so.1": "libx.so.1.2",
        site / "demo/lib64": "lib",
        site / "demo/lib/data.txt": "../sub/data.txt",
        view / "lib/libd.so": "libd.so.1",
        view / "bin/alias": "tool",
    }
    assert {path: os.readlink(path) for path in wanted} == wanted  # noqa: PTH115
    assert (site / "demo/lib64/libx.so").samefile(site / "demo/lib/libx.so.1.2")
    assert (site / "demo/lib/data.txt").read_text() == "data"
    assert (view / "lib64/libd.so").read_text() == "d"


def test_a_link_out_of_a_folder_that_others_share_unfolds_it(folding: Bench) -> None:
    """A folder with a link to where another package adds something is no link itself; alone in it, it may be one."""
    alone = linked(folding, "demo", FILES, LINKS)
    site = Path(folding.plan().site_packages)
    assert (build_view(folding.plan(alone)) / site / "demo").is_symlink()
    two = folding.add("two", {"demo/sub/more.txt": "more"})
    view = build_view(folding.plan(alone, two))
    assert not (view / site / "demo/lib").is_symlink()
    assert (view / site / "demo/lib/data.txt").resolve().read_text() == "data"


@pytest.mark.parametrize(
    ("files", "links", "where", "how"),
    [
        ({"demo/lib/libx.so": "other"}, {}, "demo/lib/libx.so", "file and link"),
        ({"demo/lib/libx.so.1": "o"}, {}, "demo/lib/libx.so.1", "file and link"),
        ({"two.py": ""}, {"demo/sub/data.txt": "../../two.py"}, "demo/sub/data.txt", "file and link"),
        ({"demo/lib/y": ""}, {"demo/lib/libx.so": "y"}, "demo/lib/libx.so", "links to different places"),
        ({"demo/lib64/y": ""}, {}, "demo/lib64", "link and directory"),
    ],
)
def test_a_link_in_the_place_of_something_else_is_a_conflict(
    files: Files, links: Mapping[str, str], where: str, how: str, bench: Bench
) -> None:
    """A link and a file, a link and a directory, or two unlike links at one place: both packages are named."""
    plan = bench.plan(linked(bench, "demo", FILES, LINKS), linked(bench, "two", files, links))
    with pytest.raises(StoreError, match=f"^demo and two both install lib/.*/{where}$") as caught:
        build_view(plan)
    assert caught.value.causes == (f"they bring {how} for it",)


def test_the_same_link_twice_is_none(bench: Bench) -> None:
    """Two packages may bring one link."""
    both = {"space/libx.so": "libx.so.1"}
    one, two = (linked(bench, name, {"space/libx.so.1": "same"}, both) for name in ("one", "two"))
    view = build_view(bench.plan(one, two))
    assert (view / bench.plan().site_packages / "space/libx.so").read_text() == "same"


def test_a_link_that_needs_another_package_leads_there(bench: Bench) -> None:
    """AMD's development tree leads to the libraries of the core package, which lie beside it in the view."""
    files = {"_rocm_sdk_devel/__init__.py": "", "demo/__init__.py": ""}
    links = {"_rocm_sdk_devel/lib/libamdhip64.so": "../../_rocm_sdk_core/lib/libamdhip64.so.7"}
    devel = linked(bench, "demo", files, links)
    core = bench.add("core", {"_rocm_sdk_core/lib/libamdhip64.so.7": "hip"})
    view = build_view(bench.plan(devel, core))
    found = view / bench.plan().site_packages / "_rocm_sdk_devel/lib/libamdhip64.so"
    assert found.read_text() == "hip"
    assert found.parent.is_symlink() is False
