"""The CPU's level: x86-64-v1 to v4 by the x86-64 psABI, from the flags that Linux lists; other CPUs are of one kind."""

import re
from pathlib import Path

from gpuenv.host.files import text

__all__ = ["CPUINFO", "cpu_level"]

CPUINFO = "proc/cpuinfo"

# What each level adds, in the words of /proc/cpuinfo: SSE3 is `pni`, LZCNT is `abm`, CMPXCHG16B is `cx16`. A kernel
# that lists `xsave` and `avx` saves their registers too, which is the OSXSAVE of the ABI.
_LEVELS = (
    {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
)


def cpu_level(root: Path, architecture: str) -> str | None:
    """`x86-64-v3`; for other architectures than x86_64 their own name; None if the kernel does not say."""
    if architecture != "x86_64":
        return architecture
    # one processor's paragraph is some 1.5 kB, and all say the same
    flags = re.search(r"^flags\s*:(.*)$", text(root / CPUINFO, 16 * 1024), re.MULTILINE)
    if flags is None:
        return None
    present, level = set(flags[1].split()), 1
    for number, wanted in enumerate(_LEVELS, 2):
        if not wanted <= present:
            break
        level = number
    return f"x86-64-v{level}"
