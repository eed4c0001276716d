"""Resolver stories as data: a TOML file tells manifest, packages and the expected answer.

A story is read into values here, and `answers` plays it the way `lock` does: every target in turn, newest Python
first, with the versions chosen for earlier targets preferred in later ones, from a catalog that begins empty.

Keys of a file: `description`; `manifest`, the text of a pyproject.toml; `[packages.NAME."VERSION"]` with `requires`,
`extras`, `wheels` (tags, with a build tag in front if wanted), `sdist`, `requires-python`,
`default-extra` (Default-Extra), `default-extras` (its publisher's, by selector),
`metadata-requires-python` (not told by the index), `yanked` (the reason), `uploaded` ("" for unknown), and `device`,
the architectures that its one library has code for (`3*sm_75`: in three containers of its own; `compute_90@8.7`: with
the version of PTX; `gfx90a:xnack+`) with `needed`, the sonames that it needs, or `libraries`, several of them by path,
which may also have a `soname`, `runpath`, `wants` (symbol versions by library), `defines` (its own), `cpu` (the level
that it needs), `module` (the name of the Python module that it is); `carries`, sonames of libraries that have nothing
else; `damaged`, paths of files that cannot be read; `[direct."URL"]`, a wheel behind a URL; `[kept]`, the versions of
the old lock; `[providers]`, the shipped table: requirements by soname, and for one runtime under
`[providers."nvidia 13"]`, `[optional]`, its sonames that distributions do without; `[provides.INDEX]`, what an index
says. Then the answer: `[expected.TARGET]` with exactly the versions, `warnings`, `[libraries.TARGET]` and
`[host.TARGET]` with what is bound or asked of the machine, of distributions and of the project, or `[expected-error]`
with `target` and the whole `message`.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from gpuenv.index.metadata import parse_metadata
from gpuenv.manifest.decode import decode
from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.distribution import Catalog, Metadata, Page, Release, WheelFile
from gpuenv.model.facts import Damage, DeviceCode, NativeFacts, ObjectFacts, PythonModule, Units, Vendor
from gpuenv.model.manifest import Manifest
from gpuenv.model.providers import NO_PROVIDERS, ProviderTable
from gpuenv.model.requirement import Requirement, parse_requirement
from gpuenv.model.rules import AllowedMissing
from gpuenv.model.selectors import alternatives_on
from gpuenv.model.target import Target
from gpuenv.model.version import normal_name, parse_version
from gpuenv.report.conflict import no_solution
from gpuenv.solve import Task, solve
from tests.support.wheels import metadata_text

__all__ = ["Story", "World", "answers", "gather", "printed", "read_story", "task_of", "world_of"]

_UPLOADED = "2026-01-01T00:00:00Z"
# More questions than any small world can raise: the search would be asking for the same thing again.
_ROUNDS = 1000


@dataclass(frozen=True)
class World:
    """Everything that any index would say: pages by name, metadata by key, wheels by URL."""

    pages: dict[str, Page] = field(default_factory=dict)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    direct: dict[str, WheelFile] = field(default_factory=dict)
    facts: dict[str, NativeFacts] = field(default_factory=dict)

    def page(self, name: str) -> Page:
        """The page of a name; one without releases where no index knows it."""
        return self.pages.get(name) or Page(name, "", ())

    def put(self, name: str, version: str, told: Mapping[str, Any]) -> Release:
        """One version of a distribution, its metadata noted."""
        wheels = tuple(self._wheel(name, version, tags, told) for tags in told.get("wheels", ["py3-none-any"]))
        return Release(str(parse_version(version)), wheels, told.get("sdist", False))

    def put_direct(self, url: str, told: Mapping[str, Any]) -> None:
        """A wheel that only a URL leads to; like any such wheel it has no facts but those in its metadata."""
        name, version = url.rsplit("/", 1)[1].split("-")[:2]
        self.direct[url] = WheelFile(url.rsplit("/", 1)[1], url)
        self.metadata[url] = _metadata(name, version, told)
        self.facts[url] = _facts(told)

    def _wheel(self, name: str, version: str, tags: str, told: Mapping[str, Any]) -> WheelFile:
        filename = f"{name.replace('-', '_')}-{version}-{tags}.whl"
        wheel = WheelFile(
            filename,
            f"https://files.example/{filename}",
            requires_python=told.get("requires-python"),
            uploaded=told.get("uploaded", _UPLOADED) or None,
            yanked=told.get("yanked"),
        )
        self.metadata[wheel.key] = _metadata(name, version, told)
        self.facts[wheel.key] = _facts(told)
        return wheel


def _metadata(name: str, version: str, told: Mapping[str, Any]) -> Metadata:
    python = told.get("metadata-requires-python", told.get("requires-python"))
    text = metadata_text(name, version, told.get("requires", ()), told.get("extras", ()), python)
    defaults = "".join(f"Default-Extra: {extra}\n" for extra in told.get("default-extra", ()))
    metadata = parse_metadata(f"{defaults}{text}".encode())
    by = tuple((selector, tuple(extras)) for selector, extras in told.get("default-extras", {}).items())
    return msgspec.structs.replace(metadata, default_extras_by=by) if by else metadata


def _facts(told: Mapping[str, Any]) -> NativeFacts:
    libraries = dict(told.get("libraries", {}))
    if "device" in told or "needed" in told:
        libraries["lib.so"] = told
    libraries |= {f"lib/{soname}": {} for soname in told.get("carries", ())}
    objects = tuple(_library(path, one) for path, one in sorted(libraries.items()))
    damaged = tuple(Damage(path, "it ends too soon") for path in sorted(told.get("damaged", ())))
    return NativeFacts(None, 1, objects=objects, damaged=damaged)


def _code(text: str, count: int) -> DeviceCode:
    arch, *features = text.split(":")
    if arch.startswith("gfx"):
        return DeviceCode("amd", "code-object", arch, tuple(features), count=count)
    arch, _, isa = arch.partition("@")
    return DeviceCode("nvidia", "ptx" if arch.startswith("compute") else "sass", arch, count=count, isa=isa or None)


def _library(path: str, told: Mapping[str, Any]) -> ObjectFacts:
    architectures: Sequence[str] = told.get("device", ())
    counts = [int(text.rpartition("*")[0] or 0) for text in architectures]
    names = [text.rpartition("*")[2] for text in architectures]
    codes = [_code(arch, count or 1) for arch, count in zip(names, counts, strict=True)]
    together = tuple(place for place, count in enumerate(counts) if not count)
    units = [Units((place,), count) for place, count in enumerate(counts) if count]
    units += [Units(together, 1)] if together else []
    module = told.get("module")
    return ObjectFacts(
        path=path,
        size=1,
        format="elf",
        machine="x86_64",
        bits=64,
        endian="little",
        type="shared",
        soname=told.get("soname", path.rpartition("/")[2]),
        needed=tuple(told.get("needed", ())),
        runpath=tuple(told.get("runpath", ())),
        versions_needed={library: tuple(versions) for library, versions in told.get("wants", {}).items()},
        versions_defined=tuple(told.get("defines", ())),
        python=PythonModule(module, "cpython-312", f"PyInit_{module.rpartition('.')[2]}") if module else None,
        device_code=tuple(codes),
        units=tuple(units),
        cpu=told.get("cpu"),
    )


@dataclass(frozen=True)
class Story:
    """One scenario. expected: versions by name for each target. error: target and the text that a person reads.

    notes: what a person reads of pins that are older than they might be.

    libraries, host: for the targets that the file tells them of, by distribution.
    """

    name: str
    manifest: Manifest
    world: World
    kept: Mapping[str, tuple[str, ...]]
    expected: Mapping[str, Mapping[str, str]]
    warnings: Sequence[str]
    notes: Sequence[str]
    error: tuple[str, str] | None
    providers: ProviderTable
    provides: Mapping[str, ProviderTable]
    libraries: Mapping[str, Mapping[str, Mapping[str, list[str]]]]
    host: Mapping[str, Mapping[str, list[str]]]


def read_story(path: Path) -> Story:
    """Decode one scenario file."""
    data = tomllib.loads(path.read_text("utf-8"))
    assert ("expected" in data) != ("expected-error" in data), f"{path.name} needs one kind of answer"
    failure = data.pop("expected-error", None)
    story = Story(
        name=path.stem,
        manifest=decode(data.pop("manifest")),
        world=world_of(data.pop("packages", {}), data.pop("direct", {})),
        kept={name: tuple(versions) for name, versions in data.pop("kept", {}).items()},
        expected=data.pop("expected", {}),
        warnings=data.pop("warnings", []),
        notes=data.pop("notes", []),
        error=(failure["target"], failure["message"].strip("\n")) if failure else None,
        providers=replace(_table(data.pop("providers", {})), optional=_optional(data.pop("optional", {}))),
        provides={index: _table(rows) for index, rows in data.pop("provides", {}).items()},
        libraries=data.pop("libraries", {}),
        host=data.pop("host", {}),
    )
    assert data.keys() == {"description"}, f"{path.name}: unknown keys {data.keys()}"
    return story


def _table(told: Mapping[str, Any]) -> ProviderTable:
    by_runtime: dict[tuple[Vendor, int], Mapping[str, tuple[Requirement, ...]]] = {}
    for name, rows in told.items():
        if isinstance(rows, dict):
            vendor, major = name.split()
            by_runtime["nvidia" if vendor == "nvidia" else "amd", int(major)] = _rows(rows)
    return ProviderTable(_rows({s: row for s, row in told.items() if not isinstance(row, dict)}), by_runtime)


def _optional(told: Mapping[str, Sequence[str]]) -> dict[str, tuple[AllowedMissing, ...]]:
    return {name: tuple(map(AllowedMissing, sonames)) for name, sonames in told.items()}


def _rows(told: Mapping[str, Any]) -> dict[str, tuple[Requirement, ...]]:
    return {soname: tuple(map(parse_requirement, row)) for soname, row in told.items()}


def world_of(packages: Mapping[str, Mapping[str, Any]], direct: Mapping[str, Any]) -> World:
    """The world that a story's tables describe."""
    world = World()
    for name, versions in packages.items():
        releases = [world.put(name, version, told) for version, told in versions.items()]
        releases.sort(key=lambda release: parse_version(release.version), reverse=True)
        world.pages[normal_name(name)] = Page(normal_name(name), "default", tuple(releases))
    for url, told in direct.items():
        world.put_direct(url, told)
    return world


def answers(story: Story) -> Mapping[str, Solution | Conflict]:
    """What each target gets, in the order of solving; it ends at the first conflict."""
    found: dict[str, Solution | Conflict] = {}
    chosen: dict[str, tuple[str, ...]] = {}
    for target in _in_order(story.manifest.targets.values()):
        task = replace(task_of(story, target, story.kept), shared=dict(chosen))
        answer = gather(task, story.world, story.provides)
        found[target.name] = answer
        if isinstance(answer, Conflict):
            break
        for name, pin in answer.pins.items():
            chosen[name] = tuple(dict.fromkeys((*chosen.get(name, ()), pin.version)))
    return found


def _in_order(targets: Iterable[Target]) -> list[Target]:
    return sorted(targets, key=lambda target: ([-part for part in target.python_minor], target.name))


def task_of(story: Story, target: Target, kept: Mapping[str, tuple[str, ...]]) -> Task:
    """The question for one target, with nothing known yet."""
    manifest = story.manifest
    roots = {"project": manifest.dependencies + manifest.target_dependencies.get(target.name, ())}
    roots |= {f"extra:{name}": requirements for name, requirements in manifest.extras.items()}
    roots |= {f"group:{name}": requirements for name, requirements in manifest.groups.items()}
    return Task(
        project=manifest.name,
        requires_python=manifest.requires_python,
        roots=roots,
        target=target,
        catalog=Catalog({}, {}, {}),
        constraints=manifest.constraints,
        overrides=manifest.overrides,
        kept=dict(kept),
        sources={s.package: s.url for s in manifest.sources if s.url and s.target in (None, target.name)},
        exclude_newer=manifest.exclude_newer,
        rules=manifest.rules,
        providers=story.providers,
        provides=tuple(index.name for index in manifest.indexes),
        default_extras=manifest.default_extras,
        alternatives=alternatives_on(manifest.alternatives, target),
    )


def gather(task: Task, world: World, provides: Mapping[str, ProviderTable] | None = None) -> Solution | Conflict:
    """Solve from the task's catalog, adding what the solver asks for and nothing else, until it answers.

    The answer must be the one that the whole world gives at once.
    """
    pages, metadata = dict(task.catalog.pages), dict(task.catalog.metadata)
    direct, facts = dict(task.catalog.direct), dict(task.catalog.facts)
    said: dict[str, ProviderTable] = {}
    known = {index: (provides or {}).get(index, NO_PROVIDERS) for index in task.provides}
    catalog = Catalog(pages, metadata, direct, facts, said)
    for _ in range(_ROUNDS):
        answer = solve(replace(task, catalog=catalog))
        if not isinstance(answer, Missing):
            whole = Catalog({**pages, **world.pages}, world.metadata, world.direct, world.facts, known)
            assert solve(replace(task, catalog=whole)) == answer, "what else the catalog holds changed the answer"
            return answer
        before = len(pages) + len(metadata) + len(direct) + len(facts) + len(said)
        pages.update({name: world.page(name) for name in answer.pages})
        metadata.update({wheel.key: world.metadata[wheel.key] for wheel in answer.wheels})
        direct.update({url: world.direct[url] for url in answer.direct})
        facts.update({wheel.key: world.facts[wheel.key] for wheel in answer.facts})
        said.update({index: known[index] for index in answer.provides})
        assert len(pages) + len(metadata) + len(direct) + len(facts) + len(said) > before, (
            f"{answer} asks for what is known"
        )
    raise AssertionError("the solver never stopped asking")


def printed(conflict: Conflict) -> str:
    """The error as a person reads it."""
    error = no_solution(conflict)
    causes = [f"{'         ' if place else '  cause: '}{cause}" for place, cause in enumerate(error.causes)]
    return "\n".join([f"error: {error.message}", *causes, *(f"hint: {hint}" for hint in error.hints)])
