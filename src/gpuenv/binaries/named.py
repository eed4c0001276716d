"""Targets that only a name states: kernel libraries and tunings of rocBLAS, hipBLASLt, MIOpen, AOTriton and the like.

Names are as these projects install them:

    TensileLibrary_Type_HH_Contraction_l_Ailk_Bljk_Cijk_Dijk_gfx942.dat     and .co, .hsaco
    Kernels.so-000-gfx90a-xnack+.hsaco                                      features behind - or _ or :
    library/gfx1100/TensileLibrary_Type_HH_fallback.dat                     the folder says it
    gfx942.kdb, gfx90878.db.txt, gfx1030_36.HIP.fdb.txt                     MIOpen: with the number of compute units
    aotriton.images/amd-gfx942/flash/attn_fwd/kernel.aks2
"""

import re

from gpuenv.model.architecture import AMD_PROCESSORS

__all__ = ["target_of_name"]

_DATA = (".co", ".hsaco", ".dat", ".kdb", ".db", ".fdb", ".db.txt", ".fdb.txt", ".kpack", ".aks2")
_TUNINGS = (".kdb", ".db", ".fdb", ".db.txt", ".fdb.txt")

_FEATURES = r"(?:[:_-](?:xnack|sramecc)[+-])*"
_TARGET = rf"gfx(?:(?:[6-9]|[1-9][0-9])[0-9a-f][0-9a-f](?:-strict)?|[0-9]+(?:-[0-9]+)?-generic){_FEATURES}"
_IN_NAME = re.compile(rf"(?<![A-Za-z0-9]){_TARGET}(?![A-Za-z0-9+])")
_FOLDER = re.compile(rf"(?:amd-)?({_TARGET})")
_FEATURE = re.compile(r"[:_-]((?:xnack|sramecc)[+-])")
_PROCESSOR = "|".join(name for name in AMD_PROCESSORS.values() if "-" not in name)  # none begins like another
_TUNED = re.compile(rf"({_PROCESSOR})[0-9a-f]{{1,3}}[._]")


def target_of_name(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The target, and its features, sorted, that a data file's name states, or else the nearest folder that is one.

    path: inside an artifact, with `/`. None where nothing or more than one target is named, and for files whose
    suffix is not one of kernel libraries and tunings: README-gfx942.md is not for a GPU.
    """
    *folders, name = path.split("/")
    if not name.endswith(_DATA):
        return None
    if name.endswith(_TUNINGS) and (tuned := _TUNED.match(name)):
        return tuned[1], ()
    targets = {_split(text) for text in _IN_NAME.findall(name)}
    for folder in reversed(folders):
        if not targets and (match := _FOLDER.fullmatch(folder)):
            targets = {_split(match[1])}
    return targets.pop() if len(targets) == 1 else None


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    features = tuple(sorted(set(_FEATURE.findall(text))))
    return _FEATURE.sub("", text), features
