"""pyproject.toml -> Manifest. Strict: what gpuenv does not know under [tool.gpuenv] is an error, never ignored."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from gpuenv.errors import ManifestError
from gpuenv.manifest.extras import decode_alternatives, decode_default_extras
from gpuenv.manifest.indexes import decode_indexes, decode_patterns, decode_sources
from gpuenv.manifest.instants import decode_exclude_newer
from gpuenv.manifest.node import Document, Node, nearest
from gpuenv.manifest.project import Project, decode_groups, decode_project
from gpuenv.manifest.rules import RULE_KEYS, decode_rules
from gpuenv.manifest.targets import DEFAULT_TARGET, decode_python, decode_target
from gpuenv.model.manifest import Manifest
from gpuenv.model.requirement import Requirement
from gpuenv.model.target import Target
from gpuenv.model.url import redacted
from gpuenv.toml.read import SyntaxProblem, parse

if TYPE_CHECKING:
    from gpuenv.model.packing import PackSettings

__all__ = ["SETTINGS_KEYS", "decode"]

_NAMESPACE = re.compile("[a-z0-9_]+")

SETTINGS_KEYS = (
    "targets", "index", "sources", "constraints", "overrides", "exclude-newer", "default-groups", "python",
    *RULE_KEYS, "development-links", "pack", "default-extras", "alternatives", "variants",
)  # fmt: skip


def decode(text: str, path_label: str = "pyproject.toml") -> Manifest:
    """Decode a pyproject.toml; raises ManifestError, whose message starts with the key path it is about."""
    data = parse(text)
    if isinstance(data, SyntaxProblem):
        problem = f"{path_label} is not TOML: {data.message}"
        raise ManifestError(redacted(problem), causes=[redacted(data.picture(path_label))])
    root = Node(Document(text, path_label), (), data)
    if "project" not in data:
        raise ManifestError(f"{path_label} has no [project] table", hints=["gpuenv init"])
    project = decode_project(root.child("project", data["project"]))
    groups = decode_groups(_table(root, "dependency-groups"), project)
    settings = _table(_table(root, "tool"), "gpuenv")
    fields = settings.fields(*SETTINGS_KEYS)
    targets = _targets(settings, fields, project.requires_python)
    indexes = decode_indexes(fields["index"], targets) if "index" in fields else ()
    return Manifest(
        name=project.name,
        requires_python=project.requires_python,
        dependencies=project.dependencies,
        extras=project.extras,
        groups=groups,
        default_groups=_default_groups(fields, groups),
        targets=targets,
        indexes=indexes,
        sources=decode_sources(fields["sources"], indexes, targets) if "sources" in fields else (),
        constraints=_constraints(fields["constraints"]) if "constraints" in fields else (),
        overrides=fields["overrides"].requirements() if "overrides" in fields else (),
        exclude_newer=decode_exclude_newer(fields["exclude-newer"]) if "exclude-newer" in fields else None,
        builds="build-system" in data,
        configured=bool(_table(settings, "targets").entries()),
        rules=decode_rules(fields),
        target_dependencies=_target_dependencies(_table(settings, "targets"), project),
        development_links=decode_patterns(fields["development-links"]) if "development-links" in fields else (),
        pack=_pack(fields["pack"]) if "pack" in fields else None,
        default_extras=decode_default_extras(fields["default-extras"]) if "default-extras" in fields else {},
        alternatives=decode_alternatives(fields["alternatives"], targets) if "alternatives" in fields else {},
        optional_variants=_optional_variants(fields["variants"]) if "variants" in fields else (),
    )


def _pack(node: Node) -> "PackSettings":
    from gpuenv.manifest.pack import decode_pack  # publishers alone have the table

    return decode_pack(node)


def _optional_variants(node: Node) -> tuple[str, ...]:
    """The namespaces of `optional` in `[tool.gpuenv.variants]`, sorted (PEP 825, 850)."""
    fields = node.fields("optional")
    items = fields["optional"].items() if "optional" in fields else []
    for item in items:
        if not _NAMESPACE.fullmatch(item.text()):
            raise item.error(
                "is not the namespace of a wheel variant's properties", hints=['optional = ["blas_lapack"]']
            )
    return tuple(sorted({item.text() for item in items}))


def _table(parent: Node, key: str) -> Node:
    """A table that may be absent, which is the same as empty."""
    return parent.entries().get(key) or parent.child(key, {})


def _targets(settings: Node, fields: dict[str, Node], requires_python: str) -> dict[str, Target]:
    python = decode_python(fields["python"]) if "python" in fields else None
    written = _table(settings, "targets").entries() or {DEFAULT_TARGET: settings.child("targets", {})}
    return {name: decode_target(name, node, python, requires_python) for name, node in written.items()}


def _target_dependencies(targets: Node, project: Project) -> dict[str, tuple[Requirement, ...]]:
    fields = {name: target.entries().get("dependencies") for name, target in targets.entries().items()}
    return {name: project.expand(node) for name, node in fields.items() if node}


def _default_groups(fields: dict[str, Node], groups: Collection[str]) -> tuple[str, ...]:
    if "default-groups" not in fields:
        return ("dev",) if "dev" in groups else ()
    found = []
    for item in fields["default-groups"].items():
        name = item.name(item.text(), "group")
        if name not in groups:
            raise item.error(f"unknown group `{name}`", hints=nearest(name, groups))
        found.append(name)
    return tuple(dict.fromkeys(found))


def _constraints(node: Node) -> tuple[Requirement, ...]:
    for item in node.items():
        if item.requirement().extras or item.requirement().none:
            raise item.error("a constraint cannot ask for extras", hints=["put it into `dependencies`"])
    return node.requirements()
