"""Stores, caches and projects in unlikely places: long paths, spaces, other file systems, containers."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import PATIENCE, Project
from tests.support.simple_server import SimpleServer

SOURCE = Path(__file__).resolve().parents[2] / "src"
NAMESPACES = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
MODES = ["symlink", "hardlink", "copy"]


def offer(project: Project) -> None:
    """`alpha`, with a command, a script and a data file, and `beta`, which it needs."""
    code = "import beta\ndef main():\n    print('alpha', beta.__version__)\n"
    files: dict[str, bytes | str] = {"alpha/__init__.py": code, "alpha-1.0.data/data/share/alpha/data.txt": "data"}
    files["alpha-1.0.data/scripts/tell"] = "#!python\nimport alpha\nalpha.main()\n"
    project.offer("alpha", files=files, entry_points={"alpha": "alpha:main"}, requires=["beta"])
    project.offer("beta")
    project.write(["alpha"])


def assert_works(project: Project) -> None:
    """The command, the script and the interpreter of the environment start without variables and from elsewhere."""
    for command in (["alpha"], ["tell"], ["python", "-c", "import alpha; alpha.main()"]):
        assert project.inside(*command) == "alpha 1.0\n"
    assert (project.venv / "share" / "alpha" / "data.txt").read_text() == "data"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["d" * 120 + "/" + "e" * 120, "mein Größe ☃ it's $HOME"], ids=["long", "odd"])
def test_paths(tmp_path: Path, server: SimpleServer, name: str, mode: str) -> None:
    """Paths beyond the kernel's limit for first lines of scripts, and with spaces, quotes and letters of any kind."""
    base = tmp_path / name
    base.mkdir(parents=True)
    project = Project(base, server)
    offer(project)
    project.run("sync", "--link-mode", mode)
    assert_works(project)
    activated = subprocess.run(
        ["sh", "-c", ". .venv/bin/activate && alpha && python -c 'import sys; print(sys.prefix)'"],
        cwd=project.root,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=True,
    )
    assert activated.stdout == f"alpha 1.0\n{project.venv}\n"
    assert project.run("run", "tell").out == "alpha 1.0\n"
    assert project.run("store", "verify").rc == 0
    project.run("store", "gc", "--older-than", "0")
    assert_works(project)


def test_home_is_a_link(project: Project) -> None:
    """The same store by another name: everything is found, nothing is fetched again, gc keeps it all."""
    offer(project)
    link = project.base / "link"
    link.symlink_to(project.home)
    project.run("sync", env={"HOME": str(link)})
    assert_works(project)
    asked = len(project.server.requests)
    project.run("sync", "--offline")
    project.run("sync", "--offline", env={"HOME": str(link)})
    assert project.quiet_since(asked)
    assert len(list((project.store / "views").iterdir())) == 1
    assert project.run("store", "gc", "--older-than", "0", env={"HOME": str(link)}).rc == 0
    assert_works(project)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP])
def test_a_file_system_without_hard_links(project: Project, code: int) -> None:
    """Where link(2) is refused, asking for hard links makes an environment all the same, and nothing else fails."""
    offer(project)
    refusing = (
        "import os, sys\n"
        f"def link(*_, **__): raise OSError({code}, os.strerror({code}))\n"
        "os.link = link\n"
        "from gpuenv.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    for command in (["sync", "--link-mode", "hardlink"], ["store", "verify"], ["store", "gc"]):
        project.call(sys.executable, "-c", refusing, *command)
    assert_works(project)
    (alpha,) = (project.store / "objects").glob("*-alpha-1.0/site-packages/alpha/__init__.py")
    assert alpha.stat().st_nlink == 1


# other file systems, by a mount namespace


def script(project: Project, *lines: str) -> "subprocess.CompletedProcess[str]":
    """Run lines of sh as root of a mount namespace; `gpuenv` is on PATH; skips where there are no namespaces."""
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, timeout=PATIENCE, check=False).returncode:
        pytest.skip("needs mount namespaces")
    gpuenv = project.programs / "gpuenv"
    gpuenv.write_text(f'#!/bin/sh\nexec {shlex.join(project.command())} "$@"\n')
    gpuenv.chmod(0o755)
    path = f"{project.programs}{os.pathsep}/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(
        [*NAMESPACES, "--pid", "--fork", "sh", "-e", "-c", "\n".join(["mount --make-rprivate /", *lines])],
        cwd=project.root,
        env=project.variables({"PATH": path}),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("mode", [None, *MODES])
def test_file_systems_apart(project: Project, mode: str | None) -> None:
    """Store, base store, cache and project each on a file system of their own, in every link mode."""
    offer(project)
    places = {name: project.base / name for name in ("base", "own", "cache")}
    for place in places.values():
        place.mkdir()
    flags = f"--link-mode {mode}" if mode else ""
    done = script(
        project,
        *(f"mount -t tmpfs none {place}" for place in places.values()),
        f"export GPUENV_CACHE_DIR={places['cache']}",
        f"GPUENV_STORE={places['base']} gpuenv sync -q {flags}",
        ".venv/bin/alpha",
        f"export GPUENV_STORE={places['own']}",
        f"GPUENV_BASE_STORES={places['base']} gpuenv sync -q {flags}",
        ".venv/bin/alpha; .venv/bin/tell",
        f"ls {places['own']}/objects 2>/dev/null | wc -l",
        "gpuenv store verify",
        f"gpuenv sync -q {flags}",  # without the base
        f"ls {places['own']}/objects | wc -l",
        ".venv/bin/alpha",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == ["alpha 1.0", "alpha 1.0", "alpha 1.0", "0"]
    assert lines[-2:] == ["2", "alpha 1.0"]


def test_root_in_a_container(project: Project) -> None:
    """A root with nothing but the system's programs: sync as root, copy store and project to a second one, run there.

    The second root is another image: no gpuenv, no cache, the store read-only.
    """
    offer(project)
    first, second = project.base / "first", project.base / "second"
    python = Path(os.path.realpath(project.python)).parents[1]
    tops = [top for top in ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc") if os.path.lexists(top)]
    needed = [str(python), sys.prefix, str(SOURCE), str(project.programs)]
    readable = [place for place in dict.fromkeys([*tops, *needed]) if not place.startswith("/usr/")]

    def root(folder: Path, places: list[str]) -> list[str]:
        made = " ".join(f"{folder}/{name}" for name in ("proc", "dev", "tmp"))
        lines = [f"mkdir -p {folder}", f"mount -t tmpfs none {folder}", f"mkdir {made}"]
        for place in places:
            if Path(place).is_symlink():
                lines.append(f"cp -P {place} {folder}{place}")
            else:
                lines.append(f"mkdir -p {folder}{place}; mount --rbind {place} {folder}{place}")
        return [*lines, f"mount --rbind /dev {folder}/dev", f"mount -t proc none {folder}/proc"]

    inside = f"export HOME=/tmp GPUENV_STORE=/opt/store GPUENV_DEFAULT_INDEX={project.server.url}; cd /app"
    done = script(
        project,
        *root(first, readable),
        f"mkdir -p {first}/opt {first}/app",
        f"cp {project.manifest} {first}/app",
        f"chroot {first} /bin/sh -e -c {shlex.quote(inside + '; gpuenv sync -q --link-mode symlink; .venv/bin/alpha')}",
        *root(second, [*tops, *([str(python)] if not str(python).startswith("/usr") else [])]),
        f"mkdir {second}/opt; cp -a {first}/opt/store {second}/opt/store; cp -a {first}/app {second}/app",
        f"mount --bind {second}/opt/store {second}/opt/store; mount -o remount,bind,ro {second}/opt/store",
        f"chroot {second} /usr/bin/env -i /app/.venv/bin/alpha",
        f"chroot {second} /usr/bin/env -i /app/.venv/bin/tell",
        f"chroot {second} /bin/sh -c 'touch /opt/store/x 2>/dev/null || echo read-only'",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["alpha 1.0", "alpha 1.0", "alpha 1.0", "read-only"]
