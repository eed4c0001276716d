"""Folding, merging and conflicts, on built views."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gpuenv.errors import StoreError
from gpuenv.view.build import build_view
from tests.view.conftest import Bench


def site(bench: Bench, view: Path) -> Path:
    return view / bench.plan().site_packages


def test_a_directory_of_one_owner_is_one_link(folding: Bench) -> None:
    """A package that nobody shares is one link; its dist-info is not."""
    view = build_view(folding.plan(folding.add("demo")))
    assert (site(folding, view) / "demo").is_symlink()
    assert not (site(folding, view) / "demo-1.0.dist-info").is_symlink()


def test_pkg_config_files_find_what_others_bring(folding: Bench) -> None:
    """A directory with pkg-config files is real, so that `..` from it leads to the libraries of the whole view."""
    files: dict[str, bytes | str] = {
        f"demo-1.0.data/data/{path}": "x" for path in ("share/pkgconfig/a.pc", "share/foo/a", "opt/foo/a")
    }
    view = build_view(folding.plan(folding.add("demo", files)))
    assert not (view / "share" / "pkgconfig").is_symlink()
    assert (view / "share" / "pkgconfig" / ".." / "..").resolve() == view.resolve()
    assert (view / "share" / "foo").is_symlink()
    assert (view / "opt").is_symlink()


def test_unfold_links_file_by_file(folding: Bench) -> None:
    """A distribution that asks for it gets real directories."""
    view = build_view(folding.plan(folding.add("demo"), unfold=frozenset({"demo"})))
    assert not (site(folding, view) / "demo").is_symlink()
    assert (site(folding, view) / "demo/__init__.py").is_symlink()


def test_shared_directories_merge(bench: Bench) -> None:
    """A namespace directory of two distributions is real and has the content of both, three levels down."""
    one = bench.add("one", {"space/deep/one/a.py": "a", "space/deep/x.txt": "same", "space/only/b.py": ""})
    two = bench.add("two", {"space/deep/two/a.py": "b", "space/deep/x.txt": "same"})
    view = build_view(bench.plan(one, two))
    space = site(bench, view) / "space"
    assert not space.is_symlink()
    assert (space / "deep/one/a.py").read_text() == "a"
    assert (space / "deep/two/a.py").read_text() == "b"
    assert (space / "deep/x.txt").read_text() == "same"
    assert (space / "only").is_symlink() == bench.fold


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        ({"space/x.py": "1"}, {"space/x.py": "2"}, "lib/.*/space/x.py"),
        ({"space/x": "1"}, {"space/x/y.py": "2"}, "lib/.*/space/x"),
        ({"top.py": "1"}, {"top.py": "2"}, "lib/.*/top.py"),
        ({"one-1.0.data/data/share/x": "1"}, {"two-1.0.data/data/share/x": "2"}, "share/x"),
        ({"one-1.0.data/scripts/x": "#!/bin/sh\n1"}, {"two-1.0.data/data/bin/x": "2"}, "bin/x"),
    ],
)
def test_conflicts_name_both_and_the_path(
    first: dict[str, bytes | str], second: dict[str, bytes | str], where: str, bench: Bench
) -> None:
    """Different content in one place is an error with both names; no view appears."""
    plan = bench.plan(bench.add("one", first), bench.add("two", second))
    with pytest.raises(StoreError, match=f"^one and two both install {where}$") as caught:
        build_view(plan)
    assert caught.value.hints
    assert not plan.path.exists()


def test_commands_conflict_too(bench: Bench) -> None:
    """Two entry points of one name, or an entry point and a script, from two distributions are an error."""
    one = bench.add("one", entry_points={"x": "one:main"})
    two = bench.add("two", entry_points={"x": "two:main"})
    three = bench.add("three", {"three-1.0.data/scripts/x": "#!/bin/sh\n"})
    for pair in ((one, two), (one, three)):
        with pytest.raises(StoreError, match="both install the command x"):
            build_view(bench.plan(*pair))


def test_an_entry_point_wins_over_its_own_script(bench: Bench) -> None:
    """A wheel with a script and an entry point of one name gets the entry point."""
    files: dict[str, bytes | str] = {"one-1.0.data/scripts/x": "#!/bin/sh\necho script\n"}
    view = build_view(bench.plan(bench.add("one", files, entry_points={"x": "one:main"})))
    assert "from one import main" in (view / "bin/x").read_text()


@pytest.fixture
def libraries(tmp_path: Path) -> dict[str, bytes]:
    """user.so needs libdep.so.1, in a sister distribution, by `$ORIGIN/../../dep/lib`; tool is a program that does."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "dep.c").write_text("int dep(void) { return 42; }\n")
    (tmp_path / "user.c").write_text("int dep(void); int user(void) { return dep(); }\n")
    (tmp_path / "tool.c").write_text("int dep(void); int main(void) { return dep(); }\n")
    for command in (
        "-shared -fPIC -Wl,-soname,libdep.so.1 -o libdep.so.1 dep.c",
        "-shared -fPIC -Wl,-rpath,$ORIGIN/../../dep/lib -o user.so user.c -L. -l:libdep.so.1",
        "-shared -fPIC -Wl,-rpath,$ORIGIN -o beside.so user.c -L. -l:libdep.so.1",
        "-Wl,-rpath,$ORIGIN/../lib -o tool tool.c -L. -l:libdep.so.1",
    ):
        subprocess.run(["gcc", *command.split()], cwd=tmp_path, check=True)
    return {name: (tmp_path / name).read_bytes() for name in ("libdep.so.1", "user.so", "beside.so", "tool")}


def test_libraries_of_sister_distributions_load(bench: Bench, libraries: dict[str, bytes]) -> None:
    """`$ORIGIN` paths across distributions lead to the view's own files: such directories are not folded."""
    user = bench.add("user", {"user/lib/user.so": libraries["user.so"], "user/__init__.py": "", "user/more/x.py": ""})
    dep = bench.add("dep", {"dep/lib/libdep.so.1": libraries["libdep.so.1"], "dep/__init__.py": ""})
    view = build_view(bench.plan(user, dep))
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).user())"
    library = site(bench, view) / "user/lib/user.so"
    done = subprocess.run(
        [view / "bin/python", "-c", code, library], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"
    if bench.fold:
        assert not (site(bench, view) / "user").is_symlink()
        assert not (site(bench, view) / "user/lib").is_symlink()
        assert (site(bench, view) / "user/more").is_symlink()
        assert (site(bench, view) / "dep").is_symlink()


def test_overlays_load(bench: Bench, libraries: dict[str, bytes]) -> None:
    """Two distributions fill one directory, and a library of one finds that of the other beside it by `$ORIGIN`."""
    inside = "stack/libraries/lib"
    user = bench.add("one", {f"{inside}/user.so": libraries["beside.so"], "stack/libraries/kernels/a.dat": "a"})
    dep = bench.add("two", {f"{inside}/libdep.so.1": libraries["libdep.so.1"], "stack/libraries/kernels/b.dat": "b"})
    view = build_view(bench.plan(user, dep))
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).user())"
    library = site(bench, view) / inside / "user.so"
    done = subprocess.run(
        [view / "bin/python", "-c", code, library], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"
    kernels = site(bench, view) / "stack/libraries/kernels"
    assert sorted(path.name for path in kernels.iterdir()) == ["a.dat", "b.dat"]


def test_programs_find_libraries_beside_them(bench: Bench, libraries: dict[str, bytes]) -> None:
    """A program with `$ORIGIN/../lib` is no symbolic link, and finds the view's `lib` whoever put the library there."""
    tool = bench.add("tool", {"tool-1.0.data/scripts/tool": libraries["tool"]})
    dep = bench.add("dep", {"dep-1.0.data/data/lib/libdep.so.1": libraries["libdep.so.1"]})
    view = build_view(bench.plan(tool, dep))
    assert not (view / "bin/tool").is_symlink()
    assert subprocess.run([view / "bin/tool"], env={}, check=False).returncode == 42
