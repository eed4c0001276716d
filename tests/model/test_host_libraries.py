"""What targets promise: sonames and symbol versions by libc, driver libraries by vendor."""

import importlib.util
import json
from importlib import metadata, resources
from pathlib import Path

import pytest

from gpuenv.model.host_libraries import DRIVER_LIBRARIES, allowed_by, brought_by, cuda_of
from gpuenv.model.manylinux import LIBRARIES, VERSIONS
from gpuenv.model.target import OLDEST_GLIBC, PLATFORMS, Target

ROOT = Path(__file__).resolve().parents[2]


def test_sonames_of_a_plain_target() -> None:
    """A glibc target has the libraries of manylinux and its own loader; OpenMP, CUDA and musl's libc it has not."""
    policy = allowed_by(Target("cpu"))
    for soname in ("libc.so.6", "libstdc++.so.6", "libmvec.so.1", "libGL.so.1", "ld-linux-x86-64.so.2"):
        assert policy.provides(soname), soname
        assert policy.brought_by(soname) == "system"
    for soname in ("libgomp.so.1", "libcudart.so.13", "libc.musl-x86_64.so.1", "ld-linux-aarch64.so.1", "libcuda.so.1"):
        assert not policy.provides(soname), soname


def test_older_systems_have_fewer_libraries() -> None:
    """libexpat came with manylinux2010, libmvec with 2.24."""
    old = allowed_by(Target("old", glibc="2.5"))
    assert old.provides("libX11.so.6")
    assert not old.provides("libexpat.so.1")
    assert allowed_by(Target("t", glibc="2.17")).provides("libexpat.so.1")
    assert not allowed_by(Target("t", glibc="2.17")).provides("libmvec.so.1")


def test_drivers_by_vendor() -> None:
    """Only a target with NVIDIA's GPUs has NVIDIA's driver; AMD's has no library in user space."""
    assert allowed_by(Target("h100", gpu=("sm_90",))).brought_by("libcuda.so.1") == "driver"
    assert not allowed_by(Target("mi300", gpu=("gfx942",))).provides("libcuda.so.1")
    assert allowed_by(Target("mi300", gpu=("gfx942",))).driver == frozenset()
    assert brought_by("libcuda.so.1") == "driver"
    assert "libamdhip64.so.7" not in DRIVER_LIBRARIES


@pytest.mark.parametrize(
    ("glibc", "soname", "versions", "lacking"),
    [
        ("2.28", "libc.so.6", ["GLIBC_2.2.5", "GLIBC_2.28", "GLIBC_2.34"], ("GLIBC_2.34",)),
        ("2.28", "libc.so.6", ["GLIBC_2.38", "GLIBC_2.9", "GLIBC_2.34"], ("GLIBC_2.34", "GLIBC_2.38")),
        ("2.34", "libc.so.6", ["GLIBC_2.34", "GLIBC_PRIVATE"], ()),
        ("2.30", "libm.so.6", ["GLIBC_2.29", "GLIBC_2.31"], ("GLIBC_2.31",)),
        ("2.28", "libc.so.6", ["GLIBC_ABI_DT_RELR"], ("GLIBC_ABI_DT_RELR",)),
        ("2.36", "libc.so.6", ["GLIBC_ABI_DT_RELR", "GLIBC_ABI_GNU_TLS"], ("GLIBC_ABI_GNU_TLS",)),
        ("2.28", "libstdc++.so.6", ["GLIBCXX_3.4.24", "GLIBCXX_3.4.30"], ("GLIBCXX_3.4.30",)),
        ("2.30", "libstdc++.so.6", ["GLIBCXX_3.4.25", "CXXABI_1.3.11"], ("GLIBCXX_3.4.25",)),
        ("2.99", "libstdc++.so.6", ["GLIBCXX_3.4.33"], ()),
        ("2.28", "libstdc++.so.6", ["CXXABI_1.3.9", "CXXABI_1.3.13", "CXXABI_FLOAT128"], ("CXXABI_1.3.13",)),
        ("2.17", "libstdc++.so.6", ["CXXABI_FLOAT128", "CXXABI_TM_1"], ("CXXABI_FLOAT128",)),
        ("2.28", "libgcc_s.so.1", ["GCC_3.0", "GCC_14.0.0"], ("GCC_14.0.0",)),
        ("2.28", "libgomp.so.1", ["GOMP_99.0"], ()),
        ("2.28", "libexpat.so.1", ["LIBEXPAT_99.0"], ()),
    ],
)
def test_symbol_versions_beyond_the_libc(
    glibc: str, soname: str, versions: list[str], lacking: tuple[str, ...]
) -> None:
    """Symbol versions newer than the target promises are named, oldest first; what it does not know is not judged."""
    assert allowed_by(Target("t", glibc=glibc)).lacks(soname, versions) == lacking


def test_musl() -> None:
    """A musl target has musl's libc by the name of its machine, zlib, and nothing of glibc."""
    policy = allowed_by(Target("alpine", glibc=None, musl="1.2"))
    assert policy.provides("libc.musl-x86_64.so.1")
    assert policy.provides("libz.so.1")
    assert not policy.provides("libc.so.6")
    assert allowed_by(Target("a", platform="linux-i686", glibc=None, musl="1.2")).provides("libc.musl-x86.so.1")
    assert policy.lacks("libc.so.6", ["GLIBC_2.99"]) == ()


def test_other_systems_have_no_elf_libraries() -> None:
    """Nothing is promised to ELF binaries on Windows and macOS."""
    for platform in ("windows-x86_64", "macos-arm64"):
        assert not allowed_by(Target("t", platform=platform, glibc=None)).provides("libc.so.6")


@pytest.mark.parametrize("platform", [name for name in PLATFORMS if name.startswith("linux-")])
def test_every_machine_has_a_policy(platform: str) -> None:
    """For each Linux platform a newer glibc promises at least what an older one does, up to its own release."""
    machine = platform.split("-")[1]
    before = allowed_by(Target("t", platform=platform, glibc=f"2.{OLDEST_GLIBC.get(machine, 17)}"))
    assert before.newest["GLIBCXX"] >= (3, 4, 8)
    for minor in range(OLDEST_GLIBC.get(machine, 17), 50):
        policy = allowed_by(Target("t", platform=platform, glibc=f"2.{minor}"))
        assert policy.newest["GLIBC"] == (2, minor)
        assert policy.system >= before.system
        assert policy.words >= before.words
        assert all(policy.newest[family] >= numbers for family, numbers in before.newest.items())
        before = policy


def test_table_says_what_the_peps_say() -> None:
    """The table has the ceilings of manylinux1, 2010 and 2014 for x86_64 (PEP 513, 571, 599, as in their tool)."""
    for glibc, ceilings in {
        "2.5": {"GLIBC": (2, 5), "CXXABI": (1, 3, 1), "GLIBCXX": (3, 4, 8), "GCC": (4, 2, 0)},
        "2.12": {"GLIBC": (2, 12), "CXXABI": (1, 3, 3), "GLIBCXX": (3, 4, 13), "GCC": (4, 3, 0)},
        "2.17": {"GLIBC": (2, 17), "CXXABI": (1, 3, 7), "GLIBCXX": (3, 4, 19), "GCC": (4, 8, 0)},
    }.items():
        newest = allowed_by(Target("t", glibc=glibc)).newest
        assert {family: newest[family] for family in ceilings} == ceilings
    assert sorted(VERSIONS) == sorted({name.split("-")[1] for name in PLATFORMS if name.startswith("linux-")})
    assert len({name for names in LIBRARIES.values() for name in names}) == 24


def test_table_is_what_the_script_makes() -> None:
    """Where the tool whose policies they are is installed, the script makes the very module that is kept."""
    if importlib.util.find_spec("auditwheel") is None:
        pytest.skip("auditwheel is not installed")
    spec = importlib.util.spec_from_file_location("made", ROOT / "fixtures" / "linkage" / "manylinux.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    policies = json.loads((resources.files("auditwheel") / "policy" / "manylinux-policy.json").read_text("utf-8"))
    kept = (ROOT / "src" / "gpuenv" / "model" / "manylinux.py").read_text("utf-8")
    assert made.module(policies, metadata.version("auditwheel")) == kept


def test_libraries_of_the_machine_itself() -> None:
    """A soname by its pattern; a folder stands for the runtime of the target's GPUs, and for no other library."""
    amd = allowed_by(Target("t", gpu=("gfx942",), host_libraries=("/opt/rocm/lib", "libodbc.so.*")))
    for soname in ("libamdhip64.so.7", "librccl.so.1", "libodbc.so.2"):
        assert amd.hosts(soname), soname
        assert not amd.provides(soname), soname
    for soname in ("libcudart.so.13", "libodbc.so", "libfoo.so.1"):
        assert not amd.hosts(soname), soname
    cpu = allowed_by(Target("t", host_libraries=("/opt/rocm/lib",)))
    assert not cpu.hosts("libamdhip64.so.7")
    assert not allowed_by(Target("t", gpu=("gfx942",))).hosts("libamdhip64.so.7")


@pytest.mark.parametrize(
    ("cuda", "driver", "level"),
    [
        ("12.4", None, "12.4"),
        (None, "570.86", "12.8"),
        (None, "580.65.06", "13.0"),
        (None, "390.1", None),
        (None, "9000.1", None),
        (None, None, None),
    ],
)
def test_the_cuda_of_a_target(cuda: str | None, driver: str | None, level: str | None) -> None:
    """As stated, or as the branch of the stated driver came with; of drivers newer than all known it is not known."""
    assert cuda_of(Target("t", gpu=("sm_90",), cuda=cuda, driver=driver)) == level
