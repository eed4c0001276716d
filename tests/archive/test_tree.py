"""Trees: the same files and links, whatever they are packed in, and nothing believed that an archive says of itself."""

import contextlib
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuenv.archive.inflate import CHUNK
from gpuenv.archive.tree import FileSource, Link, open_tree, open_tree_from
from gpuenv.errors import ArchiveError
from tests.archive.support import NOISE, contents, entry, packed, seen, tar_of, zip_of

FILES = {"a/empty.py": b"", "a/small.so": b"\x7fELF" + NOISE[:1000], "a/large.bin": NOISE + bytes(CHUNK), "top": b"x"}


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "deflated"])
def test_zip(stored: bool, tmp_path: Path) -> None:
    """A wheel's files come with size and checksum, in any order, from several threads, as often as they are wanted."""
    path = tmp_path / "any.name"
    path.write_bytes(zip_of(FILES, stored=stored))
    with open_tree(path) as tree:
        assert (tree.name, tree.kind, tree.size, tree.parallel) == ("any.name", "zip", path.stat().st_size, True)
        files = {file.path: file for file in tree.files}
        assert {name: file.size for name, file in files.items()} == {name: len(data) for name, data in FILES.items()}
        with ThreadPoolExecutor(4) as pool:
            for file, data in [*pool.map(lambda file: (file, b"".join(file.chunks())), [*files.values()] * 3)]:
                assert data == FILES[file.path]
                assert zipfile.crc32(data) == file.crc  # type: ignore[attr-defined]
        large = files["a/large.bin"]
        assert max(map(len, large.chunks())) <= CHUNK
        assert (large.read is not None) == stored
        if large.read:
            assert [large.read(5, 9), large.read(large.size - 1, 9), large.read(large.size, 1)] == [
                NOISE[5:14],
                b"\0",
                b"",
            ]


@pytest.mark.parametrize("packing", ["", "gzip", "xz", "zstd"])
def test_tar(packing: str, tmp_path: Path) -> None:
    """A tar's files come one by one in its order, plain or packed; each can be read from anywhere, and again."""
    path = tmp_path / "any.name"
    path.write_bytes(packed(tar_of(*FILES.items()), packing))
    with open_tree(path) as tree:
        assert (tree.kind, tree.size, tree.parallel) == ("tar", path.stat().st_size, False)
        for file, (name, data) in zip(tree.files, FILES.items(), strict=True):
            assert (file.path, file.size, file.crc) == (name, len(data), None)
            assert file.read
            assert file.read(len(data) // 2, 10) == data[len(data) // 2 :][:10]
            assert b"".join(file.chunks()) == b"".join(file.chunks()) == data
            assert file.read(0, 4) == data[:4]
            assert file.read(len(data) + 1, 4) == b""
    with open_tree(path) as tree:
        assert [file.path for file in tree.files] == list(FILES)  # what nobody reads is skipped


def test_file_of_a_stream_is_over_when_the_next_comes(tmp_path: Path) -> None:
    """Whoever keeps a file of a packed tar for too long is told so, and gets no other file's bytes."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(packed(tar_of(*FILES.items()), "gzip"))
    with open_tree(path) as tree:
        first, second, *_ = list(tree.files)
        assert second.read
        with pytest.raises(RuntimeError, match="after the next"):
            second.read(0, 1)
        assert b"".join(first.chunks()) == b""


def test_folder(tmp_path: Path) -> None:
    """A folder's files come sorted; links are told, also those that lead out or nowhere; pipes are left out."""
    folder = tmp_path / "folder"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "a" / "out").symlink_to("/etc")
    (folder / "a" / "loop").symlink_to(".")
    (folder / "line\nbreak").write_bytes(b"1")
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "c" / "d").write_bytes(b"3")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_bytes(b"2")
    os.mkfifo(folder / "pipe")
    with open_tree(folder) as tree:
        assert (tree.name, tree.kind, tree.parallel) == ("folder", "folder", True)
        assert contents(tree) == FILES | {"line\nbreak": b"1", "\\xff": b"2", "b/c/d": b"3"}
        names = [file.path for file in tree.files]
        assert names == ["line\nbreak", "top", "\\xff", *sorted(name for name in FILES if "/" in name), "b/c/d"]
        assert tree.size == sum(map(len, FILES.values())) + 3
        assert tree.links == (Link("a/loop", ".", "folder"), Link("a/out", "/etc", "folder"))
        top = next(file for file in tree.files if file.path == "top")
        assert top.read
        assert top.read(0, 9) == b"x"


def test_folder_that_changes_is_an_error(tmp_path: Path) -> None:
    """A file that vanishes, turns into a link or grows after it was listed is refused, not followed."""
    for name in ("gone", "link", "long"):
        (tmp_path / name).write_bytes(b"x")
    with open_tree(tmp_path) as tree:
        (tmp_path / "gone").unlink()
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("long")
        (tmp_path / "long").write_bytes(b"xx")
        for file, reason in zip(tree.files, ("No such file", "cannot be opened", "changed"), strict=True):
            with pytest.raises(ArchiveError, match=reason):
                list(file.chunks())


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + NOISE, packed(NOISE, "gzip"), packed(b"", "xz"), bytes(2048)])
def test_anything_else_is_one_file(data: bytes, tmp_path: Path) -> None:
    """What is no archive is one file, also if something other than a tar is packed."""
    assert seen(tmp_path / "lib.so", data) == ("file", {"lib.so": data}, [])


def test_empty_zip(tmp_path: Path) -> None:
    """An archive without entries is an archive."""
    assert seen(tmp_path / "x", zip_of({})) == ("zip", {}, [])


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A path that is not there, or a pipe, is refused and nobody waits."""
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("none", "No such file"), ("pipe", "not a file"), ("a\0b", "name")):
        with pytest.raises(ArchiveError, match=reason):
            open_tree(tmp_path / name)


def test_links_of_a_zip_are_told(tmp_path: Path) -> None:
    """Symbolic links in a ZIP are links and no files, wherever they lead."""
    kind, files, links = seen(
        tmp_path / "x.whl", zip_of({"lib/a.so.1": b"x"}, {"lib/a.so": b"a.so.1", "up": b"../../etc"})
    )
    assert (kind, files) == ("zip", {"lib/a.so.1": b"x"})
    assert links == [Link("lib/a.so", "a.so.1", "zip"), Link("up", "../../etc", "zip")]


@pytest.mark.parametrize(
    ("target", "reason"),
    [(b"", "empty"), (b"a\nb", "control characters"), (b"\xff", "no text"), (b"a" * 5000, "larger than 4096")],
)
def test_links_that_lead_to_no_path_are_refused(target: bytes, reason: str, tmp_path: Path) -> None:
    """A link's content must be something that can be a path."""
    with pytest.raises(ArchiveError, match=reason):
        seen(tmp_path / "x.whl", zip_of({}, {"a": target}))


def test_links_of_a_tar_are_told(tmp_path: Path) -> None:
    """Symbolic and hard links of a tar are told as symbolic links would say them; those that lead out as they are."""
    data = tar_of(
        ("lib/a.so.1", b"x"),
        entry("lib/a.so", tarfile.SYMTYPE, "a.so.1"),
        entry("bin/a", tarfile.LNKTYPE, "lib/a.so.1"),
        entry("up", tarfile.LNKTYPE, "../../etc"),
    )
    _, files, links = seen(tmp_path / "x.tar", data)
    assert files == {"lib/a.so.1": b"x"}
    assert [link[:2] for link in links] == [("lib/a.so", "a.so.1"), ("bin/a", "../lib/a.so.1"), ("up", "../../etc")]
    assert {link.source for link in links} == {"tar"}


@pytest.mark.parametrize(("suffix", "packing"), [("", ""), (".gz", "gzip"), (".xz", "xz"), (".zst", "zstd")])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "deflated"])
def test_development_tar_in_a_wheel_is_looked_into(suffix: str, packing: str, stored: bool, tmp_path: Path) -> None:
    """Files and links of `_devel.tar` carry the tar's path and `!/`; the tar is no file, other archives are."""
    inner = tar_of(("lib/b.so", NOISE), ("include/b.h", b"h"), entry("lib/c.so", tarfile.SYMTYPE, "b.so"))
    name = f"sdk/_devel.tar{suffix}"
    outer = {"a.py": b"1", name: packed(inner, packing), "x.tar": inner, "in.zip": zip_of({"b": b"2"})}
    _, files, links = seen(tmp_path / "x.whl", zip_of(outer, stored=stored))
    assert files == {"a.py": b"1", "x.tar": inner, "in.zip": outer["in.zip"], f"{name}!/lib/b.so": NOISE} | {
        f"{name}!/include/b.h": b"h"
    }
    assert links == [Link(f"{name}!/lib/c.so", "b.so", "tar")]


@pytest.mark.parametrize("inner", [b"no tar at all", b"", packed(b"no tar", "xz"), tar_of(("a", NOISE))[:5000]])
def test_development_tar_that_is_none_is_refused(inner: bytes, tmp_path: Path) -> None:
    """A `_devel.tar` that is damaged or something else is refused by its name, when it is looked into."""
    with pytest.raises(ArchiveError, match=r"x\.whl: sdk/_devel\.tar is refused|x\.whl is refused.*entry 'a'"):
        seen(tmp_path / "x.whl", zip_of({"sdk/_devel.tar": inner}))


LINES = b"lib/f.so.3.1,lib/f.so.3\nlib/f.so,lib/f.so.3\r\n\r\n"


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_links_file(kind: str, tmp_path: Path) -> None:
    """LINKS is read in either order, chains too, in every kind of tree; it is a file as well."""
    files = {"lib/f.so.3.1": b"x", "f-1.dist-info/LINKS": LINES}
    if kind == "folder":
        for name, data in files.items():
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_bytes(data)
        with open_tree(tmp_path) as tree:
            found, links = contents(tree), list(tree.links)
    else:
        _, found, links = seen(tmp_path / "x", zip_of(files) if kind == "zip" else tar_of(*files.items()))
    assert found == files
    assert links == [Link("lib/f.so.3", "f.so.3.1", "LINKS"), Link("lib/f.so", "f.so.3", "LINKS")]


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_malformed_links_file_is_refused(kind: str, tmp_path: Path) -> None:
    """A LINKS file that breaks its own rules makes the artifact one that is refused."""
    files = {"f-1.dist-info/LINKS": b"only one\n"}
    with pytest.raises(ArchiveError, match="malformed: line 1"):
        if kind == "folder":
            (tmp_path / "f-1.dist-info").mkdir()
            (tmp_path / "f-1.dist-info/LINKS").write_bytes(b"only one\n")
            open_tree(tmp_path)
        else:
            seen(tmp_path / "x", zip_of(files) if kind == "zip" else tar_of(*files.items()))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "deflated"])
def test_damage_is_found_at_the_end_of_a_file(stored: bool, tmp_path: Path) -> None:
    """Of a ZIP member with a flipped bit, chunks end with an error."""
    data = zip_of({"a": NOISE}, stored=stored)
    with pytest.raises(ArchiveError, match=r"x\.whl is refused: entry 'a' .*(checksum|damaged)"):
        seen(tmp_path / "x.whl", flipped(data, 1 << 20))


@pytest.mark.parametrize("size", [len(NOISE) - 1, len(NOISE) + 1])
def test_lying_sizes_are_found(size: int, tmp_path: Path) -> None:
    """A member that inflates to another size than both headers say is refused, and not given out beyond that size."""
    data = zip_of({"a": NOISE}).replace(struct.pack("<L", len(NOISE)), struct.pack("<L", size))
    path = tmp_path / "x.whl"
    path.write_bytes(data)
    given = 0
    with open_tree(path) as tree, pytest.raises(ArchiveError, match="longer or shorter"):
        for piece in next(iter(tree.files)).chunks():
            given += len(piece)
    assert given <= size


@pytest.mark.parametrize(
    "make",
    [
        lambda: zip_of(FILES)[:-30],
        lambda: zip_of(FILES)[:100],
        lambda: zip_of({"a\nb": b""}),
        lambda: zip_of({"../a": b""}),
        lambda: zip_of({"a": b"", "b": b""}).replace(b"b", b"a"),
        lambda: tar_of(*FILES.items())[:-12000],
        lambda: packed(tar_of(*FILES.items()), "gzip")[:-300],
        lambda: packed(tar_of(*FILES.items()), "xz")[:-300],
        lambda: packed(tar_of(*FILES.items()), "zstd")[:-300],
        lambda: flipped(packed(tar_of(*FILES.items()), "gzip"), 1 << 20),
        lambda: packed(tar_of(*FILES.items()), "gzip") + b"more",
    ],
)
def test_damaged_archives_are_refused(make: object, tmp_path: Path) -> None:
    """Whatever is cut off, changed or appended ends in an error that names the archive."""
    with pytest.raises(ArchiveError, match=r"^x\.whl"):
        seen(tmp_path / "x.whl", make())  # type: ignore[operator]


class Distant(FileSource):
    """A file that counts how often it is asked."""

    distant = True
    reads = 0

    def read(self, offset: int, size: int, /) -> bytes:
        """Count and read."""
        self.reads += 1
        return super().read(offset, size)

    def stream(self, start: int, stop: int, /) -> Iterator[bytes]:
        """Count and read."""
        self.reads += 1
        return super().stream(start, stop)


def test_headers_far_away_are_compared_when_a_file_is_read(tmp_path: Path) -> None:
    """Opening a distant wheel costs few reads however many files it has; each file is still held to its header."""
    path = tmp_path / "x.whl"
    data = zip_of({f"m{number:03}": NOISE[:10] for number in range(200)} | {"large": NOISE, "stored": b"s"})
    where = data.index(b"m007")
    path.write_bytes(data[:where] + b"m008" + data[where + 4 :])
    with pytest.raises(ArchiveError, match="another name"):
        open_tree(path)
    source = Distant.open(path)
    with open_tree_from("x.whl", source) as tree:
        assert isinstance(source, Distant)
        assert source.reads < 6
        files = {file.path: file for file in tree.files}
        before = source.reads
        assert b"".join(files["m006"].chunks()) == NOISE[:10]
        assert source.reads == before + 1
        assert b"".join(files["large"].chunks()) == b"".join(files["large"].chunks()) == NOISE
        with pytest.raises(ArchiveError, match="another name"):
            list(files["m007"].chunks())


def test_entries_far_away_that_overlap_are_refused_at_once(tmp_path: Path) -> None:
    """Two entries that say they begin at the same byte are refused before any header is read."""
    data = zip_of({"a": b"1", "b": b"2"})
    second = data.rindex(b"PK\x01\x02") + 42  # where the directory says that the entry begins
    path = tmp_path / "x.whl"
    path.write_bytes(data[:second] + bytes(4) + data[second + 4 :])
    source = Distant.open(path)
    with pytest.raises(ArchiveError, match="hide or overlap"):
        open_tree_from("x.whl", source)
    with pytest.raises(ArchiveError, match="cannot be read"):  # it was closed
        source.read(0, 1)


SEEDS = (
    zip_of({"a": b"1" * 50, "f-1.dist-info/LINKS": b"a,b"}, {"l": b"a"}),
    zip_of({"a": b"1" * 50, "_devel.tar.gz": packed(tar_of(("t", b"2")), "gzip")}, stored=True),
    packed(tar_of(("a", b"1" * 50)), "xz"),
    packed(tar_of(("a", b"1" * 50)), "zstd"),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3), st.floats(0, 2))
def test_changed_bytes_are_read_or_refused(
    tmp_path: Path, seed: bytes, changes: list[tuple[float, int]], cut: float
) -> None:
    """Whatever bytes change or are cut off, here or far away, nothing but ArchiveError comes of it."""
    data = bytearray(seed)
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    path = tmp_path / "x"
    path.write_bytes(data[: int(cut * len(data))])
    for opener in (FileSource, Distant):
        with contextlib.suppress(ArchiveError), open_tree_from("x", opener.open(path)) as tree:
            contents(tree)
            assert tree.links is not None
