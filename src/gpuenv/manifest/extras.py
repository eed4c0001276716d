"""`[tool.gpuenv.default-extras]` and `[tool.gpuenv.alternatives]`: what distributions are on which targets."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gpuenv.manifest.node import Node, nearest

if TYPE_CHECKING:
    from gpuenv.model.requirement import Requirement
    from gpuenv.model.selectors import Selectors
    from gpuenv.model.target import Target

__all__ = ["decode_alternatives", "decode_default_extras"]


def decode_default_extras(node: Node) -> "dict[str, Selectors]":
    """The extras, or templates for some, that bare requirements take, by distribution and selector."""
    return {
        name: {
            selector: tuple(dict.fromkeys(_template(item) for item in extras.items()))
            for selector, extras in _selectors(table)
        }
        for name, table in node.named("package name")
    }


def decode_alternatives(node: Node, targets: "Mapping[str, Target]") -> "dict[str, dict[str, Requirement]]":
    """The distributions that stand for others, by the name that is required and selector.

    No target may be led in a circle, and all GPUs of a target need the same distribution.
    """
    nodes = dict(node.named("package name"))
    found = {
        name: {selector: _other(name, item) for selector, item in _selectors(table)} for name, table in nodes.items()
    }
    for target in targets.values():
        _check(nodes, found, target)
    return found


def _selectors(node: Node) -> Iterator[tuple[str, Node]]:
    """The rows of a table whose keys are selectors, in their normal form, each once."""
    from gpuenv.model.selectors import nearest_selectors, parse_selector

    seen: dict[str, str] = {}
    for written, item in node.entries().items():
        selector = parse_selector(written)
        if selector is None:
            near = nearest_selectors(written)
            hints = [f"did you mean `{near[0]}`?"] if near else ["like `gfx942`, `sm_9x`, `amd`, `linux` or `any`"]
            raise item.error(f"unknown selector `{written}`", hints=hints)
        if selector in seen:
            raise item.error(f"is the same selector as `{seen[selector]}`")
        seen[selector] = written
        yield selector, item


def _template(item: Node) -> str:
    from gpuenv.model.selectors import PLACEHOLDERS, template_problem
    from gpuenv.model.version import normal_name

    text = item.text()
    if (problem := template_problem(text)) is not None:
        hints = nearest(problem.split("`")[1].strip("{}"), PLACEHOLDERS) if "placeholder" in problem else ()
        raise item.error(problem, hints=hints)
    return text if "{" in text else normal_name(text)


def _other(name: str, item: Node) -> "Requirement":
    requirement = item.requirement()
    if requirement.extras or requirement.none or requirement.marker or requirement.url:
        plain = f"{requirement.name}{requirement.specifier}"
        raise item.error("is more than a name and versions", hints=[f"the extras are those required: `{plain}`"])
    if requirement.name == name and requirement.specifier:
        hints = [f'write `"{name}"` to keep it; versions for all stand in `constraints`']
        raise item.error(f"states versions of {name} itself", hints=hints)
    return requirement


def _check(nodes: Mapping[str, Node], found: "Mapping[str, Mapping[str, Requirement]]", target: "Target") -> None:
    """Raise for GPUs that need different distributions, and for names that lead back to themselves."""
    from gpuenv.model.selectors import alternatives_on, first_row, machines

    for name, table in found.items():
        rows = {machine.name: first_row(table, machine) or name for machine in machines(target)}
        if len({str(row) for row in rows.values()}) > 1:
            told = ", ".join(f"{row} on {gpu}" for gpu, row in rows.items())
            hints = [f"split target {target.name}: one for each of them"]
            raise nodes[name].error(f"says {told}: GPUs of one target, {target.name}", hints=hints)
    others = alternatives_on(found, target)
    for name in others:
        chain = [name]
        while chain[-1] in others and chain.count(chain[-1]) == 1:
            chain.append(others[chain[-1]].name)
        if chain.count(chain[-1]) > 1:
            raise nodes[name].error(f"leads in a circle on target {target.name}: {' -> '.join(chain)}")
