"""Whatever is not a lock is a LockfileError with words, never anything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.errors import LockfileError
from gpuenv.lock import decode, encode, salvage
from gpuenv.model.demand import HostDemand
from gpuenv.model.lock import Lock, LockedArtifact, LockedIndex, LockedPackage, LockedTarget
from gpuenv.model.target import Target
from gpuenv.model.wheel_variant import WheelVariant
from gpuenv.toml.write import Value, inline

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-2.0-1-py3-none-any.whl"
GAMMA = "gamma-3.0-py3-none-any.whl.tar.zst"
DELTA = "delta-4.0-py3-none-any-cu13.whl"


def whole() -> str:
    """The text of a small lock with everything in it."""
    artifacts = {
        ALPHA: LockedArtifact(ALPHA, "alpha", "1.0", "corp", f"https://corp.example/f/{ALPHA}", "a" * 64, 10),
        BETA: LockedArtifact(BETA, "beta", "2.0", None, f"https://direct.example/{BETA}", "b" * 64, 20, "read"),
        GAMMA: LockedArtifact(GAMMA, "gamma", "3.0", None, f"https://direct.example/{GAMMA}", "f" * 64, 30),
    }
    variant = WheelVariant("cu13", ("nvidia :: sm_arch :: 80_real", "nvidia :: sm_arch :: 90_real"))
    where = f"https://direct.example/{DELTA}", "e" * 64, 40
    artifacts[DELTA] = LockedArtifact(DELTA, "delta", "4.0", None, *where, variant=variant)
    packages = {
        "alpha": LockedPackage(
            "alpha",
            ALPHA,
            ("beta",),
            {"fast": ("beta",)},
            libraries={"beta": ("libbeta.so.2",)},
            host=(
                HostDemand("libodbc.so.2", "alpha/_a.so"),
                HostDemand("libudev.so.1", "alpha/_a.so", ("LIBUDEV_183",)),
            ),
            runtime=13,
        ),
        "beta": LockedPackage("beta", BETA, (), {}),
    }
    facts = Target(
        "here", gpu=("sm_90",), cpu="x86-64-v2", cpu_fallback=("beta",), ptx=False, host_libraries=("libnccl.so.*",)
    )
    native = ({"alpha": ("libalpha.so",)}, (HostDemand("libpulse.so.0", "native"),))
    target = LockedTarget(facts, {"project": ("alpha[fast]",)}, packages, *native)
    index = LockedIndex("corp", "https://corp.example/simple/")
    inputs = {"dependencies": ["alpha[fast]"]}
    return encode(Lock(inputs, None, (index,), artifacts, {"here": target}, "sha256:" + "d" * 64))


TEXT = whole()
DAMAGES = [
    ("version = 1\n", "", "version is missing"),
    ("version = 1\n", "version = 0\n", "version is 0"),
    ("version = 1\n", 'version = "1"\n', "version is '1'"),
    ('name = "corp"\n', "", "name is missing"),
    ("[artifacts]", "[artefacts]", "artifacts is missing"),
    ("[targets.here]", "[target.here]", "targets is missing"),
    ("[inputs]", "[input]", "inputs is missing"),
    ('sha256 = "' + "a" * 64, 'sha256 = "' + "a" * 63, f"the sha256 of {ALPHA} is not one"),
    ('sha256 = "' + "a" * 64, 'sha256 = "' + "A" * 64, f"the sha256 of {ALPHA} is not one"),
    ('sha256 = "' + "a" * 64, 'sha256 = "' + "c" * 64, "targets.here.environment is not the digest of its packages"),
    ('index = "corp", ', 'index = "other", ', "other is missing"),
    (f'"{ALPHA}" =', '"../alpha-1.0-py3-none-any.whl" =', "'../alpha-1.0-py3-none-any.whl' is not the name of a wheel"),
    (f'"{ALPHA}" =', '"alpha-1.0.tar.gz" =', "'alpha-1.0.tar.gz' is not the name of a wheel"),
    ('facts = "read"', 'origin = "' + "e" * 64 + '"', f"the origin of {BETA} is not one"),
    (f'"{GAMMA}" = {{', f'"{GAMMA}" = {{ origin = "ee",', f"the origin of {GAMMA} is not one"),
    (f'use = "{ALPHA}"', 'use = "gamma-1.0-py3-none-any.whl"', "gamma-1.0-py3-none-any.whl is missing"),
    ('requires = ["beta"]', 'requires = ["gamma"]', "gamma is missing"),
    ('python = "3.12"\n', "", "python is missing"),
    ("size = 10", 'size = "10"', f"the size of {ALPHA} is not one"),
    ("size = 10", "size = -10", f"the size of {ALPHA} is not one"),
    ('providers = "sha256:', 'providers = "sha512:', "providers is not a digest"),
    ('facts = "read"', 'facts = "guessed"', f"the facts of {BETA} are 'guessed'"),
    ("libraries = { beta =", "libraries = { gamma =", "gamma is missing"),
    ("libraries = { alpha =", "libraries = { gamma =", "gamma is missing"),
    ("libraries = { beta =", 'libraries = { "beta[x]" =', "beta[x] is missing"),
    ('{ beta = ["libbeta.so.2"] }', '{ beta = "libbeta.so.2" }', "'libbeta.so.2' is not an array"),
    ('{ alpha = ["libalpha.so"] }', '["alpha"]', "['alpha'] is not a table"),
    ('"libodbc.so.2" = "alpha/_a.so"', '"libodbc.so.2" = 2', "2 is not a demand on the machine"),
    ('by = "alpha/_a.so", ', "", "by is missing"),
    (', versions = ["LIBUDEV_183"]', "", "versions is missing"),
    ('["LIBUDEV_183"]', "[183]", "183 is not text"),
    ("runtime = 13", "runtime = true", "the runtime of alpha is True"),
    ("runtime = 13", "runtime = -13", "the runtime of alpha is -13"),
    ("ptx = false", "ptx = 0", "0 is not true or false"),
    ("ptx = false", 'gpu-code = "never"', "gpu-code is 'never'"),
    ('cpu-fallback = ["beta"]', 'cpu-fallback = "beta"', "'beta' is not true or false"),
    ('cpu = "x86-64-v2"', "cpu = 2", "2 is not text"),
    ('host-libraries = ["libnccl.so.*"]', 'host-libraries = "libnccl.so.*"', "'libnccl.so.*' is not an array"),
    ('gpu = ["sm_90"]', 'gpu = "sm_90"', "'sm_90' is not an array"),
    ('requires = ["beta"]', 'requires = "beta"', "'beta' is not an array"),
    ("[inputs]", "inputs = 3\n[other]", "3 is not a table"),
    (
        ', variant = { label = "cu13", properties',
        ', other = { label = "cu13", properties',
        "delta 4.0 is a variant, and its line",
    ),
    ('{ label = "cu13"', '{ label = "cu12"', "delta 4.0 is no such variant"),
    ('{ label = "cu13", ', "{ ", "label is missing"),
    ("sm_arch :: 80_real", "sm_arch :: 99_real", "delta 4.0 is no such variant"),
    ("nvidia :: sm_arch :: 80_real", "nvidia sm_arch", "delta 4.0 is no such variant"),
    (f'"{DELTA}" =', '"delta-4.0-py3-none-any.whl" =', "delta 4.0 is no such variant"),
    (f'"{DELTA}" =', '"delta-4.0-py3-none-any-CU.whl" =', "is not the name of a wheel"),
]


@pytest.mark.parametrize(("old", "new", "words"), DAMAGES)
def test_damages(old: str, new: str, words: str) -> None:
    """Each damage is named, with the way out."""
    assert TEXT.count(old) == 1
    with pytest.raises(LockfileError) as caught:
        decode(TEXT.replace(old, new))
    assert words in caught.value.message
    assert caught.value.hints == ("run `gpuenv lock` to make it anew",)
    assert not caught.value.newer


def test_the_whole_text_is_none() -> None:
    """The text that the damages are made of decodes."""
    assert set(decode(TEXT).targets["here"].packages) == {"alpha", "beta"}


def test_newer_formats() -> None:
    """A newer format is told apart from damage."""
    with pytest.raises(LockfileError, match="format 2") as caught:
        decode(TEXT.replace("version = 1\n", "version = 2\n"))
    assert caught.value.newer


def test_conflict_markers() -> None:
    """Markers of a merge are named as such, before TOML complains about them."""
    with pytest.raises(LockfileError, match="conflict markers"):
        decode(f"<<<<<<< HEAD\n{TEXT}=======\n>>>>>>> other\n")


@given(st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_edit_is_a_lock_or_a_lockfile_error(start: int, length: int, new: str) -> None:
    """Cutting out and putting in anything anywhere raises LockfileError at most; salvage never fails."""
    text = TEXT[:start] + new + TEXT[start + length :]
    salvage(text)
    try:
        decode(text)
    except LockfileError as error:
        assert error.message


scalars = st.one_of(st.booleans(), st.integers(-5, 5), st.text("ab ", max_size=3))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.just("k"), inner))
)


@given(values)
@settings(max_examples=25, deadline=None)
def test_wrong_types_are_lockfile_errors(value: Value) -> None:
    """A value of any type in any place raises LockfileError at most."""
    for line in TEXT.splitlines():
        key, equals, old = line.partition(" = ")
        if equals and old != "[":
            try:
                decode(TEXT.replace(line, f"{key} = {inline(value)}"))
            except LockfileError as error:
                assert error.hints
