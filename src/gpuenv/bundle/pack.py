"""An installed tree as one bundle, or as several: names, metadata, and what each of them holds.

    NAME-VERSION.data/data/lib/libfoo.so.1.2     lands in the environment's lib/
    NAME-VERSION.data/data/include/foo.h         in its include/
    NAME-VERSION.dist-info/METADATA, WHEEL, RECORD

With parts: NAME for what runs, NAME-devel for what compilers need, NAME-device-gfx942 for one GPU's kernels.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import NamedTuple

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import SymbolicLink
from gpuenv.bundle.amend import NOTHING, Amendment, amended, check_extras
from gpuenv.bundle.record import new_record, record_row
from gpuenv.bundle.split import DEVEL, RUNTIME, Part
from gpuenv.bundle.tree import FoundLink
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.model.default_extras import DefaultExtras, checked
from gpuenv.model.facts import Damage, NativeFacts, Symlink, encode_facts, moved, natural
from gpuenv.model.filename import BUNDLE, with_label
from gpuenv.model.host_libraries import brought_by
from gpuenv.model.requirement import Requirement
from gpuenv.model.version import InvalidVersion, normal_name, parse_version

__all__ = ["Identity", "PackPlan", "PackedFile", "plans", "root_of", "unmet", "version_of", "write_pack"]

_DEVICES = "device-all"


class Identity(NamedTuple):
    """What the bundles of a tree are called. version: canonical (PEP 440)."""

    name: str
    version: str
    tag: str
    summary: str


class PackedFile(NamedTuple):
    """A file as a bundle has it. path: in the environment. source: in the tree. chunks: may be called again."""

    path: str
    source: str
    size: int
    executable: bool
    sha256: bytes
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class PackPlan:
    """One bundle to write. links: paths in the environment. requires: lines. extras: requirements of each.

    amendment: the variant that it is, and its default extras.
    """

    identity: Identity
    files: tuple[PackedFile, ...]
    links: tuple[FoundLink, ...]
    facts: NativeFacts
    requires: tuple[str, ...] = ()
    extras: tuple[tuple[str, tuple[str, ...]], ...] = ()
    amendment: Amendment = NOTHING

    @property
    def filename(self) -> str:
        """Its file name."""
        return with_label(f"{_stem(self.identity)}-{self.identity.tag}{BUNDLE}", self.amendment.label)

    @property
    def sonames(self) -> tuple[str, ...]:
        """What its libraries are called, sorted."""
        return tuple(sorted({one.soname for one in self.facts.objects if one.for_host and one.soname}))

    @property
    def lines(self) -> tuple[str, ...]:
        """All of Requires-Dist."""
        of_extras = (f'{line}; extra == "{extra}"' for extra, lines in self.extras for line in lines)
        return (*self.requires, *of_extras)


def version_of(text: str) -> str:
    """A version as PEP 440 writes it: Debian's `5.2.3-8` is `5.2.3.post8`. Raises UsageError for what is none."""
    try:
        return str(parse_version(text))
    except InvalidVersion:
        pass
    meant = text.replace(":", "!", 1).replace("~", "").replace("_", "-")
    try:
        hints = [f"--version {parse_version(meant)}"]
    except InvalidVersion:
        hints = ["for example --version 7.2.0"]
    raise UsageError(f"`{text}` is not a version (PEP 440)", hints=hints)


def root_of(identity: Identity) -> str:
    """The folder of a bundle whose content lands at the root of an environment, with a slash at its end."""
    return f"{_stem(identity)}.data/data/"


def unmet(facts: NativeFacts, links: Sequence[FoundLink]) -> dict[str, tuple[str, ...]]:
    """The sonames that neither the binaries bring nor any system or driver, with the binaries that need them."""
    own = {found.soname for found in facts.objects if found.for_host}
    own |= {found.path.rpartition("/")[2] for found in facts.objects if found.for_host}
    own |= {link.path.rpartition("/")[2] for link in links}
    found: dict[str, list[str]] = {}
    for binary in facts.objects:
        for soname in binary.needed if binary.for_host else ():
            name = soname.rpartition("/")[2]
            if name not in own and brought_by(name) is None:
                found.setdefault(name, []).append(binary.path)
    return {soname: tuple(sorted(set(by))) for soname, by in sorted(found.items())}


def plans(
    identity: Identity,
    parts: Sequence[Part],
    files: Mapping[str, PackedFile],
    facts: NativeFacts,
    requires: Sequence[Requirement],
    amendment: Amendment = NOTHING,
) -> tuple[PackPlan, ...]:
    """What to write. parts: of `split`, or one. files: by path in the environment. facts: below `root_of(identity)`.

    requires: what the runtime needs from elsewhere. amendment: of the runtime; where it does not speak of default
    extras, those are the kernels of an AMD GPU. Raises UsageError where there are parts and nothing that runs.
    """
    if parts[0].name != RUNTIME:
        hints = ["pack it without --split", "pack it together with the libraries that it belongs to"]
        raise UsageError("the tree has nothing but files for compilers and for GPUs", hints=hints)
    # a part is what default extras choose, so it must not ask for them
    root, pin = root_of(identity), f"{identity.name}[]=={identity.version}"
    devices = sorted((part for part in parts if part.arch), key=lambda part: natural(part.arch or ""))
    pins = {part.name: f"{identity.name}-{part.name}=={identity.version}" for part in parts if part.name}
    extras: list[tuple[str, tuple[str, ...]]] = [(part.name, (pins[part.name],)) for part in devices]
    extras += [(_DEVICES, tuple(pins[part.name] for part in devices))] if devices else []
    extras += [(part.name, (pins[part.name],)) for part in parts if part.name == DEVEL]
    if amendment.extras is None and devices:
        amendment = replace(amendment, extras=_chosen(devices))
    check_extras(amendment.extras or (), [extra for extra, _ in extras])
    found = []
    for part in parts:
        own = identity._replace(name=f"{identity.name}-{part.name}" if part.name else identity.name)
        held = tuple(files[path] for path in part.files)
        lines = tuple(dict.fromkeys(map(str, requires))) if part.name == RUNTIME else (pin,)
        facts_of_it = _facts(facts, root, root_of(own), held, part.links)
        plan = PackPlan(own, held, part.links, facts_of_it, lines)
        found.append(plan if part.name else replace(plan, extras=tuple(sorted(extras)), amendment=amendment))
    return tuple(found)


def _chosen(devices: Sequence[Part]) -> DefaultExtras | None:
    """The kernels of the machine's own GPU, where that is an AMD one: code for one of NVIDIA's serves later ones too.

    Where some kernels are for several processors, each architecture that there are kernels for has a row.
    """
    arches = [part.arch for part in devices if part.arch and part.arch.startswith("gfx")]
    rows = {arch: (f"device-{arch}",) for arch in arches if any("generic" in one for one in arches)}
    return checked({**rows, "amd": ("device-{gfx}",)}) if arches else None


def write_pack(write: Callable[[bytes], object], plan: PackPlan, *, best: bool = False) -> None:
    """Write a bundle; the same plan gives the same bytes. best: as in `write_bundle`.

    Raises ArchiveError where a file is no longer what the plan says.
    """
    root, dist_info = root_of(plan.identity), f"{_stem(plan.identity)}.dist-info"
    own = {f"{dist_info}/METADATA": _metadata(plan), f"{dist_info}/WHEEL": _wheel(plan.identity)}
    own |= amended(plan.amendment, dist_info, own.get)
    rows = [record_row(f"{root}{file.path}", file.sha256, file.size) for file in plan.files]
    rows += [record_row(path, hashlib.sha256(data).digest(), len(data)) for path, data in own.items()]
    rows += [[f"{root}{link.path}", "", ""] for link in plan.links]
    own[f"{dist_info}/RECORD"] = new_record(f"{dist_info}/RECORD", rows)
    files = [Content(f"{root}{file.path}", file.size, file.executable, partial(_checked, file)) for file in plan.files]
    files += [Content.of(path, data) for path, data in own.items()]
    links = [SymbolicLink(f"{root}{link.path}", link.target) for link in plan.links]
    write_bundle(write, dist_info, files, links, native=encode_facts(plan.facts), best=best)


def _checked(file: PackedFile) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
        yield piece
    if digest.digest() != file.sha256:
        raise ArchiveError(f"{file.source} changed while it was packed")


def _stem(identity: Identity) -> str:
    return f"{normal_name(identity.name).replace('-', '_')}-{identity.version}"


def _facts(
    facts: NativeFacts, root: str, own: str, files: Sequence[PackedFile], links: Sequence[FoundLink]
) -> NativeFacts:
    """What one bundle says, with the paths that it has: `own` instead of `root`."""
    held = {f"{root}{file.path}" for file in files}

    def new(path: str) -> str:
        return own + path.removeprefix(root)

    groups = (tuple(path for path in group if path in held) for group in facts.duplicates)
    return NativeFacts(
        None,
        sum(file.size for file in files),
        objects=tuple(moved(found, new(found.path)) for found in facts.objects if found.path in held),
        symlinks=tuple(Symlink(f"{own}{link.path}", link.target, "tar") for link in sorted(links)),
        duplicates=tuple(tuple(map(new, group)) for group in groups if len(group) > 1),
        damaged=tuple(Damage(new(one.path), one.problem) for one in facts.damaged if one.path in held),
    )


def _metadata(plan: PackPlan) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {plan.identity.name}", f"Version: {plan.identity.version}"]
    lines += [f"Summary: {plan.identity.summary}"] if plan.identity.summary else []
    lines += [f"Provides-Extra: {extra}" for extra, _ in plan.extras]
    lines += [f"Requires-Dist: {line}" for line in plan.lines]
    return "".join(f"{line}\n" for line in lines).encode()


def _wheel(identity: Identity) -> bytes:
    tags = (part.split(".") for part in identity.tag.split("-"))
    lines = ["Wheel-Version: 1.0", "Generator: gpuenv pack", "Root-Is-Purelib: false"]
    lines += [f"Tag: {'-'.join(tag)}" for tag in product(*tags)]
    return "".join(f"{line}\n" for line in lines).encode()
