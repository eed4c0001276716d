"""The check of a finished view: what passes imports, beside the real loader; what is refused leaves all as it was."""

import sys
from pathlib import Path

import pytest

from gpuenv.host.cpu import cpu_level
from gpuenv.workflow.binding import surroundings
from tests.functional.test_sync_native import BOUND, NATIVE, linked_core, pair
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
from tests.support.lddebug import compare, traced
from tests.support.project import HERE, Project

pytestmark = [
    needs_compiler,
    needs_headers,
    pytest.mark.skipif("linux-x86_64" not in HERE, reason="the loader of x86-64"),
]


def offer_provider(project: Project) -> None:
    """The distributions `dep` and `base` with the library of `pair`, and what that needs."""
    _, dep, base = pair()
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": dep}, tags=NATIVE)
    project.offer("base", files={"base_libs/lib/libbase.so.1": base}, tags=NATIVE)


def built(folder: Path, *, paths: str, old: bool = False, value: int = 7, name: str = "core") -> tuple[bytes, bytes]:
    """An extension module that needs libdep.so.1 with a search path of its own, and such a library of its own."""
    code = f"int value(void) {{ return {value}; }}"
    dep = compile_library(folder / "libdep.so.1", code)
    tags = "--disable-new-dtags" if old else "--enable-new-dtags"
    source = MODULE.replace("PyInit_core", f"PyInit_{name}")
    core = compile_library(folder / f"{name}.so", source, f"-I{HEADERS}", str(dep), f"-Wl,{tags},-rpath,{paths}")
    return core.read_bytes(), dep.read_bytes()


def agree(project: Project, folder: Path, question: str) -> int:
    """Start the environment's Python under LD_DEBUG and compare; how many needs there were."""
    python = project.venv / "bin" / "python"
    log = traced([python, "-c", question], folder, timeout=120)
    system = surroundings(str(python.resolve()), {}, cpu_level(Path("/"), "x86_64"))
    assert system is not None
    report = compare(log, system, python)
    assert report.differences == []
    assert any("consumer/core.so" in event.name for event in log.events if not isinstance(event, str))
    return report.needs


@pytest.mark.parametrize("mode", ["symlink", "hardlink", "copy"])
@pytest.mark.parametrize("leads", [False, True], ids=["preloaded", "by-paths"])
def test_a_view_that_passes_imports(project: Project, tmp_path: Path, mode: str, leads: bool) -> None:
    """In each link mode the module imports, and the emulated loader agrees with the real one on every file."""
    offer_provider(project)
    core = linked_core() if leads else pair()[0]
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=NATIVE)
    project.write(["consumer"], more=BOUND)
    project.run("sync", "--link-mode", mode)
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "42\n"
    assert agree(project, tmp_path / "log", "import consumer.core") > 5


def state(project: Project) -> tuple[object, list[str]]:
    """Where `.venv` leads, and the generations."""
    leads = project.venv.readlink() if project.venv.is_symlink() else None
    return leads, sorted(path.name for path in (project.store / "projects").glob("*/[0-9]*"))


def test_a_lost_library_is_refused(project: Project) -> None:
    """Where the store lost the locked library, nothing switches and nothing is recorded; repaired, the sync goes on."""
    offer_provider(project)
    core = linked_core()
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=NATIVE)
    project.offer("pure")
    project.write(["pure", "dep", "base"], more=BOUND)
    project.run("sync")
    before = state(project)
    (folder,) = (project.store / "objects").glob("*-dep-1.0/site-packages/dep_libs/lib")
    file = folder / "libdep.so.1"
    folder.chmod(0o755)
    kept = file.read_bytes()
    file.unlink()
    project.write(["consumer"], more=BOUND)
    error = project.run("sync", "--link-mode", "symlink", rc=1).err
    assert error == (
        "error: programs would not load the libraries of gpuenv.lock; .venv is as it was\n"
        "  cause: consumer 1.0: libdep.so.1 is not found, which dep brings (consumer/core.so)\n"
        "hint: see who needs it and who brings it: gpuenv why libdep.so.1\n"
    )
    assert state(project) == before
    assert set(project.installed()) == {"pure", "dep", "base"}
    assert project.run("sync", "--link-mode", "symlink", "--json", rc=1).json["error"]["kind"] == "misbound"
    file.write_bytes(kept)
    project.run("sync", "--link-mode", "symlink")
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "42\n"


def offer_rivals(project: Project, folder: Path) -> None:
    """`consumer`, whose paths lead to `dep`, and `rival`, which it requires and whose module loads a namesake."""
    core, dep = built(folder / "dep", paths="$ORIGIN/../dep_libs/lib")
    other, namesake = built(folder / "rival", paths="$ORIGIN", value=8)
    files = {"consumer/__init__.py": "import rival.core", "consumer/core.so": core}
    project.offer("consumer", files=files, tags=NATIVE, requires=["rival"])
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": dep}, tags=NATIVE)
    rival = {"rival/__init__.py": "", "rival/core.so": other, "rival/libdep.so.1": namesake}
    project.offer("rival", files=rival, tags=NATIVE)


def test_a_namesake_that_is_loaded_before_is_refused(project: Project, tmp_path: Path) -> None:
    """The real loader would take the rival's library, as it does where nobody looks; the error names both."""
    offer_rivals(project, tmp_path)
    providers = '[tool.gpuenv]\nscan = "all"\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n'
    project.write(["consumer"], more=providers)
    project.run("lock")
    assert '"libdep.so.1"' in project.lock.read_text()
    error = project.run("sync", rc=1).err
    place = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/rival/libdep.so.1"
    assert f"cause: consumer 1.0: libdep.so.1 is {place} of rival instead of dep's (consumer/core.so)\n" in error
    assert '[tool.gpuenv.providers] "libdep.so.1" = "rival"' in error
    assert not project.venv.exists()
    # what was refused is what would have happened
    (view,) = (project.store / "views").iterdir()
    project.venv.symlink_to(view)
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "8\n"


def test_a_library_outside_is_refused(project: Project, tmp_path: Path) -> None:
    """A search path with a folder of the machine before the environment's own is noticed."""
    outside = tmp_path / "opt"
    compile_library(outside / "libdep.so.1", "int value(void) { return 9; }")
    core, dep = built(tmp_path / "dep", paths=f"{outside}:$ORIGIN/../dep_libs/lib")
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=NATIVE)
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": dep}, tags=NATIVE)
    project.write(["consumer"], more='[tool.gpuenv]\nscan = "all"\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n')
    error = project.run("sync", rc=1).err
    assert (
        f"libdep.so.1 is {outside}/libdep.so.1 instead of dep's, outside the environment (consumer/core.so)\n" in error
    )
    (outside / "libdep.so.1").unlink()
    project.run("sync")
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "7\n"


def test_the_doctor_says_it_of_an_environment_that_is_there(project: Project, tmp_path: Path) -> None:
    """What came up since the sync is a check that is not met; before, all needs are counted as met."""
    outside = tmp_path / "opt"
    core, dep = built(tmp_path / "dep", paths=f"{outside}:$ORIGIN/../dep_libs/lib")
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=NATIVE)
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": dep}, tags=NATIVE)
    project.write(["consumer"], more='[tool.gpuenv]\nscan = "all"\n[tool.gpuenv.providers]\n"libdep.so.1" = "dep"\n')
    project.run("sync")
    page = project.run("doctor").out
    assert "libraries of each other\n  ok  1 need of 1 package  the loader finds what the lock says\n" in page
    compile_library(outside / "libdep.so.1", "int value(void) { return 9; }")
    document = project.run("doctor", "--json", rc=1).json
    (check,) = [one for one in document["checks"] if one["section"] == "binding"]
    assert check == {
        "section": "binding",
        "what": "libdep.so.1",
        "demanded_by": "consumer 1.0 (consumer/core.so)",
        "met": False,
        "detail": f"is {outside}/libdep.so.1 instead of dep's, outside the environment",
    }
