"""Bundles and their links, through the command line: locked, synced, verified, repaired and removed like wheels."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuenv.archive.staging import remove_tree
from tests.support.binaries import library
from tests.support.bundles import make_bundle
from tests.support.compiled import module_and_library, needs_compiler, needs_headers
from tests.support.project import PYTHON, Project, snapshot

SO = library("libnative.so.1", symbol="native")
LIB = "native-1.0.data/data/lib"
FILES: dict[str, bytes | str] = {
    "native/__init__.py": "from pathlib import Path\nroot = Path(__file__).parent\n",
    **{f"native/lib/libnative.so{end}": SO for end in ("", ".1", ".1.2")},
    **{f"{LIB}/libdata.so{end}": SO[:-1] + b"\1" for end in ("", ".1")},
}
LINKS = {
    f"lib/python{PYTHON}/site-packages/native/lib/libnative.so": "libnative.so.1",
    f"lib/python{PYTHON}/site-packages/native/lib/libnative.so.1": "libnative.so.1.2",
    "lib/libdata.so": "libdata.so.1",
}
TAG = f"manylinux_2_17_{os.uname().machine}"
MODES = ("symlink", "hardlink", "copy")


@pytest.fixture
def bundled(project: Project) -> Project:
    """A project that needs `user`, a wheel, which needs `native`, a bundle with links; both from a folder."""
    folder = project.root / "wheels"
    wheel = project.wheel("native", folder=folder, files=FILES, tags="py3-none-any")
    make_bundle(wheel, restore_links=True)
    wheel.unlink()
    user = {"user/__init__.py": "import native\n"}
    project.wheel("user", folder=folder, files=user, requires=["native>=1"])
    project.write(["user"], more='[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n')
    return project


def links_of(project: Project) -> dict[str, str]:
    """What the links of the view say that were the bundle's own."""
    view = project.venv.resolve()
    return {path: os.readlink(view / path) for path in LINKS}  # noqa: PTH115


def object_of(project: Project, name: str) -> Path:
    (found,) = (project.store / "objects").glob(f"*-{name}-1.0")
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_is_an_environment_like_a_wheel(mode: str, bundled: Project) -> None:
    """Locked and synced in every link mode, its links are real, the library opens by each name, the store is clean."""
    bundled.run("sync", "--link-mode", mode)
    assert '.whl.tar.zst"' in bundled.lock.read_text()
    assert links_of(bundled) == LINKS
    code = "import user, native; print(*(p.read_bytes()[:4] == b'\\x7fELF' for p in native.root.glob('lib/*')))"
    assert bundled.inside("python", "-c", code) == "True True True\n"
    assert bundled.run("store", "verify").rc == 0
    assert "up to date" in bundled.run("sync", "--link-mode", mode).err


def test_a_flipped_link_is_named_and_repaired(bundled: Project) -> None:
    """A link that leads elsewhere is damage; repair makes it right, and the environment works on."""
    bundled.run("sync")
    link = object_of(bundled, "native") / "site-packages/native/lib/libnative.so.1"
    link.parent.chmod(0o755)
    link.unlink()
    link.symlink_to("/etc/passwd")
    link.parent.chmod(0o555)
    (found,) = bundled.run("store", "verify", "--json", rc=1).json["damaged"]
    assert found["path"] == "site-packages/native/lib/libnative.so.1"
    assert found["problem"] == "is a link to /etc/passwd instead of a link to libnative.so.1.2"
    bundled.run("store", "repair")
    assert os.readlink(link) == "libnative.so.1.2"  # noqa: PTH115
    assert bundled.run("store", "verify").rc == 0
    assert bundled.inside("python", "-c", "import user, native; print(native.__name__)") == "native\n"


def test_doctor_sees_a_link_that_changed(bundled: Project) -> None:
    """A quick look at an environment tells of a link that is none any more."""
    bundled.run("sync")
    link = object_of(bundled, "native") / "data/lib/libdata.so"
    link.parent.chmod(0o755)
    link.unlink()
    link.write_bytes(b"")
    found = bundled.run("doctor", rc=None)
    assert "data/lib/libdata.so is not the link to libdata.so.1 any more" in found.out + found.err


@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_without_new_links_installs_what_its_wheel_does(mode: str, project: Project) -> None:
    """The same object, the same view: wheel and bundle differ in how they are packed alone."""
    wheel = project.wheel("native", folder=project.base / "one", files=FILES, executable=["native/lib/libnative.so"])
    bundle = make_bundle(wheel)
    seen = []
    for artifact in (wheel, bundle):
        folder = project.root / "wheels"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(artifact, folder)
        project.write(["native"], more='[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n')
        project.lock.unlink(missing_ok=True)
        project.run("sync", "--link-mode", mode)
        site = project.site / "native"
        seen.append((sorted(path.name for path in (project.store / "objects").iterdir()), snapshot(site.resolve())))
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 1


def test_rollback_and_gc_follow_no_link(bundled: Project) -> None:
    """A view and an object with links go without anything that they lead to; what is needed stays whole."""
    outside = bundled.base / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    bundled.run("sync", "--link-mode", "symlink")
    view = bundled.venv.resolve()
    bundled.write([])
    bundled.run("sync", "--link-mode", "symlink")
    bundled.run("rollback")
    assert links_of(bundled) == LINKS
    (view / f"lib/python{PYTHON}/site-packages/stray").symlink_to(outside)
    shutil.rmtree(bundled.store / "projects", ignore_errors=True)
    bundled.venv.unlink()
    bundled.run("store", "gc", "--older-than", "0")
    assert not view.exists()
    assert list((bundled.store / "objects").glob("*-native-*")) == []
    assert (outside / "kept").read_text() == "kept"


def test_links_listed_in_a_wheel_are_the_same(bundled: Project) -> None:
    """A bundle that was made a wheel with LINKS (PEP 778) gives the same links."""
    (bundle,) = (bundled.root / "wheels").glob("native-*")
    bundled.run("repack", "--to", "wheel", "--links", "LINKS", "--output", bundled.root / "wheels", bundle)
    bundle.unlink()
    bundled.run("sync")
    assert '.whl.tar.zst"' not in bundled.lock.read_text()
    assert links_of(bundled) == LINKS
    assert bundled.run("store", "verify").rc == 0


def test_whoever_deletes_in_a_view_changes_no_object(bundled: Project) -> None:
    """Whoever deletes a package in the view deletes links; the store stays whole, and a sync brings it back."""
    bundled.run("sync", "--link-mode", "hardlink")
    package = bundled.site / "native"
    subprocess.run(["rm", "-rf", str(package)], check=True)
    assert bundled.run("store", "verify").rc == 0
    bundled.run("sync", "--reinstall", "--link-mode", "hardlink")
    assert links_of(bundled) == LINKS


def test_a_hostile_link_leaves_the_environment_as_it_was(bundled: Project) -> None:
    """A wheel with a link to the machine's files is refused by name, and `.venv` stays."""
    bundled.run("sync")
    before = bundled.venv.readlink()
    bundled.wheel("evil", folder=bundled.root / "wheels", links={"evil/secrets": "../" * 8 + "etc"})
    bundled.write(["user", "evil"], more='[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n')
    refused = bundled.run("sync", rc=None)
    assert refused.rc
    assert "link 'evil/secrets' leads out of where it is installed" in refused.err
    assert bundled.venv.readlink() == before
    assert not (bundled.site / "evil").exists()


@needs_compiler
@needs_headers
@pytest.mark.parametrize("mode", MODES)
def test_a_library_behind_links_is_bound_and_opened(mode: str, project: Project) -> None:
    """A module of a wheel needs a library whose soname is a link in a bundle: bound, checked by the loader, called."""
    core, library = module_and_library(42)
    folder = project.root / "wheels"
    files = {f"dep/lib/libdep.so{end}": library for end in ("", ".1", ".1.2")}
    wheel = project.wheel("dep", folder=folder, files={"dep/__init__.py": "", **files}, tags=f"py3-none-{TAG}")
    make_bundle(wheel, restore_links=True)
    wheel.unlink()
    user = {"user/__init__.py": "", "user/core.so": core}
    project.wheel("user", folder=folder, files=user, requires=["dep"], tags=f"py3-none-{TAG}")
    project.write(["user"], more='[tool.gpuenv]\nscan = "all"\n[[tool.gpuenv.index]]\nname = "ours"\npath = "wheels"\n')
    project.run("sync", "--link-mode", mode)
    assert (project.site / "dep/lib/libdep.so.1").readlink() == Path("libdep.so.1.2")
    assert project.inside("python", "-c", "import user.core; print(user.core.get())") == "42\n"


def test_an_object_that_is_gone_is_named_once(bundled: Project) -> None:
    """Links of a package to what is gone with its object are not named besides."""
    unfold = "[tool.gpuenv.packages.native]\nunfold = true\n"
    bundled.manifest.write_text(bundled.manifest.read_text() + unfold)
    bundled.run("sync", "--link-mode", "symlink")
    assert not (bundled.site / "native/lib").is_symlink()
    lost = object_of(bundled, "native")
    remove_tree(lost)
    found = bundled.run("store", "verify", "--json", rc=1).json["damaged"]
    assert [(one["object"], one["path"]) for one in found] == [(lost.name, "")]


def test_links_to_packages_that_are_not_there_are_no_damage(project: Project) -> None:
    """AMD's development tree may be installed without what it leads to: verify and doctor leave it at that."""
    files = {"_rocm_sdk_devel/__init__.py": "", "rocm_sdk_devel/__init__.py": ""}
    links = {"_rocm_sdk_devel/lib/libhsa.so": "../../_rocm_sdk_core/lib/libhsa.so.1"}
    project.offer("rocm-sdk-devel", files=files, links=links)
    project.write(["rocm-sdk-devel"])
    project.run("sync")
    assert (project.site / "_rocm_sdk_devel/lib/libhsa.so").is_symlink()
    assert project.run("store", "verify").rc == 0
    assert project.run("doctor").rc == 0
