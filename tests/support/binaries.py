"""Tiny binaries, made by the test that needs them: shared libraries, fatbin containers, offload bundles."""

import struct
from collections.abc import Sequence

__all__ = ["bundle", "fatbin", "library"]

_PAGE = 0x1000


def fatbin(*images: tuple[str, int], payload: int = 64) -> bytes:
    """A fatbin container. images: (`sass`, 90), (`ptx`, 90), each with `payload` bytes of nothing."""
    entries = b""
    for kind, arch in images:
        header = struct.pack(
            "<HHIQIIHHIIIQQQ", {"ptx": 1, "sass": 2}[kind], 0x0101, 64, payload, 0, 0, 0, 8, arch, 0, 0, 0x11, 0, 0
        )
        entries += header[:64] + bytes(payload)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


def bundle(*targets: str, payload: int = 64) -> bytes:
    """A plain offload bundle of clang's with an empty host entry and one image for each target."""
    ids = ["host-x86_64-unknown-linux-gnu-", *(f"hipv4-amdgcn-amd-amdhsa--{target}" for target in targets)]
    table = 24 + 8 + sum(24 + len(text) for text in ids)
    begin = (table + 4095) // 4096 * 4096
    head, body = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(ids)), b""
    for text in ids:
        size = 0 if text.startswith("host") else payload
        head += struct.pack("<QQQ", begin + len(body), size, len(text)) + text.encode()
        body += bytes(size)
    return head.ljust(begin, b"\0") + body


def library(
    soname: str | None = None,
    needed: Sequence[str] = (),
    *,
    runpath: str | None = None,
    sections: Sequence[tuple[str, bytes]] = (),
    symbol: str | None = None,
) -> bytes:
    """A shared library for x86-64 (System V gABI): a dynamic section, and further sections with the given content.

    symbol: one that it exports, such as `PyInit_core`.
    """
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        strings.extend(value.encode() + b"\0")
        return len(strings) - len(value.encode()) - 1

    tags = [(1, text(name)) for name in needed]
    tags += [(14, text(soname))] if soname else []
    tags += [(29, text(runpath))] if runpath else []
    symbols = bytes(24) + (struct.pack("<IBBHQQ", text(symbol), 0x12, 0, 1, _PAGE, 1) if symbol else b"")
    hashes = struct.pack("<IIIII", 1, len(symbols) // 24, len(symbols) // 24 - 1, 0, 0)
    at_strings = 64 + 3 * 56
    at_symbols = (at_strings + len(strings) + 7) // 8 * 8
    at_hashes = at_symbols + len(symbols)
    at_dynamic = (at_hashes + len(hashes) + 7) // 8 * 8
    tags += [(4, at_hashes), (5, at_strings), (6, at_symbols), (10, len(strings)), (11, 24), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    data = bytearray(at_dynamic)
    data[at_strings : at_strings + len(strings)] = strings
    data[at_symbols : at_symbols + len(symbols)] = symbols
    data[at_hashes : at_hashes + len(hashes)] = hashes
    data += dynamic
    names, headers = bytearray(b"\0"), [bytes(64)]
    for name, content in [*sections, (".shstrtab", b"")]:
        begin = len(names)
        names += name.encode() + b"\0"
        data += bytes(-len(data) % 8)
        content = bytes(names) if name == ".shstrtab" else content
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ", begin, 3 if name == ".shstrtab" else 1, 2, 0, len(data), len(content), 0, 0, 8, 0
            )
        )
        data += content
    data += bytes(-len(data) % 8)
    at_sections = len(data)
    segments = [
        (1, 4, 0, at_sections),
        (2, 4, at_dynamic, len(dynamic)),
        (0x6474E551, 6, 0, 0),
    ]
    table = b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, 8) for kind, flags, at, size in segments
    )
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, at_sections, 0, 64, 56, 3, 64, len(headers),
        len(headers) - 1,
    )  # fmt: skip
    data[: 64 + len(table)] = head + table
    return bytes(data) + b"".join(headers)
