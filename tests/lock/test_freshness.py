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
native = ["libz.so.1", "libfoo.so.3"]
scan = "all"
strict-host = true
one-runtime = ["openmp", "cuda"]
[tool.gpuenv.providers]
"libfoo.so.3" = ["foo-libs>=3", "bar"]
[tool.gpuenv.packages.pyside6]
missing = { "plugins/*.so" = ["libX*.so.*", "libEGL.so.1"] }
live = ["a/*.so", "b/*.so"]
dormant = ["c/*.so"]
[tool.gpuenv.packages.torch]
gpu-code = "trust"
ptx = false
[tool.gpuenv.targets.mi300]
gpu = ["gfx942"]
dependencies = ["rocm"]
[tool.gpuenv.targets.h100]
gpu = ["sm_90"]
cpu = "x86-64-v3"
cpu-fallback = ["xgboost"]
ptx = false
host-libraries = ["/opt/lib", "libnccl.so.*"]
[tool.gpuenv.targets.cpu]
gpu-code = "forbid"
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
        ('[tool.gpuenv.targets.cpu]\ngpu-code = "forbid"\n', ""),
        ('["libz.so.1", "libfoo.so.3"]', '["libfoo.so.3", "libz.so.1", "libz.so.1"]'),
        ('["openmp", "cuda"]', '["cuda", "openmp"]'),
        ('"libX*.so.*", "libEGL.so.1"', '"libEGL.so.1", "libX*.so.*"'),
        ('["a/*.so", "b/*.so"]', '["b/*.so", "a/*.so"]'),
        ("[tool.gpuenv.packages.torch]", "[tool.gpuenv.packages.other]\nlive = []\n[tool.gpuenv.packages.Torch]"),
        ('"/opt/lib", "libnccl.so.*"', '"/opt/lib/", "libnccl.so.*"'),
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
        (', "libfoo.so.3"]', "]", "native: `libfoo.so.3` was removed"),
        ('scan = "all"', 'scan = "none"', "scan changed from all to none"),
        ('scan = "all"\n', "", "scan is no longer in pyproject.toml"),
        ("strict-host = true\n", "", "strict-host is no longer in pyproject.toml"),
        ('["openmp", "cuda"]', "true", "one-runtime: `cudnn` was added"),
        ("foo-libs>=3", "foo-libs>=4", "providers.libfoo.so.3: `foo-libs>=4` was added"),
        ('"foo-libs>=3", "bar"', '"bar", "foo-libs>=3"', "providers.libfoo.so.3: the order changed"),
        ("libEGL.so.1", "libEGL.so.2", "packages.pyside6.missing.plugins/*.so: `libEGL.so.2` was added"),
        ('{ "plugins/*.so" = ', '{ "*" = ', "packages.pyside6.missing.*: `libEGL.so.1` was added"),
        (', "b/*.so"]', "]", "packages.pyside6.live: `b/*.so` was removed"),
        ("[tool.gpuenv.packages.torch]", "[tool.gpuenv.packages.jax]", "packages.jax.gpu-code is new"),
        ('"trust"\nptx = false\n', '"trust"\n', "packages.torch.ptx is no longer in pyproject.toml"),
        ('gpu-code = "trust"\n', "", "packages.torch.gpu-code is no longer in pyproject.toml"),
        ("-v3", "-v4", "targets.h100.cpu changed from x86-64-v3 to x86-64-v4"),
        ('["xgboost"]', "true", 'targets.h100.cpu-fallback changed from ["xgboost"] to true'),
        ('["xgboost"]\nptx = false', '["xgboost"]', "targets.h100.ptx is no longer in pyproject.toml"),
        ('"libnccl.so.*"', '"librccl.so.*"', "targets.h100.host-libraries: `librccl.so.*` was added"),
        ('gpu-code = "forbid"\n', "", "targets.cpu.gpu-code is no longer in pyproject.toml"),
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


BEFORE = """\
# Made by gpuenv; edit pyproject.toml and run `gpuenv lock`.
version = 1

[inputs]
dependencies = [
  "requests",
]

[artifacts]
"requests-2.32.5-py3-none-any.whl" = { url = "requests-2.32.5-py3-none-any.whl", sha256 = "ZERO", size = 64738 }

[targets.h100]
platform = "linux-x86_64"
python = "3.12"
glibc = "2.28"
gpu = ["sm_90"]
cuda = "13.0"
cpu-fallback = true
environment = "sha256:bb36cd4ff8602a19dceaa1c90c2fd65484e3367b32d89066016c0a5b6a336045"
roots = { project = ["requests"] }
packages = [
  { use = "requests-2.32.5-py3-none-any.whl" },
]
""".replace("ZERO", "0" * 64)


def test_a_lock_that_knows_nothing_of_native_code_is_fresh() -> None:
    """A lock from before sonames were nodes is read, answers its manifest, and is written again as it was."""
    manifest = """\
[project]
name = "train"
dependencies = ["requests"]
[tool.gpuenv.targets.h100]
gpu = ["sm_90"]
cuda = "13.0"
cpu-fallback = true
"""
    lock = decode(BEFORE)
    assert why_stale(lock, read(manifest)) is None
    assert encode(lock) == BEFORE
    rule = manifest + '[tool.gpuenv]\nnative = ["libfoo.so.3"]\n'
    assert why_stale(lock, read(rule)) == "native: `libfoo.so.3` was added"


def test_another_table_of_providers_makes_no_lock_stale() -> None:
    """The digest of the shipped table is for information: an upgraded gpuenv leaves a lock alone."""
    lock = lock_for(read(FULL))
    for digest in (None, "sha256:" + "1" * 64):
        assert why_stale(replace(lock, providers=digest), read(FULL)) is None
