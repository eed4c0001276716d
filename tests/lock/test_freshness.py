"""Whether a lock answers a manifest is a comparison of inputs, which says the first difference."""

from dataclasses import replace

import pytest

from gpuenv.lock import decode, encode, inputs_of, why_stale
from gpuenv.manifest.decode import decode as read
from gpuenv.model.lock import Lock, LockedTarget
from gpuenv.model.manifest import Manifest

FULL = """\
[project]
name = "train"
requires-python = ">=3.11"
dependencies = ["torch>=2.8", "numpy"]
[project.optional-dependencies]
web = ["flask"]
[dependency-groups]
dev = ["pytest"]
[tool.gpuenv]
exclude-newer = "7 days"
constraints = ["numpy<3"]
overrides = ["six==1"]
[tool.gpuenv.targets.mi300]
gpu = ["gfx942"]
dependencies = ["rocm"]
[tool.gpuenv.targets.cpu]
[[tool.gpuenv.index]]
name = "amd"
url = "https://user:word@index.example/simple/"
packages = ["torch*"]
[tool.gpuenv.sources]
torch = { index = "amd", target = "mi300" }
six = { url = "https://user:word@index.example/six-1.0-py3-none-any.whl" }
"""


def lock_for(manifest: Manifest) -> Lock:
    """An empty lock that answers the manifest, once written and read."""
    targets = {name: LockedTarget(target, {}, {}) for name, target in manifest.targets.items()}
    return decode(encode(Lock(inputs_of(manifest), None, (), {}, targets)))


def test_a_lock_answers_its_manifest() -> None:
    """Inputs survive writing and reading; the same manifest is fresh."""
    assert why_stale(lock_for(read(FULL)), read(FULL)) is None


def test_inputs_hold_no_credentials() -> None:
    """User names and passwords of indexes, sources and requirements are left out."""
    text = FULL.replace('"numpy"', '"numpy @ https://user:word@index.example/numpy-1.0-py3-none-any.whl"')
    assert "word" not in repr(inputs_of(read(text)))
    assert "https://index.example/numpy-1.0-py3-none-any.whl" in repr(inputs_of(read(text)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"torch>=2.8", "numpy"', '"numpy", "Torch >=2.8", "numpy"'),
        ('name = "train"', 'name = "train"\ndescription = "x"\nversion = "2"'),
        ("user:word@", "other:login@"),
        ("[tool.gpuenv.targets.cpu]\n", ""),
    ],
)
def test_what_decides_nothing(old: str, new: str) -> None:
    """Order, spelling, descriptions and credentials make no lock stale; that a target goes does."""
    reason = why_stale(lock_for(read(FULL)), read(FULL.replace(old, new)))
    assert reason == ("targets.cpu is no longer in pyproject.toml" if "cpu" in old else None)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (">=3.11", ">=3.12", "requires-python changed from >=3.11 to >=3.12"),
        ('requires-python = ">=3.11"\n', "", "requires-python is no longer in pyproject.toml"),
        ('"numpy"]', '"numpy", "scipy"]', "dependencies: `scipy` was added"),
        (', "numpy"]', "]", "dependencies: `numpy` was removed"),
        ('web = ["flask"]', 'web = ["flask>2"]', "extras.web: `flask>2` was added"),
        ('web = ["flask"]', 'net = ["flask"]', "extras.net: `flask` was added"),
        ('dev = ["pytest"]', "dev = []", "groups.dev: `pytest` was removed"),
        ('"7 days"', '"8 days"', "exclude-newer changed from 7 days to 8 days"),
        ('exclude-newer = "7 days"\n', "", "exclude-newer is no longer in pyproject.toml"),
        ('constraints = ["numpy<3"]\n', "", "constraints: `numpy<3` was removed"),
        ('["rocm"]', '["rocm>7"]', "target-dependencies.mi300: `rocm>7` was added"),
        ('gpu = ["gfx942"]', 'gpu = ["gfx90a", "gfx942"]', "targets.mi300.gpu: `gfx90a` was added"),
        ('packages = ["torch*"]', 'packages = ["tor*"]', "indexes: `amd` was added"),
        ("index.example/simple", "other.example/simple", "indexes: `amd` was added"),
        (', target = "mi300" }', " }", "sources: `torch` was added"),
        ("[tool.gpuenv.targets.cpu]", "[tool.gpuenv.targets.gpu]", "targets.cpu is no longer in pyproject.toml"),
    ],
)
def test_first_reason(old: str, new: str, reason: str) -> None:
    """Each part of the manifest that decides the lock is compared, and named."""
    assert FULL.count(old) == 1
    assert why_stale(lock_for(read(FULL)), read(FULL.replace(old, new))) == reason


def test_order_of_indexes_counts() -> None:
    """The first index that knows a name wins, so their order is an input."""
    manifest = read(FULL + '[[tool.gpuenv.index]]\nname = "b"\nurl = "https://b.example/"\n')
    turned = replace(manifest, indexes=tuple(reversed(manifest.indexes)))
    assert why_stale(lock_for(manifest), turned) == "indexes: the order changed"
