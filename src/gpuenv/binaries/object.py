"""What one file says: is it a binary at all, of which kind, and which facts are in it."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol, TypeVar

from gpuenv.archive.ranges import MissingRange, SparseFile
from gpuenv.archive.source import Read
from gpuenv.binaries.amd import BUNDLE_MAGIC, CCOB_MAGIC, code_object
from gpuenv.binaries.cubin import cubin_code, lto_code, ptx_code
from gpuenv.binaries.elf import MAGIC, Elf, ranges_of, read_elf
from gpuenv.binaries.extension import python_module
from gpuenv.binaries.inventory import Inventory, Place
from gpuenv.binaries.kpack import KPACK_MAGIC, read_kpack
from gpuenv.binaries.named import target_of_name
from gpuenv.binaries.nvidia import FATBIN_MAGIC
from gpuenv.binaries.pieces import Pieces
from gpuenv.binaries.scan import scan
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from gpuenv.model.facts import Code, Format, ObjectFacts, with_bytes

__all__ = ["Readable", "read_object"]

Value = TypeVar("Value")

HEAD = 16 << 10  # bytes that tell what a file is: a PTX text may begin with a long comment
# the tables that a loader reads lie at the beginning of a library; measured: 32 MiB hold those of libtorch_cuda.so
NEAR = 32 << 20
# each round brings one more table; a file that asks for more rounds than there are tables goes in circles
ROUNDS = 16


class Readable(Protocol):
    """A file to read."""

    @property
    def path(self) -> str:
        """Inside its artifact."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def read(self) -> Read | None:
        """Random access (offset, size), None where the file can only be read from its start."""

    def chunks(self) -> Iterator[bytes]:
        """The whole content, from the start; Pieces where not all of it has to be read."""


def read_object(file: Readable) -> ObjectFacts | None:
    """The facts of one file; None if it is no binary that could matter, told by its first bytes and its name.

    Memory is bounded by some 40 MiB and the tables that a loader reads, whatever the file's size; hostile ones may have
    hundreds of MiB. Raises BinaryError for damage, and what `file` raises.
    """
    chunks = file.chunks()
    first = next(chunks, b"")
    while len(first) < HEAD and (more := next(chunks, None)) is not None:
        first += more
    head = first[:HEAD]
    if head.startswith(MAGIC):
        return _elf_object(file, first, chunks)
    if head.startswith(FATBIN_MAGIC):
        return _container(file, "fatbin", first, chunks)
    if head.startswith((BUNDLE_MAGIC, CCOB_MAGIC)):
        return _container(file, "bundle", first, chunks)
    if head.startswith(KPACK_MAGIC):
        found = Inventory()
        for code in _through(file, lambda read: read_kpack(read, file.size)):
            found.add_code(code)
        return ObjectFacts(file.path, file.size, "kpack", device_code=found.device_code())
    if (ptx := ptx_code(head)) is not None:
        return _single(file, "ptx", ptx)
    if (lto := lto_code(head)) is not None:
        return _single(file, "lto", lto)
    if (named := target_of_name(file.path)) is not None:
        arch, features = named
        return _single(file, "data", Code("amd", "data", arch, 0, features))
    return None


def _elf_object(file: Readable, first: bytes, chunks: Iterator[bytes]) -> ObjectFacts:
    kept = None
    if file.read is None:
        passing = _Kept(file, chain([first], chunks))
        kept, tape = passing.file, Tape(passing)
    else:
        tape = _tape(first, chunks)
    found = scan(tape, file.size)
    elf = _through(file, lambda read: read_elf(read, file.size), kept)
    code = _own_code(file, elf, kept)
    if code is not None:
        found = Inventory()  # the containers a code object might quote are not its own
        found.add_code(code)
    places = sorted(
        Place(section.offset, section.offset + section.size, section.name)
        for section in elf.sections
        if section.size  # none of those that occupy nothing in the file
    )
    return ObjectFacts(
        path=file.path,
        size=file.size,
        format="elf",
        machine=elf.machine,
        bits=elf.bits,
        endian=elf.endian,
        type=elf.type,
        soname=elf.soname,
        needed=elf.needed,
        rpath=elf.rpath,
        runpath=elf.runpath,
        versions_needed=dict(elf.versions_needed),
        versions_defined=elf.versions_defined,
        interpreter=elf.interpreter,
        executable_stack=elf.executable_stack,
        cpu=elf.cpu,
        python=python_module(file.path, elf),
        device_code=found.device_code(),
        units=found.units(places),
    )


def _own_code(file: Readable, elf: Elf, kept: SparseFile | None) -> Code | None:
    """The device code that an ELF file is itself: a cubin, or one of AMD's code objects."""
    if elf.machine == "cuda":
        return _through(file, lambda read: cubin_code(read, file.size), kept)
    if elf.machine == "amdgpu":
        return _through(file, lambda read: code_object(read(0, 64), file.size), kept)
    return None


def _container(file: Readable, form: Format, first: bytes, chunks: Iterator[bytes]) -> ObjectFacts:
    found = scan(_tape(first, chunks), file.size)
    return ObjectFacts(file.path, file.size, form, device_code=found.device_code(), units=found.units())


def _tape(first: bytes, chunks: Iterator[bytes]) -> Tape:
    return Tape(chunks, first, chunks.jump if isinstance(chunks, Pieces) else None)


def _single(file: Readable, form: Format, code: Code) -> ObjectFacts:
    """A file that is one image as a whole."""
    found = Inventory()
    found.add_code(with_bytes(code, file.size))
    return ObjectFacts(file.path, file.size, form, device_code=found.device_code())


class _Kept:
    """The chunks of a file on their way, and those ranges of it that are likely to be asked for again."""

    def __init__(self, file: Readable, chunks: Iterator[bytes]) -> None:
        self.file = SparseFile(file.size)
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        position = 0
        wanted: list[tuple[int, int]] = []
        for chunk in self._chunks:
            stop = position + len(chunk)
            if position == 0:
                wanted = ranges_of(chunk[:HEAD], self.file.size)
            if position < NEAR:
                self.file.add(position, chunk)
            else:
                keep(self.file, position, chunk, wanted)
            yield chunk
            position = stop


def keep(file: SparseFile, position: int, chunk: bytes, wanted: list[tuple[int, int]]) -> None:
    """Add those parts of a chunk that lie in a wanted range (start, stop)."""
    for start, stop in wanted:
        begin, end = max(start, position), min(stop, position + len(chunk))
        if begin < end:
            file.add(begin, chunk[begin - position : end - position])


def _through(file: Readable, ask: Callable[[Read], Value], kept: SparseFile | None = None) -> Value:
    """What `ask` finds by reading here and there; a file without random access passes again for what is missing."""
    if file.read is not None:
        return ask(file.read)
    held = kept or SparseFile(file.size)

    def read(offset: int, size: int) -> bytes:
        held.seek(offset)
        return held.read(size)

    for _ in range(ROUNDS):
        try:
            return ask(read)
        except MissingRange as missing:
            position = 0
            for chunk in file.chunks():
                keep(held, position, chunk, [(missing.start, missing.stop)])
                position += len(chunk)
                if position >= missing.stop:
                    break
    raise BinaryError("its tables refer to each other without end")
