"""An unpacked distribution in the store, as a value: what views need to know without looking at its files.

msgspec structs, encoded as arrays: a view of a large environment reads a hundred of them.
"""

from functools import cached_property

import msgspec

__all__ = [
    "FORMAT",
    "FORMAT_WITH_LINKS",
    "SITE_PACKAGES",
    "Directory",
    "EntryPoint",
    "Reach",
    "StoredFile",
    "StoredLink",
    "StoredObject",
    "decode_listing",
    "decode_object",
    "encode",
]

# Objects with links have a format of their own: a version that knows none must not make views without them.
FORMAT, FORMAT_WITH_LINKS = 1, 2
SITE_PACKAGES = "site-packages"


class StoredFile(msgspec.Struct, frozen=True, array_like=True):
    """A file by its name in its directory. sha256: 32 bytes.

    solid: a program that the kernel starts and that looks for libraries beside itself, outside its own directory: a
    symbolic link to it would send it into the store (`$ORIGIN` of a program is its resolved place).
    """

    name: str
    size: int
    sha256: bytes
    executable: bool
    solid: bool = False


class StoredLink(msgspec.Struct, frozen=True, array_like=True):
    """A symbolic link by its name in its directory. target: its text, relative to that directory."""

    name: str
    target: str


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """A directory of an object, with its sorted content. path: relative to the object, "" for its root."""

    path: str
    directories: tuple[str, ...]
    files: tuple[StoredFile, ...]
    links: tuple[StoredLink, ...] = ()


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """Binaries in `directory` look for libraries in `wanted`, which lies elsewhere, or links lead there.

    Both are relative to the object. inside: `wanted` is a directory of this object and of the same
    scheme, which a view keeps at the same distance.
    """

    directory: str
    wanted: str
    inside: bool


class EntryPoint(msgspec.Struct, frozen=True, array_like=True):
    """A command and the function it calls (entry points specification)."""

    name: str
    module: str
    attribute: str


class StoredObject(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """One unpacked distribution: `objects/<key>` of the store, a pure function of the unpacked bytes.

    key: `<hash of the tree>-<name>-<version>`; name normalised, version canonical. dist_info: the name of its
    `.dist-info` directory. tags: the Tag lines of WHEEL. size: bytes of all files; count: how many.
    directories: the upper part of the tree, down to where a view may link whole directories; the rest is in the
    object's listing. reaches: where its ELF files' `$ORIGIN` paths, and its links, leave their own directory. unlike:
    files of the wheel whose bytes are not what its RECORD says.
    """

    format: int
    key: str
    name: str
    version: str
    dist_info: str
    purelib: bool
    tags: tuple[str, ...]
    console: tuple[EntryPoint, ...]
    gui: tuple[EntryPoint, ...]
    size: int
    count: int
    directories: tuple[Directory, ...]
    reaches: tuple[Reach, ...]
    unlike: tuple[str, ...] = ()

    @cached_property
    def shallow(self) -> dict[str, Directory]:
        """`directories` by path."""
        return {directory.path: directory for directory in self.directories}


def encode(value: StoredObject | tuple[Directory, ...]) -> bytes:
    """Facts or a listing as bytes (MessagePack)."""
    return msgspec.msgpack.encode(value)


def decode_object(data: bytes) -> StoredObject | None:
    """Facts from bytes; None where they are damaged or another version of gpuenv wrote them."""
    try:
        found = msgspec.msgpack.decode(data, type=StoredObject)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.format in (FORMAT, FORMAT_WITH_LINKS) else None


def decode_listing(data: bytes) -> tuple[Directory, ...] | None:
    """Every directory of an object from bytes; None where they are damaged."""
    try:
        return msgspec.msgpack.decode(data, type=tuple[Directory, ...])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
