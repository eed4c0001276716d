"""Extension modules: their names, their ABI, and what is none."""

import pytest

from gpuenv.binaries.elf import Elf
from gpuenv.binaries.extension import python_module
from gpuenv.model.facts import PythonModule


def library(*symbols: str) -> Elf:
    return Elf(
        bits=64,
        endian="little",
        machine="x86_64",
        machine_number=62,
        type="shared",
        osabi=0,
        abi_version=0,
        flags=0,
        init_symbols=symbols,
    )


@pytest.mark.parametrize(
    ("file", "abi"),
    [
        ("_C.cpython-312-x86_64-linux-gnu.so", "cpython-312"),
        ("_C.cpython-313t-aarch64-linux-gnu.so", "cpython-313t"),
        ("_C.cpython-37m-x86_64-linux-gnu.so", "cpython-37m"),
        ("_C.cpython-312.so", "cpython-312"),
        ("_C.abi3.so", "abi3"),
        ("_C.abi3t.so", "abi3t"),
        ("_C.abi3-x86_64-linux-gnu.so", "abi3"),
        ("_C.pypy310-pp73-x86_64-linux-gnu.so", "pypy310-pp73"),
        ("_C.graalpy250-312-native-x86_64-linux.so", "graalpy250-312-native"),
        ("_C.so", ""),
        ("_C.something.so", ""),
    ],
)
def test_the_file_name_says_which_abi(file: str, abi: str) -> None:
    """The tag of PEP 3149 gives the ABI, without the platform; what it does not say is empty."""
    assert python_module(f"torch/{file}", library("PyInit__C")) == PythonModule("torch._C", abi, "PyInit__C")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.so", "a"),
        ("p/q/a.so", "p.q.a"),
        ("p-1.0.data/platlib/p/a.so", "p.a"),
        ("p-1.0.data/purelib/a.so", "a"),
        ("lib/python3.12/site-packages/p/a.so", "p.a"),
    ],
)
def test_the_path_says_which_name(path: str, name: str) -> None:
    """Folders are packages, up to the root of the wheel or a folder that is none."""
    module = python_module(path, library("PyInit_a", "PyInit_b"))
    assert module == PythonModule(name, "", "PyInit_a")


def test_a_package_can_be_a_library() -> None:
    """`__init__.so` is the package itself, started by the package's name; else it is a module of that name."""
    assert python_module("p/q/__init__.so", library("PyInit_q")) == PythonModule("p.q", "", "PyInit_q")
    assert python_module("p/__init__.so", library("PyInit___init__")) == PythonModule(
        "p.__init__", "", "PyInit___init__"
    )


def test_names_outside_ascii_are_punycode() -> None:
    """The example of PEP 489."""
    assert python_module("čšž.so", library("PyInitU_ixa0b0ab")) is None
    symbol = "PyInitU_" + "čšž".encode("punycode").decode().replace("-", "_")
    assert python_module("čšž.so", library(symbol)) == PythonModule("čšž", "", symbol)
    assert python_module("\ud800.so", library(symbol)) is None


@pytest.mark.parametrize("path", ["lib/libtorch.so", "a.so.1", "a", "", "a/", ".so", "p/liba.so"])
def test_other_libraries_are_no_modules(path: str) -> None:
    """A library without the symbol of its name, or under a name that Python does not import, is none."""
    assert python_module(path, library("PyInit_a")) is None
