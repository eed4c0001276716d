"""pyproject.toml -> pyproject.toml: requirements and targets come and go; comments, order and layout stay.

Pure: text in, text out. What was written is read back before it is returned, so that an edit that a layout does not
allow is an error and never a damaged file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpuenv.errors import ManifestError, UsageError
from gpuenv.manifest.decode import decode
from gpuenv.manifest.node import nearest
from gpuenv.model.requirement import InvalidRequirement, Requirement, parse_requirement
from gpuenv.model.target import Target, stated
from gpuenv.model.url import redacted
from gpuenv.model.version import normal_name
from gpuenv.toml.edit import Editor
from gpuenv.toml.read import SyntaxProblem, parse
from gpuenv.toml.write import inline, key

__all__ = ["add_requirements", "init_table", "remove_requirements"]

_WRITTEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def add_requirements(
    text: str, requirements: Sequence[str], *, group: str | None = None, target: str | None = None
) -> str:
    """Record requirements in `project.dependencies`, in a group (made if need be), or for one target.

    A name that is there already is replaced where it stands; extras, versions and marker that the new requirement
    does not give are kept. A sorted array stays sorted. Raises UsageError for what is no requirement.
    """
    decode(text)
    for written in requirements:
        wanted = _requirement(written)
        place = _place(text, group, target)
        text = _add_one(text, place, written.strip(), wanted)
        _check(text, place, wanted.name, present=True)
    return text


def remove_requirements(text: str, names: Sequence[str], *, group: str | None = None, target: str | None = None) -> str:
    """Remove every requirement on the names from the same places."""
    decode(text)
    for name in names:
        place = _place(text, group, target)
        found = place.positions(normal_name(name))
        if not found:
            raise _not_there(text, place, name)
        editor = Editor(text)
        for position in reversed(found):
            editor.remove(place.path, position)
        text = str(editor)
        _check(text, place, normal_name(name), present=False)
    return text


def init_table(text: str | None, *, name: str, targets: Sequence[Target]) -> str:
    """Write targets at the end, and before them a `[project]` called `name` where there is none."""
    data = _parsed(text or "")
    if "project" not in data:
        head = f'[project]\nname = {inline(name)}\nversion = "0.1.0"\ndependencies = []\n'
        text = head + ("\n" + text if text else "")
    result = text or ""
    known = decode(result)
    for target in targets:
        if known.configured and target.name in known.targets:
            raise ManifestError(f"tool.gpuenv.targets.{key(target.name)}: there is such a target already")
        result = _append(result, _target_table(target))
    try:
        written = decode(result).targets
    except ManifestError as error:
        raise _by_hand("tool.gpuenv.targets", error.message) from None
    if targets and dict(written) != {**(known.targets if known.configured else {}), **{t.name: t for t in targets}}:
        raise _by_hand("tool.gpuenv.targets")
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """An array of requirements in a document, which may not exist yet. items: None if it does not."""

    path: tuple[str, ...]
    items: Sequence[object] | None
    has_table: bool

    def __str__(self) -> str:
        return ".".join(map(key, self.path))

    def names(self) -> list[str | None]:
        """The normalised name of each item, None for an include."""
        return [parse_requirement(item).name if isinstance(item, str) else None for item in self.items or ()]

    def positions(self, name: str) -> list[int]:
        return [position for position, found in enumerate(self.names()) if found == name]


def _place(text: str, group: str | None, target: str | None) -> _Place:
    data = _parsed(text)
    if group is not None and target is not None:
        raise UsageError("--group and --target exclude each other")
    if group is not None:
        groups = data.get("dependency-groups", {})
        written = next((name for name in groups if normal_name(name) == normal_name(group)), group)
        return _Place(("dependency-groups", written), groups.get(written), "dependency-groups" in data)
    if target is not None:
        targets = data.get("tool", {}).get("gpuenv", {}).get("targets", {})
        if target not in targets:
            raise ManifestError(f"tool.gpuenv.targets: unknown target `{target}`", hints=nearest(target, targets))
        path = ("tool", "gpuenv", "targets", target, "dependencies")
        return _Place(path, targets[target].get("dependencies"), has_table=True)
    return _Place(("project", "dependencies"), data["project"].get("dependencies"), has_table=True)


def _add_one(text: str, place: _Place, written: str, wanted: Requirement) -> str:
    if not place.has_table:
        table, name = place.path
        return _append(text, f"[{table}]\n{key(name)} = [\n    {inline(written)},\n]\n")
    editor = Editor(text)
    if place.items is None:
        editor.create(place.path, [written])
        return str(editor)
    position = _same(place, wanted)
    if position is None:
        editor.insert(place.path, _position(place, wanted.name), written)
    else:
        merged = _merged(str(place.items[position]), written, wanted)
        if merged != place.items[position]:
            editor.replace(place.path, position, merged)
    return str(editor)


def _same(place: _Place, wanted: Requirement) -> int | None:
    """The item that the requirement replaces, if there is one."""
    found = place.positions(wanted.name)
    if len(found) < 2:
        return found[0] if found else None
    if wanted.marker is None:
        hints = ["give the marker of the one to change, or edit pyproject.toml"]
        raise ManifestError(f"{place}: `{wanted.name}` is there {len(found)} times", hints=hints)
    items = place.items or ()
    return next((at for at in found if parse_requirement(str(items[at])).marker == wanted.marker), None)


def _merged(old_text: str, written: str, wanted: Requirement) -> str:
    """The new requirement, completed by what only the old one says."""
    old = parse_requirement(old_text)
    merged = replace(
        wanted,
        extras=wanted.extras or old.extras,
        specifier=wanted.specifier or ("" if wanted.url else old.specifier),
        url=wanted.url or (None if wanted.specifier else old.url),
        marker=wanted.marker or old.marker,
    )
    if merged == old:
        return old_text
    if merged == wanted:
        return written
    name = _WRITTEN_NAME.match(written)
    return (name[0] if name else "") + str(merged).removeprefix(merged.name)


def _position(place: _Place, name: str) -> int:
    """Where a new name goes: in its place if the names are sorted, else behind the last of them."""
    names = [(position, found) for position, found in enumerate(place.names()) if found is not None]
    if not names:
        return len(place.items or ())
    behind = names[-1][0] + 1
    if [found for _, found in names] != sorted(found for _, found in names):
        return behind
    return next((position for position, found in names if found > name), behind)


def _append(text: str, table: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    table = table.replace("\n", newline)
    return text.rstrip() + newline * 2 + table if text.strip() else table


def _target_table(target: Target) -> str:
    system = target.platform.partition("-")[0]
    values = stated(target)
    if system != "linux" or target.musl:
        values.pop("glibc", None)
    lines = [f"{name} = {inline(value)}\n" for name, value in values.items()]
    return f"[tool.gpuenv.targets.{key(target.name)}]\n{''.join(lines)}"


def _parsed(text: str) -> dict[str, Any]:
    data = parse(text)
    if isinstance(data, SyntaxProblem):
        decode(text)  # says what is wrong with it
        return {}
    return data


def _requirement(written: str) -> Requirement:
    try:
        return parse_requirement(written.strip())
    except (InvalidRequirement, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(redacted(f"`{written}` is not a requirement (PEP 508)"), causes=[redacted(reason)]) from None


def _check(text: str, place: _Place, name: str, *, present: bool) -> None:
    """Read back what was written."""
    data: Any = parse(text)
    for part in place.path if not isinstance(data, SyntaxProblem) else ():
        data = data.get(part, {})
    try:
        decode(text)
        done = (name in _Place(place.path, data, has_table=True).names()) == present
    except ManifestError as error:
        raise _by_hand(str(place), error.message) from None
    if not done:
        raise _by_hand(str(place))


def _by_hand(place: str, *reasons: str) -> ManifestError:
    return ManifestError(f"{place}: cannot be edited here", causes=reasons, hints=["edit pyproject.toml by hand"])


def _not_there(text: str, place: _Place, name: str) -> ManifestError:
    manifest, wanted = decode(text), normal_name(name)
    others = {f"gpuenv remove {name}": manifest.dependencies}
    others |= {f"gpuenv remove {name} --group {group}": items for group, items in manifest.groups.items()}
    others |= {f"gpuenv remove {name} --target {t}": items for t, items in manifest.target_dependencies.items()}
    elsewhere = [command for command, items in others.items() if wanted in {item.name for item in items}]
    known = sorted({found for found in place.names() if found})
    return ManifestError(f"{place}: `{name}` is not there", hints=elsewhere or nearest(wanted, known))
