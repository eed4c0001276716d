"""What publishers write, with the real build backends and the real reader of variants."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from gpuenv.bundle.variant import encode_variants, merged, variant_of
from gpuenv.index.folder import wheel_metadata
from gpuenv.model.packing import VariantClaim
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.live
PATIENCE = 300
PAGE = ROOT / "docs" / "how-to" / "publish-default-extras.md"


def called(*command: object) -> str:
    words = [*map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("backend", "script"), [("hatchling", "hatch_build.py"), ("setuptools", "setup.py")])
def test_the_hooks_of_the_page_put_the_file_there(tmp_path: Path, backend: str, script: str) -> None:
    """A wheel built with what the page shows announces its default extras, lists the file in RECORD, and is read."""
    shown = blocks(PAGE.read_text("utf-8"))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "__init__.py").write_text("")
    for block in shown:
        if block.language == "toml" and f'build-backend = "{backend}' in block.text:
            (tmp_path / "pyproject.toml").write_text(block.text)
        if block.text.startswith(f"# {script}\n"):
            (tmp_path / script).write_text(block.text)
        if block.mark == "file: default-extras.json":
            (tmp_path / "default-extras.json").write_text(block.text)
    called(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "out", tmp_path)
    (wheel,) = (tmp_path / "out").iterdir()
    known = wheel_metadata(wheel, wheel.name)
    assert known.default_extras_by == (("amd", ("device-{gfx}",)), ("any", ()))
    assert known.extras == ("device-gfx942",)
    with zipfile.ZipFile(wheel) as archive:
        assert b"\ndemo-1.0.dist-info/default-extras.json,sha256=" in archive.read("demo-1.0.dist-info/RECORD")


READER = """
import json, sys
from variantlib.variants_json import VariantsJson
from variantlib.variant_dist_info import VariantDistInfo
text = sys.stdin.read()
said = json.loads(text)
found = VariantsJson(said) if len(said["variants"]) > 1 else VariantDistInfo(text)
labels = {label: [one.to_str() for one in variant.properties] for label, variant in found.variants.items()}
print(json.dumps([found.namespace_priorities, labels]))
"""

DIGEST = """
from variantlib.models.variant import VariantDescription, VariantProperty
print(VariantDescription([VariantProperty("amd", "gfx_arch", value) for value in ("gfx942", "gfx950")]).label)
"""


def test_variantlib_reads_what_is_written(tmp_path: Path) -> None:
    """A wheel's document and an index's have the labels, properties and namespaces that were said, and its digests."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    called(python, "-m", "pip", "install", "--quiet", "variantlib==0.2.2")
    every = ("nvidia", "amd", "x86_64", "abi_dependency")
    one = variant_of(VariantClaim(None, ("amd :: gfx_arch :: gfx942", "amd :: gfx_arch :: gfx950"), every))
    other = variant_of(VariantClaim("b", ("nvidia :: sm_arch :: 90_real", "abi_dependency :: torch :: 2.9"), every))
    both = merged([("a", one), ("b", other), ("c", variant_of(VariantClaim(None, (), every)))])
    for variants in (one, other, both):
        done = subprocess.run(
            [python, "-c", READER], input=encode_variants(variants), capture_output=True, timeout=PATIENCE, check=True
        )
        namespaces, labels = json.loads(done.stdout)
        assert tuple(namespaces) == every
        assert labels == {label: list(map(str, properties)) for label, properties in variants.labels.items()}
    assert called(python, "-c", DIGEST).strip() == next(iter(one.labels))
