"""What came of packing a tree: in words and as a document."""

from collections.abc import Iterable, Sequence

from gpuenv.model.packing import Mentioned, PackedBundle, Packing
from gpuenv.report.inspect import printable, size_text

__all__ = ["pack_document", "pack_lines", "pack_listing", "pack_warnings"]

_SHOWN = 8  # names in a list, before "and 9 more"
_WARNED = 10


def pack_lines(packing: Packing) -> str:
    """A line on each bundle, and lines on what they bring and need."""
    lines = []
    for bundle in packing.bundles:
        lines += [_line(bundle), *_row("provides", bundle.sonames)]
        lines += _row("requires", [one for one in bundle.requires if bundle is packing.bundles[0]])
        lines += _row("extras", bundle.extras)
        lines += _row("default extras", [f"{by}: {', '.join(names) or 'none'}" for by, names in bundle.default_extras])
    lines += _row("needs of the machine", [need.soname for need in packing.needs if need.requirement is None])
    lines += _row("made relative", packing.rewritten)
    return "\n".join(lines)


def pack_listing(packing: Packing) -> str:
    """What would be packed where: path in the tree, path in an environment, for every file and link."""
    lines = []
    for bundle in packing.bundles:
        lines.append(printable(bundle.filename))
        lines += [f"  {path} <- {source}" if path != source else f"  {path}" for path, source in bundle.files]
        lines += [f"  {path} -> {target}" for path, target in bundle.links]
    return "\n".join(map(printable, lines))


def pack_warnings(packing: Packing) -> tuple[str, ...]:
    """What was left out, and what still names the place of the installation."""
    left = [f"left out {printable(path)}: {reason}" for path, reason in packing.left_out]
    named = [_mention(one) for one in packing.mentioned]
    return (*_first(left, "left out"), *_first(named, "with such paths"), *packing.warnings)


def pack_document(packing: Packing) -> dict[str, object]:
    """The document of `pack --json`."""
    return {
        "tree": packing.tree,
        "prefix": packing.prefix,
        "bundles": [_bundle(one) for one in packing.bundles],
        "needs": [
            {
                "soname": need.soname,
                "by": list(need.by),
                "requirement": str(need.requirement) if need.requirement else None,
            }
            for need in packing.needs
        ],
        "left_out": [{"path": path, "reason": reason} for path, reason in packing.left_out],
        "rewritten": list(packing.rewritten),
        "absolute": [
            {"path": one.path, "text": one.text, "line": one.line or None, "count": one.count}
            for one in packing.mentioned
        ],
        "warnings": list(packing.warnings),
    }


def _bundle(bundle: PackedBundle) -> dict[str, object]:
    made = bundle.made
    return {
        "path": str(made.path) if made else None,
        "filename": bundle.filename,
        "name": bundle.name,
        "version": bundle.version,
        "tag": bundle.tag,
        "sha256": made.sha256 if made else None,
        "bytes": made.bytes if made else None,
        "was": bundle.bytes,
        "state": made.state if made else None,
        "files": [{"path": path, "from": source} for path, source in bundle.files],
        "links": [{"path": path, "target": target} for path, target in bundle.links],
        "sonames": list(bundle.sonames),
        "requires": list(bundle.requires),
        "extras": list(bundle.extras),
        "default_extras": {selector: list(names) for selector, names in bundle.default_extras},
        "variant": bundle.label or None,
    }


def _line(bundle: PackedBundle) -> str:
    made, count = bundle.made, len(bundle.files)
    held = f"{count} {'file' if count == 1 else 'files'}"
    if bundle.links:
        held += f", {len(bundle.links)} {'link' if len(bundle.links) == 1 else 'links'}"
    if made is None:
        return f"would make {bundle.filename}: {held}, {size_text(bundle.bytes)}"
    ratio = f"{made.bytes / made.was:.2f}" if made.was else "1.00"
    text = f"{made.path}: {size_text(made.bytes)}, {ratio} of {size_text(made.was)}, {held}"
    return f"{text} ({made.state})" if made.state != "made" else text


def _row(label: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"  {label}: {', '.join(map(printable, names[:_SHOWN]))}{more}"]


def _mention(one: Mentioned) -> str:
    place = f"{one.path}:{one.line}" if one.line else one.path
    if one.text.startswith(".."):
        return f"{printable(place)} may climb to the wrong folder, for it was moved"
    more = f", and {one.count - 1} more such paths" if one.count > 2 else ", and another one" if one.count == 2 else ""
    return f"{printable(place)} names {printable(one.text)}{more}"


def _first(lines: Sequence[str], what: str) -> Iterable[str]:
    more = [f"{len(lines) - _WARNED} more {what}; --json lists all"] if len(lines) > _WARNED else []
    return (*lines[:_WARNED], *more)
