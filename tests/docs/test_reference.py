"""Reference pages say what the code does."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from gpuenv.lock import decode
from tests.docs.pages import ROOT, blocks, documents

DOCS = ROOT / "docs"
_VARIABLE = re.compile(r"\bGPUENV_[A-Z_]*[A-Z]\b")


def test_made_pages_are_up_to_date() -> None:
    """The pages that docs/generate.py makes are what it makes of the present code."""
    pages = runpy.run_path(str(DOCS / "generate.py"))["PAGES"]
    assert pages
    for name, make in pages.items():
        assert (DOCS / "reference" / name).read_text("utf-8") == make(), "run: python docs/generate.py"


def test_every_command_is_documented() -> None:
    """Each command has its section, with a flag in it or an argument."""
    text = (DOCS / "reference" / "cli.md").read_text("utf-8")
    sections = dict(re.findall(r"^## `gpuenv (\w+)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert {"init", "add", "remove", "lock", "sync", "run", "inspect", "facts"} <= sections.keys()
    assert all("| `--" in section for section in sections.values())


def test_every_variable_is_documented() -> None:
    """docs/reference/environment-variables.md has every GPUENV_ variable of the code, and no other."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    page = (DOCS / "reference" / "environment-variables.md").read_text("utf-8")
    stems = {"GPUENV_INDEX_USERNAME", "GPUENV_INDEX_PASSWORD", "GPUENV_OVERRIDE"}
    used = set(_VARIABLE.findall(source)) - stems
    assert used <= set(_VARIABLE.findall(page))
    rows = {name for row in re.findall(r"^\| (`GPUENV_.*?) \|", page, re.MULTILINE) for name in _VARIABLE.findall(row)}
    assert rows - used - {"GPUENV_INDEX_NAME_USERNAME", "GPUENV_INDEX_NAME_PASSWORD"} == set()


def test_example_of_a_lock_is_one() -> None:
    """The lock shown in docs/reference/lockfile.md is read without complaint."""
    (example,) = [b for b in blocks((DOCS / "reference" / "lockfile.md").read_text("utf-8")) if b.language == "toml"]
    assert list(decode(example.text).targets) == ["default"]


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there and, with a fragment, a heading of it."""
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text("utf-8")):
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert fragment in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, link


def test_every_page_is_reachable_from_the_index() -> None:
    """docs/index.md links to every page, so that none is forgotten."""
    linked = {
        (DOCS / link).resolve() for link in re.findall(r"\]\(([^):#]+)\)", (DOCS / "index.md").read_text("utf-8"))
    }
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} - linked == set()


def test_toml_blocks_are_toml() -> None:
    """Every TOML block of the docs can be parsed."""
    found = [
        block.text for page in documents() for block in blocks(page.read_text("utf-8")) if block.language == "toml"
    ]
    assert all(isinstance(tomllib.loads(text), dict) for text in found)
    assert found
