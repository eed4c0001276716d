"""Solve every target of a project: gather, ask the solver, gather what it lacked, until it answers.

Targets are solved one after the other, newest Python first, so that the newest versions set the tone and the other
targets take them where they can: one project has one numpy wherever one can serve. Each answer is what the target
would get alone with the same preferences.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from gpuenv.index import IndexClient
from gpuenv.model.answer import Conflict, Missing, Pin, Solution
from gpuenv.model.lock import PROJECT
from gpuenv.model.manifest import Manifest
from gpuenv.model.progress import Progress
from gpuenv.model.selectors import alternatives_on
from gpuenv.model.target import Target
from gpuenv.solve import Task, solve
from gpuenv.workflow.facts import WheelFacts
from gpuenv.workflow.gather import GATHERING, Gatherer
from gpuenv.workflow.published import shipped_providers
from gpuenv.workflow.route import Routes

__all__ = ["Kept", "resolve"]

# Versions to try first: by target, then by name.
Kept = Mapping[str, Mapping[str, tuple[str, ...]]]


async def resolve(
    manifest: Manifest,
    client: IndexClient,
    routes: Routes,
    *,
    kept: Kept,
    exclude_newer: str | None,
    facts: WheelFacts,
    progress: Progress,
) -> dict[str, Solution] | Conflict:
    """One Solution a target, by name, or the Conflict of the first target that has none."""
    gatherer = Gatherer(client, routes, facts, progress)
    progress.begin(GATHERING)
    try:
        return await _resolve(manifest, client, routes, gatherer, kept, exclude_newer)
    finally:
        progress.end(GATHERING)


async def _resolve(
    manifest: Manifest,
    client: IndexClient,
    routes: Routes,
    gatherer: Gatherer,
    kept: Kept,
    exclude_newer: str | None,
) -> dict[str, Solution] | Conflict:
    tasks = [_task(manifest, target, gatherer, routes, kept, exclude_newer) for target in _in_order(manifest)]
    await gatherer.ahead(tasks)
    solutions: dict[str, Solution] = {}
    for task in tasks:
        shared = replace(task, shared=_shared(solutions))
        answer = await _answer(shared, gatherer)
        if isinstance(answer, Conflict):
            return answer
        solutions[task.target.name] = _with_sources(await _with_digests(answer, client, routes), gatherer)
    return solutions


def _in_order(manifest: Manifest) -> list[Target]:
    """Newest Python first, then by name: an order that no shuffling of the manifest changes."""
    return sorted(manifest.targets.values(), key=lambda t: (tuple(-part for part in t.python_minor), t.name))


def _task(
    manifest: Manifest, target: Target, gatherer: Gatherer, routes: Routes, kept: Kept, exclude_newer: str | None
) -> Task:
    roots = {PROJECT: manifest.dependencies + tuple(manifest.target_dependencies.get(target.name, ()))}
    roots |= {f"extra:{name}": requirements for name, requirements in sorted(manifest.extras.items())}
    roots |= {f"group:{name}": requirements for name, requirements in sorted(manifest.groups.items())}
    return Task(
        project=manifest.name,
        requires_python=manifest.requires_python,
        roots=roots,
        target=target,
        catalog=gatherer.catalog(target.name),
        constraints=manifest.constraints,
        overrides=manifest.overrides,
        kept=kept.get(target.name, {}),
        sources=routes.urls(target.name),
        exclude_newer=exclude_newer,
        rules=manifest.rules,
        providers=shipped_providers(),
        provides=tuple(i.name for i in manifest.indexes if not i.targets or target.name in i.targets),
        default_extras=manifest.default_extras,
        alternatives=alternatives_on(manifest.alternatives, target),
        optional_variants=manifest.optional_variants,
    )


def _shared(solutions: Mapping[str, Solution]) -> dict[str, tuple[str, ...]]:
    """The versions that the targets solved before have, by name."""
    shared: dict[str, tuple[str, ...]] = {}
    for solution in solutions.values():
        for name, pin in solution.pins.items():
            shared[name] = tuple(dict.fromkeys([*shared.get(name, ()), pin.version]))
    return shared


async def _answer(task: Task, gatherer: Gatherer) -> Solution | Conflict:
    while isinstance(answer := solve(task), Missing):
        await gatherer.fill(task, answer)
    return answer


def _with_sources(solution: Solution, gatherer: Gatherer) -> Solution:
    """Every pin whose facts the solution relies on with how they were learnt."""
    pins = solution.pins.values()
    told = {pin.name: replace(pin, facts=gatherer.learnt(pin.wheel)) if pin.facts else pin for pin in pins}
    return replace(solution, pins=told)


async def _with_digests(solution: Solution, client: IndexClient, routes: Routes) -> Solution:
    """Every pin with its wheel's digest and size, asked for where the index states none: no hash, no lock.

    Bundles of indexes with what they were.
    """

    async def complete(pin: Pin) -> Pin:
        wheel, index = pin.wheel, routes.by_name.get(pin.index or "")
        if wheel.sha256 is None or wheel.size is None:
            pin = replace(pin, wheel=await client.complete(wheel, index))
        if wheel.is_bundle and pin.index is not None:
            pin = replace(pin, origin=(await client.about(pin.wheel, index)).origin)
        return pin

    pins = await asyncio.gather(*(complete(pin) for pin in solution.pins.values()))
    return replace(solution, pins={pin.name: pin for pin in pins})
