"""Machines of fixtures/machines: a tree of small files each, what their tools answer, and what is to be found."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuenv.host.nvml import Answer, Gpu

__all__ = ["NAMES", "X86", "Recorded", "never_nvml", "never_query", "put"]

FOLDER = Path(__file__).parents[2] / "fixtures" / "machines"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))


class X86(tuple[str, ...]):
    """An `os.uname` of an x86_64 Linux, which all recorded machines are."""

    sysname, machine = "Linux", "x86_64"


@dataclass
class Recorded:
    """One machine, unfolded below `root`; `asked` notes which tools were called."""

    root: Path
    data: Mapping[str, Any]
    asked: list[str]

    @classmethod
    def unfold(cls, name: str, root: Path) -> "Recorded":
        """The machine of that name."""
        data = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
        for path, text in data["files"].items():
            put(root, path, text)
        return cls(root, data, [])

    def nvml(self, root: Path) -> Answer | None:
        """What NVML answers there."""
        self.asked.append("NVML")
        said = self.data.get("nvml")
        if said is None:
            return None
        gpus = tuple(Gpu(number, *gpu) for number, gpu in enumerate(said["gpus"]))
        return Answer(said["driver"], tuple(said["cuda"]), gpus)

    def query(self, fields: str, environ: Mapping[str, str]) -> str:
        """What `nvidia-smi` prints there."""
        self.asked.append(f"nvidia-smi {fields}")
        return str(self.data.get("smi", {}).get(fields, ""))


def put(root: Path, path: str, text: str) -> None:
    """Write a file below a root."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, "utf-8")


def never_query(fields: str, environ: Mapping[str, str]) -> str:
    """A tool that may not be run."""
    raise AssertionError("nothing may be run here")


def never_nvml(root: Path) -> Answer | None:
    """A library that may not be loaded."""
    raise AssertionError("nothing may be loaded here")
