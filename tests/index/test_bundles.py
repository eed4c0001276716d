"""Bundles on pages and in folders stand beside wheels."""

import hashlib
from pathlib import Path

import pytest

from gpuenv.errors import IntegrityError
from gpuenv.model.distribution import About, Metadata, WheelFile
from gpuenv.model.facts import NativeFacts, encode_facts
from gpuenv.model.manifest import Index
from tests.index.support import ask, index_of
from tests.support.binaries import library
from tests.support.bundles import digest_of, facts_in, make_bundle
from tests.support.simple_server import SimpleServer
from tests.support.wheels import make_wheel

NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(60_000))  # 1.9 MB that do not compress


def bundle(folder: Path) -> Path:
    made = make_wheel(folder, "foo", requires=["bar>=1"], files={"foo/data.bin": NOISE}, tags="py3-none-linux_x86_64")
    path = make_bundle(made)
    made.unlink()
    return path


def test_a_folder_lists_bundles_with_their_tags_and_metadata(tmp_path: Path) -> None:
    """Name, version, tags and requirements of a bundle are found as a wheel's are."""
    made = bundle(tmp_path / "bundles")
    index = Index("folder", str(made.parent), folder=True)
    page = ask(tmp_path, lambda client: client.page("foo", index))
    assert page is not None
    (release,) = page.releases
    (file,) = release.wheels
    assert (release.version, file.filename, file.tags, file.is_bundle) == (
        "1.0",
        made.name,
        "py3-none-linux_x86_64",
        True,
    )
    assert file.sha256 == hashlib.sha256(made.read_bytes()).hexdigest()
    assert ask(tmp_path, lambda client: client.metadata(file, index)).requires == ("bar>=1",)


def native_wheel(folder: Path) -> Path:
    """A wheel with a library under two names, and much that does not compress."""
    files = dict.fromkeys(("foo/libfoo.so.1", "foo/libfoo.so.1.2"), library("libfoo.so.1"))
    return make_wheel(folder, "foo", files={**files, "foo/data.bin": NOISE}, tags="py3-none-linux_x86_64")


def only_file(server: SimpleServer, folder: Path) -> WheelFile:
    page = ask(folder, lambda client: client.page("foo", index_of(server)))
    assert page is not None
    (release,) = page.releases
    return release.wheels[0]


def test_a_bundle_says_what_it_is_in_two_ranges(server: SimpleServer, tmp_path: Path) -> None:
    """Its facts, and the wheel that it was, cost the table at the end and the first frame; once."""
    wheel = native_wheel(tmp_path / "wheels")
    facts = facts_in(wheel)
    server.add(make_bundle(wheel, facts=facts))
    file = only_file(server, tmp_path)
    server.requests.clear()
    found: About = ask(tmp_path, lambda client: client.about(file, index_of(server)))
    assert found.origin == digest_of(wheel)
    assert found.facts is not None
    assert (found.facts.sha256, found.facts.objects) == (None, facts.objects)
    assert len(server.requests) == 2
    assert ask(tmp_path, lambda client: client.about(file, index_of(server))) == found
    assert len(server.requests) == 2


def test_a_server_without_ranges_serves_it_whole(server: SimpleServer, tmp_path: Path) -> None:
    """Where no ranges are to be had the bundle is downloaded, and says the same."""
    server.ranges = False
    wheel = native_wheel(tmp_path / "wheels")
    server.add(make_bundle(wheel))
    file = only_file(server, tmp_path)
    found: About = ask(tmp_path, lambda client: client.about(file, index_of(server)))
    assert (found.origin, found.facts) == (digest_of(wheel), None)


def test_a_bundle_with_restored_links_is_no_substitute(tmp_path: Path) -> None:
    """What is installed of it is not what the wheel installs, so that it names no origin that could serve instead."""
    bundle = make_bundle(native_wheel(tmp_path), restore_links=True)
    file = WheelFile(bundle.name, bundle.as_uri(), digest_of(bundle))
    assert ask(tmp_path, lambda client: client.about(file, None)) == About(None, None)


def test_facts_beside_a_file_are_taken_if_they_are_about_it(server: SimpleServer, tmp_path: Path) -> None:
    """A sidecar counts with the digest of the very file; of another file, or of another version, it says nothing."""
    wheel = native_wheel(tmp_path / "wheels")
    facts = facts_in(wheel)
    other = NativeFacts("0" * 64, facts.size, objects=facts.objects)
    older = encode_facts(facts).replace(b'"schema":', b'"schema":9')
    for style in ("json", "html"):
        server.style = style
        for place, (native, expected) in enumerate(
            [(encode_facts(facts), facts), (encode_facts(other), None), (older, None)]
        ):
            server.add(wheel, native=native)
            file = only_file(server, tmp_path / style / str(place))
            assert ask(tmp_path, lambda client: client.native(file, index_of(server))) == expected  # noqa: B023


def test_facts_beside_a_file_are_what_the_page_says(server: SimpleServer, tmp_path: Path) -> None:
    """A sidecar of another digest than the page states is refused; one that is not there is none."""
    wheel = native_wheel(tmp_path / "wheels")
    server.add(wheel, native=encode_facts(facts_in(wheel)), native_facts={"sha256": "0" * 64})
    file = only_file(server, tmp_path)
    with pytest.raises(IntegrityError, match=r"foo-1.0-py3-none-linux_x86_64.whl.native.json is not what the index"):
        ask(tmp_path, lambda client: client.native(file, index_of(server)))
    server.add(wheel, native_facts=True)
    file = only_file(server, tmp_path / "again")
    assert file.native_sha256 == ""
    assert ask(tmp_path, lambda client: client.native(file, index_of(server))) is None


def test_facts_beside_a_file_in_a_folder(tmp_path: Path) -> None:
    """A folder's sidecars are found without any page, and passed over where the file is another one by now."""
    wheel = native_wheel(tmp_path / "wheels")
    facts, index = facts_in(wheel), Index("folder", str(wheel.parent), folder=True)
    sidecar = wheel.with_name(f"{wheel.name}.native.json")

    def found() -> NativeFacts | None:
        page = ask(tmp_path, lambda client: client.page("foo", index))
        assert page is not None
        return ask(tmp_path, lambda client: client.native(page.releases[0].wheels[0], index))

    assert found() is None
    sidecar.write_bytes(encode_facts(facts))
    assert found() == facts
    make_wheel(wheel.parent, "foo", files={"foo/new.txt": "new"}, tags="py3-none-linux_x86_64")
    assert found() is None


def test_metadata_of_a_bundle_is_read_from_its_ends(server: SimpleServer, tmp_path: Path) -> None:
    """The table at the end and the first frame say it: two requests, and a fraction of the bytes."""
    made = bundle(tmp_path / "bundles")
    server.add(made, metadata=False)
    server.cache_control = "no-store"
    page = ask(tmp_path / "elsewhere", lambda client: client.page("foo", index_of(server)))
    assert page is not None
    wheel: WheelFile = page.releases[0].wheels[0]
    server.requests.clear()
    found: Metadata = ask(tmp_path, lambda client: client.metadata(wheel, index_of(server)))
    assert found.requires == ("bar>=1",)
    ranges = [request.headers["range"] for request in server.requests]
    assert len(ranges) == 2
    assert ranges[1].startswith("bytes=0-")
