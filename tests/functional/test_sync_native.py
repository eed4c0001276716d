"""`gpuenv sync` and native code: what the lock relied on is true, the machine is asked, libraries find each other."""

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path

import msgspec.structs
import pytest

from gpuenv.model.facts import NativeFacts, decode_facts
from gpuenv.workflow.facts import FactsCache
from tests.support.binaries import library
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
from tests.support.project import HERE, PYTHON, Project, snapshot

NATIVE = "py3-none-manylinux2014_x86_64"
pytestmark = pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made binaries are for x86-64")


def needing(*sonames: str) -> dict[str, bytes | str]:
    """The files of a package with one extension module that needs libraries."""
    return {"needy/__init__.py": "", "needy/core.so": library(needed=[*sonames, "libc.so.6"], symbol="PyInit_core")}


@cache
def pair() -> tuple[bytes, bytes, bytes]:
    """An extension module, the library it needs, and the library that that one needs; nothing leads to either."""
    with tempfile.TemporaryDirectory() as folder:
        base = compile_library(Path(folder) / "libbase.so.1", "int base(void) { return 40; }")
        code = "int base(void); int value(void) { return base() + 2; }"
        dep = compile_library(Path(folder) / "libdep.so.1", code, str(base))
        core = compile_library(Path(folder) / "core.so", MODULE, f"-I{HEADERS}", str(dep))
        return core.read_bytes(), dep.read_bytes(), base.read_bytes()


def offer_pair(project: Project, *, leads: bool = False) -> None:
    """The distributions `consumer`, `dep` and `base`, none of which requires another one."""
    core, dep, base = pair()
    if leads:
        core = linked_core()
    main = "from consumer.core import get\ndef main():\n    print(get())\n"
    files: dict[str, bytes | str] = {"consumer/__init__.py": "", "consumer/core.so": core, "consumer/__main__.py": main}
    files["consumer/__main__.py"] = main + "if __name__ == '__main__':\n    main()\n"
    scripts = {"consume": "consumer.__main__:main"}
    project.offer("consumer", files=files, tags=NATIVE, entry_points=scripts)
    project.offer("dep", files={"dep_libs/lib/libdep.so.1": dep}, tags=NATIVE)
    project.offer("base", files={"base_libs/lib/libbase.so.1": base}, tags=NATIVE)


@cache
def linked_core() -> bytes:
    """The extension module with paths that lead to what it needs and to what that needs."""
    with tempfile.TemporaryDirectory() as folder:
        _, dep, base = pair()
        for name, data in (("libdep.so.1", dep), ("libbase.so.1", base)):
            (Path(folder) / name).write_bytes(data)
        paths = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../dep_libs/lib:$ORIGIN/../base_libs/lib"
        core = compile_library(Path(folder) / "core.so", MODULE, f"-I{HEADERS}", f"{folder}/libdep.so.1", paths)
        return core.read_bytes()


BOUND = """
[tool.gpuenv]
scan = "all"
[tool.gpuenv.providers]
"libdep.so.1" = "dep"
"libbase.so.1" = "base"
"""


@needs_compiler
@needs_headers
@pytest.mark.parametrize("mode", ["symlink", "hardlink"])
def test_libraries_that_nothing_leads_to_are_opened_first(project: Project, mode: str) -> None:
    """A module imports although its library lies in another distribution, however Python is started; twice, too."""
    offer_pair(project)
    project.write(["consumer"], more=BOUND)
    project.run("sync", "--link-mode", mode)
    assert set(project.installed()) == {"consumer", "dep", "base"}
    question = "import sys, consumer.core, consumer.core as again; print(again.get(), len(sys.meta_path))"
    alone = "import sys; print(len(sys.meta_path))"
    spawn = project.base / "spawn.py"
    spawn.write_text(
        "import multiprocessing\n"
        "def child(queue):\n    from consumer.core import get\n    queue.put(get())\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n    queue = context.Queue()\n"
        "    process = context.Process(target=child, args=(queue,))\n    process.start()\n"
        "    print(queue.get(timeout=60))\n    process.join()\n"
    )
    before = int(project.inside("python", "-c", alone))
    assert project.inside("python", "-c", question) == f"42 {before - 1}\n"
    assert project.inside("consume") == "42\n"
    assert project.inside("python", "-m", "consumer") == "42\n"
    assert project.inside("python", "-I", "-c", "from consumer.core import get; print(get())") == "42\n"
    assert project.inside("python", spawn) == "42\n"


@needs_compiler
@needs_headers
def test_nothing_is_opened_first_where_paths_lead_there(project: Project) -> None:
    """A module whose own paths reach what it needs imports, and the environment has no start-up file."""
    offer_pair(project, leads=True)
    project.write(["consumer"], more=BOUND)
    project.run("sync")
    assert set(project.installed()) == {"consumer", "dep", "base"}
    assert list(project.site.glob("_gpuenv_preload*")) == []
    assert project.inside("consume") == "42\n"


@needs_compiler
@needs_headers
def test_a_damaged_provider_breaks_the_import_alone(project: Project) -> None:
    """Where the library cannot be opened the interpreter starts, other modules import, and the import says why."""
    offer_pair(project)
    project.write(["consumer"], more=BOUND)
    project.run("sync")
    (project.venv / "lib" / f"python{PYTHON}" / "site-packages" / "dep_libs").rename(project.base / "away")
    assert project.inside("python", "-c", "import json; print(1)") == "1\n"
    question = "try:\n import consumer.core\nexcept ImportError as error: print(error)"
    assert "libdep.so.1: cannot open shared object file" in project.inside("python", "-c", question)


@needs_compiler
@needs_headers
def test_libraries_of_named_folders_are_opened_first(project: Project, tmp_path: Path) -> None:
    """A folder among a target's `host-libraries` serves a module although the loader does not look there."""
    core, dep, base = pair()
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "libdep.so.1").write_bytes(dep)
    (folder / "libbase.so.1").write_bytes(base)
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core}, tags=NATIVE)
    listed = f'host-libraries = ["{folder}", "libdep.so.1", "libbase.so.1"]\n'
    project.write(["consumer"], targets=HERE + listed)
    warning = project.run("sync").err
    assert "libdep.so.1" not in warning
    assert "_gpuenv_preload.pth" in {path.name for path in project.site.iterdir()}


# the machine


def test_what_binaries_need_of_the_machine_is_warned_about(project: Project) -> None:
    """A library that nobody has is named with the package and the binary; the next sync, a glance, says it again."""
    project.offer("needy", files=needing("libnobody-has-this.so.7", "libm.so.6"), tags=NATIVE)
    project.write(["needy"])
    warning = "warning: needy 1.0 needs libnobody-has-this.so.7 of the machine, which has none (needy/core.so)\n"
    first = project.run("sync").err
    assert first.count("warning:") == 1
    assert first.startswith(warning)
    assert project.run("sync").err.startswith(warning)
    assert project.run("sync", "--json").json["warnings"] == [warning.removeprefix("warning: ").rstrip()]


def test_what_the_environment_carries_is_not_asked_of_the_machine(project: Project) -> None:
    """Of a library that another package brings, and of one that the rules allow to miss, nothing is said."""
    project.offer("needy", files=needing("libcarried.so.1", "libmissing.so.1"), tags=NATIVE)
    project.offer("carrier", files={"carrier/libcarried.so.1": library("libcarried.so.1")}, tags=NATIVE)
    rules = '[tool.gpuenv.packages.needy]\nmissing = ["libmissing.so.*"]\n'
    project.write(["needy", "carrier"], more=rules)
    assert "warning" not in project.run("sync").err


@needs_compiler
def test_symbol_versions_of_the_machine_count(project: Project, tmp_path: Path) -> None:
    """A library that the machine has, but without a version that is needed, is warned about."""
    script = tmp_path / "versions"
    for number in ("1", "2"):
        script.write_text("".join(f"V_{n} {{ global: v{n}; }};\n" for n in range(1, int(number) + 1)))
        code = "".join(f"int v{n}(void) {{ return {n}; }}\n" for n in range(1, int(number) + 1))
        compile_library(tmp_path / number / "libversions.so.1", code, f"-Wl,--version-script={script}")
    user = "int v1(void); int v2(void); int f(void) { return v1() + v2(); }"
    binary = compile_library(tmp_path / "libuser.so", user, str(tmp_path / "2" / "libversions.so.1"))
    project.offer("needy", files={"needy/libuser.so": binary.read_bytes()}, tags=NATIVE)
    project.write(["needy"])
    old, new = ({"LD_LIBRARY_PATH": str(tmp_path / number)} for number in ("1", "2"))
    said = project.run("sync", env=old).err
    assert "needs libversions.so.1 of the machine, which has it without V_2: " in said
    project.venv.unlink()
    assert "warning" not in project.run("sync", env=new).err


# what the lock relies on


def lies(project: Project, change: str) -> None:
    """Lock a wheel whose facts were stated otherwise than they are, as an index might that serves other parts."""
    url = project.offer("needy", files=needing("libm.so.6"), tags=NATIVE)
    wheel = next((project.base / "offered").rglob(url.rpartition("/")[2]))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    project.write(["needy"], more='[tool.gpuenv]\nscan = "all"\n')
    project.run("lock")
    assert 'facts = "read"' in project.lock.read_text()
    cache = FactsCache(project.cache, stated=True)
    stated = cache.get(digest)
    assert stated is not None
    (found,) = stated.objects
    changed = {
        "gone": (),
        "needed": (msgspec.structs.replace(found, needed=("libz.so.1",)),),
        "true": (msgspec.structs.replace(found, needed=("libm.so.6", "libc.so.6")),),
    }[change]
    cache.put(digest, NativeFacts(None, stated.size, objects=changed))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("gone", "needy/core.so is in the file and not stated"),
        ("needed", "needy/core.so has no needed libz.so.1, which is stated"),
    ],
)
def test_a_lock_that_relied_on_a_lie_is_refused(project: Project, change: str, cause: str) -> None:
    """A wheel that differs from what its index stated is not installed; a lock by what it holds is."""
    lies(project, change)
    error = project.run("sync", rc=1).err
    assert error == (
        f"error: needy-1.0-{NATIVE}.whl is not what the lock relies on\n"
        f"  cause: what its index served when it was locked differs from the file itself: {cause}\n"
        "hint: solve again with what the file holds: gpuenv lock --upgrade-package needy\n"
    )
    assert not project.venv.exists()
    assert not list((project.store / "objects").glob("*"))
    assert project.run("sync", "--json", rc=1).json["error"]["kind"] == "integrity"
    project.run("lock", "--upgrade-package", "needy")
    project.run("sync")
    assert project.installed() == {"needy": "1.0"}


def test_objects_from_before_are_held_to_it_too(project: Project) -> None:
    """A lie about a wheel whose object is in the store already is found; without cached facts, by the unpacked tree."""
    lies(project, "true")
    project.run("sync")
    for cached in (True, False):
        lies(project, "needed")
        project.venv.unlink(missing_ok=True)
        if not cached:
            for file in project.cache.glob("facts-v*/*/*.json"):
                file.unlink()
        assert "has no needed libz.so.1, which is stated" in project.run("sync", rc=1).err
    lies(project, "true")
    project.run("sync")
    kept = [decode_facts(file.read_bytes()) for file in project.cache.glob("unpacked/facts-v*/*/*.json")]
    assert [[one.path for one in facts.objects] for facts in kept if facts] == [["needy/core.so"]]


def test_wheels_are_read_once(project: Project) -> None:
    """Facts of what passed by are kept by digest; a second sync elsewhere reads nothing and changes nothing."""
    project.offer("needy", files=needing("libm.so.6"), tags=NATIVE)
    project.offer("pure")
    project.write(["needy", "pure"])
    project.run("sync")
    kept = snapshot(project.cache / next(iter(p.name for p in project.cache.glob("facts-v*"))))
    assert len([path for path in kept if path.endswith(".json")]) == 1
    project.venv.unlink()
    project.run("sync")
    assert snapshot(project.cache / next(iter(p.name for p in project.cache.glob("facts-v*")))) == kept
    marker = json.loads((project.venv / "gpuenv.json").read_text())
    assert marker["warnings"] == []
