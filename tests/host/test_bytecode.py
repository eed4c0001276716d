"""Modules are compiled by the interpreter that will import them, and no module can stop the others."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.host.bytecode import Compiled, Module, compile_modules, dialect_of
from gpuenv.store.bytecode import cache_of

TAG = str(sys.implementation.cache_tag)


def tree(root: Path, files: dict[str, str]) -> list[Module]:
    """Modules below `root`, each with an empty `__pycache__` beside it."""
    for path, text in files.items():
        (root / path).parent.joinpath("__pycache__").mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        os.utime(root / path, (315619200, 315619200))
    return [Module(str(root), path, len(text)) for path, text in files.items()]


def by_path(found: list[Compiled]) -> dict[str, Compiled]:
    return {one.module.path: one for one in found}


def test_imports_take_it(tmp_path: Path) -> None:
    """An import believes the bytecode: it does not even look at the source's text; tracebacks name the real file."""
    modules = tree(tmp_path, {"a.py": "def fail(): raise ValueError\n", "deep/b.py": "x = 1\n"})
    found = by_path(compile_modules(sys.executable, modules, at_once=2))
    for module in modules:
        cache = tmp_path / cache_of(module.path, TAG)
        assert cache.stat().st_mode & 0o777 == 0o444
        assert hashlib.sha256(cache.read_bytes()).digest() == found[module.path].sha256
        assert cache == Path(importlib.util.cache_from_source(str(tmp_path / module.path)))
    assert str(tmp_path).encode() not in (tmp_path / cache_of("a.py", TAG)).read_bytes()
    code = (
        "import a\ntry:\n    a.fail()\nexcept ValueError as error:\n"
        "    print(a.__cached__, error.__traceback__.tb_next.tb_frame.f_code.co_filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-v", "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path / cache_of("a.py", TAG)), str(tmp_path / "a.py")]
    assert f"code object from '{tmp_path / cache_of('a.py', TAG)}'" in done.stderr


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_module_stops_the_others(at_once: int, tmp_path: Path) -> None:
    """What does not compile, or kills the compiler, has no bytecode and is no error; the rest has some."""
    files = {
        "python2.py": "print 'x'\n",
        "zero.py": "\0",
        "latin.py": "x = '\xe4'\n",
        "template.py": "{{ name }} = {% x %}\n",
        "nested.py": "x = " + "(" * 5000 + ")" * 5000,
        "minus.py": f"x = {'-' * 300_000}1\n",
        **{f"good{number}.py": f"x = {number}\n" for number in range(5)},
    }
    modules = tree(tmp_path, files)
    (tmp_path / "latin.py").write_bytes(files["latin.py"].encode("latin-1"))
    found = by_path(compile_modules(sys.executable, modules, at_once=at_once))
    assert {path for path, one in found.items() if one.sha256 is not None} == {
        f"good{number}.py" for number in range(5)
    }
    assert found.keys() == files.keys()
    assert {one.problem for one in found.values()} == {None}
    assert sorted(path.name for path in (tmp_path / "__pycache__").iterdir()) == [
        f"good{number}.{TAG}.pyc" for number in range(5)
    ]


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    """A place that takes no bytecode is told from a module that does not compile."""
    modules = tree(tmp_path, {"a.py": "", "full/b.py": ""})
    (tmp_path / "full" / "__pycache__").rmdir()
    found = by_path(compile_modules(sys.executable, modules, at_once=1))
    assert found["a.py"].problem is None
    assert found["full/b.py"].problem == "No such file or directory"


def test_interpreters_that_do_not_answer(tmp_path: Path) -> None:
    """Without an interpreter nothing is compiled, and nothing hangs; what is not reached in time is left out."""
    modules = tree(tmp_path, {"a.py": ""})
    for program in (tmp_path / "nothing", Path("/bin/false"), Path("/bin/true")):
        assert dialect_of(str(program)) is None
        assert compile_modules(str(program), modules, at_once=1) == []
    assert compile_modules(sys.executable, modules, at_once=1, patience=0) == []
    assert compile_modules(sys.executable, [], at_once=4) == []
    found = dialect_of(sys.executable)
    assert found == (TAG, importlib.util.MAGIC_NUMBER)
