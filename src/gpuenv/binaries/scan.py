"""Find the containers of device code in a file, wherever in it they lie."""

from gpuenv.binaries.amd import BUNDLE_MAGIC, CCOB_MAGIC, read_bundle, read_compressed
from gpuenv.binaries.inventory import Inventory
from gpuenv.binaries.nvidia import FATBIN_MAGIC, read_fatbin
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError

__all__ = ["LOOKS", "scan"]

# cuFFT has 29,341 containers; each look takes microseconds, and a file of nothing but magics would take an hour of them
LOOKS = 1_000_000

_READERS = {FATBIN_MAGIC: read_fatbin, CCOB_MAGIC: read_compressed, BUNDLE_MAGIC: read_bundle}


def scan(tape: Tape, size: int) -> Inventory:
    """Read a file of `size` bytes to its end; raises BinaryError where a container lies about itself.

    Sections do not matter: vendors keep containers in `.nv_fatbin`, `__nv_relfatbin`, `.hip_fatbin`, `.rodata`,
    `.ldata`, and more.
    """
    found, looks = Inventory(), 0
    while (magic := tape.find(*_READERS)) is not None:
        looks += 1
        if looks > LOOKS:
            raise BinaryError(f"more than {LOOKS:,} containers of device code, or what looks like them")
        unit = _READERS[magic](tape, size - tape.position)
        if unit is None:
            tape.skip(1)  # these bytes are something else
        else:
            found.add(unit)
    return found
