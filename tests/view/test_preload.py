"""Which libraries a view opens before an import, in which order, and what the start-up file does and costs."""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuenv.model.facts import NativeFacts, ObjectFacts, Symlink
from gpuenv.model.stored import Directory, StoredFile
from gpuenv.model.target import Target
from gpuenv.view.build import build_view
from gpuenv.view.preload import Installed, Openings, modules_of, preload_list, startup_files
from gpuenv.view.switch import switch
from tests.view.conftest import Bench
from tests.view.support import binary, module

TARGET = Target("t")


def dist(
    name: str,
    *objects: ObjectFacts,
    requires: Iterable[str] = (),
    links: tuple[Symlink, ...] = (),
    libraries: Mapping[str, tuple[str, ...]] | None = None,
    **options: object,
) -> Installed:
    """A distribution with one module of its own name."""
    facts = NativeFacts(None, 1, objects=objects, symlinks=links)
    made: dict[str, object] = {"modules": (name,), "requires": frozenset(requires), "libraries": libraries or {}}
    return Installed(name, facts, TARGET, **{**made, **options})  # type: ignore[arg-type]


def listed(*distributions: Installed) -> dict[str, tuple[str, ...]]:
    return preload_list({one.name: one for one in distributions})


DNN = dist("dnn", binary("vendor/dnn/lib/libdnn.so.9", "libblas.so.13"), libraries={"blas": ("libblas.so.13",)})
BLAS = dist(
    "blas",
    binary("vendor/blas/lib/libblas.so.13", "libblasLt.so.13", runpath=("$ORIGIN",)),
    binary("vendor/blas/lib/libblasLt.so.13"),
)
BOUND = {"dnn": ("libdnn.so.9",), "blas": ("libblas.so.13",)}


def test_what_a_provider_needs_comes_before_it() -> None:
    """Libraries are listed so that each finds what it needs; what a library's own paths reach is not listed."""
    user = dist("user", module("user/core.so", "libdnn.so.9", "libc.so.6"), libraries={"dnn": ("libdnn.so.9",)})
    names = listed(user, DNN, BLAS)
    assert names["user"] == ("vendor/blas/lib/libblas.so.13", "vendor/dnn/lib/libdnn.so.9")


def test_a_provider_whose_own_library_is_not_beside_it() -> None:
    """A provider that finds a library of its own by load order only gets it opened first, too."""
    blas = dist("blas", binary("blas/libblas.so.13", "libblasLt.so.13"), binary("blas/lt/libblasLt.so.13"))
    user = dist("user", module("user/core.so", "libblas.so.13"), libraries={"blas": ("libblas.so.13",)})
    assert listed(user, blas)["user"] == ("blas/lt/libblasLt.so.13", "blas/libblas.so.13")


@pytest.mark.parametrize("kind", ["runpath", "rpath"])
def test_what_paths_reach_is_not_listed(kind: str) -> None:
    """As torch does it: paths of its own lead to each provider, and nothing is opened first."""
    paths = ("$ORIGIN/../vendor/dnn/lib", "$ORIGIN/../vendor/blas/lib")
    options: dict[str, Any] = {kind: paths}
    own = binary("user/libuser.so", "libdnn.so.9", "libblas.so.13", **options)
    dnn = dist("dnn", binary("vendor/dnn/lib/libdnn.so.9", "libblas.so.13", runpath=("$ORIGIN/../../blas/lib",)))
    assert listed(dist("user", own, libraries=BOUND), dnn, BLAS) == {}


def test_rpath_is_inherited_and_runpath_is_not() -> None:
    """DT_RPATH of who loads a library leads its needs, too, unless it has a DT_RUNPATH, which leads it alone."""
    paths = ("$ORIGIN/../vendor/dnn/lib", "$ORIGIN/../vendor/blas/lib")
    dnn = dist("dnn", binary("vendor/dnn/lib/libdnn.so.9", "libblas.so.13"), libraries={"blas": ("libblas.so.13",)})
    needs = {"dnn": ("libdnn.so.9",)}
    old = dist("user", module("user/core.so", "libdnn.so.9", rpath=paths), libraries=needs)
    new = dist("user", module("user/core.so", "libdnn.so.9", runpath=paths), libraries=needs)
    assert "user" not in listed(old, dnn, BLAS)
    assert listed(new, dnn, BLAS)["user"] == ("vendor/blas/lib/libblas.so.13",)
    beside = dist(
        "user",
        module("user/core.so", "libown.so", rpath=("$ORIGIN", *paths)),
        binary("user/libown.so", "libdnn.so.9"),
        libraries=needs,
    )
    assert "user" not in listed(beside, dnn, BLAS)


def test_a_link_leads_there_too() -> None:
    """A library that is found by the name of a symbolic link is found."""
    blas = dist(
        "blas",
        binary("vendor/blas/libblas.so.13.1", soname="libblas.so.13"),
        links=(Symlink("vendor/blas/libblas.so.13", "libblas.so.13.1", "zip"),),
    )
    own = module("user/core.so", "libblas.so.13", runpath=("$ORIGIN/../vendor/blas",))
    assert listed(dist("user", own, libraries={"blas": ("libblas.so.13",)}), blas) == {}


def test_modules_that_are_imported_before_open_their_own() -> None:
    """Of a distribution with modules that is required nothing is opened (torchvision and torch); else it is."""
    torch = dist("torch", module("torch/_C.so", "libtorch.so"), binary("torch/lib/libtorch.so"))
    needs = {"torch": ("libtorch.so",)}
    vision = dist("vision", module("vision/_C.so", "libtorch.so"), requires=["torch"], libraries=needs)
    loose = dist("vision", module("vision/_C.so", "libtorch.so"), libraries=needs)
    assert listed(vision, torch) == {}
    assert listed(loose, torch) == {"vision": ("torch/lib/libtorch.so",)}
    distrusting = Openings({"vision": vision, "torch": torch}, trusting=False)
    assert distrusting.before("vision") == ("torch/lib/libtorch.so",)


def test_what_sleeps_needs_nothing() -> None:
    """A binary that nobody opens asks for nothing, nor do stubs and private copies serve."""
    needs = {"blas": ("libblas.so.13",)}
    user = dist("user", module("user/core.so"), binary("user/libcuda.so", "libblas.so.13"), libraries=needs)
    assert listed(replace(user, asleep=frozenset({"user/libcuda.so"})), BLAS) == {}
    stub = dist("blas", binary("blas/lib/stubs/libblas.so.13"), binary("blas.libs/libblas.so.13"))
    assert listed(user, stub) == {}


def test_libraries_of_the_machine_go_by_their_place() -> None:
    """A library in a folder that the target names is opened where it lies."""
    user = dist("user", module("user/core.so", "libhip.so.7"), hosted={"libhip.so.7": "/opt/rocm/lib/libhip.so.7"})
    assert listed(user) == {"user": ("/opt/rocm/lib/libhip.so.7",)}


def test_circles_end() -> None:
    """Libraries that need each other are listed once."""
    one = dist("one", binary("one/libone.so", "libtwo.so"), libraries={"two": ("libtwo.so",)})
    two = dist("two", binary("two/libtwo.so", "libone.so"), libraries={"one": ("libone.so",)})
    user = dist("user", module("user/core.so", "libone.so"), libraries={"one": ("libone.so",)})
    assert set(listed(user, one, two)["user"]) == {"one/libone.so", "two/libtwo.so"}
    circle = dist("c", binary("c/liba.so", "libb.so"), binary("c/libb.so", "liba.so"))
    assert {found.path for found in Openings({"c": circle}).order("c")} == {"c/liba.so", "c/libb.so"}


def test_own_libraries_come_in_the_order_of_their_needs() -> None:
    """Each binary comes after those of the same distribution that it needs."""
    own = dist("c", binary("c/liba.so", "libb.so"), binary("c/libb.so", "libd.so"), binary("c/libd.so"))
    assert [found.path for found in Openings({"c": own}).order("c")] == ["c/libd.so", "c/libb.so", "c/liba.so"]


def test_modules_are_those_that_can_be_imported() -> None:
    """Folders with Python files below, and files; not folders of libraries, metadata or names that are none."""

    def folder(path: str, *names: str) -> Directory:
        return Directory(path, (), tuple(StoredFile(name, 1, b"", False) for name in names))

    listing = (
        folder("site-packages", "six.py", "core.abi3.so", "x.pth"),
        folder("site-packages/deep"),
        folder("site-packages/deep/inner", "__init__.py"),
        folder("site-packages/libs", "liba.so"),
        folder("site-packages/a-1.0.dist-info", "x.py"),
        folder("scripts", "y.py"),
    )
    assert modules_of(listing) == ("core", "deep", "six")


# in a view


def python(bench: Bench, *arguments: str) -> str:
    """What the view's interpreter prints."""
    command = [str(bench.venv / "bin" / "python"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", env={}, timeout=60).stdout


def test_a_view_has_the_files_where_there_is_a_list(bench: Bench) -> None:
    """Without a list there is no file; with one the view has another name, and another list gives another one."""
    stored = bench.add("demo")
    plans = [bench.plan(stored, preload=preload) for preload in ({}, {"demo": ("a.so",)}, {"demo": ("b.so",)})]
    views = [build_view(plan) for plan in plans]
    assert len(set(views)) == 3
    names = [{path.name for path in (view / plans[0].site_packages).glob("_gpuenv*")} for view in views]
    files = {"_gpuenv_preload.pth", "_gpuenv_preload.py"}
    assert names == [set(), files, files]
    assert startup_files({}) == {}


def test_a_list_that_cannot_be_served_harms_nothing(folding: Bench) -> None:
    """Libraries that are not there change no import, and the finder is gone once there is nothing left to open."""
    stored = folding.add("demo")
    other = folding.add("other")
    view = build_view(folding.plan(stored, other, preload={"demo": ("nowhere.so",), "other": ("/nowhere/x.so",)}))
    switch(folding.venv, view)
    program = (
        "import sys\n"
        "def there(): return sum(type(f).__name__ == '_Opener' for f in sys.meta_path)\n"
        "import json; print(there())\n"
        "import demo; print(there(), demo.__version__)\n"
        "import other; print(there(), other.__version__)\n"
    )
    assert python(folding, "-c", program) == "1\n1 1.0\n0 1.0\n"
    missing = "try:\n import demo.none\nexcept ImportError as error: print(error)"
    assert python(folding, "-c", missing) == "No module named 'demo.none'\n"


def test_a_module_of_the_list_that_is_gone_is_missing_as_ever(folding: Bench) -> None:
    """The last finder that asks the others in its stead says no as they do."""
    view = build_view(folding.plan(folding.add("demo"), preload={"absent": ("nowhere.so",)}))
    switch(folding.venv, view)
    missing = "try:\n import absent\nexcept ImportError as error: print(error)\nimport demo; print(demo.__version__)"
    assert python(folding, "-c", missing) == "No module named 'absent'\n1.0\n"


def test_it_costs_little(tmp_path: Path) -> None:
    """Reading the start-up module takes less than 2 ms, also where it has much to remember."""
    paths = tuple(f"nvidia/part{number}/lib/libpart{number}.so.13" for number in range(20))
    for name, text in startup_files({f"module{number}": paths for number in range(10)}).items():
        (tmp_path / name).write_text(text)
    program = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "begin = time.process_time(); import _gpuenv_preload; print(time.process_time() - begin)\n"
    )
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
        times.append(float(done.stdout))
    assert min(times) < 0.002
