"""Compares AMD's registry of GPUs, which its packages are made by, with LLVM's, which gpuenv judges device code by.

    python benchmarks/registry.py [--python PYTHON]

PYTHON is an interpreter whose environment has rocm-bootstrap (`pip install rocm-bootstrap`), by default the one that
runs this. For each of its targets: is it a processor of LLVM, does it have what the registry says of xnack, and which
generic target would its packaging chain (target, sub-family, family) offer? That is compared with the generic targets
whose code runs on it. Prints a table and every difference; exits 1 unless those between targets that both have are the
known ones, which docs/explanation/device-code.md explains.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpuenv.model.architecture import AMD_PROCESSORS, GENERICS, Fit, fit, has_xnack, parse_gpu
from gpuenv.model.facts import DeviceCode

PATIENCE = 60
KNOWN = {
    ("gfx908", "not a member"),
    ("gfx90a", "not a member"),
    ("gfx950", "not offered"),
    ("gfx1250", "not offered"),
    ("gfx1251", "not offered"),
    ("gfx1250-strict", "no processor"),
}

ASK = """
import json
from importlib.metadata import version
from rocm_bootstrap.targets import ALL_TARGETS, packaging_chain
targets = [
    [one.name, one.xnack.value, [[bundle.key, bundle.llvm_generic] for bundle in packaging_chain(one)]]
    for one in ALL_TARGETS
]
print(json.dumps([version("rocm-bootstrap"), targets]))
"""


class Entry(NamedTuple):
    """A target of the registry. chain: bundles that a package may be made for. generics: those bundles offer."""

    name: str
    xnack: str
    chain: tuple[str, ...]
    generics: tuple[str, ...]


class Difference(NamedTuple):
    """What AMD's registry says otherwise than LLVM. kind: a word for each way to differ."""

    name: str
    kind: str
    words: str


def read(python: str) -> tuple[str, list[Entry]]:
    """The version of rocm-bootstrap and the targets of its registry."""
    done = subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True, timeout=PATIENCE)
    version, targets = json.loads(done.stdout)
    return version, [
        Entry(name, xnack, tuple(key for key, _ in chain), tuple(generic for _, generic in chain if generic))
        for name, xnack, chain in targets
    ]


def of_llvm(name: str) -> tuple[str, ...]:
    """The generic targets whose code runs on a GPU, as gpuenv judges it."""
    gpu = parse_gpu(name)
    if gpu is None:
        raise ValueError(f"{name} is no GPU")
    return tuple(one for one in GENERICS if fit(DeviceCode("amd", "code-object", one), gpu) is Fit.GENERIC)


def differences(entries: Sequence[Entry]) -> list[Difference]:
    """Everything about targets that the registry has, then processors and generic targets that it lacks."""
    found = []
    for entry in entries:
        if entry.name not in AMD_PROCESSORS.values():
            found.append(Difference(entry.name, "no processor", "is no processor of LLVM, but a way to compile"))
        if (entry.xnack != "unsupported") != has_xnack(entry.name.removesuffix("-strict")):
            has = "has no xnack" if entry.xnack != "unsupported" else "has xnack"
            found.append(Difference(entry.name, "xnack", f"the registry says {entry.xnack}, LLVM {has}"))
        mine = of_llvm(entry.name)
        for generic in (one for one in entry.generics if one not in mine):
            found.append(Difference(entry.name, "not a member", f"is offered {generic}, whose code does not run on it"))
        for generic in (one for one in mine if one not in entry.generics):
            found.append(Difference(entry.name, "not offered", f"runs code for {generic}, which it is not offered"))
    known = {entry.name for entry in entries}
    for name in AMD_PROCESSORS.values():
        if name not in known and "generic" not in name:
            found.append(Difference(name, "not listed", "is a processor of LLVM that the registry lacks"))
    return found


def table(entries: Sequence[Entry], differing: Mapping[str, int]) -> str:
    """A line for each target."""
    rows = [("target", "chain", "AMD's generics", "LLVM's generics", "differences")]
    for one in entries:
        count = str(differing.get(one.name, 0))
        rows.append((one.name, " ".join(one.chain), " ".join(one.generics), " ".join(of_llvm(one.name)), count))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> int:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", default=sys.executable)
    version, entries = read(parser.parse_args().python)
    found = differences(entries)
    counts: dict[str, int] = {}
    for one in found:
        counts[one.name] = counts.get(one.name, 0) + 1
    print(f"rocm-bootstrap {version}: {len(entries)} targets\n")
    print(table(entries, counts))
    print()
    for kind in dict.fromkeys(one.kind for one in found):
        alike = [one for one in found if one.kind == kind]
        print(f"{kind}: {len(alike)}")
        print("\n".join(f"  {one.name:<15} {one.words}" for one in alike))
    return int({(one.name, one.kind) for one in found if one.kind != "not listed"} != KNOWN)


if __name__ == "__main__":
    sys.exit(main())
