"""The table that ldconfig makes: the machine's own, a made one, and whatever is none."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from gpuenv.host.ldcache import decode_cache, read_cache


def cache(*entries: tuple[int, str, str, int], old: int | None = None) -> bytes:
    """A table: flags, name, path and processors of each entry; `old`: entries of a table of the old format before."""
    head, strings, rows = b"glibc-ld.so.cache1.1", b"", b""
    begin = 48 + 24 * len(entries)
    for flags, name, path, processors in entries:
        places = []
        for text in (name, path):
            places.append(begin + len(strings))
            strings += text.encode() + b"\0"
        rows += struct.pack("=iIIIQ", flags, *places, 0, processors)
    table = head + struct.pack("=IIB3xI12x", len(entries), len(strings), 2, 0) + rows + strings
    if old is None:
        return table
    before = b"ld.so-1.7.0\0" + struct.pack("=I", old) + bytes(12 * old)
    return before + bytes(-len(before) % 8) + table


ENTRIES = (
    (0x0303, "libx.so.1", "/special/libx.so.1", 1 << 62),
    (0x0303, "libx.so.1", "/lib/libx.so.1", 0),
    (0x0303, "libx.so.1", "/later/libx.so.1", 0),
    (0x0003, "libold.so", "/lib32/libold.so", 0),
    (0x0A03, "libarm.so", "/arm/libarm.so", 0),
)


@pytest.mark.parametrize("old", [None, 0, 3])
def test_entries_of_a_machine(old: int | None) -> None:
    """Of several paths the first counts; what is for other machines, or for some processors only, does not."""
    data = cache(*ENTRIES, old=old)
    assert decode_cache(data, "x86_64") == {"libx.so.1": "/lib/libx.so.1"}
    assert decode_cache(data, "aarch64") == {"libarm.so": "/arm/libarm.so"}
    assert decode_cache(data, "i386") == {"libold.so": "/lib32/libold.so"}


def test_what_is_no_table(tmp_path: Path) -> None:
    """No file, another format and a table that is cut off at any place are no error."""
    assert read_cache("x86_64", tmp_path / "none") == {}
    data = cache(*ENTRIES, old=1)
    for size in range(len(data)):
        assert decode_cache(data[:size], "x86_64").keys() <= {"libx.so.1", ""} or size > 0


@pytest.mark.skipif(shutil.which("ldconfig") is None, reason="needs ldconfig")
def test_it_is_what_ldconfig_says() -> None:
    """Every name of this machine's table has the path that `ldconfig -p` prints first for it."""
    printed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, timeout=60, check=True).stdout
    expected: dict[str, str] = {}
    for line in printed.splitlines():
        name, _, rest = line.strip().partition(" (")
        kind, _, path = rest.partition(") => ")
        if kind == "libc6,x86-64":
            expected.setdefault(name, path)
    if not expected:
        pytest.skip("no table of libraries for x86-64")
    assert read_cache("x86_64") == expected
