"""Bundles as wheels: the same files again, links as copies or as lines of LINKS, and a RECORD that fits."""

import base64
import hashlib
import io
import posixpath
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import SymbolicLink, open_bundle
from gpuenv.archive.wheel import open_wheel
from gpuenv.bundle.repack import bundle_name, repack
from gpuenv.bundle.towheel import LinksAs, copies, to_wheel, wheel_name
from gpuenv.errors import ArchiveError
from tests.support.bundles import make_bundle
from tests.support.wheels import make_wheel, metadata_text

LIBRARY = b"\x7fELF" + bytes(range(256)) * 500
INFO = "demo-1.0.dist-info"
FILES: dict[str, bytes | str] = {
    "demo/__init__.py": "answer = 42\n",
    "demo/ünï.txt": "schön\n",
    "demo/lib/libdemo.so": LIBRARY,
    "demo/lib/libdemo.so.1": LIBRARY,
    "demo/lib/libdemo.so.1.2": LIBRARY,
    "demo-1.0.data/scripts/tool": "#!python\n",
}


def wheel(folder: Path) -> Path:
    return make_wheel(
        folder, "demo", files=FILES, tags="py3-none-linux_x86_64", executable=["demo-1.0.data/scripts/tool"]
    )


def back(bundle: Path, folder: Path, links: LinksAs = "copy") -> Path:
    folder.mkdir()
    (folder / "unpacked").mkdir()
    path = folder / wheel_name(bundle.name)
    with path.open("wb") as file:
        to_wheel(bundle, file, folder / "unpacked", links=links)
    return path


def contents(path: Path) -> dict[str, tuple[bytes, bool]]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        assert [info.filename for info in infos if info.external_attr >> 28 != 8] == []
        return {info.filename: (archive.read(info), bool(info.external_attr >> 16 & 0o100)) for info in infos}


def bundle_of(folder: Path, files: dict[str, bytes], links: tuple[SymbolicLink, ...]) -> Path:
    path = folder / "demo-1.0-py3-none-any.whl.tar.zst"
    rows = "".join(f"{name},,\n" for name in files)
    metadata = {
        f"{INFO}/METADATA": metadata_text("demo", "1.0").encode(),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/RECORD": f"{rows}{INFO}/RECORD,,\n".encode(),
    }
    with path.open("wb") as file:
        write_bundle(file.write, INFO, [content(*item) for item in {**metadata, **files}.items()], links)
    return path


def content(path: str, data: bytes) -> Content:
    return Content(path, len(data), False, lambda: iter([data] if data else []))


def test_a_wheel_comes_back_from_its_bundle(tmp_path: Path) -> None:
    """Every file, RECORD too, is that of the wheel the bundle was made of; once more there and back changes no byte."""
    made = wheel(tmp_path)
    first = back(make_bundle(made), tmp_path / "first")
    assert contents(first) == contents(made)
    assert first.name == made.name
    second = back(make_bundle(first), tmp_path / "second")
    assert second.read_bytes() == first.read_bytes()


def test_copies_of_restored_links_are_the_files_that_they_were(tmp_path: Path) -> None:
    """With its links as copies the wheel has the files that its origin had, and the same RECORD."""
    made = wheel(tmp_path)
    bundle = make_bundle(made, restore_links=True)
    with open_bundle(bundle) as opened:
        assert len(opened.links) == 2
    assert contents(back(bundle, tmp_path / "back")) == contents(made)
    again = tmp_path / "back" / bundle_name(made.name)
    digest = hashlib.sha256((tmp_path / "back" / made.name).read_bytes()).hexdigest()
    with again.open("wb") as file:
        repack(tmp_path / "back" / made.name, file.write, sha256=digest, restore_links=True)
    with open_bundle(bundle) as one, open_bundle(again) as other:
        assert one.links == other.links
        assert one.members == other.members


def test_links_are_listed_where_that_is_asked_for(tmp_path: Path) -> None:
    """LINKS names each link and what it leads to, RECORD lists no link, and the wheel says that it is of version 2."""
    found = contents(back(make_bundle(wheel(tmp_path), restore_links=True), tmp_path / "back", "LINKS"))
    assert found[f"{INFO}/LINKS"][0].decode() == (
        "demo/lib/libdemo.so,demo/lib/libdemo.so.1\ndemo/lib/libdemo.so.1,demo/lib/libdemo.so.1.2\n"
    )
    assert found[f"{INFO}/WHEEL"][0].startswith(b"Wheel-Version: 2.0\n")
    rows = dict(line.split(",", 1) for line in found[f"{INFO}/RECORD"][0].decode().splitlines())
    assert {"demo/lib/libdemo.so", "demo/lib/libdemo.so.1"}.isdisjoint(found.keys() | rows.keys())
    for name in ("LINKS", "WHEEL"):
        data = found[f"{INFO}/{name}"][0]
        assert rows[f"{INFO}/{name}"].endswith(f",{len(data)}")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "back" / wheel(tmp_path).name).read_bytes())) as archive:
        assert archive.testzip() is None


def test_the_same_bundle_gives_the_same_wheel(tmp_path: Path) -> None:
    """No time, no owner and no order of the disk is in a wheel; dist-info comes last."""
    bundle = make_bundle(wheel(tmp_path))
    one, other = back(bundle, tmp_path / "one"), back(bundle, tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        names = archive.namelist()
    assert [name.startswith(INFO) for name in names] == sorted(name.startswith(INFO) for name in names)
    assert names[-1] == f"{INFO}/WHEEL"


def test_a_link_to_a_folder_is_a_copy_of_all_in_it(tmp_path: Path) -> None:
    """What lies in the folder, and what links in it lead to, lies below the link too, with a row in RECORD."""
    files = {"demo/lib/a.txt": b"a", "demo/lib/deep/b.txt": b"bb"}
    links = (SymbolicLink("demo/lib64", "lib"), SymbolicLink("demo/lib/c.txt", "deep/b.txt"))
    found = contents(back(bundle_of(tmp_path, files, links), tmp_path / "back"))
    assert {name: data for name, (data, _) in found.items() if not name.startswith(INFO)} == {
        "demo/lib/a.txt": b"a",
        "demo/lib/deep/b.txt": b"bb",
        "demo/lib/c.txt": b"bb",
        "demo/lib64/a.txt": b"a",
        "demo/lib64/deep/b.txt": b"bb",
        "demo/lib64/c.txt": b"bb",
    }
    record = found[f"{INFO}/RECORD"][0].decode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"bb").digest()).rstrip(b"=").decode()
    assert f"demo/lib64/c.txt,sha256={digest},2\n" in record
    assert all(name in record for name in found)


CIRCLES = {
    "itself": [("a/link", "link")],
    "two": [("a/one", "two"), ("a/two", "one")],
    "its folder": [("a/link", ".")],
    "the root": [("a/link", "..")],
    "through a folder": [("a/link", "../b"), ("b/back", "../a")],
    "outside": [("a/link", "../../x")],
    "absolute": [("a/link", "/etc/passwd")],
    "nowhere": [("a/link", "gone")],
    "through a file": [("a/link", "file/x")],
    "absolute on the way": [("a/link", "../b/x"), ("b/x", "/etc")],
}


@pytest.mark.parametrize("links", CIRCLES)
def test_links_that_no_copy_can_stand_for_are_refused(links: str) -> None:
    """Links out of the archive, to nothing, in circles, or to a folder that holds the link have no copies."""
    with pytest.raises(ValueError, match=r"^link '[ab]/"):
        copies(["a/file", "b/file"], [SymbolicLink(*one) for one in CIRCLES[links]])


def test_folders_of_links_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten folders, each with ten links to the next, are a thousand million files: the count ends that early."""
    monkeypatch.setattr("gpuenv.bundle.towheel.MAX_MEMBERS", 5000)
    links = [SymbolicLink(f"d{n}/l{m}", f"../d{n + 1}") for n in range(9) for m in range(10)]
    with pytest.raises(ValueError, match="more than 5000 files"):
        copies(["d9/file"], links)


def test_a_bundle_without_record_or_with_a_wild_link_gives_no_wheel(tmp_path: Path) -> None:
    """Both are damage, told by the bundle's name."""
    path = bundle_of(tmp_path, {"demo/x": b"x"}, (SymbolicLink("demo/y", "z"),))
    with pytest.raises(ArchiveError, match=r"demo-1\.0.*link 'demo/y' leads nowhere"):
        back(path, tmp_path / "one")
    with path.open("wb") as file:
        write_bundle(file.write, INFO, [content(f"{INFO}/METADATA", b"Name: demo\n")])
    with pytest.raises(ArchiveError, match="has no RECORD"):
        back(path, tmp_path / "two")


def test_pip_installs_what_came_back(tmp_path: Path) -> None:
    """pip finds nothing wrong with the wheel of a bundle whose links are copies."""
    links = (SymbolicLink("demo/copy.py", "__init__.py"),)
    made = back(bundle_of(tmp_path, {"demo/__init__.py": b"answer = 42\n"}, links), tmp_path / "back")
    place = tmp_path / "place"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", str(place), str(made)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (place / "demo" / "copy.py").read_text() == "answer = 42\n"


def walked(root: Path) -> dict[str, str]:
    """Every path below a folder by which the system finds a file, and the file; ValueError for what has no end."""
    found: dict[str, str] = {}

    def visit(folder: Path, above: tuple[Path, ...]) -> None:
        for path in folder.iterdir():
            real = path.resolve(strict=True)
            if root not in real.parents or any(real in (one, *one.parents) for one in above):
                raise ValueError(path)
            if real.is_file():
                found[path.relative_to(root).as_posix()] = real.relative_to(root).as_posix()
            else:
                visit(path, (*above, real))

    visit(root, (root,))
    return found


PLACES = ("a/f0", "b/f1", "a/c/f2", "b/d/e/f3", "a", "b", "a/c", "b/d", "b/d/e", "..", "gone")
NAMES = ("a/l", "b/l", "a/c/l", "b/d/m", "top")


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(PLACES + NAMES), max_size=4))
def test_copies_are_what_the_system_finds(leading: dict[str, str]) -> None:
    """For any tree of links the copies are the files that the system finds through them, or neither comes to an end."""
    links = [SymbolicLink(path, posixpath.relpath(to, posixpath.dirname(path))) for path, to in leading.items()]
    with TemporaryDirectory(prefix="gpuenv-") as folder:
        root = Path(folder).resolve() / "root"
        for file in PLACES[:4]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(file)
        for link in links:
            (root / link.path).symlink_to(link.target)
        try:
            wanted = walked(root)
        except (ValueError, OSError, RuntimeError):
            with pytest.raises(ValueError, match="link"):
                copies(PLACES[:4], links)
            return
    assert copies(PLACES[:4], links) == {path: file for path, file in wanted.items() if path not in PLACES[:4]}


def test_a_wheel_of_files_that_zip_has_no_fields_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beyond the sizes of plain ZIP (4 GiB, here 64 KiB) get those of ZIP64; this and other readers read them."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 64 << 10)
    noise = hashlib.shake_128(b"noise").digest(300_000)
    files = {"demo/large.bin": noise, "demo/small": b"x", f"{INFO}/RECORD": b""}
    path = back(bundle_of(tmp_path, files, ()), tmp_path / "back")
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("demo/large.bin").extract_version == zipfile.ZIP64_VERSION
        assert archive.read("demo/large.bin") == noise
    with open_wheel(path) as opened:
        large = next(member for member in opened.members if member.name == "demo/large.bin")
        assert b"".join(opened.chunks(large)) == noise
