"""Build a view: aside, then renamed into place. A view that is there and whole is used again."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv.archive.staging import staging
from gpuenv.errors import StoreError
from gpuenv.model.stored import SITE_PACKAGES, Directory, StoredObject, decode_listing
from gpuenv.view.activate import activation_scripts, pyvenv_cfg
from gpuenv.view.link import write_tree
from gpuenv.view.merge import Merged, Source, merge
from gpuenv.view.plan import ViewPlan
from gpuenv.view.state import changed, lacking, stamps
from gpuenv.view.switch import MARKER, current

if TYPE_CHECKING:
    from gpuenv.view.libraries import LibraryFiles

__all__ = ["build_view", "mark_again", "merged_tree"]


Exchange = Callable[[Path, Path], bool]


def build_view(
    plan: ViewPlan,
    *,
    exchange: Exchange | None = None,
    flush: Callable[[Path], object] | None = None,
    anew: bool = False,
) -> Path:
    """Make the view of `plan` and return where it lies; raises StoreError on conflicts and where the disk refuses.

    A view that is there and as it was made is used again, unless `anew`. exchange: puts two directories each in the
    place of the other in one step; False where the file system cannot. flush: returns once what was written to the
    file system of a directory is safe from a power cut; a new view is, before it has its name.
    """
    try:
        if not anew and _is_whole(plan.path):
            mark_again(plan)
            return plan.path
        plan.path.parent.mkdir(parents=True, exist_ok=True)
        with staging(plan.store / "tmp") as directory:
            root = directory / "view"
            root.mkdir()
            _fill(root, plan)
            if flush is not None:
                flush(root)
            if not plan.path.exists() or not exchange or not exchange(root, plan.path):
                if plan.path.exists():
                    plan.path.rename(directory / "replaced")
                with contextlib.suppress(FileExistsError):
                    _rename(root, plan.path)
        return plan.path
    except OSError as error:
        raise StoreError.refused("cannot build the environment", error, plan.store) from error


def _rename(root: Path, final: Path) -> None:
    """rename(2) replaces empty directories only; views are never empty, so whoever is second fails."""
    try:
        root.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(error.errno, error.strerror, str(final)) from error
        raise


def _is_whole(view: Path) -> bool:
    """It lacks nothing, nobody else changed it, and no file that we wrote lost its content to a power cut."""
    marker = current(view)
    if marker is None or lacking(view, marker) or changed(view, marker):
        return False
    with os.scandir(view / "bin") as entries:
        written = [entry.stat(follow_symlinks=False) for entry in entries if not entry.is_symlink()]
    return _size(view / "pyvenv.cfg") > 0 and all(found.st_size or found.st_nlink > 1 for found in written)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _marker(plan: ViewPlan, made: Mapping[str, object]) -> str:
    """made: what only the making of the view told: `linked` and `stamps`."""
    places = {stored.key: str(plan.place(stored.key)) for stored in plan.objects if stored.key in plan.elsewhere}
    marker = {
        **plan.marker,
        "interpreter": plan.interpreter.path,
        "links": plan.links.document,
        "objects": sorted(stored.key for stored in plan.objects),
        **({"elsewhere": places} if places else {}),
        **made,
    }
    return json.dumps(marker, ensure_ascii=False, indent=1) + "\n"


def mark_again(plan: ViewPlan) -> None:
    """A newer lock may describe the same environment: the view stays, its marker follows."""
    before = current(plan.path) or {}
    text = _marker(plan, {name: before[name] for name in ("linked", "stamps") if name in before})
    if (plan.path / MARKER).read_text("utf-8") != text:
        with staging(plan.store / "tmp") as directory:
            _write_durably(directory / MARKER, text)
            (directory / MARKER).rename(plan.path / MARKER)


def _fill(root: Path, plan: ViewPlan) -> None:
    from gpuenv.view.scripts import launchers, rewritten_scripts, two_commands

    merged = merged_tree(plan)
    python = f"{plan.venv}/bin/python"
    programs = rewritten_scripts(merged, place=plan.place, python=python)
    taken = {name: owner for name, (owner, _) in programs.items()}
    generated = launchers(plan.objects, python)
    for placement in [placement for placement in merged.placements if placement.directory == "bin"]:
        names = [*(file.name for file in placement.files), *(link.name for link in placement.links)]
        taken |= dict.fromkeys(names, placement.source.stored.name)
    for name, (owner, _) in generated.items():
        if taken.get(name, owner) != owner:
            raise two_commands(taken[name], owner, name)
    _drop(merged, generated)
    linked = write_tree(root, merged, plan)
    _write_programs(root / "bin", {name: content for name, (_, content) in {**programs, **generated}.items()})
    _write_environment(root, plan)
    _write_installed(root / plan.site_packages, plan)
    _write_durably(root / MARKER, _marker(plan, {"linked": linked, "stamps": _stamps(root, plan)}))


def _stamps(root: Path, plan: ViewPlan) -> dict[str, int]:
    site = plan.site_packages
    if any(name.endswith(".py") for name in os.listdir(root / site)):  # noqa: PTH208
        (root / site / "__pycache__").mkdir(exist_ok=True)  # else the first import would look like an installer
    return stamps(root, [site, "bin", *(f"{site}/{stored.dist_info}" for stored in plan.objects)])


def merged_tree(plan: ViewPlan) -> Merged:
    """What goes where in the view, the wheels' own scripts among it; raises StoreError on conflicts."""
    held: dict[str, dict[str, Directory]] = {}

    def listing(stored: StoredObject, path: str) -> Directory | None:
        found = stored.shallow.get(path)
        if found is not None:
            return found
        if stored.key not in held:
            held[stored.key] = _listing(plan.place(stored.key), stored)
        return held[stored.key].get(path)

    mounts: dict[str, list[Source]] = {"bin": [], plan.site_packages: []}
    for stored in plan.objects:
        schemes = stored.shallow[""].directories
        headers = f"include/site/python{plan.interpreter.minor}/{stored.name}"
        where = {SITE_PACKAGES: plan.site_packages, "scripts": "bin", "data": "", "headers": headers}
        for scheme in schemes:
            mounts.setdefault(where[scheme], []).append(Source(stored, scheme))
    for directory in plan.libraries.directories(plan.site_packages) if plan.libraries else ():
        mounts.setdefault(directory, [])
    return merge(mounts, listing, folding=plan.folding)


def _listing(folder: Path, stored: StoredObject) -> dict[str, Directory]:
    found = decode_listing((folder / "listing.msgpack").read_bytes())
    if found is None:
        raise StoreError(f"the object {stored.key} is damaged", causes=("its listing cannot be read",))
    return {directory.path: directory for directory in found}


def _drop(merged: Merged, generated: Mapping[str, object]) -> None:
    """A wheel that brings a script and an entry point of one name gets the entry point, as pip does it."""
    for number, placement in enumerate(merged.placements):
        if placement.directory == "bin":
            files = tuple(file for file in placement.files if file.name not in generated)
            links = tuple(link for link in placement.links if link.name not in generated)
            merged.placements[number] = placement._replace(files=files, links=links)


def _write_programs(directory: Path, programs: Mapping[str, bytes]) -> None:
    for name, content in programs.items():
        fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777)
        with os.fdopen(fd, "wb") as file:
            file.write(content)


def _write_environment(root: Path, plan: ViewPlan) -> None:
    (root / "lib64").symlink_to("lib")
    (root / "bin" / "python").symlink_to(plan.interpreter.path)
    for name in ("python3", f"python{plan.interpreter.tag}"):
        (root / "bin" / name).symlink_to("python")
    for name, text in activation_scripts(str(plan.venv), plan.name).items():
        (root / "bin" / name).write_text(text, "utf-8")
    (root / "pyvenv.cfg").write_text(pyvenv_cfg(plan.interpreter, plan.name), "utf-8")


def _write_installed(site_packages: Path, plan: ViewPlan) -> None:
    """What an installer records about itself (PEP 376, 610, 627); no RECORD: nobody else may change these files."""
    for stored in plan.objects:
        base = f"{site_packages}/{stored.dist_info}"
        _put(f"{base}/INSTALLER", "gpuenv\n")
        if stored.name in plan.requested:
            _put(f"{base}/REQUESTED", "")
        if stored.name in plan.direct_urls:
            _put(f"{base}/direct_url.json", plan.direct_urls[stored.name])
    if plan.preload:
        from gpuenv.view.preload import startup_files

        for name, text in startup_files(plan.preload).items():
            _put(f"{site_packages}/{name}", text)
    if plan.libraries:
        _write_libraries(site_packages, plan.libraries, levels=plan.site_packages.count("/"))


def _write_libraries(site_packages: Path, libraries: "LibraryFiles", *, levels: int) -> None:
    """What distributions bring under a name themselves stays. levels: folders between the view and site-packages."""
    for name, text in libraries.files.items():
        if not os.path.lexists(f"{site_packages}/{name}"):
            _put(f"{site_packages}/{name}", text)
    root = site_packages.parents[levels]
    for place, leads in libraries.links.items():
        if not os.path.lexists(f"{root}/{place}"):
            os.symlink(os.path.relpath(leads, os.path.dirname(place)), f"{root}/{place}")  # noqa: PTH120, PTH211


def _put(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:  # noqa: PTH123 - one or two for each distribution
        file.write(text)


def _write_durably(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
