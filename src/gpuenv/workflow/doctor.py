"""`gpuenv doctor`: is this machine one for the target, is the environment whole, and does every binary open?"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from gpuenv.errors import GpuenvError, IntegrityError, InterpreterMissing
from gpuenv.host.interpreters import choose, find_interpreters
from gpuenv.host.loading import open_libraries
from gpuenv.host.machine import detect
from gpuenv.model.diagnosis import Check, Diagnosis, Unopened
from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.host_libraries import brought_by
from gpuenv.model.loader import installed_at
from gpuenv.model.lock import Lock, LockedArtifact, LockedPackage, LockedTarget
from gpuenv.model.machine import Machine, compare
from gpuenv.model.rules import NativeRules
from gpuenv.model.stored import StoredObject, decode_listing
from gpuenv.store.below import lost
from gpuenv.store.derive import recipes
from gpuenv.store.links import dead_links
from gpuenv.store.store import Store
from gpuenv.view.loading import preloaded
from gpuenv.view.preload import Installed, Openings
from gpuenv.view.state import changed
from gpuenv.view.switch import current, current_view
from gpuenv.workflow import binding, verify
from gpuenv.workflow.lock import why_stale
from gpuenv.workflow.locked import read_lock, targets_of
from gpuenv.workflow.project import Project
from gpuenv.workflow.select import as_stored, fits_first
from gpuenv.workflow.sync import Asked, roots_of

__all__ = ["doctor"]

_PATIENCE = 60.0  # seconds for the binaries of one package
_AT_ONCE = 4
_SHOWN = 3
# What ld.so says where libraries are there, and something else is not: symbols that another library brings, or room for
# one that has to be there from the start of a program (LD_PRELOAD).
_OF_SYMBOLS = ("undefined symbol: ", "in static TLS block")
_GLIBC = re.compile(r"manylinux_2_(\d+)_")


def doctor(project: Project, target: str | None = None) -> Diagnosis:
    """Look at everything. target: by default the environment's, else the first that this machine fits.

    Raises StaleLock where there is no lock, UsageError for a target that it does not have.
    """
    lock, machine = read_lock(project), detect(project.environ)
    patient = _patient(project, lock, machine, target)
    checks = [*_machine(patient), *_host(patient)]
    if patient.marker is None:
        return Diagnosis(patient.name, tuple(checks), environment=False)
    checks += [*_store(patient), *_view(patient), *_binding(patient)]
    opened, problems = _opened(patient)
    unjudged = tuple(one for one in problems if any(words in one.problem for words in _OF_SYMBOLS))
    unopened = tuple(one for one in problems if one not in unjudged)
    return Diagnosis(patient.name, tuple(checks), True, opened, unopened, unjudged)


@dataclass
class _Patient:
    """What is looked at. marker: of the environment, None where there is none for the target.

    artifacts, objects, facts: by package; objects as far as the store has them, facts of those with binaries.
    problem: why facts cannot be had.
    """

    project: Project
    lock: Lock
    locked: LockedTarget
    machine: Machine
    marker: Mapping[str, object] | None
    packages: tuple[LockedPackage, ...]
    artifacts: dict[str, LockedArtifact]
    rules: NativeRules
    store: Store
    objects: dict[str, StoredObject]
    facts: dict[str, NativeFacts]
    problem: IntegrityError | None

    @property
    def name(self) -> str:
        """The target's."""
        return self.locked.target.name

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.project.venv / "bin" / "python"

    def title(self, name: str) -> str:
        """`numpy 2.5.5`."""
        return f"{name} {self.artifacts[name].version}"


def _patient(project: Project, lock: Lock, machine: Machine, target: str | None) -> _Patient:
    marker = current(project.venv) if current_view(project.venv) is not None else None
    there = str(marker.get("target")) if marker else None
    name = target or (there if there in lock.targets else None) or fits_first(project, lock, machine)
    locked = targets_of(lock, name)[name]
    mine = marker if there == name else None
    roots = mine.get("selection") if mine else None
    roots = roots if isinstance(roots, list) else roots_of(project.manifest, Asked())
    packages = locked.reachable(map(str, roots))
    store = Store(project.store, project.bases)
    artifacts = as_stored({package.name: lock.artifacts[package.artifact] for package in packages}, store)
    objects = {name: found for name, one in artifacts.items() if (found := store.find(one.sha256)) is not None}
    reader, facts, problem, rules = verify.NativeReader(project), {}, None, verify.rules_of(project)
    for package, stored in objects.items():
        try:
            known = reader.facts(artifacts[package], store.path(stored))
        except IntegrityError as error:
            problem = error
            continue
        if known is not None:
            facts[package] = known
    return _Patient(project, lock, locked, machine, mine, packages, artifacts, rules, store, objects, facts, problem)


# the machine


def _machine(patient: _Patient) -> Iterator[Check]:
    target = patient.locked.target
    for wanted in compare(patient.machine, target):
        by = _who(patient, wanted.what) or f"target {target.name}"
        yield Check("machine", wanted.what, by, wanted.lack is None, wanted.lack or wanted.has)
    if target.rocm:
        has = f"ROCm {patient.machine.rocm}" if patient.machine.rocm else "none"
        who = "wheels or `host-libraries` bring" if target.host_libraries else "wheels bring"
        detail = f"{who} it; installed for the whole machine: {has}"
        yield Check("machine", f"ROCm {target.rocm}", f"target {target.name}", True, detail)
    found = find_interpreters(patient.project.environ, patient.project.cache)
    try:
        path, missing = choose(target.python, found).path, None
    except InterpreterMissing as error:
        path, missing = "", error.message
    yield Check("machine", f"Python {target.python}", f"target {target.name}", missing is None, missing or path)


def _who(patient: _Patient, what: str) -> str:
    """The packages that a demand of the target comes from: those with the newest glibc, those that use CUDA."""
    names: list[str] = []
    if what.startswith("glibc"):
        newest = {name: _glibc_of(one.filename) for name, one in patient.artifacts.items()}
        names = [name for name, glibc in newest.items() if glibc and glibc == max(newest.values())]
    elif what.startswith(("GPU", "CUDA", "NVIDIA")):
        names = [package.name for package in patient.packages if package.runtime is not None]
    shown = ", ".join(patient.title(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _glibc_of(filename: str) -> int:
    """The oldest glibc 2.x that a wheel's tags promise to serve; 0 where they promise nothing."""
    return min(map(int, _GLIBC.findall(filename)), default=0)


def _host(patient: _Patient) -> Iterator[Check]:
    """Libraries that the machine has to bring."""
    for one in _judged(patient):
        detail = f"this machine {one.lack}" if one.lack else str(one.found.path or "found")
        by = f"{one.asked.who} ({one.asked.demand.by})"
        yield Check("host", one.asked.demand.soname, by, one.lack is None, detail)


def _judged(patient: _Patient) -> tuple[verify.Judged, ...]:
    if patient.machine.platform != patient.locked.target.platform:
        return ()
    asked = verify.asked_of_machine(
        patient.locked,
        patient.packages,
        patient.artifacts,
        patient.facts,
        project=patient.project.manifest.name,
        rules=patient.rules,
    )
    python = str(patient.python) if patient.python.exists() else _any_python(patient)
    return verify.judge(asked, python, patient.locked.target, patient.project.environ) if asked and python else ()


def _any_python(patient: _Patient) -> str | None:
    found = find_interpreters(patient.project.environ, patient.project.cache)
    try:
        return choose(patient.locked.target.python, found).path
    except InterpreterMissing:
        return found[0].path if found else None


# the store and the view


def _store(patient: _Patient) -> Iterator[Check]:
    if patient.problem is not None:
        yield Check("store", patient.problem.message, "gpuenv.lock", False, "; ".join(patient.problem.causes))
    gone = {_name_of(key): base for base, keys in lost(patient.marker or {}).items() for key in keys}
    whole = below = 0
    for name in patient.artifacts:
        stored = patient.objects.get(name)
        if name in gone:
            problem: str | None = f"the base store {gone[name]} lost it: run `gpuenv sync`"
        elif stored is None:
            problem = "the store has no object of it"
        else:
            problem = _damage(patient.store.path(stored))
            below += problem is None and patient.store.base(stored) is not None
        whole += problem is None
        if problem:
            yield Check("store", patient.title(name), "the environment", False, problem)
    held = str((patient.marker or {}).get("objects"))
    for key in sorted(key for key in recipes(patient.project.store) if key in held):
        problem = _damage(patient.store.objects / key)
        whole += problem is None
        if problem:
            yield Check("store", f"{_name_of(key)}, derived", "the environment", False, problem)
    if whole:
        what = f"{whole} object{'s' if whole > 1 else ''}"
        where = f"; {below} of them in base stores" if below else ""
        yield Check("store", what, "the environment", True, f"every file is there, with its size{where}")
    for base in patient.store.bases:
        if base.problem:
            yield Check("store", f"base store {base.root}", "GPUENV_BASE_STORES", True, f"{base.problem}: passed over")


def _name_of(key: str) -> str:
    """The distribution of an object's key, `<hash>-<name>-<version>`."""
    return key.partition("-")[2].rpartition("-")[0]


def _damage(folder: Path) -> str | None:
    """The first file of an object that is not there as it was unpacked."""
    try:
        listing = decode_listing((folder / "listing.msgpack").read_bytes())
    except OSError:
        listing = None
    if listing is None:
        return f"objects/{folder.name}/listing.msgpack cannot be read"
    for directory in listing:
        for file in directory.files:
            path = f"{directory.path}/{file.name}" if directory.path else file.name
            try:
                size = os.stat(f"{folder}/{path}", follow_symlinks=False).st_size  # noqa: PTH116 - thousands of them
            except OSError:
                return f"objects/{folder.name}/{path} is gone"
            if size != file.size:
                return f"objects/{folder.name}/{path} has {size} bytes instead of {file.size}"
        for path, target in ((f"{directory.path}/{link.name}", link.target) for link in directory.links):
            if not os.path.islink(f"{folder}/{path}") or os.readlink(f"{folder}/{path}") != target:  # noqa: PTH114, PTH115
                return f"objects/{folder.name}/{path} is not the link to {target} any more"
    return None


def _view(patient: _Patient) -> Iterator[Check]:
    project, marker = patient.project, patient.marker or {}
    try:
        stale = why_stale(project)
    except GpuenvError as error:
        stale = error.message
    yield Check("view", "gpuenv.lock", "pyproject.toml", stale is None, stale or "answers pyproject.toml")
    wanted = {name: [one.version, one.sha256] for name, one in patient.artifacts.items()}
    has = marker.get("packages")
    differing = sorted(set(map(str, _differing(wanted, has if isinstance(has, dict) else {}))))
    detail = "holds what the lock says"
    if differing:
        detail = f"differs in {', '.join(differing[:_SHOWN])}: run `gpuenv sync`"
    yield Check("view", ".venv", "gpuenv.lock", not differing, detail)
    broken = _broken_link(project.venv)
    detail = f"{broken} leads nowhere: run `gpuenv sync`" if broken else "every link leads somewhere"
    yield Check("view", "links of .venv", "the environment", broken is None, detail)
    view = current_view(project.venv)
    if view is not None and (where := changed(view, marker)) is not None:
        detail = f"{where} was changed by something else than gpuenv: run `gpuenv sync`"
        yield Check("view", ".venv", "the environment", False, detail)


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[str]:
    return (name for name in {*one, *other} if one.get(name) != other.get(name))


def _broken_link(venv: Path) -> str | None:
    root = Path(os.path.realpath(venv))
    return next((f".venv/{link.path}" for link in dead_links(root)), None) if root.is_dir() else None


# the binaries


def _binding(patient: _Patient) -> Iterator[Check]:
    """What the loader takes for the libraries that packages have of each other, told by the files as they are now."""
    site = _site(patient)
    if site is None:
        return
    places = {name: patient.store.path(stored) for name, stored in patient.objects.items()}
    hosted = verify.hosted(_judged(patient))
    own = verify.installed(
        patient.locked, patient.packages, patient.facts, places, rules=patient.rules, hosted=hosted, live_only=True
    )
    folder = os.path.realpath(site)
    python, cpu = os.path.realpath(patient.python), patient.machine.cpu
    found = binding.check(own, folder, preload=preloaded(folder), python=python, cpu=cpu, anew=True)
    if found.needs and not any(one.locked for one in found.findings):
        more = "s" if found.packages > 1 else ""
        what = f"{found.needs} need{'s' if found.needs > 1 else ''} of {found.packages} package{more}"
        yield Check("binding", what, "gpuenv.lock", True, "the loader finds what the lock says")
    for one in found.findings:
        by = f"{patient.title(one.package)} ({one.path})"
        yield Check("binding", one.soname, by, not one.locked, one.detail)


def _site(patient: _Patient) -> Path | None:
    """The environment's site-packages, if its binaries are for this machine."""
    here = patient.machine.platform == patient.locked.target.platform
    return next(iter(sorted(patient.project.venv.glob("lib/python*/site-packages"))), None) if here else None


def _opened(patient: _Patient) -> tuple[int, tuple[Unopened, ...]]:
    """Open every live binary of every package, each package in a process of its own."""
    site = _site(patient)
    if site is None:
        return 0, ()
    hosted = verify.hosted(_judged(patient))
    installed = verify.installed(
        patient.locked,
        patient.packages,
        patient.facts,
        {name: patient.store.path(stored) for name, stored in patient.objects.items()},
        rules=patient.rules,
        hosted=hosted,
        live_only=True,
    )
    openings = Openings({name: _with_required(one, installed) for name, one in installed.items()}, trusting=False)

    def open_package(name: str) -> tuple[int, list[Unopened]]:
        binaries = {str(site / installed_at(one.path)): one for one in openings.order(name) if _opens(one)}
        first = [str(site / path) for path in openings.before(name)]
        found = open_libraries(patient.python, list(binaries), first=first, patience=_PATIENCE) if binaries else ()
        found = tuple(one for one in found if not _does_without(one.problem, name, binaries[one.name].path, patient))
        unopened = [Unopened(patient.title(name), binaries[one.name].path, one.problem) for one in found if one.problem]
        return len(found) - len(unopened), unopened

    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        results = list(pool.map(open_package, sorted(installed)))
    return sum(count for count, _ in results), tuple(one for _, unopened in results for one in unopened)


def _does_without(problem: str | None, name: str, path: str, patient: _Patient) -> bool:
    """Does a binary lack only what it may: a library by the rules, or the driver of a GPU that nobody needs here?

    Nobody does on a machine without a driver whose target lets the package fall back to the CPU.
    """
    if problem is None:
        return False
    soname = problem.partition(":")[0]
    rules = patient.rules.of(name)
    if any(fnmatchcase(soname, one.soname) and fnmatchcase(path, one.objects) for one in rules.missing):
        return True
    has_driver = patient.machine.nvidia_driver is not None or patient.machine.cuda_level is not None
    return not has_driver and patient.locked.target.falls_back(name) and brought_by(soname) == "driver"


def _opens(found: ObjectFacts) -> bool:
    """Is it a library? Some programs say that they are."""
    return found.type == "shared" and (found.interpreter is None or found.soname is not None)


def _with_required(own: Installed, everybody: Mapping[str, Installed]) -> Installed:
    """With those sonames bound, too, that what it requires brings: its modules are imported before."""
    libraries = {name: set(sonames) for name, sonames in own.libraries.items()}
    open_ones = {soname for one in own.awake for soname in one.needed if own.carrier(soname) is None} - own.bound.keys()
    for soname in sorted(open_ones):
        for name in _required(own, everybody):
            if everybody[name].offer(soname) is not None:
                libraries.setdefault(name, set()).add(soname)
                break
    return replace(own, libraries={name: tuple(sorted(sonames)) for name, sonames in libraries.items()})


def _required(own: Installed, everybody: Mapping[str, Installed]) -> Iterable[str]:
    """Distributions with binaries that one requires, directly or not, nearest first."""
    seen, todo = {own.name: None}, [own.name]
    while todo:
        found = everybody.get(todo.pop(0))
        for name in sorted(found.requires) if found else ():
            if name not in seen:
                seen[name] = None
                todo.append(name)
    return [name for name in seen if name in everybody and name != own.name]
