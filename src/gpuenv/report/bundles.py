"""What `repack` and `index` made: in words and as documents."""

from collections.abc import Sequence

from gpuenv.model.made import Made, MadeIndex
from gpuenv.report.inspect import size_text

__all__ = ["index_document", "index_line", "repack_document", "repack_line"]


def repack_line(made: Made, links: str) -> str:
    """One line on a file. links: what its links are, `restored`, `as copies`."""
    ratio = f"{made.bytes / made.was:.2f}" if made.was else "1.00"
    text = f"{made.path}: {size_text(made.bytes)}, {ratio} of {size_text(made.was)}"
    if made.links:
        text += f", {made.links} {'link' if made.links == 1 else 'links'} {links}"
    return f"{text} ({made.state})" if made.state != "made" else text


def repack_document(made: Sequence[Made]) -> dict[str, object]:
    """The document of `repack --json`."""
    return {
        "files": [
            {
                "path": str(one.path),
                "from": str(one.source),
                "sha256": one.sha256,
                "bytes": one.bytes,
                "was": one.was,
                "links": one.links,
                "state": one.state,
            }
            for one in made
        ]
    }


def index_line(made: MadeIndex) -> str:
    """One line on an index: what it has, and what changed."""
    counts = (
        (made.projects, "project", "projects"),
        (made.files, "file", "files"),
        (made.sonames, "soname", "sonames"),
    )
    has = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
    changed = ", ".join(
        f"{len(paths)} {word}" for paths, word in ((made.written, "written"), (made.removed, "removed")) if paths
    )
    return f"{made.path}: {has}; {changed or 'nothing changed'}"


def index_document(made: MadeIndex) -> dict[str, object]:
    """The document of `index --json`."""
    return {
        "index": str(made.path),
        "projects": made.projects,
        "files": made.files,
        "sonames": made.sonames,
        "written": [str(path) for path in made.written],
        "removed": [str(path) for path in made.removed],
        "warnings": list(made.warnings),
    }
