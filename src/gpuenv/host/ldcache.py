"""The table of libraries that ldconfig(8) makes for ld.so: `/etc/ld.so.cache`."""

import struct
from pathlib import Path

__all__ = ["PATH", "decode_cache", "read_cache"]

PATH = Path("/etc/ld.so.cache")

_OLD, _NEW = b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1"
_HEAD = struct.Struct("=20sIIB3xI12x")  # magic, entries, bytes of strings, flags, extensions
_ENTRY = struct.Struct("=iIIIQ")  # flags, name, path, (unused), which processors
_OLD_ENTRY = 12
_ALIGNED = 8
# What the second byte of an entry's flags says of the machine (glibc's sysdeps/generic/ldconfig.h).
_MACHINES = {"i386": 0, "ppc64le": 5, "s390x": 4, "x86_64": 3, "aarch64": 10, "riscv64": 16}
_LIBRARY = 3


def read_cache(machine: str, path: Path = PATH) -> dict[str, str]:
    """File name -> path, for programs of a machine, `x86_64`; empty where there is no such table (musl, NixOS)."""
    try:
        return decode_cache(path.read_bytes(), machine)
    except OSError:
        return {}


def decode_cache(data: bytes, machine: str) -> dict[str, str]:
    """The same from the table's bytes; empty for other formats. What is for some processors only does not count."""
    base = 0
    if data.startswith(_OLD) and len(data) >= len(_OLD) + 4:
        (count,) = struct.unpack_from("=I", data, len(_OLD))
        base = -(-(len(_OLD) + 4 + count * _OLD_ENTRY) // _ALIGNED) * _ALIGNED
    if data[base : base + len(_NEW)] != _NEW or len(data) < base + _HEAD.size:
        return {}
    _, count, _, _, _ = _HEAD.unpack_from(data, base)
    wanted, found = _MACHINES.get(machine), dict[str, str]()
    entries = data[base + _HEAD.size : base + _HEAD.size + count * _ENTRY.size]
    for flags, name, path, _, processors in _ENTRY.iter_unpack(entries[: len(entries) // _ENTRY.size * _ENTRY.size]):
        if flags & 0xFF == _LIBRARY and (wanted is None or flags >> 8 & 0xFF == wanted) and not processors:
            found.setdefault(_text(data, base + name), _text(data, base + path))
    return found


def _text(data: bytes, begin: int) -> str:
    end = data.find(b"\0", begin)
    return data[begin : end if end >= 0 else len(data)].decode("utf-8", "surrogateescape")
