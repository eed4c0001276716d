"""What a store holds, what is wrong with it and what was repaired: in words and as documents."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from gpuenv.model.holdings import Damage, Held, Inventory, Repair, Verified
from gpuenv.report.inspect import size_text

__all__ = [
    "inventory_document",
    "objects_page",
    "projects_page",
    "repair_document",
    "repair_page",
    "verify_document",
    "verify_page",
]


def objects_page(found: Inventory) -> str:
    """One line an object, the largest first, and the total."""
    rows = [
        (size_text(one.size), f"{one.name} {one.version}", _need(one))
        for one in sorted(found.objects, key=lambda one: (-one.size, one.key))
    ]
    return "\n".join([*_aligned(rows, 1), _total(found), *_bases(found)])


def projects_page(found: Inventory) -> str:
    """One line a project: what goes with it, and what others need, too; then the total."""
    head = ("own", "shared", "objects", "generations", "project")
    rows = [
        (size_text(one.own), size_text(one.shared), str(one.objects), str(one.generations), one.project)
        for one in sorted(found.projects, key=lambda one: (-one.own, one.project))
    ]
    return "\n".join([*_aligned([head, *rows] if rows else [], 4), _total(found), *_bases(found)])


def inventory_document(found: Inventory, path: PurePath) -> dict[str, object]:
    """The document of `store list --json`, with or without `--by-project`."""
    return {
        "path": str(path),
        "objects": [
            {
                "object": one.key,
                "name": one.name,
                "version": one.version,
                "size": one.size,
                "projects": list(one.projects),
                "views": one.views,
                "damaged": one.damaged,
            }
            for one in found.objects
        ],
        "projects": [one._asdict() for one in found.projects],
        "size": sum(one.size for one in found.objects),
        "unused": {"objects": len(found.unused), "size": sum(one.size for one in found.unused)},
        "views": found.views,
        "generations": sum(one.generations for one in found.projects),
        "bases": [one._asdict() for one in found.bases],
    }


def verify_page(found: Verified) -> str:
    """What is damaged, object by object, and how much was looked at."""
    dropped, left = _bytecode(found)
    lines = [*_damages(found.damaged), _looked_at(found)]
    if found.writable and any(one.kind != "bytecode" for one in found.damaged):
        lines.append("`gpuenv store repair` heals what can be healed")
    if dropped:
        lines.append(f"dropped {_count(dropped, 'file')} of bytecode: Python makes it again")
    if not found.writable and any(not one.whole for one in found.objects):
        lines.append("the damage could not be marked for `gpuenv sync`: the store cannot be written")
    if left:
        lines.append(f"left {_count(left, 'file')} of bytecode that nothing vouches for: the store cannot be written")
    return "\n".join(lines)


def verify_document(found: Verified) -> dict[str, object]:
    """The document of `store verify --json`."""
    dropped, left = _bytecode(found)
    return {
        "objects": len(found.objects),
        "files": sum(one.files for one in found.objects),
        "bytes": sum(one.bytes for one in found.objects),
        "views": found.views,
        "damaged": [
            {"object": one.object, "path": one.path, "problem": one.problem, "kind": one.kind} for one in found.damaged
        ],
        "bytecode": {"dropped": dropped, "left": left},
    }


def repair_page(done: Repair) -> str:
    """What became of each object and link that was damaged."""
    if not done.outcomes:
        return "\n".join([*_damages(done.found.damaged), f"nothing to repair: {_looked_at(done.found)}"])
    lines = []
    for one in done.outcomes:
        how = "fetched again" if one.fetched else "derived again" if one.derived else "repaired in place"
        lines.append(f"{one.what}: {how if one.problem is None else f'NOT REPAIRED: {one.problem}'}")
    return "\n".join(lines)


def repair_document(done: Repair) -> dict[str, object]:
    """The document of `store repair --json`: what `verify` says, and what became of it."""
    return {
        **verify_document(done.found),
        "repaired": [{"what": one.what, "fetched": one.fetched} for one in done.outcomes if one.problem is None],
        "failed": [{"what": one.what, "problem": one.problem} for one in done.failed],
    }


def _need(one: Held) -> str:
    if one.damaged:
        return "DAMAGED"
    if not one.projects:
        return "unused"
    return one.projects[0] if len(one.projects) == 1 else f"{len(one.projects)} projects"


def _total(found: Inventory) -> str:
    size, unused = sum(one.size for one in found.objects), sum(one.size for one in found.unused)
    generations = sum(one.generations for one in found.projects)
    text = (
        f"{_count(len(found.objects), 'object')} with {size_text(size)}, {_count(found.views, 'view')}, "
        f"{_count(generations, 'generation')} of {_count(len(found.projects), 'project')}"
    )
    if found.unused:
        text += f"; {_count(len(found.unused), 'object')} with {size_text(unused)} unused"
    return text


def _bases(found: Inventory) -> Iterable[str]:
    for base in found.bases:
        yield f"views take {_count(base.objects, 'object')} with {size_text(base.size)} from the base store {base.path}"
        if base.gone:
            names = ", ".join(key.partition("-")[2] for key in base.gone)
            yield f"  which lost {names}: `gpuenv sync` in the projects fetches what they need"


def _aligned(rows: Sequence[tuple[str, ...]], numbers: int) -> list[str]:
    """Columns: the first `numbers` to the right, words to the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at < numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _damages(damaged: Iterable[Damage]) -> list[str]:
    lines, last = [], ""
    for one in damaged:
        if one.object is not None and one.object != last:
            lines.append(f"{one.object} is damaged")
            last = one.object
        start = "  " if one.object is not None else ""
        lines.append(f"{start}{one.path + ' ' if one.path else ''}{one.problem}")
    return lines


def _looked_at(found: Verified) -> str:
    files, size = (sum(getattr(one, what) for one in found.objects) for what in ("files", "bytes"))
    bad = sum(bool(one.damaged) for one in found.objects)
    text = f"{_count(len(found.objects), 'object')} with {size_text(size)} in {_count(files, 'entry', 'entries')}"
    text += f", {_count(found.views, 'view')}" if found.views else ""
    return f"{text}: {f'{bad} damaged' if bad else 'all whole' if not found.damaged else 'links damaged'}"


def _bytecode(found: Verified) -> tuple[int, int]:
    return sum(one.dropped for one in found.objects), sum(one.left for one in found.objects)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
