"""What the files of one artifact say of themselves: libraries, what they need, and which GPUs their code is for.

The values are msgspec structs: they are kept by the thousand, as JSON (docs/reference/native-facts.md).
"""

import re
from typing import Literal

import msgspec

__all__ = [
    "SCHEMA",
    "Code",
    "Damage",
    "DeviceCode",
    "Format",
    "Kind",
    "NativeFacts",
    "ObjectFacts",
    "PublishedLine",
    "PythonModule",
    "Symlink",
    "Unit",
    "Units",
    "Vendor",
    "decode_facts",
    "decode_published",
    "encode_facts",
    "led",
    "moved",
    "natural",
    "own",
    "with_bytes",
    "with_damage",
]

# Grows when the same bytes yield other facts or another form of them.
SCHEMA = 2

_WITH_PATHS = ("objects", "symlinks", "damaged")

Vendor = Literal["nvidia", "amd"]
Kind = Literal["sass", "ptx", "lto", "code-object", "data"]
Format = Literal["elf", "fatbin", "bundle", "ptx", "lto", "kpack", "data"]


class Code(msgspec.Struct, frozen=True, gc=False):
    """One image of device code.

    kind: `sass` and `lto` for `sm_90`, `ptx` for `compute_90`, `code-object` for `gfx942`; `data` is a file of kernels
    or tunings that names its target only in its own name or table of contents.
    arch: with NVIDIA's suffix where the file says it, `sm_90a`, `compute_100f`. features: AMD's, sorted, `xnack+`.
    bytes: as stored, that is compressed where `compressed`. isa: PTX ISA version, `8.7`; of AMD the code object
    version, `6`.
    """

    vendor: Vendor
    kind: Kind
    arch: str
    bytes: int
    features: tuple[str, ...] = ()
    isa: str | None = None
    compressed: bool = False


class Unit(msgspec.Struct, frozen=True, gc=False):
    """One fatbin container or one offload bundle: images of the same kernels for several architectures.

    offset: of its first byte in the object. size: of the whole container, in bytes.
    """

    offset: int
    size: int
    codes: tuple[Code, ...]


class DeviceCode(msgspec.Struct, frozen=True, gc=False):
    """All images of an object that are alike. count: images; bytes: of all of them, as stored."""

    vendor: Vendor
    kind: Kind
    arch: str
    features: tuple[str, ...] = ()
    count: int = 1
    bytes: int = 0
    isa: str | None = None
    compressed: bool = False


class Units(msgspec.Struct, frozen=True, gc=False):
    """How many containers of one section carry one set of device code. codes: positions in `device_code`."""

    codes: tuple[int, ...]
    count: int
    section: str = ""


class PythonModule(msgspec.Struct, frozen=True, gc=False):
    """An extension module. name: `torch._C`. abi: `cpython-312`, `abi3`, or "" where the file name does not say."""

    name: str
    abi: str
    init: str


class ObjectFacts(msgspec.Struct, frozen=True, gc=False):
    """One file with machine code in it, for the host or for a GPU.

    path: inside the artifact. size: bytes. format: what kind of file it is.
    machine: `x86_64`, `aarch64`, `amdgpu`, `cuda`, …. type: of an ELF file, `shared`, `executable`, `relocatable`.
    rpath, runpath: DT_RPATH and DT_RUNPATH, split at colons. versions_needed: library -> symbol versions of it.
    executable_stack: a PT_GNU_STACK header asks for it. interpreter: PT_INTERP. cpu: the level of x86-64 without which
    the loader refuses it, `x86-64-v3`; None: the first, or it does not say.
    """

    path: str
    size: int
    format: Format
    machine: str | None = None
    bits: int | None = None
    endian: Literal["little", "big"] | None = None
    type: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    versions_needed: dict[str, tuple[str, ...]] = {}
    versions_defined: tuple[str, ...] = ()
    interpreter: str | None = None
    executable_stack: bool = False
    python: PythonModule | None = None
    device_code: tuple[DeviceCode, ...] = ()
    units: tuple[Units, ...] = ()
    cpu: str | None = None

    @property
    def for_host(self) -> bool:
        """Is it a binary for a processor, not a file of device code?"""
        return self.format == "elf" and self.machine not in ("cuda", "amdgpu")


class Symlink(msgspec.Struct, frozen=True, gc=False):
    """A link the artifact carries. source: `zip` entry, `LINKS` (PEP 778), `tar` entry, or one in a `folder`."""

    path: str
    target: str
    source: Literal["zip", "LINKS", "tar", "folder"]


class Damage(msgspec.Struct, frozen=True, gc=False):
    """A file that says what cannot be. path: inside the artifact. problem: in words."""

    path: str
    problem: str


class NativeFacts(msgspec.Struct, frozen=True, gc=False):
    """What one artifact says. sha256: of the artifact, None where only parts of it were read. size: bytes.

    objects, damaged: sorted by path. duplicates: groups of paths with the same bytes, links before ZIP lost them.
    """

    sha256: str | None
    size: int
    schema: int = SCHEMA
    objects: tuple[ObjectFacts, ...] = ()
    symlinks: tuple[Symlink, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    damaged: tuple[Damage, ...] = ()

    def with_objects(self, objects: tuple[ObjectFacts, ...]) -> "NativeFacts":
        """The same with other facts of its binaries, in the same order."""
        return msgspec.structs.replace(self, objects=objects)


def with_damage(facts: NativeFacts, path: str, problem: str) -> NativeFacts:
    """The same with one more file that says what cannot be."""
    damaged = sorted([*facts.damaged, Damage(path, problem)], key=lambda damage: damage.path)
    return msgspec.structs.replace(facts, damaged=tuple(damaged))


def with_bytes(code: Code, size: int) -> Code:
    """The same image with another size."""
    return msgspec.structs.replace(code, bytes=size)


def led(found: ObjectFacts, entries: tuple[str, ...]) -> ObjectFacts:
    """The same binary with entries behind those of its search path: DT_RPATH stays that, else they are DT_RUNPATH."""
    if found.rpath and not found.runpath:
        return msgspec.structs.replace(found, rpath=(*found.rpath, *entries))
    return msgspec.structs.replace(found, runpath=(*found.runpath, *entries))


def moved(found: ObjectFacts, path: str) -> ObjectFacts:
    """The same file at another path."""
    return msgspec.structs.replace(found, path=path)


def own(facts: NativeFacts) -> NativeFacts:
    """The facts of an artifact without those of archives inside it."""
    kept = {name: tuple(one for one in getattr(facts, name) if "!/" not in one.path) for name in _WITH_PATHS}
    return msgspec.structs.replace(facts, **kept)


def natural(arch: str) -> tuple[tuple[int, ...], str]:
    """A sort key by which `sm_90` comes before `sm_100`, and `gfx906` before `gfx90a` before `gfx1100`."""
    if match := re.match(r"\D+_([0-9]+)", arch):
        return (int(match[1]),), arch
    if match := re.fullmatch(r"gfx([0-9]+)([0-9a-f])([0-9a-f])", arch):
        return (int(match[1]), int(match[2], 16), int(match[3], 16)), arch
    if match := re.match(r"gfx([0-9]+)", arch):  # a generic target comes before its members
        return (int(match[1]),), arch
    return (), arch


def encode_facts(facts: NativeFacts) -> bytes:
    """The facts as JSON (docs/reference/native-facts.md): one line, keys in a fixed order."""
    return msgspec.json.encode(facts)


class PublishedLine(msgspec.Struct, frozen=True, gc=False):
    """One wheel in a table of published facts. facts: still as JSON, for few of a table are ever asked for."""

    filename: str
    facts: msgspec.Raw


def decode_published(data: bytes) -> dict[str, PublishedLine]:
    """The wheels of one distribution by sha256, as a table holds them; raises ValueError for anything else."""
    return msgspec.json.decode(data, type=dict[str, PublishedLine])


def decode_facts(data: bytes | msgspec.Raw) -> NativeFacts | None:
    """The facts that JSON of this schema holds; None for anything else."""
    try:
        facts = msgspec.json.decode(data, type=NativeFacts)
    except msgspec.MsgspecError:
        return None
    return facts if facts.schema == SCHEMA else None
