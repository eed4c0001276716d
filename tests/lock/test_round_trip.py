"""Lock -> text -> Lock: nothing is lost, the same lock is the same bytes, whatever its parts are called."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.lock import decode, encode, salvage
from gpuenv.model.demand import HostDemand
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.target import PLATFORMS, Target
from gpuenv.model.wheel_variant import WheelVariant

T = TypeVar("T")
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

sonames = st.one_of(st.sampled_from(["libfoo.so.3", "libstdc++.so.6", "libcublas.so.13"]), texts.filter(bool))
demands = st.dictionaries(
    sonames, st.tuples(texts, st.lists(st.sampled_from(["V_1", "V_1.2"]), max_size=2).map(tuple)), max_size=2
).map(lambda found: tuple(HostDemand(soname, *found[soname]) for soname in sorted(found)))

properties = st.from_regex(r"[a-z0-9_]{1,4} :: [a-z0-9_]{1,4} :: [a-z0-9_.]{1,4}", fullmatch=True)
variants = st.builds(
    WheelVariant,
    st.from_regex(r"[a-z0-9_.]{1,6}", fullmatch=True),
    st.sets(properties, max_size=3).map(lambda found: tuple(sorted(found))),
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
    some = st.lists(sonames, min_size=1, max_size=2).map(tuple)
    libraries = st.dictionaries(st.sampled_from(sorted(chosen)), some, max_size=2) if chosen else st.just({})
    packages = {
        name: LockedPackage(
            name,
            use,
            draw(keys),
            draw(st.dictionaries(names, keys, max_size=2)),
            draw(libraries),
            draw(demands),
            draw(st.sampled_from([None, None, 7, 13])),
            draw(st.dictionaries(names, texts, max_size=2)),
            draw(st.lists(names, max_size=2).map(tuple)),
        )
        for name, use in sorted(chosen.items())
    }
    linux = draw(st.booleans())
    platform = draw(st.sampled_from(sorted(name for name in PLATFORMS if name.startswith("linux") == linux)))
    target = Target(
        draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True)),
        platform=platform,
        python=draw(st.sampled_from(["3.9", "3.12.4", "3.13t"])),
        glibc="2.28" if linux else None,
        gpu=draw(st.sampled_from([(), ("sm_90",), ("gfx90a:sramecc+:xnack-", "gfx942")])),
        cuda=draw(st.sampled_from([None, "13.0"])),
        cpu=draw(st.sampled_from([None, "x86-64-v3"])),
        cpu_fallback=draw(st.booleans() | st.just(("bitsandbytes", "xgboost"))),
        gpu_code=draw(st.sampled_from(["allow", "forbid"])),
        ptx=draw(st.booleans()),
        host_libraries=draw(st.sampled_from([(), ("/opt/rocm/lib", "libnccl.so.*")])),
        properties=draw(st.sampled_from([(), ("tpu :: present :: false", "x86_64 :: adx :: on")])),
    )
    roots = draw(st.dictionaries(names.map("group:{}".format), keys, max_size=2))
    return LockedTarget(target, roots, packages, draw(libraries), draw(demands))


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
        origin = draw(st.none() | digests)
        variant = draw(st.none() | variants)
        tags = f"py3-none-any-{variant.label}" if variant else "py3-none-any"
        filename = f"{name.replace('-', '_')}-{version}-{tags}.whl{'.tar.zst' if origin else ''}"
        artifact = LockedArtifact(
            filename,
            name,
            version,
            index,
            places[index] + filename,
            sha256,
            draw(st.integers(0, 1 << 40)),
            draw(st.sampled_from([None, "read", "published"])),
            origin,
            variant,
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
        providers=draw(st.none() | digests.map("sha256:{}".format)),
    )


@given(locks())
@settings(max_examples=40, deadline=None)
def test_decode_undoes_encode(lock: Lock) -> None:
    """Every lock comes back as it was."""
    assert decode(encode(lock)) == lock


def turn(mapping: Mapping[str, T]) -> dict[str, T]:
    """The same mapping in the opposite order."""
    return dict(reversed([*mapping.items()]))


@given(locks())
@settings(max_examples=40, deadline=None)
def test_order_of_parts_means_nothing(lock: Lock) -> None:
    """Artifacts, targets, packages and what they need in any order give the same bytes; a second round changes none."""
    text = encode(lock)
    turned = replace(
        lock,
        artifacts=turn(lock.artifacts),
        targets={
            name: replace(
                one,
                roots=turn(one.roots),
                packages={
                    key: replace(package, libraries=turn(package.libraries), host=package.host[::-1])
                    for key, package in turn(one.packages).items()
                },
                libraries=turn(one.libraries),
                host=one.host[::-1],
            )
            for name, one in turn(lock.targets).items()
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


WRITTEN = """\
# Made by gpuenv; edit pyproject.toml and run `gpuenv lock`.
version = 1
providers = "sha256:{digest}"

[inputs]

[artifacts]
"a-1.0-py3-none-any.whl" = {{ url = "https://index.example/a", sha256 = "{digest}", size = 1, facts = "published" }}

[targets.x]
platform = "linux-x86_64"
python = "3.12"
glibc = "2.28"
gpu = ["sm_90"]
cpu = "x86-64-v3"
cpu-fallback = ["bitsandbytes"]
gpu-code = "forbid"
ptx = false
host-libraries = ["/opt/lib", "libnccl.so.*"]
environment = "{environment}"
roots = {{}}
libraries = {{ a = ["libfoo.so.3"] }}
host = {{ "libz.so.1" = {{ by = "native", versions = ["Z_1"] }} }}
packages = [
  {{ use = "a-1.0-py3-none-any.whl", libraries = {{ a = ["liba.so"] }}, host = {{ "libb.so.2" = "a/_a.so" }}, runtime = 13 }},
]
"""  # noqa: E501  # lines of a lock are as long as they are


def test_what_is_said_of_native_code_stands_on_its_line() -> None:
    """What a package or target needs is part of the line it belongs to; what goes without saying is not written."""
    wheel, digest = "a-1.0-py3-none-any.whl", "a" * 64
    artifact = LockedArtifact(wheel, "a", "1.0", None, "https://index.example/a", digest, 1, "published")
    host = (HostDemand("libb.so.2", "a/_a.so"),)
    package = LockedPackage("a", wheel, (), {}, {"a": ("liba.so",)}, host, 13)
    target = Target(
        "x",
        gpu=("sm_90",),
        cpu="x86-64-v3",
        cpu_fallback=("bitsandbytes",),
        gpu_code="forbid",
        ptx=False,
        host_libraries=("/opt/lib", "libnccl.so.*"),
    )
    needs = ({"a": ("libfoo.so.3",)}, (HostDemand("libz.so.1", "native", ("Z_1",)),))
    locked = LockedTarget(target, {}, {"a": package}, *needs)
    lock = Lock({}, None, (), {wheel: artifact}, {"x": locked}, f"sha256:{digest}")
    environment = lock.environment(locked, [package])
    assert encode(lock) == WRITTEN.format(digest=digest, environment=environment)
    bare = Lock({}, None, (), {wheel: replace(artifact, facts=None)}, {"x": LockedTarget(Target("x"), {}, {})})
    keys = ("libraries", "host", "runtime", "facts", "providers", "cpu", "gpu-code", "ptx")
    assert not any(f"{key} = " in encode(bare) for key in keys)


@given(locks())
@settings(max_examples=20, deadline=None)
def test_facts_and_demands_are_no_part_of_the_environment(lock: Lock) -> None:
    """What is known of an environment beside its files does not change its digest."""
    for one in lock.targets.values():
        plain = [LockedPackage(p.name, p.artifact, (), {}) for p in one.packages.values()]
        bare = replace(lock, providers=None, artifacts={k: replace(a, facts=None) for k, a in lock.artifacts.items()})
        assert bare.environment(one, plain) == lock.environment(one, one.packages.values())
