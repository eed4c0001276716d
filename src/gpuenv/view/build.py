"""Build a view: aside, then renamed into place. A view that is there and whole is used again."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from gpuenv.archive.staging import staging
from gpuenv.errors import StoreError
from gpuenv.model.stored import SITE_PACKAGES, Directory, StoredObject, decode_listing
from gpuenv.view.activate import activation_scripts, pyvenv_cfg
from gpuenv.view.link import write_tree
from gpuenv.view.merge import Merged, Source, merge
from gpuenv.view.plan import ViewPlan
from gpuenv.view.switch import MARKER, current

__all__ = ["build_view"]


def build_view(plan: ViewPlan) -> Path:
    """Make the view of `plan` and return where it lies; raises StoreError on conflicts and where the disk refuses."""
    try:
        if _is_whole(plan.path):
            _mark_again(plan)
            return plan.path
        plan.path.parent.mkdir(parents=True, exist_ok=True)
        with staging(plan.store / "tmp") as directory:
            if plan.path.exists():  # damaged by a power cut: its files have no content
                plan.path.rename(directory / "damaged")
            root = directory / "view"
            root.mkdir()
            _fill(root, plan)
            with contextlib.suppress(FileExistsError):
                _rename(root, plan.path)
        return plan.path
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise StoreError("cannot build the environment", causes=(f"{error.strerror}{where}",)) from error


def _rename(root: Path, final: Path) -> None:
    """rename(2) replaces empty directories only; views are never empty, so whoever is second fails."""
    try:
        root.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(error.errno, error.strerror, str(final)) from error
        raise


def _is_whole(view: Path) -> bool:
    """Its marker, written last, can be read, and no file that we wrote lost its content to a power cut."""
    if current(view) is None:
        return False
    with os.scandir(view / "bin") as entries:
        written = [entry.stat(follow_symlinks=False) for entry in entries if not entry.is_symlink()]
    return (view / "pyvenv.cfg").stat().st_size > 0 and all(found.st_size or found.st_nlink > 1 for found in written)


def _marker(plan: ViewPlan) -> str:
    marker = {**plan.marker, "objects": sorted(stored.key for stored in plan.objects)}
    return json.dumps(marker, ensure_ascii=False, indent=1) + "\n"


def _mark_again(plan: ViewPlan) -> None:
    """A newer lock may describe the same environment: the view stays, its marker follows."""
    text = _marker(plan)
    if (plan.path / MARKER).read_text("utf-8") != text:
        temporary = plan.path / f".{secrets.token_hex(8)}"
        _write_durably(temporary, text)
        temporary.rename(plan.path / MARKER)


def _fill(root: Path, plan: ViewPlan) -> None:
    from gpuenv.view.scripts import launchers, rewritten_scripts, two_commands

    merged = _merged(plan)
    python = f"{plan.venv}/bin/python"
    programs = rewritten_scripts(merged, place=plan.place, python=python)
    taken = {name: owner for name, (owner, _) in programs.items()}
    generated = launchers(plan.objects, python)
    for placement in [placement for placement in merged.placements if placement.directory == "bin"]:
        taken |= {file.name: placement.source.stored.name for file in placement.files}
    for name, (owner, _) in generated.items():
        if taken.get(name, owner) != owner:
            raise two_commands(taken[name], owner, name)
    _drop(merged, generated)
    write_tree(root, merged, plan)
    _write_programs(root / "bin", {name: content for name, (_, content) in {**programs, **generated}.items()})
    _write_environment(root, plan)
    _write_installed(root / plan.site_packages, plan)
    _write_durably(root / MARKER, _marker(plan))


def _merged(plan: ViewPlan) -> Merged:
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
            merged.placements[number] = placement._replace(files=files)


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


def _put(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:  # noqa: PTH123 - one or two for each distribution
        file.write(text)


def _write_durably(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
