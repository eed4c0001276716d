"""The platform tag that a tree's binaries keep: their machine, and the oldest glibc that has the symbols they need."""

import re
from collections.abc import Iterable, Iterator

from gpuenv.errors import UsageError
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.host_libraries import allowed_by
from gpuenv.model.manylinux import VERSIONS
from gpuenv.model.target import PLATFORMS, Target

__all__ = ["ANY", "check_tag", "fitting_tag", "glibc_of"]

ANY = "py3-none-any"

_MACHINES = {"i386": "i686"}
_LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
_MANYLINUX = re.compile(r"(?:manylinux_2_(\d+)|(manylinux1|manylinux2010|manylinux2014))_(\w+)")
_OTHER = re.compile(r"(?:linux|musllinux_\d+_\d+)_(\w+)")
_TRIPLE = re.compile(r"[a-z0-9_.]+-[a-z0-9_.]+-([A-Za-z0-9_.]+)")
_GLIBC = re.compile(r"GLIBC_2\.(\d+)(?:\.\d+)?")
_SHOWN = 5


def fitting_tag(facts: NativeFacts) -> str:
    """`py3-none-manylinux_2_28_x86_64`, or ANY where no binary is for a processor.

    Raises UsageError where none fits: binaries for several machines, or symbols that no such tag promises.
    """
    objects = _own(facts)
    if not objects:
        return ANY
    machines = sorted({_machine(found) for found in objects})
    if len(machines) > 1:
        named = (next(found for found in objects if _machine(found) == machine) for machine in machines)
        causes = [f"{found.path} is for {_machine(found)}" for found in named]
        raise UsageError("its binaries are for several machines, and a tag names one", causes=causes, hints=[_EXCLUDE])
    machine = machines[0]
    known = sorted(VERSIONS.get(machine, ()))
    if not known or f"linux-{machine}" not in PLATFORMS:
        raise UsageError(f"no manylinux tag is known for {machine}", hints=[f"--tag py3-none-linux_{machine}"])
    musl = next((found.path for found in objects if any(one.startswith("libc.musl-") for one in found.needed)), None)
    if musl is not None:
        hint = f"name the oldest musl that it runs on: --tag py3-none-musllinux_1_2_{machine}"
        raise UsageError(f"{musl} is for musl, whose version no binary tells", hints=[hint])
    needed = {int(found[1]) for text in _versions(objects) if (found := _GLIBC.fullmatch(text))}
    for minor in sorted({*known, *(number for number in needed if number >= known[0])}):
        if not any(_lacks(objects, machine, minor)):
            return f"py3-none-manylinux_2_{minor}_{machine}"
    lacking = sorted(set(_lacks(objects, machine, max([known[-1], *needed]))))
    raise UsageError(
        "no manylinux tag promises what its binaries need",
        causes=lacking[:_SHOWN],
        hints=[f"--tag py3-none-linux_{machine}"],
    )


def check_tag(tag: str, facts: NativeFacts) -> None:
    """Raise UsageError for a tag that is none, or that promises what the binaries do not keep, with the symbol."""
    found = _TRIPLE.fullmatch(tag)
    if found is None:
        raise UsageError(f"`{tag}` is not a tag", hints=["for example --tag py3-none-manylinux_2_28_x86_64"])
    objects = _own(facts)
    wrong = [why for platform in found[1].split(".") for why in _broken(platform, objects)]
    if wrong:
        causes = list(dict.fromkeys(wrong))
        hints = ["without --tag the one that fits is computed"]
        raise UsageError(f"`{tag}` promises more than the binaries keep", causes=causes[:_SHOWN], hints=hints)


def glibc_of(tag: str) -> tuple[str, str] | None:
    """The machine and the glibc, `("x86_64", "2.28")`, of a tag that names a manylinux; None for others."""
    for platform in tag.rpartition("-")[2].split("."):
        if match := _MANYLINUX.fullmatch(platform):
            return match[3], f"2.{match[1] or _LEGACY[match[2]]}"
    return None


_EXCLUDE = "leave some of them out: --exclude PATTERN"


def _broken(platform: str, objects: list[ObjectFacts]) -> Iterator[str]:
    if platform == "any":
        yield from (f"{found.path} is for {_machine(found)}" for found in objects)
        return
    linux = _MANYLINUX.fullmatch(platform)
    other = _OTHER.fullmatch(platform)
    if linux is None and other is None:
        yield from (f"{found.path} is a binary for Linux" for found in objects)
        return
    machine = linux[3] if linux else other[1] if other else ""
    yield from (f"{found.path} is for {_machine(found)}" for found in objects if _machine(found) != machine)
    if linux and f"linux-{machine}" in PLATFORMS:
        yield from _lacks(objects, machine, int(linux[1] or _LEGACY[linux[2]]))
    elif platform.startswith("musllinux"):
        yield from (f"{found.path} needs glibc's libc.so.6" for found in objects if "libc.so.6" in found.needed)


def _lacks(objects: list[ObjectFacts], machine: str, minor: int) -> Iterator[str]:
    """The symbol versions that glibc 2.`minor`, and what systems have that come with it, are too old for."""
    policy = allowed_by(Target("pack", platform=f"linux-{machine}", glibc=f"2.{minor}"))
    carried = {found.soname for found in objects}
    for found in objects:
        for library, versions in found.versions_needed.items():
            for version in policy.lacks(library, versions) if library not in carried else ():
                yield f"{found.path} needs {version} of {library}"


def _own(facts: NativeFacts) -> list[ObjectFacts]:
    return [found for found in facts.objects if found.for_host]


def _machine(found: ObjectFacts) -> str:
    return _MACHINES.get(found.machine or "", found.machine or "")


def _versions(objects: Iterable[ObjectFacts]) -> set[str]:
    return {one for found in objects for versions in found.versions_needed.values() for one in versions}
