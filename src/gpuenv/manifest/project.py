"""`[project]` and `[dependency-groups]`: the standard tables (PEP 621, PEP 735), with includes expanded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from gpuenv.manifest.node import Node, nearest
from gpuenv.model.requirement import Requirement
from gpuenv.model.version import InvalidSpecifier, parse_specifier

__all__ = ["Project", "decode_groups", "decode_project"]

_READ_KEYS = ("name", "requires-python", "dependencies", "optional-dependencies", "dynamic")
# Keys that other tools read (PEP 621, 639, 794): never taken for a typo of one of ours.
_OTHER_KEYS = (
    "version", "description", "readme", "license", "license-files", "authors", "maintainers", "keywords",
    "classifiers", "urls", "scripts", "gui-scripts", "entry-points", "import-names", "import-namespaces",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Project:
    """What `[project]` says; requirements on the project itself are expanded."""

    name: str
    requires_python: str
    dependencies: tuple[Requirement, ...]
    extras: Mapping[str, tuple[Requirement, ...]]

    def expand(self, node: Node) -> tuple[Requirement, ...]:
        """The requirements of an array, the project's own extras (`train[gpu]`) replaced by what they hold."""
        return tuple(dict.fromkeys(found for item in node.items() for found in self.expand_one(item)))

    def expand_one(self, item: Node, *, whole: bool = False) -> list[Requirement]:
        """The same for one requirement.

        whole: a requirement on the project also brings its dependencies; elsewhere they are there anyway.
        """
        requirement = item.requirement()
        return _own(self, item, requirement, whole=whole) if requirement.name == self.name else [requirement]


def decode_project(node: Node) -> Project:
    """`[project]`; what a build backend would fill in later (`dynamic`) cannot be locked."""
    fields = node.entries()
    for key, field in fields.items():
        meant = get_close_matches(key, _READ_KEYS, n=1, cutoff=0.8)
        if meant and key not in _READ_KEYS + _OTHER_KEYS:
            raise field.error("unknown key", hints=[f"did you mean `{meant[0]}`?"])
    if "name" not in fields:
        raise node.error("needs a `name`")
    _refuse_dynamic(fields)
    dependencies = fields.get("dependencies", node.child("dependencies", []))
    extras = dict(fields.get("optional-dependencies", node.child("optional-dependencies", {})).named("extra"))
    raw = Project(
        name=fields["name"].name(fields["name"].text(), "project name"),
        requires_python=_requires_python(fields["requires-python"]) if "requires-python" in fields else "",
        dependencies=dependencies.requirements(),
        extras={name: extra.requirements() for name, extra in extras.items()},
    )
    return replace(
        raw,
        dependencies=raw.expand(dependencies),
        extras={name: raw.expand(extra) for name, extra in extras.items()},
    )


def _refuse_dynamic(fields: Mapping[str, Node]) -> None:
    for item in fields["dynamic"].items() if "dynamic" in fields else []:
        if item.text() in ("dependencies", "optional-dependencies", "requires-python"):
            hints = [f"write `{item.text()}` into [project]"]
            raise item.error(f"`{item.text()}` cannot be dynamic: gpuenv locks what pyproject.toml says", hints=hints)


def _requires_python(node: Node) -> str:
    text = node.text()
    node.decoded(parse_specifier, InvalidSpecifier, "a version specifier (PEP 440)")
    return text


def _own(project: Project, node: Node, requirement: Requirement, *, whole: bool) -> list[Requirement]:
    """What a requirement on the project itself stands for, through its extras, each of which counts once."""
    found = [_when(inner, requirement.marker) for inner in project.dependencies if inner.name != project.name and whole]
    # A step knows the extras it came through: one that includes itself again could only add narrower conditions.
    todo: list[tuple[str, str | None, tuple[str, ...]]] = [
        (extra, requirement.marker, ()) for extra in requirement.extras
    ]
    seen = set()
    while todo:
        extra, marker, through = todo.pop(0)
        if extra in through or (extra, marker) in seen:
            continue
        seen.add((extra, marker))
        if extra not in project.extras:
            raise node.error(f"`{project.name}` has no extra `{extra}`", hints=nearest(extra, project.extras))
        for inner in project.extras[extra]:
            narrowed = _when(inner, marker)
            if inner.name == project.name:
                todo += [(name, narrowed.marker, (*through, extra)) for name in inner.extras]
            else:
                found.append(narrowed)
    return found


def _when(requirement: Requirement, marker: str | None) -> Requirement:
    """The requirement under one more condition."""
    if marker is None or marker == requirement.marker:
        return requirement
    return replace(requirement, marker=f"({requirement.marker}) and ({marker})" if requirement.marker else marker)


def decode_groups(node: Node, project: Project) -> dict[str, tuple[Requirement, ...]]:
    """`[dependency-groups]` (PEP 735), includes expanded in place."""
    groups = dict(node.named("group"))
    return {name: tuple(dict.fromkeys(_group(name, groups, project, ()))) for name in groups}


def _group(name: str, groups: Mapping[str, Node], project: Project, path: tuple[str, ...]) -> list[Requirement]:
    found: list[Requirement] = []
    for item in groups[name].items():
        if not isinstance(item.value, dict):
            found += project.expand_one(item, whole=True)
            continue
        fields = item.fields("include-group")
        if "include-group" not in fields:
            raise item.error("must be a requirement or `{ include-group = … }`")
        include = fields["include-group"]
        wanted = include.name(include.text(), "group")
        if wanted not in groups:
            raise include.error(f"unknown group `{wanted}`", hints=nearest(wanted, groups))
        if wanted in (*path, name):
            chain = " -> ".join([*path, name, wanted])
            raise include.error(f"groups include each other: {chain}")
        found += _group(wanted, groups, project, (*path, name))
    return found
