"""Which library of an artifact others may be given for a soname, and whether it has the symbol versions they want."""

import re
from collections.abc import Collection, Iterable

from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.host_libraries import brought_by
from gpuenv.model.loader import why_unfit
from gpuenv.model.runtimes import ungrafted
from gpuenv.model.target import Target

__all__ = ["carries", "defines", "is_private", "offered", "provided"]

# Where tools that make wheels portable put copies for the wheel alone: auditwheel's NAME.libs/ and .libs/.
_PRIVATE = re.compile(r"(.*/)?[^/]*\.libs/.*")
# Libraries to link with, which hold no code: CUDA's stubs/libcuda.so has the SONAME of the driver's own.
_STUBS = re.compile(r"(.*/)?stubs/.*")
# Libraries of compilers: beside Python modules they are copies for these alone.
_COMPILERS = ("libgomp.", "libgfortran.", "libquadmath.", "libomp.", "libiomp5.")


def carries(facts: NativeFacts, soname: str, target: Target) -> ObjectFacts | None:
    """The library with that SONAME, or with that file name and no SONAME, that is there for others; else None.

    Programs, stubs, private copies and what is for other machines are not. Of several the one with the shortest path,
    then the first: further ones are for some processors only, or parts of something larger.
    """
    found = [one for one in facts.objects if _name(one) == soname and _is_for_others(one, target)]
    return min(found, key=lambda one: (one.path.count("/"), one.path), default=None)


def offered(facts: NativeFacts, target: Target) -> dict[str, ObjectFacts]:
    """All libraries that are there for others, by soname: what `carries` says of each. Extension modules are not."""
    found: dict[str, ObjectFacts] = {}
    for one in sorted(facts.objects, key=lambda one: (one.path.count("/"), one.path)):
        name = _name(one)
        if name not in found and one.python is None and _is_for_others(one, target):
            found[name] = one
    return found


def provided(facts: NativeFacts) -> frozenset[str]:
    """The sonames that an index may say an artifact is there to provide, on whatever target.

    What every machine or driver has is not among them, nor a compiler's libraries beside Python modules.
    """
    modules = any(one.python is not None for one in facts.objects)
    names = {
        _name(one)
        for one in facts.objects
        if one.for_host and one.python is None and not one.path.endswith(".debug") and _is_public(one)
    }
    return frozenset(
        name
        for name in names
        if ".so" in name and brought_by(name) is None and not (modules and name.startswith(_COMPILERS))
    )


def defines(found: ObjectFacts, versions: Iterable[str]) -> tuple[str, ...]:
    """The symbol versions of those wanted that the library does not define; one without any definition lacks none."""
    if not found.versions_defined:
        return ()
    defined: Collection[str] = frozenset(found.versions_defined)
    return tuple(version for version in versions if version not in defined)


def is_private(found: ObjectFacts) -> bool:
    """Is it a copy for its own artifact alone: in a folder of such, or with a hash in its name?"""
    return bool(_PRIVATE.fullmatch(found.path)) or ungrafted(_name(found))[2]


def _name(found: ObjectFacts) -> str:
    return found.soname or found.path.rpartition("/")[2]


def _is_for_others(found: ObjectFacts, target: Target) -> bool:
    return why_unfit(found, target) is None and _is_public(found)


def _is_public(found: ObjectFacts) -> bool:
    return found.type == "shared" and not is_private(found) and not _STUBS.fullmatch(found.path)
