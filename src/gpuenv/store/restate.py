"""An object's facts and listing, computed again from its own files: what they have to say, and how they are healed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gpuenv.model.stored import SITE_PACKAGES, Directory, StoredObject
from gpuenv.store.entrypoints import BadName, parse_entry_points
from gpuenv.store.layout import Recorded, is_bytecode, place_of, read_record, read_tags
from gpuenv.store.tree import TreeFile, TreeLink
from gpuenv.store.unpack import state

__all__ = ["restate"]


def restate(
    root: Path, files: Sequence[TreeFile], links: Sequence[TreeLink], key: str
) -> tuple[StoredObject, tuple[Directory, ...]] | None:
    """Facts and listing of the object `key` at `root`, that consists of these; None if that is not what makes `key`.

    Facts are a function of the tree alone: what `unpack_object` wrote beside these files was the same.
    """
    name, _, version = key.partition("-")[2].rpartition("-")
    start = f"{SITE_PACKAGES}/"
    tops = {file.path.split("/")[1] for file in files if file.path.startswith(start)}
    infos = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(infos) != 1:
        return None
    folder = root / SITE_PACKAGES / infos[0]
    by_path = {file.path: file for file in files}
    try:
        purelib, tags = read_tags((folder / "WHEEL").read_text("utf-8"))
        points = folder / "entry_points.txt"
        console, gui = parse_entry_points(points.read_text("utf-8")) if points.is_file() else ((), ())
        record = read_record((folder / "RECORD").read_bytes().decode())
        unlike = tuple(sorted(_unlike(root, by_path, record, name, version)))
        stored, directories = state(
            files,
            links,
            name=name,
            version=version,
            dist_info=infos[0],
            purelib=purelib,
            tags=tags,
            console=console,
            gui=gui,
            unlike=unlike,
        )
    except (BadName, OSError, UnicodeDecodeError):
        return None
    return (stored, directories) if stored.key == key else None


def _unlike(
    root: Path, by_path: Mapping[str, TreeFile], record: Mapping[str, Recorded | None], name: str, version: str
) -> Iterable[str]:
    """The files, by their paths in the wheel, whose bytes are not those that RECORD has the hash of."""
    for path, said in record.items():
        if said is None or path.endswith("/") or is_bytecode(path):
            continue
        place = place_of(path, name, version)
        if place not in by_path:  # a link, or an archive that was expanded
            continue
        if said.digest != _digest(root / place, by_path[place], said.algorithm):
            yield path


def _digest(path: Path, file: TreeFile, algorithm: str) -> bytes:
    if algorithm == "sha256":
        return file.sha256
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).digest()
