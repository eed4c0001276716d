"""What sync makes sure of: the lock relies on true facts, and the machine has what binaries ask of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from gpuenv.errors import IntegrityError
from gpuenv.host.libraries import HostLibrary, find_libraries
from gpuenv.model.carries import carries, defines
from gpuenv.model.demand import HostDemand
from gpuenv.model.facts import NativeFacts, ObjectFacts, own
from gpuenv.model.filename import BUNDLE, is_native
from gpuenv.model.host_libraries import brought_by
from gpuenv.model.loader import installed_at
from gpuenv.model.lock import LockedArtifact, LockedPackage, LockedTarget
from gpuenv.model.rules import NativeRules, PackageRules, Scan
from gpuenv.model.stored import Directory, decode_listing
from gpuenv.model.target import Target
from gpuenv.store.linked import DEVEL
from gpuenv.view.preload import Installed, modules_of
from gpuenv.workflow.facts import FactsCache, OfferedFacts
from gpuenv.workflow.project import Project
from gpuenv.workflow.published import PublishedFacts, shipped_providers

__all__ = [
    "Asked",
    "Judged",
    "NativeReader",
    "asked_of_machine",
    "difference",
    "hosted",
    "installed",
    "judge",
    "lie_of",
    "rules_of",
    "warnings",
]


class NativeReader:
    """The native facts of artifacts as their own bytes state them, each read once and kept by its sha256.

    What the lock relied on (`LockedArtifact.facts`) is compared with them; IntegrityError where it differs.
    """

    def __init__(self, project: Project) -> None:
        self._kept = FactsCache(project.cache)
        # an unpacked wheel no longer says which of its folders a file is from
        self._unpacked = FactsCache(project.cache / "unpacked")
        self._offered = OfferedFacts(project.cache)
        self._stated = FactsCache(project.cache, stated=True)
        self._published = PublishedFacts()
        self._known: dict[str, NativeFacts] = {}

    def pass_by(self, artifact: LockedArtifact, wheel: Path, unpacked: Path) -> None:
        """Read a wheel whose bytes have the artifact's digest, unless it was read before.

        unpacked: where its files lie, as in an object of the store: reading them is half the work of inflating again.
        """
        if not is_native(artifact.filename):
            return
        facts = self._kept.get(artifact.sha256) or self._read(artifact, wheel, unpacked)
        if artifact.filename.endswith(BUNDLE) and (lie := lie_of(wheel, artifact.filename, facts)) is not None:
            raise IntegrityError(
                f"{artifact.filename} says what is not true of it",
                causes=[f"its native.json differs from its binaries: {lie}"],
                hints=["report this file to who published it: it has to be made anew"],
            )
        self._known[artifact.sha256] = facts
        self._compare(artifact, facts)

    def facts(self, artifact: LockedArtifact, stored: Path) -> NativeFacts | None:
        """The facts of an artifact whose object lies at `stored`; None for one without binaries."""
        if not is_native(artifact.filename):
            return None
        digest = artifact.sha256
        if digest not in self._known:
            known, unpacked = self._kept.get(digest), False
            if known is None:
                known, unpacked = self._unpacked.get(digest) or self._read_unpacked(artifact, stored), True
            self._known[digest] = known
            self._compare(artifact, known, unpacked=unpacked)
        return self._known[digest]

    def _read(self, artifact: LockedArtifact, wheel: Path, unpacked: Path) -> NativeFacts:
        from gpuenv.workflow.reading import read_packed

        facts = read_packed(artifact, wheel, unpacked)
        self._kept.put(artifact.sha256, facts)
        return facts

    def _read_unpacked(self, artifact: LockedArtifact, stored: Path) -> NativeFacts:
        from gpuenv.workflow.reading import read_stored

        facts = read_stored(artifact, stored)
        self._unpacked.put(artifact.sha256, facts)
        return facts

    def _compare(self, artifact: LockedArtifact, facts: NativeFacts, *, unpacked: bool = False) -> None:
        if artifact.facts == "published":
            stated = self._published.get(artifact.name, artifact.sha256)
            source = "the table of published facts"
            hints = ["report this file: the table comes with gpuenv"]
        elif artifact.facts == "read":
            stated = self._offered.get(artifact.sha256, artifact.url) or self._stated.get(artifact.sha256)
            source = "what its index served when it was locked"
            hints = [f"solve again with what the file holds: gpuenv lock --upgrade-package {artifact.name}"]
        else:
            return
        if stated is not None and unpacked:
            stated, facts = _as_unpacked(stated), _as_unpacked(facts)
        found = difference(stated, facts) if stated is not None else None
        if found is not None:
            raise IntegrityError(
                f"{artifact.filename} is not what the lock relies on",
                causes=[f"{source} differs from the file itself: {found}"],
                hints=hints,
            )


def lie_of(bundle: Path, filename: str, facts: NativeFacts) -> str | None:
    """What a bundle on this machine says of its binaries, and is not so, in words; None: what it says is true."""
    from gpuenv.index.about import about_file

    said = about_file(bundle, filename).facts
    return difference(said, own(facts), links=True) if said is not None else None


def _as_unpacked(facts: NativeFacts) -> NativeFacts:
    """The facts without AMD's development tree, which is an archive in the wheel and a folder in the store."""
    objects = (one for one in own(facts).objects if not installed_at(one.path).startswith(DEVEL))
    return facts.with_objects(tuple(objects))


def difference(stated: NativeFacts, found: NativeFacts, *, links: bool = False) -> str | None:
    """The first thing that binaries hold and was not stated, or the other way round, in words; None if there is none.

    Binaries are matched by where they are installed. links: compare symbolic links as well.
    """
    said, is_there = _by_place(stated), _by_place(found)
    for place in sorted(said.keys() | is_there.keys()):
        if place not in is_there:
            return f"{said[place].path} is not in the file"
        if place not in said:
            return f"{is_there[place].path} is in the file and not stated"
        if said[place] != is_there[place] and (words := _differing(said[place], is_there[place])):
            return f"{is_there[place].path} {words}"
    return _other_link(stated, found) if links else None


def _other_link(stated: NativeFacts, found: NativeFacts) -> str | None:
    said, is_there = ({(link.path, link.target) for link in facts.symlinks} for facts in (stated, found))
    if not (other := min(said ^ is_there, default=None)):
        return None
    return (
        f"the link {' -> '.join(other)} is {'in the file and not stated' if other in is_there else 'not in the file'}"
    )


def _by_place(facts: NativeFacts) -> dict[str, ObjectFacts]:
    return {installed_at(found.path): found for found in facts.objects}


def _differing(stated: ObjectFacts, found: ObjectFacts) -> str | None:
    said, has = ({code.arch for code in one.device_code} for one in (stated, found))
    if said - has:
        return f"has no code for {_first(said - has)}, which is stated"
    if has - said:
        return f"has code for {_first(has - said)}, which is not stated"
    for name in found.__struct_fields__:
        one, other = getattr(stated, name), getattr(found, name)
        # a level of x86-64 that is not stated may not have been looked for
        if one != other and name != "path" and not (name == "cpu" and one is None):
            return _words(name, one, other)
    return None


def _words(name: str, stated: object, found: object) -> str:
    if isinstance(stated, tuple) and isinstance(found, tuple) and all(isinstance(x, str) for x in (*stated, *found)):
        more, less = set(found) - set(stated), set(stated) - set(found)
        if less:
            return f"has no {name} {_first(less)}, which is stated"
        if more:
            return f"has {name} {_first(more)}, which is not stated"
    if isinstance(stated, str | int | None) and isinstance(found, str | int | None):
        return f"has {name} {found}, not {stated}"
    return f"has another {name}"


def _first(words: Iterable[str]) -> str:
    return min(words)


def rules_of(project: Project) -> NativeRules:
    """The project's rules, with what is known of single packages: libraries that their binaries do without."""
    return project.manifest.rules.with_known(shipped_providers().optional)


class Asked(NamedTuple):
    """What a package asks of the machine. version: "" for the project itself."""

    name: str
    version: str
    demand: HostDemand

    @property
    def who(self) -> str:
        """`lightgbm 4.6.0`."""
        return f"{self.name} {self.version}".rstrip()


def asked_of_machine(
    locked: LockedTarget,
    packages: Sequence[LockedPackage],
    artifacts: Mapping[str, LockedArtifact],
    facts: Mapping[str, NativeFacts],
    *,
    project: str,
    rules: NativeRules,
) -> tuple[Asked, ...]:
    """Every library that the machine has to bring, by package.

    For wheels that the lock looked into it is what the lock says; of others, what nobody in the environment carries.
    artifacts, facts: by package. project: the name of what needs `locked.host`.
    """
    found = [Asked(project, "", demand) for demand in locked.host]
    for package in packages:
        artifact = artifacts[package.name]
        known = facts.get(package.name)
        if known is None or _looked_into(artifact, locked, rules):
            demands: Iterable[HostDemand] = package.host
        else:
            demands = _demands(package, known, locked, facts.values(), rules.of(package.name))
        found += [Asked(package.name, artifact.version, demand) for demand in demands]
    return tuple(found)


def _looked_into(artifact: LockedArtifact, locked: LockedTarget, rules: NativeRules) -> bool:
    """A wheel that targets share may have been looked into for one of them alone."""
    return artifact.facts is not None and (bool(locked.target.gpu) or rules.scan is Scan.ALL)


def _demands(
    package: LockedPackage,
    known: NativeFacts,
    locked: LockedTarget,
    everybody: Iterable[NativeFacts],
    rules: PackageRules,
) -> Iterator[HostDemand]:
    from gpuenv.model.linkage import linkage

    target = locked.target
    others = [facts for facts in everybody if facts is not known]
    wanted = locked.wanted(package.name)
    asked = linkage(known, target, runtime_major=package.runtime, rules=rules, wanted=wanted)
    for need in (*asked.unmet, *asked.hosted):
        if brought_by(need.soname) is None and not any(carries(facts, need.soname, target) for facts in others):
            yield HostDemand(need.soname, need.objects[0], need.versions)


class Judged(NamedTuple):
    """A demand and what the machine has for it. lack: what the machine `has` instead, in words; None: it is met."""

    asked: Asked
    found: HostLibrary
    lack: str | None


def installed(
    locked: LockedTarget,
    packages: Iterable[LockedPackage],
    facts: Mapping[str, NativeFacts],
    objects: Mapping[str, Path],
    *,
    rules: NativeRules,
    hosted: Mapping[str, Mapping[str, str]],
    live_only: bool = False,
) -> dict[str, Installed]:
    """Distributions as a view holds them, by name. facts, objects: by name, where objects lie.

    hosted: by name, sonames of the machine that the loader does not find by itself, with their paths. live_only:
    without plugins, and without sleepers everywhere; else sleepers count where a distribution needs nobody else.
    """
    from gpuenv.model.linkage import Role, linkage

    nothing = NativeFacts(None, 0)
    found = {}
    for package in packages:
        known = facts.get(package.name, nothing)
        own = hosted.get(package.name, {})
        asleep: frozenset[str] = frozenset()
        modules: tuple[str, ...] = ()
        if known is not nothing and (live_only or package.libraries or own):
            own_rules, wanted = rules.of(package.name), locked.wanted(package.name)
            major = package.runtime
            roles = linkage(known, locked.target, runtime_major=major, rules=own_rules, wanted=wanted).roles
            modules = modules_of(_listing(objects[package.name]))
            asleep = frozenset(
                placed.path
                for placed in roles
                if placed.role is Role.ASLEEP or (live_only and placed.role is not Role.LIVE)
            )
        found[package.name] = Installed(
            package.name,
            known,
            locked.target,
            modules,
            frozenset(key.partition("[")[0] for key in chain(package.requires, *package.extras.values())),
            package.libraries,
            asleep,
            own,
        )
    return found


def _listing(stored: Path) -> tuple[Directory, ...]:
    """The folders of an object; none where that cannot be read, which whoever links it says better."""
    try:
        return decode_listing((stored / "listing.msgpack").read_bytes()) or ()
    except OSError:
        return ()


def judge(asked: Iterable[Asked], python: str, target: Target, environ: Mapping[str, str]) -> tuple[Judged, ...]:
    """Compare demands with this machine. python: the interpreter that will meet the libraries."""
    wanted = tuple(asked)
    folders = [entry for entry in target.host_libraries if "/" in entry]
    sonames = {one.demand.soname for one in wanted}
    found = find_libraries(sonames, python=Path(python), folders=folders, environ=environ)
    return tuple(Judged(one, found[one.demand.soname], _lack(one.demand, found[one.demand.soname])) for one in wanted)


def hosted(judged: Iterable[Judged]) -> dict[str, dict[str, str]]:
    """Sonames that lie in folders which the target names, with their paths, by the package that needs them."""
    found: dict[str, dict[str, str]] = {}
    for one in judged:
        if one.found.named:
            found.setdefault(one.asked.name, {})[one.found.soname] = str(one.found.path)
    return found


def _lack(demand: HostDemand, found: HostLibrary) -> str | None:
    if found.problem == "":
        return "has none"
    if found.problem:
        return f"cannot open it: {found.problem}"
    if demand.versions and found.path is not None and (missing := _missing(demand.versions, found.path)):
        return f"has it without {', '.join(missing)}: {found.path}"
    return None


def _missing(versions: Sequence[str], path: Path) -> tuple[str, ...]:
    """The symbol versions that a library does not define; none where it cannot be read, for it could be opened."""
    from gpuenv.archive.tree import open_tree
    from gpuenv.binaries.object import read_object
    from gpuenv.errors import ArchiveError, BinaryError

    try:
        with open_tree(path) as tree:
            (file,) = tree.files
            found = read_object(file)
    except (ArchiveError, BinaryError, ValueError):
        return ()
    return defines(found, versions) if found is not None else ()


def warnings(judged: Iterable[Judged]) -> tuple[str, ...]:
    """A line for the demands of each package that the machine does not meet, as far as it lacks the same."""
    lacking: dict[tuple[str, str], list[HostDemand]] = {}
    for one in judged:
        if one.lack:
            lacking.setdefault((one.asked.who, one.lack), []).append(one.asked.demand)
    lines = []
    for (who, lack), demands in lacking.items():
        sonames, first = ", ".join(demand.soname for demand in demands), demands[0].by
        others = " and others" if any(demand.by != first for demand in demands) else ""
        lines.append(f"{who} needs {sonames} of the machine, which {lack} ({first}{others})")
    return tuple(lines)
