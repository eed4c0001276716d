"""CPU levels from the flags that Linux lists."""

from pathlib import Path

import pytest

from gpuenv.host.cpu import cpu_level
from tests.host.machines import put

V2 = "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse sse2", 1),
        (V2, 2),
        (f"{V2} avx avx2", 2),
        (V3, 3),
        (V4, 4),
        (V4.replace(" abm", ""), 2),
        (V4.replace("pni ", ""), 1),
        (V4.replace("avx512dq ", ""), 3),
    ],
)
def test_levels(flags: str, level: int, tmp_path: Path) -> None:
    """A level needs all flags of its own and of those below it."""
    put(tmp_path, "proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\nvmx flags\t: {V4}\n\nflags: {V4}\n")
    assert cpu_level(tmp_path, "x86_64") == f"x86-64-v{level}"


def test_other_cpus(tmp_path: Path) -> None:
    """Other architectures are one level each; an x86_64 whose kernel says nothing has none."""
    put(tmp_path, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd evtstrm\n")
    assert cpu_level(tmp_path, "aarch64") == "aarch64"
    assert cpu_level(tmp_path, "x86_64") is None
    assert cpu_level(tmp_path / "none", "x86_64") is None
