"""What says which properties labels stand for: files of releases, and wheels themselves."""

import hashlib
from pathlib import Path

import pytest

from gpuenv.errors import IntegrityError
from gpuenv.model.distribution import WheelFile
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.bundles import make_bundle
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_variants, make_wheel, variants_document

LABELS = {"gfx942": {"amd": {"gfx_arch": ["gfx942"]}}}
NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(10_000))


def variants(folder: Path, index: Index, file: WheelFile) -> bytes | None:
    return ask(folder, lambda client: client.variants(file, index))


def offered(folder: Path, index: Index) -> WheelFile:
    """The file as the page of the index shows it."""
    page = ask(folder / "elsewhere", lambda client: client.page("foo", index))
    assert page is not None
    file = page.releases[0].variants
    assert file is not None
    return file


def test_a_file_of_the_index_is_asked_for_once(server: SimpleServer, tmp_path: Path) -> None:
    """What a digest names is remembered; the file is compared with the digest that the index states."""
    path = make_variants(tmp_path, "foo", "1.0", LABELS)
    server.add(path)
    server.add(make_wheel(tmp_path, "foo", label="gfx942", variant=LABELS["gfx942"]))
    file = offered(tmp_path, index_of(server))
    server.requests.clear()

    assert [path.read_bytes()] * 2 == [variants(tmp_path, index_of(server), file) for _ in range(2)]
    assert server.paths == ["/files/foo-1.0-variants.json"]

    path.write_bytes(variants_document({"null": {}}))
    with pytest.raises(IntegrityError, match="is not what the index says"):
        variants(tmp_path / "other", index_of(server), file)


def test_a_file_that_is_not_there(server: SimpleServer, tmp_path: Path) -> None:
    """A page may list what is gone: that is known, and no failure."""
    file = WheelFile("foo-1.0-variants.json", f"{server.root}/files/foo-1.0-variants.json")

    assert variants(tmp_path, index_of(server), file) is None


def test_folders_have_them_too(tmp_path: Path) -> None:
    """The file of a folder belongs to the release whose wheels lie there."""
    make_wheel(tmp_path / "shelf", "foo", label="gfx942", variant=LABELS["gfx942"])
    path = make_variants(tmp_path / "shelf", "foo", "1.0", LABELS)
    index = Index("shelf", str(tmp_path / "shelf"), folder=True)

    assert path.read_bytes() == variants(tmp_path, index, offered(tmp_path, index))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("packed", ["wheel", "bundle"])
def test_a_wheel_says_it_of_itself(server: SimpleServer, tmp_path: Path, packed: str, ranges: bool) -> None:
    """A wheel's own variant.json comes by parts, or with the whole where the server has no parts."""
    server.ranges = ranges
    wheel = make_wheel(
        tmp_path, "foo", files={"foo/data.bin": NOISE}, label="gfx942", variant=LABELS["gfx942"], stored=True
    )
    path = make_bundle(wheel) if packed == "bundle" else wheel
    url = server.add(path)
    file = WheelFile(path.name, url, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)

    assert variants_document(LABELS) == variants(tmp_path, index_of(server), file)
    assert ranges != (tmp_path / "cache" / "wheels-v1").exists()


def test_a_wheel_without_it(server: SimpleServer, tmp_path: Path) -> None:
    """A label alone says nothing: that the file is missing is known without a download of the whole."""
    path = make_wheel(tmp_path, "foo", files={"foo/data.bin": NOISE}, label="gfx942")
    file = WheelFile(path.name, server.add(path), None, path.stat().st_size)

    assert variants(tmp_path, index_of(server), file) is None
    assert not (tmp_path / "cache" / "wheels-v1").exists()


def test_a_wheel_speaks_for_no_other_file(server: SimpleServer, tmp_path: Path) -> None:
    """What a wheel says of itself is not taken for a variants file that has the digest which its index states."""
    listed = make_variants(tmp_path, "foo", "1.0", LABELS)
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()
    liar = make_wheel(tmp_path, "foo", files={"foo/data.bin": NOISE}, label="v1", variant={"x": {"y": ["z"]}})
    wheel = WheelFile(liar.name, server.add(liar), digest, liar.stat().st_size)
    assert variants(tmp_path, index_of(server), wheel) != listed.read_bytes()

    file = WheelFile(listed.name, server.add(listed), digest)
    assert variants(tmp_path, index_of(server), file) == listed.read_bytes()


def test_an_index_speaks_for_no_other_index(server: SimpleServer, tmp_path: Path) -> None:
    """Metadata that one index gives of a wheel with a certain digest is not taken for a wheel of another index."""

    def requires(whose: SimpleServer) -> tuple[str, ...]:
        url = f"{whose.root}/files/foo-1.0-py3-none-any.whl"
        wheel = WheelFile("foo-1.0-py3-none-any.whl", url, "0" * 64, 1, metadata_sha256="")
        return ask(tmp_path, lambda client: client.metadata(wheel, index_of(whose))).requires

    with SimpleServer() as liar:
        liar.add(make_wheel(tmp_path / "lie", "foo", requires=["evil"]))
        server.add(make_wheel(tmp_path, "foo", requires=["dep"]))

        assert [requires(liar), requires(server)] == [("evil",), ("dep",)]
