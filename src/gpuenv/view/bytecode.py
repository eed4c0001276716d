"""Bytecode of objects in a view: where a directory is linked file by file, its `__pycache__` is the view's own."""

import os
from collections.abc import Callable
from pathlib import Path

from gpuenv.view.build import merged_tree
from gpuenv.view.link import link_file
from gpuenv.view.plan import ViewPlan

__all__ = ["link_bytecode"]


def link_bytecode(view: Path, plan: ViewPlan, known: Callable[[str, str], str | None]) -> int:
    """Give the view's own directories the bytecode that objects have; return how many files that came to.

    known: for an object's key and the path of a module in it, the path of its bytecode in it, if it has some. What is
    there already stays. Never by symbolic links: bytecode of an object may be dropped at any time.
    """
    count = 0
    for directory, source, files, _ in merged_tree(plan).placements:
        if not directory.startswith(plan.site_packages):
            continue
        caches = [found for file in files if (found := known(source.stored.key, f"{source.path}/{file.name}"))]
        if not caches:
            continue
        folder = f"{view}/{directory}/__pycache__"
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - thousands of them
        there = frozenset(os.listdir(folder))  # noqa: PTH208
        for cache in caches:
            name = cache.rpartition("/")[2]
            if name not in there:
                link_file(f"{plan.place(source.stored.key)}/{cache}", f"{folder}/{name}", plan.mode(source.stored.name))
                count += 1
    return count
