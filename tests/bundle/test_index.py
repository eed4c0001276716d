"""The pages of a static index, and who provides which soname, from what is known of files."""

import hashlib
import json
from collections.abc import Iterable

import pytest

from gpuenv.bundle.index import PROVIDES, Entry, providers, static_index
from gpuenv.index.provides import read_provides
from gpuenv.index.simple import read_html, read_json, split_wheel
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule, decode_facts

WHEEL, BUNDLE = ".whl", ".whl.tar.zst"
URL = "https://index.example/wheels/simple"


def shared(path: str, soname: str | None = None, *, module: bool = False, **more: object) -> ObjectFacts:
    python = PythonModule("m", "abi3", "PyInit_m") if module else None
    known: dict[str, object] = {"size": 1, "format": "elf", "machine": "x86_64", "type": "shared", **more}
    return ObjectFacts(path, soname=soname, python=python, **known)  # type: ignore[arg-type]


def entry(
    stem: str,
    *objects: ObjectFacts,
    packed: str = WHEEL,
    tags: str = "py3-none-manylinux_2_28_x86_64",
    requires_python: str | None = None,
) -> Entry:
    filename = f"{stem}-{tags}{packed}"
    wheel = split_wheel(filename)
    assert wheel is not None
    sha256 = hashlib.sha256(filename.encode()).hexdigest()
    metadata = f"Name: {wheel.name}\nVersion: {wheel.version}\n".encode()
    facts = NativeFacts(sha256, 7, objects=objects)
    return Entry(filename, wheel.name, wheel.version, sha256, 7, requires_python, metadata, facts)


FILES = (
    entry("Some_Name-1.10", requires_python=">=3.9,<4", tags="py3-none-any"),
    entry("some.name-1.9+cu", shared("a/liba.so.1", "liba.so.1")),
    entry("some.name-1.9+cu", shared("a/liba.so.1", "liba.so.1"), packed=BUNDLE),
    entry("other-2.0rc1", tags="py3-none-any"),
)


def rows(*entries: Entry) -> dict[str, list[str]]:
    return providers(entries)


def test_both_spellings_say_the_same() -> None:
    """What an index client reads from JSON and from HTML differs in nothing but the size, which HTML does not have."""
    index = static_index(FILES, "../..")
    assert index.projects == 2
    url = f"{URL}/some-name/"
    from_json = read_json(index.pages["some-name/index.json"], url, "some-name", "i")
    from_html = read_html(index.pages["some-name/index.html"], url, "some-name", "i")
    json_files = [wheel for release in from_json.releases for wheel in release.wheels]
    html_files = [wheel for release in from_html.releases for wheel in release.wheels]
    fields = ("filename", "url", "sha256", "requires_python", "metadata_sha256", "yanked", "uploaded")
    assert [[getattr(one, f) for f in fields] for one in json_files] == [
        [getattr(one, f) for f in fields] for one in html_files
    ]
    assert [release.version for release in from_json.releases] == ["1.10", "1.9+cu"]
    assert json_files[0].requires_python == ">=3.9,<4"
    assert json_files[1].url == "https://index.example/wheels/some.name-1.9%2Bcu-py3-none-manylinux_2_28_x86_64.whl"
    assert {one.size for one in json_files} == {7}
    assert [one.sha256 for one in json_files] == [FILES[0].sha256, FILES[1].sha256, FILES[2].sha256]


def test_sidecars_have_the_digests_that_pages_say() -> None:
    """Metadata lies beside each file, facts beside those whose binaries matter, and pages vouch for their bytes."""
    index = static_index(FILES, "../..")
    files = [f for name in ("some-name", "other") for f in json.loads(index.pages[f"{name}/index.json"])["files"]]
    assert len(files) == len(FILES)
    for file in files:
        metadata = index.beside[f"{file['filename']}.metadata"]
        assert file["core-metadata"] == {"sha256": hashlib.sha256(metadata).hexdigest()}
        sidecar = index.beside.get(f"{file['filename']}.native.json")
        assert (sidecar is None) == file["filename"].endswith("any.whl")
        said = file.get("native-facts")
        assert said == (None if sidecar is None else {"sha256": hashlib.sha256(sidecar).hexdigest()})
        if sidecar is not None:
            facts = decode_facts(sidecar)
            assert facts is not None
            assert (facts.sha256, facts.size) == (file["hashes"]["sha256"], file["size"])
            html = index.pages["some-name/index.html"].decode()
            assert f'data-native-facts="sha256={said["sha256"]}"' in html
    assert {name for name in index.beside if name.endswith(".native.json")} == {
        f"{one.filename}.native.json" for one in FILES[1:3]
    }


def test_the_root_lists_the_projects() -> None:
    """Both pages of the whole index name each project once, by its normalised name."""
    index = static_index(FILES, "../..")
    assert json.loads(index.pages["index.json"]) == {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": "other"}, {"name": "some-name"}],
    }
    assert index.pages["index.html"].decode().count("<a ") == 2
    assert json.loads(index.pages["some-name/index.json"])["versions"] == ["1.9+cu", "1.10"]


def test_the_same_files_give_the_same_bytes() -> None:
    """The order in which files come changes nothing."""
    assert static_index(FILES, "..") == static_index(FILES[::-1], "..")


def test_names_and_specifiers_are_escaped() -> None:
    """What stands in a file name, a folder or a Requires-Python cannot end an attribute or a tag."""
    odd = entry("a-1.0", requires_python='>=3"<b>', tags="py3-none-any<&")
    index = static_index([odd], '..//a "quoted" folder')
    page = index.pages["a/index.html"].decode()
    assert page.count("<") - page.count("<!") == page.count(">") - 1
    (release,) = read_html(index.pages["a/index.html"], f"{URL}/a/", "a", "i").releases
    assert release.wheels[0].requires_python == '>=3"<b>'
    assert release.wheels[0].filename == odd.filename


def test_the_table_of_providers_is_one_that_is_read() -> None:
    """Names and ranges of versions come back from `provides.json` as requirements."""
    index = static_index(FILES, "../..")
    assert index.pages[PROVIDES] == index.beside[PROVIDES]
    assert [one.name for one in read_provides(index.pages[PROVIDES]).of("liba.so.1")] == ["some-name"]
    assert index.sonames == 1


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (shared("x.libs/libgfortran-1234abcd.so.5", "libgfortran-1234abcd.so.5"), "a private copy"),
        (shared("x.libs/liba.so.1", "liba.so.1"), "in a folder of private copies"),
        (shared("x/stubs/libcuda2.so", "libcuda2.so"), "a stub"),
        (shared("x/_c.abi3.so", None, module=True), "an extension module"),
        (shared("x/libstdc++.so.6", "libstdc++.so.6"), "every machine has it"),
        (shared("x/libcuda.so.1", "libcuda.so.1"), "the driver brings it"),
        (shared("x/tool", None, type="executable"), "a program"),
        (shared("x/k.co", None, machine="amdgpu"), "device code"),
        (shared("x/liba.so.1.debug", "liba.so.1"), "debug information"),
        (shared("x/plugin", None), "no library by its name"),
    ],
)
def test_what_is_not_there_for_others(found: ObjectFacts, why: str) -> None:
    """Nothing that a file brings for itself alone, and nothing that is no library, is offered to others."""
    assert rows(entry("x-1.0", found)) == {}, why


def test_libraries_alone_come_before_modules() -> None:
    """Who has no Python modules is there to provide; others count where nobody else does."""
    library, module = shared("x/liba.so.1", "liba.so.1"), shared("x/_c.abi3.so", None, module=True)
    assert rows(entry("app-1.0", library, module)) == {"liba.so.1": ["app"]}
    assert rows(entry("app-1.0", library, module), entry("zlibs-1.0", library)) == {"liba.so.1": ["zlibs"]}
    gomp = shared("x/libgomp.so.1", "libgomp.so.1")
    assert rows(entry("app-1.0", gomp, module)) == {}
    assert rows(entry("app-1.0", gomp, module), entry("gcc_libs-1.0", gomp)) == {"libgomp.so.1": ["gcc-libs"]}


def test_what_is_a_bundle_alone_was_made_to_provide() -> None:
    """Of several the distributions of which there are only bundles come first, then the alphabet decides."""
    library = shared("x/liba.so.1", "liba.so.1")
    found = rows(
        entry("b-1.0", library),
        entry("a-1.0", library),
        entry("a-1.0", library, packed=BUNDLE),
        entry("d-1.0", library, packed=BUNDLE),
        entry("c-1.0", library, packed=BUNDLE),
    )
    assert found == {"liba.so.1": ["c", "d", "a", "b"]}


def versions(*pairs: tuple[str, str]) -> Iterable[Entry]:
    return [entry(f"a-{version}", shared(f"x/{soname}", soname)) for version, soname in pairs]


def test_versions_are_named_where_not_all_have_the_library() -> None:
    """A soname that came, or went, with a version has a requirement that says so; local versions are no difference."""
    found = rows(*versions(("1.0", "libs.so.1"), ("2.0", "libs.so.2"), ("2.1", "libs.so.2"), ("3.0", "libs.so.3")))
    assert found == {"libs.so.1": ["a<2.0"], "libs.so.2": ["a>=2.0,<3.0"], "libs.so.3": ["a>=3.0"]}
    plain = entry("a-9.0", tags="py3-none-any")
    assert rows(*versions(("1.0+cu", "libs.so.1"), ("1.0+cpu", "libs.so.1")), plain) == {"libs.so.1": ["a"]}
    table = static_index([*versions(("1.0+cu", "libs.so.1"), ("2.0.post1", "libs.so.2"))], "..").pages[PROVIDES]
    assert read_provides(table).of("libs.so.2")[0].specifier == ">=2.0.post1"
