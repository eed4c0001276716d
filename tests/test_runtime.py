"""`gpuenv.runtime` by itself: names, versions, errors, and that it can be carried anywhere."""

import ast
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gpuenv import runtime

SOURCE = Path(runtime.__file__)
LIBRARIES = {
    "libcublasLt.so.13": ("nvidia/cu13/lib/libcublasLt.so.13", "nvidia-cublas", "13.1.0.3", []),
    "libcublas.so.13": ("nvidia/cu13/lib/libcublas.so.13", "nvidia-cublas", "13.1.0.3", ["libcublasLt.so.13"]),
    "libMIOpen.so.1": ("_rocm_sdk_libraries/lib/libMIOpen.so.1", "rocm-sdk-libraries", "7.12.0", []),
    "libfoo-1.2.so": ("../../../lib/libfoo-1.2.so", "foo", "1.2", []),
    "libcudart.so.12": ("nvidia/cuda_runtime/lib/libcudart.so.12", "nvidia-cuda-runtime-cu12", "12.9", []),
    "libcudart.so.13": ("nvidia/cu13/lib/libcudart.so.13", "nvidia-cuda-runtime", "13.0", []),
}
Row = tuple[str, str, str, list[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder like site-packages with the module in it."""
    site = tmp_path / "lib" / "python3" / "site-packages"
    (site / "gpuenv").mkdir(parents=True)
    shutil.copy(SOURCE, site / "gpuenv")
    return site


def write(site: Path, rows: Mapping[str, Row] = LIBRARIES, **more: object) -> None:
    """The table."""
    names = ("path", "package", "version", "needs")
    libraries = {soname: dict(zip(names, row, strict=True)) for soname, row in rows.items()}
    (site / "_gpuenv_libraries.json").write_text(json.dumps({"format": 1, "libraries": libraries, **more}))


def load(site: Path) -> Any:
    """The module as that environment imports it."""
    spec = importlib.util.spec_from_file_location("carried_runtime", site / "gpuenv" / "runtime.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def carried(site: Path) -> Any:
    """The module in an environment that has LIBRARIES."""
    write(site)
    return load(site)


def opened(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is opened from now on, in order, by file name; nothing is really opened."""
    order: list[str] = []
    monkeypatch.setattr("ctypes.CDLL", lambda path, mode: order.append(Path(path).name))
    return order


@pytest.mark.parametrize(
    ("name", "soname"),
    [
        ("cublas", "libcublas.so.13"),
        ("libcublas", "libcublas.so.13"),
        ("libcublas.so", "libcublas.so.13"),
        ("libcublas.so.13", "libcublas.so.13"),
        ("cublasLt", "libcublasLt.so.13"),
        ("cublaslt", "libcublasLt.so.13"),
        ("miopen", "libMIOpen.so.1"),
        ("foo-1.2", "libfoo-1.2.so"),
        ("libcudart.so.12", "libcudart.so.12"),
    ],
)
def test_names_of_a_library(name: str, soname: str, carried: Any, site: Path) -> None:
    """A library goes by its soname, with or without `lib` and version, and in other letters if nothing fits better."""
    (path,) = carried.find_libraries(name)
    assert path.name == soname
    assert path.is_relative_to(site.parents[2].resolve())
    assert ".." not in path.parts


def test_paths_come_in_the_order_asked(carried: Any) -> None:
    """One path for each name, where the table says."""
    assert [path.name for path in carried.find_libraries("miopen", "foo-1.2", "cublas")] == [
        "libMIOpen.so.1",
        "libfoo-1.2.so",
        "libcublas.so.13",
    ]
    assert carried.find_libraries() == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cublass"], "no library cublass (nearest: cublas, cublasLt)"),
        (["libcublas.so.12"], "no library libcublas.so.12 (nearest: libcublas.so.13)"),
        (["zzz", "cublas", "yyy"], "no library zzz; no library yyy"),
        (
            ["cudart"],
            "cudart may be libcudart.so.12 (nvidia-cuda-runtime-cu12) or libcudart.so.13 (nvidia-cuda-runtime)",
        ),
        (["", "libcublas.so."], "no library ; no library libcublas.so."),
    ],
)
def test_what_is_not_one_library_is_named(names: list[str], words: str, carried: Any) -> None:
    """Every name that fits no library, or several, is in one error, which code for `rocm_sdk` expects."""
    with pytest.raises(ModuleNotFoundError) as caught:
        carried.find_libraries(*names)
    assert words in str(caught.value)
    assert type(caught.value).__name__ == "LibraryNotFoundError"


def test_without_a_table(site: Path) -> None:
    """Where gpuenv wrote no table the error says so, on use and not on import."""
    module = load(site)
    with pytest.raises(ModuleNotFoundError, match="gpuenv made no table of libraries in "):
        module.find_libraries("cublas")


def test_another_format_is_refused(site: Path) -> None:
    """A table of another gpuenv is not guessed at."""
    write(site, format=2)
    with pytest.raises(RuntimeError, match="format 2, and this module reads 1"):
        load(site).find_libraries("cublas")


def test_needs_are_opened_first_and_once(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library needs is opened before it; nothing is opened again unless its symbols are to be for all."""
    order = opened(carried, monkeypatch)
    carried.preload_libraries("cublas", rtld_global=False)
    assert order == ["libcublasLt.so.13", "libcublas.so.13"]
    carried.preload_libraries("cublasLt", "cublas", rtld_global=False)
    assert len(order) == 2
    carried.preload_libraries("cublas")
    assert order[2:] == ["libcublasLt.so.13", "libcublas.so.13"]
    carried.preload_libraries("cublas")
    carried.preload_libraries("cublas", rtld_global=False)
    assert len(order) == 4


def test_circles_are_opened_in_the_order_of_the_table(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that need each other end."""
    rows = {"liba.so": ("liba.so", "a", "1", ["libb.so"]), "libb.so": ("libb.so", "b", "1", ["liba.so"])}
    write(site, rows)
    module = load(site)
    order = opened(module, monkeypatch)
    module.preload_libraries("b")
    assert order == ["liba.so", "libb.so"]


def test_initialize_opens_what_the_variable_names(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names with commas or semicolons between; gpuenv's own variable goes before that of ROCm; both can be ignored."""
    order = opened(carried, monkeypatch)
    monkeypatch.setenv("ROCM_SDK_PRELOAD_LIBRARIES", "miopen")
    carried.initialize_process(preload_shortnames=["foo-1.2"], env_override=False, something_new=1)
    assert order == ["libfoo-1.2.so"]
    carried.initialize_process()
    assert order == ["libfoo-1.2.so", "libMIOpen.so.1"]
    monkeypatch.setenv("GPUENV_PRELOAD_LIBRARIES", " libcudart.so.12 ;libcudart.so.13,")
    carried.initialize_process()
    assert order[2:] == ["libcudart.so.12", "libcudart.so.13"]
    monkeypatch.setenv("GPUENV_PRELOAD_LIBRARIES", "nothing")
    with pytest.raises(RuntimeError, match=r"the variable GPUENV_PRELOAD_LIBRARIES names, 'nothing': .*no library"):
        carried.initialize_process()


@pytest.mark.parametrize(
    "check",
    ["13.*", "*", "13.1.0.3", re.compile(r"13\.\d"), {"miopen": "7.*"}, {"cublas": "13.*", "miopen": "7.12.0"}],
    ids=str,
)
def test_versions_that_fit(check: Any, carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`*` is any text, a mapping has a version for each library, a pattern is matched from the beginning."""
    opened(carried, monkeypatch)
    carried.initialize_process(preload_shortnames=["cublas"], check_version=check, fail_on_version_mismatch=True)


@pytest.mark.parametrize("check", ["13", "12.*", "13.1.0.3x", "3.1.*", re.compile("12"), {"cublas": "13"}], ids=str)
def test_versions_that_do_not_fit(check: Any, carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mismatch is a warning; if it shall fail, then before anything is opened."""
    order = opened(carried, monkeypatch)
    with pytest.raises(RuntimeError, match=r"wants nvidia-cublas .*, and the environment has 13\.1\.0\.3"):
        carried.initialize_process(preload_shortnames=["cublas"], check_version=check, fail_on_version_mismatch=True)
    assert order == []
    with pytest.warns(UserWarning, match="wants nvidia-cublas") as caught:
        carried.initialize_process(preload_shortnames=["cublas"], check_version=check)
    assert caught[0].filename == __file__
    assert order == ["libcublasLt.so.13", "libcublas.so.13"]


def test_a_version_of_nothing(carried: Any) -> None:
    """A version without libraries that it is for would never be compared: an error."""
    with pytest.raises(ValueError, match="name some to preload"):
        carried.initialize_process(check_version="13.*")


def test_it_runs_on_old_pythons_and_alone() -> None:
    """The file is Python 3.9, imports the standard library alone, and ctypes not before something is opened."""
    tree = ast.parse(SOURCE.read_text("utf-8"), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert imported <= set(sys.stdlib_module_names)
    assert "from __future__ import annotations" in SOURCE.read_text("utf-8")
    at_once = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert "ctypes" not in at_once
