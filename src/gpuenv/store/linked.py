"""Symbolic links of an object: where each leads, and which are refused. Paths alone; nothing is looked at.

A link stays in its scheme, for schemes lie apart in an environment. It leads to something of the same object, in the
end to a file or a directory. AMD's development tree alone (`_rocm_sdk_devel…`) may lead to what other distributions
put beside it.
"""

import graphlib
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpuenv.archive.names import Refused, check_name, check_target
from gpuenv.model.follow import MOST_LINKS
from gpuenv.model.stored import SITE_PACKAGES
from gpuenv.store.entrypoints import BadName
from gpuenv.store.tree import DEVEL, TreeLink

__all__ = ["DEVEL", "leads_of"]


def leads_of(files: Iterable[str], links: Sequence[TreeLink]) -> dict[str, str]:
    """What each link leads to in the end, by its path; raises BadName for a link that is refused.

    files: by path in the object, as everything here. Refused are links that are absolute, leave their scheme, lead
    nowhere, through a file, in a circle or into a directory that they are in; that stand where something else is, or
    above it; and those in a `.dist-info`, which is read file by file.
    """
    if not links:
        return {}
    tree = _Tree(files, links)
    found = {}
    for link in links:
        tree.check(link)
        found[link.path] = tree.followed(link)
    _check_circles(tree.directories, found)
    return found


class _Tree:
    def __init__(self, files: Iterable[str], links: Sequence[TreeLink]) -> None:
        self.files = frozenset(files)
        self.targets = {link.path: link.target for link in links}
        self.directories: set[str] = set()
        for path in (*self.files, *self.targets):
            while (path := path.rpartition("/")[0]) and path not in self.directories:
                self.directories.add(path)
        if len(self.targets) != len(links):
            raise BadName("it has two links of one name")

    def check(self, link: TreeLink) -> None:
        """Is it one by itself, and does it stand where nothing else is?"""
        try:
            check_name(link.path)
            check_target(link.path, link.target)
        except (Refused, UnicodeEncodeError) as refused:
            raise BadName(str(refused)) from None
        if link.target.startswith("/"):
            raise _refused(link, "is absolute")
        if link.path in self.files or link.path in self.directories:
            raise _refused(link, "stands where there is something else")
        if link.path.split("/")[:2][-1].endswith(".dist-info"):
            raise _refused(link, "is or lies in a .dist-info")
        if (above := next((one for one in _above(link.path) if one in self.files), None)) is not None:
            raise _refused(link, f"lies below the file {_shown(above)!r}")

    def followed(self, link: TreeLink) -> str:
        """Where a link leads, as the system follows it."""
        done = link.path.split("/")[:-1]
        todo, steps, outward = deque(link.target.split("/")), 1, False
        while todo:
            part = todo.popleft()
            if "/".join(done) in self.files:
                raise _refused(link, "leads through a file")
            if part == "..":
                # of what is not here nobody knows where `..` leads: it may be a link
                if len(done) < 2 or outward:
                    raise _refused(link, "leads out of where it is installed")
                done.pop()
            elif part not in ("", "."):
                done.append(part)
                path = "/".join(done)
                target = None if outward else self.targets.get(path)
                if target is not None:
                    steps += 1
                    if steps > MOST_LINKS:
                        raise _refused(link, f"leads in a circle, or through more than {MOST_LINKS} links")
                    done.pop()
                    todo.extendleft(reversed(target.split("/")))
                elif not outward and path not in self.files and path not in self.directories:
                    if not _may_leave(link.path, path):
                        raise _refused(link, "leads nowhere")
                    outward = True
        return "/".join(done)


def _may_leave(link: str, missing: str) -> bool:
    """AMD's development tree leads to the libraries beside it, which other distributions bring."""
    top, below = link.split("/")[:2], missing.split("/")[:2]
    return top[0] == SITE_PACKAGES and top[1].startswith(DEVEL) and top != below


def _check_circles(directories: Iterable[str], leads: Mapping[str, str]) -> None:
    """Whoever walks the tree and follows links must come to an end."""
    known = frozenset(directories)
    links = {path: lead for path, lead in leads.items() if lead in known}
    if not links:
        return
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for path in (*known, *links):
        sorter.add(path)
        if above := path.rpartition("/")[0]:
            sorter.add(above, path)
    for path, lead in links.items():
        sorter.add(path, lead)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        path = min(one for one in error.args[1] if one in links)
        raise BadName(f"link {_shown(path)!r} leads to a directory that it is in: {_shown(links[path])!r}") from None


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _shown(path: str) -> str:
    """A path as the wheel has it, mostly."""
    return path.removeprefix(f"{SITE_PACKAGES}/")


def _refused(link: TreeLink, problem: str) -> BadName:
    return BadName(f"link {_shown(link.path)!r} {problem}: to {posixpath.normpath(link.target)!r}")
