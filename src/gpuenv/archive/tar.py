"""The headers of a tar archive (POSIX ustar and pax, GNU's long names): what it holds, read once from its start.

Nothing is put on a disk by name here. What readers take differently (sparse files, two names for one entry, bytes
behind the end) is refused, and so are entries that no distribution needs, such as devices.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

from gpuenv.archive.names import Refused, check_name, check_target
from gpuenv.archive.parts import relative
from gpuenv.archive.source import Read
from gpuenv.archive.zipdirectory import MAX_MEMBERS

__all__ = ["BLOCK", "Cursor", "Entry", "SeekCursor", "StreamCursor", "is_header", "read_entries"]

BLOCK = 512
_TAKE = 1 << 20
_EXTENSION_LIMIT = 1 << 20
_LONG_NAME_LIMIT = 1 << 16
_RECORDS_MOST, _RECORDS_EACH = 1 << 19, 64  # what extended headers may say, and what more for each entry
_NUMBER = re.compile(rb" *([0-7]*)[ \0]*", re.DOTALL)
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_FILES, _HARD, _SYMBOLIC, _FOLDER = b"0\0007", b"1", b"2", b"5"
_KINDS = {b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file", b"M": "a part of a divided file"}


class Entry(NamedTuple):
    """A file (its content follows, `size` bytes), a link (`target` as in `Link`), or a folder.

    hard: the link is a hard one, a second name of a file.
    """

    kind: Literal["file", "link", "folder"]
    path: str
    size: int
    target: str
    executable: bool = False
    hard: bool = False


class Cursor(Protocol):
    """A place in a tar archive that moves forward."""

    position: int

    def take(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""

    def skip(self, size: int) -> bool:
        """Move on; False where the archive ends before."""


class SeekCursor:
    """A cursor in what can be read anywhere."""

    def __init__(self, read: Read, size: int) -> None:
        self.position = 0
        self._read = read
        self._size = size

    def take(self, size: int) -> bytes:
        """See Cursor.take."""
        data = self._read(self.position, min(size, self._size - self.position))
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        """See Cursor.skip."""
        wanted = self.position + size
        self.position = min(wanted, self._size)
        return self.position == wanted


class StreamCursor:
    """A cursor in what comes once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.position = 0
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay the next."""
        while len(self._held) - self._at < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._held, self._at = self._held[self._at :] + piece, 0
        return self._held[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """See Cursor.take."""
        data = self.peek(size)
        self._at += len(data)
        self.position += len(data)
        return data

    def take_some(self, most: int) -> bytes:
        """As many of the next bytes as are at hand, uncopied where that can be; none only at the end."""
        if self._at == len(self._held):
            self._held, self._at = next(self._pieces, b""), 0
        data = self._held[self._at : self._at + most]
        self._at += len(data)
        self.position += len(data)
        return data

    def content(self, name: str, size: int) -> Iterator[bytes]:
        """The content of the entry whose header was just read, in pieces of at most 1 MiB; raises Refused."""
        while size:
            piece = self.take_some(min(_TAKE, size))
            if not piece:
                raise Refused(f"it ends in the middle of entry {name!r}")
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> bool:
        """See Cursor.skip."""
        while size:
            if self._at == len(self._held):
                self._held, self._at = next(self._pieces, b""), 0
                if not self._held:
                    return False
            step = min(size, len(self._held) - self._at)
            self._at += step
            self.position += step
            size -= step
        return True


def is_header(block: bytes) -> bool:
    """Is this the first block of a tar archive that has a file? The checksum tells."""
    if len(block) < BLOCK or not block.strip(b"\0"):
        return False
    said = _NUMBER.fullmatch(block[148:156])
    if not said or not said.group(1):
        return False
    # old programs added the bytes as if they had signs
    plain = sum(block[:148]) + 8 * ord(" ") + sum(block[156:BLOCK])
    high = sum(byte > 127 for byte in block[:148] + block[156:BLOCK])
    return int(said.group(1), 8) in (plain, plain - 256 * high)


def read_entries(cursor: Cursor, limit: int) -> Iterator[Entry]:
    """The entries in their order, each while its content lies ahead; who leaves content unread lets it be skipped.

    limit: how many bytes all files may hold. Raises Refused.
    """
    extensions: dict[str, str] = {}
    count, said = 0, 0
    while (block := cursor.take(BLOCK)) and block.strip(b"\0"):
        if not is_header(block):
            raise Refused(f"there is no tar header at byte {cursor.position - len(block)}: damaged or cut off")
        size = _number(block[124:136])
        kind = block[156:157]
        if kind in b"xgLK":
            data = _extension(cursor, kind, size)
            said += data.count(b"\n")
            if said > _RECORDS_MOST + _RECORDS_EACH * count:
                raise Refused("its extended headers say more than entries need")
            _extend(extensions, kind, data)
            continue
        entry = _entry(block, kind, extensions, size)
        extensions = {}
        count += 1
        limit -= entry.size
        if count > MAX_MEMBERS:
            raise Refused(f"it has more than {MAX_MEMBERS} entries")
        if limit < 0:
            raise Refused(f"it ends in the middle of entry {entry.path!r}, or that is a decompression bomb")
        stop = cursor.position + -(-entry.size // BLOCK) * BLOCK
        if entry.path:
            yield entry
        if not cursor.skip(stop - cursor.position):
            raise Refused(f"it ends in the middle of entry {entry.path!r}")
    _check_end(cursor, block)


def _check_end(cursor: Cursor, block: bytes) -> None:
    if len(block) < BLOCK:
        raise Refused("it ends without the mark of its end: cut off")
    while rest := cursor.take(_TAKE):
        if rest.strip(b"\0"):
            raise Refused("bytes hide behind its end")


def _entry(block: bytes, kind: bytes, extensions: dict[str, str], size: int) -> Entry:
    fields = _HEADER.unpack(block)
    name = extensions.get("path") or _own_name(fields)
    size = _decimal(extensions["size"]) if extensions.get("size") else size
    path = _clean(name)
    if kind in _KINDS:
        raise Refused(f"entry {name!r} is {_KINDS[kind]}")
    if kind in _FILES and not name.endswith("/"):
        if not path:
            raise Refused("it has a file without a name")
        return Entry("file", path, size, "", bool(_number(fields[1]) & 0o111))
    if kind not in (_HARD, _SYMBOLIC, _FOLDER) and kind not in _FILES:
        raise Refused(f"entry {name!r} is of a kind that is not read here ({kind!r})")
    if size:
        raise Refused(f"entry {name!r} is a link or a folder, and has content")
    if kind not in (_HARD, _SYMBOLIC):
        return Entry("folder", path, 0, "")
    target = extensions.get("linkpath") or _text(fields[8])
    hard = kind == _HARD
    return Entry("link", path, 0, _target(path, target, hard=hard), hard=hard)


def _own_name(fields: tuple[bytes, ...]) -> str:
    name, magic, prefix = fields[0], fields[9], fields[15]
    # GNU's older form, with a space behind its magic, keeps other things where the prefix is
    return _text(prefix) + "/" + _text(name) if magic == b"ustar\0" and prefix[:1] != b"\0" else _text(name)


def _clean(name: str) -> str:
    """The name as the other archives have it; "" is the archive's own top."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    name = name.removesuffix("/")
    if name in ("", "."):
        return ""
    check_name(name)
    return name


def _target(path: str, target: str, *, hard: bool) -> str:
    """A hard link says a path inside the archive: it is turned into what a symbolic link would say."""
    check_target(path, target)
    if not hard:
        return target
    try:
        return relative(path, _clean(target))
    except Refused:
        return target  # it leads out: that is for others to judge


def _extension(cursor: Cursor, kind: bytes, size: int) -> bytes:
    limit = _LONG_NAME_LIMIT if kind in b"LK" else _EXTENSION_LIMIT
    if size > limit:
        raise Refused(f"an extended header says that it holds {size} bytes; at most {limit} are accepted")
    data = cursor.take(size)
    if len(data) < size or not cursor.skip(-size % BLOCK):
        raise Refused("it ends in the middle of an extended header")
    return data


def _extend(extensions: dict[str, str], kind: bytes, data: bytes) -> None:
    """Note what an extended header says of the next entry: pax (POSIX pax, 3.2), or one long name of GNU's."""
    found = {"path" if kind == b"L" else "linkpath": _text(data)} if kind in b"LK" else _pax(data)
    if kind == b"g" and found:
        raise Refused(f"a header gives all entries the same {min(found)}")
    if found.keys() & extensions.keys():
        raise Refused("an entry has two extended headers that say the same thing")
    extensions.update(found)


def _pax(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` that matter: path, linkpath, size."""
    found = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > 0 else b""
        stop = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : max(stop - 1, 0)].partition(b"=")
        if not space < stop <= len(data) or data[stop - 1 : stop] != b"\n" or not equals:
            raise Refused("an extended header is malformed")
        if key.startswith(b"GNU.sparse."):
            raise Refused("it holds a sparse file, which is not read here")
        if key in (b"path", b"linkpath", b"size"):
            found[key.decode()] = _text(value)
        position = stop
    return found


def _text(field: bytes) -> str:
    text = field.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"entry {text!r} has a name that is not UTF-8") from None


def _number(field: bytes) -> int:
    """A number in octal digits, or where these do not suffice, as GNU and star write it, in base 256."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    found = _NUMBER.fullmatch(field)
    if not found:
        raise Refused(f"a header holds {field!r} where a number should be")
    return int(found.group(1) or b"0", 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise Refused(f"an extended header says that an entry has {text[:40]!r} bytes")
    return int(text)
