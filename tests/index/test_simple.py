"""Simple API pages in both spellings."""

import json
from typing import Any

import pytest

from gpuenv.index.simple import BadPage, read_page, split_wheel
from gpuenv.model.distribution import Page

URL = "https://index.example/simple/foo-bar/"
JSON = "application/vnd.pypi.simple.v1+json"
SHA = "ab" * 32


def page(*files: dict[str, Any], kind: str = JSON, version: str = "1.1") -> Page:
    body = json.dumps({"meta": {"api-version": version}, "name": "foo-bar", "files": files}).encode()
    return read_page(body, kind, URL, "foo-bar", "main")


def file(filename: str, **more: Any) -> dict[str, Any]:
    return {"filename": filename, "url": f"https://files.example/{filename}", "hashes": {}, **more}


def html(text: str) -> Page:
    return read_page(f"<!DOCTYPE html>{text}".encode(), "text/html; charset=utf-8", URL, "foo-bar", "main")


def test_releases_come_newest_first_with_canonical_versions() -> None:
    """Files of equal versions are one release, newest first, wheels in the order of the page."""
    found = page(
        file("foo_bar-1.0-py3-none-any.whl"),
        file("foo_bar-1.0.0-cp312-cp312-linux_x86_64.whl"),
        file("foo_bar-1.10-py3-none-any.whl"),
        file("Foo.Bar-2.0rc1-py3-none-any.whl"),
        file("foo-bar-0.9-1.tar.gz"),
    )
    assert [release.version for release in found.releases] == ["2.0rc1", "1.10", "1.0", "0.9.post1"]
    assert [wheel.tags for wheel in found.releases[2].wheels] == ["py3-none-any", "cp312-cp312-linux_x86_64"]
    assert [release.sdist for release in found.releases] == [False, False, False, True]
    assert (found.name, found.index, found.skipped) == ("foo-bar", "main", 0)


@pytest.mark.parametrize(
    "filename",
    [
        "foo_bar-1.0-py3-none.whl",
        "foo_bar-nonsense-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
        "foo_bar-1.0-py3-none-any-Label.whl",
        "foo_bar-1.0-1-variants.json",
        "other-1.0-variants.json",
        "../foo_bar-1.0-py3-none-any.whl",
        "foo_bar-1.0.win32.exe",
        "other-1.0.tar.gz",
        "foo_bar-.whl",
    ],
)
def test_names_that_no_standard_reads_are_counted(filename: str) -> None:
    """A file that is no wheel or source distribution of the page's project is skipped and counted."""
    found = page(file(filename), file("foo_bar-1.0-py3-none-any.whl"))
    assert found.skipped == 1
    assert len(found.releases) == 1


@pytest.mark.parametrize("spelling", ["json", "html"])
def test_variants_of_a_release(spelling: str) -> None:
    """The file that says what labels stand for belongs to its version; wheels with labels are wheels."""
    names = ["foo_bar-2.0-py3-none-any-cu12.whl", "foo_bar-2.0.0-variants.json", "foo_bar-1.0-py3-none-any.whl"]
    anchors = "".join(f'<a href="{name}#sha256={SHA}">{name}</a>' for name in names)
    found = html(anchors) if spelling == "html" else page(*(file(name, hashes={"sha256": SHA}) for name in names))

    new, old = found.releases
    assert new.variants is not None
    assert (names[1], SHA) == (new.variants.filename, new.variants.sha256)
    assert [wheel.label for wheel in new.wheels] == ["cu12"]
    assert (old.variants, new.sdist, found.skipped) == (None, False, 0)


def test_variants_of_a_version_written_in_two_ways() -> None:
    """Of two files for one version the same is taken, whichever the page has first."""
    files = [file(f"foo_bar-{version}-variants.json", hashes={"sha256": SHA}) for version in ("1.0.0", "1.0")]
    wheel = file("foo_bar-1.0-py3-none-any-cu12.whl")

    found = [page(wheel, *order).releases[0].variants for order in (files, files[::-1])]
    assert [one.filename for one in found if one] == ["foo_bar-1.0-variants.json"] * 2


def test_json_keys_are_read() -> None:
    """Digest, size, upload time, Requires-Python, yank reason and metadata digest arrive, with either metadata key."""
    found = page(
        file(
            "foo_bar-1.0-py3-none-any.whl",
            **{"hashes": {"sha256": SHA.upper(), "md5": "0"}, "size": 7, "upload-time": "2026-01-01T00:00:00Z"},
            **{"requires-python": ">=3.9", "yanked": "broken", "core-metadata": {"sha256": SHA}},
        ),
        file("foo_bar-2.0-py3-none-any.whl", **{"yanked": True, "dist-info-metadata": True, "core-metadata": None}),
        file("foo_bar-3.0-py3-none-any.whl", **{"dist-info-metadata": {"sha256": SHA}, "core-metadata": False}),
    )
    third, second, first = (release.wheels[0] for release in found.releases)
    assert (first.sha256, first.size, first.uploaded) == (SHA, 7, "2026-01-01T00:00:00Z")
    assert (first.requires_python, first.yanked, first.metadata_sha256) == (">=3.9", "broken", SHA)
    assert (second.yanked, second.metadata_sha256, second.sha256) == ("", "", None)
    assert (third.yanked, third.metadata_sha256) == (None, None)


def test_native_facts_are_announced_in_both_spellings() -> None:
    """`native-facts` of JSON and `data-native-facts` of HTML have a digest, or say just that they are there."""
    found = page(
        file("foo_bar-1.0-py3-none-any.whl", **{"native-facts": {"sha256": SHA}}),
        file("foo_bar-2.0-py3-none-any.whl", **{"native-facts": True}),
        file("foo_bar-3.0-py3-none-any.whl", **{"native-facts": False}),
    )
    assert [release.wheels[0].native_sha256 for release in found.releases] == [None, "", SHA]
    found = html(
        f'<a href="a/foo_bar-1.0-py3-none-any.whl" data-native-facts="sha256={SHA}">'
        '<a href="a/foo_bar-2.0-py3-none-any.whl" data-native-facts="true">'
        '<a href="a/foo_bar-3.0-py3-none-any.whl" data-native-facts="false">'
    )
    assert [release.wheels[0].native_sha256 for release in found.releases] == [None, "", SHA]


def test_html_attributes_are_read() -> None:
    """The HTML spelling gives the same facts: entities, upper case, values with `>`, and both metadata names."""
    found = html(
        f'<a href="/f/foo_bar-1.0%2Bcu1-py3-none-any.whl?x=1&amp;y=2#sha256={SHA}" data-requires-python="&gt;=3.9">'
        "<A HREF='foo_bar-2.0-py3-none-any.whl' data-yanked data-dist-info-metadata=true data-requires-python='>=3.10'>"
        f'<a data-core-metadata="sha256={SHA}" data-yanked="a &amp; b" href="foo_bar-3.0-py3-none-any.whl#md5=1">y</a>'
        '<!-- <a href="foo_bar-9.0-py3-none-any.whl">gone</a> --><abbr href="foo_bar-8.0-py3-none-any.whl"></abbr>'
    )
    third, second, first = (release.wheels[0] for release in found.releases)
    assert first.filename == "foo_bar-1.0+cu1-py3-none-any.whl"
    assert first.url == "https://index.example/f/foo_bar-1.0%2Bcu1-py3-none-any.whl?x=1&y=2"
    assert (first.sha256, first.requires_python, first.yanked, first.metadata_sha256) == (SHA, ">=3.9", None, None)
    assert (second.requires_python, second.yanked, second.metadata_sha256) == (">=3.10", "", "")
    assert second.url == "https://index.example/simple/foo-bar/foo_bar-2.0-py3-none-any.whl"
    assert (third.sha256, third.yanked, third.metadata_sha256) == (None, "a & b", SHA)


def test_base_moves_relative_links() -> None:
    """Links of an HTML page start from its `<base>`."""
    found = html('<base href="/elsewhere/"><a href="foo_bar-1.0-py3-none-any.whl">x</a>')
    assert found.releases[0].wheels[0].url == "https://index.example/elsewhere/foo_bar-1.0-py3-none-any.whl"


@pytest.mark.parametrize("url", ["file:///etc/foo_bar-1.0-py3-none-any.whl", "ftp://x/foo_bar-1.0-py3-none-any.whl"])
def test_pages_lead_to_the_web_only(url: str) -> None:
    """A page that came over HTTP cannot send gpuenv to local files or other protocols."""
    found = page({"filename": "foo_bar-1.0-py3-none-any.whl", "url": url})
    assert (found.releases, found.skipped) == ((), 1)


def test_credentials_in_links_are_dropped() -> None:
    """A link's user information does not reach the page, and so neither the cache nor the lock."""
    found = page({"filename": "foo_bar-1.0-py3-none-any.whl", "url": "https://me:secret@f.example/a@b.whl"})
    assert found.releases[0].wheels[0].url == "https://f.example/a@b.whl"


@pytest.mark.parametrize(
    ("body", "kind", "complaint"),
    [
        (b"<html>sign in</html>", JSON, "not the JSON"),
        (b'{"files": [{"filename": "x", "url"', JSON, "not the JSON"),
        (b'{"files": [{"filename": 3, "url": ""}]}', JSON, r"\$.files\[0\].filename"),
        (b'{"files": []}', "application/vnd.pypi.simple.v2+json", "version 1"),
        (b'{"files": [], "meta": {"api-version": "2.0"}}', JSON, "version 2.0"),
        (b'<meta name="pypi:repository-version" content="2.0">', "text/html", "version 2.0"),
        (b"%PDF", "application/pdf", "application/pdf"),
    ],
)
def test_pages_that_lie_are_refused(body: bytes, kind: str, complaint: str) -> None:
    """What is not the page that it claims to be is a BadPage that says why."""
    with pytest.raises(BadPage, match=complaint):
        read_page(body, kind, URL, "foo-bar", "main")


def test_wheel_names_are_taken_apart() -> None:
    """Names of wheels give the normalised name and the version, anything else None."""
    found = split_wheel("Foo_Bar-1.0.0+cu12-2a-py3-none-any.whl")
    assert found and (found.name, str(found.version)) == ("foo-bar", "1.0.0+cu12")
    assert split_wheel("foo-1.0.tar.gz") is None
    assert split_wheel("foo--py3-none-any.whl") is None


@pytest.mark.parametrize("more", ["", " ", ' rel="internal"'])
def test_usual_anchors_say_the_same_as_odd_ones(more: str) -> None:
    """An anchor of the usual shape, read in one step, and the same one with something added give one page."""
    anchor = (
        f'<a href="https://files.example/a/foo_bar-1.0-py3-none-any.whl#sha256={SHA}" data-requires-python="&gt;=3.9"'
        f' data-upload-time="2026-01-01T00:00:00Z" data-dist-info-metadata="sha256={SHA}"'
        f' data-native-facts="sha256={SHA}"{more}>x</a>'
    )
    (wheel,) = html(anchor).releases[0].wheels
    assert (wheel.filename, wheel.url) == ("foo_bar-1.0-py3-none-any.whl", f"https://files.example/a/{wheel.filename}")
    assert (wheel.sha256, wheel.requires_python, wheel.metadata_sha256) == (SHA, ">=3.9", SHA)
    assert (wheel.uploaded, wheel.yanked, wheel.size) == ("2026-01-01T00:00:00Z", None, None)
    assert wheel.native_sha256 == SHA
