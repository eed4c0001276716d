"""The page about the manifest says what the decoder does."""

import re
from pathlib import Path

from gpuenv.manifest import decode as settings
from gpuenv.manifest import indexes, pack, rules, targets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "manifest.md").read_text("utf-8")


def rows(heading: str) -> set[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))


def test_example_decodes() -> None:
    """The example of the page is a manifest, with the targets that it shows."""
    found = settings.decode(PAGE.partition("```toml\n")[2].partition("```")[0])
    assert list(found.targets) == ["mi300", "h100", "cpu"]
    assert found.exclude_newer == "7 days"
    assert (list(found.rules.providers), list(found.rules.packages)) == (["libfoo.so.3"], ["pyside6"])
    assert found.targets["mi300"].host_libraries == ("/opt/rocm/lib", "librccl.so.*")


def test_tables_name_every_key() -> None:
    """Each table has a row for every key that the decoder takes, and for no other."""
    assert rows("`[tool.gpuenv]`") == set(settings.SETTINGS_KEYS)
    assert rows("`[tool.gpuenv.targets.NAME]`") == set(targets.TARGET_KEYS)
    assert rows("`[tool.gpuenv.packages.NAME]`") == set(rules.PACKAGE_KEYS)
    assert rows("`[tool.gpuenv.pack]`") == set(pack.PACK_KEYS)
    assert rows("`[[tool.gpuenv.index]]`") == set(indexes.INDEX_KEYS)
