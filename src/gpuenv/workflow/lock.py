"""`gpuenv lock`: manifest and old lock in, new lock out. A fresh lock is left alone, without a look at the network."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.errors import LockfileError, StaleLock
from gpuenv.workflow.project import Project, write_atomically

if TYPE_CHECKING:
    from gpuenv.model.answer import Conflict, PassedOver, Solution
    from gpuenv.model.difference import Change
    from gpuenv.model.lock import Lock
    from gpuenv.workflow.resolve import Kept

__all__ = ["LockMode", "LockResult", "check", "known_fresh", "lock", "why_stale"]


class LockMode(Enum):
    """What `lock` may do with its answer."""

    WRITE = auto()
    DRY_RUN = auto()


class LockResult(NamedTuple):
    """What locking came to. data: the bytes of the lock. changed: the file did not hold them before.

    passed_over: by target, what is older than it might be; targets without such pins are left out. saved: by target,
    the bytes that default extras spare; targets of which none are known are left out, and all where nothing changed.
    """

    data: bytes
    changed: bool
    changes: "tuple[Change, ...]" = ()
    warnings: tuple[str, ...] = ()
    passed_over: "Mapping[str, tuple[PassedOver, ...]]" = MappingProxyType({})
    saved: Mapping[str, int] = MappingProxyType({})


class _Answer(NamedTuple):
    """What the solver answered, as a lock, and what to say of it."""

    lock: "Lock"
    solutions: "Mapping[str, Solution]"
    warnings: tuple[str, ...]
    passed_over: "Mapping[str, tuple[PassedOver, ...]]"


def known_fresh(project: Project) -> bytes | None:
    """The bytes of gpuenv.lock if it is remembered that they answer pyproject.toml, else None."""
    data = project.lock_bytes()
    if data is None or not project.known_fresh(project.freshness_key(project.manifest_text(), data)):
        return None
    return data


def why_stale(project: Project) -> str | None:
    """Why gpuenv.lock does not answer pyproject.toml, or None; a yes is remembered by content."""
    if known_fresh(project) is not None:
        return None
    data = project.lock_bytes()
    if data is None:
        return "there is no gpuenv.lock"
    from gpuenv.lock import why_stale

    reason = why_stale(project.decode_lock(data), project.manifest)
    if reason is None:
        project.remember_fresh(project.freshness_key(project.manifest_text(), data))
    return reason


def check(project: Project) -> None:
    """Raise StaleLock unless gpuenv.lock answers pyproject.toml."""
    if reason := why_stale(project):
        raise StaleLock("gpuenv.lock does not answer pyproject.toml", causes=[reason], hints=["run `gpuenv lock`"])


def lock(
    project: Project,
    *,
    mode: LockMode = LockMode.WRITE,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
) -> "LockResult | Conflict":
    """Make gpuenv.lock answer pyproject.toml; where that cannot be, say why and leave the file alone."""
    before = project.lock_bytes()
    if before is not None and not (upgrade or upgrade_packages or project.refresh) and _is_fresh(project):
        return LockResult(before, changed=False)
    from gpuenv.lock import encode
    from gpuenv.model.difference import difference

    old, salvaged = _readable(project, before)
    answer = _solved(project, old, salvaged, upgrade=upgrade, upgrade_packages=upgrade_packages)
    if not isinstance(answer, _Answer):
        return answer
    data = encode(answer.lock).encode()
    if mode is LockMode.WRITE:
        if data != before:
            write_atomically(project.lock_path, data)
        project.remember_fresh(project.freshness_key(project.manifest_text(), data))
    changes = difference(old, answer.lock)
    saved = _saved(project, answer) if data != before else {}
    return LockResult(data, data != before, changes, answer.warnings, answer.passed_over, saved)


def _is_fresh(project: Project) -> bool:
    try:
        return why_stale(project) is None
    except LockfileError as error:
        if error.newer:
            raise
        return False


def _readable(project: Project, data: bytes | None) -> "tuple[Lock | None, Mapping[str, tuple[str, ...]]]":
    """The lock before; where it is damaged or has conflict markers, the versions its text names."""
    from gpuenv.lock import salvage

    if data is None:
        return None, {}
    try:
        return project.decode_lock(data), {}
    except LockfileError as error:
        if error.newer:
            raise
        return None, salvage(data.decode("utf-8", "replace"))


def _solved(
    project: Project,
    old: "Lock | None",
    salvaged: Mapping[str, tuple[str, ...]],
    *,
    upgrade: bool,
    upgrade_packages: Sequence[str],
) -> "_Answer | Conflict":
    import asyncio  # dear to import, and a fresh lock needs none of it

    from gpuenv.workflow.assemble import assembled
    from gpuenv.workflow.facts import WheelFacts
    from gpuenv.workflow.resolve import resolve
    from gpuenv.workflow.route import Routes

    manifest = project.manifest
    routes = Routes(manifest, project.default_index)
    exclude_newer = _exclude_newer(project, None if upgrade else old)
    kept: Kept = {} if upgrade else _kept(project, old, salvaged, upgrade_packages)

    async def run() -> "dict[str, Solution] | Conflict":
        async with project.client() as client:
            return await resolve(
                manifest,
                client,
                routes,
                kept=kept,
                exclude_newer=exclude_newer,
                facts=WheelFacts(project),
                progress=project.progress,
            )

    solutions = asyncio.run(run())
    if not isinstance(solutions, dict):
        return solutions
    warnings = dict.fromkeys(warning for solution in solutions.values() for warning in solution.warnings)
    warnings.update(dict.fromkeys(_idle(project, solutions)))
    passed_over = {name: solution.passed_over for name, solution in solutions.items() if solution.passed_over}
    lock = assembled(project, routes, solutions, exclude_newer)
    return _Answer(lock, solutions, tuple(warnings), passed_over)


def _idle(project: Project, solutions: "Mapping[str, Solution]") -> Iterator[str]:
    """Rules about packages that are not in the lock: their names may be misspelt."""
    pins = [pin for solution in solutions.values() for pin in solution.pins.values()]
    locked = {pin.name for pin in pins}
    manifest = project.manifest
    others = {other.name for table in manifest.alternatives.values() for other in table.values()}
    required = locked.union(others, *(pin.instead_of for pin in pins))
    for table, names, known in (
        ("packages", manifest.rules.packages, locked),
        ("default-extras", manifest.default_extras, locked),
        ("alternatives", manifest.alternatives, required),
    ):
        idle = (name for name in names if name not in known)
        yield from (f"[tool.gpuenv.{table}.{name}] is about no package of the lock" for name in idle)


def _saved(project: Project, answer: _Answer) -> Mapping[str, int]:
    """The bytes that default extras spare, by target; nobody is asked where no rule for architectures chose one."""
    pins = [pin for solution in answer.solutions.values() for pin in solution.pins.values() if pin.default_extras]
    if not pins:
        return {}
    import asyncio

    from gpuenv.workflow.route import Routes
    from gpuenv.workflow.saved import may_save, saved

    if not any(map(may_save, pins)):
        return {}
    routes, targets = Routes(project.manifest, project.default_index), project.manifest.targets

    async def run() -> Mapping[str, int]:
        async with project.client() as client:
            return await saved(client, routes, targets, answer.solutions, answer.lock.exclude_newer)

    return asyncio.run(run())


def _exclude_newer(project: Project, old: "Lock | None") -> str | None:
    """The instant that counts: a span is measured once and then kept, until --upgrade or until its text changes."""
    from datetime import UTC, datetime

    from gpuenv.manifest.instants import instant_of

    stated = project.manifest.exclude_newer
    if stated is None:
        return None
    if old is not None and old.exclude_newer and old.inputs.get("exclude-newer") == stated:
        return old.exclude_newer
    return instant_of(stated, datetime.now(UTC))


def _kept(
    project: Project,
    old: "Lock | None",
    salvaged: Mapping[str, tuple[str, ...]],
    upgrade_packages: Sequence[str],
) -> "Kept":
    from gpuenv.model.difference import versions
    from gpuenv.model.version import normal_name

    freed = {normal_name(name) for name in upgrade_packages}
    kept = {}
    for target in project.manifest.targets:
        pins = dict(salvaged)
        if old is not None:
            pins = {name: (version,) for name, version in versions(old, old.targets.get(target)).items()}
        kept[target] = {name: pinned for name, pinned in pins.items() if name not in freed}
    return kept
