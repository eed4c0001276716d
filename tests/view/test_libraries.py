"""What views get for libraries that others may open or link with: which rows, which links, which conflicts."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuenv.errors import StoreError
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule
from gpuenv.model.stored import Directory, StoredFile, StoredObject
from gpuenv.model.target import Target
from gpuenv.view.build import build_view
from gpuenv.view.libraries import Carried, LibraryFiles, development_links, libraries_of, library_files
from tests.view.conftest import Bench

TARGET = Target("t")
SITE = "lib/python3.12/site-packages"


def binary(path: str, *needed: str, soname: Any = "", **options: Any) -> ObjectFacts:
    """A library for x86-64; its SONAME is its file name unless said otherwise."""
    name = path.rpartition("/")[2] if soname == "" else soname
    made: dict[str, object] = {"machine": "x86_64", "type": "shared", "needed": needed, "soname": name, **options}
    return ObjectFacts(path, 1, "elf", **made)  # type: ignore[arg-type]


def dist(name: str, *objects: ObjectFacts, headers: Mapping[str, str] | None = None, **options: Any) -> Carried:
    """A distribution that gets development links. headers: path in the object -> content."""
    facts = NativeFacts(None, 1, objects=objects) if objects else None
    made: dict[str, Any] = {"listing": listing(headers or {}), "linked": True, **options}
    return Carried(name, "1.0", facts, **made)


def listing(files: Mapping[str, str]) -> tuple[Directory, ...]:
    """The folders of an object with these files."""
    directories: dict[str, tuple[set[str], list[StoredFile]]] = {"": (set(), [])}
    for path, content in sorted(files.items()):
        *parents, name = path.split("/")
        for depth, parent in enumerate(parents):
            above = "/".join(parents[:depth])
            directories[above][0].add(parent)
            directories.setdefault(f"{above}/{parent}".lstrip("/"), (set(), []))
        digest = hashlib.sha256(content.encode()).digest()
        directories["/".join(parents)][1].append(StoredFile(name, len(content), digest, False))
    return tuple(Directory(path, tuple(sorted(below)), tuple(held)) for path, (below, held) in directories.items())


def links(*distributions: Carried) -> dict[str, str]:
    return development_links(distributions, TARGET, SITE)


def sonames(*distributions: Carried) -> list[str]:
    return [library.soname for library in libraries_of(distributions, TARGET)]


# the table


def test_needs_come_first() -> None:
    """Libraries stand in an order in which each finds what it needs opened before, across distributions."""
    dnn = dist("adnn", binary("dnn/libdnn.so.9", "libblas.so.13", "libc.so.6"))
    blas = dist("blas", binary("blas/libblas.so.13", "libblasLt.so.13"), binary("blas/libblasLt.so.13"))
    table = libraries_of([dnn, blas], TARGET)
    assert [one.soname for one in table] == ["libblasLt.so.13", "libblas.so.13", "libdnn.so.9"]
    assert [one.needs for one in table] == [(), ("libblasLt.so.13",), ("libblas.so.13",)]


def test_circles_end() -> None:
    """Libraries that need each other, or themselves, are all there once."""
    one = dist("one", binary("liba.so", "libb.so"), binary("libb.so", "liba.so", "libb.so"))
    assert sorted(sonames(one)) == ["liba.so", "libb.so"]


def test_what_is_for_others() -> None:
    """Extension modules, programs, private copies, stubs, plugins and other machines' libraries are left out."""
    found = dist(
        "one",
        binary("one/lib/libone.so.1"),
        binary("one/libcore.so", python=PythonModule("libcore", "", "PyInit_libcore")),
        binary("one/bin/libtool.so", type="executable"),
        binary("one.libs/libgomp-a34b3233.so.1"),
        binary("one/lib/stubs/libcuda.so.1"),
        binary("one/backend.so"),
        binary("one/arm/libarm.so.1", machine="aarch64"),
    )
    assert sonames(found) == ["libone.so.1"]
    assert sonames(dist("none")) == []


def test_a_soname_of_two() -> None:
    """Of two distributions with one soname the one counts that the lock binds, else the first by name."""
    first, second = (dist(name, binary(f"{name}/libgomp.so.1")) for name in ("first", "second"))
    user = dist("user", binary("user/libuser.so", "libgomp.so.1"), bound={"second": ("libgomp.so.1",)})
    assert [one.package for one in libraries_of([second, first], TARGET)] == ["first"]
    assert [one.package for one in libraries_of([first, second, user], TARGET)] == ["second", "user"]


def test_files_of_a_view() -> None:
    """The table and the module that reads it, where there are libraries; gpuenv itself brings its own module."""
    made = library_files([dist("one", binary("one-1.data/data/lib/libone.so.1"), linked=False)], TARGET, SITE)
    assert made is not None
    assert set(made.files) == {"_gpuenv_libraries.json", "gpuenv/runtime.py"}
    assert json.loads(made.files["_gpuenv_libraries.json"])["libraries"]["libone.so.1"] == {
        "path": "../../../lib/libone.so.1",
        "package": "one",
        "version": "1.0",
        "needs": [],
    }
    beside = library_files([dist("gpuenv"), dist("one", binary("one/libone.so.1"))], TARGET, SITE)
    assert beside is not None
    assert set(beside.files) == {"_gpuenv_libraries.json"}
    assert library_files([dist("pure"), dist("module", binary("one.libs/libx-1a2b3c4d.so"))], TARGET, SITE) is None


# development links


def test_libraries_get_the_names_that_linkers_look_for() -> None:
    """`libNAME.so` in lib/ leads to the library where it lies; the newest of one package; only for what is asked."""
    cuda = dist("cuda", binary("nvidia/cu13/lib/libcudart.so.13"), binary("nvidia/cu13/lib/libplain.so"))
    old = dist("old", *(binary(f"old/libold.so.{version}") for version in ("9", "10")))
    data = dist("data", binary("data-1.data/data/lib/libown.so"), binary("data-1.data/data/lib/libver.so.2"))
    assert links(cuda, old, data, dist("other", binary("libother.so.1"), linked=False)) == {
        "lib/libcudart.so": f"{SITE}/nvidia/cu13/lib/libcudart.so.13",
        "lib/libold.so": f"{SITE}/old/libold.so.10",
        "lib/libplain.so": f"{SITE}/nvidia/cu13/lib/libplain.so",
        "lib/libver.so": "lib/libver.so.2",
    }


def test_two_libraries_of_one_name() -> None:
    """A name that could lead to two packages is refused, with both and what would do."""
    one, two = (dist(f"rt-cu{n}", binary(f"nvidia/cu{n}/lib/libcudart.so.{n}")) for n in (12, 13))
    with pytest.raises(StoreError) as caught:
        links(two, one)
    assert caught.value.message == "the development link lib/libcudart.so could lead to two files"
    assert caught.value.causes == ("libcudart.so.12 of rt-cu12, or libcudart.so.13 of rt-cu13",)
    assert caught.value.hints == ("let `development-links` match rt-cu12 or rt-cu13, not both",)
    assert links(one, replace_linked(two)) == {"lib/libcudart.so": f"{SITE}/nvidia/cu12/lib/libcudart.so.12"}


def replace_linked(one: Carried) -> Carried:
    return one._replace(linked=False)


def test_headers() -> None:
    """Entries of include folders, folders as one link; no Python files, nothing of those that are not asked."""
    runtime = dist(
        "runtime",
        headers={
            "site-packages/nvidia/cu13/include/cuda.h": "",
            "site-packages/nvidia/cu13/include/crt/host.h": "",
            "site-packages/nvidia/cu13/include/__init__.py": "",
            "site-packages/nvidia/cu13/include/deep/include/x.h": "",
            "site-packages/nvidia/cu13/lib/libcudart.so.13": "",
            "headers/elsewhere.h": "",
        },
    )
    other = dist("other", headers={"site-packages/other/include/other.h": ""}, linked=False)
    assert links(runtime, other) == {
        "include/crt": f"{SITE}/nvidia/cu13/include/crt",
        "include/cuda.h": f"{SITE}/nvidia/cu13/include/cuda.h",
        "include/deep": f"{SITE}/nvidia/cu13/include/deep",
    }


def test_headers_of_one_folder_from_several() -> None:
    """Distributions that install into the same folder make one folder of it, and one link leads there."""
    folder = "site-packages/nvidia/cu13/include"
    one = dist("one", headers={f"{folder}/nv/a.h": "a", f"{folder}/one.h": ""})
    two = dist("two", headers={f"{folder}/nv/b.h": "b", f"{folder}/two.h": ""})
    assert links(one, two) == {
        "include/nv": f"{SITE}/nvidia/cu13/include/nv",
        "include/one.h": f"{SITE}/nvidia/cu13/include/one.h",
        "include/two.h": f"{SITE}/nvidia/cu13/include/two.h",
    }


def test_folders_of_one_name_become_one() -> None:
    """What two include folders share is a real folder of links; equal files are no conflict, others are."""
    one = dist("one", headers={"site-packages/one/include/cuda/a.h": "a", "site-packages/one/include/cuda/same.h": "s"})
    two = dist("two", headers={"site-packages/two/include/cuda/b.h": "b", "site-packages/two/include/cuda/same.h": "s"})
    assert links(one, two) == {
        "include/cuda/a.h": f"{SITE}/one/include/cuda/a.h",
        "include/cuda/b.h": f"{SITE}/two/include/cuda/b.h",
        "include/cuda/same.h": f"{SITE}/one/include/cuda/same.h",
    }
    three = dist("three", headers={"site-packages/three/include/cuda/a.h": "another"})
    with pytest.raises(StoreError, match=r"include/cuda/a\.h could lead to two files") as caught:
        links(one, three)
    assert caught.value.hints == ("let `development-links` match one or three, not both",)


def test_a_file_and_a_folder_of_one_name() -> None:
    """`include/cuda` as a file of one and a folder of another is refused."""
    one = dist("one", headers={"site-packages/one/include/cuda": ""})
    two = dist("two", headers={"site-packages/two/include/cuda/b.h": ""})
    with pytest.raises(StoreError, match="include/cuda could lead to two files") as caught:
        links(one, two)
    assert caught.value.hints == ("let `development-links` match one or two, not both",)


def test_what_a_wheel_installs_into_include_stays() -> None:
    """A wheel's own include/ wins over links, whoever brings it; folders that both have become one."""
    own = dist("own", headers={"data/include/cuda/a.h": "own", "data/include/x.h": "own"}, linked=False)
    one = dist("one", headers={"site-packages/one/include/cuda/a.h": "a", "site-packages/one/include/cuda/b.h": "b"})
    two = dist("two", headers={"site-packages/two/include/x.h": "x"})
    assert links(own, one, two) == {"include/cuda/b.h": f"{SITE}/one/include/cuda/b.h"}


# in a view


def with_libraries(bench: Bench, objects: Iterable[StoredObject], made: LibraryFiles | None) -> Path:
    return build_view(bench.plan(*objects, libraries=made))


def test_a_view_has_them(bench: Bench) -> None:
    """Table, module and links are there in each link mode, the links relative and leading to the view's own files."""
    plan = bench.plan()
    site = plan.site_packages
    files: dict[str, bytes | str] = {
        "dep/lib/libdep.so.1": "library",
        "dep/include/dep/a.h": "a",
        "dep-1.0.data/data/include/dep/own.h": "own",
        "dep-1.0.data/data/lib/libown.so": "own",
    }
    stored = bench.add("dep", files)
    made = LibraryFiles(
        {"_gpuenv_libraries.json": "{}", "gpuenv/runtime.py": "carried = True\n"},
        {
            "lib/libdep.so": f"{site}/dep/lib/libdep.so.1",
            "lib/libown.so": f"{site}/dep/lib/libdep.so.1",
            "include/dep/a.h": f"{site}/dep/include/dep/a.h",
        },
    )
    view = with_libraries(bench, [stored], made)
    tag = plan.interpreter.tag
    assert str((view / "lib" / "libdep.so").readlink()) == f"python{tag}/site-packages/dep/lib/libdep.so.1"
    assert (view / "lib" / "libdep.so").read_text() == "library"
    assert (view / "lib" / "libown.so").read_text() == "own"
    assert (view / "lib64" / "libdep.so").read_text() == "library"
    assert {path.name: path.read_text() for path in (view / "include" / "dep").iterdir()} == {
        "a.h": "a",
        "own.h": "own",
    }
    assert (view / site / "gpuenv" / "runtime.py").read_text() == "carried = True\n"
    assert not (view / site / "gpuenv" / "__init__.py").exists()


def test_a_package_of_that_name_is_left_alone(bench: Bench) -> None:
    """A distribution with a folder `gpuenv` keeps its files, and its object is not written to."""
    stored = bench.add("plugin", {"gpuenv/plugin.py": "x = 1\n", "gpuenv/runtime.py": "own = True\n"})
    view = with_libraries(bench, [stored], LibraryFiles({"gpuenv/runtime.py": "carried = True\n"}))
    folder = view / bench.plan().site_packages / "gpuenv"
    assert (folder / "runtime.py").read_text() == "own = True\n"
    assert (folder / "plugin.py").read_text() == "x = 1\n"
    assert not folder.is_symlink()


def test_the_key_knows_them(folding: Bench) -> None:
    """Other links or another table are another view; none are the view as it was without them."""
    plan = folding.plan(folding.add("demo"))
    kinds = [LibraryFiles({"a": "1"}), LibraryFiles({"a": "2"}), LibraryFiles({}, {"a": "1"})]
    keys = {replace(plan, libraries=made).key for made in (None, *kinds)}
    assert len(keys) == 4
