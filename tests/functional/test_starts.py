"""Every way to start an environment: modules find the libraries of other wheels, from the first process on."""

import os
import shutil
import subprocess

import pytest

from tests.support.compiled import module_and_library, needs_compiler, needs_headers
from tests.support.programs import find_program
from tests.support.project import HERE, PATIENCE, Project

pytestmark = [
    needs_compiler,
    needs_headers,
    pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made wheels are for x86-64"),
]

NATIVE = "py3-none-manylinux2014_x86_64"
BOUND = """
[tool.gpuenv]
scan = "all"
[tool.gpuenv.providers]
"libdep.so.1" = "dep"
"""
RUNPATH = """
[tool.gpuenv.packages.consumer]
bind = "runpath"
"""
MAIN = "from consumer.core import get\ndef main():\n    print(get())\nif __name__ == '__main__':\n    main()\n"
IMPORT = "from consumer.core import get; print(get())"
CHILD = """
import multiprocessing
def child(queue):
    from consumer.core import get
    queue.put(get())
if __name__ == "__main__":
    context = multiprocessing.get_context("@METHOD@")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get(timeout=60))
    process.join()
"""
UNPRIVILEGED = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def is_possible(*command: str) -> bool:
    """May this user enter such namespaces?"""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE, check=False).returncode == 0


def offer(project: Project) -> None:
    """`consumer`, whose module needs libdep.so.1, and two versions of `dep`, which brings it."""
    core, _ = module_and_library(42)
    files = {"consumer/__init__.py": "", "consumer/core.so": core, "consumer/__main__.py": MAIN}
    files["consumer-1.0.data/scripts/answer"] = f"#!python\n{IMPORT}\n"
    project.offer("consumer", files=files, tags=NATIVE, entry_points={"consume": "consumer.__main__:main"})
    for version, value in (("1.0", 42), ("2.0", 43)):
        library = module_and_library(value)[1]
        project.offer("dep", version, files={f"dep_libs/v{version}/libdep.so.1": library}, tags=NATIVE)


def printed(*command: object) -> str:
    """What a program prints that is started with no variables at all, both streams."""
    done = subprocess.run(
        [*map(str, command)], env={}, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.stdout + done.stderr


def starts(project: Project) -> dict[str, list[object]]:
    """Each way to start, as a command."""
    python, scripts = project.venv / "bin" / "python", project.base / "scripts"
    shutil.rmtree(scripts, ignore_errors=True)
    scripts.mkdir()
    for method in ("spawn", "forkserver"):
        (scripts / f"{method}.py").write_text(CHILD.replace("@METHOD@", method))
    mine, linked, through = scripts / "mine", scripts / "linked", scripts / "project"
    mine.write_text(f"#!{python}\n{IMPORT}\n")
    mine.chmod(0o755)
    linked.symlink_to(project.venv)
    through.symlink_to(project.root)
    return {
        "interpreter": [python, "-c", IMPORT],
        "console script": [project.venv / "bin" / "consume"],
        "spawn": [python, scripts / "spawn.py"],
        "isolated": [python, "-I", "-c", IMPORT],
        "safe path": [python, "-P", "-c", IMPORT],
        "script of a wheel": [project.venv / "bin" / "answer"],
        "module": [python, "-m", "consumer"],
        "own script": [mine],
        "forkserver": [python, scripts / "forkserver.py"],
        "link to .venv": [linked / "bin" / "python", "-c", IMPORT],
        "link to the project": [through / ".venv" / "bin" / "consume"],
        "from the project": ["/bin/sh", "-c", f"cd '{project.root}' && exec .venv/bin/python -c '{IMPORT}'"],
    }


def wrong(project: Project, first: int | None = None) -> dict[str, str]:
    """The ways to start (the first few, or all) that do not say what they should."""
    said = {name: printed(*command) for name, command in list(starts(project).items())[:first]}
    said["gpuenv run"] = project.run("run", "--no-sync", "python", "-c", IMPORT).out
    return {name: text for name, text in said.items() if text != "42\n"}


def sync(project: Project, how: str) -> None:
    """Sync in a link mode, or as the ordinary user for whom directories are linked whole."""
    command = ["sync", "--offline", *([] if how == "folded" else ["--link-mode", how])]
    if how == "folded" and os.geteuid() == 0:
        project.call(*UNPRIVILEGED, *project.command(*command))
    else:
        project.run(*command)
    folded = (project.site / "consumer").is_symlink()
    assert folded == (how == "folded" or (how == "symlink" and os.geteuid() != 0))


@pytest.mark.parametrize("how", ["folded", "symlink", "hardlink", "copy", "runpath"])
def test_every_start_finds_the_library(project: Project, how: str) -> None:
    """However the view holds files and however Python is started, also after the store or the project moved."""
    if how == "folded" and os.geteuid() == 0 and not is_possible(*UNPRIVILEGED):
        pytest.skip("needs user namespaces")
    if how == "runpath" and find_program("patchelf") is None:
        pytest.skip("needs patchelf")
    offer(project)
    project.write(["consumer", "dep<2"], more=BOUND + (RUNPATH if how == "runpath" else ""))
    project.environment["PATH"] += f"{os.pathsep}{os.environ['PATH']}"
    project.run("lock")
    project.run("sync")  # fetches; what follows needs no index
    how = "symlink" if how == "runpath" else how
    sync(project, how)
    assert wrong(project) == {}

    moved = project.base / "moved store"
    project.store.rename(moved)
    assert not project.venv.exists()
    project.environment["GPUENV_STORE"] = str(moved)
    sync(project, how)
    assert str(moved) in os.readlink(project.venv)  # noqa: PTH115
    assert wrong(project, 3) == {}

    project.root = project.root.rename(project.base / "moved")
    sync(project, how)
    assert wrong(project, 3) == {}
    assert project.run("store", "verify").rc == 0


@pytest.mark.parametrize("more", [BOUND, BOUND + RUNPATH], ids=["preload", "runpath"])
def test_each_environment_has_its_own_provider(project: Project, more: str) -> None:
    """One object in two environments that bind one soname to two wheels: at the same time each gets its own."""
    if more != BOUND and find_program("patchelf") is None:
        pytest.skip("needs patchelf")
    offer(project)
    project.environment["PATH"] += f"{os.pathsep}{os.environ['PATH']}"
    code = "import sys; from consumer.core import get; print(get(), flush=True); sys.stdin.read()"
    places, running = [], []
    for version in ("1.0", "2.0"):
        project.root = project.base / f"with {version}"
        project.root.mkdir()
        project.write(["consumer", f"dep=={version}"], more=more)
        project.run("sync", "--link-mode", "symlink")
        places.append((project.site / "consumer" / "__main__.py").resolve())
        command = [str(project.venv / "bin" / "python"), "-c", code]
        running.append(subprocess.Popen(command, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        assert [process.stdout.readline() for process in running if process.stdout] == ["42\n", "43\n"]
        assert [process.poll() for process in running] == [None, None]
    finally:
        for process in running:
            process.communicate("", timeout=PATIENCE)
    objects = [path.name for path in (project.store / "objects").glob("*-consumer-1.0")]
    if more == BOUND:
        assert places[0] == places[1]
        assert len(objects) == 1
