"""Chains of libraries: what a view opens first is all that the loader does not find by itself, and nothing more."""

import posixpath
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule
from gpuenv.model.ldso import Binary, Process, System
from gpuenv.model.target import Target
from gpuenv.view.preload import Installed, preload_list

SITE = "/env/lib/python3/site-packages"
MODULE = "user/core.so"


class Link(NamedTuple):
    """One binary of a chain: each needs the next. kind: of its search path: "", `rpath` or `runpath`."""

    owner: str
    kind: str
    folders: tuple[str, ...]


class Toy:
    """Files by path, without a cache and without folders of the processor's."""

    def __init__(self, files: dict[str, Binary]) -> None:
        self.files = files

    def file(self, path: str) -> Binary | None:
        """What lies at a path."""
        return self.files.get(posixpath.normpath(path))

    def holds(self, folder: str, name: str) -> bool:
        """Is it there?"""
        return self.file(folder + name) is not None

    def subfolders(self, folder: str) -> tuple[str, ...]:
        """None."""
        return ()

    def cached(self, name: str) -> str | None:
        """Nothing."""
        return None


def chain(*links: Link) -> tuple[ObjectFacts, ...]:
    """The binaries; the first is the module, the others lie in the folder of their owner."""
    found = []
    for number, link in enumerate(links):
        name = f"lib{number}.so.1" if number else None
        needed = (f"lib{number + 1}.so.1",) if number + 1 < len(links) else ()
        paths = tuple("$ORIGIN" if folder == link.owner else f"$ORIGIN/../{folder}" for folder in link.folders)
        options: dict[str, Any] = {link.kind: paths} if link.kind else {}
        python = None if number else PythonModule("core", "", "PyInit_core")
        path = f"{link.owner}/{name}" if name else MODULE
        options |= {"machine": "x86_64", "type": "shared", "needed": needed, "soname": name, "python": python}
        found.append(ObjectFacts(path, 1, "elf", **options))
    return tuple(found)


def opened_first(*links: Link) -> tuple[str, ...]:
    """What a view opens before the module."""
    objects = chain(*links)
    distributions = {}
    for owner in {link.owner for link in links}:
        bound: dict[str, tuple[str, ...]] = {}
        for number, (link, after) in enumerate(pairwise(links), 1):
            if link.owner == owner != after.owner:
                bound[after.owner] = (*bound.get(after.owner, ()), f"lib{number}.so.1")
        own = tuple(one for one, link in zip(objects, links, strict=True) if link.owner == owner)
        facts = NativeFacts(None, 1, objects=own)
        distributions[owner] = Installed(owner, facts, Target("t"), modules=(owner,), libraries=bound)
    return preload_list(distributions).get("user", ())


def imports(objects: tuple[ObjectFacts, ...], first: tuple[str, ...]) -> bool:
    """Does the emulated loader open the module after some libraries were opened?"""
    files = {f"{SITE}/{one.path}": Binary(one.path, one.soname, one.needed, one.rpath, one.runpath) for one in objects}
    process, _ = Process.start(System(Toy({"/bin/python": Binary("python"), **files})), "/bin/python")
    for path in first:
        process.open(f"{SITE}/{path}")
    return process.open(f"{SITE}/{MODULE}").map is not None


@st.composite
def chains(draw: st.DrawFn) -> tuple[Link, ...]:
    """A module, libraries of its own that their paths lead to, then such of others."""
    own = draw(st.integers(1, 3))
    owners = ["user"] * own + draw(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=4))
    links = []
    for number, owner in enumerate(owners):
        kind = draw(st.sampled_from(["rpath", "runpath"] if number + 1 < own else ["", "rpath", "runpath"]))
        more = draw(st.sets(st.sampled_from(["one", "two", "three"]), min_size=number + 1 >= own))
        folders = (*(["user"] if number + 1 < own else []), *sorted(more))
        links.append(Link(owner, kind, folders))
    return tuple(links)


@given(chains())
def test_the_list_is_what_the_loader_lacks(links: tuple[Link, ...]) -> None:
    """With what is listed the module is imported; without any one of it, it is not."""
    objects, first = chain(*links), opened_first(*links)
    assert imports(objects, first)
    for path in first:
        assert not imports(objects, tuple(one for one in first if one != path))


@pytest.mark.parametrize(("kind", "listed"), [("rpath", ()), ("runpath", ("one/lib3.so.1",))])
def test_rpath_passes_through_what_has_a_runpath(kind: str, listed: tuple[str, ...]) -> None:
    """A library's DT_RUNPATH is for its own needs; the DT_RPATH of who loads it leads those of what it loads."""
    links = (
        Link("user", kind, ("user", "one")),
        Link("user", "runpath", ("user",)),
        Link("user", "", ()),
        Link("one", "", ()),
    )
    assert opened_first(*links) == listed
    abroad = (Link("user", kind, ("one", "two")), Link("one", "runpath", ("one",)), Link("one", "", ()))
    found = opened_first(*abroad, Link("two", "", ()))
    assert found == (() if kind == "rpath" else ("two/lib3.so.1",))
