"""What bundles say of themselves is held to what their bytes say when they are unpacked."""

from pathlib import Path

import msgspec
import pytest

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.unpacking import Placed
from gpuenv.errors import IntegrityError
from gpuenv.model.facts import NativeFacts, Symlink
from gpuenv.model.lock import LockedArtifact
from gpuenv.workflow.facts import FactsCache, OfferedFacts
from gpuenv.workflow.project import Project
from gpuenv.workflow.verify import NativeReader
from tests.support.binaries import library
from tests.support.bundles import digest_of, facts_in, make_bundle
from tests.support.wheels import make_wheel

TAGS = "py3-none-manylinux2014_x86_64"
URL = "https://files.index.example/a/"


def wheel_in(folder: Path) -> Path:
    """A wheel with a library of two names in the environment's `lib`, and one beside its modules."""
    data = dict.fromkeys((f"foo-1.0.data/data/lib/libfoo.so{end}" for end in ("", ".1")), library("libfoo.so.1"))
    files: dict[str, bytes | str] = {**data, "foo/core.so": library(needed=["libfoo.so.1"], symbol="PyInit_core")}
    return make_wheel(folder, "foo", files={**files, "foo/__init__.py": ""}, tags=TAGS)


def unpacked(bundle: Path, folder: Path) -> Path:
    """The bundle's files where an object of the store has them."""
    folder.mkdir()
    with open_bundle(bundle) as opened:
        names = {one: one.name.partition(".data/") for one in opened.members}
        places = [Placed(one, data or f"site-packages/{one.name}", False) for one, (_, _, data) in names.items()]
        opened.unpack(folder, places, mtime=0)
    return folder


def locked(path: Path) -> LockedArtifact:
    """A file as a lock has it that relies on its facts."""
    size = path.stat().st_size
    return LockedArtifact(path.name, "foo", "1.0", "default", URL + path.name, digest_of(path), size, "read")


def project_in(folder: Path) -> Project:
    """A project whose cache knows nothing."""
    return Project(root=folder, store=folder / "store", cache=folder / "cache")


@pytest.mark.parametrize("restore_links", [False, True])
def test_a_bundle_is_read_where_it_was_unpacked(tmp_path: Path, restore_links: bool) -> None:
    """Its facts are those that the whole file gives, links among them, whatever it says of itself being true."""
    wheel = wheel_in(tmp_path)
    bundle = make_bundle(wheel, facts=facts_in(wheel), restore_links=restore_links)
    project = project_in(tmp_path)
    NativeReader(project).pass_by(locked(bundle), bundle, unpacked(bundle, tmp_path / "object"))
    kept, whole = FactsCache(project.cache).get(digest_of(bundle)), facts_in(bundle)
    assert kept == whole
    assert len(whole.objects) == (2 if restore_links else 3)
    links = [("foo-1.0.data/data/lib/libfoo.so", "libfoo.so.1", "tar")] if restore_links else []
    assert [(one.path, one.target, one.source) for one in whole.symlinks] == links


def without(facts: NativeFacts) -> NativeFacts:
    return NativeFacts(None, 1, objects=facts.objects[1:])


def other_soname(facts: NativeFacts) -> NativeFacts:
    first, *others = facts.objects
    lie = msgspec.structs.replace(first, soname="libbar.so.1")
    return NativeFacts(None, 1, objects=(lie, *others))


def another_link(facts: NativeFacts) -> NativeFacts:
    return NativeFacts(None, 1, objects=facts.objects, symlinks=(Symlink("foo/libbar.so.1", "core.so", "tar"),))


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (without, "foo-1.0.data/data/lib/libfoo.so is in the file and not stated"),
        (other_soname, "foo-1.0.data/data/lib/libfoo.so has soname libfoo.so.1, not libbar.so.1"),
        (another_link, "the link foo/libbar.so.1 -> core.so is not in the file"),
    ],
)
def test_a_bundle_that_lies_is_refused(tmp_path: Path, lie: type, words: str) -> None:
    """What a bundle says of its binaries and is not so keeps it out, and the first lie is told."""
    wheel = wheel_in(tmp_path)
    bundle = make_bundle(wheel, facts=lie(facts_in(wheel)))
    reader = NativeReader(project_in(tmp_path))
    with pytest.raises(IntegrityError, match="says what is not true of it") as told:
        reader.pass_by(locked(bundle), bundle, unpacked(bundle, tmp_path / "object"))
    assert told.value.causes == (f"its native.json differs from its binaries: {words}",)


def test_an_index_that_lies_is_refused_where_it_was_believed(tmp_path: Path) -> None:
    """Facts beside a file count for its server alone: they are compared where a lock relies on them, nowhere else."""
    wheel = wheel_in(tmp_path)
    bundle, project = make_bundle(wheel), project_in(tmp_path)
    folder, artifact = unpacked(bundle, tmp_path / "object"), locked(bundle)
    OfferedFacts(project.cache).put(artifact.sha256, "https://other.example/foo", without(facts_in(wheel)))
    NativeReader(project).pass_by(artifact, bundle, folder)
    OfferedFacts(project.cache).put(artifact.sha256, artifact.url, without(facts_in(wheel)))
    with pytest.raises(IntegrityError, match="is not what the lock relies on"):
        NativeReader(project).pass_by(artifact, bundle, folder)
