"""What a fuzzer starts from, and the words of the formats: real files of the fixtures, and small made ones."""

import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.harness import PATHS
from tests.support.binaries import bundle, fatbin, library
from tests.support.wheels import make_wheel, variants_document

__all__ = ["WORDS", "seeds"]

_BINARIES = Path(__file__).parents[2] / "fixtures" / "binaries"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)

WORDS = (
    b"\x50\xed\x55\xba\x01\0\x10\0", b"CCOB", b"__CLANG_OFFLOAD_BUNDLE__", b"KPAK", b"\x7fELF\x02\x01\x01",
    b"\x7fELF\x01\x02\x01", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08",
    b"ustar\0" b"00", b"ustar  \0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\xed\x43\x4e\x7f",
    b"\x01\x01\x40\0\0\0", b"\x02\0\x01\x01\x40\0\0\0", b"\x08\0\x01\x01\x50\0\0\0", b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0\0\0\0\x80", b"\xbe\0", b"\xe0\0", b"\x06\0\0\x70",
    b"\xfe\xff\xff\x6f", b"\xfc\xff\xff\x6f", b"\xf5\xfe\xff\x6f", b"\xff\xff\xff\x6f", b"\x86\0\0\x70",
    b"hipv4-amdgcn-amd-amdhsa--gfx942:sramecc+:xnack-", b"host-x86_64-unknown-linux-gnu-", b"gfx9-4-generic",
    b"hip-spirv64-amd-amdhsa-unknown-amdgcnspirv", b"PyInit_module", b"PyInitU_", b"GLIBC_2.17", b"libc.so.6",
    b".version 8.7\n", b".target sm_100a", b"/*", b"*/", b"//", b"-arch sm_100f", b"NVIDIA Corp",
    b"gfx_arches", b"toc", b"original_size", b"compression_scheme", b"_devel.tar.xz", b"_devel.tar",
    b"$schema", b"https://x/v0.2.0.json", b"default-priorities", b"namespace", b"providers", b"variants", b"requires",
    b"static-properties", b"feature-order", b"builtin", b"abi_dependency", b"optional", b"null", b"default-extras",
    b"variant_properties", b"variant_features", b"variant_namespaces", b"variant_label", b" not in ", b" :: ", b"; ",
    b"x-1.dist-info/LINKS", b"path=", b"linkpath=", b"size=", b"GNU.sparse.", b"../", b"./", b"././@LongLink",
)  # fmt: skip


def seeds(target: str) -> Iterator[bytes]:
    """First inputs of a target of tests/fuzz/harness.py."""
    found = list(_SEEDS[target]())
    yield from found
    for seed in found[:12]:  # cut off
        yield seed[: len(seed) * 2 // 3]


def _fixtures(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in _BINARIES.glob(pattern) if path.stat().st_size < 8192)


def _file() -> Iterator[bytes]:
    for path in _fixtures("elf/*.so", "elf/*.o", "elf/*.debug", "amd/*o*", "nvidia/*.*"):
        if path.suffix not in (".py", ".md", ".txt"):
            yield b"\0" + path.read_bytes()
    yield bytes([PATHS.index("pkg/module.cpython-312-x86_64-linux-gnu.so")]) + library(symbol="PyInit_module")
    code = [(".nv_fatbin", fatbin(("sass", 90), ("ptx", 90))), (".rodata", bundle("gfx942")[:5000])]
    yield b"\0" + library("libx.so.1", ["libc.so.6"], runpath="$ORIGIN/lib:", sections=code)
    yield b"\x02data"
    yield b"\x07data"


def _bundle() -> Iterator[bytes]:
    ids = [b"host-x86_64-unknown-linux-gnu-", b"hipv4-amdgcn-amd-amdhsa--gfx942:xnack+", b"hip-amdgcn-amd-amdhsa"]
    at, table, body = 32 + sum(24 + len(name) for name in ids), b"", b""
    for number, name in enumerate(ids):
        table += struct.pack("<QQQ", at + len(body), 80 * number, len(name)) + name
        body += (_BINARIES / "amd" / "gfx942.co").read_bytes()[: 80 * number]
    yield struct.pack("<Q", len(ids)) + table + body
    yield bundle("gfx90a:xnack+", "gfx9-4-generic", payload=8)[24:300]


def _bundled() -> Iterator[bytes]:
    def entry(flags: int, kind: bytes, name: bytes, content: bytes) -> bytes:
        return struct.pack("<BcBH", flags, kind, len(name), len(content)) + name + content

    meta = entry(0, b"0", b"x-1.dist-info/METADATA", b"Name: x\n")
    files = meta + entry(2, b"0", b"lib/libx.so.1", b"\x7fELF") + entry(2, b"0", b"x/__init__.py", b"")
    link = entry(0, b"2", b"lib/libx.so", b"libx.so.1")
    yield files + link
    yield files + entry(1, b"x", b"p", b"16 path=a/b/c/d\n") + entry(0, b"0", b"a/b/c/d", b"deep")
    yield files + entry(1, b"L", b"././@LongLink", b"a/b/c\0") + entry(0, b"0", b"a/b/c", b"deep")
    yield files + entry(0, b"1", b"twin", b"lib/libx.so.1")
    yield files + entry(1, b"x", b"p", b"22 GNU.sparse.major=1\n") + link
    yield files + entry(1, b"g", b"g", b"10 size=1\n") + link
    yield files + entry(4, b"0", b"", b'{"bundle":1,"links":[],"frames":[[["x-1.dist-info/METADATA",8]],[],[]]}')
    yield files + link + entry(8, b"0", b"", b"") + b"\x20\0\x01"


def _ccob() -> Iterator[bytes]:
    for how in range(6):
        for plain in _bundle():
            yield bytes([how]) + bytes(8) + b"__CLANG_OFFLOAD_BUNDLE__" + plain
    yield from (path.read_bytes()[4:] for path in _fixtures("amd/*.ccob"))


def _cubin() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in _fixtures("nvidia/*.cubin"))


def _fatbin() -> Iterator[bytes]:
    yield b"\0" + fatbin(("sass", 90), ("ptx", 90), payload=8)[16:]
    yield b"\x03" + fatbin(("sass", 75), payload=0)[16:]
    yield from (b"\0" + path.read_bytes()[16:] for path in _fixtures("nvidia/*.fatbin"))


def _kpack() -> Iterator[bytes]:
    image = b"\x81\xadoriginal_size\xcd\x10\x00"
    yield b"\x81\xaagfx_arches\x91\xa6gfx942"
    yield b"\x82\xb2compression_scheme\xa4zstd\xa3toc\x81\xa4a.so\x82\xa6gfx942" + image + b"\xadgfx90a:xnack+" + image


def _lto() -> Iterator[bytes]:
    yield from (path.read_bytes()[4:200] for path in _fixtures("nvidia/*.ltoir"))


def _ptx() -> Iterator[bytes]:
    yield b"8.7\n.target sm_103f\n.address_size 64\n"
    yield b"8.7 /* a */ // b\n.target sm_90a, debug\n"


def _links() -> Iterator[bytes]:
    yield b'a/libx.so,a/libx.so.1\n"a/li,b",b/\xc3\xa4\n\0a/libx.so.1\na/li,b'


def _tar() -> Iterator[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=form) as archive:
            for name, kind, content in (
                ("lib/libx.so.1", tarfile.REGTYPE, library("libx.so.1")),
                ("lib/libx.so", tarfile.SYMTYPE, b""),
                ("lib/twin.so", tarfile.LNKTYPE, b""),
                ("d" * 90 + "/" + "e" * (60 if form == tarfile.USTAR_FORMAT else 160), tarfile.REGTYPE, b"x"),
                ("x-1.dist-info/LINKS", tarfile.REGTYPE, b"lib/a.so,lib/libx.so\n"),
                ("folder", tarfile.DIRTYPE, b""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, len(content), "lib/libx.so.1" if kind in b"12" else ""
                archive.addfile(info, io.BytesIO(content))
        yield made.getvalue()[:-8192].rstrip(b"\0")


def _packed() -> Iterator[bytes]:
    for plain in _tar():
        yield from (bytes([how, harm]) + plain for how in range(3) for harm in (0, 2 + 40, 4))


def _zip() -> Iterator[bytes]:
    def member(flags: int, name: bytes, content: bytes) -> bytes:
        return struct.pack("<BBH", flags, len(name), len(content)) + name + content

    small = library("libx.so.1", ["libc.so.6"])
    links = member(0, b"x-1.dist-info/LINKS", b"a.so,x.so\n")
    yield member(1, b"x.so", small) + links + member(2, b"y.so", b"x.so")
    yield member(9, b"x.so", small) + member(1, b"y.so", small) + member(0, b"d/", b"")
    yield member(4, b"x.so", small[:300]) + member(5, b"a_gfx942.dat", b"data") + b"\x10" + b"\x05\0\0\x09\0\x01" * 3
    yield member(0, b"p/_devel.tar.xz", lzma.compress(next(_tar()), preset=0)) + links


def _variants() -> Iterator[bytes]:
    labels = {"cu13": {"nvidia": {"sm_arch": ["90_real", "80_real"]}}, "null": {}}
    yield variants_document(labels)
    yield variants_document(labels).replace(b"850/v0.2", b"825/v0.1").replace(b'"providers"', b'"x"')
    static = {"static-properties": {"level": ["v3"], "library": ["mkl"]}, "feature-order": ["library", "level"]}
    built = {"abi_dependency": {"builtin": "abi_dependency"}, "blas": {"optional": True, **static}}
    abi = {"t29": {"abi_dependency": {"torch": ["2.9", "2.8.1"]}, "blas": {"library": ["mkl"]}}}
    yield variants_document(abi, providers=built)
    yield variants_document({}, providers={"x": {"requires": ["x-provider>=1"], "plugin-api": "x.y:Z"}})


def _extras() -> Iterator[bytes]:
    yield b'{"version": 1, "default-extras": {"amd": ["device-{gfx}"], "any": [], "gfx942:xnack+": ["A_b"]}}'


def _requirement() -> Iterator[bytes]:
    yield b"a[b]>=1,<2; python_version >= '3.8' and \"amd :: gfx_arch :: gfx942\" in variant_properties"
    yield b"a @ https://x/a.whl ; (variant_label == 'cu13' or extra == 'x') and 'nvidia' not in variant_namespaces"
    yield b"a[]~=1.0; 'nvidia::sm_arch' in variant_features or variant_label in 'cu12 cu13'"


def _archive() -> Iterator[bytes]:
    library_, code = library("libx.so.1", ["libc.so.6"]), fatbin(("sass", 90))
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, bytes | str] = {"x/libx.so.1": library_, "x/a.fatbin": code, "x/_devel.tar.gz": b""}
        for stored in (False, True):
            yield make_wheel(Path(folder), "x", files=files, stored=stored).read_bytes()
            files["x/_devel.tar.gz"] = gzip.compress(next(_tar()) + bytes(1024), mtime=0)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("libx.so", _LONG_AGO)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "libx.so.1")
        archive.comment = b"a comment"
    yield made.getvalue()
    for plain in _tar():
        yield plain + bytes(1024)
    yield from (path.read_bytes() for path in _fixtures("elf/x86_64.so", "nvidia/lz4.fatbin", "amd/own-v3-zstd.ccob"))


_SEEDS = {
    "archive": _archive,
    "bundle": _bundle,
    "bundled": _bundled,
    "ccob": _ccob,
    "cubin": _cubin,
    "extras": _extras,
    "fatbin": _fatbin,
    "file": _file,
    "kpack": _kpack,
    "links": _links,
    "lto": _lto,
    "packed": _packed,
    "ptx": _ptx,
    "requirement": _requirement,
    "tar": _tar,
    "variants": _variants,
    "zip": _zip,
}
