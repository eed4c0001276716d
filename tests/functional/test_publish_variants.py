"""A publisher's side of variants and default extras: `repack` makes them, `index` lists them, other tools read them."""

import hashlib
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from gpuenv.index.simple import read_html, read_json
from gpuenv.model.filename import split_filename
from gpuenv.model.variants import parse_variants
from tests.functional.test_index import served
from tests.support.binaries import bundle, library
from tests.support.programs import find_program
from tests.support.project import PATIENCE, Project, snapshot
from tests.support.wheels import make_wheel

SM90, SM80 = "nvidia :: sm_arch :: 90_real", "nvidia :: sm_arch :: 80_real"
GFX = "amd :: gfx_arch :: gfx942"


@pytest.fixture
def wheels(project: Project) -> Path:
    """Three variants of demo, the one without properties, and a plain wheel of it."""
    plain = project.wheel("demo", files={"demo.py": "who = 'plain'\n"})
    every = ["--variant-namespace", "nvidia", "--variant-namespace", "amd", "--to", "wheel"]
    for label, properties in {"sm90": [SM90], "sm80": [SM80], "rocm": [GFX], "null": []}.items():
        wheel = project.wheel("demo", folder=project.base / label, files={"demo.py": f"who = '{label}'\n"})
        claimed = [word for one in properties for word in ("--variant", one)]
        project.run("repack", *every, "--variant-label", label, *claimed, "--output", plain.parent, wheel)
    return plain.parent


def test_a_wheel_becomes_a_variant_of_itself(project: Project) -> None:
    """Its name gets the label, a digest where none was chosen; the document says so; RECORD lists what was added."""
    wheel = project.wheel("demo")
    made = project.run("repack", "--json", "--to", "wheel", "--variant", GFX, wheel).json["files"][0]
    path = Path(made["path"])
    name = split_filename(path.name)
    assert name is not None
    assert re.fullmatch("[0-9a-f]{8}", name.label)
    assert path.parent == wheel.parent
    with zipfile.ZipFile(path) as archive:
        stated = parse_variants(archive.read("demo-1.0.dist-info/variant.json"), name.label)
        assert b"demo-1.0.dist-info/variant.json,sha256=" in archive.read("demo-1.0.dist-info/RECORD")
    assert [str(one) for one in stated.labels[name.label]] == [GFX]
    assert project.run("repack", "--to", "wheel", "--variant", GFX, wheel).err.endswith("(unchanged)\n")


def test_a_variant_stays_one_in_both_directions(project: Project) -> None:
    """A bundle of a variant has its label, and so has the wheel that comes back, with the same files."""
    wheel = project.wheel("demo")
    project.run("repack", "--to", "wheel", "--variant", GFX, "--variant-label", "rocm", wheel)
    variant = wheel.with_name("demo-1.0-py3-none-any-rocm.whl")
    project.run("repack", variant)
    bundle = variant.with_name("demo-1.0-py3-none-any-rocm.whl.tar.zst")
    project.run("repack", "--to", "wheel", "--output", project.base / "back", bundle)
    with zipfile.ZipFile(variant) as before, zipfile.ZipFile(project.base / "back" / variant.name) as after:
        assert {name: before.read(name) for name in before.namelist()} == {n: after.read(n) for n in after.namelist()}


def test_an_index_says_what_labels_stand_for(project: Project, wheels: Path) -> None:
    """One file for the version, on both pages with its digest; made anew it is the same; it goes with its wheels."""
    project.run("index", wheels)
    data = (wheels / "demo-1.0-variants.json").read_bytes()
    stated = parse_variants(data)
    assert stated.namespaces == ("nvidia", "amd")
    assert sorted(stated.labels) == ["null", "rocm", "sm80", "sm90"]
    pages = [(wheels / "simple" / "demo" / f"index.{kind}").read_bytes() for kind in ("json", "html")]
    url = "https://index.example/simple/demo/"
    for page in (read_json(pages[0], url, "demo", "i"), read_html(pages[1], url, "demo", "i")):
        listed = page.releases[0].variants
        assert listed is not None
        assert (listed.filename, listed.sha256) == ("demo-1.0-variants.json", hashlib.sha256(data).hexdigest())
        assert len(page.releases[0].wheels) == 5
    before = snapshot(wheels)
    assert project.run("index", "--json", wheels).json["written"] == []
    assert snapshot(wheels) == before
    for path in wheels.glob("demo-1.0-py3-none-any-*.whl"):
        path.unlink()
    assert str(wheels / "demo-1.0-variants.json") in project.run("index", "--json", wheels).json["removed"]


def test_wheels_that_contradict_each_other_make_no_index(project: Project) -> None:
    """Both are named, with what helps, and nothing is written."""
    for label, claimed in (("rocm", GFX), ("cuda", SM90)):
        wheel = project.wheel("demo", folder=project.base / label)
        out = project.base / "out"
        project.run("repack", "--to", "wheel", "--variant-label", label, "--variant", claimed, "--output", out, wheel)
    before = snapshot(out)
    refused = project.run("index", out, rc=1)
    assert refused.err == (
        "error: demo-1.0-py3-none-any-cuda.whl and demo-1.0-py3-none-any-rocm.whl contradict each other as variants of "
        "one version\n"
        "  cause: the namespaces `amd` do not begin `nvidia`\n"
        "hint: name the same namespaces for both: gpuenv repack --variant-namespace …\n"
    )
    assert snapshot(out) == before


def test_a_name_and_what_it_holds_must_agree(project: Project) -> None:
    """A label without variant.json, variant.json without a label or with another one: none can be in an index."""
    wheel = project.wheel("demo")
    project.run("repack", "--to", "wheel", "--variant", GFX, "--variant-label", "rocm", wheel)
    variant = wheel.with_name("demo-1.0-py3-none-any-rocm.whl")
    wheel.rename(wheel.with_name("demo-1.0-py3-none-any-bare.whl"))
    variant.rename(wheel)
    words = project.run("index", wheel.parent, rc=1).err
    assert "demo-1.0-py3-none-any-bare.whl: its name has the label bare, and it holds no variant.json" in words
    assert "demo-1.0-py3-none-any.whl: it holds variant.json, and its name has no label" in words
    wheel.rename(wheel.with_name("demo-1.0-py3-none-any-other.whl"))
    assert "its variant.json cannot be read" in project.run("index", wheel.parent, rc=1).err


def test_a_variants_file_of_others_is_not_replaced(project: Project, wheels: Path) -> None:
    """One that somebody else wrote stays, and the index says that it is in the way."""
    path = wheels / "demo-1.0-variants.json"
    path.write_text("{}")
    assert str(path) in project.run("index", wheels, rc=1).err
    assert path.read_text() == "{}"


def test_default_extras_come_from_a_file(project: Project) -> None:
    """A table in a file becomes part of a wheel, which an index takes; a table that is none, or wrong there, is not."""
    wheel = project.wheel("demo", extras=["device-gfx942"])
    table = project.base / "extras.json"
    table.write_text('{"version": 1, "default-extras": {"amd": ["device-{gfx}"], "any": []}}')
    out = project.base / "out"
    project.run("repack", "--to", "wheel", "--default-extras", table, "--output", out, wheel)
    with zipfile.ZipFile(out / wheel.name) as archive:
        assert json.loads(archive.read("demo-1.0.dist-info/default-extras.json")) == json.loads(table.read_text())
        assert b"\nKeywords: gpuenv-default-extras\n" in archive.read("demo-1.0.dist-info/METADATA")
    project.run("index", out)
    for text, words in {
        '{"version": 1, "default-extras": {"amd": ["gfx942"]}}': "is no extra of it: it has device-gfx942",
        '{"version": 1}': "is no table of default extras",
    }.items():
        table.write_text(text)
        assert words in project.run("repack", "--to", "wheel", "--default-extras", table, "-o", out, wheel, rc=2).err


def test_a_table_that_cannot_be_read_makes_no_index(project: Project) -> None:
    """A wheel that announces default extras must have them, in the form that whoever locks it reads."""
    announced = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nKeywords: gpuenv-default-extras\n"
    for data, words in (
        (b"{}", "any.whl: it announces default-extras.json, which cannot be read: its version is null"),
        (None, "it announces default-extras.json, which is not there"),
    ):
        files: dict[str, bytes | str] = {} if data is None else {"demo-1.0.dist-info/default-extras.json": data}
        wheel = project.wheel("demo", files={"demo.py": "", **files}, metadata=announced)
        before = snapshot(wheel.parent)
        assert words in project.run("index", wheel.parent, rc=1).err
        assert snapshot(wheel.parent) == before


def test_what_is_a_variant_already_is_refused(project: Project, wheels: Path) -> None:
    """With its label; so are flags that no variant has."""
    variant = wheels / "demo-1.0-py3-none-any-rocm.whl"
    assert "is a variant already, labelled rocm" in project.run("repack", "--variant", SM90, variant, rc=2).err
    plain = wheels / "demo-1.0-py3-none-any.whl"
    for flags, words in {
        ("--variant", "gfx942"): "is no property",
        ("--variant", "npu :: a :: b"): "--variant-provider npu=REQUIREMENT",
        ("--variant", GFX, "--variant-provider", "amd"): "is not NAMESPACE=REQUIREMENT",
        ("--variant-label", "x"): "--variant-namespace amd",
    }.items():
        assert words in project.run("repack", "--to", "wheel", *flags, plain, rc=2).err


def uv(*arguments: object, **variables: str) -> None:
    """Run uv, one that knows wheel variants."""
    program = find_program("uv")
    if program is None:
        pytest.skip("needs uv")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    if [int(part) for part in re.findall(r"\d+", said)[:2]] < [0, 13]:
        pytest.skip("needs a uv that knows wheel variants")
    done = subprocess.run(
        [program, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("sm", "who"), [("9.0", "sm90"), ("8.6", "sm80"), ("7.5", "null"), (None, "plain")])
def test_uv_takes_the_variant_that_fits(project: Project, wheels: Path, sm: str | None, who: str) -> None:
    """From the index that gpuenv made: the best for the GPU, null where none fits; without its preview the plain."""
    project.run("index", wheels)
    flags = ["--python", project.python, *(["--preview-features", "wheel-variants"] if sm else [])]
    forced = {"NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": "13.0", "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": sm or ""}
    into = project.base / "into"
    with served(wheels) as url:
        uv("pip", "install", *flags, "--target", into, "--index-url", f"{url}/simple", "demo", **(forced if sm else {}))
    assert (into / "demo.py").read_text() == f"who = '{who}'\n"


def test_an_index_warns_of_claims_without_code(project: Project) -> None:
    """A variant without code for an architecture that it names is told of, unless it says that others bring that."""
    folder = project.base / "claims"
    both = {"amd": {"gfx_arch": ["gfx90a", "gfx942"]}, "nvidia": {"sm_arch": ["90_virtual"]}}
    files: dict[str, bytes | str] = {"k/libk.so": library("libk.so", sections=[(".hip_fatbin", bundle("gfx942"))])}
    make_wheel(folder, "kernels", label="both", variant=both, files=files)
    make_wheel(folder, "apart", label="a", variant={"amd": {"gfx_arch": ["gfx942"]}}, extras=["device-gfx942"])
    make_wheel(folder, "plain", files=files)

    told = "kernels-1.0-py3-none-any-both.whl claims sm_90, gfx90a, and carries no code for it"
    assert [line.partition(":")[0] for line in project.run("index", "--json", folder).json["warnings"]] == [told]
    assert f"warning: {told}: a lock for such a GPU passes it over" in project.run("index", folder).err
