"""`gpuenv repack`: files that people find where they expect them, whole, and never in place of others."""

import hashlib
import json
from pathlib import Path
from typing import IO

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.tree import open_tree
from gpuenv.binaries.artifact import read_artifact
from gpuenv.bundle.repack import bundle_name
from gpuenv.model.facts import decode_facts
from gpuenv.workflow.outputs import write_output
from tests.support.binaries import library
from tests.support.project import Project, snapshot

TAGS = "py3-none-manylinux_2_17_x86_64"
LIBRARY = library("libdemo.so.1", ["libc.so.6"])


def demo(project: Project, name: str = "demo", *, stored: bool = False) -> Path:
    files: dict[str, bytes | str] = {f"{name}/lib/{file}": LIBRARY for file in ("libdemo.so", "libdemo.so.1")}
    return project.wheel(name, files={f"{name}/__init__.py": "", **files}, tags=TAGS, stored=stored)


def test_a_bundle_lies_beside_its_wheel(project: Project) -> None:
    """It is named like the wheel, holds its facts and its digest, and is told with its size, ratio and links."""
    wheel = demo(project)
    done = project.run("repack", "--restore-links", wheel)
    bundle = wheel.with_name(bundle_name(wheel.name))
    assert done.err.startswith(f"{bundle}: ")
    assert done.err.endswith(", 1 link restored\n")
    assert done.out == ""
    with open_bundle(bundle) as opened, open_tree(bundle) as tree:
        assert opened.origin == {
            "filename": wheel.name,
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "links": "restored",
        }
        stated, found = decode_facts(opened.native or b""), read_artifact(tree, None)
    assert stated is not None
    assert (stated.objects, stated.symlinks, stated.duplicates) == (found.objects, found.symlinks, found.duplicates)
    assert [one.path for one in stated.objects] == ["demo/lib/libdemo.so.1"]
    assert stated.sha256 is None


def test_the_document_has_a_record_for_each_file(project: Project) -> None:
    """Paths, digests and sizes in it are those of the files; --output names their folder, made where it is missing."""
    wheels = [demo(project), demo(project, "other")]
    out = project.base / "out" / "deep"
    files = project.run("repack", "--json", "--output", out, *wheels).json["files"]
    assert [one["from"] for one in files] == list(map(str, wheels))
    for one, wheel in zip(files, wheels, strict=True):
        path = out / bundle_name(wheel.name)
        assert one == {
            "path": str(path),
            "from": str(wheel),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "was": wheel.stat().st_size,
            "links": 0,
            "state": "made",
        }
    assert sorted(path.name for path in out.iterdir()) == sorted(bundle_name(wheel.name) for wheel in wheels)


def test_what_is_there_already_is_replaced_when_asked_alone(project: Project) -> None:
    """The same bytes stay as they are; other bytes stay too, and the command fails, unless --force is given."""
    wheel = demo(project)
    bundle = wheel.with_name(bundle_name(wheel.name))
    project.run("repack", wheel)
    before = bundle.stat()
    assert project.run("repack", wheel).err.endswith(" (unchanged)\n")
    assert bundle.stat().st_ino == before.st_ino
    refused = project.run("repack", "--restore-links", wheel, rc=1)
    assert refused.err == f"error: {bundle} exists and holds something else\nhint: to replace it, say --force\n"
    assert bundle.stat().st_ino == before.st_ino
    assert project.run("repack", "--restore-links", "--force", wheel).err.endswith(" (replaced)\n")
    with open_bundle(bundle) as opened:
        assert opened.links
    assert len(list(wheel.parent.iterdir())) == 2


def test_a_damaged_wheel_leaves_nothing_behind(project: Project) -> None:
    """The error names it, and no file, whole or half, is made of it."""
    wheel = demo(project, stored=True)
    wheel.write_bytes(wheel.read_bytes().replace(b"\x7fELF", b"\x7fELf", 1))
    before = snapshot(wheel.parent)
    assert f"error: {wheel.name} is refused: " in project.run("repack", wheel, rc=1).err
    assert snapshot(wheel.parent) == before


def test_a_wheel_comes_back_for_other_installers(project: Project) -> None:
    """--to wheel gives a wheel that an index takes and that is installed, with copies of the links or with LINKS."""
    wheel = demo(project)
    project.run("repack", "--restore-links", wheel)
    bundle = wheel.with_name(bundle_name(wheel.name))
    out = project.base / "out"
    made = project.run("repack", "--to", "wheel", "--output", out, bundle)
    assert made.err.endswith(", 1 link as copies\n")
    listed = project.run("repack", "--to", "wheel", "--links", "LINKS", "--output", project.base / "links", bundle)
    assert listed.err.endswith(", 1 link in LINKS\n")
    project.server.add(out / wheel.name)
    project.write(["demo"])
    project.run("sync")
    assert (project.site / "demo" / "lib" / "libdemo.so").read_bytes() == LIBRARY


def test_what_cannot_be_repacked_is_told_before_anything_is_made(project: Project) -> None:
    """URLs, folders, files that are not there, other files, two that become one, and flags that do not apply."""
    wheel = demo(project)
    bundle = wheel.with_name(bundle_name(wheel.name))
    project.run("repack", wheel)
    bundle.rename(project.base / bundle.name)
    bundle = project.base / bundle.name
    twin = project.wheel("demo", folder=project.base / "twin", tags=TAGS)
    before = snapshot(project.base)
    asked = {
        ("https://index.example/demo-1.0-py3-none-any.whl",): "is a URL, and files are repacked",
        (wheel.parent,): "is a folder",
        (project.base / "gone.whl",): "there is no ",
        (bundle,): "is a bundle already",
        (wheel, "--to", "wheel"): "is no bundle",
        (wheel, twin, "--output", project.base): "would both become",
        (wheel, "--links", "copy"): "--links says nothing of a bundle",
        (bundle, "--to", "wheel", "--best"): "--best says nothing of a wheel",
    }
    for arguments, words in asked.items():
        done = project.run("repack", "--json", *arguments, rc=2)
        assert words in json.loads(done.out)["error"]["message"]
    assert snapshot(project.base) == before


def test_lines_of_links_are_links_once_more(project: Project) -> None:
    """A wheel with LINKS, which other installers refuse, is synced with the links that its bundle had."""
    wheel = demo(project)
    bundle = wheel.with_name(bundle_name(wheel.name))
    project.run("repack", "--restore-links", wheel)
    project.run("repack", "--to", "wheel", "--links", "LINKS", "--force", bundle)
    project.server.add(wheel)
    project.write(["demo"])
    project.run("sync")
    link = project.site / "demo" / "lib" / "libdemo.so"
    assert link.resolve().name == "libdemo.so.1"
    assert link.read_bytes() == LIBRARY


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    """A half-written file whose writer is gone is removed by the next one; that of a living writer stays."""
    path = tmp_path / "made"
    left, others = tmp_path / ".made.0123456789ab", tmp_path / ".made.other"
    for one in (left, others):
        one.write_bytes(b"half")
    inner: list[str] = []

    def fill(file: IO[bytes]) -> None:
        file.write(b"whole")
        state, _ = write_output(path, lambda again: again.write(b"whole"))
        inner.append(state)

    assert write_output(path, fill)[0] == "unchanged"
    assert inner == ["made"]
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"made": b"whole", ".made.other": b"half"}
