"""A Conflict in words: the shortest true chain from what the project asked to the fact that forbids it, then hints."""

from collections.abc import Iterable, Sequence

from gpuenv.errors import NoSolution
from gpuenv.manifest.node import redacted
from gpuenv.model.answer import Conflict, Demand, Refusal

__all__ = ["no_solution"]

_SHOWN_REFUSALS = 3


def no_solution(conflict: Conflict) -> NoSolution:
    """The error a person reads."""
    causes = [line for chain in conflict.chains for line in _chain(chain)]
    causes = [redacted(line) for line in dict.fromkeys([*causes, *_facts(conflict)])]
    return NoSolution(f"no solution for target {conflict.target}", causes=causes, hints=list(_hints(conflict)))


def _chain(chain: Sequence[Demand]) -> Iterable[str]:
    for demand in chain:
        who = f"{demand.parent} {demand.version}".strip()
        also = f" (so do {demand.tried - 1} other versions of it that were tried)" if demand.tried > 2 else ""
        also = " (so does the other version that was tried)" if demand.tried == 2 else also
        verb = "allows only" if demand.parent.startswith("tool.gpuenv") else "requires"
        yield f"{who} {verb} {demand.requires}{also}"


def _facts(conflict: Conflict) -> Iterable[str]:
    subject = conflict.subject
    if conflict.provides:
        yield f"target {conflict.target} brings {subject.removeprefix('host:').title()} {conflict.provides}"
        return
    if not conflict.known:
        yield f"no configured index knows {subject}"
        return
    yield from _refused(subject, conflict.refusals)
    if not conflict.refusals and conflict.newest:
        asked = {chain[-1].requires for chain in conflict.chains if chain}
        if len(asked) > 1:
            yield f"no version of {subject} satisfies all of these"
        else:
            yield f"no version of {subject} satisfies this (the newest is {conflict.newest})"
    elif len({chain[-1].requires for chain in conflict.chains if chain and " @ " in chain[-1].requires}) > 1:
        yield f"{subject} can come from one URL only"


def _refused(subject: str, refusals: Sequence[Refusal]) -> Iterable[str]:
    """Versions with the same reason share a line, newest first."""
    by_reason: dict[str, list[str]] = {}
    for refusal in refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal.version)
    for reason, versions in list(by_reason.items())[:_SHOWN_REFUSALS]:
        shown = versions[0] if len(versions) == 1 else f"{versions[0]} (and {len(versions) - 1} older)"
        yield f"{subject} {shown} {reason}"
    if (hidden := len(by_reason) - _SHOWN_REFUSALS) > 0:
        yield f"{hidden} more kinds of refusal are left out"


def _hints(conflict: Conflict) -> Iterable[str]:
    target = conflict.target
    if conflict.provides:
        python = ".".join(conflict.provides.split(".")[:2])
        yield f'widen `requires-python` in [project], or change python = "{python}" in [tool.gpuenv.targets.{target}]'
        return
    if not conflict.known:
        yield f"check the spelling of {conflict.subject}, or add the index that has it under [[tool.gpuenv.index]]"
        return
    reasons = " ".join(refusal.reason for refusal in conflict.refusals)
    if "requires Python" in reasons:
        yield f"raise `python` in [tool.gpuenv.targets.{target}]"
    if "has no wheel for" in reasons:
        yield f"compare glibc, platform and python in [tool.gpuenv.targets.{target}] with the wheels named above"
    if "exclude-newer" in reasons:
        yield "move exclude-newer in [tool.gpuenv] to a later date"
    if "yanked" in reasons:
        yield f"to take a yanked version all the same, pin it: {conflict.subject}=={_yanked(conflict)}"
    if len(conflict.chains) > 1 and not conflict.refusals:
        override = f'overrides = ["{conflict.subject}=={conflict.newest}"]'
        yield f"if you know better, decide yourself: {override} in [tool.gpuenv]"


def _yanked(conflict: Conflict) -> str:
    return next(refusal.version for refusal in conflict.refusals if "yanked" in refusal.reason)
