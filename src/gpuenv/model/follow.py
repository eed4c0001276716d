"""Where a path leads when symbolic links are followed as the system follows them. Paths alone; nothing is looked at."""

from collections import deque
from collections.abc import Mapping

__all__ = ["MOST_LINKS", "Astray", "followed"]

MOST_LINKS = 40  # as many as Linux follows on the way to one file


class Astray(ValueError):
    """A path that leads out of its tree, or nowhere at all; says what a link does: `leads in a circle`."""


def followed(path: str, links: Mapping[str, str]) -> str:
    """The path without links in it that a path leads to. links: targets by path; all paths are from the same root.

    Raises Astray where a link is absolute, leads out of the root or never ends.
    """
    todo, done, steps = deque(path.split("/")), list[str](), 0
    while todo:
        part = todo.popleft()
        if part == "..":
            if not done:
                raise Astray("leads out of it")
            done.pop()
        elif part not in ("", "."):
            done.append(part)
            target = links.get("/".join(done))
            if target is not None:
                steps += 1
                if target.startswith("/"):
                    raise Astray("is absolute")
                if steps > MOST_LINKS:
                    raise Astray("leads in a circle")
                done.pop()
                todo.extendleft(reversed(target.split("/")))
    return "/".join(done)
