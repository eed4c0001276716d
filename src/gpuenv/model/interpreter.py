"""A Python interpreter found on this machine."""

from dataclasses import dataclass

__all__ = ["Interpreter"]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base interpreter (never a virtual environment's).

    path: absolute path of the executable, links resolved. version: `3.12.1`. free_threaded: built without the GIL.
    source: where it was found (`PATH`, `pyenv`, `uv`, `--python`, `gpuenv's own`).
    """

    path: str
    version: str
    free_threaded: bool
    implementation: str
    source: str

    @property
    def minor(self) -> str:
        """`3.12`."""
        return ".".join(self.version.split(".")[:2])

    @property
    def tag(self) -> str:
        """`3.12`, or `3.13t` without the GIL."""
        return self.minor + ("t" if self.free_threaded else "")

    def serves(self, python: str) -> bool:
        """Can a target that says `python` (`3.12`, `3.12.4` as the least patch, `3.13t`) run on it?"""
        wanted = python.rstrip("t").split(".")
        if self.implementation != "CPython" or self.free_threaded != python.endswith("t"):
            return False
        mine = [int(part) for part in self.version.split(".")[:3]]
        return mine[:2] == [int(part) for part in wanted[:2]] and (len(wanted) < 3 or mine[2] >= int(wanted[2]))
