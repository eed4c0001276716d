"""gpuenv.lock: Lock <-> text, and whether it still answers the manifest.

Its goals, in this order: complete, verifiable, byte-reproducible, small diffs, readable, fast to read. One line an
artifact and one line a package of a target, all sorted, so that adding a target or bumping a package touches only its
own lines. Nothing in it comes from the machine that locks: no time, no absolute path, no credential.
"""

from gpuenv.lock.decode import decode, salvage
from gpuenv.lock.encode import encode
from gpuenv.lock.freshness import inputs_of, why_stale

__all__ = ["decode", "encode", "inputs_of", "salvage", "why_stale"]
