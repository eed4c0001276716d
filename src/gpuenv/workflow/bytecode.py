"""`--compile-bytecode`: every module of an environment compiled at once, each object once for all projects."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpuenv.errors import StoreError
from gpuenv.host.bytecode import Compiled, Dialect, Module, compile_modules, dialect_of
from gpuenv.model.progress import Progress
from gpuenv.model.stored import StoredFile, decode_listing
from gpuenv.store.bytecode import BytecodeList, cache_of, list_path, modules_of, read_list, write_list
from gpuenv.store.commit import sync_filesystem
from gpuenv.view.bytecode import link_bytecode
from gpuenv.view.plan import ViewPlan

__all__ = ["compile_bytecode"]

_STEP = "compile"
_BATCH = 4000  # modules after which lists are written: what a kill leaves done stays done


class _Object:
    """An object whose modules are to be compiled. done: the hashes of bytecode that is there and listed, by path."""

    def __init__(self, root: Path, modules: dict[str, StoredFile], dialect: Dialect) -> None:
        self.root, self.modules, self.tag = root, modules, dialect.tag
        self.list = root / list_path(modules, dialect.tag)
        known = read_list(self.list)
        if known is None or known.magic != dialect.magic:
            known = BytecodeList(0, dialect.magic, {})
        self.done = {path: digest for path, digest in known.files.items() if os.path.exists(f"{root}/{path}")}  # noqa: PTH110
        self.refused = dict.fromkeys(known.refused)
        self.problems: dict[str, None] = {}

    @property
    def todo(self) -> list[Module]:
        """The modules whose bytecode is missing."""
        return [
            Module(str(self.root), path, file.size)
            for path, file in self.modules.items()
            if path not in self.refused and cache_of(path, self.tag) not in self.done
        ]

    def take(self, compiled: Compiled) -> None:
        """Enter what came of a module."""
        path = compiled.module.path
        if compiled.problem is not None:
            self.problems[compiled.problem] = None
        elif compiled.sha256 is None:
            self.refused[path] = None
        else:
            self.done[cache_of(path, self.tag)] = compiled.sha256


def compile_bytecode(view: Path, plan: ViewPlan, progress: Progress) -> tuple[str, ...]:
    """Compile what is missing in the objects of a view, and link it where the view has directories of its own.

    Modules that do not compile are no error. Objects of other stores have what their owner compiled. Returns warnings:
    bytecode that cannot be written costs time at an import, nothing else.
    """
    dialect = dialect_of(plan.interpreter.path)
    if dialect is None:
        return (f"no bytecode was compiled: {plan.interpreter.path} makes none",)
    found = {
        stored.key: one for stored in plan.objects if (one := _object(plan.place(stored.key), dialect)) is not None
    }
    own = [one for key, one in found.items() if key not in plan.elsewhere]
    problems: dict[str, None] = {}
    progress.begin(_STEP, sum(len(one.todo) for one in own))
    try:
        for batch in _batches(own):
            _compile(plan.store, batch, plan.interpreter.path, dialect, progress)
            problems |= {problem: None for one in batch for problem in one.problems}
        link_bytecode(view, plan, lambda key, module: _known(found.get(key), module))
    except OSError as error:
        problems[f"{error.strerror}: {error.filename}"] = None
    finally:
        progress.end(_STEP)
    return tuple(f"some bytecode was not written: {problem}" for problem in problems)


def _object(root: Path, dialect: Dialect) -> _Object | None:
    """None for an object without modules."""
    try:
        listing = decode_listing((root / "listing.msgpack").read_bytes())
    except OSError as error:
        raise StoreError("cannot read the store", causes=[f"{error.strerror}: {error.filename}"]) from error
    modules = modules_of(listing or ())
    return _Object(root, modules, dialect) if modules else None


def _known(one: _Object | None, module: str) -> str | None:
    if one is None or not module.endswith(".py"):
        return None
    cache = cache_of(module, one.tag)
    return cache if cache in one.done else None


def _batches(objects: Iterable[_Object]) -> Iterator[list[_Object]]:
    batch: list[_Object] = []
    count = 0
    for one in objects:
        if todo := one.todo:
            batch.append(one)
            count += len(todo)
        if count >= _BATCH:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _compile(store: Path, batch: list[_Object], python: str, dialect: Dialect, progress: Progress) -> None:
    by_root = {str(one.root): one for one in batch}
    modules = [module for one in batch for module in one.todo]
    for compiled in compile_modules(python, modules, at_once=len(os.sched_getaffinity(0))):
        by_root[compiled.module.root].take(compiled)
    sync_filesystem(store)  # what a list vouches for is on the disk before it
    for one in batch:
        if one.done or one.refused:
            write_list(one.list, dialect.magic, one.done, one.refused)
    progress.advance(_STEP, len(modules))
