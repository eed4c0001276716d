"""Lock -> text -> Lock: nothing is lost, the same lock is the same bytes, whatever its parts are called."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.lock import decode, encode, salvage
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.target import PLATFORMS, Target

names = st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True)
versions = st.sampled_from(["1.0", "2.0.1", "0", "1!2.0", "3.0rc1", "1.0+cu130", "2.0.post1"])
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.one_of(texts, st.booleans(), st.lists(texts, max_size=3))
inputs = st.dictionaries(
    st.from_regex(r"[a-z-]{1,8}", fullmatch=True),
    st.one_of(plain, st.dictionaries(texts, plain, min_size=1, max_size=2)),
    max_size=4,
)


@st.composite
def targets(draw: st.DrawFn, artifacts: Mapping[str, LockedArtifact]) -> LockedTarget:
    """A target with some of the artifacts, one a name, that require each other."""
    chosen = (
        {artifacts[key].name: key for key in draw(st.lists(st.sampled_from(sorted(artifacts)), max_size=5))}
        if artifacts
        else {}
    )
    keys = st.lists(st.sampled_from(sorted(chosen)), max_size=3, unique=True).map(tuple) if chosen else st.just(())
    packages = {
        name: LockedPackage(name, use, draw(keys), draw(st.dictionaries(names, keys, max_size=2)))
        for name, use in sorted(chosen.items())
    }
    linux = draw(st.booleans())
    platform = draw(st.sampled_from(sorted(name for name in PLATFORMS if name.startswith("linux") == linux)))
    target = Target(
        draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True)),
        platform=platform,
        python=draw(st.sampled_from(["3.9", "3.12.4", "3.13t"])),
        glibc="2.28" if linux else None,
        gpu=draw(st.sampled_from([(), ("sm_90",), ("gfx90a", "gfx942")])),
        cuda=draw(st.sampled_from([None, "13.0"])),
        cpu_fallback=draw(st.booleans()),
    )
    return LockedTarget(target, draw(st.dictionaries(names.map("group:{}".format), keys, max_size=2)), packages)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    """A lock as `workflow.lock` assembles them: two indexes, a folder, direct URLs, equal file names."""
    places = {
        "default": "https://files.example/packages/",
        "amd": "https://rocm.example/whl/",
        "folder": "sub/",
        None: "https://direct.example/a b/",
    }
    artifacts = {}
    for name, version, index, sha256 in draw(
        st.lists(st.tuples(names, versions, st.sampled_from(list(places)), digests), max_size=6)
    ):
        filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        artifact = LockedArtifact(
            filename, name, version, index, places[index] + filename, sha256, draw(st.integers(0, 1 << 40))
        )
        artifacts[f"{filename}#{sha256[:8]}" if draw(st.booleans()) else filename] = artifact
    used = sorted({artifact.index for artifact in artifacts.values() if artifact.index})
    location = {"default": None, "amd": "https://rocm.example/simple/", "folder": "wheels"}
    made = draw(st.lists(targets(artifacts), min_size=1, max_size=3))
    return Lock(
        inputs=draw(inputs),
        exclude_newer=draw(st.sampled_from([None, "2026-11-01T00:00:00Z"])),
        indexes=tuple(LockedIndex(name, location[name], name == "folder") for name in used),
        artifacts=artifacts,
        targets={locked.target.name: locked for locked in made},
    )


@given(locks())
@settings(max_examples=40, deadline=None)
def test_decode_undoes_encode(lock: Lock) -> None:
    """Every lock comes back as it was."""
    assert decode(encode(lock)) == lock


@given(locks())
@settings(max_examples=40, deadline=None)
def test_order_of_parts_means_nothing(lock: Lock) -> None:
    """Artifacts, targets, packages and roots in any order give the same bytes, and a second round changes none."""
    text = encode(lock)
    turned = Lock(
        lock.inputs,
        lock.exclude_newer,
        lock.indexes,
        dict(reversed([*lock.artifacts.items()])),
        {
            name: LockedTarget(
                one.target, dict(reversed([*one.roots.items()])), dict(reversed([*one.packages.items()]))
            )
            for name, one in reversed([*lock.targets.items()])
        },
    )
    assert encode(turned) == text
    assert encode(decode(text)) == text


@given(locks())
@settings(max_examples=40, deadline=None)
def test_salvage_finds_every_version(lock: Lock) -> None:
    """From the text alone, whole or within conflict markers, every artifact's version is found again."""
    text = encode(lock)
    wanted = {(artifact.name, artifact.version) for artifact in lock.artifacts.values()}
    for found in (salvage(text), salvage(f"<<<<<<< ours\n{text}=======\n>>>>>>> theirs\n")):
        assert {(name, version) for name, several in found.items() for version in several} == wanted


def test_equal_contents_have_equal_environments() -> None:
    """The environment digest depends on Python and artifacts alone, not on names of targets or on their order."""
    artifacts = {
        f"{n}-1.0-py3-none-any.whl": LockedArtifact(f"{n}-1.0-py3-none-any.whl", n, "1.0", None, "u", n * 64, 1)
        for n in "abc"
    }
    packages = [LockedPackage(a.name, a.filename, (), {}) for a in artifacts.values()]
    one, two = (LockedTarget(Target(name, python=python), {}, {}) for name, python in (("x", "3.12"), ("y", "3.12.4")))
    lock = Lock({}, None, (), artifacts, {})
    assert lock.environment(one, packages) == lock.environment(two, reversed(packages))
    assert lock.environment(one, packages) != lock.environment(one, packages[:2])
    other = LockedTarget(Target("x", python="3.13"), {}, {})
    free = LockedTarget(Target("x", python="3.13t"), {}, {})
    assert len({lock.environment(target, packages) for target in (one, other, free)}) == 3
